//! Pure: names of header fields. Those that are common between services need no memory of their own.

use http::HeaderName;
use http::header::InvalidHeaderName;

/// A field's name, in whatever case.
///
/// # Errors
/// When it has a character that names have not.
pub fn name(text: &[u8]) -> Result<HeaderName, InvalidHeaderName> {
    let known =
        of_length(text.len()).iter().find(|known| known.as_str().as_bytes().eq_ignore_ascii_case(text));
    known.map_or_else(|| HeaderName::from_bytes(text), |known| Ok(known.clone()))
}

/// Matches a length on the names that have it.
macro_rules! by_length {
    ($length:expr; $($of:literal: $($name:literal),+;)+) => {
        match $length {
            $($of => {
                static NAMES: [HeaderName; [$($name),+].len()] = [$(HeaderName::from_static($name)),+];
                &NAMES
            })+
            _ => &[],
        }
    };
}

/// What `http` has no constants for. By length, which tells most names apart.
fn of_length(length: usize) -> &'static [HeaderName] {
    by_length! { length;
        2: "b3";
        7: "baggage";
        8: "priority";
        9: "x-real-ip";
        10: "keep-alive", "tracestate", "x-b3-flags";
        11: "traceparent", "grpc-status", "x-b3-spanid";
        12: "x-request-id", "grpc-timeout", "grpc-message", "x-b3-traceid", "x-b3-sampled";
        13: "grpc-encoding";
        14: "sec-fetch-dest", "sec-fetch-mode", "sec-fetch-site";
        15: "x-forwarded-for";
        16: "x-forwarded-host", "x-forwarded-port";
        17: "x-forwarded-proto", "x-b3-parentspanid";
        20: "grpc-accept-encoding";
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderName;
    use proptest::prelude::*;

    use super::{name, of_length};

    #[test]
    fn each_known_name_is_found_in_any_case() {
        let known = (0..64).flat_map(|length| of_length(length).iter().map(move |name| (length, name)));
        for (length, known) in known {
            assert_eq!(known.as_str().len(), length, "{known}");
            let upper = known.as_str().to_ascii_uppercase();
            assert_eq!(name(upper.as_bytes()).as_ref().ok(), Some(known));
        }
    }

    proptest! {
        #[test]
        fn a_name_is_what_it_is_without_the_known_ones(text in "[a-zA-Z0-9 _-]{0,24}|[Xx]-[Bb]3-[a-z]{4,12}") {
            prop_assert_eq!(name(text.as_bytes()).ok(), HeaderName::from_bytes(text.as_bytes()).ok());
        }
    }
}
