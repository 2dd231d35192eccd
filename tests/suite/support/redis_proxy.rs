//! A proxy between a server and its Redis: passes everything on, late, or answers something else.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::server::ServerThread;

/// The proxy; ends when it is dropped, its connections with it.
pub struct RedisProxy {
    port: u16,
    mode: Arc<Mutex<Mode>>,
    _thread: ServerThread,
}

#[derive(Clone, Copy)]
enum Mode {
    /// Each answer so much later, one after the other or many at once.
    Late(Duration),
    /// This instead of each answer; Redis hears nothing.
    Instead(&'static str),
}

/// Bytes for the server, and when they are due.
type Due = (Instant, Vec<u8>);

impl RedisProxy {
    pub fn to(redis: u16) -> Self {
        let mode = Arc::new(Mutex::new(Mode::Late(Duration::ZERO)));
        let shared = Arc::clone(&mode);
        let (port, thread) = ServerThread::start(move |started, stopped| async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            started.send(listener.local_addr().unwrap().port()).unwrap();
            tokio::select! {
                () = accept(listener, redis, shared) => {}
                _ = stopped => {}
            }
        });
        Self { port, mode, _thread: thread }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn delay(&self, delay: Duration) {
        *self.mode.lock().unwrap() = Mode::Late(delay);
    }

    /// One line of Redis's protocol, in place of each answer.
    pub fn say(&self, line: &'static str) {
        *self.mode.lock().unwrap() = Mode::Instead(line);
    }

    pub fn pass_on(&self) {
        self.delay(Duration::ZERO);
    }
}

async fn accept(listener: TcpListener, redis: u16, mode: Arc<Mutex<Mode>>) {
    loop {
        let Ok((server, _)) = listener.accept().await else { continue };
        let Ok(behind) = TcpStream::connect(("127.0.0.1", redis)).await else { continue };
        let _ = server.set_nodelay(true).and(behind.set_nodelay(true));
        let ((from_server, to_server), (from_redis, to_redis)) = (server.into_split(), behind.into_split());
        let (answers, mut due) = unbounded_channel::<Due>();
        let mut to_server: OwnedWriteHalf = to_server;
        tokio::spawn(async move {
            while let Some((at, bytes)) = due.recv().await {
                tokio::time::sleep_until(at.into()).await;
                if to_server.write_all(&bytes).await.is_err() {
                    return;
                }
            }
        });
        tokio::spawn(commands(from_server, to_redis, answers.clone(), Arc::clone(&mode)));
        tokio::spawn(replies(from_redis, answers, Arc::clone(&mode)));
    }
}

async fn commands(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, answers: UnboundedSender<Due>, mode: Arc<Mutex<Mode>>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let now = *mode.lock().unwrap();
        match now {
            Mode::Late(_) => {
                if to.write_all(&buffer[..read]).await.is_err() {
                    return;
                }
            }
            Mode::Instead(line) => {
                // As many answers as there are commands: each begins with how many parts it has.
                let commands = buffer[..read].split(|byte| *byte == b'\n').filter(|line| is_a_beginning(line)).count();
                let bytes = format!("{line}\r\n").repeat(commands).into_bytes();
                if answers.send((Instant::now(), bytes)).is_err() {
                    return;
                }
            }
        }
    }
}

fn is_a_beginning(line: &[u8]) -> bool {
    let digits = line.strip_prefix(b"*").and_then(|rest| rest.strip_suffix(b"\r"));
    digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_digit))
}

async fn replies(mut from: OwnedReadHalf, answers: UnboundedSender<Due>, mode: Arc<Mutex<Mode>>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let delay = match *mode.lock().unwrap() {
            Mode::Late(delay) => delay,
            Mode::Instead(_) => Duration::ZERO,
        };
        if answers.send((Instant::now() + delay, buffer[..read].to_vec())).is_err() {
            return;
        }
    }
}
