//! How much of what was sent the peer's kernel has taken: the proof that a request cannot have arrived.
#![expect(unsafe_code, reason = "getsockopt(TCP_INFO) in the size that has the field")]

use std::os::fd::{AsFd, AsRawFd};

/// Where `tcpi_bytes_acked` stands in the kernel's `struct tcp_info` (linux/tcp.h, since 4.1).
const BYTES_ACKED_OFFSET: usize = 120;
const INFO_BYTES: usize = BYTES_ACKED_OFFSET + 8;

/// Bytes that the peer has acknowledged over the life of the connection; `None` when the kernel does
/// not say. Still known after a reset.
pub fn acknowledged(socket: &impl AsFd) -> Option<u64> {
    let mut info = [0_u8; INFO_BYTES];
    let mut length = libc::socklen_t::try_from(INFO_BYTES).ok()?;
    // SAFETY: the kernel writes at most `length` bytes into `info`, which has that many, and sets
    // `length` to what it wrote; both live over the call, and the descriptor is borrowed over it.
    let result = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            info.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    if result != 0 || usize::try_from(length).ok()? < INFO_BYTES {
        return None;
    }
    let bytes = info[BYTES_ACKED_OFFSET..].try_into().ok()?;
    // The SYN counts as one.
    Some(u64::from_ne_bytes(bytes).saturating_sub(1))
}
