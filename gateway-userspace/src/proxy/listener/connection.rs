//! One accepted connection: what its port speaks decides who serves it.

use std::rc::Rc;

use tokio::net::TcpStream;

use crate::proxy::shutdown::Shutdown;
use crate::proxy::{Downstream, Proxy};
use crate::reason::Reason;

/// Serves one connection to its end.
pub async fn serve(proxy: Rc<Proxy>, stream: TcpStream, downstream: Downstream, shutdown: Shutdown) {
    if shutdown.is_started() || proxy.views.get().listener(&downstream.destination).is_none() {
        proxy.observe.rejected(Reason::NoRoute);
    }
    drop(stream);
}
