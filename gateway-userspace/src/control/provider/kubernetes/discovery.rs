//! Pure: which versions of the Gateway API a server has, and which kinds in each.

use serde::Deserialize;

use super::source::{GATEWAY_VERSIONS, Source};

/// The path that names all groups.
pub(super) const GROUPS_PATH: &str = "/apis";

/// Whether the Gateway API is among all groups. Only an API server says such a thing.
pub(super) fn has_group(groups: &[u8]) -> Result<bool, serde_json::Error> {
    #[derive(Deserialize)]
    struct Groups {
        kind: String,
        groups: Vec<Group>,
    }
    #[derive(Deserialize)]
    struct Group {
        name: String,
    }
    let list: Groups = serde_json::from_slice(groups)?;
    is_of("APIGroupList", &list.kind)?;
    Ok(list.groups.iter().any(|group| group.name == crate::control::config::route::GATEWAY_GROUP))
}

fn is_of(wanted: &str, kind: &str) -> Result<(), serde_json::Error> {
    use serde::de::Error;
    if kind == wanted { Ok(()) } else { Err(Error::custom(format!("`{kind}` instead of `{wanted}`"))) }
}

/// The path that names the versions of the Gateway API.
pub(super) fn group_path() -> String {
    format!("/apis/{}", crate::control::config::route::GATEWAY_GROUP)
}

/// The path that names the kinds of one version.
pub(super) fn version_path(version: &str) -> String {
    format!("{}/{version}", group_path())
}

/// The versions that the server has and Weir can read, best first.
pub(super) fn versions(group: &[u8]) -> Result<Vec<&'static str>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Group {
        versions: Vec<Version>,
    }
    #[derive(Deserialize)]
    struct Version {
        version: String,
    }
    let group: Group = serde_json::from_slice(group)?;
    let known = GATEWAY_VERSIONS.into_iter();
    Ok(known.filter(|known| group.versions.iter().any(|v| v.version == *known)).collect())
}

/// The collections that a version has, by their plural name.
pub(super) fn collections(version: &[u8]) -> Result<Vec<String>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Resources {
        kind: String,
        #[serde(default)]
        resources: Vec<Resource>,
    }
    #[derive(Deserialize)]
    struct Resource {
        name: String,
    }
    let list: Resources = serde_json::from_slice(version)?;
    is_of("APIResourceList", &list.kind)?;
    Ok(list.resources.into_iter().map(|r| r.name).filter(|name| !name.contains('/')).collect())
}

/// The best version that has `source`.
pub(super) fn best(source: Source, found: &[(&'static str, Vec<String>)]) -> Option<&'static str> {
    let has = |collections: &[String]| collections.iter().any(|name| name == source.plural());
    found.iter().find(|(_, collections)| has(collections)).map(|(version, _)| *version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_read_in_the_best_version_that_has_it() {
        let group =
            br#"{"kind":"APIGroup","versions":[{"version":"v1beta1"},{"version":"v9"},{"version":"v1"}]}"#;
        assert_eq!(versions(group).unwrap(), ["v1", "v1beta1"]);
        let v1 = collections(
            br#"{"kind":"APIResourceList","resources":[{"name":"gateways"},{"name":"gateways/status"},{"name":"httproutes"}]}"#,
        );
        let beta = collections(
            br#"{"kind":"APIResourceList","resources":[{"name":"gateways"},{"name":"referencegrants"}]}"#,
        );
        let found = [("v1", v1.unwrap()), ("v1beta1", beta.unwrap())];
        assert_eq!(best(Source::Gateways, &found), Some("v1"));
        assert_eq!(best(Source::ReferenceGrants, &found), Some("v1beta1"));
        assert_eq!(best(Source::GrpcRoutes, &found), None);
    }

    #[test]
    fn only_a_list_of_an_api_server_says_that_something_is_not_there() {
        let groups = |name: &str| format!(r#"{{"kind":"APIGroupList","groups":[{{"name":"{name}"}}]}}"#);
        assert!(has_group(groups("gateway.networking.k8s.io").as_bytes()).unwrap());
        assert!(!has_group(groups("apps").as_bytes()).unwrap());
        for other in ["default backend - 404", "{}", r#"{"kind":"Status","groups":[]}"#] {
            assert!(has_group(other.as_bytes()).is_err(), "{other}");
            assert!(collections(other.as_bytes()).is_err(), "{other}");
        }
    }
}
