//! Configuration that cannot be served as written: what is right in it is.

use gateway_tests::wait::wait_for;

use crate::fixture::{LONGEST, Replica, Site, ask_weir, free_port, gateway, route};

#[test]
fn a_route_to_nothing_is_answered_500_says_so_in_its_conditions_and_harms_no_other() {
    let one = Replica::start("one");
    let site = Site::with_shop(&[&one]);
    site.write("lost.yaml", &route("lost", "path: {value: /lost}", "nothing"));
    let weir = site.start();
    let answer = site.get("/lost");
    assert_eq!(answer.status(), 500, "{answer:?}");
    assert!(answer.header("proxy-status").unwrap_or_default().contains("invalid_backend"), "{answer:?}");
    assert_eq!(site.get("/").status(), 200);
    let (code, said) = ask_weir(&weir, &["status"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("BackendNotFound") && said.contains("lost"), "{said}");
}

#[test]
fn a_regex_of_death_costs_no_more_than_any_other() {
    let one = Replica::start("one");
    let site = Site::with_shop(&[&one]);
    let death = "path: {type: RegularExpression, value: '/(a+)+$'}";
    site.write("death.yaml", &route("death", death, "shop"));
    let _weir = site.start();
    // A backtracking matcher would need longer than the test may take for the first of these.
    let long = "a".repeat(8000);
    for _ in 0..20 {
        assert_eq!(site.get(&format!("/{long}!")).status(), 200);
        assert_eq!(site.get(&format!("/{long}")).status(), 200);
    }
}

#[test]
fn a_regex_that_would_be_too_large_is_refused_and_the_rest_is_served() {
    let one = Replica::start("one");
    let site = Site::with_shop(&[&one]);
    let large = "path: {type: RegularExpression, value: '/(x{1000}){1000}'}";
    site.write("large.yaml", &route("large", large, "shop"));
    let weir = site.start();
    assert_eq!(site.get("/").status(), 200);
    let (code, said) = ask_weir(&weir, &["status"]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("large.yaml:") && said.contains("path"), "{said}");
}

#[test]
fn a_port_in_use_is_said_and_taken_as_soon_as_it_is_free() {
    let one = Replica::start("one");
    let site = Site::with_shop(&[&one]);
    let occupant = std::net::TcpListener::bind((std::net::Ipv6Addr::UNSPECIFIED, site.port)).unwrap();
    let weir = site.start();
    let (code, said) = ask_weir(&weir, &["status"]);
    assert!(code == 1 && said.contains(&site.port.to_string()), "{code} {said}");
    drop(occupant);
    wait_for("the port is served", LONGEST, || (ask_weir(&weir, &["status"]).0 == 0).then_some(())).unwrap();
    assert_eq!(site.get("/").status(), 200);
}

#[test]
fn a_listener_of_a_protocol_that_is_not_served_says_so_and_the_others_serve() {
    let one = Replica::start("one");
    let site = Site::with_shop(&[&one]);
    let other = free_port();
    let listener = format!("    - name: raw\n      port: {other}\n      protocol: SCTP\n");
    site.write("gateway.yaml", &(gateway(site.port) + &listener));
    let weir = site.start();
    assert_eq!(site.get("/").status(), 200);
    let (code, said) = ask_weir(&weir, &["status"]);
    assert!(code == 1 && said.contains("UnsupportedProtocol"), "{code} {said}");
    std::net::TcpStream::connect(("127.0.0.1", other)).unwrap_err();
}

#[test]
fn files_that_are_no_configuration_and_empty_ones_harm_nothing() {
    let one = Replica::start("one");
    let site = Site::with_shop(&[&one]);
    site.write("empty.yaml", "");
    site.write("comment.yaml", "# nothing\n---\n---\n");
    site.write("notes.txt", "kind: [ of a note");
    let mut binary = vec![0; 4096];
    fastrand::Rng::with_seed(7).fill(&mut binary);
    std::fs::write(site.config.path().join("binary.yaml"), binary).unwrap();
    let weir = site.start();
    assert_eq!(site.get("/").status(), 200);
    let (code, said) = ask_weir(&weir, &["status"]);
    assert!(code == 1 && said.contains("binary.yaml"), "{said}");
    assert!(!["empty.yaml", "comment.yaml", "notes.txt"].iter().any(|file| said.contains(file)), "{said}");
}
