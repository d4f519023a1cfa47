//! The command line and the gateway that it asks, or that is not there.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};

use gateway_tests::wait::wait_for;
use gateway_tests::weir::binary;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::fixture::{LONGEST, Replica, Site, ask_weir, free_port, text, weir};

#[test]
fn a_second_gateway_on_the_same_admin_socket_names_the_first_and_stops() {
    let one = Replica::start("one");
    let site = Site::with_shop(&[&one]);
    let first = site.start();
    let socket = &first.options().admin_socket;
    let (code, said) = weir(&["run", "--config", text(site.config.path()), "--admin-socket", text(socket)]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains(&format!("process {}", first.id())) && said.contains("--takeover"), "{said}");
    assert_eq!(site.get("/").status(), 200);
    assert_eq!(ask_weir(&first, &["status"]).0, 0);
}

#[test]
fn a_gateway_that_was_killed_does_not_keep_the_next_one_from_starting() {
    let one = Replica::start("one");
    let site = Site::with_shop(&[&one]);
    let mut first = site.start();
    first.kill().unwrap();
    let (code, said) = ask_weir(&first, &["status"]);
    assert_eq!((code, said.lines().count()), (3, 1), "{said}");
    let _second = site.start();
    assert_eq!(site.get("/").status(), 200);
}

#[test]
fn status_and_explain_without_a_gateway_exit_3_with_one_line_that_says_what_to_do() {
    let folder = TempDir::new().unwrap();
    let socket = folder.path().join("nobody.sock");
    for verb in [&["status"][..], &["explain", "gateway", "http://shop.test/"], &["explain", "--id", "x"]] {
        let mut arguments = verb.to_vec();
        arguments.extend(["--admin-socket", text(&socket)]);
        let (code, said) = weir(&arguments);
        assert_eq!((code, said.lines().count()), (3, 1), "{said}");
        assert!(said.contains("nobody.sock") && said.contains("weir run"), "{said}");
    }
}

#[test]
fn explain_says_which_rule_and_which_replicas_a_request_to_the_gateway_would_meet() {
    let one = Replica::start("one");
    let site = Site::with_shop(&[&one]);
    let weir = site.start();
    let url = format!("http://shop.test:{}/cart", site.port);
    let (code, said) = ask_weir(&weir, &["explain", "gateway", &url]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("demo/shop") && said.contains(&format!("127.0.0.1:{}", one.port)), "{said}");
}

#[test]
fn a_folder_that_is_not_there_is_one_line_and_a_usage_error() {
    let folder = TempDir::new().unwrap();
    let missing = folder.path().join("missing");
    let socket = folder.path().join("admin.sock");
    for verb in [
        &["check", text(&missing)][..],
        &["run", "--config", text(&missing), "--admin-socket", text(&socket)],
    ] {
        let (code, said) = weir(verb);
        assert!([1, 2].contains(&code), "{code} {said}");
        assert!(said.lines().count() == 1 && said.contains("missing"), "{said}");
    }
}

#[test]
fn a_node_that_waits_for_its_api_server_is_alive_and_not_ready_and_ends_when_it_is_asked_to() {
    let folder = TempDir::new().unwrap();
    // Whoever listens here says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    let server = format!("http://{}", silent.local_addr().unwrap());
    let user = "users: [{name: a, user: {}}]\ncontexts: [{name: a, context: {cluster: a, user: a}}]";
    let text_of = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: a\n{user}\nclusters: [{{name: a, cluster: {{server: '{server}'}}}}]\n"
    );
    fs::write(&kubeconfig, text_of).unwrap();
    let port = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let mut node = Command::new(binary())
        .args(["node", "--kubeconfig", text(&kubeconfig), "--node-name", "n1"])
        .args(["--state-dir", text(folder.path()), "--admin-address", &port.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let alive = wait_for("it is alive", LONGEST, || (asked(port, "/livez")? == 200).then_some(()));
    let (ready, status) = (asked(port, "/readyz"), asked(port, "/status"));
    kill(Pid::from_raw(node.id().cast_signed()), Signal::SIGTERM).unwrap();
    let ended = node.wait().unwrap();
    alive.unwrap();
    assert_eq!((ready, status), (Some(503), Some(503)));
    assert!(ended.success(), "{ended}");
}

/// The status of a page; `None` when nobody answers.
fn asked(port: SocketAddr, path: &str) -> Option<u16> {
    let mut stream = TcpStream::connect(port).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: weir\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.split(' ').nth(1)?.parse().ok()
}
