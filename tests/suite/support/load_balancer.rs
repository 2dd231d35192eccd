//! A layer 4 load balancer in front of test servers.

mod round_robin;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;

use super::client::Client;
use super::server::ServerThread;

/// The interval of readiness checks.
pub const CHECKS: Duration = round_robin::CHECKS;

/// The load balancer; closes its connections when dropped.
pub struct LoadBalancer {
    address: SocketAddr,
    _thread: ServerThread,
}

impl LoadBalancer {
    pub fn over(servers: impl IntoIterator<Item = SocketAddr>) -> Self {
        let behind: Vec<SocketAddr> = servers.into_iter().collect();
        let (address, thread) = ServerThread::start(move |started, stopped| async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            started.send(listener.local_addr().unwrap()).unwrap();
            tokio::select! {
                () = round_robin::balance(listener, behind) => {}
                _ = stopped => {}
            }
        });
        Self { address, _thread: thread }
    }

    pub fn client(&self) -> Client {
        Client::new(self.address)
    }
}
