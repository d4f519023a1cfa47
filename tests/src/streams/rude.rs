//! Peers that hang up in the middle, and peers that take their time: what they get is nobody's concern.

use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Life;

/// Between two bytes of a slow peer.
const DRIP: Duration = Duration::from_millis(100);

/// Sends part of a request, or a whole one, and resets the connection.
pub(super) async fn reset(life: &Life) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(life.streams.address).await?;
    life.opened();
    let request = format!("GET /wait/50 HTTP/1.1\r\nHost: {}\r\n\r\n", life.streams.host);
    let sent = fastrand::usize(..=request.len());
    stream.write_all(&request.as_bytes()[..sent]).await?;
    tokio::time::sleep(DRIP.mul_f64(fastrand::f64())).await;
    SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
    drop(stream);
    tokio::time::sleep(life.streams.pause).await;
    Ok(())
}

/// Sends a request byte by byte, and reads its answer no faster.
pub(super) async fn slow(life: &Life) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(life.streams.address).await?;
    life.opened();
    let request = format!("GET / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", life.streams.host);
    for byte in request.bytes() {
        if life.is_over() {
            return Ok(());
        }
        stream.write_all(&[byte]).await?;
        tokio::time::sleep(DRIP / 2).await;
    }
    let mut byte = [0];
    while !life.is_over() && stream.read(&mut byte).await? == 1 {
        tokio::time::sleep(DRIP / 20).await;
    }
    Ok(())
}
