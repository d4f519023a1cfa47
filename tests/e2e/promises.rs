//! What Weir promises to a cluster, from its installation to its removal: the demo, with all its figures.

use gateway_tests::cluster::Cluster;
use gateway_tests::demo::kubernetes::{self, Effort};

#[test]
fn from_installation_to_removal_every_promise_is_kept() {
    let Some(cluster) = Cluster::find() else { return };
    kubernetes::run(cluster, &Effort::of_tests()).expect("all promises are kept");
}
