//! Few descriptors and a client that wants them all: the others notice nothing.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};

use gateway_tests::wait::wait_for;
use gateway_tests::weir::{Options, Weir};
use gateway_userspace::bootstrap;
use gateway_userspace::limits::Limits;

use crate::fixture::{LONGEST, Replica, Site, connect_as};

/// How many it may have open.
const DESCRIPTORS: u64 = 1024;

/// Connects of the one who wants all.
const FLOOD: usize = 5000;

#[test]
fn a_flood_of_connects_from_one_address_takes_no_one_elses_place() {
    flood_from(1);
}

#[test]
fn a_flood_of_connects_from_many_addresses_takes_no_one_elses_place() {
    flood_from(8);
}

fn flood_from(addresses: u8) {
    let flooding = |n: usize| Ipv4Addr::new(127, 0, 9, 1 + u8::try_from(n % usize::from(addresses)).unwrap());
    // Each connect is a descriptor here, too.
    bootstrap::fit_open_files(&mut Limits::default());
    let one = Replica::start("one");
    let site = Site::with_shop(&[&one]);
    let weir = Weir::start(Options { descriptors: Some(DESCRIPTORS), ..site.options() }).unwrap();
    let over = AtomicBool::new(false);
    let answered = std::thread::scope(|scope| {
        let others = scope.spawn(|| {
            let mut answered = 0;
            while !over.load(Ordering::Relaxed) || answered < 50 {
                assert_eq!(site.get("/").status(), 200, "after {answered} answers");
                answered += 1;
            }
            answered
        });
        let mut flood = Vec::new();
        while flood.len() < FLOOD {
            // One that was refused counts, too.
            flood.push(connect_as(flooding(flood.len()), site.address()));
        }
        assert_eq!(weir.get("/readyz").unwrap().0, 200);
        let refused = || {
            let enough = weir.metric("weir_rejected_total", "").unwrap() > 3000.0;
            enough.then_some(())
        };
        wait_for("most of the flood is refused", LONGEST, refused).unwrap();
        over.store(true, Ordering::Relaxed);
        let answered = others.join().unwrap();
        drop(flood);
        answered
    });
    assert!(answered >= 50);
    let gone = || (weir.metric("weir_downstream_connections", "").unwrap() < 10.0).then_some(());
    wait_for("the flood's connections are gone", LONGEST, gone).unwrap();
    let again = connect_as(flooding(0), site.address());
    drop(again.unwrap());
    assert_eq!(site.get("/").status(), 200);
}
