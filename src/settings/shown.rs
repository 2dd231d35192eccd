//! Settings as they may be shown: what is secret stays so.

use super::Values;
use super::keys::{KEYS, Shown};
use crate::admin_control::RootCertificates;

/// What stands for a secret.
const REDACTED: &str = "[redacted]";

impl Values {
    /// Every setting in its order: its name, its value as it may be shown (`None` for no value), and whether somebody gave it.
    pub fn shown(&self) -> impl Iterator<Item = (&'static str, Option<String>, bool)> {
        KEYS.iter().map(|key| {
            let text = self.texts.get(key.name).map(|text| match key.shown {
                Shown::Plain => text.clone(),
                Shown::Secret => REDACTED.to_owned(),
                Shown::Url => without_secrets(text),
            });
            (key.name, text, self.given.contains(&key.name))
        })
    }

    /// The variables that name the authorities of certificates, where they are set.
    pub fn named_authorities(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let names = [RootCertificates::FILE, RootCertificates::DIRECTORIES];
        names.into_iter().zip(&self.authorities).filter_map(|(name, path)| path.as_deref().map(|path| (name, path)))
    }

    /// The names of the `AWS_…` variables that the summary store gets.
    pub fn aws_names(&self) -> impl Iterator<Item = &str> {
        self.aws.iter().map(|(name, _)| name.as_str())
    }
}

/// A URL without its password and, where it names no file, without its query, which may hold one too.
fn without_secrets(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return REDACTED.to_owned();
    };
    if scheme == "sqlite" || scheme == "file" {
        return url.to_owned();
    }
    let (place, query) = rest.split_once('?').map_or((rest, ""), |(place, _)| (place, "?[redacted]"));
    // The last one: a password may hold another that should have been encoded.
    let place = match place.rsplit_once('@') {
        Some((who, host)) => match who.split_once(':') {
            Some((user, _)) => format!("{user}:{REDACTED}@{host}"),
            None => place.to_owned(),
        },
        None => place.to_owned(),
    };
    format!("{scheme}://{place}{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_what_is_secret_in_it() {
        for (url, shown) in [
            ("sqlite://var/app.db?mode=rwc", "sqlite://var/app.db?mode=rwc"),
            ("postgres://host/db", "postgres://host/db"),
            ("postgres://ann@host/db", "postgres://ann@host/db"),
            ("postgres://ann:canary@host:5432/db", "postgres://ann:[redacted]@host:5432/db"),
            ("postgres://ann:can@ary:x@host/db", "postgres://ann:[redacted]@host/db"),
            ("postgres://host/db?user=ann&password=canary", "postgres://host/db?[redacted]"),
            ("redis://:canary@host:6379", "redis://:[redacted]@host:6379"),
            ("canary", "[redacted]"),
        ] {
            assert_eq!(without_secrets(url), shown);
        }
    }
}
