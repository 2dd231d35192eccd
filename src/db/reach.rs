//! What can be said of a database without using it: whether its URL is one, and whether it could be opened and brought up to date.
//! Changes nothing in it.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::str::FromStr as _;

use sqlx::any::install_default_drivers;
use sqlx::migrate::MigrateError;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AnyConnection, Connection as _, Executor as _, Row as _};
use url::Url;

use super::file::{makes_its_file, of_a_file_that_is_there, path_of};
use super::{Error, MIGRATIONS, WORK_TIMEOUT};
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
        let path = path_of(url);
        let in_a_file = !path.as_os_str().is_empty() && path != Path::new(":memory:") && !url.contains("mode=memory");
        return match SqliteConnectOptions::from_str(url) {
            Ok(_) if !in_a_file => Err("must name a file, as sqlite://path/to/file does"),
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
/// [`Error::File`], [`Error::Failed`], [`Error::TimedOut`], [`Error::Migration`], [`Error::Unfit`].
pub async fn reach(url: &str) -> Result<&'static str, Error> {
    install_default_drivers();
    let sqlite = url.starts_with("sqlite:");
    if sqlite {
        let path = path_of(url);
        // Beside the file there will be others, as long as it is open.
        folder::can_be_written(path.parent().unwrap_or(Path::new(".")))?;
        match OpenOptions::new().append(true).open(&path) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound && makes_its_file(url) => {
                return Ok("its file will be made");
            }
            Err(error) => return Err(error.into()),
        }
    }
    let opened = if sqlite { of_a_file_that_is_there(url) } else { url.to_owned() };
    let reaching = async {
        let mut connection = AnyConnection::connect(&opened).await?;
        if !sqlite {
            may_do_what_it_must(&mut connection).await?;
        }
        let fits = fits(&mut connection, if sqlite { HAS_MIGRATIONS_SQLITE } else { HAS_MIGRATIONS_POSTGRESQL }).await;
        connection.close().await?;
        fits
    };
    tokio::time::timeout(WORK_TIMEOUT, reaching).await.map_err(|_| Error::TimedOut)?
}

/// How many tables there are in which migrations are written down.
const HAS_MIGRATIONS_SQLITE: &str = "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = '_sqlx_migrations'";
const HAS_MIGRATIONS_POSTGRESQL: &str = "SELECT COUNT(*) FROM pg_class WHERE oid = to_regclass('_sqlx_migrations')";

/// What PostgreSQL would refuse, in its own words for rights; nothing is nothing.
const LACKS: &str = "SELECT CASE \
     WHEN current_setting('transaction_read_only') = 'on' THEN 'read-only' \
     WHEN current_schema() IS NULL THEN 'schema' \
     WHEN NOT has_schema_privilege(current_schema(), 'CREATE') THEN 'create' \
     WHEN EXISTS (SELECT 1 FROM unnest(string_to_array($1, ',')) AS name WHERE to_regclass(name) IS NOT NULL AND NOT \
         (has_table_privilege(name, 'SELECT') AND has_table_privilege(name, 'INSERT') \
         AND has_table_privilege(name, 'UPDATE') AND has_table_privilege(name, 'DELETE'))) THEN 'table' \
     ELSE 'nothing' END";
/// All tables that the migrations make, and where those are written down.
const TABLES: &str = "users,sessions,refresh_tokens,login_failures,stream_tickets,_sqlx_migrations";

/// Each start makes sure that the table of migrations is there, for which PostgreSQL wants the right to make one even if it is.
async fn may_do_what_it_must(connection: &mut AnyConnection) -> Result<(), Error> {
    let lacks: String = sqlx::query_scalar(LACKS).bind(TABLES).fetch_one(connection).await?;
    Err(Error::Unfit(match lacks.as_str() {
        "nothing" => return Ok(()),
        "read-only" => "it takes no writes: a standby, or read-only by its configuration",
        "schema" => "its role's search_path leads to no schema",
        "create" => "its role may not make tables, so that the schema can't be brought up to date: GRANT CREATE ON SCHEMA",
        _ => "its role may not read and write all of the tables: ALTER TABLE … OWNER TO, or GRANT",
    }))
}

/// Whether what was migrated is a beginning of this version's migrations.
async fn fits(connection: &mut AnyConnection, has_migrations: &'static str) -> Result<&'static str, Error> {
    if sqlx::query_scalar::<_, i64>(has_migrations).fetch_one(&mut *connection).await? == 0 {
        return Ok("it answers, and its schema will be made");
    }
    // Each database has a type of its own for what is true.
    let sql = "SELECT version, checksum, CASE WHEN success THEN 1 ELSE 0 END AS success FROM _sqlx_migrations";
    let applied = connection.fetch_all(sql).await?;
    for row in &applied {
        let (version, checksum, success): (i64, Vec<u8>, i32) =
            (row.try_get("version")?, row.try_get("checksum")?, row.try_get("success")?);
        match MIGRATIONS.iter().find(|migration| migration.version == version) {
            // Of a later version of this server.
            None => return Err(MigrateError::VersionMissing(version).into()),
            Some(_) if success == 0 => return Err(MigrateError::Dirty(version).into()),
            Some(migration) if *migration.checksum != *checksum => return Err(MigrateError::VersionMismatch(version).into()),
            Some(_) => {}
        }
    }
    let all = applied.len() == MIGRATIONS.iter().count();
    Ok(if all { "it answers" } else { "it answers, and its schema will be brought up to date" })
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
            "sqlite::memory:",
            "sqlite://var/app.db?mode=memory",
            "sqlite://",
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
    async fn a_database_of_another_version_is_not_one_to_start_on() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}/app.db", folder.path().display());
        assert_eq!(reach(&url).await.unwrap(), "its file will be made");
        assert!(reach(&format!("{url}?mode=rw")).await.is_err(), "which would make none");
        let background = crate::background::Background::start().unwrap();
        drop(super::super::Database::open(&url, background).await.unwrap());
        assert_eq!(reach(&url).await.unwrap(), "it answers");
        let mut connection = AnyConnection::connect(&url).await.unwrap();
        let tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
        let mut tables: Vec<String> = sqlx::query_scalar(tables).fetch_all(&mut connection).await.unwrap();
        let mut known: Vec<&str> = TABLES.split(',').collect();
        known.sort_unstable();
        tables.sort_unstable();
        assert_eq!(tables, known);
        connection.execute("UPDATE _sqlx_migrations SET checksum = X'00' WHERE version = 1").await.unwrap();
        let why = reach(&url).await.unwrap_err().to_string();
        assert_eq!(why, "the migration failed: migration 1 was previously applied but has been modified");
        connection.execute("UPDATE _sqlx_migrations SET success = FALSE WHERE version = 1").await.unwrap();
        assert!(reach(&url).await.unwrap_err().to_string().contains("migration 1 is partially applied"));
        connection.execute("UPDATE _sqlx_migrations SET version = 99999999999999 WHERE version = 1").await.unwrap();
        assert!(matches!(reach(&url).await, Err(Error::Migration(_))));
        connection.execute("DELETE FROM _sqlx_migrations").await.unwrap();
        assert_eq!(reach(&url).await.unwrap(), "it answers, and its schema will be brought up to date");
        connection.execute("DROP TABLE _sqlx_migrations").await.unwrap();
        assert_eq!(reach(&url).await.unwrap(), "it answers, and its schema will be made");
    }
}
