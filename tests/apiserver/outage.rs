//! An API server that goes away and comes back.

use gateway_tests::cluster::Cluster;

#[test]
fn an_api_server_that_was_stopped_comes_back_with_what_it_had() {
    let Some(cluster) = Cluster::find() else { return };
    cluster.kubectl(&["create", "configmap", "kept", "--from-literal=a=b"]).expect("created");
    cluster.stop_api().expect("stopped");
    assert!(cluster.get(&["configmap", "kept"]).is_err(), "it answers although it was stopped");
    cluster.start_api().expect("started");
    assert_eq!(cluster.get(&["configmap", "kept"]).expect("it is back")["data"]["a"], "b");
    cluster.kubectl(&["delete", "configmap", "kept"]).expect("deleted");
}
