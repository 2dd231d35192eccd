//! The configuration with its secrets redacted.

use serde_json::Value;
use url::form_urlencoded;

use super::Config;
use crate::secret::Secret;

impl Config {
    /// Returns every setting, its redacted value, and whether that differs from the default.
    pub(crate) fn redacted(&self) -> Vec<(String, Option<String>, bool)> {
        let (values, defaults) = (settings_of(self), settings_of(&Self::default()));
        let pairs = values.into_iter().zip(defaults);
        pairs.map(|((name, value), (_, default))| (name, value.clone(), value != default)).collect()
    }
}

/// Returns every setting by the name of its variable.
fn settings_of(config: &Config) -> Vec<(String, Option<String>)> {
    let Ok(Value::Object(sections)) = serde_json::to_value(config) else { return Vec::new() };
    let settings = sections.iter().flat_map(|(section, keys)| {
        let keys = keys.as_object().into_iter().flatten();
        keys.map(move |(key, value)| (format!("{section}.{key}"), value))
    });
    settings.map(|(path, value)| (super::variable_of(&path), format_value(value))).collect()
}

fn format_value(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        Value::Array(elements) => {
            let elements: Vec<String> = elements.iter().filter_map(format_value).collect();
            Some(elements.join(",")).filter(|text| !text.is_empty())
        }
        other => Some(other.to_string()),
    }
}

/// Removes the password and the query of a URL.
///
/// The parameters of PostgreSQL other than `password` and `options` stay.
pub(super) fn redact_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return Secret::REDACTED.to_owned();
    };
    if scheme == "sqlite" || scheme == "file" {
        return url.to_owned();
    }
    let (address, query) = rest.split_once('?').map_or((rest, None), |(address, query)| (address, Some(query)));
    // The last `@`: a password may hold one that should have been encoded.
    let address = match address.rsplit_once('@') {
        Some((credentials, host)) => match credentials.split_once(':') {
            Some((user, _)) => format!("{user}:{}@{host}", Secret::REDACTED),
            None => address.to_owned(),
        },
        None => address.to_owned(),
    };
    let query = query.map(|query| format!("?{}", redact_query(scheme, query)));
    format!("{scheme}://{address}{}", query.unwrap_or_default())
}

fn redact_query(scheme: &str, query: &str) -> String {
    // With an `@` it may be a part of a password that should have been encoded.
    if !scheme.starts_with("postgres") || query.contains('@') {
        return Secret::REDACTED.to_owned();
    }
    // `options` sets any variable of the database.
    let is_secret = |name: &str| ["pass", "options"].iter().any(|part| name.to_lowercase().contains(part));
    let redact = |pair: &str| match (form_urlencoded::parse(pair.as_bytes()).next(), pair.split_once('=')) {
        (Some((name, _)), Some((raw, _))) if is_secret(&name) => format!("{raw}={}", Secret::REDACTED),
        (_, Some(_)) => pair.to_owned(),
        (_, None) => Secret::REDACTED.to_owned(),
    };
    query.split('&').map(redact).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_is_redacted() {
        for (url, shown) in [
            ("sqlite://var/app.db?mode=rwc", "sqlite://var/app.db?mode=rwc"),
            ("postgres://host/db", "postgres://host/db"),
            ("postgres://ann@host/db", "postgres://ann@host/db"),
            ("postgres://ann:canary@host:5432/db", "postgres://ann:[redacted]@host:5432/db"),
            ("postgres://ann:can@ary:x@host/db", "postgres://ann:[redacted]@host/db"),
            (
                "postgres://host/db?user=ann&password=canary&sslmode=verify-full",
                "postgres://host/db?user=ann&password=[redacted]&sslmode=verify-full",
            ),
            ("postgres://host/db?sslp%61ssword=canary&port=1", "postgres://host/db?sslp%61ssword=[redacted]&port=1"),
            ("postgres://ann:12?canary&x=can@host/db", "postgres://ann:12?[redacted]"),
            ("postgres://host/db?canary", "postgres://host/db?[redacted]"),
            ("postgres://host/db?options=-c%20x=canary", "postgres://host/db?options=[redacted]"),
            ("postgres://[::1]:5432/db?sslmode=require", "postgres://[::1]:5432/db?sslmode=require"),
            ("redis://host?canary=canary", "redis://host?[redacted]"),
            ("redis://:canary@host:6379", "redis://:[redacted]@host:6379"),
            ("canary", "[redacted]"),
        ] {
            assert_eq!(redact_url(url), shown);
        }
    }
}
