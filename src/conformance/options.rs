//! The arguments of the command, and what they say about a deployment.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The arguments of `conformance`.
#[derive(clap::Args)]
pub struct Options {
    /// The deployment: http:// or https://, with a path if there is one
    #[arg(long, value_name = "URL", required_unless_present = "list")]
    pub(super) url: Option<String>,
    /// Prints the cases with their tags and the sentences of the contract
    #[arg(long)]
    pub(super) list: bool,
    /// A user to log in with
    #[arg(long, requires = "password_stdin", conflicts_with = "token")]
    pub(super) email: Option<String>,
    /// Reads the password from standard input, without a line break at its end
    #[arg(long, requires = "email")]
    pub(super) password_stdin: bool,
    #[command(flatten)]
    pub(super) target: TargetConfig,
    /// Runs only cases with this tag; may be repeated
    #[arg(long)]
    pub(super) tag: Vec<String>,
    /// A file with waivers: the case, the reason and the end date of each
    #[arg(long, value_name = "FILE")]
    pub(super) waive: Option<PathBuf>,
    /// Writes a JUnit report
    #[arg(long, value_name = "FILE")]
    pub(super) junit: Option<PathBuf>,
    /// Writes a JSON report
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
    /// Writes an HTML report
    #[arg(long, value_name = "FILE")]
    pub(super) html: Option<PathBuf>,
    /// The number of cases that run at the same time
    #[arg(long, value_name = "NUMBER", default_value = "4")]
    pub(super) jobs: NonZeroUsize,
    /// Waits until the deployment is ready
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub(super) wait_ready: Option<Duration>,
    /// Runs the cases against a second deployment, too, and prints the differences
    #[arg(long, value_name = "URL")]
    pub(super) against: Option<String>,
}

/// What the suite may use of a deployment.
#[derive(clap::Args, Clone)]
pub struct TargetConfig {
    /// `http://host:port/prefix` or `https://…`.
    #[arg(skip)]
    pub url: String,
    /// E-mail and password of a user.
    #[arg(skip)]
    pub login: Option<(String, String)>,
    /// A user token in place of a login; cases about sessions are not tried. Other users of this machine can see it
    #[arg(long, value_name = "TOKEN")]
    pub token: Option<String>,
    /// An expired user token, issued by the deployment
    #[arg(long, value_name = "TOKEN")]
    pub expired_token: Option<String>,
    /// A room that Admin Control knows, with a catch-up and a status
    #[arg(long)]
    pub room: Option<String>,
    /// A room with a summary
    #[arg(long, value_name = "ROOM")]
    pub summary_room: Option<String>,
    /// The control URL of the sandbox behind the deployment, to try failures of Admin Control
    #[arg(long, value_name = "URL")]
    pub sandbox: Option<String>,
    /// An origin that the deployment allows (CORS)
    #[arg(long)]
    pub origin: Option<String>,
    /// Waits so long before a spent refresh token is reused; must be longer than the deployment's grace
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub reuse_after: Option<Duration>,
    /// Waits for that time. Tests advance a clock instead.
    #[arg(skip = Arc::new(std::thread::sleep) as Arc<dyn Fn(Duration) + Send + Sync>)]
    pub wait: Arc<dyn Fn(Duration) + Send + Sync>,
}
