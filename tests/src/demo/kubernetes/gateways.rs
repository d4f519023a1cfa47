//! Scene: two Gateways with the same port, each reached at its own Service.

use anyhow::{Result, ensure};

use super::{PATIENCE, Play};
use crate::demo::tell;
use crate::wait::wait_for;

/// Two that have nothing but their port in common.
const NAMES: [&str; 2] = ["red", "blue"];

pub(super) fn side_by_side(play: &Play) -> Result<()> {
    play.scene("two Gateways on port 80");
    for name in NAMES {
        play.cluster.apply(&gateway(name))?;
    }
    let nodes = play.nodes.clone();
    for name in NAMES {
        let url = format!("http://{name}-weir.shop/");
        for node in &nodes {
            let answer = wait_for(&format!("an answer of {url} on {node}"), PATIENCE, || {
                play.call_at("shop", node, &url, &[]).ok()
            })?;
            let own = format!("x-gateway: {name}");
            ensure!(answer.head.contains(&own), "{url} is answered by another Gateway: {}", answer.head);
        }
        let words = [
            "--namespace",
            "shop",
            "wait",
            "--for=condition=Programmed",
            &format!("gateway/{name}"),
            "--timeout=60s",
        ];
        play.cluster.kubectl(&words)?;
        let made = play.cluster.get(&["--namespace", "shop", "service", &format!("{name}-weir")])?;
        tell::seen(&format!(
            "Gateway {name}: answers at {} on port {}, which nodes open at {}",
            made["spec"]["clusterIP"],
            made["spec"]["ports"][0]["port"],
            made["spec"]["ports"][0]["targetPort"]
        ));
    }
    for name in NAMES {
        play.cluster.kubectl(&["--namespace", "shop", "delete", "gateway", name])?;
        play.cluster.kubectl(&["--namespace", "shop", "delete", "httproute", name])?;
    }
    for name in NAMES {
        wait_for("the Service of a Gateway goes with it", PATIENCE, || {
            play.cluster
                .get(&["--namespace", "shop", "service", &format!("{name}-weir")])
                .is_err()
                .then_some(())
        })?;
    }
    Ok(())
}

/// A Gateway with a route that says in its answers whose it is.
fn gateway(name: &str) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{ name: {name}, namespace: shop, annotations: {{ weir.dev/gateway-service-type: ClusterIP }} }}
spec:
  gatewayClassName: weir
  listeners: [{{ name: http, port: 80, protocol: HTTP }}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{ name: {name}, namespace: shop }}
spec:
  parentRefs: [{{ name: {name} }}]
  rules:
    - filters:
        - type: ResponseHeaderModifier
          responseHeaderModifier: {{ set: [{{ name: x-gateway, value: {name} }}] }}
      backendRefs: [{{ name: cart, port: 80 }}]
"
    )
}
