//! An `OpenID` provider: `tests/suite/identity_provider`, run by Node. It ends with the test process.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use tokio::net::TcpSocket;

/// The audience of its access tokens.
pub const AUDIENCE: &str = "https://proconf.example";

/// A provider with an address of its own, whether it runs or not.
pub struct OpenIdProvider {
    /// Keeps the port: other programs cannot take it, and the provider can, because it reuses addresses too.
    reserved: TcpSocket,
    running: Option<Running>,
}

struct Running {
    provider: Child,
    commands: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl OpenIdProvider {
    pub fn start() -> Self {
        let mut provider = Self::stopped();
        provider.run();
        provider
    }

    /// Reserves the address of a provider that does not run: connections are refused.
    pub fn stopped() -> Self {
        let reserved = TcpSocket::new_v4().unwrap();
        reserved.set_reuseaddr(true).unwrap();
        reserved.bind(([127, 0, 0, 1], 0).into()).unwrap();
        Self { reserved, running: None }
    }

    /// Runs it, with new keys.
    pub fn run(&mut self) {
        let mut provider = script("provider.mjs")
            .arg(self.port())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // It warns that it is for development only.
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let commands = provider.stdin.take().unwrap();
        let lines = BufReader::new(provider.stdout.take().unwrap()).lines();
        self.running = Some(Running { provider, commands, lines });
        let started = self.next_line();
        assert_eq!(started, self.issuer());
    }

    /// Kills it. Its keys are lost.
    pub fn kill(&mut self) {
        self.running = None;
    }

    /// Sends a signal: with `STOP` it accepts connections and never responds, until `CONT`.
    pub fn signal(&self, name: &str) {
        let id = self.running.as_ref().unwrap().provider.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap().success());
    }

    pub fn issuer(&self) -> String {
        format!("http://127.0.0.1:{}", self.port())
    }

    fn port(&self) -> String {
        self.reserved.local_addr().unwrap().port().to_string()
    }

    /// Changes its keys: `sign ALG`, `rotate` or `retire`.
    pub fn command(&mut self, line: &str) {
        writeln!(self.running.as_mut().unwrap().commands, "{line}").unwrap();
        assert_eq!(self.next_line(), format!("done: {line}"));
    }

    fn next_line(&mut self) -> String {
        let line = self.running.as_mut().unwrap().lines.next();
        line.expect("the provider starts; tests/run installs it (npm ci in tests/suite/identity_provider)").unwrap()
    }

    /// Logs in with authorization code and PKCE; returns the access token.
    pub fn log_in(&self, user: &str) -> String {
        self.token_of(user, "access_token")
    }

    /// Logs in; returns the ID token.
    pub fn id_token(&self, user: &str) -> String {
        self.token_of(user, "id_token")
    }

    fn token_of(&self, user: &str, kind: &str) -> String {
        let output = script("login.mjs").args([&self.issuer(), user, kind]).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.provider.kill();
        let _ = self.provider.wait();
    }
}

fn script(name: &str) -> Command {
    let mut command = Command::new("node");
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite/identity_provider").join(name));
    command
}
