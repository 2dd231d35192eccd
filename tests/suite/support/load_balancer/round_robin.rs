//! Round-robin load balancing over ready servers, per connection. Shared with the benchmark of rolling restarts.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

/// The interval of readiness checks.
pub const CHECKS: Duration = Duration::from_millis(100);

/// Runs until dropped. All servers count as ready at first.
pub async fn balance(listener: TcpListener, servers: Vec<SocketAddr>) {
    let ready = Arc::new(Mutex::new(servers.clone()));
    tokio::select! {
        () = accept(listener, Arc::clone(&ready)) => {}
        () = check(servers, ready) => {}
    }
}

async fn accept(listener: TcpListener, ready: Arc<Mutex<Vec<SocketAddr>>>) {
    let turn = AtomicUsize::new(0);
    loop {
        let Ok((mut client, _)) = listener.accept().await else { continue };
        let (turn, servers) =
            (turn.fetch_add(1, Ordering::Relaxed), ready.lock().unwrap_or_else(PoisonError::into_inner).clone());
        tokio::spawn(async move {
            // Nothing was sent yet: on a failed connect, try the next server.
            for number in 0..servers.len() {
                let server = servers.get((turn + number) % servers.len());
                let Some(&server) = server else { return };
                if let Ok(mut server) = TcpStream::connect(server).await {
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
        *ready.lock().unwrap_or_else(PoisonError::into_inner) = found;
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
    // Any other response, or none in time, means not ready.
    let ready = |head: [u8; 12]| &head == b"HTTP/1.1 200";
    tokio::time::timeout(Duration::from_secs(1), asked).await.is_ok_and(|head| head.is_ok_and(ready))
}
