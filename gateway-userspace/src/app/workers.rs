//! The workers of this process, as the control side speaks to them.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use std::{io, net};

use super::ports::PortChange;
use crate::capture::netns::stream_socket;
use crate::proxy::SocketFactory;
use crate::telemetry::Telemetry;
use crate::telemetry::record::{Observe, PodId};
use crate::worker::{PodListener, Worker, WorkerCommand, WorkerContext, WorkerHandle};

/// Between two looks at workers that drain.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Makes upstream sockets in the namespace of the pod that calls.
#[derive(Debug, Clone, Copy)]
pub struct NetnsSockets {
    /// The rest is for what must go on when traffic has taken all that it may.
    pub descriptors_max: usize,
}

impl SocketFactory for NetnsSockets {
    fn stream(&self, netns: Option<BorrowedFd<'_>>, domain: socket2::Domain) -> io::Result<socket2::Socket> {
        let socket = stream_socket(netns, domain)?;
        // The kernel gives out the lowest number that is free.
        if usize::try_from(socket.as_raw_fd()).is_ok_and(|number| number >= self.descriptors_max) {
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        Ok(socket)
    }
}

/// All workers, in the order of their numbers.
#[derive(Debug)]
pub struct Workers {
    handles: Mutex<Vec<WorkerHandle>>,
    count: usize,
}

impl Workers {
    /// Starts `count` of them.
    ///
    /// # Errors
    /// When a thread or its runtime cannot be made.
    pub fn start(count: usize, context: &WorkerContext, telemetry: &Telemetry) -> io::Result<Self> {
        let start = |index| {
            let observe = telemetry.worker();
            Worker::spawn(index, context.clone(), move || -> Box<dyn Observe> { Box::new(observe()) })
        };
        let handles = (0..count).map(start).collect::<io::Result<_>>()?;
        Ok(Self { handles: Mutex::new(handles), count })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Gives a pod to its home worker.
    pub fn add_pod(&self, listener: PodListener) {
        self.send(self.home(listener.pod), WorkerCommand::AddPod(listener));
    }

    /// Takes a pod from its home worker.
    pub fn remove_pod(&self, pod: PodId) {
        self.send(self.home(pod), WorkerCommand::RemovePod(pod));
    }

    /// Opens or closes a gateway port on every worker.
    pub fn change_port(&self, change: PortChange) {
        match change {
            PortChange::Open { listener, sockets } => {
                for (index, sockets) in deal(sockets, self.count).into_iter().enumerate() {
                    let listener = std::sync::Arc::clone(&listener);
                    self.send(index, WorkerCommand::AddGateway { listener, sockets });
                }
            }
            PortChange::Close(address) => {
                for index in 0..self.count {
                    self.send(index, WorkerCommand::RemoveGateway(address));
                }
            }
        }
    }

    /// Has every worker finish what is in flight; returns when their threads have ended. They end by
    /// themselves at their drain timeout.
    pub async fn drain(&self) {
        let handles = std::mem::take(&mut *self.handles.lock().unwrap_or_else(PoisonError::into_inner));
        for handle in &handles {
            // A worker that has ended has nothing to drain.
            let _ = handle.send(WorkerCommand::Drain);
        }
        while !handles.iter().all(WorkerHandle::is_finished) {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// A pod's connections stay with one worker, so that its upstream pool is dense.
    fn home(&self, pod: PodId) -> usize {
        pod.0 as usize % self.count
    }

    fn send(&self, index: usize, command: WorkerCommand) {
        let handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        // While draining there is nobody left to tell.
        if let Some(worker) = handles.get(index)
            && worker.send(command).is_err()
        {
            tracing::error!(worker = index, "a worker has ended: what it served is not served any more");
        }
    }
}

/// Sockets in turn to each of `hands`.
fn deal(sockets: Vec<net::TcpListener>, hands: usize) -> Vec<Vec<net::TcpListener>> {
    let mut dealt: Vec<Vec<_>> = (0..hands).map(|_| Vec::new()).collect();
    for (n, socket) in sockets.into_iter().enumerate() {
        dealt[n % hands].push(socket);
    }
    dealt
}
