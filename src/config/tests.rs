//! Unit tests of the configuration.

use std::num::NonZeroU16;
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
fn invalid_value_is_named_and_not_quoted() {
    for (name, value) in [
        ("APP_SERVER__LISTEN", "localhost"),
        ("APP_SERVER__WORKERS", "0"),
        ("APP_SERVER__WORKERS", "-1"),
        ("APP_SERVER__WORKERS", "513"),
        ("APP_ADMIN_CONTROL__MAX_IN_FLIGHT", "18446744073709551615"),
        ("APP_SERVER__REQUEST_TIMEOUT", "30"),
        ("APP_SERVER__REQUEST_TIMEOUT", "0s"),
        ("APP_SERVER__TRUSTED_PROXIES", "10.0.0.0/33"),
        ("APP_SERVER__CORS_ORIGINS", "https://good.example/path"),
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
        ("APP_SUMMARIES__URL", "https://canary"),
        ("APP_LOG__FORMAT", "xml"),
    ] {
        let problem = load_with(name, value).unwrap_err();
        let says = [format!("{name} must "), format!("{name} is not valid: ")];
        assert!(says.iter().any(|start| problem.starts_with(start)) && !problem.contains("canary"), "{problem}");
    }
}

#[test]
fn unwise_combinations_are_warned_of_and_defaults_are_not() {
    assert_eq!(load_with("APP_SERVER__LISTEN", "").unwrap().warnings(), [""; 0]);
    let needed = [("APP_ADMIN_CONTROL__BASE_URL", "http://127.0.0.1:1/api"), ("APP_AUTH__JWT_SECRET", SECRET)];
    let no_guests = load(&[&needed[..], &[("APP_GUESTS__ROLES", "owner"), ("APP_GUESTS__ENABLED", "false")]].concat());
    assert_eq!(no_guests.unwrap().warnings(), [""; 0], "there are no guests");
    for (name, value, of) in [
        ("APP_SERVER__REQUEST_TIMEOUT", "15s", "APP_ADMIN_CONTROL__TIMEOUT is not below APP_SERVER__REQUEST_TIMEOUT"),
        ("APP_ADMIN_CONTROL__CONNECT_TIMEOUT", "15s", "APP_ADMIN_CONTROL__CONNECT_TIMEOUT is not below"),
        ("APP_SERVER__SHUTDOWN_TIMEOUT", "29s", "APP_SERVER__SHUTDOWN_TIMEOUT is below APP_SERVER__REQUEST_TIMEOUT"),
        ("APP_SERVER__TRUSTED_PROXIES", "10.0.0.0/8,::/0", "APP_SERVER__TRUSTED_PROXIES contains"),
        ("APP_GUESTS__ROLES", "member,owner", "APP_GUESTS__ROLES contains owner"),
    ] {
        let warnings = load_with(name, value).unwrap().warnings();
        assert!(matches!(warnings[..], [warning] if warning.starts_with(of)), "{name}: {warnings:?}");
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
            // As `openssl rand -hex 32`, `-base64 48` and their kin make them.
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
    std::fs::write(&path, file).unwrap();
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
    for (text, says) in [
        ("[server]\nlistem = \"x\"\n", "APP_SERVER__LISTEM is not a setting"),
        ("[serverr]\na = 1\n", "APP_SERVERR is not a setting"),
        ("[log.format]\nx = 1\n", "APP_LOG__FORMAT "),
        ("[server]\nlisten = [\"127.0.0.1:1\"]\n", "APP_SERVER__LISTEN must be"),
        ("[auth]\njwt_secret = \"canary", "--config "),
    ] {
        std::fs::write(&path, text).unwrap();
        let problem = Config::load(&BTreeMap::new(), Some(&path)).err().unwrap().to_string();
        assert!(problem.starts_with(says) && !problem.contains("canary"), "{problem}");
    }
    for unreadable in [folder.path().join("none.toml"), folder.path().to_owned(), "/dev/zero".into()] {
        let problem = Config::load(&BTreeMap::new(), Some(&unreadable)).err().unwrap().to_string();
        assert!(problem.starts_with("--config ") && problem.contains("cannot be read"), "{problem}");
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
    let of = |config: &Config| {
        config.redacted().into_iter().filter(|(name, ..)| name != base_url).map(|(name, value, _)| (name, value))
    };
    let defaults: BTreeMap<String, Option<String>> = of(&Config::default()).collect();
    assert_eq!(of(&config).collect::<BTreeMap<_, _>>(), defaults);
    assert_eq!(listed.keys().filter(|name| *name != base_url).collect::<Vec<_>>(), defaults.keys().collect::<Vec<_>>());
    let lines: Vec<&str> = text.lines().collect();
    for (above, line) in lines.iter().zip(lines.iter().skip(1)) {
        assert!(!line.starts_with("APP_") || (above.starts_with("# ") && above.ends_with('.')), "no sentence above {line}");
    }
    let problem = config.validate().unwrap_err().to_string();
    assert!(problem.starts_with("APP_AUTH__JWT_SECRET is required") && problem.lines().count() == 1, "{problem}");
}
