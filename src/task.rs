//! Named background tasks that are counted, stopped and awaited at shutdown.
//!
//! A future that is dropped is cancelled, so whatever must finish (a commit, a refresh) is a
//! task of its own. Each one is started here: it then has a name in the trace, an owner that
//! can stop it, and somebody who waits for it.

use std::future::Future;
use std::time::Duration;

use tokio::runtime::{EnterGuard, Handle};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// A group of background tasks with one end. Clones are the same group.
///
/// It carries the runtime, so threads of the kernel's side may start tasks too.
#[derive(Debug, Clone)]
pub struct Tasks {
    runtime: Handle,
    tracker: TaskTracker,
    stopping: CancellationToken,
}

impl Tasks {
    /// Returns an empty group whose tasks run on `runtime`.
    pub fn new(runtime: Handle) -> Self {
        Self { runtime, tracker: TaskTracker::new(), stopping: CancellationToken::new() }
    }

    /// Starts a task that runs to its own end; shutdown waits for it.
    pub fn spawn<F>(&self, name: &'static str, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let future = future.instrument(tracing::debug_span!("task", name));
        self.tracker.spawn_on(future, &self.runtime)
    }

    /// Starts a task without an end of its own; shutdown drops it at its next await.
    pub fn spawn_until_stopped<F>(&self, name: &'static str, future: F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stopping = self.stopping.clone();
        self.spawn(name, async move {
            stopping.run_until_cancelled(future).await;
        })
    }

    /// Makes this thread one that may begin timers and the like, until the guard is dropped.
    pub fn enter(&self) -> EnterGuard<'_> {
        self.runtime.enter()
    }

    /// Whether the group has been told to stop.
    pub fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// Stops the endless tasks and waits up to `patience` for the others.
    ///
    /// Returns how many were still running when patience ended.
    pub async fn stop(&self, patience: Duration) -> usize {
        self.stopping.cancel();
        self.tracker.close();
        // Elapsed and finished are told apart by the count, which is what the caller wants to know.
        let finished = tokio::time::timeout(patience, self.tracker.wait()).await;
        finished.map_or_else(|_| self.tracker.len(), |()| 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn stopping_ends_the_endless_and_awaits_the_finite() {
        let tasks = Tasks::new(Handle::current());
        let endless = tasks.spawn_until_stopped("endless", std::future::pending());
        let finite = tasks.spawn("finite", async { tokio::task::yield_now().await });
        assert_eq!(tasks.stop(Duration::from_secs(60)).await, 0);
        assert!(endless.is_finished() && finite.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_will_not_end_is_counted() {
        let tasks = Tasks::new(Handle::current());
        let _stuck = tasks.spawn("stuck", std::future::pending::<()>());
        assert_eq!(tasks.stop(Duration::from_secs(1)).await, 1);
    }
}
