//! The `Date` of answers, made once a second (RFC 9110 6.6.1).

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use http::HeaderValue;

thread_local! {
    static LAST: RefCell<(u64, HeaderValue)> = const { RefCell::new((u64::MAX, HeaderValue::from_static(""))) };
}

/// The time of now, to the second.
pub fn now() -> HeaderValue {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    LAST.with_borrow_mut(|(at, value)| {
        if *at != seconds {
            (*at, *value) = (seconds, format(seconds));
        }
        value.clone()
    })
}

fn format(seconds: u64) -> HeaderValue {
    let timestamp = i64::try_from(seconds).ok().and_then(|s| jiff::Timestamp::from_second(s).ok());
    let text = timestamp.and_then(|timestamp| {
        jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&timestamp).ok()
    });
    text.and_then(|text| HeaderValue::try_from(text).ok()).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::{format, now};

    #[test]
    fn a_date_is_written_as_http_wants_it() {
        assert_eq!(format(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert!(now().to_str().unwrap().ends_with(" GMT"));
    }
}
