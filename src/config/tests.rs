//! Unit tests of the configuration.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::secret::Secret;

const SECRET: &str = "kX9!vQ2mZ7#rT4wY8uB1nC5pL0sD3fGh";

fn load(variables: &[(&str, &str)]) -> Result<Config, String> {
    let environment = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let config = Config::load(&environment, None).map_err(|error| error.to_string())?;
    config.validate().map_err(|error| error.to_string())?;
    Ok(config)
}

fn load_with(name: &str, value: &str) -> Result<Config, String> {
    let mut variables = vec![("APP_ADMIN_CONTROL__BASE_URL", "http://127.0.0.1:1/api"), ("APP_AUTH__JWT_SECRET", SECRET)];
    variables.retain(|(known, _)| *known != name);
    variables.push((name, value));
    load(&variables)
}

#[test]
fn missing_required_settings_are_named_with_examples() {
    let problems = load(&[]).unwrap_err();
    assert_eq!(problems.lines().count(), 2, "{problems}");
    assert!(problems.contains("APP_ADMIN_CONTROL__BASE_URL is required; for example APP_ADMIN_CONTROL__BASE_URL=https://"));
    assert!(problems.contains("APP_AUTH__JWT_SECRET is required; for example"));
}

#[test]
fn unknown_setting_is_rejected_by_name() {
    for (variable, named) in [
        ("APP_SERVERR__LISTEN", "APP_SERVERR"),
        ("APP_SERVER__LISTEM", "APP_SERVER__LISTEM"),
        ("APP_WORKERS", "APP_WORKERS"),
    ] {
        let problem = load_with(variable, "1").unwrap_err();
        assert!(problem.starts_with(&format!("{named} is not a setting")), "{problem}");
    }
    assert!(load_with("APPLE", "1").is_ok() && load_with("PATH", "1").is_ok());
}

#[test]
fn unknown_pooler_mode_is_rejected() {
    let problem = load_with("APP_DATABASE__POOLER", "session").unwrap_err();
    assert!(problem.starts_with("APP_DATABASE__POOLER "), "{problem}");
}

#[test]
fn invalid_value_is_named_and_not_quoted() {
    for (name, value) in [
        ("APP_SERVER__LISTEN", "localhost"),
        ("APP_SERVER__WORKERS", "0"),
        ("APP_SERVER__WORKERS", "513"),
        ("APP_ADMIN_CONTROL__MAX_IN_FLIGHT", "18446744073709551615"),
        ("APP_SERVER__REQUEST_TIMEOUT", "30"),
        ("APP_SERVER__REQUEST_TIMEOUT", "0s"),
        ("APP_SERVER__TRUSTED_PROXIES", "10.0.0.0/33"),
        ("APP_SERVER__CORS_ORIGINS", "https://good.example/path"),
        ("APP_SERVER__CORS_ORIGINS", "https://good.example,https://*.example.com"),
        ("APP_SERVER__CORS_ORIGINS", "*"),
        ("APP_SERVER__CORS_ORIGINS", "ftp://good.example"),
        ("APP_SERVER__CORS_ORIGINS", "https://good.example:443"),
        ("APP_SERVER__TRUSTED_PROXIES", "10.0.0.0/8,"),
        ("APP_GUESTS__ROLES", ","),
        ("APP_USERS__MIN_PASSWORD", "7"),
        ("APP_USERS__MIN_PASSWORD", "65"),
        ("APP_USERS__MIN_PASSWORD", "canary"),
        ("APP_AUTH__TOKEN_TTL", "31d"),
        ("APP_ADMIN_CONTROL__BASE_URL", "admin.example.com/api"),
        ("APP_ADMIN_CONTROL__BASE_URL", "ftp://admin.example.com"),
        ("APP_ADMIN_CONTROL__BASE_URL", "https://user:canary@admin.example.com"),
        ("APP_ADMIN_CONTROL__BASE_URL", "https://admin.example.com/api?canary"),
        ("APP_ADMIN_CONTROL__AUTHORIZATION", "canary\r\nX: y"),
        ("APP_AUTH__JWT_SECRET", "canary"),
        ("APP_AUTH__JWT_SECRET", "                                        "),
        ("APP_AUTH__JWT_SECRET", "canarycanarycanarycanarycanarycanary"),
        ("APP_AUTH__JWT_SECRET", "canary,kX9vQ2mZ7rT4wY8uB1nC5pL0sD3fGh"),
        ("APP_AUTH__PREVIOUS_JWT_SECRETS", "canary"),
        ("APP_AUTH__TOKEN_TTL", "canary"),
        ("APP_AUTH__TOKEN_TTL", "900ms"),
        ("APP_AUTH__REFRESH_GRACE", "61s"),
        ("APP_GUESTS__TOKEN_TTL", "900ms"),
        ("APP_AUTH__REFRESH_TTL", "900ms"),
        ("APP_AUTH__TOKEN_TTL", "1000000000000d"),
        ("APP_GUESTS__ENABLED", "maybe"),
        ("APP_DATABASE__URL", "mysql://canary"),
        ("APP_DATABASE__MAX_CONNECTIONS", "0"),
        ("APP_DATABASE__APPLICATION_NAME", "canary \u{e9}"),
        ("APP_DATABASE__APPLICATION_NAME", "canary canary canary canary canary canary canary canary canary 64"),
        ("APP_SUMMARIES__URL", "https://canary"),
        ("APP_LOG__FORMAT", "canary"),
        ("APP_DATABASE__POOLER", "canary"),
        // With the default database, SQLite.
        ("APP_DATABASE__POOLER", "transaction"),
        ("APP_ROOMS__NAMES", "canary"),
    ] {
        let problem = load_with(name, value).unwrap_err();
        let starts = [format!("{name} must "), format!("{name} is not valid: ")];
        assert!(starts.iter().any(|start| problem.starts_with(start)) && !problem.contains("canary"), "{problem}");
    }
}

#[test]
fn invalid_address_is_rejected_with_examples() {
    let listen = "must be an address and a port, such as 127.0.0.1:8080 or [::1]:8080";
    let proxies = "must be networks, such as 10.0.0.0/8 or ::1/128";
    for (name, value, problem) in [
        ("APP_SERVER__LISTEN", "::1:8080", listen),
        ("APP_MANAGEMENT__LISTEN", "localhost:9090", listen),
        ("APP_SERVER__TRUSTED_PROXIES", "::1", proxies),
        ("APP_SERVER__TRUSTED_PROXIES", "10.0.0.0/8,10.0.0.0/33", proxies),
    ] {
        assert_eq!(load_with(name, value).unwrap_err(), format!("{name} {problem}\n"), "{value}");
    }
}

#[test]
fn unwise_combinations_are_warned_of() {
    let invitations = ("APP_GUESTS__INVITATIONS", "required");
    let needed = [("APP_ADMIN_CONTROL__BASE_URL", "http://127.0.0.1:1/api"), ("APP_AUTH__JWT_SECRET", SECRET), invitations];
    let load_with = |name, value| load(&[&needed[..], &[(name, value)]].concat());
    assert_eq!(load(&needed).unwrap().warnings(), [""; 0]);
    let warnings = load(&needed[..2]).unwrap().warnings();
    assert!(matches!(warnings[..], [text] if text.starts_with("APP_GUESTS__INVITATIONS is optional")), "{warnings:?}");
    for (name, value) in [
        ("APP_USERS__MIN_PASSWORD", "8"),
        ("APP_USERS__MIN_PASSWORD", "64"),
        ("APP_AUTH__TOKEN_TTL", "30d"),
        ("APP_SERVER__CORS_ORIGINS", "https://app.example.com,http://localhost:3000,https://[::1]:8443"),
        ("APP_CACHE__REDIS_URL", "redis://:secret@[::1]:6379"),
        ("APP_CACHE__REDIS_URL", "redis://localhost"),
        ("APP_CACHE__REDIS_URL", "rediss://cache.example.com"),
    ] {
        assert_eq!(load_with(name, value).unwrap().warnings(), [""; 0], "{name}={value}");
    }
    let no_guests = load(&[&needed[..], &[("APP_GUESTS__ROLES", "owner"), ("APP_GUESTS__ENABLED", "false")]].concat());
    assert_eq!(no_guests.unwrap().warnings(), [""; 0], "there are no guests");
    for (name, value, warning) in [
        ("APP_SERVER__REQUEST_TIMEOUT", "15s", "APP_ADMIN_CONTROL__TIMEOUT is not below APP_SERVER__REQUEST_TIMEOUT"),
        ("APP_ADMIN_CONTROL__CONNECT_TIMEOUT", "15s", "APP_ADMIN_CONTROL__CONNECT_TIMEOUT is not below"),
        ("APP_SERVER__SHUTDOWN_TIMEOUT", "29s", "APP_SERVER__SHUTDOWN_TIMEOUT is below APP_SERVER__REQUEST_TIMEOUT"),
        ("APP_SERVER__TRUSTED_PROXIES", "10.0.0.0/8,::/0", "APP_SERVER__TRUSTED_PROXIES contains"),
        ("APP_GUESTS__ROLES", "member,owner", "APP_GUESTS__ROLES contains owner"),
        ("APP_GUESTS__ROLES", "membr", "APP_GUESTS__ROLES contains a role other than"),
        ("APP_USERS__ROLES", "ownr,member", "APP_USERS__ROLES contains a role other than"),
        ("APP_SERVER__KEEP_ALIVE", "60s", "APP_SERVER__KEEP_ALIVE is not above 60s"),
        ("APP_CACHE__REDIS_URL", "redis://127.example.com", "APP_CACHE__REDIS_URL is redis:// to another host"),
        ("APP_ROOMS__WEBHOOK_URL", "https://app.example.com/access", "APP_ROOMS__ACCESS is not webhook"),
        ("APP_ROOMS__WEBHOOK_SECRET", "whsec_c2FuZGJveCB3ZWJob29rLCBub3Qgc2VjcmV0IQ==", "APP_ROOMS__ACCESS is not webhook"),
        ("APP_AUTH__PASSWORD_LOGIN", "false", "APP_AUTH__PASSWORD_LOGIN is false without APP_OIDC__ISSUER"),
    ] {
        let warnings = load_with(name, value).unwrap().warnings();
        assert!(matches!(warnings[..], [text] if text.starts_with(warning)), "{name}: {warnings:?}");
    }
    for (url, is_unwise) in [
        ("http://admin.example.com/api", true),
        ("http://[fd00::1]/api", true),
        ("http://[::1]/api", false),
        ("http://127.0.0.2/api", false),
        ("https://admin.example.com/api", false),
    ] {
        let mut settings = vec![needed[1], invitations, ("APP_ADMIN_CONTROL__BASE_URL", url)];
        assert_eq!(load(&settings).unwrap().warnings(), [""; 0], "nothing secret is sent to {url}");
        settings.push(("APP_ADMIN_CONTROL__AUTHORIZATION", "Bearer x"));
        let warnings = load(&settings).unwrap().warnings();
        assert_eq!(warnings.len(), usize::from(is_unwise), "{url}: {warnings:?}");
        assert!(warnings.iter().all(|warning| warning.starts_with("APP_ADMIN_CONTROL__BASE_URL is http:// ")));
    }
}

#[test]
fn unknown_role_in_the_map_is_warned_of() {
    let needed = [
        ("APP_ADMIN_CONTROL__BASE_URL", "http://127.0.0.1:1/api"),
        ("APP_AUTH__JWT_SECRET", SECRET),
        ("APP_GUESTS__INVITATIONS", "required"),
        ("APP_OIDC__ISSUER", "https://id.example.com"),
        ("APP_OIDC__AUDIENCE", "proconf"),
        ("APP_OIDC__ROLES_CLAIM", "roles"),
        ("APP_AUTH__PASSWORD_LOGIN", "false"),
    ];
    for (map, expected) in [("admin=owner,host=member", 0), ("admin=owner,host=moderatr", 1)] {
        let warnings = load(&[&needed[..], &[("APP_OIDC__ROLES_MAP", map)]].concat()).unwrap().warnings();
        assert_eq!(warnings.len(), expected, "{warnings:?}");
        assert!(warnings.iter().all(|warning| warning.starts_with("APP_OIDC__ROLES_MAP contains a role")));
    }
}

#[test]
fn empty_variable_is_unset() {
    assert_eq!(load_with("APP_SERVER__LISTEN", "").unwrap().server.listen.port(), 8080);
    assert!(load_with("APP_AUTH__JWT_SECRET", "").unwrap_err().contains("is required"));
}

#[test]
fn numeric_secret_keeps_its_zeros_and_is_not_shown() {
    let settings = load_with("APP_ADMIN_CONTROL__AUTHORIZATION", "0012345").unwrap();
    assert_eq!(settings.admin_control.authorization.as_ref().map(Secret::expose), Some("0012345"));
    let shown = format!("{settings:?}{:?}", settings.redacted());
    assert!(!shown.contains("12345") && !shown.contains("kX9"), "{shown}");
}

#[test]
fn weak_secret_is_rejected() {
    for secret in [
        "00123456789012345678901234567890",
        "31415926535897932384626433832795028841971693993751",
        "0123456789abcdef0123456789abcdef",
        "deadbeefdeadbeefdeadbeefdeadbeefdeadbeef",
        "changeme-please-changeme-please-changeme",
        "my-secret-key-1my-secret-key-1my-secret-key-1",
        "correct horse battery staplecorrect horse battery staple",
        "abcdefghijklmnopqrstuvwxyz123456",
        "0123456789abcdefghijklmnopqrstuvwxyz",
        "zyxwvutsrqponmlkjihgfedcba9876543210",
        "a-string-secret-at-least-256-bits-long",
        "A-String-Secret-At-Least-256-Bits-Long",
    ] {
        for name in ["APP_AUTH__JWT_SECRET", "APP_AUTH__PREVIOUS_JWT_SECRETS"] {
            let problem = load_with(name, secret).unwrap_err();
            assert!(problem.starts_with(&format!("{name} must be random: ")), "{secret}: {problem}");
            assert!(!problem.contains(secret), "{problem}");
        }
    }
    let alphabets: [&[u8]; 3] = [
        b"0123456789abcdef",
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
        b"abcdefghijklmnopqrstuvwxyz234567",
    ];
    for alphabet in alphabets {
        for _ in 0..1_000 {
            // As `openssl rand -hex 32`, `-base64 48` and similar commands make them.
            let secret: String =
                (0..64).map(|_| char::from(alphabet[usize::from(rand::random::<u8>()) % alphabet.len()])).collect();
            assert_eq!(secret_strength::check(&secret), Ok(()), "{secret}");
        }
    }
    let digits = |length| (0..length).map(|_| char::from(b'0' + rand::random::<u8>() % 10)).collect::<String>();
    assert!(secret_strength::check(&digits(77)).is_err(), "fewer than 256 bits");
    assert_eq!(secret_strength::check(&digits(78)), Ok(()));
}

#[test]
fn environment_overrides_file_and_file_overrides_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("settings.toml");
    let file = "[server]\nworkers = 3\nkeep_alive = \"9s\"\n[guests]\nroles = [\"member\", \"listener\"]\nenabled = false\n";
    fs::write(&path, file).unwrap();
    let environment = BTreeMap::from([
        ("APP_ADMIN_CONTROL__BASE_URL".to_owned(), "http://127.0.0.1:1/api//".to_owned()),
        ("APP_AUTH__JWT_SECRET".to_owned(), SECRET.to_owned()),
        ("APP_SERVER__WORKERS".to_owned(), "5".to_owned()),
    ]);
    let config = Config::load(&environment, Some(&path)).unwrap();
    assert_eq!(config.guests.roles[..], ["member", "listener"]);
    assert_eq!(config.server.workers.map(NonZeroU16::get), Some(5));
    assert_eq!(config.server.keep_alive, Duration::from_secs(9));
    assert!(!config.guests.enabled);
    assert_eq!(config.admin_control.base_url, "http://127.0.0.1:1/api");
}

#[test]
fn invalid_file_is_named_and_not_quoted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("settings.toml");
    let at = |key: &str| format!("{}: {key} ", path.display());
    for (text, expected) in [
        ("[server]\nlistem = \"x\"\n", at("server.listem") + "is not a setting"),
        ("[serverr]\na = 1\n", at("serverr") + "is not a setting"),
        ("[live]\nevery = \"1s\"\n", at("live.every") + "was renamed to APP_LIVE__POLL_INTERVAL"),
        ("[log.format]\nx = 1\n", at("log.format")),
        ("[server]\nlisten = [\"127.0.0.1:1\"]\n", at("server.listen") + "must be"),
        ("[guests]\nroles = 5\n", at("guests.roles") + "must be a list"),
        ("[guests]\nroles = [\"\"]\n", at("guests.roles") + "must have no empty element"),
        ("[auth]\njwt_secret = \"canary\"\n", at("auth.jwt_secret") + "must be 32 bytes"),
        ("[auth]\njwt_secret = \"canary", "--config ".to_owned()),
    ] {
        fs::write(&path, text).unwrap();
        let problem = Config::load(&BTreeMap::new(), Some(&path)).err().unwrap().to_string();
        assert!(problem.starts_with(&expected) && !problem.contains("canary"), "{problem}");
    }
    let overridden = [("APP_AUTH__JWT_SECRET".to_owned(), "canary".to_owned())].into();
    fs::write(&path, "[auth]\njwt_secret = \"canary\"\n").unwrap();
    let problem = Config::load(&overridden, Some(&path)).err().unwrap().to_string();
    assert!(problem.starts_with("APP_AUTH__JWT_SECRET must"), "the variable wins: {problem}");
    for unreadable in [folder.path().join("none.toml"), folder.path().to_owned(), "/dev/zero".into()] {
        let problem = Config::load(&BTreeMap::new(), Some(&unreadable)).err().unwrap().to_string();
        assert!(problem.starts_with("--config ") && problem.contains("cannot be read"), "{problem}");
    }
}

/// Writes a file of one value; returns its path.
fn value_file(folder: &tempfile::TempDir, name: &str, content: impl AsRef<[u8]>) -> String {
    let path: PathBuf = folder.path().join(name);
    fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn setting_is_read_from_the_file_that_its_variable_names() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| value_file(&folder, name, content);
    let long = format!("Bearer {}", "x".repeat((64 << 10) - 7));
    let (secret, url, authorization) =
        (file("secret", &format!("{SECRET}\n")), file("url", "postgres://a:b@127.0.0.1/db\r\n"), file("key", &long));
    let previous = file("previous", &format!("{SECRET}a, {SECRET}b\n"));
    let (key, token) = (file("aws", "key of S3\n"), file("token", "token of S3"));
    let config = load(&[
        ("APP_ADMIN_CONTROL__BASE_URL", "http://127.0.0.1:1/api"),
        ("APP_ADMIN_CONTROL__AUTHORIZATION_FILE", &authorization),
        ("APP_AUTH__JWT_SECRET_FILE", &secret),
        ("APP_AUTH__JWT_SECRET", ""),
        ("APP_AUTH__PREVIOUS_JWT_SECRETS_FILE", &previous),
        ("APP_DATABASE__URL_FILE", &url),
        ("APP_SERVER__WORKERS_FILE", &file("workers", "3\n")),
        ("APP_SUMMARIES__URL", "s3://bucket"),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY_FILE", &key),
        ("AWS_WEB_IDENTITY_TOKEN_FILE", &token),
    ])
    .unwrap();
    assert_eq!(config.auth.jwt_secret.expose(), SECRET);
    assert_eq!(config.auth.previous_jwt_secrets.iter().map(Secret::expose).collect::<Vec<_>>().len(), 2);
    assert_eq!(config.database.url.expose(), "postgres://a:b@127.0.0.1/db");
    assert_eq!(config.admin_control.authorization.as_ref().map(Secret::expose), Some(long.as_str()));
    assert_eq!(config.server.workers.map(NonZeroU16::get), Some(3));
    let aws: Vec<(&str, &str)> =
        config.summaries.variables.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
    assert_eq!(
        aws,
        [
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_SECRET_ACCESS_KEY", "key of S3"),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", token.as_str())
        ]
    );
    for (name, path) in [("APP_AUTH__JWT_SECRET", &secret), ("APP_DATABASE__URL", &url), ("AWS_SECRET_ACCESS_KEY", &key)] {
        assert_eq!(config.sources.value_file(name), Some(path.as_str()));
    }

    let toml = file("settings.toml", &format!("[auth]\njwt_secret_file = {secret:?}\n"));
    let config = Config::load(&BTreeMap::new(), Some(toml.as_ref())).unwrap();
    assert_eq!(config.auth.jwt_secret.expose(), SECRET);
    assert_eq!(config.sources.name_of("APP_AUTH__JWT_SECRET"), format!("{toml}: auth.jwt_secret_file ({secret})"));
}

#[test]
fn unusable_value_file_is_named_and_not_quoted() {
    let folder = tempfile::tempdir().unwrap();
    let weak = value_file(&folder, "weak", "canary");
    for (path, expected) in [
        (folder.path().join("none").to_str().unwrap().to_owned(), "can't be read: No such file"),
        (folder.path().to_str().unwrap().to_owned(), "can't be read: not a regular file"),
        (value_file(&folder, "empty", ""), "is empty"),
        (value_file(&folder, "line", "\n"), "is empty"),
        (value_file(&folder, "large", "canary".repeat(11_000)), "is larger than 64 KiB"),
        (value_file(&folder, "bytes", b"canary\xff"), "is not UTF-8"),
        (weak.clone(), "must be 32 bytes or more"),
    ] {
        let variables = [("APP_AUTH__JWT_SECRET_FILE", path.as_str())];
        let problem = load(&variables).unwrap_err();
        assert!(problem.starts_with(&format!("APP_AUTH__JWT_SECRET_FILE ({path}) {expected}")), "{problem}");
        assert!(!problem.contains("canary"), "{problem}");
    }
    let problem = load_with("AWS_ACCESS_KEY_ID_FILE", "/no/such").unwrap_err();
    assert!(problem.starts_with("AWS_ACCESS_KEY_ID_FILE (/no/such) can't be read"), "{problem}");
    for name in ["APP_AUTH__NO_SUCH_FILE", "APP_AUTH_FILE", "APP_AUTH__JWT_SECRET_FILE_FILE"] {
        let problem = load_with(name, &weak).unwrap_err();
        assert!(problem.starts_with(&format!("{name} is not a setting")), "{problem}");
    }
}

#[test]
fn value_given_twice_is_rejected_and_both_sources_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let secret = value_file(&folder, "secret", SECRET);
    let problem = load(&[("APP_AUTH__JWT_SECRET_FILE", &secret), ("APP_AUTH__JWT_SECRET", SECRET)]).unwrap_err();
    assert_eq!(problem, "APP_AUTH__JWT_SECRET and APP_AUTH__JWT_SECRET_FILE are both set\n");
    let problem = load_with("AWS_SESSION_TOKEN_FILE", &secret);
    assert!(problem.is_ok());
    let problem = load(&[("AWS_SESSION_TOKEN_FILE", &secret), ("AWS_SESSION_TOKEN", SECRET)]).unwrap_err();
    assert_eq!(problem, "AWS_SESSION_TOKEN and AWS_SESSION_TOKEN_FILE are both set\n");
    let toml = value_file(&folder, "settings.toml", format!("[auth]\njwt_secret = {SECRET:?}\n"));
    let environment = [("APP_AUTH__JWT_SECRET_FILE".to_owned(), secret)].into();
    let problem = Config::load(&environment, Some(toml.as_ref())).err().unwrap().to_string();
    assert_eq!(problem, format!("{toml}: auth.jwt_secret and APP_AUTH__JWT_SECRET_FILE are both set\n"));
}

#[test]
fn log_format_is_known_even_if_the_settings_are_invalid() {
    let folder = tempfile::tempdir().unwrap();
    let json = value_file(&folder, "json.toml", "[log]\nformat = \"json\"\n[serverr]\na = 1\n");
    let broken = value_file(&folder, "broken.toml", "[log\n");
    let env = |value: &str| {
        BTreeMap::from([("APP_LOG__FORMAT".to_owned(), value.to_owned()), ("APP_X".to_owned(), "1".to_owned())])
    };
    for (environment, file, format) in [
        (env("json"), None, LogFormat::Json),
        (env("json"), Some(&broken), LogFormat::Json),
        (env("text"), Some(&json), LogFormat::Text),
        (env(""), Some(&json), LogFormat::Json),
        (env("xml"), None, LogFormat::Text),
        (env(""), None, LogFormat::Text),
    ] {
        assert_eq!(log_format(&environment, file.map(AsRef::as_ref)), format, "{environment:?} {file:?}");
    }
}

#[test]
fn renamed_setting_names_its_successor() {
    for (old, new) in RENAMED {
        let problem = load_with(old, "x").unwrap_err();
        assert!(problem.starts_with(old) && problem.trim_end().ends_with(new), "{problem}");
    }
}

#[test]
fn env_example_has_every_setting_with_default_and_sentence() {
    let text = include_str!("../../.env.example");
    let listed: BTreeMap<String, String> = dotenvy::from_read_iter(text.as_bytes()).map(Result::unwrap).collect();
    let config = Config::load(&listed, None).unwrap();
    let base_url = "APP_ADMIN_CONTROL__BASE_URL";
    assert_eq!(listed[base_url], config.admin_control.base_url);
    let view = |config: &Config| {
        config.redacted().into_iter().filter(|(name, ..)| name != base_url).map(|(name, value, _)| (name, value))
    };
    let defaults: BTreeMap<String, Option<String>> = view(&Config::default()).collect();
    assert_eq!(view(&config).collect::<BTreeMap<_, _>>(), defaults);
    assert_eq!(listed.keys().filter(|name| *name != base_url).collect::<Vec<_>>(), defaults.keys().collect::<Vec<_>>());
    let lines: Vec<&str> = text.lines().collect();
    for (above, line) in lines.iter().zip(lines.iter().skip(1)) {
        assert!(!line.starts_with("APP_") || (above.starts_with("# ") && above.ends_with('.')), "no sentence above {line}");
    }
    let problem = config.validate().unwrap_err().to_string();
    assert!(problem.starts_with("APP_AUTH__JWT_SECRET is required") && problem.lines().count() == 1, "{problem}");
}
