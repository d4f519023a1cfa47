//! What the admin port answers while there is nothing to serve yet: a process that waits for its API server is alive.

use std::sync::Arc;

use http::{Request, StatusCode};
use hyper::body::Incoming;
use tokio::net::TcpListener;

use crate::admin::health;
use crate::admin::server::{Access, Answer, Pages, serve_pages};

/// Answers until the future is dropped; for ever where there is no port.
pub(super) async fn answer(port: Option<&TcpListener>) {
    match port {
        Some(port) => serve_pages(port, Arc::new(Starting), Access::Health).await,
        None => std::future::pending().await,
    }
}

struct Starting;

impl Pages for Starting {
    fn page(&self, request: &Request<Incoming>, _: Access) -> Answer {
        match request.uri().path() {
            "/livez" => health::livez(),
            "/readyz" => health::readiness(&["configuration"]),
            _ => Answer::error(StatusCode::SERVICE_UNAVAILABLE, "starting: the configuration is waited for"),
        }
    }
}
