//! Pure: the requests by which a collection is listed and watched.

use http::Request;
use http::header::ACCEPT;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::progress::Step;
use super::source::Source;

const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Ends of requests.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Objects of one page.
    pub(super) page_objects: usize,
    /// How long the server is to keep a watch open, seconds.
    pub(super) watch_seconds: u64,
}

/// The request for a step.
pub(super) fn of(
    source: Source,
    version: &str,
    node: &str,
    step: &Step,
    bounds: Bounds,
) -> Result<Request<Vec<u8>>, http::Error> {
    let mut uri = match source.group() {
        "" => format!("/api/{version}/{}?", source.plural()),
        group => format!("/apis/{group}/{version}/{}?", source.plural()),
    };
    let mut parameter = |name: &str, value: &str| {
        if !uri.ends_with('?') {
            uri.push('&');
        }
        uri.push_str(name);
        uri.push('=');
        uri.extend(utf8_percent_encode(value, QUERY));
    };
    if let Some(selector) = source.field_selector(node) {
        parameter("fieldSelector", &selector);
    }
    match step {
        Step::Page(next) => {
            parameter("limit", &bounds.page_objects.to_string());
            if let Some(next) = next {
                parameter("continue", next);
            }
        }
        Step::Stream | Step::Watch(_) => {
            parameter("watch", "true");
            parameter("allowWatchBookmarks", "true");
            parameter("timeoutSeconds", &bounds.watch_seconds.to_string());
            match step {
                Step::Watch(version) => parameter("resourceVersion", version),
                _ => {
                    parameter("sendInitialEvents", "true");
                    parameter("resourceVersionMatch", "NotOlderThan");
                }
            }
        }
    }
    let accept = match (source.metadata_only(), step) {
        (false, _) => "application/json",
        (true, Step::Page(_)) => "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
        (true, _) => "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
    };
    Request::get(uri).header(ACCEPT, accept).body(Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { page_objects: 500, watch_seconds: 400 };

    fn uri(source: Source, version: &str, step: &Step) -> String {
        of(source, version, "node-1", step, BOUNDS).unwrap().uri().to_string()
    }

    #[test]
    fn a_list_is_asked_for_as_a_stream_or_in_pages() {
        assert_eq!(
            uri(Source::Services, "v1", &Step::Stream),
            "/api/v1/services?watch=true&allowWatchBookmarks=true&timeoutSeconds=400&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"
        );
        assert_eq!(
            uri(Source::HttpRoutes, "v1beta1", &Step::Page(Some("a+b=".to_owned()))),
            "/apis/gateway.networking.k8s.io/v1beta1/httproutes?limit=500&continue=a%2Bb%3D"
        );
    }

    #[test]
    fn a_watch_goes_on_from_a_version_and_pods_are_those_of_the_node() {
        assert_eq!(
            uri(Source::Pods, "v1", &Step::Watch("12".to_owned())),
            "/api/v1/pods?fieldSelector=spec.nodeName%3Dnode-1&watch=true&allowWatchBookmarks=true&timeoutSeconds=400&resourceVersion=12"
        );
    }

    #[test]
    fn of_namespaces_only_metadata_is_asked_for() {
        let request = of(Source::Namespaces, "v1", "", &Step::Stream, BOUNDS).unwrap();
        assert!(request.headers()[ACCEPT].to_str().unwrap().contains("as=PartialObjectMetadata;"));
    }
}
