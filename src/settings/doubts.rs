//! Settings that are good one by one and hardly meant together. The server runs by them, and says so.

use super::Settings;
use crate::db;

impl Settings {
    /// What an operator may not have meant: a sentence each, which names the settings and no value.
    #[must_use]
    pub fn doubts(&self) -> Vec<&'static str> {
        let (server, calls) = (&self.server, &self.admin_control);
        [
            (
                calls.timeout >= server.request_timeout,
                "APP_ADMIN_CONTROL__TIMEOUT is not below APP_SERVER__REQUEST_TIMEOUT: a request ends before the call that it waits for",
            ),
            (
                calls.connect_timeout >= calls.timeout,
                "APP_ADMIN_CONTROL__CONNECT_TIMEOUT is not below APP_ADMIN_CONTROL__TIMEOUT: it never counts",
            ),
            (
                server.shutdown_timeout < server.request_timeout,
                "APP_SERVER__SHUTDOWN_TIMEOUT is below APP_SERVER__REQUEST_TIMEOUT: a stop may cut off a request that got in",
            ),
            (
                server.trusted_proxies.0.iter().any(|network| network.prefix_len() == 0),
                "APP_SERVER__TRUSTED_PROXIES is everybody: a client can claim any address, and no limit on failed logins holds",
            ),
            (
                self.jwt.guest_ttl.is_some() && self.roles.of_guests.iter().any(|role| role == "owner"),
                "APP_GUESTS__ROLES has owner: whoever knows a room's name can be the owner of its call",
            ),
            (
                db::is_exposed(self.database_url.expose()),
                "APP_DATABASE__URL is a file that other users can read, with hashes of passwords in it: chmod 600",
            ),
        ]
        .into_iter()
        .filter_map(|(doubtful, what)| doubtful.then_some(what))
        .collect()
    }
}
