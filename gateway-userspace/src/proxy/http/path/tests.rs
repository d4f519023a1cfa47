use proptest::prelude::*;

use super::*;

#[test]
fn the_many_spellings_of_admin_become_one_or_stay_apart_or_are_refused() {
    let admin = Ok("/admin");
    let cases = [
        ("/admin", admin),
        ("//admin", admin),
        ("/./admin", admin),
        ("/x/../admin", admin),
        ("/x/%2e%2e/admin", admin),
        ("/x/.%2E/admin", admin),
        ("/%61dmin", admin),
        ("/../admin", admin),
        ("/x//../admin", admin),
        ("/admin/.", Ok("/admin/")),
        ("/admin/x/..", Ok("/admin/")),
        ("/ADMIN", Ok("/ADMIN")),
        ("/admin;x", Ok("/admin;x")),
        ("/%252e%252e/admin", Ok("/%252e%252e/admin")),
        ("/%2e%2e;/admin", Err(PathError::DotParameter)),
        ("/user/..;a=b/admin", Err(PathError::DotParameter)),
        ("/user/..%3ba/admin", Err(PathError::DotParameter)),
        ("/user/.;/admin", Err(PathError::DotParameter)),
        ("/admin%2F", Err(PathError::EncodedSlash)),
        ("/x%2f..%2fadmin", Err(PathError::EncodedSlash)),
        ("/x/..%5cadmin", Err(PathError::EncodedSlash)),
        ("/x\\..\\admin", Err(PathError::BadCharacter)),
        ("/admin%00", Err(PathError::BadCharacter)),
        ("/admin%0d%0aX:1", Err(PathError::BadCharacter)),
        ("/admin#", Err(PathError::BadCharacter)),
        ("/admin?", Err(PathError::BadCharacter)),
        ("/admin ", Err(PathError::BadCharacter)),
        ("/admin\u{e9}", Err(PathError::BadCharacter)),
        ("/admin%zz", Err(PathError::BadEscape)),
        ("/admin%4", Err(PathError::BadEscape)),
        ("admin", Err(PathError::NotAbsolute)),
        ("*", Err(PathError::NotAbsolute)),
        ("", Err(PathError::NotAbsolute)),
    ];
    for (raw, wanted) in cases {
        assert_eq!(normalize(raw).as_deref(), wanted.as_ref().copied(), "{raw:?}");
    }
}

#[test]
fn a_path_in_normal_form_is_not_copied() {
    for path in
        ["/", "/a", "/a/b.c/d", "/a/", "/well-known/{id}|x", "/a:b@c", "/.hidden", "/a;b", "/%20%25%C3%A9"]
    {
        assert!(matches!(normalize(path), Ok(Cow::Borrowed(p)) if p == path), "{path}");
    }
}

#[test]
fn escapes_that_must_stay_are_in_upper_case() {
    assert_eq!(normalize("/%c3%a9%20%3f%23").as_deref(), Ok("/%C3%A9%20%3F%23"));
    assert_eq!(normalize("/.well-known/a").as_deref(), Ok("/.well-known/a"));
    assert_eq!(normalize("/...").as_deref(), Ok("/..."));
}

#[test]
fn a_target_keeps_its_query_as_it_is() {
    let target: PathAndQuery = "/x/../a?b=%2e%2e/%2F&c".parse().unwrap();
    assert_eq!(normalize_target(&target).unwrap().unwrap().as_str(), "/a?b=%2e%2e/%2F&c");
    let target: PathAndQuery = "/a?b=../c".parse().unwrap();
    assert_eq!(normalize_target(&target), Ok(None));
}

fn raw_path() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("/"),
        Just("."),
        Just(".."),
        Just("%2e"),
        Just("%2E"),
        Just("a"),
        Just("%61"),
        Just(";"),
        Just("%3b"),
        Just("%25"),
        Just("2e"),
        Just("%20"),
        Just("%2"),
        Just("//"),
        Just("é"),
        Just("%2f"),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn a_normal_form_is_its_own_normal_form_and_climbs_nowhere(raw in raw_path()) {
        if let Ok(normal) = normalize(&raw) {
            prop_assert!(normal.starts_with('/'));
            prop_assert!(!normal.contains("//"));
            prop_assert!(normal.split('/').all(|s| s != "." && s != ".."));
            let lower = normal.to_ascii_lowercase();
            prop_assert!(!lower.contains("%2f") && !lower.contains("%2e") && !lower.contains("%5c"));
            prop_assert!(matches!(normalize(&normal), Ok(Cow::Borrowed(again)) if again == normal));
        }
    }

    #[test]
    fn no_input_makes_it_panic(raw in "\\PC*") {
        let _ = normalize(&raw);
    }
}
