//! URLs of databases: which ones are accepted, and what follows from them without a connection.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use url::Url;

use crate::files;

/// What a URL of PostgreSQL may say behind its `?`. sqlx ignores any other one, and writes it into the log, with its value.
const OF_POSTGRESQL: &str =
    "sslmode ssl-mode statement-cache-capacity host hostaddr port dbname user password application_name options";
/// Those of them that name a file.
const FILES: &[&str] = &["sslrootcert", "ssl-root-cert", "ssl-ca", "sslcert", "ssl-cert", "sslkey", "ssl-key"];

/// Whether a text is the URL of a database that can be written, or what it must be. Never quotes it: it may hold a password.
///
/// # Errors
///
/// A sentence on what it must be.
pub fn validate_url(url: &str) -> Result<(), &'static str> {
    if url.starts_with("sqlite:") {
        let read_only = ["mode=ro", "immutable="].iter().any(|part| url.contains(part));
        let in_memory = [":memory:", "mode=memory"].iter().any(|part| url.contains(part));
        return match SqliteConnectOptions::from_str(url) {
            Ok(options) if in_memory || options.get_filename().as_os_str().is_empty() => {
                Err("must name a file, as sqlite://path/to/file does")
            }
            Ok(_) if read_only => Err("must be a database that can be written"),
            Ok(_) => Ok(()),
            Err(_) => Err("must have no parameter that SQLite's URLs have not, and none with another value"),
        };
    }
    let parsed = Url::parse(url).map_err(
        |_| "must be a URL: a port is a number up to 65535, and what is special in a password is percent-encoded",
    )?;
    let known = |name: &str| {
        OF_POSTGRESQL.split(' ').any(|known| known == name)
            || FILES.contains(&name)
            || (name.starts_with("options[") && name.ends_with(']'))
    };
    if !parsed.query_pairs().all(|(name, _)| known(&name)) || PgConnectOptions::from_str(url).is_err() {
        return Err("must have no parameter that PostgreSQL's URLs have not, and none with another value, sslmode for one");
    }
    let blocks = |path: &str| Path::new(path).exists() && files::require_regular(Path::new(path)).is_err();
    if parsed.query_pairs().any(|(name, path)| FILES.contains(&&*name) && blocks(&path)) {
        return Err("must name regular files only in its ssl parameters");
    }
    Ok(())
}

/// The file of a SQLite URL, as sqlx reads it.
pub(super) fn path_of(url: &str) -> PathBuf {
    SqliteConnectOptions::from_str(url).map(|options| options.get_filename().to_owned()).unwrap_or_default()
}

/// Whether a missing file of a SQLite URL is created.
pub(super) fn creates_file(url: &str) -> bool {
    !url.contains("mode=rw") || url.contains("mode=rwc")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_the_server_would_fail_at_is_told_from_one_that_it_would_use() {
        for url in [
            "sqlite://var/app.db",
            "sqlite:///data/app.db?mode=rwc",
            "sqlite://var/app.db?cache=private",
            "postgres://127.0.0.1/db",
            "postgresql://ann:p%40ss@host:5433/db?sslmode=verify-full&application_name=x",
            "postgres://%2Frun%2Fpostgresql/db",
            "postgres://host/db?options[search_path]=x",
        ] {
            assert_eq!(validate_url(url), Ok(()), "{url}");
        }
        for url in [
            "sqlite://var/app.db?mode=canary",
            "sqlite://var/app.db?mode=ro",
            "sqlite://var/app.db?immutable=true",
            "sqlite::memory:",
            "sqlite://var/app.db?mode=memory",
            "sqlite://",
            "postgres://host:99999/db",
            "postgres://ann:ca/nary@host/db",
            "postgres://host/db?sslmode=canary",
            "postgres://host/db?port=canary",
            "postgres://host/db?passwd=canary",
            "postgres://host/db?sslrootcert=/dev/zero",
        ] {
            let says = validate_url(url).unwrap_err();
            assert!(says.starts_with("must ") && !says.contains("canary"), "{url}: {says}");
        }
    }
}
