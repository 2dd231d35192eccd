//! Database URLs: validation, and what follows from them without a connection.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use url::Url;

use crate::files;

/// The parameters of PostgreSQL URLs. sqlx ignores all others, and logs them with their values.
const POSTGRESQL_PARAMETERS: &str =
    "sslmode ssl-mode statement-cache-capacity host hostaddr port dbname user password application_name options";
/// The parameters that name a file.
const FILE_PARAMETERS: &str = "sslrootcert ssl-root-cert ssl-ca sslcert ssl-cert sslkey ssl-key";

/// Checks that a text is the URL of a writable database. The error never quotes it: it may contain a password.
///
/// # Errors
///
/// A sentence on what it must be.
pub fn validate_url(url: &str) -> Result<(), &'static str> {
    if url.starts_with("sqlite:") { validate_sqlite_url(url) } else { validate_postgresql_url(url) }
}

fn validate_sqlite_url(url: &str) -> Result<(), &'static str> {
    let contains = |parts: &[&str]| parts.iter().any(|part| url.contains(part));
    let options = SqliteConnectOptions::from_str(url).map_err(|_| "must have valid parameters of SQLite URLs only")?;
    if options.get_filename().as_os_str().is_empty() || contains(&[":memory:", "mode=memory"]) {
        return Err("must name a file, as sqlite://path/to/file does");
    }
    if contains(&["mode=ro", "immutable="]) { Err("must be a writable database") } else { Ok(()) }
}

fn validate_postgresql_url(url: &str) -> Result<(), &'static str> {
    let parsed = Url::parse(url)
        .map_err(|_| "must be a URL, with a port up to 65535 and special characters of the password percent-encoded")?;
    let is_in = |names: &str, name: &str| names.split(' ').any(|known| known == name);
    for (name, value) in parsed.query_pairs() {
        let path = Path::new(&*value);
        let is_option = name.starts_with("options[") && name.ends_with(']');
        if is_in(FILE_PARAMETERS, &name) {
            // Opening a FIFO or a device would block.
            if path.exists() && files::require_regular(path).is_err() {
                return Err("must name regular files only in its ssl parameters");
            }
        } else if !is_option && !is_in(POSTGRESQL_PARAMETERS, &name) {
            return Err("must have valid parameters of PostgreSQL URLs only");
        }
    }
    PgConnectOptions::from_str(url).map(|_| ()).map_err(|_| "must have valid parameters of PostgreSQL URLs only")
}

/// Returns the file of a SQLite URL.
pub(super) fn path_of(url: &str) -> PathBuf {
    SqliteConnectOptions::from_str(url).map(|options| options.get_filename().to_owned()).unwrap_or_default()
}

/// Returns whether a missing file of a SQLite URL is created.
pub(super) fn creates_file(url: &str) -> bool {
    !url.contains("mode=rw") || url.contains("mode=rwc")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unusable_url_is_rejected_without_quoting_it() {
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
            let message = validate_url(url).unwrap_err();
            assert!(message.starts_with("must ") && !message.contains("canary"), "{url}: {message}");
        }
    }
}
