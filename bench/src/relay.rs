//! The floor of opaque TCP: a relay that copies, and does nothing else.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

use crate::backend::listen;

/// Relays for ever.
pub fn serve(address: SocketAddr, upstream: SocketAddr) -> anyhow::Result<()> {
    let listener = listen(address)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async move {
        let listener = TcpListener::from_std(listener)?;
        loop {
            let (mut client, _) = listener.accept().await?;
            client.set_nodelay(true)?;
            tokio::task::spawn_local(async move {
                let mut server = TcpStream::connect(upstream).await?;
                server.set_nodelay(true)?;
                tokio::io::copy_bidirectional(&mut client, &mut server).await
            });
        }
    })
}
