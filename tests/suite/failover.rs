//! Replicas behind nginx and HAProxy with the configurations of `deploy/`: restarts, crashes and outages of the database.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use proconf_app_server::sandbox::{Reply, Script};

use crate::support::client::Client;
use crate::support::database::{Cluster, TestDatabase};
use crate::support::process::ServerProcess;
use crate::support::proxy::{NAME, Proxy};
use crate::support::redis::Redis;
use crate::support::replicas::settings_of;
use crate::support::{SandboxServer, tokens, wait_until};

/// The clients of each proxy, and the time between the requests of one: 150 requests a second through three proxies.
const CLIENTS: usize = 5;
const INTERVAL: Duration = Duration::from_millis(100);
/// Longer than HAProxy takes to notice that a server is not ready: three checks, one a second.
const DRAIN_FOR: &str = "4s";

/// Requests through all proxies, and their outcomes.
#[derive(Default)]
struct Load {
    is_over: AtomicBool,
    sent: AtomicUsize,
    /// Requests without a response, or with a status other than 200.
    lost: Mutex<Vec<String>>,
}

/// Builds the request of this number.
type Requests = fn(usize) -> Vec<u8>;

fn get(number: usize) -> Vec<u8> {
    get_new_room(number % 20)
}

/// The catch-up of each room is a call to Admin Control.
fn get_new_room(number: usize) -> Vec<u8> {
    let token = tokens::user();
    format!("GET /callCatchUp/r{number} HTTP/1.1\r\nHost: {NAME}\r\nAuthorization: Bearer {token}\r\n\r\n").into_bytes()
}

/// Every fifth request is a POST, which no proxy may repeat.
fn get_or_post(number: usize) -> Vec<u8> {
    if !number.is_multiple_of(5) {
        return get(number);
    }
    let (token, body) = (tokens::user(), r#"{"role":"member","room":"r1","participantName":"Ann"}"#);
    format!(
        "POST /proconfToken HTTP/1.1\r\nHost: {NAME}\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

impl Load {
    /// Sends requests through each of these proxies while `work` runs. Returns the number of requests.
    #[track_caller]
    fn run(proxies: &[Proxy], requests: Requests, work: impl FnOnce(&Self)) -> usize {
        let load = Self::default();
        std::thread::scope(|scope| {
            for proxy in proxies {
                for client in 0..CLIENTS {
                    let load = &load;
                    scope.spawn(move || load.send(proxy, requests, client));
                }
            }
            // A failed test ends its clients, too.
            let _end = EndOnDrop(&load.is_over);
            work(&load);
        });
        let lost = load.lost.into_inner().unwrap();
        assert!(lost.is_empty(), "{} of {:?} are lost: {:?}", lost.len(), load.sent, &lost[..lost.len().min(20)]);
        load.sent.into_inner()
    }

    /// Sends requests at a fixed rate. Clients with an even number keep their connection alive.
    fn send(&self, proxy: &Proxy, requests: Requests, client: usize) {
        let mut idle = None;
        let mut next = Instant::now() + INTERVAL / u32::try_from(client + 1).unwrap();
        while !self.is_over.load(Ordering::SeqCst) {
            std::thread::park_timeout(next.saturating_duration_since(Instant::now()));
            next += INTERVAL;
            let mut connection = idle.take().unwrap_or_else(|| proxy.connect());
            let request = requests(self.sent.fetch_add(1, Ordering::SeqCst));
            match connection.request(&request) {
                Some(response) if response.status == 200 => {
                    let keep_alive = client.is_multiple_of(2) && response.header("connection") != Some("close");
                    idle = Some(connection).filter(|_| keep_alive);
                }
                response => self.lost.lock().unwrap().push(format!("{:?}: {response:?}", proxy.kind)),
            }
        }
    }

    /// Waits until this many more requests are sent.
    fn wait_for(&self, requests: usize) {
        let before = self.sent.load(Ordering::SeqCst);
        wait_until("requests are sent", || self.sent.load(Ordering::SeqCst) >= before + requests);
    }

    /// Waits for this time, and until some requests are sent: a loaded machine sends fewer than [`INTERVAL`] permits.
    fn send_for(&self, time: Duration) {
        let before = self.sent.load(Ordering::SeqCst);
        std::thread::sleep(time);
        wait_until("requests are sent", || self.sent.load(Ordering::SeqCst) >= before + 100);
    }
}

/// Sets a flag when it is dropped.
struct EndOnDrop<'a>(&'a AtomicBool);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Two servers at fixed addresses, on one database, one Admin Control and one Redis.
struct Pair {
    addresses: [String; 2],
    database: Arc<TestDatabase>,
    sandbox: SandboxServer,
    script: Script,
    redis: Redis,
}

impl Pair {
    fn new(database: TestDatabase) -> Self {
        let free = |()| TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let script = Script::echo();
        let sandbox = SandboxServer::start(script.clone());
        let addresses = [(); 2].map(free);
        Self { addresses, database: Arc::new(database), sandbox, script, redis: Redis::start() }
    }

    fn start(&self, number: usize) -> ServerProcess {
        let (base_url, redis) = (&self.sandbox.base_url, self.redis.url());
        let settings = [("APP_SERVER__LISTEN", self.addresses[number].as_str()), ("APP_SERVER__DRAIN_FOR", DRAIN_FOR)];
        let server = ServerProcess::on(
            Arc::clone(&self.database),
            base_url,
            &[&settings_of(base_url, &redis)[..], &settings, &[("APP_SERVER__TRUSTED_PROXIES", "127.0.0.1/32")]].concat(),
        );
        let management = Client::new(server.management);
        wait_until("the server is ready", || management.get("/health/ready", None).status == 200);
        server
    }

    fn proxies(&self) -> [Proxy; 3] {
        let addresses: Vec<SocketAddr> = self.addresses.iter().map(|address| address.parse().unwrap()).collect();
        Proxy::start_all(&addresses)
    }
}

#[test]
fn rolling_restart_behind_each_proxy_loses_no_request() {
    let pair = Pair::new(TestDatabase::new());
    let mut servers = [pair.start(0), pair.start(1)];
    let proxies = pair.proxies();
    let sent = Load::run(&proxies, get_or_post, |load| {
        load.wait_for(100);
        for (number, server) in servers.iter_mut().enumerate() {
            server.signal("TERM");
            assert_eq!(server.exit().0, 0);
            // A restart takes a while, in which the other one serves all.
            load.send_for(Duration::from_secs(2));
            *server = pair.start(number);
        }
        load.wait_for(200);
    });
    assert!(sent > 500, "{sent}");
}

#[test]
fn killed_replica_behind_each_proxy_loses_no_get() {
    let pair = Pair::new(TestDatabase::new());
    let (mut killed, _other) = (pair.start(0), pair.start(1));
    let proxies = pair.proxies();
    // So that requests are in flight when the server is killed.
    for room in 0..2_000 {
        pair.script.catch_up(&format!("r{room}"), Reply::data(r#""written""#).after(INTERVAL));
    }
    Load::run(&proxies, get_new_room, |load| {
        load.wait_for(100);
        killed.kill();
        // Longer than HAProxy takes to notice: three checks, one a second.
        load.send_for(Duration::from_secs(4));
    });
}

#[test]
fn database_outage_behind_each_proxy_loses_no_catch_up() {
    let cluster = Cluster::start();
    let pair = Pair::new(TestDatabase::at(cluster.new_database()));
    let _servers = [pair.start(0), pair.start(1)];
    let proxies = pair.proxies();
    Load::run(&proxies, get, |load| {
        load.wait_for(100);
        cluster.pg_ctl(&["stop", "-m", "fast"]);
        // Three health checks of HAProxy, and some.
        load.send_for(Duration::from_secs(6));
        cluster.pg_ctl(&["start"]);
        load.wait_for(100);
    });
}
