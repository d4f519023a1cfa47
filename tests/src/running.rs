//! The whole gateway, in this process: its control side on a thread, its workers on theirs.

use std::sync::mpsc::channel;
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow};
use gateway_userspace::app::{App, Bound};
use gateway_userspace::bootstrap::Settings;
use gateway_userspace::drain::Cause;
use tokio::task::LocalSet;

/// A gateway that serves. Drained when dropped.
pub struct Running {
    /// What it can be reached by.
    pub bound: Bound,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Running {
    /// Starts it and returns when its gateways are open. Pods are captured soon after.
    pub fn start(settings: Settings) -> Result<Self> {
        let (tell, told) = channel();
        let serve = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            LocalSet::new().block_on(&runtime, async move {
                match App::start(settings).await {
                    Ok(app) => {
                        tell.send(Ok(app.bound().clone()))?;
                        app.serve().await.map(drop)
                    }
                    Err(error) => Ok(tell.send(Err(error))?),
                }
            })
        };
        let thread = std::thread::Builder::new().name("control".into()).spawn(serve)?;
        let bound = told.recv().context("the gateway ended before it started")??;
        Ok(Self { bound, thread: Some(thread) })
    }

    /// True when it has ended by itself.
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for its end, which something else brings about.
    pub fn join(mut self) -> Result<()> {
        let thread = self.thread.take().context("it was joined before")?;
        thread.join().map_err(|_| anyhow!("the control thread panicked"))?
    }

    /// Drains it and waits for its end.
    pub fn drain(self) -> Result<()> {
        self.bound.drain.start(Cause::Asked);
        self.join()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.bound.drain.start(Cause::Asked);
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported.
            let _ = thread.join();
        }
    }
}
