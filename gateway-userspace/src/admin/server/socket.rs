//! The Unix socket of the admin API: made, owned and removed.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

use super::Accept;

/// Why the admin socket could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The folder is missing.
    #[error("the folder of the admin socket {} does not exist; create it or choose another path with --admin-socket", .0.display())]
    NoFolder(PathBuf),
    /// Another process answers there.
    #[error("another Weir answers at {}; stop it, or choose another path with --admin-socket", .0.display())]
    InUse(PathBuf),
    /// Something that is no socket lies there, and is not ours to remove.
    #[error("{} exists and is no socket; remove it, or choose another path with --admin-socket", .0.display())]
    NoSocket(PathBuf),
    /// Anything else.
    #[error("cannot make the admin socket {}: {error}", path.display())]
    Io {
        /// Where.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
}

/// A listening socket that only its owner may connect to. Removed when dropped.
#[derive(Debug)]
pub struct AdminSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of our socket: a successor may have replaced it.
    identity: Option<(u64, u64)>,
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    std::fs::symlink_metadata(path).ok().map(|m| (m.dev(), m.ino()))
}

impl AdminSocket {
    /// Makes the socket, in the place of one that nobody answers any more. `take_over` replaces one
    /// that is answered, too: its owner goes on with the connections it has.
    ///
    /// # Errors
    /// See `SocketError`; each says what to do.
    pub fn bind(path: &Path, take_over: bool) -> Result<Self, SocketError> {
        let io_error = |error| SocketError::Io { path: path.to_owned(), error };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if folder.is_some_and(|folder| !folder.is_dir()) {
            return Err(SocketError::NoFolder(path.to_owned()));
        }
        match std::fs::symlink_metadata(path) {
            Ok(metadata) if !metadata.file_type().is_socket() => {
                return Err(SocketError::NoSocket(path.to_owned()));
            }
            Ok(_) if !take_over && std::os::unix::net::UnixStream::connect(path).is_ok() => {
                return Err(SocketError::InUse(path.to_owned()));
            }
            Ok(_) | Err(_) => {}
        }
        // Under another name first: nobody can connect before the permissions are set.
        let mut making = path.as_os_str().to_owned();
        making.push(format!(".{}", std::process::id()));
        let making = PathBuf::from(making);
        remove(&making).map_err(io_error)?;
        let listener = UnixListener::bind(&making).map_err(io_error)?;
        std::fs::set_permissions(&making, Permissions::from_mode(0o600)).map_err(io_error)?;
        let identity = identity(&making);
        std::fs::rename(&making, path).map_err(io_error)?;
        Ok(Self { listener, path: path.to_owned(), identity })
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

impl Accept for AdminSocket {
    type Stream = UnixStream;

    async fn accept(&self) -> io::Result<UnixStream> {
        Ok(self.listener.accept().await?.0)
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        if self.identity.is_some() && identity(&self.path) == self.identity {
            // What cannot be removed is replaced by the next process.
            let _ = remove(&self.path);
        }
    }
}
