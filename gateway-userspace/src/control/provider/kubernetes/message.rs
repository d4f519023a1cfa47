//! Pure: what an API server says: events of a watch, items and ends of lists, refusals.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

/// Marks the bookmark after which a watch has told all that was there when it began.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// One event of a watch.
#[derive(Debug)]
pub(super) enum Message<'a> {
    /// The object is there, new or changed.
    Is(Raw<'a>),
    /// The object is gone; this was its last version.
    Gone(Raw<'a>),
    /// Everything up to this version was told.
    Bookmark {
        version: Cow<'a, str>,
        /// All that was there when the watch began has been told.
        complete: bool,
    },
    /// The watch ends with this.
    Refused(Refusal),
    /// A later API says more than is known here.
    Other,
}

/// An object as it came.
#[derive(Debug)]
pub(super) struct Raw<'a> {
    pub(super) namespace: Cow<'a, str>,
    pub(super) name: Cow<'a, str>,
    pub(super) version: Cow<'a, str>,
    pub(super) json: &'a str,
}

/// Why a request was not answered as asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Refusal {
    /// HTTP status.
    pub(super) code: u16,
    /// Word of the API.
    pub(super) reason: String,
    pub(super) message: String,
    /// Seconds to wait before the next attempt.
    pub(super) retry_after: Option<u64>,
}

/// The metadata of a list, or of a page of one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ListMeta {
    pub(super) resource_version: String,
    #[serde(rename = "continue")]
    pub(super) next: String,
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    metadata: HeadMeta<'a>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct HeadMeta<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    namespace: Cow<'a, str>,
    #[serde(borrow)]
    resource_version: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Bookmark {
    metadata: BookmarkMeta,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct BookmarkMeta {
    resource_version: String,
    annotations: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    code: u16,
    reason: String,
    message: String,
    details: Option<Details>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Details {
    retry_after_seconds: Option<u64>,
}

/// Reads one line of a watch.
pub(super) fn event(line: &[u8]) -> Result<Message<'_>, serde_json::Error> {
    let event: Event<'_> = serde_json::from_slice(line)?;
    match &*event.kind {
        "ADDED" | "MODIFIED" => raw(event.object.get()).map(Message::Is),
        "DELETED" => raw(event.object.get()).map(Message::Gone),
        "BOOKMARK" => {
            let Bookmark { metadata } = serde_json::from_str(event.object.get())?;
            let complete = metadata.annotations.get(INITIAL_EVENTS_END).is_some_and(|v| v == "true");
            Ok(Message::Bookmark { version: metadata.resource_version.into(), complete })
        }
        "ERROR" => Ok(Message::Refused(refusal(0, event.object.get().as_bytes()))),
        _ => Ok(Message::Other),
    }
}

/// Reads one item of a list.
pub(super) fn item(json: &[u8]) -> Result<Raw<'_>, serde_json::Error> {
    raw(std::str::from_utf8(json).map_err(serde::de::Error::custom)?)
}

fn raw(json: &str) -> Result<Raw<'_>, serde_json::Error> {
    let Head { metadata } = serde_json::from_str(json)?;
    let HeadMeta { name, namespace, resource_version } = metadata;
    Ok(Raw { namespace, name, version: resource_version, json })
}

/// Reads what is around the items of a list.
pub(super) fn list_end(around: &[u8]) -> Result<ListMeta, serde_json::Error> {
    #[derive(Deserialize)]
    struct List {
        metadata: ListMeta,
    }
    serde_json::from_slice(around).map(|list: List| list.metadata)
}

/// Reads the body of an answer with an error code; any text will do.
pub(super) fn refusal(code: u16, body: &[u8]) -> Refusal {
    let status: Status = serde_json::from_slice(body).unwrap_or_else(|_| Status {
        message: String::from_utf8_lossy(body.get(..body.len().min(TEXT_BYTES)).unwrap_or(body))
            .trim()
            .to_owned(),
        ..Status::default()
    });
    Refusal {
        code: if code == 0 { status.code } else { code },
        reason: status.reason,
        message: status.message,
        retry_after: status.details.and_then(|d| d.retry_after_seconds),
    }
}

/// Bytes of a text that is no status, for messages.
const TEXT_BYTES: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_names_its_object_and_keeps_its_text() {
        let line = br#"{"type":"MODIFIED","object":{"kind":"Service","metadata":{"name":"a","namespace":"shop","resourceVersion":"12","managedFields":[{}]},"spec":{"x":"\u00e9"}}}"#;
        let Message::Is(raw) = event(line).unwrap() else { panic!("not a change") };
        assert_eq!((&*raw.namespace, &*raw.name, &*raw.version), ("shop", "a", "12"));
        assert!(raw.json.starts_with(r#"{"kind":"Service""#) && raw.json.ends_with("}}"));
    }

    #[test]
    fn a_bookmark_says_when_all_was_told() {
        let plain = br#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"7"}}}"#;
        assert!(matches!(event(plain), Ok(Message::Bookmark { version, complete: false }) if version == "7"));
        let end = br#"{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"8","annotations":{"k8s.io/initial-events-end":"true"}}}}"#;
        assert!(matches!(event(end), Ok(Message::Bookmark { version, complete: true }) if version == "8"));
    }

    #[test]
    fn an_error_within_a_watch_is_a_refusal_with_its_code() {
        let line = br#"{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old resource version"}}"#;
        let Ok(Message::Refused(refusal)) = event(line) else { panic!("not a refusal") };
        assert_eq!((refusal.code, refusal.reason.as_str()), (410, "Expired"));
    }

    #[test]
    fn a_refusal_may_be_any_text() {
        assert_eq!(refusal(502, b"<html>bad gateway").message, "<html>bad gateway");
        assert_eq!(refusal(502, &[0xff; 500]).code, 502);
        let busy =
            br#"{"kind":"Status","code":429,"reason":"TooManyRequests","details":{"retryAfterSeconds":3}}"#;
        assert_eq!(refusal(429, busy).retry_after, Some(3));
    }

    #[test]
    fn a_list_ends_with_its_version_and_where_it_goes_on() {
        let meta = list_end(br#"{"metadata":{"resourceVersion":"9","continue":"abc"},"items":[]}"#).unwrap();
        assert_eq!((meta.resource_version.as_str(), meta.next.as_str()), ("9", "abc"));
    }
}
