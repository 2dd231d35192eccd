//! Warnings about unwise combinations of valid settings.

use std::net::IpAddr;
use std::time::Duration;

use super::{Config, InvitationPolicy, RoomAccessMode, SecretUrl};

/// The roles that ProCONF has today. Admin Control may add others.
const KNOWN_ROLES: [&str; 3] = ["owner", "moderator", "member"];
/// The usual idle timeout of a proxy's connections (nginx, AWS).
const PROXY_IDLE_TIMEOUT: Duration = Duration::from_mins(1);

impl Config {
    /// Returns a warning for each unwise combination. Warnings name settings, not values.
    pub(crate) fn warnings(&self) -> Vec<&'static str> {
        let (server, calls) = (&self.server, &self.admin_control);
        let has_unknown_role = |roles: &[String]| roles.iter().any(|role| !KNOWN_ROLES.contains(&role.as_str()));
        let is_unencrypted = |url: &str, scheme| url.starts_with(scheme) && has_remote_host(url);
        let redis_url = self.cache.redis_url.as_ref().map_or("", SecretUrl::expose);
        let mut warnings = Vec::new();
        if calls.timeout >= server.request_timeout {
            warnings.push(
                "APP_ADMIN_CONTROL__TIMEOUT is not below APP_SERVER__REQUEST_TIMEOUT: a request ends before its call does",
            );
        }
        if calls.connect_timeout >= calls.timeout {
            warnings.push("APP_ADMIN_CONTROL__CONNECT_TIMEOUT is not below APP_ADMIN_CONTROL__TIMEOUT: it has no effect");
        }
        if server.shutdown_timeout < server.request_timeout {
            warnings
                .push("APP_SERVER__SHUTDOWN_TIMEOUT is below APP_SERVER__REQUEST_TIMEOUT: a shutdown may cut off a request");
        }
        if server.trusted_proxies.iter().any(|network| network.prefix_len() == 0) {
            warnings.push("APP_SERVER__TRUSTED_PROXIES contains every address: clients can claim any address, and no login limit holds");
        }
        if self.guests.enabled && self.guests.roles.iter().any(|role| role == "owner") {
            warnings.push("APP_GUESTS__ROLES contains owner: knowing the name of a room is enough to own its call");
        }
        if has_unknown_role(&self.guests.roles) {
            warnings.push("APP_GUESTS__ROLES contains a role other than owner, moderator and member");
        }
        if has_unknown_role(&self.users.roles) {
            warnings.push("APP_USERS__ROLES contains a role other than owner, moderator and member");
        }
        if server.keep_alive <= PROXY_IDLE_TIMEOUT {
            warnings.push("APP_SERVER__KEEP_ALIVE is not above 60s, the usual idle timeout of a proxy: it may use a connection that is being closed");
        }
        if calls.authorization.is_some() && is_unencrypted(&calls.base_url, "http://") {
            warnings.push("APP_ADMIN_CONTROL__BASE_URL is http:// to another host: APP_ADMIN_CONTROL__AUTHORIZATION is sent unencrypted");
        }
        if is_unencrypted(redis_url, "redis://") {
            warnings
                .push("APP_CACHE__REDIS_URL is redis:// to another host: its password and catch-ups are sent unencrypted");
        }
        self.add_access_warnings(&mut warnings);
        warnings
    }

    fn add_access_warnings(&self, warnings: &mut Vec<&'static str>) {
        let rooms = &self.rooms;
        let has_webhook = rooms.webhook_url.is_some() || rooms.webhook_secret.is_some();
        if has_webhook && rooms.access != RoomAccessMode::Webhook {
            warnings.push(
                "APP_ROOMS__ACCESS is not webhook: APP_ROOMS__WEBHOOK_URL and APP_ROOMS__WEBHOOK_SECRET have no effect",
            );
        }
        if self.oidc.issuer.is_none() && !self.auth.password_login {
            warnings.push("APP_AUTH__PASSWORD_LOGIN is false without APP_OIDC__ISSUER: no user can log in");
        }
        if self.oidc.roles().iter().any(|(_, role)| !KNOWN_ROLES.contains(&role.as_str())) {
            warnings.push("APP_OIDC__ROLES_MAP contains a role other than owner, moderator and member");
        }
        if rooms.access == RoomAccessMode::Claim && self.auth.password_login {
            warnings
                .push("APP_ROOMS__ACCESS is claim with APP_AUTH__PASSWORD_LOGIN: accounts of this server can enter no room");
        }
        if self.guests.enabled && self.guests.invitations == InvitationPolicy::Optional {
            warnings
                .push("APP_GUESTS__INVITATIONS is optional: knowing the name of a room is enough to enter it as a guest");
        }
    }
}

fn has_remote_host(url: &str) -> bool {
    url::Url::parse(url).is_ok_and(|url| url.host_str().is_some_and(is_remote))
}

/// Returns whether a host of a URL is neither `localhost` nor a loopback address.
pub(crate) fn is_remote(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host != "localhost" && !address.is_ok_and(|address| address.is_loopback())
}
