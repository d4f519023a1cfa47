//! The holder's own process: it owns sockets, and gives them out once after the gateway's death.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::time::{TimeVal, TimeValLike};

use super::super::handover::{
    DONE, END, SOCKETS_MAX, TAKEOVER, accept_client, inode, listen_in_place, receive_message, send_message,
};
use super::{BYE, DROP, HERE, HOLD_SECONDS, KEEP};

/// Longest time from giving out the sockets to the next gateway's word that it serves, seconds.
const DONE_WITHIN_SECONDS: i64 = 60;

/// Sockets by what they are for.
type Kept = BTreeMap<String, Vec<OwnedFd>>;

/// Keeps what the gateway at the other end of `gateway` says, and after its death gives it to the next one,
/// which asks at `path`.
///
/// # Errors
/// When nobody can ask at `path`.
pub fn run(gateway: &OwnedFd, path: &Path) -> io::Result<()> {
    hold(gateway, path, Duration::from_secs(HOLD_SECONDS.unsigned_abs()))
}

pub(super) fn hold(gateway: &OwnedFd, path: &Path, time: Duration) -> io::Result<()> {
    let mut door = None;
    let kept = follow(gateway, path, &mut door)?;
    let Some(Door { socket, own }) = door else { return Ok(()) };
    if let Some(kept) = kept {
        give_out(&socket, &kept, Instant::now() + time);
    }
    if own.is_some() && inode(path) == own {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

/// Where the next gateway asks.
struct Door {
    socket: OwnedFd,
    own: Option<u64>,
}

/// Does what the gateway says, to its end. What it leaves behind; nothing when it ended in order.
fn follow(gateway: &OwnedFd, path: &Path, door: &mut Option<Door>) -> io::Result<Option<Kept>> {
    let mut kept = Kept::new();
    loop {
        let (text, sockets) = match receive_message(gateway) {
            Ok((text, _)) if text == BYE => return Ok(None),
            Ok((text, _)) if text.is_empty() => return Ok(Some(kept)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => return Ok(Some(kept)),
            Ok(message) => message,
        };
        if text == HERE {
            // Who asks before the gateway's death is seen here waits a moment.
            let socket = listen_in_place(path)?;
            *door = Some(Door { socket, own: inode(path) });
            // A gateway that has died meanwhile does not hear it.
            let _ = send_message(gateway, HERE, &[]);
            continue;
        }
        let text = String::from_utf8_lossy(&text).into_owned();
        if let Some(what) = text.strip_prefix(KEEP) {
            kept.entry(what.to_owned()).or_default().extend(sockets);
        } else if let Some(what) = text.strip_prefix(DROP) {
            kept.remove(what);
        }
    }
}

/// Until a next gateway says that it serves, or the time is over.
fn give_out(door: &OwnedFd, kept: &Kept, deadline: Instant) {
    if kept.is_empty() {
        return;
    }
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let Ok(millis) = i64::try_from(left.as_millis()) else { return };
        // Zero would be no limit.
        if millis == 0 || setsockopt(door, ReceiveTimeout, &TimeVal::milliseconds(millis)).is_err() {
            return;
        }
        match accept_client(door) {
            // It serves; or it has died, too, and another one may come.
            Ok(client) => {
                if matches!(give_to(&client, kept), Ok(true)) {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// True when it serves.
fn give_to(client: &OwnedFd, kept: &Kept) -> io::Result<bool> {
    setsockopt(client, ReceiveTimeout, &TimeVal::seconds(DONE_WITHIN_SECONDS))?;
    let (text, _) = receive_message(client)?;
    if text != TAKEOVER {
        return Ok(false);
    }
    for (what, sockets) in kept {
        let descriptors: Vec<RawFd> = sockets.iter().map(AsRawFd::as_raw_fd).collect();
        for part in descriptors.chunks(SOCKETS_MAX) {
            send_message(client, what.as_bytes(), part)?;
        }
    }
    send_message(client, END, &[])?;
    let (text, _) = receive_message(client)?;
    Ok(text == DONE)
}
