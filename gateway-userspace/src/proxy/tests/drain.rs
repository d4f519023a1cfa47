//! The orderly end: of the process, of a pod, of a listener.

use ::http::{Request, Response};
use tokio::sync::mpsc;

use super::backend::{Speaks, named, serve, text};
use super::client::{Http1, Http2, get, no_body, within};
use super::*;

/// A backend whose answers wait for a permit, and says when it was asked.
async fn held(
    speaks: Speaks,
) -> (super::backend::Backend, mpsc::UnboundedReceiver<()>, Arc<tokio::sync::Semaphore>) {
    let (asked, was_asked) = mpsc::unbounded_channel();
    let permits = Arc::new(tokio::sync::Semaphore::new(0));
    let waiting = Arc::clone(&permits);
    let backend = serve(speaks, move |_| {
        let (asked, waiting) = (asked.clone(), Arc::clone(&waiting));
        async move {
            asked.send(()).unwrap();
            waiting.acquire().await.unwrap().forget();
            Response::new(text("done"))
        }
    })
    .await;
    (backend, was_asked, permits)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_finishes_what_is_in_flight_and_then_the_worker_ends() {
    let (backend, mut asked, permits) = held(Speaks::Http1).await;
    let mut world = World::new();
    let pod = world.service(PortProtocol::Http, &cluster(0, UpstreamProtocol::Http, &[backend.address]));
    let old = tokio::spawn(async move {
        let request = Request::get("/").header("host", "h").body(no_body()).unwrap();
        Http1::connect(pod).await.send(request).await.unwrap()
    });
    let new = tokio::spawn(async move {
        // The gateway's own HTTP/1 endpoint is asked in HTTP/1 by a pod's HTTP/1 client only.
        let request = Request::get("/").header("host", "h").body(no_body()).unwrap();
        Http1::connect(pod).await.send(request).await.unwrap()
    });
    within(asked.recv()).await.unwrap();
    within(asked.recv()).await.unwrap();
    world.worker.send(WorkerCommand::Drain).unwrap();
    within(async {
        while tokio::net::TcpStream::connect(pod).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(!world.worker.is_finished());
    permits.add_permits(2);
    for answer in [old.await.unwrap(), new.await.unwrap()] {
        assert_eq!(answer.text(), "done");
        assert_eq!(answer.headers["connection"], "close");
    }
    tokio::task::spawn_blocking(move || world.worker.join().unwrap()).await.unwrap();
}

/// Waits until no more requests can be sent.
async fn told_to_go(client: &mut Http2) {
    within(async {
        while !client.0.is_closed() {
            let _ = client.0.ready().await;
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_http2_client_is_told_to_go_and_its_streams_finish() {
    let (backend, mut asked, permits) = held(Speaks::Http2).await;
    let mut world = World::new();
    let pod = world.service(PortProtocol::Http2, &cluster(0, UpstreamProtocol::Http2, &[backend.address]));
    let mut client = Http2::connect(pod).await;
    let mut other = client.clone();
    let call = tokio::spawn(async move { client.get("/").await });
    within(asked.recv()).await.unwrap();
    world.worker.send(WorkerCommand::Drain).unwrap();
    permits.add_permits(1);
    assert_eq!(call.await.unwrap().text(), "done");
    told_to_go(&mut other).await;
    tokio::task::spawn_blocking(move || world.worker.join().unwrap()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_end_in_time_is_cut() {
    let (backend, mut asked, _permits) = held(Speaks::Http1).await;
    let mut world = World::with(Limits { drain_timeout: Duration::from_millis(50), ..Limits::default() });
    let pod = world.service(PortProtocol::Http, &cluster(0, UpstreamProtocol::Http, &[backend.address]));
    let request = Request::get("/").header("host", "h").body(no_body()).unwrap();
    let call = tokio::spawn(async move { Http1::connect(pod).await.send(request).await.is_err() });
    within(asked.recv()).await.unwrap();
    world.worker.send(WorkerCommand::Drain).unwrap();
    assert!(call.await.unwrap());
    assert!(world.record().await.reason.is_some());
    tokio::task::spawn_blocking(move || world.worker.join().unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_pod_that_goes_takes_its_listener_its_connections_and_its_namespace_with_it() {
    let backend = named(Speaks::Http1, "fine").await;
    let mut world = World::new();
    let target = cluster(0, UpstreamProtocol::Http, &[backend.address]);
    let pod = world.service(PortProtocol::Http, &target);
    let other = world.pod(&frontend(&target, PortProtocol::Http, None));
    let mut client = Http1::connect(pod).await;
    client.get("/").await;
    get(other, "/").await;
    world.worker.send(WorkerCommand::RemovePod(PodId(1))).unwrap();
    let (mut downstream, mut upstream) = (0, 0);
    world
        .event(|event| {
            match event {
                Event::Downstream(change) => downstream += change,
                Event::Upstream(change) => upstream += change,
                _ => {}
            }
            // The other pod's own connection stays.
            (downstream == 0 && upstream == 1).then_some(())
        })
        .await;
    assert!(within(tokio::net::TcpStream::connect(pod)).await.is_err());
    assert_eq!(get(other, "/").await.text(), "fine");
}

#[tokio::test]
async fn a_gateway_listener_that_goes_is_closed() {
    let backend = named(Speaks::Http1, "fine").await;
    let target = cluster(0, UpstreamProtocol::Http, &[backend.address]);
    let world = World::new();
    let routes = router(vec![("/", rule(0, vec![backend_ref(&target)]))]);
    let gateway = world.gateway(ListenerKind::Http(routes), vec![target]);
    let mut client = Http1::connect(gateway).await;
    client.get("/").await;
    world.worker.send(WorkerCommand::RemoveGateway(gateway)).unwrap();
    within(async {
        while client.0.ready().await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(tokio::net::TcpStream::connect(gateway).await.is_err());
}

fn short_lived(age_max: Option<Duration>, requests_max: Option<u64>) -> Limits {
    let connection = ConnectionLimits { age_max, requests_max, ..ConnectionLimits::default() };
    Limits { connection, ..Limits::default() }
}

#[tokio::test]
async fn the_last_request_of_a_connection_is_answered_and_says_that_it_is_the_last() {
    let backend = named(Speaks::Http1, "fine").await;
    let cluster = || cluster(0, UpstreamProtocol::Http, &[backend.address]);
    let mut world = World::with(short_lived(None, Some(3)));
    let pod = world.service(PortProtocol::Http, &cluster());
    let mut client = Http1::connect(pod).await;
    for number in 1..=3 {
        let answer = client.get("/").await;
        assert_eq!(answer.text(), "fine");
        assert_eq!(answer.headers.contains_key("connection"), number == 3, "{number}");
    }
    let mut world = World::with(short_lived(Some(Duration::from_millis(1)), None));
    let pod = world.service(PortProtocol::Http, &cluster());
    let mut client = Http1::connect(pod).await;
    // Sooner or later it is old.
    while client.get("/").await.headers.get("connection").is_none_or(|value| value != "close") {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_or_much_used_http2_connection_is_told_to_go_and_its_streams_finish() {
    for limits in [short_lived(Some(Duration::from_millis(50)), None), short_lived(None, Some(1))] {
        let (backend, mut asked, permits) = held(Speaks::Http2).await;
        let mut world = World::with(limits);
        let pod =
            world.service(PortProtocol::Http2, &cluster(0, UpstreamProtocol::Http2, &[backend.address]));
        let mut client = Http2::connect(pod).await;
        let mut other = client.clone();
        let call = tokio::spawn(async move { client.get("/").await });
        within(asked.recv()).await.unwrap();
        permits.add_permits(1);
        assert_eq!(call.await.unwrap().text(), "done");
        told_to_go(&mut other).await;
    }
}
