//! An upgrade of the gateway under load: whoever is connected notices nothing.

use std::thread::JoinHandle;
use std::time::Duration;

use gateway_tests::load::Load;
use gateway_tests::streams::{Kept, Streams, keep};
use gateway_tests::wait::wait_for;
use gateway_tests::weir::{Options, Weir};
use tokio::sync::oneshot;

use crate::fixture::{LONGEST, Replica, Running, Site, route, runtime, service, wait_requests};

/// Replacements of a process by its next one.
const TAKEOVERS: usize = 3;

/// Streams of each kind.
const STREAMS: usize = 200;

/// A thread that keeps streams open.
struct Keeper {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<Kept>,
}

impl Keeper {
    fn start(streams: Streams) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let thread =
            std::thread::spawn(move || runtime().block_on(keep(streams, async { drop(stopped.await) })));
        Self { stop, thread }
    }

    fn finish(self) -> Kept {
        drop(self.stop);
        self.thread.join().unwrap()
    }
}

#[test]
fn three_takeovers_fail_no_request_and_cut_no_stream() {
    let (one, two) = (Replica::start("one"), Replica::start("two"));
    let site = Site::with_shop(&[&one, &two]);
    let calls = route("calls", "path: {value: /echo.Echo}", "echo");
    site.write("echo.yaml", &(service("echo", "kubernetes.io/h2c") + &calls));
    site.endpoints("echo", &[&one, &two]);
    let options = || site.options().with(["--drain-timeout", "60s", "--queue-delay-max", "20s"]);
    let mut running = vec![Weir::start(options()).unwrap()];
    let streams = Keeper::start(Streams {
        address: site.address(),
        tcp: None,
        host: "shop.test".to_owned(),
        websockets: STREAMS,
        grpc: STREAMS,
        polls: STREAMS,
        relays: 0,
        resets: 4,
        slow: 4,
        pause: Duration::from_millis(200),
        // Each process has new ones by the time it is replaced.
        lifetime: Duration::from_secs(6),
    });
    let http1 = site.load("/");
    let http2 = Running::start(Load { http2: true, ..site.load_of("/") });
    for generation in 0..TAKEOVERS {
        let old = running.last().unwrap();
        let open = || (old.metric("weir_downstream_connections", "").unwrap() >= 200.0).then_some(());
        wait_for("streams are open", LONGEST, open).unwrap();
        wait_requests(old, 100.0);
        let next = Options { name: format!("next-{generation}"), ..options() };
        running.push(Weir::start(next.with(["--takeover"])).unwrap());
    }
    wait_requests(running.last().unwrap(), 100.0);
    // All but the last one end by themselves when the last stream they have has ended.
    for old in &mut running[..TAKEOVERS] {
        assert_eq!(old.wait(LONGEST).unwrap().code(), Some(0), "{}", old.errors());
    }
    let kept = streams.finish();
    for tally in [http1.finish(), http2.finish()] {
        assert_eq!(tally.failed, 0, "{tally:?}");
    }
    assert_eq!(kept.breaks(), 0, "{kept:?}");
    for kind in ["websocket", "grpc", "poll"] {
        assert!(kept.opened[kind] >= 2 * STREAMS as u64, "{kept:?}");
    }
}
