//! Database URLs: validation, and what follows from them without a connection.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use sqlx::sqlite::SqliteConnectOptions;
use url::{Host, Url};

use super::{ConnectConfig, Error};
use crate::secret::{Secret, files};

/// The parameters of PostgreSQL URLs that sqlx understands. It ignores all others, and logs them with their values.
const SUPPORTED: &str = "host hostaddr port dbname user password application_name options statement-cache-capacity";
/// The same that name a file.
const FILES: &str = "sslrootcert ssl-root-cert ssl-ca sslcert ssl-cert sslkey ssl-key";
/// libpq's limits of time, which have no effect: those of this server are shorter. The application name is never missing.
const IGNORED: &str = "connect_timeout keepalives keepalives_idle keepalives_interval keepalives_count tcp_user_timeout \
     fallback_application_name";
/// The modes of TLS, by increasing safety.
const SSL_MODES: &str = "disable allow prefer require verify-ca verify-full";
/// Parameters of libpq, JDBC and Prisma, the values that are supported, if any, and the alternative to other values.
const RESTRICTED: &[(&str, &str, &str)] = &[
    ("channel_binding", "disable prefer", "use sslmode=verify-full, which detects other servers too"),
    ("target_session_attrs", "any primary read-write", "the server writes, and leaves a database that is read-only"),
    ("ssl", "true", "use sslmode=disable"),
    ("sslnegotiation", "postgres", "a direct negotiation is not supported"),
    ("sslcompression", "0", "TLS is never compressed"),
    ("sslsni", "1", "the host name is always sent"),
    ("sslcertmode", "allow", "use sslcert and sslkey"),
    ("gssencmode", "disable prefer", "use sslmode"),
    ("load_balance_hosts", "disable", "there is one host"),
    ("client_encoding", "UTF8 utf8 UTF-8 utf-8 auto", "the server speaks UTF-8"),
    ("requiressl", "", "use sslmode=require"),
    ("sslaccept", "", "use sslmode=verify-full"),
    ("sslpassword", "", "use a key without a password, in a private file"),
    ("passwd", "", "use password"),
    ("passfile", "", "set PGPASSFILE in the environment"),
    ("service", "", "write its parameters into the URL"),
    ("ApplicationName", "", "use application_name"),
    ("schema", "", "use options[search_path]"),
    ("currentSchema", "", "use options[search_path]"),
    ("search_path", "", "use options[search_path]"),
];

impl ConnectConfig {
    /// Returns the configuration with the URL in the form that sqlx connects to.
    pub(super) fn connectable(self) -> Result<Self, Error> {
        let url = connectable_url(self.url.expose(), &self.application_name).map_err(Error::Url)?;
        Ok(Self { url: Secret::new(url), ..self })
    }
}

/// Checks that a text is the URL of a writable database. The error never quotes a value: it may be a password.
///
/// # Errors
///
/// A sentence on what it must be.
pub(crate) fn validate_url(url: &str) -> Result<(), String> {
    connectable_url(url, "").map(drop)
}

/// Returns the URL in the form that sqlx connects to, with the application name unless it has one.
///
/// # Errors
///
/// As [`validate_url`].
fn connectable_url(url: &str, application_name: &str) -> Result<String, String> {
    if is_sqlite(url) {
        validate_sqlite_url(url)?;
        return Ok(url.to_owned());
    }
    connectable_postgresql_url(url, application_name)
}

fn validate_sqlite_url(url: &str) -> Result<(), &'static str> {
    let contains = |parts: &[&str]| parts.iter().any(|part| url.contains(part));
    let options = SqliteConnectOptions::from_str(url).map_err(|_| "must have valid parameters of SQLite URLs only")?;
    if options.get_filename().as_os_str().is_empty() || contains(&[":memory:", "mode=memory"]) {
        return Err("must name a file, as sqlite://path/to/file does");
    }
    if contains(&["mode=ro", "immutable="]) { Err("must be a writable database") } else { Ok(()) }
}

fn connectable_postgresql_url(url: &str, application_name: &str) -> Result<String, String> {
    let (named, has_host) = with_host(url);
    // A piece of a password that is not encoded may look like a fragment, a path or a parameter.
    let parsed = Url::parse(&named).ok().filter(|url| url.fragment().is_none() && !url.path().contains('@'));
    let mut parsed =
        parsed.ok_or("must be a URL, with a port up to 65535 and special characters of the password percent-encoded")?;
    let mut may_be_quoted = !parsed.query().unwrap_or_default().contains('@');
    let mut pairs = Vec::new();
    for (name, value) in parsed.query_pairs() {
        if !is_supported(&name) {
            let quoted = format!("must not have the parameter {name}, which is not supported");
            let unquoted = "must have supported parameters only, and special characters percent-encoded";
            return Err(if may_be_quoted { quoted } else { unquoted.to_owned() });
        }
        may_be_quoted &= name != "password";
        pairs.extend(convert(&name, &value)?);
    }
    let names_host = pairs.iter().any(|(name, _)| name == "host" || name == "hostaddr");
    if !has_host && !names_host {
        return Err("must name a host".to_owned());
    }
    let hosts = pairs.iter().filter(|(name, _)| name == "host").map(|(_, value)| value.as_str());
    if hosts.chain(parsed.host_str()).any(|host| host.contains(',')) {
        return Err("must name one host: the proxy or the DNS name that leads to the primary".to_owned());
    }
    // sqlx would look up the address with its brackets.
    if let (Some(Host::Ipv6(address)), false) = (parsed.host(), names_host) {
        pairs.push(("hostaddr".to_owned(), address.to_string()));
    }
    if !application_name.is_empty() && !pairs.iter().any(|(name, _)| name == "application_name") {
        pairs.push(("application_name".to_owned(), application_name.to_owned()));
    }
    parsed.set_query(None);
    if !pairs.is_empty() {
        parsed.query_pairs_mut().extend_pairs(pairs);
    }
    let valid = PgConnectOptions::from_str(parsed.as_str());
    valid.map_err(|_| "must have a number as port and statement-cache-capacity, and an address as hostaddr")?;
    Ok(parsed.into())
}

/// Returns the URL with a host, and whether it had one.
///
/// The standard requires a host after a user.
fn with_host(url: &str) -> (String, bool) {
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((user, port)) if port.is_empty() || port.starts_with(':') => {
            (format!("{scheme}://{user}@localhost{port}{path}"), false)
        }
        _ => (url.to_owned(), true),
    }
}

fn is_in(names: &str, name: &str) -> bool {
    names.split_whitespace().any(|known| known == name)
}

/// Returns whether there is a supported value of a parameter, or an alternative.
fn is_supported(name: &str) -> bool {
    let is_option = name.starts_with("options[") && name.ends_with(']');
    let is_restricted = || RESTRICTED.iter().any(|(known, ..)| *known == name);
    let is_listed = || ["sslmode ssl-mode", FILES, SUPPORTED, IGNORED].iter().any(|names| is_in(names, name));
    is_option || is_restricted() || is_listed()
}

/// Returns the parameter that sqlx gets for one of libpq's, or none.
fn convert(name: &str, value: &str) -> Result<Option<(String, String)>, String> {
    let restricted = RESTRICTED.iter().find(|(known, ..)| *known == name);
    if let Some((_, values, alternative)) = restricted {
        if values.is_empty() {
            return Err(format!("must not have the parameter {name}: {alternative}"));
        }
        if !is_in(values, value) {
            let values = values.replace(' ', " or ");
            return Err(format!("must have {values} as {name}, or not name it: {alternative}"));
        }
        return Ok((name == "ssl").then(|| ("sslmode".to_owned(), "require".to_owned())));
    }
    if is_in(FILES, name) && !value.starts_with("-----BEGIN") {
        if value == "system" {
            return Err(format!("must have the path of a file as {name}, such as /etc/ssl/certs/ca-certificates.crt"));
        }
        // Opening a FIFO or a device would block.
        files::require_regular(Path::new(value))
            .map_err(|error| format!("must have the path of a regular file as {name}: {error}"))?;
    } else if matches!(name, "sslmode" | "ssl-mode") && !is_in(SSL_MODES, value) {
        return Err(format!("must have one of {} as {name}", SSL_MODES.replace(' ', ", ")));
    } else if is_in(IGNORED, name) {
        return Ok(None);
    }
    Ok(Some((name.to_owned(), value.to_owned())))
}

/// Returns the host of a PostgreSQL URL, unless its certificate is verified or it is a socket.
pub(crate) fn host_without_verified_tls(url: &str) -> Option<String> {
    let url = connectable_url(url, "").ok().filter(|url| !url.starts_with("sqlite:"))?;
    let options = PgConnectOptions::from_str(&url).ok()?;
    let is_socket = options.get_socket().is_some() || options.get_host().starts_with('/');
    let is_verified = matches!(options.get_ssl_mode(), PgSslMode::VerifyFull);
    (!is_socket && !is_verified).then(|| options.get_host().to_owned())
}

/// Returns whether a URL is of SQLite.
pub(super) fn is_sqlite(url: &str) -> bool {
    url.starts_with("sqlite:")
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
            "postgres://ann:12?canary=x@host/db",
            "postgres://ann:12#canary@host/db",
            "postgres://ann:12/canary@host/db",
            "postgres://host/db?password=x&canary=y",
            "postgres://host/db?password=x&canary",
            "postgres://ann:canary@/db",
            "postgres://ann:canary@[::1/db",
            "postgres://ann:canary@one,two/db",
            "postgres://host/db?host=one,two",
            "postgres://host/db?sslmode=canary",
            "postgres://host/db?port=canary",
            "postgres://host/db?hostaddr=canary",
            "postgres://host/db?passwd=canary",
            "postgres://host/db?sslrootcert=/dev/zero",
            "postgres://host/db?sslrootcert=/canary.pem",
        ] {
            let message = validate_url(url).unwrap_err();
            assert!(message.starts_with("must ") && !message.contains("canary"), "{url}: {message}");
        }
    }

    #[test]
    fn libpq_parameter_is_accepted_or_named_with_an_alternative() {
        let with = |query: &str| format!("postgres://host/db?{query}");
        for (query, connects) in [
            ("connect_timeout=10&keepalives_idle=30&tcp_user_timeout=5000", ""),
            ("target_session_attrs=read-write&channel_binding=prefer&gssencmode=disable", ""),
            ("sslsni=1&sslcompression=0&client_encoding=UTF8&load_balance_hosts=disable", ""),
            ("ssl=true&connect_timeout=10", "?sslmode=require"),
            ("host=%2Frun%2Fpostgresql&port=5433", "?host=%2Frun%2Fpostgresql&port=5433"),
        ] {
            assert_eq!(
                connectable_url(&with(query), "").as_deref(),
                Ok(&*format!("postgres://host/db{connects}")),
                "{query}"
            );
        }
        for (query, expected) in [
            (
                "channel_binding=require",
                "must have disable or prefer as channel_binding, or not name it: use sslmode=verify-full",
            ),
            ("target_session_attrs=standby", "must have any or primary or read-write as target_session_attrs"),
            ("ssl=false", "must have true as ssl, or not name it: use sslmode=disable"),
            ("sslmode=on", "must have one of disable, allow, prefer, require, verify-ca, verify-full as sslmode"),
            (
                "sslrootcert=system",
                "must have the path of a file as sslrootcert, such as /etc/ssl/certs/ca-certificates.crt",
            ),
            ("sslrootcert=/no/such.pem", "must have the path of a regular file as sslrootcert: No such file"),
            ("passfile=/x", "must not have the parameter passfile: set PGPASSFILE in the environment"),
            ("schema=x", "must not have the parameter schema: use options[search_path]"),
            ("sslcrl=x", "must not have the parameter sslcrl, which is not supported"),
            ("password=x&ssl=false", "must have true as ssl, or not name it"),
        ] {
            let message = validate_url(&with(query)).unwrap_err();
            assert!(message.starts_with(expected), "{query}: {message}");
        }
    }

    #[test]
    fn ipv6_host_loses_its_brackets_and_socket_needs_no_host() {
        for (url, connects) in [
            ("postgres://u:p@[::1]:5433/db", "postgres://u:p@[::1]:5433/db?hostaddr=%3A%3A1"),
            (
                "postgres://u@[2001:DB8::1]/db?ssl=true",
                "postgres://u@[2001:db8::1]/db?sslmode=require&hostaddr=2001%3Adb8%3A%3A1",
            ),
            ("postgres://[::1]/db?host=%3A%3A2", "postgres://[::1]/db?host=%3A%3A2"),
            ("postgres://u:p@/db?host=/sock", "postgres://u:p@localhost/db?host=%2Fsock"),
            ("postgres://u:p@:5433/db?host=/sock", "postgres://u:p@localhost:5433/db?host=%2Fsock"),
            ("postgres:///db?host=/sock&user=u", "postgres:///db?host=%2Fsock&user=u"),
        ] {
            assert_eq!(connectable_url(url, "").as_deref(), Ok(connects));
            assert_eq!(validate_url(connects), Ok(()), "{connects}");
        }
        let options = |url: &str| PgConnectOptions::from_str(&connectable_url(url, "").unwrap()).unwrap();
        assert_eq!(options("postgres://u:p@[::1]:5433/db").get_host(), "::1");
        assert_eq!(options("postgres://u:p@/db?host=/sock").get_socket().unwrap(), Path::new("/sock"));
    }

    #[test]
    fn host_without_verified_tls_is_known() {
        for (url, host) in [
            ("postgres://ann:canary@db.example.com/x", Some("db.example.com")),
            ("postgres://db.example.com/x?sslmode=verify-ca", Some("db.example.com")),
            ("postgres://db.example.com/x?sslmode=verify-full", None),
            ("postgres://[2001:db8::1]/x?ssl=true", Some("2001:db8::1")),
            ("postgres://%2Frun%2Fpostgresql/x", None),
            ("postgres://ann@/x?host=/run/postgresql", None),
            ("sqlite://db.example.com/x", None),
        ] {
            assert_eq!(host_without_verified_tls(url).as_deref(), host, "{url}");
        }
    }
}
