//! What one proxied request costs in allocations and system calls, exactly: beside a proxy on bare hyper that does nothing else.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod allocations;
mod fixture;
mod syscalls;

use fixture::{Client, Floor, Gateway, Thread};
use syscalls::Syscalls;

/// Requests before anything is counted: pools, buffers and tables have the size they keep.
const WARM_UP: usize = 200;
/// Requests of one window.
const WINDOW: u64 = 20;
const WINDOWS: usize = 101;

/// What Weir may need beyond the floor: it routes, balances, sets headers, counts and logs.
const ALLOCATIONS_MORE: u64 = 3;

/// Per request, in whole numbers, from a window in the lower quarter: what comes by the clock, and not by the
/// request, disturbs others.
fn per_request(client: &mut Client, mut count: impl FnMut() -> u64) -> u64 {
    (0..WARM_UP).for_each(|_| client.get());
    let mut windows: Vec<u64> = (0..WINDOWS)
        .map(|_| {
            let before = count();
            (0..WINDOW).for_each(|_| client.get());
            count() - before
        })
        .collect();
    windows.sort_unstable();
    // An answer is here before its worker has gone back to wait: a window begins and ends in between.
    (windows[WINDOWS / 4] + WINDOW / 2) / WINDOW
}

fn allocations_of(thread: &Thread, client: &mut Client) -> u64 {
    allocations::count_of(thread.id);
    per_request(client, allocations::counted)
}

fn syscalls_of(thread: &Thread, client: &mut Client) -> Result<u64, String> {
    let syscalls = Syscalls::of(thread.id)?;
    let each = per_request(client, || syscalls.total().unwrap());
    println!("system calls of {}, by their numbers: {:?}", thread.name, syscalls.by_number().unwrap());
    Ok(each)
}

/// One test, because the allocator counts one thread at a time.
#[test]
fn a_request_costs_little_more_than_on_bare_hyper() {
    let (floor, gateway) = (Floor::start(), Gateway::start());
    let (mut by_floor, mut by_gateway) = (Client::connect(floor.address), Client::connect(gateway.address));

    let least = allocations_of(&floor.worker, &mut by_floor);
    let ours = allocations_of(&gateway.worker, &mut by_gateway);
    println!("allocations a request: {ours}, bare hyper {least}");

    let calls = syscalls_of(&floor.worker, &mut by_floor)
        .and_then(|least| Ok((least, syscalls_of(&gateway.worker, &mut by_gateway)?)));
    match &calls {
        Ok((least, ours)) => println!("system calls a request: {ours}, bare hyper {least}"),
        Err(why) => println!("SKIPPED: {why}"),
    }
    assert!(ours <= least + ALLOCATIONS_MORE, "{ours} allocations a request, bare hyper {least}");
    if let Ok((least, ours)) = calls {
        assert!(ours <= least, "{ours} system calls a request, bare hyper {least}");
    }
}
