//! What is applied is what is read back.

use gateway_tests::cluster::Cluster;

/// The demo's YAML is Kubernetes YAML: the API takes it as it takes the same from `kubectl apply`.
#[test]
fn the_gateway_api_and_routes_of_it_are_accepted() {
    let Some(cluster) = Cluster::find() else { return };
    cluster.apply_gateway_api().expect("the CRDs");
    let route = "{apiVersion: gateway.networking.k8s.io/v1, kind: HTTPRoute, metadata: {name: accepted, namespace: default}, \
        spec: {parentRefs: [{kind: Service, group: '', name: shop}], rules: [{backendRefs: [{name: shop, port: 80}]}]}}";
    cluster.apply(route).expect("a route");
    let seen = cluster.get(&["httproute", "accepted"]).expect("the route");
    assert_eq!(seen["spec"]["parentRefs"][0]["name"], "shop");
    cluster.kubectl(&["delete", "httproute", "accepted"]).expect("deleted");
}
