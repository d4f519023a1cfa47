//! Roles taken apart: each right by itself, and a role without it.

use serde_json::{Value, json};

/// Role, rule, resource and verbs: of reading all together, of writing one by one.
pub(super) fn rights(roles: &[Value]) -> Vec<(usize, usize, String, Vec<String>)> {
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|v| Some(v.as_str()?.to_owned())).collect()
    };
    let mut rights = Vec::new();
    for (role, object) in roles.iter().enumerate() {
        let rules = object["rules"].as_array().into_iter().flatten();
        for (index, rule) in rules.enumerate() {
            let (reading, writing): (Vec<String>, Vec<String>) =
                texts(&rule["verbs"]).into_iter().partition(|verb| matches!(verb.as_str(), "list" | "watch"));
            for resource in texts(&rule["resources"]) {
                let groups = writing.iter().map(|verb| vec![verb.clone()]).chain([reading.clone()]);
                let groups = groups.filter(|verbs| !verbs.is_empty());
                rights.extend(groups.map(|verbs| (role, index, resource.clone(), verbs)));
            }
        }
    }
    rights
}

/// The rule is split, so that all its other rights stay.
pub(super) fn take_out(role: &mut Value, rule: usize, resource: &str, verbs: &[String]) {
    let Some(rules) = role["rules"].as_array_mut() else { return };
    let mut rest = rules[rule].clone();
    let without = |list: &mut Value, gone: &[String]| {
        let Some(list) = list.as_array_mut() else { return };
        list.retain(|value| !gone.iter().any(|g| *value == g.as_str()));
    };
    without(&mut rules[rule]["resources"], &[resource.to_owned()]);
    rest["resources"] = json!([resource]);
    without(&mut rest["verbs"], verbs);
    rules.push(rest);
    rules.retain(|rule| {
        ["resources", "verbs"].iter().all(|f| rule[f].as_array().is_some_and(|l| !l.is_empty()))
    });
}
