//! The cluster by itself: what any failure of the other tests is held against.

use std::time::Duration;

use gateway_tests::cluster::{Cluster, Load, POD_IMAGE};

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn without_weir_a_client_on_each_node_calls_a_service_by_its_name() {
    let Some(cluster) = Cluster::find() else { return };
    let yaml = format!(
        "---
apiVersion: v1
kind: Namespace
metadata: {{ name: plain }}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{ name: echo, namespace: plain }}
spec:
  replicas: 2
  selector: {{ matchLabels: {{ app: echo }} }}
  template:
    metadata: {{ labels: {{ app: echo }} }}
    spec:
      containers:
        - name: echo
          image: {POD_IMAGE}
          args: [serve]
          readinessProbe: {{ httpGet: {{ path: /readyz, port: 8080 }}, periodSeconds: 1 }}
---
apiVersion: v1
kind: Service
metadata: {{ name: echo, namespace: plain }}
spec: {{ selector: {{ app: echo }}, ports: [{{ port: 80, targetPort: 8080 }}] }}
"
    );
    cluster.apply(&yaml).expect("applied");
    cluster.rolled_out("plain", "deployment/echo", PATIENCE).expect("two replicas");
    for node in cluster.nodes().expect("nodes") {
        let name = format!("client-{node}");
        let load =
            Load::start(&cluster, ("plain", &name), &node, &["--fresh"], "http://echo/").expect("calls");
        let counts = load.more(100, PATIENCE).expect("more calls");
        assert_eq!(counts.pods.len(), 2, "{counts:?}");
        load.end().expect("ended");
    }
    cluster.kubectl(&["delete", "namespace", "plain", "--wait=false"]).expect("deleted");
}
