//! The command line, as a shell sees it: output and exit codes.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::process::{Command, Output};

fn weir(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_weir")).args(arguments).env_remove("NO_COLOR").output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

const SERVICE: &str = "\
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec:
  clusterIP: 10.96.0.7
  ports: [{name: http, port: 80}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: cart-1, namespace: shop, labels: {kubernetes.io/service-name: cart}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [127.0.0.1]}]
";

#[test]
fn help_teaches_with_examples_and_exit_codes() {
    let output = weir(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    for word in ["weir check ./config", "weir run --config", "Exit codes: 0 ok", "NO_COLOR"] {
        assert!(stdout(&output).contains(word), "{word} is missing in\n{}", stdout(&output));
    }
    for verb in ["run", "check", "status", "explain", "cleanup", "version"] {
        let output = weir(&[verb, "--help"]);
        assert_eq!(output.status.code(), Some(0), "{verb}");
        assert!(stdout(&output).lines().next().unwrap().len() > 20, "{verb} says what it does");
    }
}

#[test]
fn what_cannot_be_meant_is_exit_code_2() {
    for wrong in [
        &["serve"][..],
        &["run"],
        &["run", "--config", "/no/such/folder"],
        &["run", "--config", "/", "--drain-timeout", "soon"],
        &["run", "--config", "/", "--workers", "0"],
        &["check", "/no/such/folder"],
        &["explain"],
        &["explain", "shop/web", "http://cart/", "-H", "no colon"],
    ] {
        let output = weir(wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {}", stderr(&output));
    }
}

#[test]
fn a_gateway_that_is_not_there_is_exit_code_3_and_one_line_that_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("admin.sock");
    for verb in [&["status"][..], &["explain", "shop/web", "http://cart/"]] {
        let output = weir(&[verb, &["--admin-socket", text(&socket)]].concat());
        assert_eq!(output.status.code(), Some(3));
        assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
        assert!(stderr(&output).contains("weir run --config DIR"), "{}", stderr(&output));
    }
}

#[test]
fn version_says_whether_the_datapath_is_in_it() {
    let output = weir(&["version", "-o", "json"]);
    let version: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(version["version"], env!("CARGO_PKG_VERSION"));
    assert!(version["datapath"].is_boolean() && version["kernel_abi"].is_u64(), "{version}");
    assert!(stdout(&weir(&["version"])).contains("datapath"));
}

#[test]
fn a_good_folder_is_checked_with_exit_code_0() {
    let folder = folder(&[("cart.yaml", SERVICE)]);
    let output = weir(&["check", text(folder.path())]);
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    assert!(stdout(&output).contains("0 errors, 0 warnings"), "{}", stdout(&output));
    assert!(!stdout(&output).contains('\x1b'), "no colour without a terminal");
}

#[test]
fn a_bad_folder_is_exit_code_1_with_file_line_and_what_to_do() {
    let broken =
        "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: b}\nspec:\n  ports: [{port: many}]\n";
    let folder = folder(&[("cart.yaml", SERVICE), ("broken.yaml", broken)]);
    let output = weir(&["check", text(folder.path())]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).contains("broken.yaml:5"), "{}", stdout(&output));
    let output = weir(&["check", "-o", "json", text(folder.path())]);
    assert_eq!(output.status.code(), Some(1));
    let checked: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(checked["errors"], 1);
    assert_eq!(checked["findings"][0]["line"], 5);
}
