//! The server under test and the sandbox behind it, both in this process.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use proconf_app_server::accounts::{self, admin};
use proconf_app_server::app::{App, Shutdown};
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

/// A server with a database of its own, stopped when it is dropped.
pub struct TestServer {
    pub address: SocketAddr,
    /// Where metrics are.
    pub management: SocketAddr,
    /// What the sandbox behind it answers, and what it was asked. Of no use if another base URL was given.
    pub script: Script,
    pub database: Arc<TestDatabase>,
    pub clock: TestClock,
    // Dropped in this order: the server before what stands behind it.
    _server: ServerThread,
    _log: secrets::Watched,
    sandbox: SandboxServer,
    folder: TempDir,
}

/// The system's clock, and what a test put it forward.
#[derive(Clone, Default)]
pub struct TestClock(Arc<AtomicU64>);

impl TestClock {
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(u64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }

    /// As far as it was put forward, at most.
    pub fn rewind(&self, by: Duration) {
        self.0.fetch_sub(u64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }

    fn clock(&self) -> Clock {
        let ahead = Arc::clone(&self.0);
        Clock::from_fn(move || SystemTime::now() + Duration::from_millis(ahead.load(Ordering::SeqCst)))
    }
}

/// A sandbox of one's own, stopped when it is dropped.
pub struct SandboxServer {
    pub base_url: String,
    /// Where its answers are changed.
    pub address: SocketAddr,
    _thread: ServerThread,
}

/// A runtime on a thread, told to stop and waited for when it is dropped.
pub(super) struct ServerThread {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl TestServer {
    /// With a sandbox where every room exists and answers its own name.
    pub fn start() -> Self {
        Self::with(&[])
    }

    /// The same, with settings of the test's own.
    pub fn with(settings: &[(&str, &str)]) -> Self {
        Self::on(Arc::new(TestDatabase::new()), TestClock::default(), settings)
    }

    /// Starts a server that has the account of [`EMAIL`] and [`PASSWORD`].
    pub fn with_account(settings: &[(&str, &str)]) -> Self {
        let server = Self::with(settings);
        server.add_user(EMAIL, PASSWORD);
        server
    }

    /// A replica: another server on the same database, with the same clock.
    pub fn replica(&self, settings: &[(&str, &str)]) -> Self {
        Self::on(Arc::clone(&self.database), self.clock.clone(), settings)
    }

    /// The same, on a database that is there already.
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
            // Most tests look at each call; those of the window turn it on.
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
        secrets::settings(environment.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let log = secrets::Watched::start();
        let config = Config::load(&environment, None).unwrap();
        let ((address, management), server) = start_server(config, clock.clock());
        Self { address, management, script, database, clock, _server: server, _log: log, sandbox, folder }
    }

    /// Where its sandbox is, for a replica that is to ask the same one.
    pub fn sandbox_url(&self) -> String {
        self.sandbox.base_url.clone()
    }

    pub fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// Asks the management listener.
    pub fn operator(&self) -> Client {
        Client::new(self.management)
    }

    /// Logs in with [`EMAIL`] and [`PASSWORD`].
    pub fn log_in(&self) -> Response {
        self.client().log_in(EMAIL, PASSWORD)
    }

    /// Adds an account, as `user add` does beside a running server.
    pub fn add_user(&self, email: &str, password: &str) {
        secrets::phrase(password);
        self.manage(async |database, clock| admin::add(&database, (email, "A User"), password, 1, &clock).await);
    }

    /// Manages accounts, as the command line does beside a running server.
    pub fn manage(&self, work: impl AsyncFnOnce(Database, Clock) -> Result<(), accounts::Error>) {
        actix_rt::System::new().block_on(async {
            let database = Database::open(&self.database.url).await.unwrap();
            work(database, self.clock.clock()).await.unwrap();
        });
    }

    /// How many rows a table of the database has.
    pub fn rows(&self, table: &str) -> i64 {
        self.with_database(async |connection| {
            let sql = sqlx::AssertSqlSafe(format!("SELECT COUNT(*) FROM {table}"));
            sqlx::query_scalar(sql).fetch_one(connection).await.unwrap()
        })
    }

    /// The hash of the only account's password.
    pub fn password_hash(&self) -> String {
        self.with_database(async |connection| {
            sqlx::query_scalar("SELECT password_hash FROM users").fetch_one(connection).await.unwrap()
        })
    }

    /// Puts another hash in its place.
    pub fn set_password_hash(&self, hash: &str) {
        self.with_database(async |connection| {
            sqlx::query("UPDATE users SET password_hash = $1").bind(hash).execute(connection).await.unwrap();
        });
    }

    /// Does this statement on the database.
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

    /// Puts a file into the summary store, where the settings name no other one.
    pub fn put_summary(&self, key: &str, text: &str) {
        s3::write(&self.folder.path().join("summaries"), key, text.as_bytes());
    }

    /// How many calls Admin Control got.
    pub fn calls(&self) -> usize {
        self.script.requests().len()
    }

    /// So many askers, each of a room that Admin Control never answers for; it has been asked for all of them.
    pub fn start_hanging_requests(&self, number: usize) -> Vec<JoinHandle<Response>> {
        let before = self.calls();
        let ask = |number| {
            let (client, room) = (self.client(), format!("slow{number}"));
            self.script.catch_up(&room, Reply::silence());
            std::thread::spawn(move || client.get(&format!("/callCatchUp/{room}"), Some(&tokens::user())))
        };
        let asking = (0..number).map(ask).collect();
        while self.calls() < before + number {
            std::thread::yield_now();
        }
        asking
    }
}

impl SandboxServer {
    pub fn start(script: Script) -> Self {
        let ((base_url, control), thread) = ServerThread::start(move |started, stopped| async move {
            let sandbox = Sandbox::bind("127.0.0.1:0".parse().unwrap(), script).unwrap();
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
        let (tell, told) = unbounded_channel();
        actix_rt::spawn(async move {
            let _ = stopped.await;
            let _ = tell.send(Shutdown::Immediate);
        });
        server.run(told).await.unwrap();
    })
}

impl ServerThread {
    /// Starts `work`, and waits for what it says when it has started.
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
        // It may have ended by itself, with a panic that has been printed.
        let _ = self.stop.take().map(|stop| stop.send(()));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
