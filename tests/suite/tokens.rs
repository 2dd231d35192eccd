//! Tampered tokens: each is a 401 without a call to Admin Control or another host.
//!
//! Valid tokens in between show that the rejections have no other reason.

use aws_lc_rs::hmac::{HMAC_SHA256, HMAC_SHA384, HMAC_SHA512};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
    RsaKeyPair,
};
use serde_json::{Value, json};

use crate::support::client::request;
use crate::support::fake_upstream::FakeUpstream;
use crate::support::tokens::{HEADER, b64, guest_claims, message, now, signed, signed_with, user_claims};
use crate::support::{SECRET, TestServer, tokens};

/// Every route that requires a token.
const ROUTES: [(&str, &str); 8] = [
    ("POST", "/proconfToken"),
    ("GET", "/callConfig"),
    ("GET", "/callStatus?roomName=r1"),
    ("GET", "/callStatus/r1"),
    ("GET", "/callCatchUp/r1"),
    ("GET", "/callCatchUp?roomName=r1"),
    ("GET", "/callSummary/r1"),
    ("GET", "/meetings"),
];
const CATCH_UP: &str = "/callCatchUp/r1";

/// Asserts that each token is rejected on every route without a call.
#[track_caller]
fn assert_all_rejected(tokens: impl IntoIterator<Item = String>) {
    let server = TestServer::start();
    let mut count = 0;
    for token in tokens {
        for (method, target) in ROUTES {
            let response = server.client().request(&request(method, target.as_bytes(), Some(&token)));
            response.assert_unauthorized(&format!("{target}: {}", token.chars().take(300).collect::<String>()));
        }
        count += 1;
    }
    assert!(count > 0);
    assert_eq!(server.calls(), 0);
    server.client().get(CATCH_UP, Some(&tokens::user())).assert_success(r#""r1""#);
}

#[track_caller]
fn assert_all_accepted(tokens: impl IntoIterator<Item = String>) {
    let server = TestServer::start();
    for token in tokens {
        for (method, target) in ROUTES {
            let response = server.client().request(&request(method, target.as_bytes(), Some(&token)));
            assert_ne!(response.status, 401, "{target}: {token}");
        }
        server.client().get(CATCH_UP, Some(&token)).assert_success(r#""r1""#);
    }
}

fn payload() -> String {
    user_claims().to_string()
}

/// Returns a user token with a changed claim, signed with the right key.
fn with(name: &str, value: Value) -> String {
    let mut claims = user_claims();
    claims[name] = value;
    signed(HEADER, &claims.to_string())
}

fn without(name: &str) -> String {
    let mut claims = user_claims();
    claims.as_object_mut().unwrap().remove(name);
    signed(HEADER, &claims.to_string())
}

/// Returns a user token with one more header member, signed with the right key.
fn with_header(member: &str) -> String {
    signed(&format!(r#"{{"alg":"HS256","typ":"JWT",{member}}}"#), &payload())
}

#[test]
fn alg_none_is_rejected_in_every_spelling() {
    let spellings = (0..16).map(|bits| {
        let letter = |(at, c): (usize, char)| if bits >> at & 1 == 1 { c.to_ascii_uppercase() } else { c };
        "none".chars().enumerate().map(letter).collect::<String>()
    });
    assert_all_rejected(spellings.flat_map(|alg| {
        let header = format!(r#"{{"alg":"{alg}","typ":"JWT"}}"#);
        let unsigned = message(header.as_bytes(), payload().as_bytes());
        let stolen = tokens::user();
        let signature = stolen.rsplit('.').next().unwrap();
        [format!("{unsigned}."), unsigned.clone(), format!("{unsigned}.{signature}"), signed(&header, &payload())]
    }));
}

#[test]
fn alg_other_than_hs256_is_rejected() {
    let algs = [
        "\"\"",
        "null",
        "0",
        "true",
        "[]",
        "[\"HS256\"]",
        "{}",
        "\"hs256\"",
        "\"Hs256\"",
        "\" HS256\"",
        "\"HS256 \"",
        "\"HS256\\u0000\"",
        "\"HS-256\"",
        "\"HS1\"",
        "\"SHA256\"",
        "\"HS384\"",
        "\"HS512\"",
        "\"RS256\"",
        "\"PS256\"",
        "\"ES256\"",
        "\"EdDSA\"",
        "\"dir\"",
    ];
    let renamed = algs.map(|alg| signed(&format!(r#"{{"alg":{alg},"typ":"JWT"}}"#), &payload()));
    let other_hmacs = [("HS384", HMAC_SHA384), ("HS512", HMAC_SHA512), ("HS256", HMAC_SHA384), ("HS256", HMAC_SHA512)].map(
        |(alg, hmac)| {
            let header = format!(r#"{{"alg":"{alg}","typ":"JWT"}}"#);
            signed_with(hmac, SECRET.as_bytes(), header.as_bytes(), payload().as_bytes())
        },
    );
    let missing = signed(r#"{"typ":"JWT"}"#, &payload());
    assert_all_rejected(renamed.into_iter().chain(other_hmacs).chain([missing]));
}

#[test]
fn token_signed_with_another_key_is_rejected() {
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    let ed = Ed25519KeyPair::generate().unwrap();
    let random = SystemRandom::new();
    let message_with = |alg: &str| message(format!(r#"{{"alg":"{alg}","typ":"JWT"}}"#).as_bytes(), payload().as_bytes());
    let rsa_signed = |alg: &str, padding| {
        let (message, mut signature) = (message_with(alg), vec![0; rsa.public_modulus_len()]);
        rsa.sign(padding, &random, message.as_bytes(), &mut signature).unwrap();
        format!("{message}.{}", b64(signature))
    };
    let signatures = [
        rsa_signed("RS256", &RSA_PKCS1_SHA256),
        rsa_signed("PS256", &RSA_PSS_SHA256),
        rsa_signed("HS256", &RSA_PKCS1_SHA256),
        format!("{0}.{1}", message_with("ES256"), b64(ec.sign(&random, message_with("ES256").as_bytes()).unwrap())),
        format!("{0}.{1}", message_with("EdDSA"), b64(ed.sign(message_with("EdDSA").as_bytes()))),
    ];
    // Public keys as HMAC secrets (RS256 confused with HS256), and weak or documented secrets.
    let public = [rsa.public_key().as_ref(), ec.public_key().as_ref(), ed.public_key().as_ref()];
    let known = [
        "",
        "\0",
        "secret",
        "password",
        "changeme",
        "proconf-app-server",
        "127.0.0.1",
        "r1",
        "your-256-bit-secret",
        "{}",
        "demo",
    ];
    let zeros = [[0; 32].to_vec(), [0; 64].to_vec()];
    let keys = public.into_iter().chain(known.iter().map(|key| key.as_bytes())).chain(zeros.iter().map(Vec::as_slice));
    let confused: Vec<String> = keys
        .flat_map(|key| {
            [HEADER, r#"{"alg":"RS256","typ":"JWT"}"#]
                .map(|header| signed_with(HMAC_SHA256, key, header.as_bytes(), payload().as_bytes()))
        })
        .collect();
    assert_all_rejected(signatures.into_iter().chain(confused));
}

#[test]
fn key_or_url_in_the_header_is_never_used() {
    let canary = FakeUpstream::canary();
    let own_key = "an attacker's key, an attacker's";
    let url = format!("http://127.0.0.1:{}/key", canary.port);
    let jwk = json!({"kty": "oct", "k": b64(own_key), "alg": "HS256"});
    let headers: Vec<String> = [
        json!({"kid": "../../../../dev/null"}),
        json!({"kid": "/dev/null"}),
        json!({"kid": ""}),
        json!({"kid": 0}),
        json!({"kid": null}),
        json!({"kid": []}),
        json!({"kid": "|sleep 10"}),
        json!({"kid": "x' UNION SELECT '1';--"}),
        json!({"kid": url}),
        json!({"kid": "x".repeat(4000)}),
        json!({"jwk": jwk}),
        json!({"jwk": {"kty": "oct", "k": b64(own_key), "alg": "none"}}),
        json!({"jku": url}),
        json!({"jku": "file:///dev/null"}),
        json!({"x5u": url}),
        json!({"x5u": "file:///dev/null"}),
        json!({"x5c": [b64(own_key)]}),
        json!({"x5t": b64(own_key)}),
        json!({"x5t#S256": b64(own_key)}),
        json!({"jwk": jwk, "kid": "own", "jku": url}),
    ]
    .into_iter()
    .map(|mut header| {
        header["alg"] = "HS256".into();
        header.to_string()
    })
    .collect();
    let keys = [own_key, "", "1", "\0"];
    assert_all_rejected(headers.iter().flat_map(|header| {
        keys.map(|key| signed_with(HMAC_SHA256, key.as_bytes(), header.as_bytes(), payload().as_bytes()))
    }));
    // With the right key such a token may be accepted; still no host is contacted.
    let server = TestServer::start();
    let status = |header: &String| server.client().get(CATCH_UP, Some(&signed(header, &payload()))).status;
    let statuses: Vec<u16> = headers.iter().map(status).collect();
    assert!(statuses.iter().all(|status| matches!(status, 200 | 401)) && statuses.contains(&200), "{statuses:?}");
    assert_eq!(canary.connections(), 0);
}

#[test]
fn crit_or_malformed_header_is_rejected() {
    let crits = [
        r#""crit":["foo"]"#,
        r#""crit":["foo"],"foo":1"#,
        r#""crit":["exp"],"exp":1"#,
        r#""crit":["b64"],"b64":false"#,
        r#""crit":[]"#,
        r#""crit":"foo""#,
        r#""crit":null"#,
        r#""crit":{}"#,
        r#""typ2":1,"crit":false"#,
    ];
    let types =
        ["1", "null", "[]", "true", "{}"].map(|typ| signed(&format!(r#"{{"alg":"HS256","typ":{typ}}}"#), &payload()));
    let headers = [
        "[]",
        r#"["HS256"]"#,
        r#"["JWT","HS256"]"#,
        r#""HS256""#,
        "{",
        "",
        "null",
        "1",
        r#"{"alg":"HS256"}x"#,
        r#"{"alg":"HS256"}{}"#,
        r#"{"alg":"none","alg":"HS256"}"#,
        r#"{"alg":"HS256","alg":"none"}"#,
        r#"{"alg":"HS256","alg":"HS256"}"#,
        r#"{"alg":"HS256","\u0061lg":"none"}"#,
        "\u{feff}{\"alg\":\"HS256\"}",
    ];
    let deep = "[".repeat(3_000);
    assert_all_rejected(
        crits
            .map(with_header)
            .into_iter()
            .chain(types)
            .chain(headers.map(|header| signed(header, &payload())))
            .chain([signed(&deep, &payload())]),
    );
    assert_all_accepted([
        signed(r#"{"alg":"HS256"}"#, &payload()),
        signed(r#" { "typ" : "jwt" , "alg" : "\u0048S256" } "#, &payload()),
        signed(r#"{"alg":"HS256","typ":"at+jwt","cty":"x"}"#, &payload()),
    ]);
}

#[test]
fn changed_signature_is_rejected() {
    let good = tokens::user();
    let (message, signature) = good.rsplit_once('.').unwrap();
    let cut = [0, 1, 2, 3, 4, 8, 42].map(|length| format!("{message}.{}", &signature[..length]));
    let flipped = (0..256).step_by(5).map(|bit| {
        use base64::Engine as _;
        let mut mac = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(signature).unwrap();
        mac[bit / 8] ^= 1 << (bit % 8);
        format!("{message}.{}", b64(mac))
    });
    // The last character carries four bits of the MAC and two of nothing: three more spellings of the same bytes.
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let last = alphabet.find(signature.chars().last().unwrap()).unwrap();
    let respelled = (1..4).map(|more| format!("{}{}", &good[..good.len() - 1], &alphabet[last + more..=last + more]));
    let trailing = ["A", "AA", "AAAA", "=", "==", ".", ".x", ".a.b", "%3D", ",", "\"", " garbage", ";"]
        .map(|garbage| format!("{good}{garbage}"));
    let leading = [".", ",", "\"", "%20", "="].map(|garbage| format!("{garbage}{good}"));
    let (header, payload) = message.split_once('.').unwrap();
    let inside = ["=", "==", "%0a", "\t", " ", "+", "/"].into_iter().flat_map(|garbage| {
        [format!("{header}{garbage}.{payload}.{signature}"), format!("{header}.{payload}{garbage}.{signature}")]
    });
    let zero = [
        format!("{message}.{}", b64([0; 32])),
        format!("{message}.{}", b64([0; 31])),
        format!("{message}.{}", b64([0; 33])),
    ];
    assert_all_rejected(
        cut.into_iter().chain(flipped).chain(respelled).chain(trailing).chain(leading).chain(inside).chain(zero),
    );
}

#[test]
fn changed_header_or_payload_is_rejected() {
    let good = tokens::user();
    let parts: Vec<&str> = good.split('.').collect();
    let mut promoted = user_claims();
    promoted["sub"] = "u2".into();
    let other_spelling = r#"{ "typ":"JWT", "alg":"HS256" }"#;
    assert_all_rejected([
        format!("{}.{}.{}", parts[0], b64(promoted.to_string()), parts[2]),
        format!("{}.{}.{}", parts[0], b64(format!(" {}", payload())), parts[2]),
        format!("{}.{}.{}", b64(other_spelling), parts[1], parts[2]),
        format!("{}.{}.{}", parts[1], parts[0], parts[2]),
        format!("{}.{}.{}", parts[0], tokens::guest("r1").split('.').nth(1).unwrap(), parts[2]),
    ]);
    assert_all_accepted([signed(other_spelling, &format!(" {} ", payload()))]);
}

#[test]
fn token_without_three_parts_is_rejected() {
    let good = tokens::user();
    let parts: Vec<&str> = good.split('.').collect();
    let json_serialised = json!({"payload": parts[1], "protected": parts[0], "signature": parts[2]}).to_string();
    assert_all_rejected([
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}", parts[0], parts[1]),
        parts[0].to_owned(),
        format!("{}.", parts[0]),
        ".".to_owned(),
        "..".to_owned(),
        "...".to_owned(),
        ".".repeat(10_000),
        "x".to_owned(),
        "null".to_owned(),
        "undefined".to_owned(),
        "{}".to_owned(),
        "Bearer".to_owned(),
        json_serialised,
        format!("{good}.{}", parts[2]),
        format!("{}..{}.{}", parts[0], parts[1], parts[2]),
        format!("{}.{}.{}.{}.{}", parts[0], "", parts[1], parts[2], parts[2]),
        good.replace('.', ".."),
        format!("{good}, Bearer {good}"),
    ]);
}

#[test]
fn payload_that_is_not_one_object_is_rejected() {
    let payload = payload();
    let texts = [
        "[]",
        "\"a\"",
        "1",
        "",
        "{}",
        "null",
        "{\"a\":",
        &format!("{payload}{{}}"),
        &format!("\u{feff}{payload}"),
        &format!("{payload}\0"),
        &format!("[{payload}]"),
        &payload.replace("\"u1\"", "\"\\ud800\""),
        &format!("{{\"deep\":{},{}", "[".repeat(5_000), &payload[1..]),
    ]
    .map(|text| signed(HEADER, text));
    let utf16: Vec<u8> = payload.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let bad_utf8 =
        payload.replace("u1", "u#").into_bytes().iter().map(|&byte| if byte == b'#' { 0xff } else { byte }).collect();
    let bytes =
        [utf16, bad_utf8].map(|bytes: Vec<u8>| signed_with(HMAC_SHA256, SECRET.as_bytes(), HEADER.as_bytes(), &bytes));
    assert_all_rejected(texts.into_iter().chain(bytes));
}

#[test]
fn exp_that_is_past_or_not_an_integer_is_rejected() {
    let texts = [
        "1e400",
        "NaN",
        "Infinity",
        "18446744073709551616",
        "10000000000000000000000000000000000000000",
        "1e18",
        "9999999999.0",
    ];
    let raw = texts.map(|exp| {
        signed(HEADER, &payload().replace(&format!("\"exp\":{}", user_claims()["exp"]), &format!("\"exp\":{exp}")))
    });
    let values = [
        json!(now()),
        json!(now() - 1),
        json!(now() - 30),
        json!(now() - 59),
        json!(0),
        json!(-1),
        json!(i64::MIN),
        json!(-0.5),
        json!("never"),
        json!((now() + 600).to_string()),
        json!(null),
        json!(true),
        json!([]),
        json!({}),
        json!([now() + 600]),
    ];
    assert_all_rejected(values.map(|exp| with("exp", exp)).into_iter().chain(raw).chain([without("exp")]));
    assert_all_accepted([with("exp", json!(i64::MAX)), with("exp", json!(u64::MAX)), with("exp", json!(now() * 1000))]);
}

#[test]
fn nbf_in_the_future_or_missing_iat_is_rejected() {
    let nbf =
        [json!(now() + 3600), json!(now() + 5), json!("x"), json!({}), json!(null), json!(0.5)].map(|nbf| with("nbf", nbf));
    let iat = [json!("x"), json!(null), json!(1.5)].map(|iat| with("iat", iat));
    assert_all_rejected(nbf.into_iter().chain(iat).chain([without("iat")]));
    assert_all_accepted([with("nbf", json!(now() - 10)), with("iat", json!(now() + 3600)), with("iat", json!(0))]);
}

#[test]
fn foreign_or_missing_claim_is_rejected() {
    let issuers = [
        "\"evil\"",
        "1",
        "null",
        "\"\"",
        "[\"evil\",\"proconf-app-server\"]",
        "[\"proconf-app-server\"]",
        "\"proconf-app-server \"",
        "\"Proconf-App-Server\"",
    ];
    let audiences =
        ["\"evil\"", "1", "null", "\"\"", "{}", "[]", "[\"evil\"]", "[1,\"proconf-app-server\"]", "\"proconf-app-server \""];
    let subjects = ["null", "1", "\"\"", "[]", "{}"];
    let kinds = ["null", "1", "\"\"", "\"admin\"", "\"User\"", "\"user \"", "[\"user\"]", "true"];
    let json = |text: &&str| serde_json::from_str::<Value>(text).unwrap();
    let wrong = issuers
        .iter()
        .map(|value| with("iss", json(value)))
        .chain(audiences.iter().map(|value| with("aud", json(value))))
        .chain(subjects.iter().flat_map(|value| [with("sub", json(value)), with("sid", json(value))]))
        .chain(kinds.iter().map(|value| with("kind", json(value))));
    let missing = ["iss", "aud", "sub", "sid", "kind"].map(without);
    assert_all_rejected(wrong.chain(missing));
    assert_all_accepted([
        with("aud", json!(["evil", "proconf-app-server"])),
        with("aud", json!(["proconf-app-server"])),
        with("extra", json!([[]])),
    ]);
}

#[test]
fn guest_token_without_its_room_or_guest_is_rejected() {
    let change = |name: &str, value: Option<Value>| {
        let mut claims = guest_claims("r1");
        match value {
            Some(value) => claims[name] = value,
            None => drop(claims.as_object_mut().unwrap().remove(name)),
        }
        signed(HEADER, &claims.to_string())
    };
    let wrong = ["roomName", "userId", "sub"].into_iter().flat_map(|name| {
        [None, Some(json!(null)), Some(json!("")), Some(json!(1)), Some(json!(["r1"]))].map(|value| change(name, value))
    });
    let rooms = ["..", "a/b", " ", "%2e", "\0", &"a".repeat(256)].map(|room| change("roomName", Some(json!(room))));
    // A guest token with the kind of a user has no session.
    let promoted = change("kind", Some(json!("user")));
    assert_all_rejected(wrong.chain(rooms).chain([promoted]));
    assert_all_accepted([tokens::guest("r1")]);
}

#[test]
fn repeated_claim_is_rejected() {
    let payload = payload();
    let (past, future) = (now() - 600, now() + 600);
    let twice = [
        format!("\"exp\":{future}"),
        format!("\"exp\":{past}"),
        "\"sub\":\"u2\"".to_owned(),
        "\"sub\":\"u1\"".to_owned(),
        "\"aud\":\"proconf-app-server\"".to_owned(),
        "\"iss\":\"evil\"".to_owned(),
        "\"kind\":\"user\"".to_owned(),
        "\"sid\":\"s2\"".to_owned(),
        format!("\"\\u0065xp\":{past}"),
        "\"extra\":1,\"extra\":2".to_owned(),
    ];
    assert_all_rejected(twice.into_iter().flat_map(|member| {
        let (first, last) =
            (format!("{{{member},{}", &payload[1..]), format!("{},{member}}}", &payload[..payload.len() - 1]));
        [signed(HEADER, &first), signed(HEADER, &last)]
    }));
}

#[test]
fn authorization_header_other_than_one_bearer_is_401() {
    let server = TestServer::start();
    let good = tokens::user();
    let bad = format!("{good}x");
    let fetch = |lines: &[String]| {
        let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        server.client().request(format!("GET /callCatchUp/r1 HTTP/1.1\r\nHost: t\r\n{lines}\r\n").as_bytes())
    };
    for line in [
        format!("Authorization: bearer {good}"),
        format!("authorization: BEARER {good}"),
        format!("AUTHORIZATION: bEaReR {good}"),
        format!("Authorization: Bearer  {good}"),
        format!("Authorization: Bearer     {good}"),
        format!("Authorization:  \t Bearer {good} \t "),
        format!("Authorization:Bearer {good}"),
    ] {
        fetch(&[line]).assert_success(r#""r1""#);
    }
    assert_eq!(server.calls(), 7);
    let header = |value: &str| vec![format!("Authorization: {value}")];
    for lines in [
        vec![],
        header(""),
        header("Bearer"),
        header("Bearer "),
        header("Bearer null"),
        header("Bearer {}"),
        header(&good),
        header(&format!("Bearer:{good}")),
        header(&format!("Bearer{good}")),
        header(&format!("Bearer\t{good}")),
        header(&format!("Bearer\u{a0}{good}")),
        header(&format!("Bearer%20{good}")),
        header(&format!("Basic {good}")),
        header(&format!("Token {good}")),
        header(&format!("JWT {good}")),
        header(&format!("Bearer \"{good}\"")),
        header(&format!("Bearer {good}, Bearer {good}")),
        header(&format!("Bearer {good} {good}")),
        header(&format!("Bearer Bearer {good}")),
        [header(&format!("Bearer {good}")), header(&format!("Bearer {good}"))].concat(),
        [header(&format!("Bearer {good}")), header(&format!("Bearer {bad}"))].concat(),
        [header(&format!("Bearer {bad}")), header(&format!("Bearer {good}"))].concat(),
        [header(&format!("Bearer {good}")), header("")].concat(),
        vec![format!("Cookie: token={good}; Authorization=Bearer {good}")],
        vec![format!("Proxy-Authorization: Bearer {good}")],
        vec![format!("X-Access-Token: {good}")],
        vec![format!("Sec-WebSocket-Protocol: Bearer, {good}")],
        vec![format!("X-Authorization: Bearer {good}")],
    ] {
        let response = fetch(&lines);
        response.assert_unauthorized(&lines.join(" | "));
        // Another scheme is as no token (RFC 6750 section 3.1).
        let is_sent = lines.iter().any(|line| line.starts_with("Authorization: Bearer ") && !line.ends_with(' '));
        let expected = if is_sent { r#"Bearer error="invalid_token""# } else { "Bearer" };
        assert_eq!(response.challenge(), Some(expected), "{lines:?}");
    }
    assert_eq!(server.calls(), 7);
}

#[test]
fn token_outside_the_authorization_header_is_401() {
    let server = TestServer::start();
    let good = tokens::user();
    for query in ["token", "access_token", "authorization", "Authorization", "jwt", "bearer"] {
        server.client().get(&format!("/callCatchUp/r1?{query}={good}"), None).assert_unauthorized(query);
        server.client().get(&format!("/callCatchUp/r1?{query}=Bearer%20{good}"), None).assert_unauthorized(query);
    }
    let body = format!("GET /callCatchUp/r1 HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\n\r\ntoken={good}", good.len() + 6);
    server.client().request(body.as_bytes()).assert_unauthorized("in the body");
    assert_eq!(server.calls(), 0);
}

#[test]
fn token_over_8_kb_is_rejected() {
    let of_length = |length: usize| {
        let base = with("pad", json!(""));
        let mut pad = (length - base.len()) * 3 / 4;
        while with("pad", json!("x".repeat(pad))).len() > length {
            pad -= 1;
        }
        with("pad", json!("x".repeat(pad)))
    };
    assert_all_accepted([of_length(4_096), of_length(8_192)]);
    assert_all_rejected([of_length(8_196), of_length(12_000), of_length(60_000)]);
    // A head over the parser's limit (128 KiB) is rejected before its token is read.
    let server = TestServer::start();
    for length in [131_072, 1_000_000] {
        for (method, target) in ROUTES {
            let response = server.client().request(&request(method, target.as_bytes(), Some(&"x".repeat(length))));
            assert!(matches!(response.status, 400 | 431) && response.body.is_empty(), "{target}, {length}: {response:?}");
        }
    }
    assert_eq!(server.calls(), 0);
}
