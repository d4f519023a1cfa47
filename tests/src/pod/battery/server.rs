//! The server's part of each scenario, and what it saw of it.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use std::{io, thread};

use anyhow::Result;

use super::PATIENCE;
use crate::pod::{Node, in_netns};

/// A server on the node's side; a thread per connection.
pub struct Server {
    seen: Receiver<String>,
}

impl Server {
    /// Listens on these addresses of the node.
    pub fn start(node: &Node, addresses: &[SocketAddr]) -> Result<Self> {
        let (tell, seen) = channel();
        for address in addresses.iter().copied() {
            let listener = in_netns(&node.hub(), move || Ok(TcpListener::bind(address)?))?;
            let tell = tell.clone();
            thread::spawn(move || serve(&listener, &tell));
        }
        Ok(Self { seen })
    }

    /// What it has seen since the last call, sorted, once it has been quiet for a moment.
    pub fn seen(&self) -> BTreeSet<String> {
        let mut seen = BTreeSet::new();
        while let Ok(line) = self.seen.recv_timeout(Duration::from_millis(500)) {
            seen.insert(line);
        }
        seen
    }
}

fn serve(listener: &TcpListener, tell: &Sender<String>) {
    for stream in listener.incoming() {
        let (Ok(stream), tell) = (stream, tell.clone()) else { return };
        thread::spawn(move || {
            if let Some(line) = play(stream) {
                // The test may have ended.
                let _ = tell.send(line);
            }
        });
    }
}

/// Plays one part. `None` for a connection on which nothing was asked.
fn play(mut stream: TcpStream) -> Option<String> {
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut scenario = String::new();
    // One byte at a time, so that what follows the name stays in the socket.
    BufReader::with_capacity(1, &stream).read_line(&mut scenario).ok()?;
    let scenario = scenario.trim_end().to_owned();
    if scenario.is_empty() {
        return None;
    }
    let seen = match part(&scenario, &mut stream) {
        Ok(seen) => seen,
        Err(error) => crate::pod::client::name(&error),
    };
    Some(format!("{scenario}: {seen}"))
}

fn part(scenario: &str, stream: &mut TcpStream) -> io::Result<String> {
    match scenario {
        "names" => {
            let peer = stream.peer_addr()?.ip().to_canonical();
            write!(stream, "{peer}")?;
            Ok(peer.to_string())
        }
        "half-close" => {
            let mut received = Vec::new();
            stream.read_to_end(&mut received)?;
            write!(stream, "{} bytes and the end", received.len())?;
            Ok(format!("{} bytes and the end", received.len()))
        }
        "server-half-close" => {
            write!(stream, "bye")?;
            stream.shutdown(Shutdown::Write)?;
            let mut received = String::new();
            stream.read_to_string(&mut received)?;
            Ok(received)
        }
        "server-reset" => {
            socket2::SockRef::from(&*stream).set_linger(Some(Duration::ZERO))?;
            Ok("reset".to_owned())
        }
        "client-reset" => {
            write!(stream, "ready")?;
            let ended = stream.read(&mut [0; 1])?;
            Ok(format!("{ended} bytes"))
        }
        "five-bytes" => {
            write!(stream, "12345")?;
            let ended = stream.read(&mut [0; 1])?;
            Ok(format!("{ended} bytes"))
        }
        "echo" => {
            let copied = io::copy(&mut &*stream, &mut &*stream)?;
            Ok(format!("{copied} bytes"))
        }
        other => Ok(format!("unknown scenario {other}")),
    }
}
