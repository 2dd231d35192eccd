//! The composition root: opens and connects all components.
//!
//! Most are shared by all workers; a client of Admin Control belongs to one worker.

use std::sync::Arc;

use actix_web::web::{Data, ServiceConfig};
use tokio_util::sync::CancellationToken;

use super::first_contact::{DatabaseTasks, FirstContact};
use super::{component_config, metrics, room_access};
use crate::accounts::{AccountMetrics, Accounts};
use crate::admin_control::{self, AdminControl, EndpointLimits};
use crate::auth::api_key::ApiKeys;
use crate::auth::identity::IdentityProvider;
use crate::auth::invitation::Invitations;
use crate::auth::revoked_sessions::RevokedSessions;
use crate::auth::token::Tokens;
use crate::cache::{self, Caches, RedisCache, ResponseCache, Responses};
use crate::catch_up::CatchUp;
use crate::catch_up::live::LiveCatchUps;
use crate::catch_up::stream_limit::StreamLimit;
use crate::clock::Clock;
use crate::config::{self, Config, InvitationPolicy};
use crate::db::{self, Database};
use crate::extract::client_address::TrustedProxies;
use crate::extract::in_flight::{InFlightLimit, RequestTimeout};
use crate::extract::json_body::BodyBudget;
use crate::middleware::cors::Origins;
use crate::middleware::loopback_host::DevHost;
use crate::response::event_stream;
use crate::routes::PasswordLogin;
use crate::routes::console::ConsoleSettings;
use crate::summaries::{Store, Summaries};
use crate::telemetry::health::{Failure, Health};
use crate::telemetry::logging::DroppedLines;
use crate::telemetry::metrics::{Gauge, Metrics, OperationMetrics, Registry};

/// Why the components could not be opened.
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
    /// The shared cache. Its URL is not shown: it may hold a password.
    #[error("APP_CACHE__REDIS_URL {0}")]
    SharedCache(#[from] cache::redis::InvalidUrl),
}

/// Adds data to an application.
pub(super) type Register = Arc<dyn Fn(&mut ServiceConfig) + Send + Sync>;

/// The `web::Data` that the handlers of a listener take.
#[derive(Clone, Default)]
pub(super) struct AppData(Vec<Register>);

impl AppData {
    /// Adds a component that all workers share.
    fn add<T: Send + Sync + 'static>(&mut self, data: impl Into<Data<T>>) {
        let data = data.into();
        self.0.push(Arc::new(move |config| {
            config.app_data(data.clone());
        }));
    }

    /// Adds the data to an application; called on each worker's own thread.
    pub(super) fn register(&self, config: &mut ServiceConfig) {
        self.0.iter().for_each(|register| register(config));
    }
}

/// All components, connected.
pub(super) struct Components {
    /// Data for the main listener.
    pub data: AppData,
    /// Data for the management listener.
    pub management_data: AppData,
    /// Cancelled when the server begins to drain.
    pub draining: CancellationToken,
    /// Counts the open client connections.
    pub open_connections: Gauge,
    /// All metrics.
    pub metrics: Metrics,
    /// The first contact with the database, and the tasks on it.
    pub first_contact: FirstContact,
}

impl Components {
    /// Opens the database and the stores, and connects all components.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub(super) async fn open(
        config: &Config,
        clock: &Clock,
        dropped_lines: DroppedLines,
        max_connections: usize,
    ) -> Result<Self, Error> {
        config.validate()?;
        let client_config = component_config::admin_control(config)?;
        let (revoked, mut registry) = (RevokedSessions::default(), Registry::new(clock.now()));
        let store = Store::open(&component_config::summaries(config)?).map_err(Error::Summaries)?;
        let store = store.with_metrics(OperationMetrics::new(&registry, "summary-store"));
        let database = Database::new(component_config::database(config))?;
        let database = database.with_metrics(OperationMetrics::new(&registry, "database"));
        let (token_ttl, draining) = (config.auth.token_ttl, CancellationToken::new());
        let tasks =
            DatabaseTasks { database: database.clone(), revoked_sessions: revoked.clone(), token_ttl, clock: clock.clone() };
        let first_contact = FirstContact::attempt(tasks).await?;
        let redis = open_redis(config, &registry).await?;
        let identity_provider = start_identity_provider(config, clock, &mut registry).await?;
        let tokens = Tokens::new(component_config::tokens(config), clock.clone());
        let tokens = Arc::new(tokens.with_identity_provider(identity_provider.clone()));
        let health = new_health(database.clone(), first_contact.is_complete(), draining.clone());
        let health = Arc::new(check_identity_provider(health, identity_provider));
        // The database may have been reached just now, before the first probe.
        health.run_checks().await;
        let limits = EndpointLimits::new(&client_config);
        metrics::register_callbacks(&mut registry, &limits, &database, &health, dropped_lines);
        let mut data = AppData::default();
        add_guests(&mut data, config, (&database, &tokens), clock);
        let accounts =
            Accounts::new(database, Arc::clone(&tokens), revoked.clone(), component_config::sessions(config), clock.clone());

        let mut management_data = AppData::default();
        management_data.add(Arc::clone(&health));
        management_data.add(Data::new(limits.clone()));
        management_data.add(Data::new(draining.clone()));
        management_data.add(Data::new(RequestTimeout(config.server.request_timeout)));
        if let Some(dev) = &config.dev {
            let host = Data::new(DevHost(dev.host));
            management_data.add(host.clone());
            data.add(host);
        }
        data.add(health);
        data.add(tokens);
        data.add(Data::new(accounts.with_metrics(AccountMetrics::new(&registry))));
        data.add(Data::new(revoked));
        data.add(Data::new(draining.clone()));
        data.add(Data::new(metrics::http(&registry)));
        add_limits(&mut data, config);
        data.0.push(per_worker(config, (client_config, limits), store, redis, &mut registry));
        data.0.push(room_access::register(config, clock, &registry)?);
        let open_connections = metrics::register_connections(&registry, max_connections);
        let metrics = registry.finish();
        management_data.add(Data::new(metrics.clone()));
        Ok(Self { data, management_data, draining, open_connections, metrics, first_contact })
    }
}

/// Adds the components of invitations and of names in calls.
fn add_guests(data: &mut AppData, config: &Config, (database, tokens): (&Database, &Arc<Tokens>), clock: &Clock) {
    let invitations = component_config::invitations(config);
    data.add(Data::new(Invitations::new(database.clone(), Arc::clone(tokens), invitations)));
    data.add(Data::new(ApiKeys::new(database.clone(), clock.clone())));
    data.add(Data::new(component_config::display_names(config, database)));
}

/// Adds the configured limits and allow-lists.
fn add_limits(data: &mut AppData, config: &Config) {
    let server = &config.server;
    data.add(Data::new(StreamLimit::new(config.live.max_per_caller.get() as usize)));
    data.add(Data::new(TrustedProxies(server.trusted_proxies.to_vec())));
    data.add(Data::new(RequestTimeout(server.request_timeout)));
    data.add(Data::new(component_config::roles(config)));
    data.add(Data::new(PasswordLogin(config.auth.password_login)));
    data.add(Data::new(config.rooms.names));
    data.add(Data::new(InFlightLimit::new(server.max_in_flight.get() as usize)));
    data.add(Data::new(BodyBudget::default()));
    if config.dev.is_some() || !server.cors_origins.is_empty() {
        let configured = server.cors_origins.iter().map(|origin| origin.0.clone()).collect();
        data.add(Data::new(Origins { configured, dev_host: config.dev.as_ref().map(|dev| dev.host) }));
    }
    let sample_rooms = config.dev.iter().flat_map(|dev| dev.sample_rooms.clone()).collect();
    let guest_links = config.guests.enabled && config.guests.invitations == InvitationPolicy::Optional;
    data.add(Data::new(ConsoleSettings { password_login: config.auth.password_login, guest_links, sample_rooms }));
}

/// Returns a function that registers the components of one worker.
fn per_worker(
    config: &Config,
    (client_config, limits): (admin_control::Config, EndpointLimits),
    store: Store,
    redis: Option<Arc<RedisCache>>,
    registry: &mut Registry,
) -> Register {
    let call_metrics = metrics::AdminControlMetrics::new(registry, &limits);
    let cache_config = component_config::catch_up_cache(config);
    let caches = Caches::new(cache_config, redis, registry);
    let texts = ResponseCache::new(component_config::summary_text_cache(config), None, registry, "summary-texts");
    let live = LiveCatchUps::new(config.live.poll_interval, event_stream::to_event);
    metrics::register_live(registry, &live);
    let catch_up_config = component_config::catch_up(config);
    Arc::new(move |config| {
        let admin_control = AdminControl::new(client_config.clone(), limits.clone()).with_metrics(call_metrics.clone());
        let responses = Responses::new(admin_control.clone(), caches.clone());
        let catch_up = CatchUp::new(responses.clone(), live.clone(), catch_up_config);
        let summaries = Summaries::new(responses.clone(), store.clone(), texts.clone(), client_config.timeout);
        config
            .app_data(Data::new(catch_up))
            .app_data(Data::new(summaries))
            .app_data(Data::new(responses))
            .app_data(Data::new(admin_control));
    })
}

fn new_health(
    database: Database,
    is_contacted: impl Fn() -> bool + Send + Sync + 'static,
    draining: CancellationToken,
) -> Health {
    Health::new(draining).with_check("database", move || {
        let (database, is_contacted) = (database.clone(), is_contacted());
        async move {
            // The schema may be outdated, and revoked sessions are unknown.
            if !is_contacted {
                return Err(Failure::Shared("no contact yet".to_owned()));
            }
            database.ping().await.map_err(|error| match error {
                // Later writes of this replica are lost.
                db::Error::FileReplaced => Failure::Local(error.to_string()),
                _ => Failure::Shared(error.to_string()),
            })
        }
    })
}

/// Creates the identity provider, if there is one, and starts to fetch its keys.
async fn start_identity_provider(
    config: &Config,
    clock: &Clock,
    registry: &mut Registry,
) -> Result<Option<Arc<IdentityProvider>>, config::Error> {
    let Some(identity) = component_config::identity(config)? else { return Ok(None) };
    let provider = Arc::new(IdentityProvider::new(identity, clock.clone()));
    let on_fetch = metrics::register_identity(registry, &provider);
    provider.start(component_config::identity_client(config)?, on_fetch).await;
    Ok(Some(provider))
}

/// Adds the check of the identity provider. Own tokens are accepted without it.
fn check_identity_provider(health: Health, provider: Option<Arc<IdentityProvider>>) -> Health {
    let Some(provider) = provider else { return health };
    health.with_check("identity provider", move || std::future::ready(provider.check().map_err(Failure::Optional)))
}

async fn open_redis(config: &Config, registry: &Registry) -> Result<Option<Arc<RedisCache>>, Error> {
    let Some(redis) = component_config::redis(config)? else { return Ok(None) };
    Ok(Some(Arc::new(RedisCache::open(&redis, registry).await?)))
}
