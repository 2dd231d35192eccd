//! The server under test and the sandbox behind it, both in this process.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use proconf_app_server::accounts::{self, admin};
use proconf_app_server::app::{App, Shutdown};
use proconf_app_server::auth::api_key;
use proconf_app_server::clock::Clock;
use proconf_app_server::config::Config;
use proconf_app_server::db::Database;
use proconf_app_server::sandbox::{Reply, Sandbox, Script};
use proconf_app_server::telemetry::logging::DroppedLines;
use sqlx::{Connection as _, Executor as _};
use tempfile::TempDir;
use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::oneshot;

use super::client::Client;
use super::database::TestDatabase;
use super::response::Response;
use super::{EMAIL, PASSWORD, SECRET, s3, secrets, tokens};

/// A server with its own database; stops when dropped.
pub struct TestServer {
    pub address: SocketAddr,
    /// The management listener.
    pub management: SocketAddr,
    /// Sets the responses of its sandbox and records the calls. Unused if a test sets another base URL.
    pub script: Script,
    pub database: Arc<TestDatabase>,
    pub clock: TestClock,
    // Dropped in this order: the server before its upstreams.
    _server: ServerThread,
    _log: secrets::LeakCheck,
    sandbox: SandboxServer,
    folder: TempDir,
}

/// The system's clock plus an offset that tests change.
#[derive(Clone, Default)]
pub struct TestClock(Arc<AtomicU64>);

impl TestClock {
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(u64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// By at most the current offset.
    pub fn rewind(&self, by: Duration) {
        self.0.fetch_sub(u64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }

    fn clock(&self) -> Clock {
        let ahead = Arc::clone(&self.0);
        Clock::from_fn(move || SystemTime::now() + Duration::from_millis(ahead.load(Ordering::SeqCst)))
    }
}

/// A sandbox on its own thread; stops when dropped.
pub struct SandboxServer {
    pub base_url: String,
    /// Its control address.
    pub address: SocketAddr,
    _thread: ServerThread,
}

/// A runtime on a thread; shut down and joined when dropped.
pub(super) struct ServerThread {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl TestServer {
    /// Starts a server. Its sandbox returns the name of the room as the catch-up.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// The same, with these settings on top.
    pub fn with(settings: &[(&str, &str)]) -> Self {
        Self::on(Arc::new(TestDatabase::new()), TestClock::default(), settings)
    }

    /// Starts a server that has the account of [`EMAIL`] and [`PASSWORD`].
    pub fn with_account(settings: &[(&str, &str)]) -> Self {
        let server = Self::with(settings);
        server.add_user(EMAIL, PASSWORD);
        server
    }

    /// Starts a server that has the account and session of [`tokens::user`].
    pub fn with_session(settings: &[(&str, &str)]) -> Self {
        let server = Self::with(settings);
        server.add_session();
        server
    }

    /// Starts a replica: a second server on the same database and clock.
    pub fn replica(&self, settings: &[(&str, &str)]) -> Self {
        Self::on(Arc::clone(&self.database), self.clock.clone(), settings)
    }

    /// The same, on an existing database.
    pub fn on(database: Arc<TestDatabase>, clock: TestClock, settings: &[(&str, &str)]) -> Self {
        let script = Script::echo();
        let sandbox = SandboxServer::start(script.clone());
        let folder = tempfile::tempdir().unwrap();
        let summaries = format!("file://{}/summaries", folder.path().display());
        let mut environment = BTreeMap::new();
        for (name, value) in [
            ("APP_SERVER__LISTEN", "127.0.0.1:0"),
            ("APP_MANAGEMENT__LISTEN", "127.0.0.1:0"),
            ("APP_SERVER__WORKERS", "2"),
            ("APP_ADMIN_CONTROL__BASE_URL", sandbox.base_url.as_str()),
            ("APP_ADMIN_CONTROL__TIMEOUT", "2s"),
            ("APP_AUTH__JWT_SECRET", SECRET),
            // Most tests count calls; those of the cache turn it on.
            ("APP_CATCH_UP__FRESH_FOR", "0s"),
            ("APP_CATCH_UP__STALE_IF_ERROR", "0s"),
            ("APP_DATABASE__URL", database.url.as_str()),
            ("APP_SUMMARIES__URL", summaries.as_str()),
        ]
        .iter()
        .chain(settings)
        {
            environment.insert((*name).to_owned(), (*value).to_owned());
        }
        secrets::register_settings(environment.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let log = secrets::LeakCheck::start();
        let config = Config::load(&environment, None).unwrap();
        let ((address, management), server) = start_server(config, clock.clock());
        Self { address, management, script, database, clock, _server: server, _log: log, sandbox, folder }
    }

    /// The base URL of its sandbox, for a replica that shares it.
    pub fn sandbox_url(&self) -> String {
        self.sandbox.base_url.clone()
    }

    /// The control URL of its sandbox.
    pub fn sandbox_control(&self) -> String {
        format!("http://{}/sandbox", self.sandbox.address)
    }

    pub fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// A client of the management listener.
    pub fn management_client(&self) -> Client {
        Client::new(self.management)
    }

    /// Returns the dependency that readiness reports as degraded. The server must be ready.
    pub fn degraded(&self) -> Option<String> {
        self.management_client().get("/health/ready", None).data()["degraded"].as_str().map(str::to_owned)
    }

    /// Logs in with [`EMAIL`] and [`PASSWORD`].
    pub fn log_in(&self) -> Response {
        self.client().log_in(EMAIL, PASSWORD)
    }

    /// Adds an account, as `user add` does.
    pub fn add_user(&self, email: &str, password: &str) {
        secrets::register_phrase(password);
        self.manage(async |database, clock| admin::add(&database, email, "A User", password, 1, &clock).await);
    }

    /// Adds the account and session of [`tokens::user`].
    pub fn add_session(&self) {
        self.execute_sql(
            "INSERT INTO users (id, email, name, password_hash, created_at) VALUES ('u1', 'u1@example.com', 'A User', '', 0); \
             INSERT INTO sessions (id, user_id, created_at, expires_at) VALUES ('s1', 'u1', 0, 9000000000000000)",
        );
    }

    /// Adds an API key for invitations, as `api-key add` does.
    pub fn add_api_key(&self, name: &str, lifetime: Option<Duration>) -> String {
        let mut key = String::new();
        self.manage(async |database, clock| {
            key = api_key::add(&database, name.to_owned(), api_key::INVITATIONS.to_owned(), lifetime, &clock).await?;
            Ok(())
        });
        secrets::register_token(&key);
        key
    }

    /// Manages accounts on the database of the running server, as the command line does.
    pub fn manage(&self, work: impl AsyncFnOnce(Database, Clock) -> Result<(), accounts::Error>) {
        actix_rt::System::new().block_on(async {
            let database = Database::open(&self.database.url).await.unwrap();
            work(database, self.clock.clock()).await.unwrap();
        });
    }

    /// Counts the rows of a table.
    pub fn rows(&self, table: &str) -> i64 {
        self.with_database(async |connection| {
            let sql = sqlx::AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}"));
            sqlx::query_scalar(sql).fetch_one(connection).await.unwrap()
        })
    }

    /// Returns the password hash of the only account.
    pub fn password_hash(&self) -> String {
        self.with_database(async |connection| {
            sqlx::query_scalar("SELECT password_hash FROM users").fetch_one(connection).await.unwrap()
        })
    }

    /// Replaces the password hash of all accounts.
    pub fn set_password_hash(&self, hash: &str) {
        self.with_database(async |connection| {
            sqlx::query("UPDATE users SET password_hash = $1").bind(hash).execute(connection).await.unwrap();
        });
    }

    /// Executes a statement on the database.
    pub fn execute_sql(&self, sql: &'static str) {
        self.with_database(async |connection| connection.execute(sql).await.map(drop).unwrap());
    }

    fn with_database<T>(&self, work: impl AsyncFnOnce(&mut sqlx::AnyConnection) -> T) -> T {
        sqlx::any::install_default_drivers();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut connection = sqlx::AnyConnection::connect(&self.database.url).await.unwrap();
            work(&mut connection).await
        })
    }

    /// Writes a file to the default summary store, and returns its folder.
    pub fn put_summary(&self, key: &str, text: &str) -> PathBuf {
        let folder = self.folder.path().join("summaries");
        s3::write(&folder, key, text.as_bytes());
        folder
    }

    /// Counts the calls to the sandbox.
    pub fn calls(&self) -> usize {
        self.script.requests().len()
    }

    /// Starts requests for rooms whose call hangs, and waits until all calls have begun.
    pub fn start_hanging_requests(&self, number: usize) -> Vec<JoinHandle<Response>> {
        let before = self.calls();
        let fetch = |number| {
            let (client, room) = (self.client(), format!("slow{number}"));
            self.script.catch_up(&room, Reply::hang());
            std::thread::spawn(move || client.get(&format!("/callCatchUp/{room}"), Some(&tokens::user())))
        };
        let requests = (0..number).map(fetch).collect();
        while self.calls() < before + number {
            std::thread::yield_now();
        }
        requests
    }
}

impl SandboxServer {
    pub fn start(script: Script) -> Self {
        Self::start_on("127.0.0.1:0", script)
    }

    /// The same, on this address.
    pub fn start_on(address: &'static str, script: Script) -> Self {
        let ((base_url, control), thread) = ServerThread::start(move |started, stopped| async move {
            let sandbox = Sandbox::bind(address.parse().unwrap(), script).unwrap();
            started.send((sandbox.base_url(), sandbox.control_url())).unwrap();
            tokio::select! {
                ended = sandbox.run() => ended.unwrap(),
                _ = stopped => {}
            }
        });
        let address = control.trim_start_matches("http://").trim_end_matches("/sandbox").parse().unwrap();
        Self { base_url, address, _thread: thread }
    }
}

fn start_server(config: Config, clock: Clock) -> ((SocketAddr, SocketAddr), ServerThread) {
    ServerThread::start(move |started, stopped| async move {
        let server = App::bind(&config, &clock, DroppedLines::default()).await.unwrap();
        started.send((server.addr(), server.management_addr())).unwrap();
        let (sender, receiver) = unbounded_channel();
        actix_rt::spawn(async move {
            let _ = stopped.await;
            let _ = sender.send(Shutdown::Immediate);
        });
        server.run(receiver).await.unwrap();
    })
}

impl ServerThread {
    /// Starts `work` and waits for the value that it sends once it runs.
    pub(super) fn start<T, W, F>(work: W) -> (T, Self)
    where
        T: Send + 'static,
        W: FnOnce(mpsc::Sender<T>, oneshot::Receiver<()>) -> F + Send + 'static,
        F: Future<Output = ()> + 'static,
    {
        let (started, start) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || actix_rt::System::new().block_on(work(started, stopped)));
        (start.recv().expect("it starts"), Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for ServerThread {
    fn drop(&mut self) {
        // It may have panicked already.
        let _ = self.stop.take().map(|stop| stop.send(()));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
