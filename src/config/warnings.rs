//! Warnings about unwise combinations of valid settings.

use super::Config;

impl Config {
    /// Returns a warning for each unwise combination. Warnings name settings, not values.
    #[must_use]
    pub fn warnings(&self) -> Vec<&'static str> {
        let (server, calls) = (&self.server, &self.admin_control);
        [
            (
                calls.timeout >= server.request_timeout,
                "APP_ADMIN_CONTROL__TIMEOUT is not below APP_SERVER__REQUEST_TIMEOUT: a request ends before its call does",
            ),
            (
                calls.connect_timeout >= calls.timeout,
                "APP_ADMIN_CONTROL__CONNECT_TIMEOUT is not below APP_ADMIN_CONTROL__TIMEOUT: it has no effect",
            ),
            (
                server.shutdown_timeout < server.request_timeout,
                "APP_SERVER__SHUTDOWN_TIMEOUT is below APP_SERVER__REQUEST_TIMEOUT: a shutdown may cut off a request",
            ),
            (
                server.trusted_proxies.iter().any(|network| network.prefix_len() == 0),
                "APP_SERVER__TRUSTED_PROXIES contains every address: clients can claim any address, and no login limit holds",
            ),
            (
                self.guests.enabled && self.guests.roles.iter().any(|role| role == "owner"),
                "APP_GUESTS__ROLES contains owner: knowing the name of a room is enough to own its call",
            ),
        ]
        .into_iter()
        .filter_map(|(applies, sentence)| applies.then_some(sentence))
        .collect()
    }
}
