//! Verifies tokens of the team's own identity provider (`[oidc]`), with keys that are fetched in the background.

mod claims;
mod keys;
mod refresh;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use jsonwebtoken::Algorithm;
use tokio::sync::Notify;

use self::keys::KeySet;
use super::http_client::HttpClient;
use super::principal::Identity;
use super::token::InvalidToken;
use super::token_cache::CachedClaims;
use super::token_parts::TokenParts;
use crate::clock::Clock;
use crate::room::NameComparison;
use crate::strict_json::Object;

pub(crate) use self::refresh::FetchError;

/// How long the last keys serve while none can be fetched, in seconds.
const MAX_KEYS_AGE: i64 = 24 * 60 * 60;

/// Configures which tokens of the provider are accepted, and what their claims mean.
#[derive(Debug, Clone)]
pub(crate) struct IdentityConfig {
    /// The `iss` of its tokens.
    pub issuer: Arc<str>,
    /// One of these must be in `aud`.
    pub audiences: Vec<String>,
    /// Where its keys are; `None` to discover it.
    pub jwks_url: Option<String>,
    /// The names of the accepted algorithms.
    pub algorithms: Vec<String>,
    /// The claim of the display name.
    pub name_claim: String,
    /// The claim of the roles.
    pub roles_claim: Option<String>,
    /// Roles of the provider, each with a role in calls.
    pub roles_map: Vec<(String, String)>,
    /// The claim of the rooms.
    pub rooms_claim: Option<String>,
    /// How rooms are compared.
    pub room_names: NameComparison,
    /// The accepted difference of clocks.
    pub leeway: Duration,
}

impl IdentityConfig {
    fn algorithms(&self) -> Vec<Algorithm> {
        self.algorithms.iter().filter_map(|name| name.parse().ok()).collect()
    }
}

/// The identity provider and its current keys, shared by all workers.
pub(crate) struct IdentityProvider {
    config: IdentityConfig,
    algorithms: Vec<Algorithm>,
    clock: Clock,
    keys: RwLock<Arc<KeySet>>,
    /// That of the keys. Cached claims of another one are verified anew.
    generation: AtomicU64,
    status: Mutex<Status>,
    refresh_requested: Notify,
}

/// The outcome of the fetches so far.
struct Status {
    /// When usable keys were last fetched, or the server's start. In seconds since 1970-01-01 UTC.
    fetched_at: i64,
    /// Why tokens can't be verified, or the last fetch failed.
    problem: Option<String>,
}

impl IdentityProvider {
    /// Creates a provider without keys; [`IdentityProvider::start`] fetches them.
    pub(crate) fn new(config: IdentityConfig, clock: Clock) -> Self {
        let status = Status { fetched_at: clock.unix_seconds(), problem: Some("no keys yet".to_owned()) };
        Self {
            algorithms: config.algorithms(),
            config,
            clock,
            keys: RwLock::default(),
            generation: AtomicU64::default(),
            status: status.into(),
            refresh_requested: Notify::new(),
        }
    }

    /// Returns whether the token says that this provider issued it. Only chooses the verifier.
    pub(super) fn claims_to_issue(&self, token: &TokenParts<'_>) -> bool {
        token.claims.text("iss") == Some(&*self.config.issuer)
    }

    /// Verifies signature and claims by the current keys. Never waits for a fetch.
    pub(super) fn verify(&self, token: &TokenParts<'_>) -> Result<CachedClaims, InvalidToken> {
        let algorithm = self.check_header(&token.header)?;
        let keys = self.keys();
        // There may be new keys.
        let key = keys.verify(token, algorithm).inspect_err(|_| self.refresh_requested.notify_one())?;
        claims::read(&self.config, &token.claims, key, keys.generation)
    }

    /// Checks that the key that verified the identity's token is still among the keys of this provider.
    pub(super) fn check_key_of(&self, identity: &Identity) -> Result<(), InvalidToken> {
        if identity.issuer == self.config.issuer && self.keys().contains(&identity.key) {
            return Ok(());
        }
        // Another replica may have newer keys.
        self.refresh_requested.notify_one();
        Err(InvalidToken::UnknownKey)
    }

    /// Returns the token's algorithm, if it is accepted.
    fn check_header(&self, header: &Object) -> Result<Algorithm, InvalidToken> {
        let is_access_token = |typ: &str| ["JWT", "at+jwt"].iter().any(|known| typ.eq_ignore_ascii_case(known));
        if !header.get("typ").is_none_or(|typ| typ.as_str().is_some_and(is_access_token)) {
            return Err(InvalidToken::Type);
        }
        if header.get("crit").is_some() || !header.get("kid").is_none_or(serde_json::Value::is_string) {
            return Err(InvalidToken::Header);
        }
        let algorithm = header.text("alg").and_then(|name| name.parse().ok()).filter(|one| self.algorithms.contains(one));
        algorithm.ok_or(InvalidToken::Algorithm)
    }

    /// Returns the generation of the current keys.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    fn keys(&self) -> Arc<KeySet> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the keys, unless the document is the same.
    fn replace_keys(&self, mut keys: KeySet) {
        let mut current = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        if current.document != keys.document {
            keys.generation = current.generation + 1;
            self.generation.store(keys.generation, Ordering::Release);
            *current = Arc::new(keys);
        }
    }

    /// Applies the outcome of a fetch; logs a changed one.
    fn apply(&self, fetched: Result<KeySet, FetchError>) {
        let now = self.clock.unix_seconds();
        let problem = match fetched {
            Ok(keys) => {
                let is_empty = keys.is_empty();
                self.replace_keys(keys);
                is_empty.then(|| "its key set has no usable key".to_owned())
            }
            Err(error) => Some(error.to_string()),
        };
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        if problem.is_none() {
            status.fetched_at = now;
        } else if now - status.fetched_at > MAX_KEYS_AGE {
            self.replace_keys(KeySet::default());
        }
        match (&problem, &status.problem) {
            (Some(problem), before) if before.as_ref() != Some(problem) => {
                log::error!(cause = problem.as_str(); "the identity provider's keys can't be fetched or used");
            }
            (None, Some(_)) => log::info!(keys = self.keys().summary().as_str(); "the identity provider's keys are fetched"),
            _ => {}
        }
        status.problem = problem;
    }

    /// Returns the seconds since usable keys were last fetched, or since the start.
    pub(crate) fn keys_age(&self) -> i64 {
        self.clock.unix_seconds() - self.status.lock().unwrap_or_else(PoisonError::into_inner).fetched_at
    }

    /// Checks that the last fetch brought usable keys.
    ///
    /// # Errors
    ///
    /// What is wrong.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).problem.clone().map_or(Ok(()), Err)
    }
}

/// Fetches the keys once, for the operator; returns what was found.
///
/// # Errors
///
/// Why no key can be used.
pub(crate) async fn check(config: &IdentityConfig, client: &HttpClient) -> Result<String, String> {
    let document = refresh::fetch(client, config).await.map_err(|error| error.to_string())?;
    let keys = KeySet::parse(document, &config.algorithms()).map_err(|error| error.to_string())?;
    let found = format!("{}: {}", config.issuer, keys.summary());
    if keys.is_empty() { Err(found) } else { Ok(found) }
}
