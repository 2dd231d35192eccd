//! A proxy in front of Redis, which delays or replaces its replies.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::server::ServerThread;

/// The proxy, with its connections until it is dropped.
pub struct RedisProxy {
    port: u16,
    mode: Arc<Mutex<Mode>>,
    _thread: ServerThread,
}

#[derive(Clone, Copy)]
enum Mode {
    /// Delays each reply by this time.
    Late(Duration),
    /// Replies with this line; Redis gets no command.
    Instead(&'static str),
}

/// Bytes for the client, and when they are due.
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

    /// Replies with a line of Redis's protocol to each command.
    pub fn reply_with(&self, line: &'static str) {
        *self.mode.lock().unwrap() = Mode::Instead(line);
    }

    pub fn pass_through(&self) {
        self.delay(Duration::ZERO);
    }
}

async fn accept(listener: TcpListener, redis: u16, mode: Arc<Mutex<Mode>>) {
    loop {
        let Ok((server, _)) = listener.accept().await else { continue };
        let Ok(behind) = TcpStream::connect(("127.0.0.1", redis)).await else { continue };
        let _ = server.set_nodelay(true).and(behind.set_nodelay(true));
        let ((from_server, to_server), (from_redis, to_redis)) = (server.into_split(), behind.into_split());
        let (responses, mut due) = unbounded_channel::<Due>();
        let mut to_server: OwnedWriteHalf = to_server;
        tokio::spawn(async move {
            while let Some((at, bytes)) = due.recv().await {
                tokio::time::sleep_until(at.into()).await;
                if to_server.write_all(&bytes).await.is_err() {
                    return;
                }
            }
        });
        tokio::spawn(commands(from_server, to_redis, responses.clone(), Arc::clone(&mode)));
        tokio::spawn(replies(from_redis, responses, Arc::clone(&mode)));
    }
}

async fn commands(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, responses: UnboundedSender<Due>, mode: Arc<Mutex<Mode>>) {
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
                // One reply per command, each of which begins with its number of parts.
                let commands = buffer[..read].split(|byte| *byte == b'\n').filter(|line| begins_command(line)).count();
                let bytes = format!("{line}\r\n").repeat(commands).into_bytes();
                if responses.send((Instant::now(), bytes)).is_err() {
                    return;
                }
            }
        }
    }
}

fn begins_command(line: &[u8]) -> bool {
    let digits = line.strip_prefix(b"*").and_then(|rest| rest.strip_suffix(b"\r"));
    digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_digit))
}

async fn replies(mut from: OwnedReadHalf, responses: UnboundedSender<Due>, mode: Arc<Mutex<Mode>>) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let delay = match *mode.lock().unwrap() {
            Mode::Late(delay) => delay,
            Mode::Instead(_) => Duration::ZERO,
        };
        if responses.send((Instant::now() + delay, buffer[..read].to_vec())).is_err() {
            return;
        }
    }
}
