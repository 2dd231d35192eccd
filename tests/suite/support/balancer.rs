//! A load balancer: takes turns over the servers that are ready, connection by connection, as one of layer 4 does.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use super::OnAThread;
use super::client::Client;

/// How often it asks each server whether it is ready.
pub const CHECKS: Duration = Duration::from_millis(100);

/// The balancer; ends when it is dropped, its connections with it.
pub struct Balancer {
    address: SocketAddr,
    _thread: OnAThread,
}

impl Balancer {
    pub fn over(servers: impl IntoIterator<Item = SocketAddr>) -> Self {
        let behind: Vec<SocketAddr> = servers.into_iter().collect();
        let (address, thread) = OnAThread::start(move |started, stopped| async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            started.send(listener.local_addr().unwrap()).unwrap();
            let ready = Arc::new(Mutex::new(behind.clone()));
            tokio::select! {
                () = accept(listener, Arc::clone(&ready)) => {}
                () = check(behind, ready) => {}
                _ = stopped => {}
            }
        });
        Self { address, _thread: thread }
    }

    pub fn client(&self) -> Client {
        Client::new(self.address)
    }
}

async fn accept(listener: TcpListener, ready: Arc<Mutex<Vec<SocketAddr>>>) {
    let turn = AtomicUsize::new(0);
    loop {
        let Ok((mut client, _)) = listener.accept().await else { continue };
        let (turn, servers) = (turn.fetch_add(1, Ordering::Relaxed), ready.lock().unwrap().clone());
        tokio::spawn(async move {
            // The next one where one is gone: nothing was sent yet, so nothing is lost.
            for number in 0..servers.len() {
                if let Ok(mut server) = TcpStream::connect(servers[(turn + number) % servers.len()]).await {
                    let _ = client.set_nodelay(true).and(server.set_nodelay(true));
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                    return;
                }
            }
        });
    }
}

async fn check(servers: Vec<SocketAddr>, ready: Arc<Mutex<Vec<SocketAddr>>>) {
    loop {
        let mut found = Vec::new();
        for &server in &servers {
            if is_ready(server).await {
                found.push(server);
            }
        }
        *ready.lock().unwrap() = found;
        tokio::time::sleep(CHECKS).await;
    }
}

async fn is_ready(server: SocketAddr) -> bool {
    let asked = async {
        let mut stream = TcpStream::connect(server).await?;
        stream.write_all(b"GET /health/ready HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n").await?;
        let mut head = [0; 12];
        stream.read_exact(&mut head).await?;
        Ok::<_, std::io::Error>(head)
    };
    // A server that has no such route yet is ready as long as it answers at all.
    let ready = |head: [u8; 12]| &head != b"HTTP/1.1 503";
    tokio::time::timeout(Duration::from_secs(1), asked).await.is_ok_and(|head| head.is_ok_and(ready))
}
