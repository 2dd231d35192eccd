//! Tokens of the team's own identity provider: what is accepted, and what the provider can do to the server.

use std::time::{Duration, Instant};

use aws_lc_rs::hmac::HMAC_SHA256;
use proconf_app_server::accounts::admin;
use proconf_app_server::sandbox::Reply;
use serde_json::{Value, json};

use crate::support::check_config::{check_config, check_line};
use crate::support::client::request;
use crate::support::events::Events;
use crate::support::fake_upstream::{FakeUpstream, http};
use crate::support::identity_provider::{AUDIENCE, IdentityProvider, SigningKey};
use crate::support::process::ServerProcess;
use crate::support::tls::{Authority, TlsUpstream};
use crate::support::{EMAIL, PASSWORD, SECRET, TestServer, secrets, tokens, wait_until};

/// Longer than the pause between requested fetches.
const COOLDOWN: Duration = Duration::from_secs(31);
/// Longer than the pause between other fetches.
const REFRESH: Duration = Duration::from_secs(15 * 60 + 1);
const HOUR: u64 = 60 * 60;

fn status(server: &TestServer, token: &str) -> u16 {
    server.client().get("/callCatchUp/r1", Some(token)).status
}

/// Waits until the server accepts the token.
#[track_caller]
fn wait_until_accepted(server: &TestServer, token: &str) {
    wait_until("the token is accepted", || status(server, token) == 200);
}

/// The claims of a good token, with one changed.
fn with(provider: &IdentityProvider, name: &str, value: Value) -> Value {
    let mut claims = provider.claims();
    claims[name] = value;
    claims
}

fn float(seconds: i64) -> f64 {
    f64::from(u32::try_from(seconds).unwrap())
}

fn without(provider: &IdentityProvider, name: &str) -> Value {
    let mut claims = provider.claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

#[test]
fn provider_token_is_accepted_as_a_user() {
    let (rsa, ec) = (SigningKey::rsa("rsa"), SigningKey::p256("ec"));
    let provider = IdentityProvider::start(&[&rsa, &ec]);
    let server = provider.server(&[]);
    for key in [&rsa, &ec] {
        let token = key.sign(&provider.claims());
        for target in ["/callCatchUp/r1", "/callStatus/r1", "/callConfig", "/meetings"] {
            assert_eq!(server.client().get(target, Some(&token)).status, 200, "{target}");
        }
        let body = r#"{"role":"owner","room":"r1","participantName":"Ann"}"#;
        assert_eq!(server.client().post_with("/proconfToken", &token, body).status, 200);
    }
    assert_eq!(status(&server, &tokens::user()), 200, "own tokens are accepted, too");
    assert_eq!((provider.fetches(), server.degraded()), (1, None), "the keys are fetched once");
}

#[test]
fn provider_token_with_a_wrong_claim_is_rejected() {
    let key = SigningKey::rsa("rsa");
    let provider = IdentityProvider::start(&[&key]);
    let server = provider.server(&[]);
    let now = tokens::now();
    let changed = |name: &str, values: Vec<Value>| values.into_iter().map(|value| with(&provider, name, value)).collect();
    let wrong: Vec<Vec<Value>> = vec![
        changed("aud", vec![json!("account"), json!(null), json!([]), json!(["x"]), json!([1, AUDIENCE]), json!("PROCONF")]),
        changed("exp", vec![json!(now - 60), json!(float(now) - 60.5), json!("never"), json!(null), json!([now + 600])]),
        changed("nbf", vec![json!(now + 600), json!(float(now) + 600.5), json!("x"), json!(null)]),
        changed("iat", vec![json!(now + 600), json!("x"), json!(null)]),
        changed("sub", vec![json!(""), json!(1), json!(null), json!("x".repeat(256)), json!("a\u{0}b")]),
        changed("nonce", vec![json!("n-0S6_WzA2Mj"), json!(null)]),
        changed("iss", vec![json!(format!("{}/", provider.issuer)), json!("https://evil.example.com"), json!(null)]),
        ["aud", "exp", "sub", "iss"].map(|name| without(&provider, name)).into(),
    ];
    for claims in wrong.concat() {
        server.client().get("/meetings", Some(&key.sign(&claims))).assert_unauthorized(&claims.to_string());
    }
    let now = tokens::now();
    let right: Vec<Vec<Value>> = vec![
        changed("aud", vec![json!([AUDIENCE]), json!(["account", AUDIENCE])]),
        // Within the leeway of 30 s, and as floats.
        changed("exp", vec![json!(now - 5), json!(float(now) + 600.5), json!(1e300), json!(u64::MAX)]),
        changed("nbf", vec![json!(now + 5), json!(float(now) - 0.5)]),
        changed("iat", vec![json!(now + 5), json!(0)]),
        // These claims mean something in own tokens only.
        changed("kind", vec![json!("guest"), json!("user-ticket"), json!(7)]),
        changed("roomName", vec![json!("r2")]),
        vec![without(&provider, "iat"), without(&provider, "name")],
    ];
    for claims in right.concat() {
        assert_eq!(server.client().get("/meetings", Some(&key.sign(&claims))).status, 200, "{claims}");
    }
    assert_eq!(status(&server, &key.sign(&without(&provider, "iat"))), 200);
}

#[test]
fn provider_token_with_a_wrong_header_or_signature_is_rejected() {
    let (rsa, other) = (SigningKey::rsa("rsa"), SigningKey::other_rsa("rsa"));
    let provider = IdentityProvider::start(&[&rsa, &SigningKey::p256("ec")]);
    let server = provider.server(&[]);
    let claims = provider.claims().to_string();
    let raw = |header: &str| rsa.sign_raw(header, &claims);
    let hmac = |header: &str, key: &[u8]| tokens::signed_with(HMAC_SHA256, key, header.as_bytes(), claims.as_bytes());
    let repeated = claims.replacen('{', r#"{"sub":"eve","#, 1);
    let nested = claims.replacen('{', r#"{"realm_access":{"roles":["x"],"roles":["admin"]},"#, 1);
    let own_issuer = with(&provider, "iss", json!("proconf-app-server"));
    let mut own_claims = tokens::user_claims();
    own_claims["iss"] = provider.issuer.as_str().into();
    let wrong = [
        raw(r#"{"alg":"RS256","kid":"rsa","typ":"id+jwt"}"#),
        raw(r#"{"alg":"RS256","kid":"rsa","typ":"logout+jwt"}"#),
        raw(r#"{"alg":"RS256","kid":"rsa","typ":1}"#),
        raw(r#"{"alg":"RS256","kid":"rsa","crit":["exp"],"exp":1}"#),
        raw(r#"{"alg":"RS256","kid":"rsa","crit":[]}"#),
        raw(r#"{"alg":"RS256","kid":1}"#),
        raw(r#"{"alg":"RS256","kid":"rsa","kid":"rsa"}"#),
        raw(r#"{"alg":"RS256","kid":"ec"}"#),
        raw(r#"{"alg":"RS384","kid":"rsa"}"#),
        raw(r#"{"alg":"PS256","kid":"rsa"}"#),
        raw(r#"{"alg":"none","kid":"rsa"}"#),
        raw(r#"{"alg":"ES256","kid":"rsa"}"#),
        raw(r#"{"kid":"rsa"}"#),
        rsa.sign_raw(r#"{"alg":"RS256","kid":"rsa"}"#, &repeated),
        rsa.sign_raw(r#"{"alg":"RS256","kid":"rsa"}"#, &nested),
        format!("{}.", raw(r#"{"alg":"none"}"#).rsplit_once('.').unwrap().0),
        other.sign(&provider.claims()),
        // The other verifier is never tried, although the signature and the other claims are good.
        hmac(tokens::HEADER, SECRET.as_bytes()),
        tokens::signed(tokens::HEADER, &own_claims.to_string()),
        rsa.sign(&own_issuer),
        // The public key is no secret.
        hmac(r#"{"alg":"HS256","kid":"rsa"}"#, rsa.jwk()["n"].as_str().unwrap().as_bytes()),
        hmac(r#"{"alg":"RS256","kid":"rsa"}"#, SECRET.as_bytes()),
        rsa.sign(&with(&provider, "padding", json!("x".repeat(8 * 1024)))),
    ];
    for token in wrong {
        server.client().get("/meetings", Some(&token)).assert_unauthorized(&token);
    }
    for header in [
        r#"{"alg":"RS256","kid":"rsa"}"#,
        r#"{"alg":"RS256","kid":"rsa","typ":"JWT"}"#,
        r#"{"alg":"RS256","kid":"rsa","typ":"at+jwt"}"#,
        r#"{"alg":"RS256","kid":"rsa","typ":"AT+JWT","jku":"https://evil.example.com"}"#,
    ] {
        assert_eq!(status(&server, &raw(header)), 200, "{header}");
    }
}

#[test]
fn only_the_configured_algorithms_are_accepted() {
    let keys = [SigningKey::rsa("r"), SigningKey::p256("a"), SigningKey::p384("b"), SigningKey::ed25519("c")];
    let provider = IdentityProvider::start(&keys.each_ref());
    let claims = provider.claims();
    let rsa = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"].map(|name| (name, keys[0].sign_as(name, &claims)));
    let others = ["ES256", "ES384", "EdDSA"].into_iter().zip(keys[1..].iter().map(|key| key.sign(&claims)));
    let all: Vec<_> = rsa.into_iter().chain(others).collect();
    for setting in ["RS256,ES256", "PS256", "EdDSA,ES384", "RS256,RS384,RS512,PS256,PS384,PS512,ES256,ES384,EdDSA"] {
        let server = provider.server(&[("APP_OIDC__ALGORITHMS", setting)]);
        for (algorithm, token) in &all {
            let expected = if setting.split(',').any(|one| one == *algorithm) { 200 } else { 401 };
            assert_eq!(status(&server, token), expected, "{algorithm} with {setting}");
        }
    }
}

#[test]
fn token_without_kid_is_accepted_if_one_key_fits() {
    let (rsa, ec, other) = (SigningKey::rsa("rsa"), SigningKey::p256("ec"), SigningKey::other_rsa("other"));
    let provider = IdentityProvider::start(&[&rsa, &ec]);
    let server = provider.server(&[]);
    let token = SigningKey::rsa("").without_id().sign(&provider.claims());
    assert_eq!(status(&server, &token), 200);
    provider.set_keys(&[&rsa, &other]);
    server.clock.advance(REFRESH);
    wait_until("two keys fit", || status(&server, &token) == 401);
    assert_eq!(status(&server, &rsa.sign(&provider.claims())), 200);
}

#[test]
fn unusable_keys_are_skipped_one_by_one() {
    let (rsa, ec, secret) = (SigningKey::rsa("good"), SigningKey::p256("ec"), tokens::b64(SECRET));
    let small = tokens::b64([&[0x80_u8][..], &[1; 127]].concat());
    let jwk = |name: &str, value: Value| {
        let mut jwk = rsa.jwk();
        (jwk["kid"], jwk[name]) = (format!("not {name}").into(), value);
        jwk
    };
    let provider = IdentityProvider::start(&[]);
    let keys = json!({"keys": [
        7, null, {}, [], {"kty": "RSA"}, {"kty": "AKP", "kid": "unknown"},
        {"kty": "oct", "kid": "symmetric", "k": secret, "alg": "HS256"},
        {"kty": "oct", "kid": "good", "k": secret},
        {"kty": "EC", "crv": "P-256", "kid": "torn", "x": "!", "y": "!"},
        {"kty": "EC", "crv": "P-521", "kid": "curve", "x": "AA", "y": "AA"},
        {"kty": "OKP", "crv": "Ed25519", "kid": "okp", "x": "AA"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}, ec.jwk(),
        jwk("use", json!("enc")), jwk("key_ops", json!(["encrypt"])), jwk("alg", json!("RSA-OAEP")), jwk("alg", json!("RS384")),
        jwk("n", json!(small)), jwk("n", json!("!")), jwk("e", json!(7)), jwk("e", json!("Ag")), jwk("kid", json!(7)),
        rsa.jwk(),
    ]});
    provider.set_key_set(&keys.to_string());
    let server = provider.server(&[]);
    assert_eq!(status(&server, &rsa.sign(&provider.claims())), 200);
    for key in [SigningKey::rsa("").without_id(), ec.without_id()] {
        assert_eq!(status(&server, &key.sign(&provider.claims())), 200, "another key fits no token without kid");
    }
    for id in ["not use", "not key_ops", "not alg", "not n", "not e", "7"] {
        let header = json!({"alg": "RS256", "kid": id}).to_string();
        assert_eq!(status(&server, &rsa.sign_raw(&header, &provider.claims().to_string())), 401, "{id}");
    }
    for header in [r#"{"alg":"HS256","kid":"symmetric"}"#, r#"{"alg":"HS256","kid":"good"}"#, r#"{"alg":"HS256"}"#] {
        let forged =
            tokens::signed_with(HMAC_SHA256, SECRET.as_bytes(), header.as_bytes(), provider.claims().to_string().as_bytes());
        assert_eq!(status(&server, &forged), 401, "{header}");
    }
}

#[test]
fn random_kids_cause_one_fetch_in_thirty_seconds() {
    let key = SigningKey::rsa("rsa");
    let provider = IdentityProvider::start(&[&key]);
    let (server, started) = (provider.server(&[]), Instant::now());
    let (known, payload) = (key.sign(&provider.claims()), provider.claims().to_string());
    let send = |from: usize| {
        for number in from..from + 30 {
            let header = json!({"alg": "RS256", "kid": format!("random-{number}")}).to_string();
            assert_eq!(status(&server, &key.sign_raw(&header, &payload)), 401);
            assert_eq!(status(&server, &known), 200, "good keys are not evicted");
        }
    };
    send(0);
    server.clock.advance(COOLDOWN);
    send(100);
    provider.wait_for_fetch(1);
    server.clock.advance(COOLDOWN / 2);
    send(200);
    // A fetch that fails counts as an attempt, too.
    provider.respond_with(http("500 Internal Server Error", ""));
    server.clock.advance(COOLDOWN);
    send(300);
    provider.wait_for_fetch(2);
    send(400);
    let allowed = 3 + usize::try_from((started.elapsed() + COOLDOWN / 2).as_secs() / 30).unwrap();
    assert!(provider.fetches() <= allowed, "{} fetches", provider.fetches());
}

#[test]
fn new_key_is_accepted_and_removed_key_rejected_after_a_fetch() {
    let (old, new) = (SigningKey::rsa("old"), SigningKey::p256("new"));
    let provider = IdentityProvider::start(&[&old]);
    let server = provider.server(&[]);
    let (by_old, by_new) = (old.sign(&provider.claims()), new.sign(&provider.claims()));
    assert_eq!((status(&server, &by_old), status(&server, &by_new)), (200, 401));
    provider.set_keys(&[&old, &new]);
    server.clock.advance(COOLDOWN);
    wait_until_accepted(&server, &by_new);
    assert_eq!(status(&server, &by_old), 200);
    provider.set_keys(&[&new]);
    server.clock.advance(REFRESH);
    wait_until("the removed key is rejected", || status(&server, &by_old) == 401);
    assert_eq!(status(&server, &by_new), 200);
    // Without any key, nothing is accepted.
    provider.set_keys(&[]);
    server.clock.advance(REFRESH);
    wait_until("the removed key is rejected", || status(&server, &by_new) == 401);
    wait_until("it is degraded", || server.degraded().as_deref() == Some("identity provider"));
}

#[test]
fn replaced_key_of_one_kid_is_fetched_after_a_bad_signature() {
    let (old, new) = (SigningKey::rsa("key"), SigningKey::other_rsa("key"));
    let provider = IdentityProvider::start(&[&old]);
    let server = provider.server(&[]);
    let (by_old, by_new) = (old.sign(&provider.claims()), new.sign(&provider.claims()));
    assert_eq!((status(&server, &by_old), status(&server, &by_new)), (200, 401));
    provider.set_keys(&[&new]);
    server.clock.advance(COOLDOWN);
    wait_until_accepted(&server, &by_new);
    assert_eq!(status(&server, &by_old), 401);
    // Both at once: the one that verifies counts.
    provider.set_keys(&[&old, &new]);
    server.clock.advance(REFRESH);
    wait_until_accepted(&server, &by_old);
    assert_eq!(status(&server, &by_new), 200);
}

#[test]
fn provider_that_is_down_at_start_is_reported_and_retried() {
    let key = SigningKey::rsa("rsa");
    let provider = IdentityProvider::start(&[&key]);
    provider.go_down();
    let server = provider.server(&[]);
    let token = key.sign(&provider.claims());
    assert_eq!((status(&server, &token), status(&server, &tokens::user())), (401, 200));
    assert_eq!(server.client().get("/health/ready", None).status, 200);
    assert_eq!(server.degraded().as_deref(), Some("identity provider"));
    let page = server.management_client().get("/metrics", None).text().to_owned();
    assert!(page.contains("proconf_identity_fetches_total{outcome=\"unreachable\"} 1\n"), "{page}");
    assert!(page.contains("proconf_identity_fetches_total{outcome=\"ok\"} 0\n"), "{page}");
    assert!(page.contains("\nproconf_identity_keys_age_seconds "), "{page}");
    // No request fetches anything.
    let (before, started) = (provider.all_requests(), Instant::now());
    for _ in 0..20 {
        assert_eq!(status(&server, &token), 401);
    }
    let allowed = usize::try_from(started.elapsed().as_secs() / 30).unwrap();
    assert!(provider.all_requests() <= before + allowed);
    provider.recover();
    server.clock.advance(COOLDOWN);
    wait_until("the keys are fetched without a request", || provider.fetches() == 1);
    wait_until_accepted(&server, &token);
    wait_until("it is not degraded", || server.degraded().is_none());
}

#[test]
fn last_keys_serve_for_a_day_while_the_provider_is_down() {
    let key = SigningKey::rsa("rsa");
    let provider = IdentityProvider::start(&[&key]);
    let server = provider.server(&[]);
    let token = key.sign(&with(&provider, "exp", json!(tokens::now() + 200_000)));
    assert_eq!(status(&server, &token), 200);
    provider.go_down();
    let wait_for_attempt = || {
        let before = provider.all_requests();
        // The second attempt begins after the first was applied.
        for attempt in 1..=2 {
            server.clock.advance(COOLDOWN);
            wait_until("an attempt", || provider.all_requests() >= before + attempt);
        }
    };
    server.clock.advance(Duration::from_secs(23 * HOUR));
    wait_for_attempt();
    assert_eq!(status(&server, &token), 200);
    wait_until("it is degraded", || server.degraded().as_deref() == Some("identity provider"));
    server.clock.advance(Duration::from_secs(HOUR));
    wait_until("the keys are too old", || status(&server, &token) == 401);
    provider.recover();
    server.clock.advance(COOLDOWN);
    wait_until_accepted(&server, &token);
}

#[test]
fn known_keys_never_wait_for_a_provider_that_stalls() {
    let key = SigningKey::rsa("rsa");
    let provider = IdentityProvider::start(&[&key]);
    let server = provider.server(&[]);
    let (cached, payload) = (key.sign(&provider.claims()), provider.claims().to_string());
    assert_eq!(status(&server, &cached), 200);
    provider.stall();
    let failures = || {
        let page = server.management_client().get("/metrics", None).text().to_owned();
        page.lines().find(|line| line.contains("identity_fetches_total{outcome=\"unreachable\"}")).unwrap().to_owned()
    };
    // On a slow machine the fetch may fail before the responses: then the next one hangs.
    let is_served_meanwhile = (0..3).any(|attempt| {
        let (before, failures_before) = (provider.all_requests(), failures());
        server.clock.advance(REFRESH);
        wait_until("a fetch hangs", || provider.all_requests() > before);
        let new = key.sign(&with(&provider, "sub", json!(format!("user {attempt}"))));
        let unknown = key.sign_raw(r#"{"alg":"RS256","kid":"unknown"}"#, &payload);
        assert_eq!([&cached, &new, &unknown].map(|token| status(&server, token)), [200, 200, 401]);
        assert_eq!(provider.all_requests(), before + 1, "one fetch at a time");
        failures() == failures_before
    });
    assert!(is_served_meanwhile, "the responses wait for the fetch");
}

#[test]
fn unusable_documents_leave_the_last_keys_in_place() {
    let key = SigningKey::rsa("rsa");
    let provider = IdentityProvider::start(&[&key]);
    let canary = FakeUpstream::canary();
    let server = provider.server(&[]);
    let token = key.sign(&provider.claims());
    let good = json!({"keys": [key.jwk()], "padding": "x".repeat(300 * 1024)}).to_string();
    let redirect = format!("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{}/\r\nContent-Length: 0\r\n\r\n", canary.port);
    for (case, response) in [
        ("a redirect", redirect),
        ("too large", http("200 OK", &good)),
        ("an error", http("503 Service Unavailable", r#"{"keys":[]}"#)),
        ("no JSON", http("200 OK", "<html>")),
        ("no keys", http("200 OK", r#"{"error":"x"}"#)),
        ("keys twice", http("200 OK", r#"{"keys":[],"keys":[]}"#)),
        ("an array", http("200 OK", "[]")),
        ("cut short", http("200 OK", r#"{"keys":[]}"#).replace("Length: 11", "Length: 5")),
        ("no HTTP", "rubbish\r\n\r\n".to_owned()),
    ] {
        provider.respond_with(response);
        let before = provider.fetches();
        server.clock.advance(COOLDOWN);
        // Use an unknown key, so that a fetch is due.
        let unknown = key.sign_raw(r#"{"alg":"RS256","kid":"unknown"}"#, &provider.claims().to_string());
        assert_eq!(status(&server, &unknown), 401, "{case}");
        provider.wait_for_fetch(before);
        wait_until(case, || server.degraded().as_deref() == Some("identity provider"));
        // Not the cached verdict alone: another token by the same key.
        let another = key.sign(&with(&provider, "sub", json!(case)));
        assert_eq!((status(&server, &token), status(&server, &another)), (200, 200), "{case}");
        provider.recover();
        server.clock.advance(COOLDOWN);
        wait_until("it has recovered", || server.degraded().is_none());
    }
    assert_eq!(canary.connections(), 0);
}

#[test]
fn discovery_must_name_the_issuer_byte_for_byte() {
    let key = SigningKey::rsa("rsa");
    for path in ["", "/", "/realms/team", "/realms/team/"] {
        let provider = IdentityProvider::start_at(path, &[&key]);
        let server = provider.server(&[]);
        assert_eq!(status(&server, &key.sign(&provider.claims())), 200, "{path}");
        // The key address is not discovered if it is configured.
        let keys = provider.issuer.strip_suffix(path).unwrap().to_owned() + "/keys";
        let direct = provider.server(&[("APP_OIDC__JWKS_URL", &keys)]);
        assert_eq!(status(&direct, &key.sign(&provider.claims())), 200, "{path}");
        let discovery = format!("{}/.well-known/openid-configuration", path.trim_end_matches('/'));
        assert_eq!((provider.requests(&discovery), provider.fetches()), (1, 2), "{path}");
    }
    for (name, value) in [
        ("issuer", json!("{}/")),
        ("issuer", json!("https://evil.example.com")),
        ("issuer", json!(null)),
        ("jwks_uri", json!(null)),
        // The provider would respond there, and no `http` URL is trusted but one of a loopback address.
        ("jwks_uri", json!("{any}/keys")),
        ("jwks_uri", json!("file:///etc/passwd")),
    ] {
        let provider = IdentityProvider::start(&[&key]);
        let any = provider.issuer.replace("127.0.0.1", "0.0.0.0");
        let value = value.to_string().replace("{}", &provider.issuer).replace("{any}", &any);
        let value: Value = serde_json::from_str(&value).unwrap();
        provider.set_discovery(name, value.clone());
        let server = provider.server(&[]);
        assert_eq!(status(&server, &key.sign(&provider.claims())), 401, "{name}: {value}");
        assert_eq!((provider.fetches(), server.degraded().as_deref()), (0, Some("identity provider")), "{name}: {value}");
    }
}

#[test]
fn provider_with_an_untrusted_certificate_is_not_believed() {
    let (trusted, other, key) = (Authority::new(), Authority::new(), SigningKey::rsa("rsa"));
    let keys = json!({"keys": [key.jwk()]}).to_string();
    let upstream = TlsUpstream::serving(trusted.sign(&["localhost"]).config(), move |mut tls| {
        use std::io::Write as _;
        while crate::support::fake_upstream::read_head(&mut tls).is_some() {
            if tls.write_all(http("200 OK", &keys).as_bytes()).is_err() {
                return;
            }
        }
    });
    let (issuer, url) = ("https://id.example.com", upstream.url("localhost", "/keys"));
    let claims = json!({"iss": issuer, "aud": AUDIENCE, "sub": "ann", "exp": tokens::now() + 600});
    for (authority, expected) in [(&trusted, 200), (&other, 401)] {
        let server = ServerProcess::start(
            "http://127.0.0.1:1/api",
            &[
                ("SSL_CERT_FILE", &authority.file()),
                ("APP_OIDC__ISSUER", issuer),
                ("APP_OIDC__AUDIENCE", AUDIENCE),
                ("APP_OIDC__JWKS_URL", &url),
            ],
        );
        let response = server.client().post_with("/auth/streamticket", &key.sign(&claims), r#"{"room":"r1"}"#);
        assert_eq!(response.status, expected);
        assert_eq!(upstream.trusted(), 1);
    }
}

#[test]
fn stream_of_a_provider_user_ends_with_its_token() {
    let key = SigningKey::rsa("rsa");
    let provider = IdentityProvider::start(&[&key]);
    let server = provider.server(&[("APP_LIVE__POLL_INTERVAL", "100ms"), ("APP_LIVE__MAX_PER_CALLER", "2")]);
    let token = key.sign(&provider.claims());
    let ticket = server.client().post_with("/auth/streamticket", &token, r#"{"room":"r1"}"#).data();
    let target = format!("/callCatchUp/r1/live?ticket={}", ticket.as_str().unwrap());
    let mut streams = [Events::subscribe(server.address, "r1", &token), Events::open(server.address, &target, "")];
    for stream in &mut streams {
        assert_eq!(stream.next().unwrap().data.as_deref(), Some(r#"{"error":null,"data":"r1"}"#));
    }
    // Both streams are the same user's, and no account's with that id.
    assert_eq!(server.client().get("/callCatchUp/r1/live", Some(&token)).status, 429);
    drop(Events::subscribe(server.address, "r1", &tokens::user_with_id("ann")));
    // After the leeway.
    server.clock.advance(Duration::from_secs(HOUR + 31));
    for stream in &mut streams {
        assert_eq!(stream.next(), None);
    }
    assert_eq!(status(&server, &token), 401);
}

#[test]
fn streams_end_when_the_key_of_their_token_is_removed() {
    let (old, new) = (SigningKey::rsa("old"), SigningKey::p256("new"));
    let provider = IdentityProvider::start(&[&old]);
    let server = provider.server(&[("APP_LIVE__POLL_INTERVAL", "100ms")]);
    let token = old.sign(&provider.claims());
    let ticket = server.client().post_with("/auth/streamticket", &token, r#"{"room":"r1"}"#).data();
    let target = format!("/callCatchUp/r1/live?ticket={}", ticket.as_str().unwrap());
    let mut streams = [Events::subscribe(server.address, "r1", &token), Events::open(server.address, &target, "")];
    for stream in &mut streams {
        assert_eq!(stream.next().unwrap().data.as_deref(), Some(r#"{"error":null,"data":"r1"}"#));
    }
    // Another order, and a new key: the key of the token is still there.
    provider.set_keys(&[&new, &old]);
    server.clock.advance(REFRESH);
    wait_until_accepted(&server, &new.sign(&provider.claims()));
    server.script.catch_up("r1", Reply::data("\"more\""));
    for stream in &mut streams {
        assert_eq!(stream.next().unwrap().data.as_deref(), Some(r#"{"error":null,"data":"more"}"#), "it goes on");
    }
    provider.set_keys(&[&new]);
    server.clock.advance(REFRESH);
    for stream in &mut streams {
        assert_eq!(stream.next(), None);
    }
    assert_eq!(status(&server, &token), 401);
}

#[test]
fn ticket_needs_the_provider_and_the_key_of_its_token() {
    let (key, new) = (SigningKey::rsa("rsa"), SigningKey::p256("new"));
    let (provider, other) = (IdentityProvider::start(&[&key]), IdentityProvider::start(&[&key]));
    let server = provider.server(&[]);
    let token = key.sign(&provider.claims());
    let oidc = |issuer| [("APP_OIDC__ISSUER", issuer), ("APP_OIDC__AUDIENCE", AUDIENCE)];
    let with_key = server.replica(&oidc(&provider.issuer));
    provider.set_keys(&[&new]);
    let without_key = server.replica(&oidc(&provider.issuer));
    let (of_another, of_none) = (server.replica(&oidc(&other.issuer)), server.replica(&[]));
    let open = |server: &TestServer, ticket: &Value| {
        let target = format!("/callCatchUp/r1/live?ticket={}", ticket.as_str().unwrap());
        let mut connection = server.client().connect();
        connection.send(&request("GET", target.as_bytes(), None));
        connection.read().unwrap().status
    };
    let ticket = || server.client().post_with("/auth/streamticket", &token, r#"{"room":"r1"}"#).data();
    let first = ticket();
    for (replica, case) in [(&without_key, "without the key"), (&of_another, "another provider"), (&of_none, "no provider")]
    {
        assert_eq!(open(replica, &first), 401, "{case}");
    }
    assert_eq!(open(&with_key, &first), 200);
    // A ticket is valid for 30 s, and the pause between fetches is as long.
    server.clock.advance(COOLDOWN / 2);
    let second = ticket();
    server.clock.advance(COOLDOWN / 2);
    wait_until_accepted(&server, &new.sign(&provider.claims()));
    assert_eq!(open(&server, &second), 401, "the key is removed");
}

#[test]
fn roles_claim_gives_mapped_roles_and_member() {
    let key = SigningKey::rsa("rsa");
    let provider = IdentityProvider::start(&[&key]);
    let server = provider.server(&[
        ("APP_OIDC__ROLES_CLAIM", "realm_access.roles"),
        ("APP_OIDC__ROLES_MAP", "admin=owner, host=moderator,chief=director"),
    ]);
    let flat = provider.server(&[
        ("APP_OIDC__ROLES_CLAIM", "https://example.com/roles"),
        ("APP_OIDC__ROLES_MAP", "admin=owner,host=moderator"),
    ]);
    let may = |server: &TestServer, claims: &Value, role: &str| {
        let body = json!({"role": role, "room": "r1", "participantName": "Ann"}).to_string();
        match server.client().post_with("/proconfToken", &key.sign(claims), &body).status {
            200 => true,
            403 => false,
            other => panic!("{role}: {other} for {claims}"),
        }
    };
    let overlong: Vec<String> = (0..400).map(|number| format!("role-{number}")).collect();
    for (roles, owner, moderator) in [
        (json!({"roles": ["admin"]}), true, false),
        (json!({"roles": ["x", "host", "admin"]}), true, true),
        (json!({"roles": "host"}), false, true),
        (json!({"roles": ["owner", "moderator", "Admin", "admin "]}), false, false),
        (json!({"roles": ["admin", 7]}), false, false),
        (json!({"roles": {"admin": true}}), false, false),
        (json!({"roles": overlong}), false, false),
        (json!({"roles": []}), false, false),
        (json!({"roles": null}), false, false),
        (json!({}), false, false),
        (json!("admin"), false, false),
        (json!(null), false, false),
    ] {
        let claims = with(&provider, "realm_access", roles);
        let roles = ["member", "owner", "moderator", "director", "admin"].map(|role| may(&server, &claims, role));
        assert_eq!(roles, [true, owner, moderator, false, false], "{claims}");
    }
    // Entra ID replaces too many groups by this.
    let overage = with(&provider, "_claim_names", json!({"groups": "src1"}));
    assert_eq!(["member", "owner"].map(|role| may(&server, &overage, role)), [true, false]);
    let namespaced = with(&provider, "https://example.com/roles", json!(["host"]));
    assert_eq!(["member", "owner", "moderator"].map(|role| may(&flat, &namespaced, role)), [true, false, true]);
    assert!(may(&provider.server(&[]), &provider.claims(), "owner"), "without the setting, a user has all roles of users");
}

#[test]
fn overlong_name_of_the_provider_is_cut() {
    let key = SigningKey::rsa("rsa");
    let provider = IdentityProvider::start(&[&key]);
    let server = provider.server(&[("APP_USERS__DISPLAY_NAME", "account")]);
    let body = r#"{"role":"member","room":"r1","participantName":"Eve"}"#;
    let join =
        |name: Value| server.client().post_with("/proconfToken", &key.sign(&with(&provider, "name", name)), body).status;
    assert_eq!((join(json!("é".repeat(200))), join(json!(""))), (200, 403));
    let sent: Value = serde_json::from_slice(&server.script.requests().last().unwrap().body).unwrap();
    assert_eq!(sent["participantName"], "é".repeat(127));
}

#[test]
fn user_of_the_provider_is_no_account() {
    let key = SigningKey::rsa("rsa");
    let provider = IdentityProvider::start(&[&key]);
    let server = provider.server(&[]);
    server.add_user(EMAIL, PASSWORD);
    let session = server.log_in().data();
    let mut claims = provider.claims();
    (claims["sub"], claims["email"], claims["email_verified"]) = (session["user"]["id"].clone(), EMAIL.into(), true.into());
    let token = key.sign(&claims);
    let own = session["token"].as_str().unwrap();
    let invitation = server.client().post_with("/auth/invitations", own, r#"{"room": "r1"}"#).data();
    let target = format!("/auth/invitations/{}", invitation["id"].as_str().unwrap());
    let revoke = |token: &str| server.client().request(&request("DELETE", target.as_bytes(), Some(token))).status;
    assert_eq!([&token, own].map(revoke), [403, 200], "the account's invitation is not the provider's user's");
    server.manage(async |database, clock| admin::disable(&database, EMAIL, &clock).await);
    assert_eq!(status(&server, &token), 200, "a disabled account is nothing to the provider");
    assert_eq!(server.log_in().status, 401);
}

#[test]
fn provider_token_is_no_ticket_and_no_invitation() {
    let key = SigningKey::rsa("rsa");
    let provider = IdentityProvider::start(&[&key]);
    let server = provider.server(&[]);
    let until = provider.claims()["exp"].clone();
    for kind in ["user-ticket", "identity-ticket", "guest-ticket", "invitation"] {
        for issuer in [provider.issuer.as_str(), "proconf-app-server"] {
            let mut claims = with(&provider, "kind", json!(kind));
            let specific = json!({
                "iss": issuer, "aud": ["proconf-app-server", AUDIENCE], "roomName": "r1", "sid": "s1", "jti": "j1",
                "until": until, "issuer": provider.issuer,
            });
            claims.as_object_mut().unwrap().extend(specific.as_object().unwrap().clone());
            let token = key.sign(&claims);
            for target in ["/callCatchUp/r1/live?ticket=", "/auth/joinmember?roomName=r1&invitation="] {
                server.client().get(&format!("{target}{token}"), None).assert_unauthorized(&format!("{kind} of {issuer}"));
            }
        }
    }
}

#[test]
fn log_names_the_issuer_and_subject_and_no_other_claim() {
    let key = SigningKey::rsa("rsa");
    let provider = IdentityProvider::start(&[&key]);
    let canary = "Ann Canary of the claims";
    secrets::register_phrase(canary);
    let server = ServerProcess::start(
        "http://127.0.0.1:1/api",
        &[("APP_OIDC__ISSUER", &provider.issuer), ("APP_OIDC__AUDIENCE", AUDIENCE)],
    );
    let mut claims = with(&provider, "name", json!(canary));
    claims["email"] = json!("ann-canary-of-the-claims@example.com");
    secrets::register_phrase("ann-canary-of-the-claims@example.com");
    server.client().get("/callConfig", Some(&key.sign(&claims)));
    let line = server.line(0, |line| line["message"] == "request" && line["user"] == "ann");
    assert_eq!(line["issuer"], provider.issuer.as_str());
    claims["exp"] = json!(tokens::now() - 600);
    server.client().get("/callConfig", Some(&key.sign(&claims))).assert_unauthorized("expired");
    let line = server.line(0, |line| line["event"] == "token-rejected");
    assert_eq!((&line["user"], &line["issuer"]), (&Value::Null, &Value::Null), "an unverified token says nothing");
}

#[test]
fn log_says_which_check_of_a_token_failed() {
    let key = SigningKey::rsa("rsa");
    let provider = IdentityProvider::start(&[&key]);
    let settings = [("APP_OIDC__ISSUER", provider.issuer.as_str()), ("APP_OIDC__AUDIENCE", AUDIENCE)];
    let server = ServerProcess::start("http://127.0.0.1:1/api", &settings);
    let sign = |name: &str, value: Value| key.sign(&with(&provider, name, value));
    let sign_header = |header: &str| key.sign_raw(header, &provider.claims().to_string());
    let mut invitation = tokens::user_claims();
    invitation["kind"] = "invitation".into();
    let (valid, other) = (key.sign(&provider.claims()), sign("sub", json!("bob")));
    let altered = valid.replace(valid.rsplit('.').next().unwrap(), other.rsplit('.').next().unwrap());
    for (reason, token) in [
        ("malformed", "opaque".to_owned()),
        ("issuer", sign("iss", json!(format!("{}/", provider.issuer)))),
        ("algorithm", sign_header(r#"{"alg":"RS512","kid":"rsa"}"#)),
        ("type", sign_header(r#"{"alg":"RS256","kid":"rsa","typ":"id+jwt"}"#)),
        ("header", sign_header(r#"{"alg":"RS256","kid":"rsa","crit":["exp"]}"#)),
        ("unknown-key", sign_header(r#"{"alg":"RS256","kid":"another"}"#)),
        ("signature", altered),
        ("id-token", sign("nonce", json!("n"))),
        ("audience", sign("aud", json!("https://other.example.com"))),
        ("subject", key.sign(&without(&provider, "sub"))),
        ("expired", sign("exp", json!(tokens::now() - 600))),
        ("not-yet-valid", sign("nbf", json!(tokens::now() + 600))),
        ("claim", key.sign(&without(&provider, "exp"))),
        ("kind", tokens::signed(tokens::HEADER, &invitation.to_string())),
        ("api-key", "pas_unknown".to_owned()),
    ] {
        let before = server.lines(0, |_| true).len();
        server.client().get("/callConfig", Some(&token)).assert_unauthorized(reason);
        let line = server.line(before, |line| line["event"] == "token-rejected");
        assert_eq!(line["reason"], reason, "{line}");
    }
}

#[test]
fn password_login_can_be_turned_off_while_sessions_go_on() {
    let server = TestServer::with_account(&[]);
    let session = server.log_in().data();
    let off = server.replica(&[("APP_AUTH__PASSWORD_LOGIN", "false")]);
    let (client, other_method) = (off.client(), off.client().get("/auth/login", None));
    for response in [off.log_in(), client.post("/auth/login", "{"), client.post("/auth/login", ""), other_method] {
        response.assert_error(404, "Not found", "login");
        assert_eq!(response.header("x-not-found"), Some("unknown-route"));
    }
    let body = json!({"refreshToken": session["refreshToken"]}).to_string();
    let session = off.client().post("/auth/refresh", &body).data();
    assert_eq!(off.client().get("/meetings", session["token"].as_str()).status, 200);
    off.client().post("/auth/logout", &json!({"refreshToken": session["refreshToken"]}).to_string()).assert_success("null");
}

#[test]
fn check_config_reports_the_provider_and_its_keys() {
    let (rsa, ec) = (SigningKey::rsa("first"), SigningKey::p256("second"));
    let provider = IdentityProvider::start(&[&rsa, &ec]);
    let settings = [("APP_OIDC__ISSUER", provider.issuer.as_str()), ("APP_OIDC__AUDIENCE", AUDIENCE)];
    let line = check_line("identity provider", &settings);
    assert_eq!(line, format!("# identity provider: ok, {}: 2 usable keys (ES256, RS256)", provider.issuer));
    provider.set_key_set(&json!({"keys": [rsa.jwk(), {"kty": "oct", "kid": "third", "k": "AAAA"}]}).to_string());
    let line = check_line("identity provider", &settings);
    assert!(line.ends_with(": 1 usable key (RS256); skipped: third (a symmetric key)"), "{line}");
    let (discovery, keys) =
        (format!("{}/.well-known/openid-configuration", provider.issuer), format!("{}/keys", provider.issuer));
    for (case, expected) in [
        ("none", format!("{}: no usable key", provider.issuer)),
        ("keys", format!("the key set at {keys}: status 503")),
        ("issuer", "the discovery document names the issuer https://x".to_owned()),
        ("down", format!("the discovery document at {discovery}: no response")),
    ] {
        match case {
            "none" => provider.set_keys(&[]),
            "keys" => {
                provider.set_discovery("jwks_uri", json!(format!("{keys}?key=canary")));
                provider.respond_with(http("503 Service Unavailable", ""));
            }
            "issuer" => provider.set_discovery("issuer", json!("https://x")),
            _ => provider.go_down(),
        }
        let line = check_line("identity provider", &settings);
        assert!(
            line.starts_with("# identity provider: FAILED, ") && line.contains(&expected) && !line.contains("canary"),
            "{line}"
        );
    }
    assert_eq!(check_config(&settings).0, 69);
}

#[test]
fn invalid_setting_of_the_provider_is_named() {
    let base = [("APP_OIDC__ISSUER", "https://id.example.com"), ("APP_OIDC__AUDIENCE", AUDIENCE)];
    let long = "must be 60s or shorter";
    for (setting, value, problem) in [
        ("APP_OIDC__ISSUER", "http://id.example.com", "must be an https:// URL, or http:// to a loopback address"),
        ("APP_OIDC__ISSUER", "id.example.com", "must be an https:// URL, or http:// to a loopback address"),
        ("APP_OIDC__JWKS_URL", "http://203.0.113.7/keys", "must be an https:// URL, or http:// to a loopback address"),
        ("APP_OIDC__ISSUER", "https://ann:canary@id.example.com", "without user name and password"),
        ("APP_OIDC__JWKS_URL", "https://ann:canary@id.example.com/keys", "without user name and password"),
        ("APP_OIDC__ISSUER", " https://id.example.com", "must have no blank, no query and no fragment"),
        ("APP_OIDC__ISSUER", "https://id.example.com/a\tb", "must have no blank, no query and no fragment"),
        ("APP_OIDC__ISSUER", "https://id.example.com/?a=b", "must have no blank, no query and no fragment"),
        ("APP_OIDC__ISSUER", "https://id.example.com/#a", "must have no blank, no query and no fragment"),
        ("APP_OIDC__AUDIENCE", "", "is required with APP_OIDC__ISSUER"),
        ("APP_OIDC__AUDIENCE", "proconf,account", "must not be account"),
        ("APP_OIDC__ALGORITHMS", "RS256,HS256", "must be of RS256, RS384"),
        ("APP_OIDC__ALGORITHMS", "none", "must be of RS256, RS384"),
        ("APP_OIDC__NAME_CLAIM", "a..b", "must be the name of a claim"),
        ("APP_OIDC__ROLES_CLAIM", ".roles", "must be the name of a claim"),
        ("APP_OIDC__ROLES_CLAIM", "roles", "APP_OIDC__ROLES_MAP and APP_OIDC__ROLES_CLAIM must be set together"),
        ("APP_OIDC__ROLES_MAP", "admin=owner", "APP_OIDC__ROLES_MAP and APP_OIDC__ROLES_CLAIM must be set together"),
        ("APP_OIDC__ROLES_MAP", "admin", "must be pairs such as admin=owner"),
        ("APP_OIDC__ROLES_MAP", "admin=", "must be pairs such as admin=owner"),
        ("APP_OIDC__LEEWAY", "2m", long),
    ] {
        let (code, text) = check_config(&[&base[..], &[(setting, value)]].concat());
        assert_eq!(code, 78, "{setting}={value}: {text}");
        assert!(text.contains(problem) && text.contains(setting) && !text.contains("canary"), "{setting}={value}: {text}");
    }
    for (setting, value) in [
        ("APP_OIDC__AUDIENCE", AUDIENCE),
        ("APP_OIDC__JWKS_URL", "https://id.example.com/keys"),
        ("APP_OIDC__ROOMS_CLAIM", "rooms"),
        ("APP_OIDC__ROLES_CLAIM", "roles"),
    ] {
        let (code, text) = check_config(&[(setting, value)]);
        assert!(code == 78 && text.contains("APP_OIDC__ISSUER is required with"), "{setting}: {text}");
    }
    let (code, text) = check_config(&[&base[..], &[("APP_AUTH__ISSUER", "https://id.example.com")]].concat());
    assert!(code == 78 && text.contains("must differ from APP_AUTH__ISSUER"), "{text}");
    let (_, text) = check_config(&[&base[..], &[("APP_OIDC__JWKS_URL", "https://127.0.0.1:1/keys?key=canary")]].concat());
    assert!(text.contains("APP_OIDC__JWKS_URL=https://127.0.0.1:1/keys?[redacted]") && !text.contains("canary"), "{text}");
}
