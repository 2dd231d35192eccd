//! The queue between those who log and the one thread that writes. It is bounded: what has no room is dropped and counted.
//! Must not know what a line says.

use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The most bytes that wait to be written: a second and more of a busy server's lines.
const MAX_WAITING: usize = 4 << 20;
/// The writer writes at most once in this time, so that a busy server's lines are few writes and few wakings.
const GATHER: Duration = Duration::from_millis(10);
/// From here on it does not wait any longer.
const ENOUGH: usize = 256 << 10;
/// How long a flush waits for a reader that may have stopped reading.
const FLUSH_PATIENCE: Duration = Duration::from_secs(1);
/// How long the writer waits before it tries again to write to what would block.
const BLOCKED: Duration = Duration::from_millis(10);

/// How many lines were dropped. Clones are the same count.
#[derive(Debug, Clone, Default)]
pub struct Dropped(Arc<AtomicU64>);

impl Dropped {
    /// The count.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn add(&self, lines: u64) {
        self.0.fetch_add(lines, Ordering::Relaxed);
    }
}

#[derive(Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    /// There is something to write, or enough of it.
    filled: Condvar,
    /// All that had been there is written.
    emptied: Condvar,
    dropped: Dropped,
}

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// How many lines that is.
    lines: u64,
    writer: Writer,
    /// Somebody waits: nothing is to gather.
    flushing: bool,
}

/// What the writer does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Writer {
    /// It waits for something to write.
    #[default]
    Idle,
    /// It waits for more.
    Gathering,
    /// It is busy with what it took out before.
    Writing,
}

/// Where lines go in, each with one write.
pub(super) struct Entrance(pub(super) Arc<Queue>);

impl Write for Entrance {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Queue {
    pub(super) fn dropped(&self) -> Dropped {
        self.dropped.clone()
    }

    /// Adds a line, or drops it. Never waits for the reader of the log.
    fn push(&self, line: &[u8]) {
        let mut waiting = self.waiting();
        if waiting.bytes.len() + line.len() > MAX_WAITING {
            drop(waiting);
            self.dropped.add(1);
            return;
        }
        let before = waiting.bytes.len();
        waiting.bytes.extend_from_slice(line);
        waiting.lines += 1;
        // To be woken costs the writer more than a line does.
        let wakes = match waiting.writer {
            Writer::Idle => !waiting.bytes.is_empty(),
            Writer::Gathering => before < ENOUGH && waiting.bytes.len() >= ENOUGH,
            Writer::Writing => false,
        };
        if wakes {
            // Nobody wakes it once more for the same.
            waiting.writer = Writer::Gathering;
        }
        drop(waiting);
        if wakes {
            self.filled.notify_one();
        }
    }

    /// Waits until everything is written, or its reader has been waited for long enough.
    pub(super) fn flush(&self) {
        let mut waiting = self.waiting();
        waiting.flushing = true;
        self.filled.notify_one();
        let unwritten = |waiting: &mut Waiting| waiting.writer == Writer::Writing || !waiting.bytes.is_empty();
        let (mut waiting, _) =
            self.emptied.wait_timeout_while(waiting, FLUSH_PATIENCE, unwritten).unwrap_or_else(PoisonError::into_inner);
        waiting.flushing = false;
    }

    /// Writes for as long as the process lives.
    pub(super) fn write_to(&self, out: &mut impl Write) {
        let mut batch = Vec::new();
        let mut taken = None;
        loop {
            let lines = self.take(&mut batch, taken);
            taken = Some(Instant::now());
            if !write(out, &batch) {
                self.dropped.add(lines);
            }
            batch.clear();
        }
    }

    /// Waits for lines, the last of which were taken at `taken`, and takes them all.
    fn take(&self, batch: &mut Vec<u8>, taken: Option<Instant>) -> u64 {
        let mut waiting = self.waiting();
        waiting.writer = Writer::Idle;
        if waiting.bytes.is_empty() {
            self.emptied.notify_all();
        }
        let mut waiting =
            self.filled.wait_while(waiting, |waiting| waiting.bytes.is_empty()).unwrap_or_else(PoisonError::into_inner);
        waiting.writer = Writer::Gathering;
        let gather = taken.map_or(Duration::ZERO, |taken| GATHER.saturating_sub(taken.elapsed()));
        let little = |waiting: &mut Waiting| waiting.bytes.len() < ENOUGH && !waiting.flushing;
        let (mut waiting, _) =
            self.filled.wait_timeout_while(waiting, gather, little).unwrap_or_else(PoisonError::into_inner);
        waiting.writer = Writer::Writing;
        std::mem::swap(&mut waiting.bytes, batch);
        std::mem::take(&mut waiting.lines)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Nothing in here panics while it holds the lock.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes all of it. `false` if there is nobody to write to any more.
fn write(out: &mut impl Write, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => return false,
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Somebody made it non-blocking; it is this thread's business to wait.
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(BLOCKED),
            Err(_) => return false,
        }
    }
    out.flush().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::mpsc;

    /// Hands each write to the test, and takes it only when the test says so.
    struct Slow(mpsc::Sender<Vec<u8>>, mpsc::Receiver<io::Result<()>>);

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_vec()).unwrap();
            // The test is over.
            self.1.recv().unwrap_or(Ok(())).map(|()| bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn queue() -> (Arc<Queue>, mpsc::Receiver<Vec<u8>>, mpsc::Sender<io::Result<()>>) {
        let queue = Arc::new(Queue::default());
        let ((out, writes), (take, taken)) = (mpsc::channel(), mpsc::channel());
        let of_writer = Arc::clone(&queue);
        std::thread::spawn(move || of_writer.write_to(&mut Slow(out, taken)));
        (queue, writes, take)
    }

    #[test]
    fn a_reader_that_stops_costs_lines_and_no_time_and_each_dropped_line_is_counted() {
        let (queue, writes, take) = queue();
        let line = format!("{}\n", "x".repeat(1023));
        queue.push(b"first\n");
        assert_eq!(writes.recv().unwrap(), b"first\n");
        // The writer waits in its write now.
        for _ in 0..5000 {
            queue.push(line.as_bytes());
        }
        assert_eq!(queue.dropped().lines(), 5000 - 4096);
        take.send(Ok(())).unwrap();
        assert_eq!(writes.recv().unwrap().len(), MAX_WAITING, "what had room is written, in one piece");
        // Nobody takes it: a flush gives up.
        queue.flush();
        take.send(Ok(())).unwrap();
        queue.flush();
        queue.push(b"last\n");
        assert_eq!(writes.recv().unwrap(), b"last\n");
    }

    #[test]
    fn what_can_t_be_written_is_counted_and_the_writer_goes_on() {
        let (queue, writes, take) = queue();
        queue.push(b"lost\n");
        writes.recv().unwrap();
        take.send(Err(ErrorKind::BrokenPipe.into())).unwrap();
        queue.flush();
        assert_eq!(queue.dropped().lines(), 1);
        queue.push(b"kept\n");
        assert_eq!(writes.recv().unwrap(), b"kept\n");
        take.send(Err(ErrorKind::WouldBlock.into())).unwrap();
        assert_eq!(writes.recv().unwrap(), b"kept\n", "tried again");
        take.send(Ok(())).unwrap();
        queue.flush();
        assert_eq!(queue.dropped().lines(), 1);
    }
}
