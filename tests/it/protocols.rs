//! HTTP/1, HTTP/2, gRPC and upgrades through a Gateway, in any combination of the two sides.

use std::io::{Read, Write};

use gateway_tests::grpc;
use gateway_tests::load::{Load, Until, run};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::fixture::{Replica, Site, read_answer, route, route_of, runtime, service};

/// A site whose Service `shop` speaks `protocol`, behind this route.
fn site(protocol: &str, route: &str, replicas: &[&Replica]) -> Site {
    let site = Site::new();
    site.write("shop.yaml", &(service("shop", protocol) + route));
    site.endpoints("shop", replicas);
    site
}

/// GET over HTTP/2 with prior knowledge: what the replica says of the request.
fn get_http2(site: &Site) -> serde_json::Value {
    runtime().block_on(async {
        let stream = tokio::net::TcpStream::connect(site.address()).await.unwrap();
        let connecting = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (mut sender, connection) = connecting.await.unwrap();
        tokio::spawn(connection);
        let request =
            http::Request::get("http://shop.test/items").body(Empty::<bytes::Bytes>::new()).unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.version()), (200, http::Version::HTTP_2));
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice(&body).unwrap()
    })
}

#[test]
fn either_side_speaks_http1_or_http2_whatever_the_other_speaks() {
    let one = Replica::start("one");
    for (protocol, spoken) in [("http", "HTTP/1.1"), ("kubernetes.io/h2c", "HTTP/2.0")] {
        let site = site(protocol, &route("shop", "path: {value: /}", "shop"), &[&one]);
        let _weir = site.start();
        for facts in [site.get("/items").facts(), get_http2(&site)] {
            assert_eq!(facts["protocol"], spoken, "{facts}");
            assert_eq!((&facts["path"], &facts["host"]), (&"/items".into(), &"shop.test".into()), "{facts}");
        }
    }
}

#[test]
fn http2_requests_of_one_connection_are_spread_over_replicas() {
    let (one, two) = (Replica::start("one"), Replica::start("two"));
    let site = site("http", &route("shop", "path: {value: /}", "shop"), &[&one, &two]);
    let _weir = site.start();
    let load = Load { http2: true, connections: 1, ..site.load_of("/") };
    let tally = runtime().block_on(run(load, Until::Requests(60), std::future::pending()));
    assert_eq!((tally.failed, tally.replicas.len()), (0, 2), "{tally:?}");
}

#[test]
fn grpc_calls_of_one_connection_are_spread_over_replicas_and_a_stream_stays_with_one() {
    let (one, two) = (Replica::start("one"), Replica::start("two"));
    let echo = route_of("GRPCRoute", "shop", "method: {service: echo.Echo}", "shop");
    let site = site("kubernetes.io/h2c", &echo, &[&one, &two]);
    let _weir = site.start();
    runtime().block_on(async {
        let mut client = grpc::connect(site.address()).await.unwrap();
        let calls = grpc::unary(&mut client, 60).await.unwrap();
        assert_eq!((calls.ok, calls.replicas.len()), (60, 2), "{calls:?}");
        let stream = grpc::stream(&mut client, 20).await.unwrap();
        assert_eq!((stream.ok, stream.replicas.len()), (20, 1), "{stream:?}");
    });
}

#[test]
fn a_grpc_call_that_no_route_matches_or_no_replica_takes_ends_with_a_grpc_status() {
    let other = route_of("GRPCRoute", "shop", "method: {service: other.Other}", "shop");
    let site = site("kubernetes.io/h2c", &other, &[]);
    site.write(
        "none.yaml",
        &route_of("GRPCRoute", "none", "method: {service: echo.Echo, method: Stream}", "shop"),
    );
    let _weir = site.start();
    runtime().block_on(async {
        let mut client = grpc::connect(site.address()).await.unwrap();
        let calls = grpc::unary(&mut client, 1).await.unwrap();
        assert_eq!(calls.errors.keys().collect::<Vec<_>>(), ["Unimplemented"], "{calls:?}");
        let refused = grpc::stream(&mut client, 1).await.unwrap_err();
        let status = refused.downcast_ref::<tonic::Status>().unwrap();
        assert_eq!(status.code(), tonic::Code::Unavailable, "{status:?}");
    });
}

#[test]
fn an_upgraded_connection_carries_bytes_both_ways_and_ends_when_the_client_ends() {
    let one = Replica::start("one");
    let site = site("http", &route("shop", "path: {value: /}", "shop"), &[&one]);
    let _weir = site.start();
    let mut stream = site.connect();
    let request = "GET / HTTP/1.1\r\nHost: shop.test\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let answer = read_answer(&mut stream);
    assert_eq!((answer.status(), answer.header("upgrade")), (101, Some("echo")), "{answer:?}");
    for text in ["hello", "again"] {
        stream.write_all(text.as_bytes()).unwrap();
        let mut back = [0; 5];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(&back, text.as_bytes());
    }
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0);
}
