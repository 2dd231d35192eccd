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
pub struct Background(Arc<Owned>);

struct Owned(Option<Runtime>);

/// The task that did the work is gone: it panicked, or the process is ending.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the work was given up")]
pub struct GivenUp;

impl Background {
    /// Starts the runtime, with two threads.
    ///
    /// # Errors
    ///
    /// If the threads can't be started.
    pub fn start() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(2).thread_name("background").enable_all().build()?;
        Ok(Self(Arc::new(Owned(Some(runtime)))))
    }

    /// Starts a runtime for work that keeps a thread busy, with so many threads and no more.
    ///
    /// # Errors
    ///
    /// If the threads can't be started.
    pub fn for_blocking_work(threads: usize) -> io::Result<Self> {
        let mut builder = Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).max_blocking_threads(threads).thread_name("blocking").build()?;
        Ok(Self(Arc::new(Owned(Some(runtime)))))
    }

    /// Does `work` on a thread where it may block.
    ///
    /// # Errors
    ///
    /// [`GivenUp`] if it has no end.
    pub async fn run_blocking<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, GivenUp> {
        let runtime = self.0.0.as_ref().ok_or(GivenUp)?;
        runtime.spawn_blocking(work).await.map_err(|_| GivenUp)
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

impl Drop for Owned {
    fn drop(&mut self) {
        // Without waiting: to drop a runtime inside another one would panic.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
