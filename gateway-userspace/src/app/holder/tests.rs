use std::net::TcpStream;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::*;

/// A holder on a thread, as this process would have it in another one.
struct World {
    folder: Arc<tempfile::TempDir>,
    ours: Option<OwnedFd>,
    thread: JoinHandle<io::Result<()>>,
}

impl World {
    /// Of a gateway that serves.
    fn new(time: Duration) -> Self {
        let world = Self::starting(Arc::new(tempfile::tempdir().unwrap()), time);
        send_message(world.ours.as_ref().unwrap(), HERE, &[]).unwrap();
        world
    }

    /// Of one that does not serve yet.
    fn starting(folder: Arc<tempfile::TempDir>, time: Duration) -> Self {
        let path = path_beside(&folder.path().join("admin.sock"));
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap();
        let thread = std::thread::spawn(move || keeper::hold(&theirs, &path, time));
        Self { folder, ours: Some(ours), thread }
    }

    fn tell(&self, text: &str, sockets: &[&TcpListener]) {
        let descriptors: Vec<RawFd> = sockets.iter().map(|socket| socket.as_raw_fd()).collect();
        send_message(self.ours.as_ref().unwrap(), text.as_bytes(), &descriptors).unwrap();
    }

    /// What the next process gets, once the holder listens.
    fn ask(&self) -> Held {
        let path = path_beside(&self.folder.path().join("admin.sock"));
        let deadline = std::time::Instant::now() + Duration::from_secs(10);
        loop {
            match Held::try_ask(&path) {
                Ok(held) => return held,
                Err(error) => assert!(std::time::Instant::now() < deadline, "{error}"),
            }
            std::thread::yield_now();
        }
    }
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[test]
fn who_connects_after_a_death_is_served_by_the_next_process() {
    let mut world = World::new(Duration::from_secs(30));
    let ((port, at), (pod, in_pod), (gone, closed)) = (listener(), listener(), listener());
    world.tell(&format!("{KEEP}{GATEWAY}{at}"), &[&port]);
    world.tell(&format!("{KEEP}{POD}42"), &[&pod]);
    world.tell(&format!("{KEEP}{GATEWAY}{closed}"), &[&gone]);
    world.tell(&format!("{DROP}{GATEWAY}{closed}"), &[]);
    // It dies without a word.
    world.ours = None;
    drop((port, pod, gone));
    let first = TcpStream::connect(at).unwrap();
    // A next process that dies, too.
    drop(world.ask());
    let second = TcpStream::connect(in_pod).unwrap();
    let mut held = world.ask();
    assert!(!held.ports.contains_key(&closed) && TcpStream::connect(closed).is_err());
    assert_eq!(held.ports[&at][0].accept().unwrap().1, first.local_addr().unwrap());
    assert_eq!(held.pods[&42][0].accept().unwrap().1, second.local_addr().unwrap());
    held.done();
    world.thread.join().unwrap().unwrap();
    assert!(!path_beside(&world.folder.path().join("admin.sock")).exists());
}

#[test]
fn a_next_process_that_dies_before_it_serves_takes_nobodys_place() {
    let mut world = World::new(Duration::from_secs(30));
    let ((port, at), (other, _)) = (listener(), listener());
    world.tell(&format!("{KEEP}{GATEWAY}{at}"), &[&port]);
    let mut next = World::starting(Arc::clone(&world.folder), Duration::from_secs(30));
    next.tell(&format!("{KEEP}{POD}42"), &[&other]);
    next.ours = None;
    next.thread.join().unwrap().unwrap();
    world.ours = None;
    let mut held = world.ask();
    assert!(held.ports.contains_key(&at) && held.pods.is_empty());
    held.done();
    world.thread.join().unwrap().unwrap();
}

#[test]
fn after_an_orderly_end_nothing_is_held() {
    let mut world = World::new(Duration::from_secs(30));
    let (port, at) = listener();
    world.tell(&format!("{KEEP}{GATEWAY}{at}"), &[&port]);
    world.tell("bye", &[]);
    world.thread.join().unwrap().unwrap();
    drop((port, world.ours.take()));
    assert!(TcpStream::connect(at).is_err());
}

#[test]
fn without_a_next_process_the_ports_are_given_up() {
    let mut world = World::new(Duration::from_millis(50));
    let (port, at) = listener();
    world.tell(&format!("{KEEP}{GATEWAY}{at}"), &[&port]);
    drop((port, world.ours.take()));
    world.thread.join().unwrap().unwrap();
    assert!(TcpStream::connect(at).is_err());
    assert!(Held::ask(&path_beside(&world.folder.path().join("admin.sock"))).is_empty());
}
