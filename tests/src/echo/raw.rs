//! Bytes back as they came: raw TCP, and what an upgraded connection becomes.

use http::{HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{EchoBody, full};

/// Echoes each connection after greeting it with `hello from NAME`: the server speaks first. A client
/// that ends its half gets the rest before ours ends.
pub async fn serve_tcp(listener: TcpListener, name: String) {
    loop {
        let Ok((mut stream, _)) = listener.accept().await else { continue };
        let greeting = format!("hello from {name}\n");
        tokio::spawn(async move {
            if stream.write_all(greeting.as_bytes()).await.is_ok() {
                let _ = echo(&mut stream).await;
            }
        });
    }
}

/// Agrees to whatever protocol is asked for and echoes its bytes.
pub(super) fn upgrade(mut request: Request<Incoming>) -> Response<EchoBody> {
    let protocol = request.headers().get(header::UPGRADE).cloned();
    tokio::spawn(async move {
        if let Ok(upgraded) = hyper::upgrade::on(&mut request).await {
            let _ = echo(&mut TokioIo::new(upgraded)).await;
        }
    });
    let mut response = Response::new(full(""));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    if let Some(protocol) = protocol {
        response.headers_mut().insert(header::UPGRADE, protocol);
    }
    response
}

async fn echo(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            return stream.shutdown().await;
        }
        stream.write_all(&buffer[..length]).await?;
        stream.flush().await?;
    }
}
