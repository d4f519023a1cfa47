//! Who is let in, and who gives way.

use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::backend::{Backend as Server, accept};
use super::client::within;
use super::*;

/// A connection from an address of loopback, after its first answer; or what ended it.
async fn served_from(last: u8, to: SocketAddr) -> Result<TcpStream, io::Error> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, last], 0)).into()).unwrap();
    let mut stream = within(TcpSocket::from_std_stream(socket.into()).connect(to)).await?;
    get(&mut stream).await?;
    Ok(stream)
}

/// A whole answer's head, or what ended the connection.
async fn get(stream: &mut TcpStream) -> Result<(), io::Error> {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await?;
    let mut answer = [0; 12];
    within(stream.read_exact(&mut answer)).await?;
    assert_eq!(&answer, b"HTTP/1.1 204");
    // The rest of it: the next answer begins where this one ends.
    let mut rest = [0; 4096];
    within(stream.read(&mut rest)).await.map(|_| ())
}

async fn server() -> Server {
    accept(|mut stream| async move {
        let mut request = [0; 4096];
        while stream.read(&mut request).await.is_ok_and(|length| length > 0) {
            if stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.is_err() {
                return;
            }
        }
    })
    .await
}

fn routed(cluster: &Arc<Cluster>) -> ListenerKind {
    ListenerKind::Http(router(vec![("/", rule(0, vec![backend_ref(cluster)]))]))
}

#[tokio::test]
async fn at_the_limit_the_one_who_holds_most_makes_room_and_gets_no_more() {
    let server = server().await;
    let world = World::with(Limits { connections_max: 8, ..Limits::default() });
    let cluster = cluster(0, UpstreamProtocol::Http, &[server.address]);
    let gateway = world.gateway(routed(&cluster), vec![cluster]);
    let mut greedy = Vec::new();
    for _ in 0..8 {
        let stream = served_from(2, gateway).await.unwrap();
        greedy.push(stream);
    }
    let mut modest = Vec::new();
    for _ in 0..3 {
        let stream = served_from(3, gateway).await.unwrap();
        assert_eq!(world.rejected().await, Reason::Overload);
        modest.push(stream);
    }
    assert!(served_from(2, gateway).await.is_err());
    assert_eq!(world.rejected().await, Reason::Overload);
    for stream in &mut modest {
        get(stream).await.unwrap();
    }
    let mut left = 0;
    for stream in &mut greedy {
        left += usize::from(get(stream).await.is_ok());
    }
    assert_eq!(left, 5);
}

#[tokio::test]
async fn one_address_has_no_more_than_its_limit_and_the_next_one_is_served() {
    let server = server().await;
    let world = World::with(Limits { source_connections_max: 2, ..Limits::default() });
    let cluster = cluster(0, UpstreamProtocol::Http, &[server.address]);
    let gateway = world.gateway(routed(&cluster), vec![cluster]);
    let a = served_from(2, gateway).await.unwrap();
    let mut b = served_from(2, gateway).await.unwrap();
    assert!(served_from(2, gateway).await.is_err());
    assert_eq!(world.rejected().await, Reason::Overflow);
    let _other = served_from(3, gateway).await.unwrap();
    drop(a);
    world.event(|event| matches!(event, Event::Downstream(-1)).then_some(())).await;
    served_from(2, gateway).await.unwrap();
    get(&mut b).await.unwrap();
}

#[tokio::test]
async fn a_pod_has_no_more_than_its_limit_and_another_pod_is_served() {
    let server = server().await;
    let mut world = World::with(Limits { pod_connections_max: 2, ..Limits::default() });
    let cluster = cluster(0, UpstreamProtocol::Http, &[server.address]);
    let frontend = frontend(&cluster, PortProtocol::Http, None);
    world.publish(vec![Arc::clone(&frontend)], vec![]);
    let (greedy, other) = (world.pod(&frontend), world.pod(&frontend));
    let _a = served_from(1, greedy).await.unwrap();
    let _b = served_from(1, greedy).await.unwrap();
    assert!(served_from(1, greedy).await.is_err());
    assert_eq!(world.rejected().await, Reason::Overflow);
    served_from(1, other).await.unwrap();
}

#[tokio::test]
async fn descriptors_that_are_kept_back_are_not_for_connections_of_clients() {
    let server = server().await;
    // Standard input, output and error are as many already.
    let world = World::with(Limits { descriptors_max: 3, ..Limits::default() });
    let cluster = cluster(0, UpstreamProtocol::Http, &[server.address]);
    let gateway = world.gateway(routed(&cluster), vec![cluster]);
    assert!(served_from(2, gateway).await.is_err());
    assert_eq!(world.rejected().await, Reason::Overload);
}
