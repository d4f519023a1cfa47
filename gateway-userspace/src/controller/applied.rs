//! Pure: whether an object is as it was applied, so that it is not applied again.

use std::collections::BTreeSet;

use serde_json::Value;

/// The name under which Weir's controller applies objects.
pub const FIELD_MANAGER: &str = "weir-controller";

/// True when everything that is wanted is there, and no label or annotation that was applied before is
/// there too much. What others have set in other fields does not count.
pub fn holds(there: &Value, wanted: &Value) -> bool {
    // Objects of a list do not say their kind.
    let fields = wanted.as_object().into_iter().flatten();
    let mut fields = fields.filter(|(key, _)| !matches!(key.as_str(), "apiVersion" | "kind"));
    fields.all(|(key, wanted)| there.get(key).is_some_and(|there| covers(there, wanted)))
        && ["labels", "annotations"].iter().all(|map| {
            let keys = wanted["metadata"][*map].as_object().into_iter().flat_map(|map| map.keys());
            applied_keys(there, map).is_subset(&keys.map(String::as_str).collect())
        })
}

fn covers(there: &Value, wanted: &Value) -> bool {
    match (there, wanted) {
        (Value::Object(there), Value::Object(wanted)) => {
            wanted.iter().all(|(key, value)| there.get(key).is_some_and(|t| covers(t, value)))
        }
        (Value::Array(there), Value::Array(wanted)) => {
            there.len() == wanted.len() && there.iter().zip(wanted).all(|(t, w)| covers(t, w))
        }
        (there, wanted) => there == wanted,
    }
}

/// Keys of a map in the metadata that Weir applied, as `managedFields` has them (`f:` before each).
fn applied_keys<'a>(there: &'a Value, map: &str) -> BTreeSet<&'a str> {
    let entries = there["metadata"]["managedFields"].as_array().into_iter().flatten();
    let ours = entries.filter(|e| e["manager"] == FIELD_MANAGER && e["operation"] == "Apply");
    let fields = ours.filter_map(|e| e["fieldsV1"]["f:metadata"][format!("f:{map}")].as_object());
    fields.flat_map(|fields| fields.keys()).filter_map(|key| key.strip_prefix("f:")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_others_set_is_left_alone_and_what_was_changed_is_noticed() {
        let wanted =
            json!({"kind": "Service", "metadata": {"labels": {"a": "1"}}, "spec": {"ports": [{"port": 80}]}});
        let mut there = json!({
            "metadata": {"labels": {"a": "1", "theirs": "2"}, "annotations": {"their": "own"}},
            "spec": {"clusterIP": "10.0.0.1", "ports": [{"port": 80, "nodePort": 30000}]},
        });
        assert!(holds(&there, &wanted));
        there["spec"]["ports"][0]["port"] = 81.into();
        assert!(!holds(&there, &wanted));
    }

    #[test]
    fn a_label_that_is_no_longer_wanted_is_noticed_when_it_was_ours() {
        let fields = json!({"f:metadata": {"f:labels": {".": {}, "f:a": {}, "f:old": {}}}});
        let mut there = json!({
            "metadata": {
                "labels": {"a": "1", "old": "2"},
                "managedFields": [{"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": fields}],
            },
        });
        let wanted = json!({"metadata": {"labels": {"a": "1"}}});
        assert!(!holds(&there, &wanted));
        there["metadata"]["managedFields"][0]["manager"] = "helm".into();
        assert!(holds(&there, &wanted));
    }
}
