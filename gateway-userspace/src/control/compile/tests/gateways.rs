//! Gateways that are reached through Services of their own.

use std::collections::BTreeSet;

use crate::control::compile::{Compiled, Compiler, Place};
use crate::control::provider::file;
use crate::limits::{GATEWAY_TARGET_PORTS, Limits};

fn gateway(namespace: &str, more: &str) -> String {
    format!(
        "---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {{name: web, namespace: {namespace}}}\n\
         spec:\n  gatewayClassName: weir\n  listeners:\n  - {{name: a, port: 80, protocol: HTTP, hostname: a.test}}\n  \
         - {{name: b, port: 80, protocol: HTTP}}\n{more}"
    )
}

fn behind_services(text: &str) -> Compiled {
    let mut compiler = Compiler::new(Default::default(), &Limits::default());
    compiler.set_place(Place { behind_services: true, ..Place::default() });
    compiler.compile(&file::from_text("gateways.yaml", text))
}

/// Address and Gateway's port of everything that is open.
fn open(compiled: &Compiled) -> Vec<(String, u16, u16)> {
    let listeners = &compiled.snapshot.as_ref().expect("it serves").listeners;
    listeners.iter().map(|l| (l.address.ip().to_string(), l.address.port(), l.port)).collect()
}

#[test]
fn two_gateways_have_the_same_port_each_at_a_target_port_of_its_own() {
    let compiled = behind_services(&(gateway("edge", "") + &gateway("shop", "")));
    let open = open(&compiled);
    let bound: BTreeSet<u16> = open.iter().map(|(_, bound, _)| *bound).collect();
    assert_eq!((open.len(), bound.len()), (2, 2), "{open:?}");
    assert!(bound.iter().all(|port| GATEWAY_TARGET_PORTS.contains(port)), "{open:?}");
    assert!(open.iter().all(|(_, _, port)| *port == 80), "{open:?}");
    for status in &compiled.report.gateways {
        assert!(status.conditions.iter().all(|c| c.status), "{status:#?}");
        let told: Vec<u16> = status.listeners.iter().map(|l| l.bound_port).collect();
        assert!(told.iter().all(|port| bound.contains(port)) && told[0] == told[1], "{told:?}");
    }
}

#[test]
fn an_address_that_a_gateway_asks_for_is_its_services_and_not_the_nodes() {
    let compiled = behind_services(&gateway("shop", "  addresses: [{type: IPAddress, value: 192.0.2.7}]\n"));
    assert_eq!(open(&compiled)[0].0, "::");
    assert!(compiled.report.gateways[0].addresses.is_empty());
}
