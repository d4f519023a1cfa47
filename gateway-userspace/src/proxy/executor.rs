//! Runs hyper's background tasks on the thread of the connection they belong to.

/// Spawns on the worker's own task set.
#[derive(Debug, Clone, Copy)]
pub struct LocalExecutor;

impl<F: Future<Output: 'static> + 'static> hyper::rt::Executor<F> for LocalExecutor {
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
}
