//! Fetches the keys: at start, every 15 minutes, and on request at most every 30 seconds.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::keys::KeySet;
use super::{IdentityConfig, IdentityProvider};
use crate::auth::http_client::{HttpClient, is_https_or_loopback};
use crate::strict_json::Object;

/// The pause between fetches, in seconds.
const REFRESH_INTERVAL: i64 = 15 * 60;
/// The pause after a failed fetch, and before a requested one, in seconds.
const COOLDOWN: i64 = 30;
/// How often the clock is read.
const TICK: Duration = Duration::from_millis(500);
/// How long the start waits for the first fetch.
const START_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the keys were not fetched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, strum::IntoStaticStr, strum::VariantNames)]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum FetchError {
    /// The provider did not respond as it should.
    #[error("{0}")]
    Unreachable(String),
    /// A document can't be used.
    #[error("{0}")]
    Invalid(String),
}

impl IdentityProvider {
    /// Fetches the keys now and from now on, on this thread; waits for the first attempt. Reports each one to `on_fetch`.
    pub(crate) async fn start(self: &Arc<Self>, client: HttpClient, on_fetch: impl Fn(Option<&FetchError>) + 'static) {
        let (this, (attempted, first_attempt)) = (Arc::clone(self), oneshot::channel());
        tokio::task::spawn_local(async move {
            let mut attempted = Some(attempted);
            loop {
                let started_at = this.clock.unix_seconds();
                let fetched = fetch(&client, &this.config).await;
                let fetched = fetched.and_then(|document| KeySet::parse(document, &this.algorithms));
                on_fetch(fetched.as_ref().err());
                this.apply(fetched);
                let _ = attempted.take().map(|attempted| attempted.send(()));
                this.wait_until_due(started_at).await;
            }
        });
        // The server starts without the keys, too.
        let _ = timeout(START_TIMEOUT, first_attempt).await;
    }

    /// Waits for the next fetch. Reads the wall clock, which goes on while the machine sleeps.
    async fn wait_until_due(&self, started_at: i64) {
        let (mut ticks, mut is_requested) = (interval(TICK), self.check().is_err());
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let pause = if is_requested { COOLDOWN } else { REFRESH_INTERVAL };
            // A clock that was set back delays nothing.
            if !(started_at..started_at + pause).contains(&self.clock.unix_seconds()) {
                return;
            }
            tokio::select! {
                () = self.refresh_requested.notified() => is_requested = true,
                _ = ticks.tick() => {}
            }
        }
    }
}

/// Fetches the key set, from the configured address or the discovered one.
pub(super) async fn fetch(client: &HttpClient, config: &IdentityConfig) -> Result<Bytes, FetchError> {
    let url = match &config.jwks_url {
        Some(url) => url.clone(),
        None => discover(client, &config.issuer).await?,
    };
    get(client, "key set", &url).await
}

/// Gets a document. The error names it and its address, without the query.
async fn get(client: &HttpClient, document: &str, url: &str) -> Result<Bytes, FetchError> {
    let address = url.split('?').next().unwrap_or_default();
    client.get(url).await.map_err(|error| FetchError::Unreachable(format!("the {document} at {address}: {error}")))
}

/// Returns the address of the keys in the discovery document (OIDC Discovery 1.0 section 4).
async fn discover(client: &HttpClient, issuer: &str) -> Result<String, FetchError> {
    let url = format!("{}/.well-known/openid-configuration", issuer.strip_suffix('/').unwrap_or(issuer));
    let invalid = |problem: &str| FetchError::Invalid(format!("the discovery document {problem}"));
    let body = get(client, "discovery document", &url).await?;
    let document: Object = serde_json::from_slice(&body).map_err(|_| invalid("is not valid"))?;
    match document.text("issuer") {
        Some(found) if found == issuer => {}
        Some(found) => return Err(invalid(&format!("names the issuer {found}, and APP_OIDC__ISSUER is {issuer}"))),
        None => return Err(invalid("names no issuer")),
    }
    let url = document.text("jwks_uri").filter(|url| is_https_or_loopback(url));
    url.map(str::to_owned).ok_or_else(|| invalid("has no https:// address of keys"))
}
