//! The schemas of Kubernetes' own kinds, made from its OpenAPI document: strict, and each complete in itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use serde_json::{Map, Value, json};

use super::render::{self, KUBERNETES};
use super::{Bench, output};
use crate::{command, go, workspace};

/// Kinds of others, whose schemas Kubernetes does not have.
const FOREIGN: &str = "GatewayClass,PodMonitor,PrometheusRule";
const PREFIX: &str = "#/definitions/";

pub(super) fn conform(bench: &Bench) -> anyhow::Result<()> {
    let schemas = find_or_make()?;
    for set in render::sets()? {
        let file = workspace::target_dir().join("chart-rendered.yaml");
        std::fs::write(&file, render::with_values(bench, &set)?).context("cannot write what was rendered")?;
        let mut kubeconform = bench.tools.command("kubeconform");
        kubeconform.args(["-strict", "-skip", FOREIGN, "-schema-location"]);
        kubeconform.arg(schemas.join("{{.ResourceKind}}{{.KindSuffix}}.json")).arg(&file);
        output(&mut kubeconform).with_context(|| format!("with the values `{set}`"))?;
    }
    Ok(())
}

/// A file for each kind, kept beside the tools.
fn find_or_make() -> anyhow::Result<PathBuf> {
    let dir = workspace::cache_dir().join("tools").join(format!("schemas-{KUBERNETES}"));
    if dir.is_dir() {
        return Ok(dir);
    }
    let document = download()?.join("api/openapi-spec/swagger.json");
    let text = std::fs::read(&document).with_context(|| format!("cannot read {}", document.display()))?;
    let document: Value = serde_json::from_slice(&text).context("the OpenAPI document")?;
    let unfinished = dir.with_extension("unfinished");
    std::fs::create_dir_all(&unfinished).with_context(|| format!("cannot make {}", unfinished.display()))?;
    for (name, schema) in all(&document) {
        let path = unfinished.join(format!("{name}.json"));
        std::fs::write(&path, schema.to_string())
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    std::fs::rename(&unfinished, &dir).context("cannot name the folder of schemas")?;
    Ok(dir)
}

/// The module of Kubernetes, which has the document; Go checks that it is what everybody gets.
fn download() -> anyhow::Result<PathBuf> {
    println!("getting the schemas of Kubernetes {KUBERNETES}, once for this user");
    let mut download = Command::new(go::find_or_install(false)?);
    // Outside of any module, so that no go.mod is asked.
    download.current_dir(Path::new("/")).env("GOTOOLCHAIN", "local").env("GOFLAGS", "");
    download.args(["mod", "download", "-json", &format!("k8s.io/kubernetes@v{KUBERNETES}")]);
    let says = command::output(&mut download).context("cannot download the module k8s.io/kubernetes")?;
    let says: Value = serde_json::from_str(&says).context("go mod download -json")?;
    match says["Dir"].as_str() {
        Some(dir) => Ok(dir.into()),
        None => bail!("go mod download says no folder"),
    }
}

/// Schemas by the names under which kubeconform asks for them, such as `deployment-apps-v1`.
fn all(document: &Value) -> BTreeMap<String, Value> {
    let empty = Map::new();
    let definitions = document["definitions"].as_object().unwrap_or(&empty);
    let mut schemas = BTreeMap::new();
    for (name, definition) in definitions {
        let kinds = definition["x-kubernetes-group-version-kind"].as_array().map_or(&[][..], Vec::as_slice);
        for kind in kinds {
            let part = |name: &str| kind[name].as_str().unwrap_or_default().to_lowercase();
            let group = part("group").split('.').next().map(|group| format!("-{group}")).unwrap_or_default();
            let group = if group == "-" { String::new() } else { group };
            let file = format!("{}{group}-{}", part("kind"), part("version"));
            schemas.insert(file, inline(definition, definitions, &mut vec![name.as_str()]));
        }
    }
    schemas
}

/// The schema with everything that it refers to in it. Where it contains itself, anything goes.
fn inline<'a>(schema: &'a Value, definitions: &'a Map<String, Value>, above: &mut Vec<&'a str>) -> Value {
    if let Some(name) = schema["$ref"].as_str().and_then(|reference| reference.strip_prefix(PREFIX)) {
        let is_either = name.ends_with(".IntOrString") || name.ends_with(".Quantity");
        return match definitions.get(name) {
            Some(definition) if !above.contains(&name) && !is_either => {
                above.push(name);
                let inlined = inline(definition, definitions, above);
                above.pop();
                inlined
            }
            _ => json!({}),
        };
    }
    match schema {
        Value::Object(fields) => {
            let mut out: Map<String, Value> =
                fields.iter().map(|(key, value)| (key.clone(), inline(value, definitions, above))).collect();
            let is_open = fields.contains_key("additionalProperties")
                || fields.get("x-kubernetes-preserve-unknown-fields").is_some();
            if fields.get("properties").is_some_and(Value::is_object) && !is_open {
                out.insert("additionalProperties".to_owned(), Value::Bool(false));
            }
            Value::Object(out)
        }
        Value::Array(items) => {
            Value::Array(items.iter().map(|item| inline(item, definitions, above)).collect())
        }
        plain => plain.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::all;

    #[test]
    fn a_kind_is_complete_in_itself_and_takes_no_field_that_it_does_not_have() {
        let document = json!({"definitions": {
            "apps.v1.Deployment": {
                "type": "object",
                "properties": {"spec": {"$ref": "#/definitions/apps.v1.Spec"}},
                "x-kubernetes-group-version-kind": [{"group": "apps", "kind": "Deployment", "version": "v1"}],
            },
            "apps.v1.Spec": {
                "properties": {"replicas": {"type": "integer"}, "inner": {"$ref": "#/definitions/apps.v1.Spec"}},
            },
            "core.v1.Pod": {"x-kubernetes-group-version-kind": [{"group": "", "kind": "Pod", "version": "v1"}]},
        }});
        let schemas = all(&document);
        assert_eq!(schemas.keys().collect::<Vec<_>>(), ["deployment-apps-v1", "pod-v1"]);
        let spec = &schemas["deployment-apps-v1"]["properties"]["spec"];
        assert_eq!(spec["additionalProperties"], json!(false));
        assert_eq!(spec["properties"]["inner"], json!({}), "a schema that contains itself ends");
    }
}
