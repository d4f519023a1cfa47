//! Paths: one normal form, which has no other.

use std::borrow::Cow;

use gateway_userspace::proxy::http::path::{normalize, normalize_target};
use http::uri::PathAndQuery;

/// The bytes are a request target.
pub(crate) fn path(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(normal) = normalize(text) {
        assert_normal(&normal);
        assert_eq!(matches!(normal, Cow::Borrowed(_)), normal == text, "{text:?}");
        assert_eq!(normalize(&normal).as_deref(), Ok(&*normal), "{text:?} has two normal forms");
    }
    let Ok(target) = text.parse::<PathAndQuery>() else { return };
    if let Ok(normal) = normalize_target(&target) {
        let normal = normal.as_ref().unwrap_or(&target);
        assert_normal(normal.path());
        assert_eq!(normal.query(), target.query(), "{text:?}");
        assert_eq!(normalize_target(normal), Ok(None), "{text:?}");
    }
}

/// What a server behind could read in another way is not in it.
fn assert_normal(path: &str) {
    assert!(path.starts_with('/'), "{path:?}");
    assert!(path.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\?#".contains(&byte)), "{path:?}");
    assert!(!path.contains("//"), "{path:?}");
    assert!(path.split('/').all(|segment| segment != "." && segment != ".."), "{path:?}");
    let lower = path.to_ascii_lowercase();
    for escape in ["%2f", "%5c", "%2e", "%00", "%0a", "%0d", "%41", "%7e"] {
        assert!(!lower.contains(escape), "{path:?} still has {escape}");
    }
    let mut rest = path;
    while let Some((_, after)) = rest.split_once('%') {
        let digits = after.get(..2).unwrap_or_default();
        let is_upper = |digit: u8| digit.is_ascii_digit() || (b'A'..=b'F').contains(&digit);
        assert!(digits.len() == 2 && digits.bytes().all(is_upper), "{path:?}");
        rest = after;
    }
}
