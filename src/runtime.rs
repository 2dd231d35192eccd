//! The runtime that outlives the HTTP workers: for the database and the summary store.
//!
//! A connection pool's sockets belong to the runtime that opened them, and a worker's runtime ends with the worker. And work
//! that was begun here goes on to its end when the client that asked for it hangs up.

use std::future::Future;
use std::io;
use std::sync::Arc;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// A handle on the runtime; clones share it, and it ends with the last of them.
#[derive(Clone)]
pub struct BackgroundRuntime(Arc<Owned>);

struct Owned(Option<Runtime>);

/// The task that did the work is gone: it panicked, or the process is ending.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the work was given up")]
pub struct GivenUp;

impl BackgroundRuntime {
    /// Starts the runtime, with two threads.
    ///
    /// # Errors
    ///
    /// If the threads can't be started.
    pub fn start() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(2).thread_name("background").enable_all().build()?;
        Ok(Self(Arc::new(Owned(Some(runtime)))))
    }

    /// Does `work` on a thread where it may block.
    ///
    /// # Errors
    ///
    /// [`GivenUp`] if it has no end.
    pub async fn run_blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, GivenUp> {
        self.0.run_blocking(work).await
    }

    /// Does `work` to its end, even if nobody waits for it any more.
    ///
    /// # Errors
    ///
    /// [`GivenUp`] if it has no end.
    pub async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<T, GivenUp> {
        self.spawn(work).ok_or(GivenUp)?.await.map_err(|_| GivenUp)
    }

    /// Starts `work` and does not wait for it.
    pub fn spawn<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Option<JoinHandle<T>> {
        self.0.0.as_ref().map(|runtime| runtime.spawn(work))
    }
}

impl Owned {
    async fn run_blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, GivenUp> {
        let runtime = self.0.as_ref().ok_or(GivenUp)?;
        runtime.spawn_blocking(work).await.map_err(|_| GivenUp)
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        // Without waiting: to drop a runtime inside another one would panic.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Low-priority thread pool for CPU-bound work. Clones share it, and it ends with the last of them.
///
/// Its threads run only when no other thread wants the core (`SCHED_IDLE`, Linux only), so that an event loop never waits
/// for the end of their time slice.
#[derive(Clone)]
pub struct LowPriorityPool(Arc<Owned>);

impl LowPriorityPool {
    /// Makes a pool of so many threads. They start with their first work.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        // Only its blocking threads are used. Without drivers and workers nothing can fail here; if it did, all work would.
        let mut builder = Builder::new_current_thread();
        let runtime =
            builder.max_blocking_threads(threads).thread_name("low-priority").on_thread_start(lower_priority).build();
        Self(Arc::new(Owned(runtime.ok())))
    }

    /// Does `work` on a thread of the pool.
    ///
    /// # Errors
    ///
    /// [`GivenUp`] if it panicked.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, GivenUp> {
        self.0.run_blocking(work).await
    }
}

/// Lowers the priority of the current thread, where the system lets it.
#[cfg(target_os = "linux")]
fn lower_priority() {
    use thread_priority::{NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy};
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    // Work at the usual priority is better than none.
    let _ = thread_priority::set_thread_priority_and_policy(thread_priority::thread_native_id(), ThreadPriority::Min, idle);
}

#[cfg(not(target_os = "linux"))]
fn lower_priority() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[actix_rt::test]
    async fn low_priority_pool_runs_work_at_lowest_priority_and_survives_a_panic() {
        use thread_priority::{NormalThreadSchedulePolicy, ThreadSchedulePolicy, thread_schedule_policy};
        let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
        let pool = LowPriorityPool::new(1);
        assert!(pool.run(|| panic!("on purpose")).await.is_err());
        assert_eq!(pool.run(thread_schedule_policy).await.unwrap(), Ok(idle));
        assert_ne!(thread_schedule_policy(), Ok(idle), "of the caller");
    }
}
