//! The composition root: what is made once and shared by all workers, and what each worker makes for itself.
//!
//! The only place where a domain module meets the adapter that serves it.

mod from_admin_control;
mod measured;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_web::web;

use crate::accounts::{self, Accounts, Admissions, Revocations, Watch};
use crate::admin_control::{self, AdminControl};
use crate::background::Background;
use crate::bodies::Bodies;
use crate::caller::Roles;
use crate::catch_up::live::Live;
use crate::catch_up::stream_limit::StreamLimit;
use crate::catch_up::{self, CatchUp};
use crate::client_address::TrustedProxies;
use crate::clock::Clock;
use crate::connection::Capacity;
use crate::db::{self, Database};
use crate::draining::Draining;
use crate::health::Health;
use crate::jwt::Tokens;
use crate::metrics::{Http, Metrics, Registry};
use crate::middleware::admission::InFlight;
use crate::middleware::answer_headers::Origins;
use crate::middleware::error_boundary::RequestTimeout;
use crate::pass_through::{self, PassThrough};
use crate::responders::event_stream;
use crate::room::NameComparison;
use crate::secret::Secret;
use crate::settings::Settings;
use crate::summaries::{self, Store, Summaries};
use crate::telemetry::logging::DroppedLines;
use crate::window::shared::{self, Failures, SharedWindow};
use crate::window::{self, Layer, Window};
use from_admin_control::FromAdminControl;

/// How long an answer serves everybody, and how much memory each of these windows may take, in bytes.
const CONFIGURATION_FRESH_FOR: Duration = Duration::from_secs(30);
const STATUS_FRESH_FOR: Duration = Duration::from_secs(1);
const MEETINGS_FRESH_FOR: Duration = Duration::from_secs(5);
const RECORD_FRESH_FOR: Duration = Duration::from_secs(5);
const TEXT_FRESH_FOR: Duration = Duration::from_hours(1);
/// The window that replicas share.
const SHARED_WINDOW: &str = "catch-up";
const SMALL: u64 = 8 << 20;
const LARGE: u64 = 32 << 20;

/// One mechanism, several windows.
#[derive(Clone)]
struct Windows {
    catch_up: Window<catch_up::Error>,
    pass_through: pass_through::Windows,
    summaries: summaries::Windows,
}

impl Windows {
    /// The catch-up's by its settings. They turn the others off too, where they turn it off, and say how long any answer may
    /// stand in for a failure. Each has its name in the metrics.
    fn new(catch_up: window::Rules, layer: Option<Arc<dyn Layer<catch_up::Error>>>, registry: &mut Registry) -> Self {
        let rules = |fresh_for, max_bytes| {
            let fresh_for = if catch_up.fresh_for.is_zero() { Duration::ZERO } else { fresh_for };
            window::Rules { fresh_for, max_bytes, ..catch_up }
        };
        Self {
            catch_up: measured::window(registry, SHARED_WINDOW, catch_up, layer),
            pass_through: pass_through::Windows {
                configuration: measured::window(registry, "configuration", rules(CONFIGURATION_FRESH_FOR, SMALL), None),
                status: measured::window(registry, "status", rules(STATUS_FRESH_FOR, SMALL), None),
                meetings: measured::window(registry, "meetings", rules(MEETINGS_FRESH_FOR, LARGE), None),
            },
            summaries: summaries::Windows {
                records: measured::window(registry, "summary-records", rules(RECORD_FRESH_FOR, SMALL), None),
                texts: measured::window(registry, "summary-texts", rules(TEXT_FRESH_FOR, LARGE), None),
            },
        }
    }
}

/// What could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database. Its URL is not shown: it may hold a password.
    #[error("can't use the database of APP_DATABASE__URL: {0}")]
    Database(#[from] db::Error),
    /// The summary store.
    #[error("can't use the store of APP_SUMMARIES__URL: {0}")]
    Summaries(String),
    /// Where replicas share the window. Its URL is not shown: it may hold a password.
    #[error("can't use APP_CATCH_UP__SHARED: {0}")]
    SharedWindow(#[from] shared::BadUrl),
}

/// Made once.
#[derive(Clone)]
pub struct Shared {
    tokens: web::Data<Tokens>,
    accounts: web::Data<Accounts>,
    windows: Windows,
    summaries: Store,
    revocations: web::Data<Revocations>,
    admissions: web::Data<Admissions>,
    live: Live,
    stream_limit: web::Data<StreamLimit>,
    trusted_proxies: web::Data<TrustedProxies>,
    // Goes on as long as any worker does.
    _watch: Arc<Watch>,
    request_timeout: web::Data<RequestTimeout>,
    roles: web::Data<Roles>,
    room_names: NameComparison,
    catch_up_reason: bool,
    draining: web::Data<Draining>,
    in_flight: web::Data<InFlight>,
    bodies: web::Data<Bodies>,
    origins: web::Data<Origins>,
    admin_control_rules: admin_control::Rules,
    admin_control_permits: web::Data<admin_control::Permits>,
    calls: Arc<measured::Calls>,
    health: web::Data<Health>,
    http: web::Data<Http>,
    metrics: Metrics,
}

impl Shared {
    /// Opens what the workers share and puts it together; `capacity` is only looked at, for its number.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    pub async fn open(
        settings: &Settings,
        clock: &Clock,
        dropped: DroppedLines,
        capacity: &Capacity,
    ) -> Result<Self, Error> {
        let background = Background::start().map_err(db::Error::from)?;
        let summaries = Store::open(&settings.summaries, background.clone()).map_err(Error::Summaries)?;
        let database = Database::open(settings.database_url.expose(), background.clone()).await?;
        let (revocations, ttl) = (Revocations::default(), settings.jwt.user_ttl);
        let watch = Watch::start(revocations.clone(), database.clone(), &background, ttl, clock.clone()).await?;
        let admissions = Admissions::start(revocations.clone(), clock.clone(), &background);
        let mut registry = Registry::new(clock.now());
        let layer = match &settings.shared_window {
            Some(url) => Some(share(url, settings, background, &mut registry).await?),
            None => None,
        };
        let tokens = Arc::new(Tokens::new(settings.jwt.clone(), clock.clone()));
        let draining = Draining::default();
        let health = Arc::new(Health::new(database.clone(), draining.clone()));
        let permits = admin_control::Permits::new(&settings.admin_control);
        let windows = Windows::new(settings.catch_up, layer, &mut registry);
        let (http, calls) = (measured::http(&registry), measured::Calls::new(&registry, &permits));
        measured::watch(&mut registry, &permits, &database, &health, dropped);
        measured::watch_connections(&mut registry, capacity);
        let rules = settings.accounts.clone();
        let accounts = Accounts::new(database, Arc::clone(&tokens), revocations.clone(), rules, clock.clone());
        let accounts = accounts.with_metrics(accounts::AccountMetrics::new(&registry));
        Ok(Self {
            windows,
            calls,
            health: health.into(),
            http: web::Data::new(http),
            metrics: registry.finish(),
            summaries,
            _watch: Arc::new(watch),
            revocations: web::Data::new(revocations),
            admissions: web::Data::new(admissions),
            live: Live::new(settings.live_every, event_stream::form),
            stream_limit: web::Data::new(StreamLimit::new(settings.live_max_per_caller)),
            trusted_proxies: web::Data::new(settings.server.trusted_proxies.clone()),
            tokens: tokens.into(),
            accounts: web::Data::new(accounts),
            request_timeout: web::Data::new(RequestTimeout(settings.server.request_timeout)),
            roles: web::Data::new(settings.roles.clone()),
            room_names: settings.room_names,
            draining: web::Data::new(draining),
            in_flight: web::Data::new(InFlight::new(settings.server.max_in_flight)),
            bodies: web::Data::new(Bodies::default()),
            origins: web::Data::new(Origins(settings.server.cors_origins.clone())),
            catch_up_reason: settings.catch_up_reason,
            admin_control_rules: settings.admin_control.clone(),
            admin_control_permits: web::Data::new(permits),
        })
    }

    /// Whether the server is on its way out.
    #[must_use]
    pub fn draining(&self) -> Draining {
        self.draining.get_ref().clone()
    }

    /// What is counted and measured.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }
}

/// The layer that replicas share the catch-up's window by. The other windows are not worth it: what they hold costs Admin
/// Control a look-up, not a language model.
async fn share(
    url: &Secret,
    settings: &Settings,
    background: Background,
    registry: &mut Registry,
) -> Result<Arc<dyn Layer<catch_up::Error>>, shared::BadUrl> {
    let failures = Failures::new(registry, SHARED_WINDOW);
    let layer = Arc::new(SharedWindow::open(sharing(url, settings), background, failures).await?);
    measured::watch_shared(registry, SHARED_WINDOW, &layer);
    Ok(layer)
}

/// How replicas with these settings share the catch-up's window.
#[must_use]
pub fn sharing(url: &Secret, settings: &Settings) -> shared::Rules {
    shared::Rules {
        url: url.clone(),
        // Replicas that compare names differently have different ideas of what one room is.
        deployment: format!("{}\n{}\n{:?}", settings.admin_control.base_url, settings.jwt.issuer, settings.room_names),
        endpoint: SHARED_WINDOW,
        secrets: settings.accounts.secrets.clone(),
        window: settings.catch_up,
        watched_every: settings.live_every,
        deadline: settings.admin_control.timeout,
    }
}

/// Registers what a worker's handlers take; called on each worker's own thread.
pub fn register(shared: &Shared, config: &mut web::ServiceConfig) {
    let windows = &shared.windows;
    let admin_control =
        AdminControl::new(shared.admin_control_rules.clone(), shared.admin_control_permits.get_ref().clone())
            .observed_by(shared.calls.clone());
    let pass_through =
        web::Data::new(PassThrough::new(admin_control.clone(), windows.pass_through.clone(), shared.room_names));
    let source = FromAdminControl { admin_control: admin_control.clone(), pass_through: pass_through.clone().into_inner() };
    let catch_up = CatchUp::new(Rc::new(source), windows.catch_up.clone(), shared.live.clone(), shared.catch_up_reason);
    config
        .app_data(shared.tokens.clone())
        .app_data(shared.accounts.clone())
        .app_data(shared.revocations.clone())
        .app_data(shared.admissions.clone())
        .app_data(shared.stream_limit.clone())
        .app_data(shared.trusted_proxies.clone())
        .app_data(shared.request_timeout.clone())
        .app_data(shared.roles.clone())
        .app_data(web::Data::new(shared.room_names))
        .app_data(shared.draining.clone())
        .app_data(shared.in_flight.clone())
        .app_data(shared.bodies.clone())
        .app_data(shared.origins.clone())
        .app_data(shared.health.clone())
        .app_data(shared.http.clone())
        .app_data(web::Data::new(catch_up))
        .app_data(web::Data::new(Summaries::new(
            Rc::new(admin_control.clone()),
            shared.summaries.clone(),
            windows.summaries.clone(),
            shared.admin_control_rules.timeout,
        )))
        .app_data(pass_through)
        .app_data(web::Data::new(admin_control));
}

/// Registers what the handlers of the management listener take.
pub fn register_for_management(shared: &Shared, config: &mut web::ServiceConfig) {
    config.app_data(shared.health.clone()).app_data(shared.admin_control_permits.clone()).app_data(shared.draining.clone());
}
