//! The composition root: what is made once and components by all workers, and what each worker makes for itself.
//!
//! The only place where a domain module meets the adapter that serves it.

use std::sync::Arc;
use std::time::Duration;

use actix_web::web;
use tokio_util::sync::CancellationToken;

pub use super::component_config::{
    admin_control as admin_control_config, summaries as summaries_config, validate, warnings,
};
pub(crate) use super::component_config::{sessions as session_config, tokens as token_config};
use super::{component_config, metrics};
use crate::accounts::{self, Accounts};
use crate::admin_control::{self, AdminControl, Endpoint};
use crate::auth::principal::AllowedRoles;
use crate::auth::revoked_sessions::{RevocationPoller, RevokedSessions};
use crate::auth::token::Tokens;
use crate::cache::{self, CacheConfig, Caches, RedisCache, RedisConfig, ResponseCache, Responses};
use crate::catch_up::CatchUp;
use crate::catch_up::live::LiveCatchUps;
use crate::catch_up::stream_limit::StreamLimit;
use crate::clock::Clock;
use crate::config::{self, Config, SecretUrl};
use crate::db::{self, Database};
use crate::extract::client_address::TrustedProxies;
use crate::extract::in_flight::InFlightLimit;
use crate::extract::json_body::BodyBudget;
use crate::middleware::cors::Origins;
use crate::middleware::error_envelope::RequestTimeout;
use crate::response::event_stream;
use crate::room::NameComparison;
use crate::secret::Secret;
use crate::summaries::{self, Store, Summaries};
use crate::telemetry::health::Health;
use crate::telemetry::logging::DroppedLines;
use crate::telemetry::metrics::{Gauge, HttpMetrics, Metrics, Registry};

/// The configuration of the cache of summary texts, which never change.
const TEXT_FRESH_FOR: Duration = Duration::from_hours(1);
const TEXT_BYTES: u64 = 32 << 20;

/// What could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration is not valid.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// The database. Its URL is not shown: it may hold a password.
    #[error("can't use the database of APP_DATABASE__URL: {0}")]
    Database(#[from] db::Error),
    /// The summary store.
    #[error("can't use the store of APP_SUMMARIES__URL: {0}")]
    Summaries(String),
    /// The components cache. Its URL is not shown: it may hold a password.
    #[error("can't use APP_CACHE__REDIS_URL: {0}")]
    SharedCache(#[from] cache::redis::BadUrl),
}

/// Made once.
#[derive(Clone)]
pub(super) struct Components {
    tokens: web::Data<Tokens>,
    accounts: web::Data<Accounts>,
    caches: Caches,
    texts: ResponseCache<summaries::Error>,
    summaries: Store,
    revoked_sessions: web::Data<RevokedSessions>,
    live: LiveCatchUps,
    stream_limit: web::Data<StreamLimit>,
    trusted_proxies: web::Data<TrustedProxies>,
    // Goes on as long as any worker does.
    _poller: Arc<RevocationPoller>,
    request_timeout: web::Data<RequestTimeout>,
    roles: web::Data<AllowedRoles>,
    room_names: NameComparison,
    catch_up_reason: bool,
    draining: web::Data<CancellationToken>,
    in_flight: web::Data<InFlightLimit>,
    bodies: web::Data<BodyBudget>,
    open_connections: Gauge,
    origins: web::Data<Origins>,
    admin_control_config: admin_control::Config,
    admin_control_limits: web::Data<admin_control::EndpointLimits>,
    calls: Arc<metrics::AdminControlMetrics>,
    health: web::Data<Health>,
    http: web::Data<HttpMetrics>,
    metrics: Metrics,
}

impl Components {
    /// Opens what the workers share and puts it together. `max_connections` is shown in the metrics.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub(super) async fn open(
        config: &Config,
        clock: &Clock,
        dropped: DroppedLines,
        max_connections: usize,
    ) -> Result<Self, Error> {
        config.validate()?;
        let (admin_control, summaries) = (component_config::admin_control(config)?, component_config::summaries(config)?);
        let summaries = Store::open(&summaries).map_err(Error::Summaries)?;
        let database = Database::open(config.database.url.expose()).await?;
        let (revoked, ttl, mut registry) = (RevokedSessions::default(), config.auth.token_ttl, Registry::new(clock.now()));
        let poller = RevocationPoller::start(revoked.clone(), database.clone(), ttl, clock.clone()).await?;
        let redis = open_redis(config, &registry).await?;
        let tokens = Arc::new(Tokens::new(component_config::tokens(config), clock.clone()));
        let draining = CancellationToken::new();
        let health = Arc::new(Health::new(database.clone(), draining.clone()));
        let limits = admin_control::EndpointLimits::new(&admin_control);
        let catch_up = component_config::catch_up_cache(config);
        let caches = Caches::new(catch_up, redis, &mut registry);
        let texts = cache::registered_cache(&mut registry, "summary-texts", text_config(catch_up), None);
        let (http, calls) = (metrics::http(&registry), metrics::AdminControlMetrics::new(&registry, &limits));
        metrics::register_callbacks(&mut registry, &limits, &database, &health, dropped);
        let open_connections = metrics::register_connections(&registry, max_connections);
        let (sessions, counters) = (component_config::sessions(config), accounts::AccountMetrics::new(&registry));
        let accounts = Accounts::new(database, Arc::clone(&tokens), revoked.clone(), sessions, clock.clone());
        Ok(Self {
            caches,
            texts,
            calls,
            health: health.into(),
            http: web::Data::new(http),
            metrics: registry.finish(),
            summaries,
            _poller: Arc::new(poller),
            revoked_sessions: web::Data::new(revoked),
            live: LiveCatchUps::new(config.live.poll_interval, event_stream::to_event),
            stream_limit: web::Data::new(StreamLimit::new(config.live.max_per_caller.get() as usize)),
            trusted_proxies: web::Data::new(TrustedProxies(config.server.trusted_proxies.to_vec())),
            tokens: tokens.into(),
            accounts: web::Data::new(accounts.with_metrics(counters)),
            request_timeout: web::Data::new(RequestTimeout(config.server.request_timeout)),
            roles: web::Data::new(component_config::roles(config)),
            room_names: config.rooms.names,
            draining: web::Data::new(draining),
            in_flight: web::Data::new(InFlightLimit::new(config.server.max_in_flight.get() as usize)),
            bodies: web::Data::new(BodyBudget::default()),
            open_connections,
            origins: web::Data::new(component_config::origins(config)),
            catch_up_reason: config.catch_up.explain_absence,
            admin_control_config: admin_control,
            admin_control_limits: web::Data::new(limits),
        })
    }

    /// The token that is cancelled when the server begins to drain.
    #[must_use]
    pub(super) fn draining(&self) -> CancellationToken {
        self.draining.get_ref().clone()
    }

    /// The gauge of open client connections.
    pub(super) fn open_connections(&self) -> Gauge {
        self.open_connections.clone()
    }

    /// What is counted and measured.
    #[must_use]
    pub(super) fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }
}

async fn open_redis(config: &Config, registry: &Registry) -> Result<Option<Arc<RedisCache>>, cache::redis::BadUrl> {
    let Some(url) = &config.cache.redis_url else { return Ok(None) };
    Ok(Some(Arc::new(RedisCache::open(&redis_config(url, config), registry).await?)))
}

/// Summary texts never change; their cache is turned off with that of the catch-ups.
fn text_config(catch_up: CacheConfig) -> CacheConfig {
    catch_up.derive(TEXT_FRESH_FOR, TEXT_BYTES)
}

/// Returns the Redis that replicas with these settings share. Catch-ups only: what the other caches hold costs Admin Control a
/// look-up, no language model.
#[must_use]
pub fn redis_config(url: &SecretUrl, config: &Config) -> RedisConfig {
    RedisConfig {
        url: Secret::new(url.expose()),
        // Replicas that compare names differently have different ideas of what one room is.
        deployment: format!("{}\n{}\n{:?}", config.admin_control.base_url, config.auth.issuer, config.rooms.names),
        cache: Endpoint::CallCatchUp.name(),
        secrets: component_config::sessions(config).secrets,
        local: component_config::catch_up_cache(config),
        poll_interval: config.live.poll_interval,
        call_timeout: config.admin_control.timeout,
    }
}

/// Registers what a worker's handlers take; called on each worker's own thread.
pub(super) fn register(components: &Components, config: &mut web::ServiceConfig) {
    let admin_control =
        AdminControl::new(components.admin_control_config.clone(), components.admin_control_limits.get_ref().clone())
            .with_metrics(components.calls.clone());
    let responses = Responses::new(admin_control.clone(), components.caches.clone());
    let (live, explain) = (components.live.clone(), components.catch_up_reason);
    let catch_up = CatchUp::new(responses.clone(), components.room_names, live, explain);
    config
        .app_data(components.tokens.clone())
        .app_data(components.accounts.clone())
        .app_data(components.revoked_sessions.clone())
        .app_data(components.stream_limit.clone())
        .app_data(components.trusted_proxies.clone())
        .app_data(components.request_timeout.clone())
        .app_data(components.roles.clone())
        .app_data(web::Data::new(components.room_names))
        .app_data(components.draining.clone())
        .app_data(components.in_flight.clone())
        .app_data(components.bodies.clone())
        .app_data(components.origins.clone())
        .app_data(components.health.clone())
        .app_data(components.http.clone())
        .app_data(web::Data::new(catch_up))
        .app_data(web::Data::new(Summaries::new(
            responses.clone(),
            components.summaries.clone(),
            components.texts.clone(),
            components.admin_control_config.timeout,
        )))
        .app_data(web::Data::new(responses))
        .app_data(web::Data::new(admin_control));
}

/// Registers what the handlers of the management listener take.
pub(super) fn register_for_management(components: &Components, config: &mut web::ServiceConfig) {
    config
        .app_data(components.health.clone())
        .app_data(components.admin_control_limits.clone())
        .app_data(components.draining.clone());
}
