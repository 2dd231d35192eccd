//! Unit tests of the settings.

use super::*;

const SECRET: &str = "kX9!vQ2mZ7#rT4wY8uB1nC5pL0sD3fGh";

fn load(variables: &[(&str, &str)]) -> Result<Settings, String> {
    let environment = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Values::load(&environment, None).and_then(|values| values.settings()).map_err(|problems| problems.to_string())
}

fn load_with(name: &str, value: &str) -> Result<Settings, String> {
    let mut variables = vec![("APP_ADMIN_CONTROL__BASE_URL", "http://127.0.0.1:1/api"), ("APP_AUTH__JWT_SECRET", SECRET)];
    variables.retain(|(known, _)| *known != name);
    variables.push((name, value));
    load(&variables)
}

#[test]
fn each_missing_required_setting_is_named_with_a_good_value() {
    let problems = load(&[]).unwrap_err();
    assert_eq!(problems.lines().count(), 2, "{problems}");
    assert!(problems.contains("APP_ADMIN_CONTROL__BASE_URL is required; for example APP_ADMIN_CONTROL__BASE_URL=https://"));
    assert!(problems.contains("APP_AUTH__JWT_SECRET is required; for example"));
}

#[test]
fn an_unknown_key_is_an_error_that_names_it() {
    for name in ["APP_SERVER", "APP_SERVER__LISTEM", "APP_", "APP_server__listen", "APP_SERVER__LISTEN__X"] {
        let problem = load_with(name, "1").unwrap_err();
        assert!(problem.starts_with(&format!("{name} is not a setting")), "{problem}");
    }
    assert!(load_with("APPLE", "1").is_ok() && load_with("PATH", "1").is_ok());
}

#[test]
fn a_value_that_does_not_parse_is_named_and_never_quoted() {
    for (name, value) in [
        ("APP_SERVER__LISTEN", "localhost"),
        ("APP_SERVER__WORKERS", "0"),
        ("APP_SERVER__WORKERS", "-1"),
        ("APP_SERVER__WORKERS", "513"),
        ("APP_ADMIN_CONTROL__MAX_IN_FLIGHT", "18446744073709551615"),
        ("APP_LIVE__MAX_PER_CALLER", "0"),
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
        ("APP_GUESTS__TOKEN_TTL", "900ms"),
        ("APP_AUTH__REFRESH_TTL", "900ms"),
        ("APP_AUTH__TOKEN_TTL", "1000000000000d"),
        ("APP_GUESTS__ENABLED", "yes"),
        ("APP_DATABASE__URL", "mysql://canary"),
        ("APP_DATABASE__URL", "sqlite://:memory:"),
        ("APP_DATABASE__URL", "sqlite://x.db?mode=memory"),
        ("APP_SUMMARIES__URL", "https://canary"),
        ("APP_ROOMS__NAMES", "folded"),
        ("APP_ROOMS__NAMES", "Jitsi"),
        ("APP_LOG__FORMAT", "xml"),
    ] {
        let problem = load_with(name, value).unwrap_err();
        assert!(problem.starts_with(&format!("{name} must ")), "{problem}");
        assert!(problem.contains(&format!("; for example {name}=")), "{problem}");
        assert!(!problem.contains("canary"), "{problem}");
    }
}

#[test]
fn every_default_and_every_example_is_a_good_value() {
    for key in KEYS {
        if let Some(default) = key.default {
            assert_eq!((key.check)(default), Ok(()), "{}", key.name);
        }
        // What is in quotes is an instruction, not a value: a secret of ours must not become everybody's.
        if !key.example.starts_with('"') {
            assert_eq!((key.check)(key.example), Ok(()), "{}", key.name);
        }
    }
}

#[test]
fn what_is_hardly_meant_is_doubted_and_the_defaults_are_not() {
    assert_eq!(load_with("APP_SERVER__LISTEN", "").unwrap().doubts(), [""; 0]);
    let needed = [("APP_ADMIN_CONTROL__BASE_URL", "http://127.0.0.1:1/api"), ("APP_AUTH__JWT_SECRET", SECRET)];
    let nobody = load(&[&needed[..], &[("APP_GUESTS__ROLES", "owner"), ("APP_GUESTS__ENABLED", "false")]].concat());
    assert_eq!(nobody.unwrap().doubts(), [""; 0], "there are no guests");
    for (name, value, of) in [
        ("APP_SERVER__REQUEST_TIMEOUT", "15s", "APP_ADMIN_CONTROL__TIMEOUT is not below APP_SERVER__REQUEST_TIMEOUT"),
        ("APP_ADMIN_CONTROL__CONNECT_TIMEOUT", "15s", "APP_ADMIN_CONTROL__CONNECT_TIMEOUT is not below"),
        ("APP_SERVER__SHUTDOWN_TIMEOUT", "29s", "APP_SERVER__SHUTDOWN_TIMEOUT is below APP_SERVER__REQUEST_TIMEOUT"),
        ("APP_SERVER__TRUSTED_PROXIES", "10.0.0.0/8,::/0", "APP_SERVER__TRUSTED_PROXIES is everybody"),
        ("APP_GUESTS__ROLES", "member,owner", "APP_GUESTS__ROLES has owner"),
    ] {
        let doubts = load_with(name, value).unwrap().doubts();
        assert!(matches!(doubts[..], [doubt] if doubt.starts_with(of)), "{name}: {doubts:?}");
    }
}

#[test]
fn an_empty_value_is_none() {
    assert_eq!(load_with("APP_SERVER__LISTEN", "").unwrap().server.listen.port(), 8080);
    assert!(load_with("APP_AUTH__JWT_SECRET", "").unwrap_err().contains("is required"));
}

#[test]
fn a_secret_of_digits_keeps_its_zeros_and_no_secret_is_shown() {
    let settings = load_with("APP_ADMIN_CONTROL__AUTHORIZATION", "0012345").unwrap();
    assert_eq!(settings.admin_control.authorization.as_ref().map(Secret::expose), Some("0012345"));
    let shown = format!("{settings:?}");
    assert!(!shown.contains("12345") && !shown.contains("kX9"), "{shown}");
}

#[test]
fn a_secret_that_can_be_seen_not_to_be_random_signs_nothing() {
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
            assert_eq!(values::is_strong(&secret), Ok(()), "{secret}");
        }
    }
    let digits = |length| (0..length).map(|_| char::from(b'0' + rand::random::<u8>() % 10)).collect::<String>();
    assert!(values::is_strong(&digits(77)).is_err(), "fewer than 256 bits");
    assert_eq!(values::is_strong(&digits(78)), Ok(()));
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_default() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("settings.toml");
    let file = "[server]\nworkers = 3\nkeep_alive = \"9s\"\n[guests]\nroles = [\"member\", \"listener\"]\nenabled = false\n";
    std::fs::write(&path, file).unwrap();
    let environment = BTreeMap::from([
        ("APP_ADMIN_CONTROL__BASE_URL".to_owned(), "http://127.0.0.1:1/api//".to_owned()),
        ("APP_AUTH__JWT_SECRET".to_owned(), SECRET.to_owned()),
        ("APP_SERVER__WORKERS".to_owned(), "5".to_owned()),
    ]);
    let values = Values::load(&environment, Some(&path)).unwrap();
    assert_eq!(values.text("APP_GUESTS__ROLES"), "member,listener");
    let settings = values.settings().unwrap();
    assert_eq!((settings.server.workers, settings.server.keep_alive), (Some(5), Duration::from_secs(9)));
    assert_eq!(settings.jwt.guest_ttl, None);
    assert_eq!(settings.admin_control.base_url, "http://127.0.0.1:1/api");

    std::fs::write(&path, "[server]\nlistem = \"x\"\nListen = \"127.0.0.1:1\"\n[serverr]\na = 1\n[log.format]\nx = 1\n")
        .unwrap();
    let problems = Values::load(&environment, Some(&path)).err().unwrap().to_string();
    assert!(
        problems.contains("server.listem (in the file) is not") && problems.contains("serverr.a (in the file) is not"),
        "{problems}"
    );
    assert!(
        problems.contains("server.Listen (in the file) is not") && problems.contains("APP_LOG__FORMAT must be one value")
    );
    std::fs::write(&path, "[auth]\njwt_secret = \"canary").unwrap();
    let problems = Values::load(&environment, Some(&path)).err().unwrap().to_string();
    assert!(problems.contains("line 2") && !problems.contains("canary"), "{problems}");
    assert!(Values::load(&environment, Some(&folder.path().join("none.toml"))).is_err());
}

#[test]
fn env_example_lists_every_setting_with_its_default_and_a_sentence() {
    let text = include_str!("../../.env.example");
    let listed: Vec<(String, String)> = dotenvy::from_read_iter(text.as_bytes()).map(Result::unwrap).collect();
    let expected: Vec<(String, String)> = KEYS
        .iter()
        .map(|key| {
            let value = if key.required && !key.example.starts_with('"') { Some(key.example) } else { key.default };
            (key.name.to_owned(), value.unwrap_or_default().to_owned())
        })
        .collect();
    assert_eq!(listed, expected);
    let lines: Vec<&str> = text.lines().collect();
    for (above, line) in lines.iter().zip(lines.iter().skip(1)) {
        assert!(!line.starts_with("APP_") || (above.starts_with("# ") && above.ends_with('.')), "no sentence above {line}");
    }
    let environment = listed.into_iter().collect();
    let values = Values::load(&environment, None).unwrap();
    assert!(values.settings().unwrap_err().to_string().starts_with("APP_AUTH__JWT_SECRET is required"));
}
