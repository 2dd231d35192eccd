//! What can be said of a database without using it: whether its URL is one, and whether it could be opened and brought up to date.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::str::FromStr as _;

use sqlx::any::install_default_drivers;
use sqlx::migrate::MigrateError;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AnyConnection, Connection as _, Executor as _};
use url::Url;

use super::{Error, MIGRATIONS, WORK_TIMEOUT, made_if_missing, path_of};
use crate::folder;

/// What a URL of PostgreSQL may say behind its `?`. sqlx ignores any other one, and writes it into the log, with its value.
const OF_POSTGRESQL: &[&str] = &[
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

/// Whether a text is the URL of a database that can be written, or what it must be. Never quotes it: it may hold a password.
///
/// # Errors
///
/// A sentence on what it must be.
pub fn accepts(url: &str) -> Result<(), &'static str> {
    if url.starts_with("sqlite:") {
        let read_only = ["mode=ro", "immutable="].iter().any(|part| url.contains(part));
        return match SqliteConnectOptions::from_str(&made_if_missing(url)) {
            Ok(_) if read_only => Err("must be a database that can be written"),
            Ok(_) => Ok(()),
            Err(_) => Err("must have no parameter that SQLite's URLs have not, and none with another value"),
        };
    }
    let parsed = Url::parse(url).map_err(
        |_| "must be a URL: a port is a number up to 65535, and what is special in a password is percent-encoded",
    )?;
    let known = |name: &str| OF_POSTGRESQL.contains(&name) || (name.starts_with("options[") && name.ends_with(']'));
    if !parsed.query_pairs().all(|(name, _)| known(&name)) || PgConnectOptions::from_str(url).is_err() {
        return Err("must have no parameter that PostgreSQL's URLs have not, and none with another value, sslmode for one");
    }
    Ok(())
}

/// Whether the database at `url` can be reached, and used by this version. Changes nothing: makes no file, and migrates nothing.
///
/// # Errors
///
/// [`Error::Folder`], [`Error::Failed`], [`Error::TimedOut`], [`Error::Migration`].
pub async fn reach(url: &str) -> Result<&'static str, Error> {
    install_default_drivers();
    let sqlite = url.starts_with("sqlite:");
    if sqlite {
        let (path, opened) = (path_of(url), made_if_missing(url));
        // Beside the file there will be others, as long as it is open.
        folder::can_be_written(path.parent().unwrap_or(Path::new(".")))?;
        match OpenOptions::new().append(true).open(&path) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound && opened.contains("mode=rwc") => {
                return Ok("its file will be made");
            }
            Err(error) => return Err(error.into()),
        }
    }
    let reaching = async {
        let mut connection = AnyConnection::connect(url).await?;
        connection.execute(if sqlite { "PRAGMA schema_version" } else { "SELECT 1" }).await?;
        // No such table, no migration yet.
        let sql = "SELECT version FROM _sqlx_migrations ORDER BY version";
        let applied: Vec<i64> = sqlx::query_scalar(sql).fetch_all(&mut connection).await.unwrap_or_default();
        connection.close().await?;
        Ok::<_, sqlx::Error>(applied)
    };
    let applied = tokio::time::timeout(WORK_TIMEOUT, reaching).await.map_err(|_| Error::TimedOut)??;
    match applied.into_iter().find(|version| !MIGRATIONS.version_exists(*version)) {
        // Of a later version of this server.
        Some(version) => Err(MigrateError::VersionMissing(version).into()),
        None => Ok("it answers"),
    }
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
            assert_eq!(accepts(url), Ok(()), "{url}");
        }
        for url in [
            "sqlite://var/app.db?mode=canary",
            "sqlite://var/app.db?mode=ro",
            "sqlite://var/app.db?immutable=true",
            "postgres://host:99999/db",
            "postgres://ann:ca/nary@host/db",
            "postgres://host/db?sslmode=canary",
            "postgres://host/db?port=canary",
            "postgres://host/db?passwd=canary",
        ] {
            let says = accepts(url).unwrap_err();
            assert!(says.starts_with("must ") && !says.contains("canary"), "{url}: {says}");
        }
    }

    #[actix_rt::test]
    async fn a_database_of_a_later_version_is_not_one_to_start_on() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/app.db", folder.path().display());
        assert_eq!(reach(&url).await.unwrap(), "its file will be made");
        assert!(reach(&format!("{url}?mode=rw")).await.is_err(), "which would make none");
        let background = crate::background::Background::start().unwrap();
        drop(super::super::Database::open(&url, background).await.unwrap());
        assert_eq!(reach(&url).await.unwrap(), "it answers");
        let mut connection = AnyConnection::connect(&url).await.unwrap();
        let later = "UPDATE _sqlx_migrations SET version = 99999999999999 WHERE version = (SELECT MAX(version) FROM _sqlx_migrations)";
        connection.execute(later).await.unwrap();
        assert!(matches!(reach(&url).await, Err(Error::Migration(_))));
    }
}
