//! What the tests are written with: a server of one's own, a client that sends any bytes, forged tokens, and stand-ins for
//! Admin Control.

pub mod answer;
pub mod client;
pub mod peers;
pub mod tokens;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread::JoinHandle;

use proconf_app_server::accounts::management;
use proconf_app_server::background::Background;
use proconf_app_server::clock::Clock;
use proconf_app_server::db::Database;
use proconf_app_server::sandbox::{Sandbox, Script};
use proconf_app_server::server::Server;
use proconf_app_server::settings::{Settings, Values};
use tempfile::TempDir;
use tokio::sync::oneshot;

use client::Client;

/// The secret that test servers sign with.
pub const SECRET: &str = "a test secret, kX9vQ2mZ7rT4wY8uB1nC5pL0";

/// A server with a database of its own, stopped when it is dropped.
pub struct TestServer {
    pub address: SocketAddr,
    /// What the sandbox behind it answers, and what it was asked. Of no use if another base URL was given.
    pub script: Script,
    settings: Settings,
    // Dropped in this order: the server before what stands behind it.
    _server: OnAThread,
    _sandbox: SandboxOnAThread,
    _folder: TempDir,
}

/// A sandbox of one's own, stopped when it is dropped.
pub struct SandboxOnAThread {
    pub base_url: String,
    _thread: OnAThread,
}

/// A runtime on a thread, told to stop and waited for when it is dropped.
struct OnAThread {
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
        let script = Script::echo();
        let sandbox = SandboxOnAThread::start(script.clone());
        let folder = tempfile::tempdir().unwrap();
        let database = format!("sqlite://{}/app.db", folder.path().display());
        let mut environment = BTreeMap::new();
        for (name, value) in [
            ("APP_SERVER__LISTEN", "127.0.0.1:0"),
            ("APP_SERVER__WORKERS", "2"),
            ("APP_ADMIN_CONTROL__BASE_URL", sandbox.base_url.as_str()),
            ("APP_ADMIN_CONTROL__TIMEOUT", "2s"),
            ("APP_AUTH__JWT_SECRET", SECRET),
            ("APP_DATABASE__URL", database.as_str()),
        ]
        .iter()
        .chain(settings)
        {
            environment.insert((*name).to_owned(), (*value).to_owned());
        }
        let settings = Values::load(&environment, None).and_then(|values| values.settings()).unwrap();
        let (address, server) = start_server(settings.clone());
        Self { address, script, settings, _server: server, _sandbox: sandbox, _folder: folder }
    }

    pub fn client(&self) -> Client {
        Client::new(self.address)
    }

    /// Adds an account, as `user add` does beside a running server.
    pub fn add_user(&self, email: &str, password: &str) {
        let url = self.settings.database_url.clone();
        actix_rt::System::new().block_on(async {
            let database = Database::open(url.expose(), Background::start().unwrap()).await.unwrap();
            management::add(&database, (email, "A User"), password, 1, &Clock::system()).await.unwrap();
        });
    }

    /// How many calls Admin Control got.
    pub fn calls(&self) -> usize {
        self.script.asked().len()
    }
}

impl SandboxOnAThread {
    pub fn start(script: Script) -> Self {
        let (base_url, thread) = OnAThread::start(move |started, stopped| async move {
            let sandbox = Sandbox::bind("127.0.0.1:0".parse().unwrap(), script).unwrap();
            started.send(sandbox.base_url()).unwrap();
            tokio::select! {
                ended = sandbox.run() => ended.unwrap(),
                _ = stopped => {}
            }
        });
        Self { base_url, _thread: thread }
    }
}

fn start_server(settings: Settings) -> (SocketAddr, OnAThread) {
    OnAThread::start(move |started, stopped| async move {
        let server = Server::bind(&settings, &Clock::system()).await.unwrap();
        started.send(server.addr()).unwrap();
        server.run(async { stopped.await.unwrap_or_default() }).await.unwrap();
    })
}

impl OnAThread {
    /// Starts `work`, and waits for what it says when it has started.
    fn start<T, W, F>(work: W) -> (T, Self)
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

impl Drop for OnAThread {
    fn drop(&mut self) {
        // It may have ended by itself, with a panic that has been printed.
        let _ = self.stop.take().map(|stop| stop.send(()));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
