//! Pure: Weir as a plugin of the Container Network Interface (CNI 0.3.0 to 1.1.0), chained behind the one that makes a
//! pod's network: what a runtime asks of it, what it answers, and its entry in the runtime's list of plugins.
//!
//! A pod is found by its first process, a moment after that has begun. The plugin closes that gap: the runtime starts
//! no container before it has returned, and it returns once the pod is captured. It adds nothing to the network,
//! and whatever goes wrong, the pod starts.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::limits::{CNI_WAIT, CNI_WAIT_MAX};

/// What the plugin is called in a list, and its file.
pub const NAME: &str = "weir-cni";

/// Versions of the specification that it speaks.
const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// Which pod a runtime makes a sandbox for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct Ask {
    /// Namespace of the pod.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID; empty of runtimes that do not say.
    #[serde(default)]
    pub uid: String,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Task {
    /// Ask for the pod to be captured, then print `result`.
    Add {
        /// The pod; `None` when the runtime runs none of a cluster.
        ask: Option<Ask>,
        /// Path of its network namespace.
        netns: PathBuf,
        /// Where the node's Weir listens.
        socket: PathBuf,
        /// Longest wait for its answer.
        wait: Duration,
        /// What the plugins before have made of the network.
        result: Value,
    },
    /// Print this.
    Print(Value),
    /// Nothing: there is nothing of the plugin's in a pod.
    Nothing,
}

/// An error as the specification has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginError {
    version: String,
    code: u32,
    message: String,
}

impl PluginError {
    /// What is printed.
    pub fn to_json(&self) -> Value {
        json!({"cniVersion": self.version, "code": self.code, "msg": self.message})
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Config {
    cni_version: String,
    socket: PathBuf,
    wait_ms: u64,
    prev_result: Option<Value>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            cni_version: "1.0.0".to_owned(),
            socket: PathBuf::new(),
            wait_ms: u64::try_from(CNI_WAIT.as_millis()).unwrap_or(u64::MAX),
            prev_result: None,
        }
    }
}

/// What a runtime asks for: `input` is its standard input, `variable` its environment.
pub fn read(input: &[u8], variable: impl Fn(&str) -> Option<String>) -> Result<Task, PluginError> {
    let error =
        |version: &str, code, message: String| PluginError { version: version.to_owned(), code, message };
    let command = variable("CNI_COMMAND").unwrap_or_default();
    let config: Config = match serde_json::from_slice(input) {
        Ok(config) => config,
        // Whatever becomes of its network, a pod must be able to go.
        Err(_) if command != "ADD" && command != "VERSION" => Config::default(),
        Err(why) => return Err(error("1.0.0", 6, format!("the configuration is not understood: {why}"))),
    };
    let version = config.cni_version.as_str();
    match command.as_str() {
        "VERSION" => Ok(Task::Print(json!({"cniVersion": version, "supportedVersions": VERSIONS}))),
        "ADD" if !VERSIONS.contains(&version) => {
            Err(error(version, 1, format!("{NAME} speaks CNI {}", VERSIONS.join(", "))))
        }
        "ADD" => {
            let Some(result) = config.prev_result else {
                let message = format!("{NAME} makes no network: it belongs behind a plugin that does");
                return Err(error(version, 7, message));
            };
            let Some(netns) = variable("CNI_NETNS").filter(|path| !path.is_empty()) else {
                return Err(error(version, 4, "CNI_NETNS is not set".to_owned()));
            };
            let wait = Duration::from_millis(config.wait_ms).min(CNI_WAIT_MAX);
            let ask = ask(&variable("CNI_ARGS").unwrap_or_default());
            Ok(Task::Add { ask, netns: netns.into(), socket: config.socket, wait, result })
        }
        "DEL" | "CHECK" | "GC" | "STATUS" => Ok(Task::Nothing),
        other => Err(error(version, 4, format!("CNI_COMMAND is `{other}`"))),
    }
}

/// From `K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart-1;...`.
fn ask(arguments: &str) -> Option<Ask> {
    let value = |name: &str| {
        let pairs = arguments.split(';').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(key, _)| *key == name).map(|(_, value)| value.to_owned()).next()
    };
    Some(Ask {
        namespace: value("K8S_POD_NAMESPACE")?,
        name: value("K8S_POD_NAME")?,
        uid: value("K8S_POD_UID").unwrap_or_default(),
    })
}

/// A runtime's list of plugins with Weir's at its end; `None` when it is there already as it should be.
///
/// # Errors
/// When the text is no list of plugins.
pub fn with_plugin(list: &str, socket: &str) -> Result<Option<String>, String> {
    edit(list, |plugins| plugins.push(json!({"type": NAME, "socket": socket})))
}

/// The list without Weir's plugin; `None` when it is not there.
///
/// # Errors
/// When the text is no list of plugins.
pub fn without_plugin(list: &str) -> Result<Option<String>, String> {
    edit(list, |_| ())
}

fn edit(list: &str, finish: impl FnOnce(&mut Vec<Value>)) -> Result<Option<String>, String> {
    let mut whole: Map<String, Value> =
        serde_json::from_str(list).map_err(|error| format!("it is no JSON object: {error}"))?;
    let Some(Value::Array(plugins)) = whole.get_mut("plugins") else {
        return Err("it has no list of plugins".to_owned());
    };
    let before = plugins.clone();
    plugins.retain(|plugin| plugin["type"] != NAME);
    finish(plugins);
    if *plugins == before {
        return Ok(None);
    }
    let mut text = serde_json::to_string_pretty(&whole).map_err(|error| error.to_string())?;
    text.push('\n');
    Ok(Some(text))
}

/// Of the files in a runtime's folder, the one that it uses: the first whose name ends as a configuration's does.
pub fn in_use<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let is_config = |name: &&str| {
        name.rsplit_once('.').is_some_and(|(_, ending)| matches!(ending, "conf" | "conflist" | "json"))
    };
    names.into_iter().filter(is_config).min()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIST: &str = r#"{"cniVersion": "1.0.0", "name": "net", "theirs": {"stays": 1}, "plugins": [
        {"type": "bridge", "ipam": {"type": "host-local"}}, {"type": "portmap"}]}"#;

    fn asked(command: &str, input: &str) -> Result<Task, PluginError> {
        let variable = |name: &str| match name {
            "CNI_COMMAND" => Some(command.to_owned()),
            "CNI_NETNS" => Some("/run/netns/cni-1".to_owned()),
            "CNI_ARGS" => {
                Some("IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cart-1;K8S_POD_UID=u-1".to_owned())
            }
            _ => None,
        };
        read(input.as_bytes(), variable)
    }

    #[test]
    fn a_pod_is_asked_for_and_what_the_plugins_before_have_made_is_passed_on() {
        let input =
            r#"{"cniVersion": "0.4.0", "type": "weir-cni", "socket": "/s", "prevResult": {"ips": [1]}}"#;
        let Ok(Task::Add { ask, netns, socket, wait, result }) = asked("ADD", input) else { panic!() };
        let pod = Ask { namespace: "shop".into(), name: "cart-1".into(), uid: "u-1".into() };
        assert_eq!((ask, wait), (Some(pod), CNI_WAIT));
        assert_eq!((netns, socket), (PathBuf::from("/run/netns/cni-1"), PathBuf::from("/s")));
        assert_eq!(result, json!({"ips": [1]}));
        let long = input.replace("\"/s\"", "\"/s\", \"waitMs\": 86400000");
        assert!(matches!(asked("ADD", &long), Ok(Task::Add { wait: CNI_WAIT_MAX, .. })));
    }

    #[test]
    fn a_sandbox_of_no_cluster_has_nobody_to_ask_for() {
        assert_eq!(ask("IgnoreUnknown=1"), None);
        assert_eq!(ask(""), None);
    }

    #[test]
    fn what_cannot_be_done_is_said_as_the_specification_has_it() {
        let code = |command, input| asked(command, input).unwrap_err().to_json()["code"].clone();
        assert_eq!(code("ADD", "{"), 6);
        assert_eq!(code("ADD", r#"{"cniVersion": "9.0.0", "prevResult": {}}"#), 1);
        assert_eq!(code("ADD", r#"{"cniVersion": "1.0.0"}"#), 7);
        assert_eq!(code("WHAT", r#"{"cniVersion": "1.0.0"}"#), 4);
    }

    #[test]
    fn a_pod_can_always_go() {
        for input in ["", "{", r#"{"cniVersion": "9.0.0"}"#, "[]"] {
            assert_eq!(asked("DEL", input), Ok(Task::Nothing), "{input}");
        }
    }

    #[test]
    fn a_runtime_is_told_which_versions_are_spoken() {
        let Ok(Task::Print(answer)) = asked("VERSION", r#"{"cniVersion": "0.4.0"}"#) else { panic!() };
        assert_eq!(answer["cniVersion"], "0.4.0");
        assert_eq!(answer["supportedVersions"].as_array().map(Vec::len), Some(VERSIONS.len()));
    }

    #[test]
    fn the_plugin_stands_at_the_end_of_a_list_once_and_leaves_it_as_it_was() {
        let once = with_plugin(LIST, "/s").unwrap().unwrap();
        let value: Value = serde_json::from_str(&once).unwrap();
        assert_eq!(value["plugins"][2], json!({"type": "weir-cni", "socket": "/s"}));
        assert_eq!(value["theirs"], json!({"stays": 1}));
        assert_eq!(with_plugin(&once, "/s").unwrap(), None);
        let moved = with_plugin(&once, "/t").unwrap().unwrap();
        assert_eq!(moved.matches(NAME).count(), 1);
        let without: Value = serde_json::from_str(&without_plugin(&moved).unwrap().unwrap()).unwrap();
        assert_eq!(without, serde_json::from_str::<Value>(LIST).unwrap());
        assert_eq!(without_plugin(LIST).unwrap(), None);
    }

    #[test]
    fn what_is_no_list_is_left_alone() {
        for text in ["", "[]", "{", r#"{"type": "bridge"}"#, r#"{"plugins": 1}"#] {
            assert!(with_plugin(text, "/s").is_err(), "{text}");
        }
    }

    #[test]
    fn a_runtime_uses_the_first_configuration_by_name() {
        let names = ["99-late.conflist", "10-net.conflist", "05-notes.txt", ".10-net.conflist.new", "README"];
        assert_eq!(in_use(names), Some("10-net.conflist"));
        assert_eq!(in_use(["a.json", "b.conflist"]), Some("a.json"));
        assert_eq!(in_use(["README"]), None);
    }

    proptest! {
        #[test]
        fn any_input_is_answered(command in "[A-Z]{0,8}", input in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&input, |_| Some(command.clone()));
            let _ = with_plugin(&String::from_utf8_lossy(&input), "/s");
        }
    }
}
