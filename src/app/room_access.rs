//! Which rooms users may enter, by the configuration.

use std::sync::Arc;

use actix_web::web::Data;

use super::component_config::new_http_client;
use super::components::Register;
use super::metrics;
use crate::auth::access_webhook::{AccessWebhook, MAX_BODY_BYTES, TIMEOUT, WebhookConfig};
use crate::auth::http_client::HttpClient;
use crate::auth::room_access::RoomAccess;
use crate::clock::Clock;
use crate::config::{Config, Error, RoomAccessMode, RoomsConfig};
use crate::secret;
use crate::telemetry::metrics::Registry;

/// Returns a function that registers [`RoomAccess`]. A client of the webhook belongs to one worker.
pub(super) fn register(config: &Config, clock: &Clock, registry: &Registry) -> Result<Register, Error> {
    let on_call = metrics::register_room_webhook(registry);
    let Some((webhook, new_client)) = webhook(config)? else {
        let is_claim = config.rooms.access == RoomAccessMode::Claim;
        return Ok(Arc::new(move |app| {
            app.app_data(Data::new(if is_claim { RoomAccess::Claim } else { RoomAccess::All }));
        }));
    };
    let webhook = Arc::new(AccessWebhook::new(webhook, clock.clone(), on_call));
    Ok(Arc::new(move |app| {
        app.app_data(Data::new(RoomAccess::Webhook(Arc::clone(&webhook), new_client())));
    }))
}

/// Returns the configuration of the webhook and what creates its clients, if there is one.
///
/// # Errors
///
/// If the certificate authorities can't be read.
pub(super) fn webhook(
    config: &Config,
) -> Result<Option<(WebhookConfig, impl Fn() -> HttpClient + Send + Sync + use<>)>, Error> {
    let RoomsConfig { access: RoomAccessMode::Webhook, webhook_url: Some(url), webhook_secret: Some(secret), .. } =
        &config.rooms
    else {
        return Ok(None);
    };
    let secret = secret::decode_webhook_secret(secret.expose()).unwrap_or_default();
    let webhook = WebhookConfig { url: url.expose().to_owned(), secret, own_issuer: config.auth.issuer.clone() };
    Ok(Some((webhook, new_http_client(config, TIMEOUT, MAX_BODY_BYTES)?)))
}
