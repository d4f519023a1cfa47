//! The folder changes while it is served.

use gateway_tests::wait::wait_for;

use crate::fixture::{
    LONGEST, Replica, Site, ask_weir, folder, gateway, route, service, text, wait_requests, weir,
};

/// A route whose `port` is no number.
fn broken_route() -> String {
    route("shop", "path: {value: /}", "shop").replace("port: 80", "port: eighty")
}

#[test]
fn a_route_that_changes_under_load_takes_effect_and_fails_no_request() {
    let (one, two) = (Replica::start("one"), Replica::start("two"));
    let site = Site::with_shop(&[&one]);
    site.write("other.yaml", &service("other", "http"));
    site.endpoints("other", &[&two]);
    let weir = site.start();
    let load = site.load("/");
    for change in 0..10 {
        let (backend, replica) = if change % 2 == 0 { ("other", "two") } else { ("shop", "one") };
        site.write("shop.yaml", &(service("shop", "http") + &route("shop", "path: {value: /}", backend)));
        wait_for("the change is live", LONGEST, || (site.get("/").replica() == replica).then_some(()))
            .unwrap();
        wait_requests(&weir, 20.0);
    }
    let tally = load.finish();
    assert_eq!(tally.failed, 0, "{tally:?}");
    assert_eq!(tally.replicas.len(), 2, "{tally:?}");
    assert_eq!(tally.status.keys().collect::<Vec<_>>(), [&200], "{tally:?}");
}

#[test]
fn a_broken_file_keeps_its_last_good_version_serving_and_its_place_and_field_are_named() {
    let one = Replica::start("one");
    let site = Site::new();
    site.write("service.yaml", &service("shop", "http"));
    site.write("route.yaml", &route("shop", "path: {value: /}", "shop"));
    site.endpoints("shop", &[&one]);
    let weir = site.start();
    let load = site.load("/");
    site.write("route.yaml", &broken_route());
    let said = wait_for("the status tells of it", LONGEST, || {
        let (code, said) = ask_weir(&weir, &["status"]);
        (code == 1 && said.contains("route.yaml:")).then_some(said)
    })
    .unwrap();
    let line = broken_route().lines().position(|line| line.contains("eighty")).unwrap() + 1;
    assert!(said.contains(&format!("route.yaml:{line}")), "{said}");
    assert!(said.contains("backendRefs[0].port"), "{said}");
    let errors = weir.errors();
    assert!(errors.contains(&format!("route.yaml:{line}")), "{errors}");
    site.write("more.yaml", &route("more", "path: {value: /more}", "shop"));
    site.write("route.yaml", "kind: [\n");
    wait_for("the status tells of the syntax", LONGEST, || {
        let (_, said) = ask_weir(&weir, &["status"]);
        (!said.contains("backendRefs[0].port") && said.contains("route.yaml:")).then_some(())
    })
    .unwrap();
    assert_eq!((site.get("/").status(), site.get("/more").status()), (200, 200));
    site.write("route.yaml", &route("shop", "path: {value: /}", "shop"));
    wait_for("the status is good again", LONGEST, || (ask_weir(&weir, &["status"]).0 == 0).then_some(()))
        .unwrap();
    let tally = load.finish();
    assert_eq!((tally.failed, tally.status.len()), (0, 1), "{tally:?}");
}

#[test]
fn a_file_that_is_deleted_takes_its_routes_with_it() {
    let one = Replica::start("one");
    let site = Site::with_shop(&[&one]);
    site.write("more.yaml", &route("more", "path: {value: /more}", "gone"));
    let _weir = site.start();
    assert_eq!((site.get("/").status(), site.get("/more").status()), (200, 500));
    site.remove("more.yaml");
    site.wait_status("/more", 200);
    site.remove("shop.yaml");
    site.wait_status("/", 404);
}

#[test]
fn a_port_that_the_gateway_no_longer_has_is_closed_and_its_new_one_is_open() {
    let one = Replica::start("one");
    let mut site = Site::with_shop(&[&one]);
    let _weir = site.start();
    let before = site.address();
    site.port = crate::fixture::free_port();
    site.write("gateway.yaml", &gateway(site.port));
    wait_for("the new port is open", LONGEST, || std::net::TcpStream::connect(site.address()).ok()).unwrap();
    assert_eq!(site.get("/").status(), 200);
    wait_for("the old port is closed", LONGEST, || std::net::TcpStream::connect(before).err()).unwrap();
}

#[test]
fn check_finds_nothing_in_a_good_folder_and_says_of_a_broken_one_what_status_says() {
    let shop = service("shop", "http");
    let good =
        [("gateway.yaml", gateway(8080)), ("shop.yaml", shop + &route("shop", "path: {value: /}", "shop"))];
    let good: Vec<(&str, &str)> = good.iter().map(|(file, yaml)| (*file, yaml.as_str())).collect();
    let (_kept, path) = folder(&good);
    let (code, said) = weir(&["check", text(&path)]);
    assert_eq!(code, 0, "{said}");
    std::fs::write(path.join("route.yaml"), broken_route()).unwrap();
    let (code, said) = weir(&["check", text(&path)]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("route.yaml:") && said.contains("backendRefs[0].port"), "{said}");
}

#[test]
fn check_reports_a_field_that_the_kind_does_not_have() {
    let misspelt = route("shop", "path: {value: /}", "shop") + "          weigth: 3\n";
    let (_kept, path) = folder(&[("gateway.yaml", &gateway(8080)), ("route.yaml", &misspelt)]);
    let (code, said) = weir(&["check", text(&path), "--fail-on", "warn"]);
    let line = misspelt.lines().position(|line| line.contains("weigth")).unwrap() + 1;
    assert!(said.contains("backendRefs[0].weigth") && said.contains(&format!("route.yaml:{line}")), "{said}");
    assert_eq!(code, 1, "{said}");
}
