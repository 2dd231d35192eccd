//! Work on threads that give way to all others, on Linux: whoever waits on an event loop must not wait for the end of the time
//! slice of something that takes long, some milliseconds away. Must not know what the work is.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::Semaphore;

/// How long work may take there: some times as long as a hash takes on an idle core. Where others leave no core any time, it
/// would not end for seconds.
const PATIENCE: Duration = Duration::from_millis(150);

type Work = Box<dyn FnOnce() + Send>;

/// Threads that give way. They end with the last clone of this; where they may not give way, at once.
#[derive(Clone)]
pub(super) struct GivingWay {
    free: Arc<Semaphore>,
    way_in: Sender<Work>,
}

impl GivingWay {
    /// Starts so many threads.
    pub(super) fn start(threads: usize) -> Self {
        let (way_in, way_out) = mpsc::channel();
        let way_out = Arc::new(Mutex::new(way_out));
        for _ in 0..threads {
            let way_out = Arc::clone(&way_out);
            // One that can't be started is no worse than one that may not give way.
            let _ = thread::Builder::new().name("giving-way".to_owned()).spawn(move || work_off(&way_out));
        }
        Self { free: Arc::new(Semaphore::new(threads)), way_in }
    }

    /// Waits for what `work` gives. `None` if all threads are taken, none may give way here, or it took too long: then it still
    /// ends whenever it can, for nothing, and its thread is taken until then.
    ///
    /// The caller waits on a thread of the usual priority, and no event loop shares a lock with one that gives way: that one
    /// might stop within it, and not go on for long.
    pub(super) fn wait_for<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let taken = Arc::clone(&self.free).try_acquire_owned().ok()?;
        let (done, is_done) = mpsc::sync_channel(1);
        let work = move || {
            let result = work();
            // First, because whoever gets the result may bring the next work.
            drop(taken);
            let _ = done.send(result);
        };
        self.way_in.send(Box::new(work)).ok()?;
        is_done.recv_timeout(PATIENCE).ok()
    }
}

fn work_off(way_out: &Mutex<Receiver<Work>>) {
    if gives_way() {
        while let Ok(work) = next(way_out) {
            // A panic shows by the result that is missing.
            let _ = catch_unwind(AssertUnwindSafe(work));
        }
    }
}

fn next(way_out: &Mutex<Receiver<Work>>) -> Result<Work, mpsc::RecvError> {
    way_out.lock().unwrap_or_else(PoisonError::into_inner).recv()
}

/// Has this thread give way from now on; whether it does.
#[cfg(target_os = "linux")]
fn gives_way() -> bool {
    use thread_priority::{NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy};
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    // Also tries to set a nice value, which does not matter any more, and which it may not be allowed to.
    let _ = thread_priority::set_thread_priority_and_policy(thread_priority::thread_native_id(), ThreadPriority::Min, idle);
    thread_priority::thread_schedule_policy() == Ok(idle)
}

/// Elsewhere none does.
#[cfg(not(target_os = "linux"))]
fn gives_way() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_done_there_as_long_as_a_thread_is_free_and_its_time_is_not_over() {
        let giving_way = GivingWay::start(1);
        let Some(name) = giving_way.wait_for(|| thread::current().name().map(str::to_owned)) else {
            println!("no thread may give way here");
            return;
        };
        assert_eq!(name.as_deref(), Some("giving-way"));
        let (end, ends) = mpsc::channel::<()>();
        assert_eq!(giving_way.wait_for(move || ends.recv().is_ok()), None, "too long");
        assert_eq!(giving_way.wait_for(|| 1), None, "the thread is taken");
        end.send(()).unwrap();
        let comes_to_its_end = || while giving_way.wait_for(|| ()).is_none() {};
        comes_to_its_end();
        assert_eq!(giving_way.wait_for(|| panic!("on purpose")), None::<()>);
        // It gives its thread back.
        comes_to_its_end();
    }
}
