//! Pure: which versions of the Gateway API a server has, and which kinds in each.

use serde::Deserialize;

use super::source::{GATEWAY_VERSIONS, Source};

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
        #[serde(default)]
        resources: Vec<Resource>,
    }
    #[derive(Deserialize)]
    struct Resource {
        name: String,
    }
    let list: Resources = serde_json::from_slice(version)?;
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
            br#"{"resources":[{"name":"gateways"},{"name":"gateways/status"},{"name":"httproutes"}]}"#,
        );
        let beta = collections(br#"{"resources":[{"name":"gateways"},{"name":"referencegrants"}]}"#);
        let found = [("v1", v1.unwrap()), ("v1beta1", beta.unwrap())];
        assert_eq!(best(Source::Gateways, &found), Some("v1"));
        assert_eq!(best(Source::ReferenceGrants, &found), Some("v1beta1"));
        assert_eq!(best(Source::GrpcRoutes, &found), None);
    }
}
