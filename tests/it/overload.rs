//! More than can be served: who asks for little is served, and what is served does not become less.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use gateway_tests::load::{Load, Until, run};
use gateway_tests::wait::wait_for;
use gateway_tests::weir::{Options, Weir};
use gateway_userspace::bootstrap;
use gateway_userspace::limits::Limits;
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

use crate::fixture::{LONGEST, Replica, Site, connect_as, exchange, runtime};

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n";

/// Connections of the one who asks for too much.
const GREEDY: usize = 256;

/// What it got.
#[derive(Default)]
struct Answers {
    served: AtomicU64,
    refused: AtomicU64,
    over: AtomicBool,
}

/// Asks again and again on one connection, from an address of its own.
async fn ask(to: SocketAddr, answers: Arc<Answers>) -> std::io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, 9), 0)).into())?;
    let mut stream = TcpSocket::from_std_stream(socket.into()).connect(to).await?;
    let mut answer = vec![0; 4096];
    while !answers.over.load(Ordering::Relaxed) {
        stream.write_all(REQUEST.as_bytes()).await?;
        let length = stream.read(&mut answer).await?;
        let counter =
            if answer[..length].starts_with(b"HTTP/1.1 503") { &answers.refused } else { &answers.served };
        counter.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

#[test]
fn who_asks_for_little_is_served_while_who_asks_for_too_much_is_refused() {
    let one = Replica::start("one");
    let site = Site::with_shop(&[&one]);
    // So little that any real load is too much.
    let options = Options::new(site.config.path(), site.scratch.path());
    let options = options.with(["--workers", "1", "--queue-delay-max", "5ms"]);
    let weir = Weir::start(options).unwrap();
    let mut modest = site.connect();
    assert_eq!(exchange(&mut modest, REQUEST).status(), 200);
    let answers = Arc::<Answers>::default();
    let flood = {
        let (address, answers) = (site.address(), Arc::clone(&answers));
        std::thread::spawn(move || {
            runtime().block_on(async {
                let all = (0..GREEDY).map(|_| tokio::spawn(ask(address, Arc::clone(&answers))));
                for one in all.collect::<Vec<_>>() {
                    // A connection that was given up has had its answers.
                    let _ = one.await;
                }
            });
        })
    };
    let refused = || (answers.refused.load(Ordering::Relaxed) > 100).then_some(());
    wait_for("the flood is refused", LONGEST, refused).unwrap();
    for number in 0..50 {
        let answer = exchange(&mut modest, REQUEST);
        assert_eq!(answer.status(), 200, "request {number}: {answer:?}");
    }
    answers.over.store(true, Ordering::Relaxed);
    flood.join().unwrap();
    assert!(answers.served.load(Ordering::Relaxed) > 0);
    let overload = weir.metric("http_server_request_duration_seconds_count", "overload").unwrap();
    assert!(overload > 0.0, "the refusals have their reason");
}

#[test]
fn a_flood_of_connections_ends_before_the_memory_does_and_others_are_served() {
    /// MiB.
    const MEMORY: u64 = 64;
    // Each connection is a descriptor here, too.
    bootstrap::fit_open_files(&mut Limits::default());
    let one = Replica::start("one");
    let site = Site::with_shop(&[&one]);
    let weir = Weir::start(site.options().with(["--memory-max".to_owned(), format!("{MEMORY}Mi")])).unwrap();
    let mut flood = Vec::new();
    let mut is_short = false;
    for _ in 0..9000 {
        // One that was refused, or given up, is as good.
        if let Ok(mut stream) = connect_as(Ipv4Addr::new(127, 0, 0, 9), site.address()) {
            let _ = stream.write_all(REQUEST.as_bytes());
            let mut answer = [0; 4096];
            is_short |= stream.read(&mut answer).map_or(true, |length| length == 0);
            flood.push(stream);
        }
    }
    for number in 0..20 {
        assert_eq!(site.get("/").status(), 200, "request {number}");
    }
    let resident = weir.resident_kib().unwrap() / 1024;
    assert!(resident < MEMORY, "{resident} MiB");
    println!("memory was short: {is_short}; {resident} of {MEMORY} MiB are used");
}

#[test]
fn three_times_as_many_clients_as_needed_are_served_as_much_as_just_enough() {
    let one = Replica::start("one");
    let site = Site::with_shop(&[&one]);
    let _weir = site.start();
    let rate = |connections| {
        let begin = Instant::now();
        let load = Load { connections, ..site.load_of("/") };
        let tally = runtime().block_on(run(load, Until::Requests(4000), std::future::pending()));
        assert!(tally.ok > 0, "{tally:?}");
        (tally.ok as f64 / begin.elapsed().as_secs_f64(), tally.failed)
    };
    // Once, so that all is there that is made once.
    rate(64);
    let ((peak, _), (at_three_times, refused)) = (rate(64), rate(192));
    // A figure to read: a machine that others use, too, has no rate that could be asserted.
    println!("goodput at 3 times the load: {:.2} of the peak, {refused} refused", at_three_times / peak);
}
