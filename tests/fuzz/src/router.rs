//! The router: by its indexes it finds what the slow matcher finds by reading the Gateway API.

use arbitrary::{Result, Unstructured};
use gateway_userspace::snapshot::router::{
    Matcher, PathMatcher, RequestHead, RouteEntry, Router, Rule, RuleId, Section, Timeouts, ValueMatcher,
    WeightedBackends,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use regex::Regex;

/// What a router is asked.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
}

/// Panics when the index and the slow matcher find different entries.
pub(crate) fn assert_agreement(router: &Router, request: &Request) {
    let head = RequestHead {
        host: &request.host,
        path: &request.path,
        query: request.query.as_deref(),
        method: &request.method,
        headers: &request.headers,
    };
    let found = router.find(&head).map(|found| (found.rule.name.clone(), found.prefix_len));
    #[cfg(fuzzing)]
    assert_eq!(
        found,
        router.find_slowly(&head).map(|found| (found.rule.name.clone(), found.prefix_len)),
        "{request:?}"
    );
    let told = router.explain(&head);
    let winner = told.first().filter(|(_, says)| says.starts_with("serves")).map(|(name, _)| name.clone());
    assert_eq!(winner, found.map(|(name, _)| name), "{request:?}");
}

/// The bytes choose routes and requests from few pieces, so that they meet.
pub(crate) fn router(data: &[u8]) {
    let mut data = Unstructured::new(data);
    let Ok(sections) = sections(&mut data) else { return };
    let router = Router::new(sections);
    for _ in 0..8 {
        let Ok(request) = request(&mut data) else { return };
        assert_agreement(&router, &request);
    }
}

const HOSTNAMES: [Option<&str>; 7] = [
    None,
    Some("a.example"),
    Some("b.a.example"),
    Some("*.example"),
    Some("*.a.example"),
    Some("*.b.a.example"),
    Some("c"),
];
const HOSTS: [&str; 9] =
    ["a.example", "b.a.example", "c.b.a.example", "x.example", "example", ".example", "c", "d.c", ""];
const SEGMENTS: [&str; 8] = ["a", "b", "ab", "a.b", "%25", "1", "22", "é"];
const PATTERNS: [&str; 8] = ["/.*", "/a/.*", "/a/[0-9]+", "/(a|b)", "/a", "/a/b/?", "(/x)?/a.*", "[^/]*"];
const NAMES: [&str; 3] = ["x-a", "x-b", "x-c"];
const VALUES: [&str; 6] = ["1", "2", "", "a b", "a,b", "[0-9]"];
const METHODS: [Method; 3] = [Method::GET, Method::PUT, Method::POST];

fn path(data: &mut Unstructured<'_>) -> Result<String> {
    let mut path = String::new();
    for _ in 0..data.int_in_range(0..=3)? {
        path.push('/');
        path.push_str(data.choose(&SEGMENTS)?);
    }
    if path.is_empty() || data.ratio(1, 4)? {
        path.push('/');
    }
    Ok(path)
}

fn pattern(text: &str) -> Regex {
    Regex::new(&format!("^(?:{text})$")).expect("each pattern of the lists is one")
}

fn sections(data: &mut Unstructured<'_>) -> Result<Vec<Section>> {
    let mut sections = Vec::new();
    let mut count = 0;
    // The compiler mixes the two kinds nowhere.
    let grpc = data.ratio(1, 4)?;
    for _ in 0..=data.int_in_range(0..=2)? {
        let hostname = data.choose(&HOSTNAMES)?.map(Into::into);
        let mut entries = Vec::new();
        for _ in 0..data.int_in_range(0..=6)? {
            count += 1;
            entries.push(entry(count, grpc, data)?);
        }
        sections.push(Section { hostname, entries });
    }
    Ok(sections)
}

fn http_path(data: &mut Unstructured<'_>) -> Result<PathMatcher> {
    Ok(match data.int_in_range(0..=2)? {
        0 => PathMatcher::Exact(path(data)?.into()),
        1 => PathMatcher::Prefix(path(data)?.into()),
        _ => PathMatcher::Regex(pattern(data.choose(&PATTERNS)?)),
    })
}

/// Service and method, one of them, or none.
fn grpc_path(data: &mut Unstructured<'_>) -> Result<PathMatcher> {
    let (service, method) = (data.choose(&SEGMENTS)?, data.choose(&SEGMENTS)?);
    Ok(match data.int_in_range(0..=3)? {
        0 => PathMatcher::default(),
        1 => PathMatcher::Exact(format!("/{service}/{method}").into()),
        2 => PathMatcher::Prefix(format!("/{service}").into()),
        _ => PathMatcher::Regex(pattern(&format!("/[^/]+/{method}"))),
    })
}

fn entry(number: u32, grpc: bool, data: &mut Unstructured<'_>) -> Result<RouteEntry> {
    let path = if grpc { grpc_path(data)? } else { http_path(data)? };
    let mut matcher = Matcher { path, ..Matcher::default() };
    for _ in 0..data.int_in_range(0..=2)? {
        matcher.headers.push((HeaderName::from_static(data.choose(&NAMES)?), value(data)?));
    }
    for _ in 0..data.int_in_range(0..=2)? {
        matcher.query.push(((*data.choose(&NAMES)?).into(), value(data)?));
    }
    matcher.method = data.arbitrary::<bool>()?.then(|| data.choose(&METHODS).cloned()).transpose()?;
    let rule = Rule {
        id: RuleId(number),
        name: format!("rule {number}").into(),
        grpc,
        filters: Vec::new(),
        backends: WeightedBackends::default(),
        timeouts: Timeouts::default(),
        retry: None,
    };
    Ok(RouteEntry { hostname: data.choose(&HOSTNAMES)?.map(Into::into), matcher, rule: rule.into() })
}

fn value(data: &mut Unstructured<'_>) -> Result<ValueMatcher> {
    let text = *data.choose(&VALUES)?;
    Ok(if data.arbitrary()? { ValueMatcher::Regex(pattern(text)) } else { ValueMatcher::Exact(text.into()) })
}

fn request(data: &mut Unstructured<'_>) -> Result<Request> {
    let mut headers = HeaderMap::new();
    for _ in 0..data.int_in_range(0..=3)? {
        let name = HeaderName::from_static(data.choose(&NAMES)?);
        headers.append(name, HeaderValue::from_static(data.choose(&VALUES)?));
    }
    let mut pairs = Vec::new();
    for _ in 0..data.int_in_range(0..=2)? {
        pairs.push(format!("{}={}", data.choose(&NAMES)?, data.choose(&VALUES)?.replace(' ', "+")));
    }
    Ok(Request {
        host: (*data.choose(&HOSTS)?).to_owned(),
        path: path(data)?,
        query: (!pairs.is_empty()).then(|| pairs.join("&")),
        method: data.choose(&METHODS)?.clone(),
        headers,
    })
}
