//! What clients send makes no series: labels come from the configuration.

use std::io::Write;

use gateway_tests::wait::wait_for;

use crate::fixture::{LONGEST, Replica, Site, read_answer, route, service};

/// Requests of one connection before their answers are read.
const AT_ONCE: usize = 100;

fn word(rng: &mut fastrand::Rng) -> String {
    (0..rng.usize(1..20)).map(|_| rng.alphanumeric()).collect()
}

/// Lines of the exposition.
fn series(text: &str) -> usize {
    text.lines().filter(|line| !line.starts_with('#')).count()
}

#[test]
fn ten_thousand_hosts_paths_methods_and_agents_make_no_new_series() {
    let one = Replica::start("one");
    let site = Site::new();
    site.write("shop.yaml", &(service("shop", "http") + &route("shop", "path: {value: /shop}", "shop")));
    site.endpoints("shop", &[&one]);
    let weir = site.start();
    let mut rng = fastrand::Rng::with_seed(4);
    let mut ask = |count: usize| {
        let mut stream = site.connect();
        let mut text = String::new();
        for n in 0..count {
            let prefix = if n % 50 == 0 { "/shop" } else { "" };
            let (method, path, host) = (word(&mut rng), word(&mut rng), word(&mut rng));
            text += &format!(
                "{method} {prefix}/{path}?{path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {path}\r\n\r\n"
            );
        }
        stream.write_all(text.as_bytes()).unwrap();
        for _ in 0..count {
            let status = read_answer(&mut stream).status();
            assert!([200, 404].contains(&status), "{status}");
        }
    };
    let counted = |total: usize| {
        let name = "http_server_request_duration_seconds_count";
        wait_for("all requests are counted", LONGEST, || {
            (weir.metric(name, "").unwrap() >= total as f64).then_some(())
        })
        .unwrap();
    };
    ask(AT_ONCE);
    counted(AT_ONCE);
    let before = weir.get("/metrics").unwrap().1;
    for _ in 0..10_000 / AT_ONCE {
        ask(AT_ONCE);
    }
    counted(10_000 + AT_ONCE);
    let after = weir.get("/metrics").unwrap().1;
    assert_eq!(series(&before), series(&after), "{after}");
    let lines = wait_for("the access log is complete", LONGEST, || {
        let log = weir.access_log();
        (log.lines().count() >= 10_000 + AT_ONCE).then_some(log)
    });
    for line in lines.unwrap().lines() {
        assert!(serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(line).is_ok(), "{line}");
    }
}
