//! The access log cannot be written.

use gateway_tests::wait::wait_for;
use gateway_tests::weir::Weir;

use crate::fixture::{LONGEST, Replica, Site};

#[test]
fn a_full_disk_under_the_access_log_costs_log_lines_which_are_counted_and_no_request() {
    let one = Replica::start("one");
    let site = Site::with_shop(&[&one]);
    let weir = Weir::start(site.options().with(["--access-log", "/dev/full"])).unwrap();
    for _ in 0..100 {
        assert_eq!(site.get("/").status(), 200);
    }
    wait_for("the lines are counted as dropped", LONGEST, || {
        (weir.metric("weir_access_log_dropped_total", "").unwrap() >= 100.0).then_some(())
    })
    .unwrap();
    assert_eq!(site.get("/").status(), 200);
}
