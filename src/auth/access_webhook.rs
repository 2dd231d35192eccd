//! Asks the team's own backend for access to rooms, by a signed webhook.
//!
//! The signature follows Standard Webhooks 1.0.0. Whatever is not a decision is a failure, which permits nothing.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac::{self, HMAC_SHA256, Key};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quick_cache::sync::{Cache, EntryAction, EntryResult};
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use super::http_client::{HttpClient, HttpError};
use super::room_access::AccessError;
use crate::clock::Clock;
use crate::request_context::RequestContext;
use crate::secret;
use crate::strict_json::Object;

/// The time limit of a call.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(1);
/// The maximum size of a response's body, in bytes.
pub(crate) const MAX_BODY_BYTES: usize = 16 * 1024;
/// How long an allowed access is kept, in seconds, unless the response says it.
const DEFAULT_TTL: u64 = 30;
/// The longest time that a response may say, in seconds.
const MAX_TTL: u64 = 300;
/// How long a refused access is kept.
const REFUSAL_TTL: Duration = Duration::from_secs(5);
/// The maximum number of cached decisions.
const MAX_DECISIONS: usize = 20_000;
/// The maximum number of calls in flight for a user on this replica, so that none delays those of others.
///
/// More than the default of `APP_LIVE__MAX_PER_CALLER`, whose streams may ask again at the same time.
const MAX_CALLS_PER_USER: usize = 16;
/// The maximum number of users whose calls are counted. That of the least recent one starts again.
const MAX_USERS: usize = 20_000;

/// Configures an [`AccessWebhook`].
pub(crate) struct WebhookConfig {
    /// The URL.
    pub(crate) url: String,
    /// The secret that signs, decoded.
    pub(crate) secret: Vec<u8>,
    /// The issuer of this server's own accounts.
    pub(crate) own_issuer: String,
}

/// Called after each call, with its result and duration.
pub(crate) type OnCall = Box<dyn Fn(Result<(), AccessError>, Duration) + Send + Sync>;

/// The body of a call.
#[derive(Serialize)]
pub(super) struct AccessRequest<'a> {
    pub(super) subject: &'a str,
    pub(super) issuer: &'a str,
    /// `None` for the meetings of all rooms.
    pub(super) room: Option<&'a str>,
    pub(super) action: &'static str,
    pub(super) roles: &'a [String],
}

/// The webhook, with a cache of its decisions. All workers share it.
pub(crate) struct AccessWebhook {
    config: WebhookConfig,
    /// By the hash of the request.
    decisions: Cache<[u8; 32], Decision>,
    /// By the issuer, and the id of the user.
    calls_by_user: Cache<(String, String), Arc<Semaphore>>,
    clock: Clock,
    on_call: OnCall,
}

/// The result of a call.
#[derive(Clone, Copy)]
struct Decision {
    result: Result<(), AccessError>,
    /// Requests that waited for the call take its decision in any case; later ones until then.
    valid_until: Instant,
}

impl AccessWebhook {
    /// Creates a webhook without decisions.
    pub(crate) fn new(config: WebhookConfig, clock: Clock, on_call: OnCall) -> Self {
        let (decisions, calls_by_user) = (Cache::new(MAX_DECISIONS), Cache::new(MAX_USERS));
        Self { config, decisions, calls_by_user, clock, on_call }
    }

    /// Returns the issuer of this server's own accounts.
    pub(super) fn own_issuer(&self) -> &str {
        &self.config.own_issuer
    }

    /// Returns until when the access is permitted: a cached decision, or that of a call.
    ///
    /// One call at a time is made for a request. It is a task of its own, so that it continues when its first caller leaves.
    ///
    /// # Errors
    ///
    /// [`AccessError`].
    pub(super) async fn ask(
        self: &Arc<Self>,
        client: &HttpClient,
        request: &AccessRequest<'_>,
        context: &RequestContext,
    ) -> Result<Instant, AccessError> {
        let body = serde_json::to_vec(request).map_err(|_| AccessError::Failed)?;
        let mut key = [0; 32];
        key.copy_from_slice(digest(&SHA256, &body).as_ref());
        let asked_at = Instant::now();
        if let Some(decision) = self.decisions.get(&key).filter(|decision| decision.valid_until > asked_at) {
            return decision.permission();
        }
        let user = (request.issuer.to_owned(), request.subject.to_owned());
        let new_semaphore = || Ok::<_, AccessError>(Arc::new(Semaphore::new(MAX_CALLS_PER_USER)));
        let calls_of_user = self.calls_by_user.get_or_insert_with(&user, new_semaphore)?;
        let (this, client, context) = (Arc::clone(self), client.clone(), context.clone());
        let decision = tokio::task::spawn_local(async move {
            let call = this.call(&client, &calls_of_user, body, &context);
            this.decide(key, asked_at, call).await
        });
        decision.await.map_err(|_| AccessError::Failed)?.permission()
    }

    /// Takes the decision of a call in flight, or makes `call`.
    async fn decide(&self, key: [u8; 32], asked_at: Instant, call: impl Future<Output = Decision>) -> Decision {
        let take_valid = |_: &_, decision: &mut Decision| {
            if decision.valid_until > asked_at { EntryAction::Retain(*decision) } else { EntryAction::ReplaceWithGuard }
        };
        match self.decisions.entry_async(&key, take_valid).await {
            EntryResult::Retained(decision) => decision,
            EntryResult::Vacant(guard) | EntryResult::Replaced(guard, _) => {
                let decision = call.await;
                // Fails if the entry was removed meanwhile.
                let _ = guard.insert(decision);
                decision
            }
            EntryResult::Removed(..) | EntryResult::Timeout => Decision::failure(),
        }
    }

    /// Waits until the user has few enough calls in flight, and makes one, within one time limit.
    async fn call(
        &self,
        client: &HttpClient,
        calls_of_user: &Semaphore,
        body: Vec<u8>,
        context: &RequestContext,
    ) -> Decision {
        let deadline = Instant::now() + TIMEOUT;
        let log_failure = |cause: &str| log::warn!(cause, request_id = context.request_id(); "room access webhook failed");
        let Ok(_permit) = timeout_at(deadline, calls_of_user.acquire()).await else {
            log_failure("too many calls of one user are in flight");
            return Decision::failure();
        };
        let started = Instant::now();
        let (id, timestamp) = (format!("msg_{}", secret::random_id()), self.clock.unix_seconds().to_string());
        let signature = self.sign(&id, &timestamp, &body);
        let headers = [("webhook-id", &*id), ("webhook-timestamp", &*timestamp), ("webhook-signature", &*signature)];
        let response = timeout_at(deadline, client.post(&self.config.url, &headers, body)).await;
        let response = response.unwrap_or(Err(HttpError::TimedOut)).map_err(|error| error.to_string());
        let decision = response.and_then(|body| Decision::parse(&body).ok_or_else(|| "the body is no decision".to_owned()));
        let decision = decision.unwrap_or_else(|cause| {
            log_failure(&cause);
            Decision::failure()
        });
        (self.on_call)(decision.result, started.elapsed());
        decision
    }

    /// Returns `v1,` and the HMAC of id, timestamp and body, in base64.
    fn sign(&self, id: &str, timestamp: &str, body: &[u8]) -> String {
        let key = Key::new(HMAC_SHA256, &self.config.secret);
        let message = [id.as_bytes(), timestamp.as_bytes(), body].join(&b'.');
        format!("v1,{}", STANDARD.encode(hmac::sign(&key, &message)))
    }
}

impl Decision {
    fn new(result: Result<(), AccessError>, ttl: Duration) -> Self {
        Self { result, valid_until: Instant::now() + ttl }
    }

    fn failure() -> Self {
        Self::new(Err(AccessError::Failed), Duration::ZERO)
    }

    /// Parses the body of a response: `{"allow": bool, "ttl": seconds}`. `None` if it is anything else.
    fn parse(body: &[u8]) -> Option<Self> {
        let mut members: Object = serde_json::from_slice(body).ok()?;
        let is_allowed = members.remove("allow")?.as_bool()?;
        let ttl = members.remove("ttl").map_or(Some(DEFAULT_TTL), |ttl| ttl.as_u64().filter(|ttl| *ttl <= MAX_TTL))?;
        let (result, ttl) =
            if is_allowed { (Ok(()), Duration::from_secs(ttl)) } else { (Err(AccessError::Forbidden), REFUSAL_TTL) };
        members.is_empty().then(|| Self::new(result, ttl))
    }

    fn permission(self) -> Result<Instant, AccessError> {
        self.result.map(|()| self.valid_until)
    }
}
