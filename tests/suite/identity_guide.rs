//! The set-ups of `docs/IDENTITY.md`: the settings are valid, and a token such as the page shows is accepted.

use std::collections::BTreeMap;
use std::process::Command;

use proconf_app_server::config::Config;
use serde_json::{Value, json};

use crate::support::SECRET;
use crate::support::identity_provider::{IdentityProvider, SigningKey};
use crate::support::tokens::now;

const GUIDE: &str = include_str!("../../docs/IDENTITY.md");

/// The set-up of one provider.
struct Setup {
    text: &'static str,
    settings: Vec<(&'static str, &'static str)>,
}

impl Setup {
    /// The section with this title.
    fn of(provider: &str) -> Self {
        let text = GUIDE.split(&format!("\n## {provider}\n")).nth(1).unwrap().split("\n## ").next().unwrap();
        let settings = block(text, "ini").lines().map(|line| line.split_once('=').unwrap()).collect();
        Self { text, settings }
    }

    fn setting(&self, name: &str) -> &'static str {
        self.settings.iter().find(|(setting, _)| *setting == name).map_or("", |(_, value)| value)
    }

    /// The shown claims as a token of `provider` has them now.
    fn claims(&self, provider: &IdentityProvider) -> Value {
        let issuer = self.setting("APP_OIDC__ISSUER");
        let mut claims: Value = serde_json::from_str(&block(self.text, "json").replace(issuer, &provider.issuer)).unwrap();
        claims["iat"] = now().into();
        claims["exp"] = (now() + 600).into();
        claims
    }

    /// Starts a fake provider whose issuer has the same path.
    fn start_provider(&self, key: &SigningKey) -> IdentityProvider {
        let address = self.setting("APP_OIDC__ISSUER").strip_prefix("https://").unwrap();
        IdentityProvider::start_at(&address[address.find('/').unwrap()..], &[key])
    }
}

/// The first code block of a language.
fn block(text: &'static str, language: &str) -> &'static str {
    let start = format!("```{language}\n");
    text.split(&start).nth(1).and_then(|rest| rest.split("```").next()).unwrap_or_else(|| panic!("no {language}"))
}

/// Asserts the status of a token with `claims`, of a request to join as moderator, and of one as owner.
#[track_caller]
fn assert_statuses(setup: &Setup, change: impl Fn(&mut Value), expected: [u16; 3]) {
    let key = SigningKey::rsa("k1");
    let provider = setup.start_provider(&key);
    let issuer = [("APP_OIDC__ISSUER", provider.issuer.as_str())];
    let server = provider.server(&[&setup.settings, &issuer[..]].concat());
    let mut claims = setup.claims(&provider);
    change(&mut claims);
    let token = key.sign(&claims);
    let join = |role: &str| {
        let body = json!({"role": role, "room": "r1", "participantName": "Ann"}).to_string();
        server.client().post_with("/proconfToken", &token, &body).status
    };
    let found = [server.client().get("/callCatchUp/r1", Some(&token)).status, join("moderator"), join("owner")];
    assert_eq!(found, expected, "{claims}");
}

const PROVIDERS: [&str; 4] = ["Keycloak", "Auth0", "Microsoft Entra ID", "Firebase"];

#[test]
fn documented_settings_are_valid() {
    for provider in PROVIDERS {
        let required = [("APP_ADMIN_CONTROL__BASE_URL", "http://127.0.0.1:1/api"), ("APP_AUTH__JWT_SECRET", SECRET)];
        let settings = Setup::of(provider).settings.into_iter().chain(required);
        let environment: BTreeMap<String, String> =
            settings.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let result = Config::load(&environment, None);
        assert!(result.is_ok(), "{provider}: {:?}", result.err());
    }
}

#[test]
fn documented_tokens_are_accepted_with_their_roles() {
    for provider in PROVIDERS {
        let setup = Setup::of(provider);
        assert_statuses(&setup, |_| {}, [200, 200, 403]);
        let name = Some(setup.setting("APP_OIDC__NAME_CLAIM")).filter(|name| !name.is_empty()).unwrap_or("name");
        let claims: Value = serde_json::from_str(block(setup.text, "json")).unwrap();
        assert_eq!(claims[name], "Ann Lee", "{provider}");
    }
}

#[test]
fn id_token_of_any_provider_is_rejected() {
    for provider in PROVIDERS {
        assert_statuses(&Setup::of(provider), |claims| claims["nonce"] = "n-0S6_WzA2Mj".into(), [401; 3]);
    }
}

#[test]
fn token_for_another_service_of_keycloak_is_rejected() {
    assert_statuses(&Setup::of("Keycloak"), |claims| claims["aud"] = "account".into(), [401; 3]);
}

#[test]
fn auth0_issuer_without_its_slash_is_rejected() {
    let without_slash = |claims: &mut Value| {
        let issuer = claims["iss"].as_str().unwrap().strip_suffix('/').unwrap();
        claims["iss"] = issuer.into();
    };
    assert_statuses(&Setup::of("Auth0"), without_slash, [401; 3]);
}

#[test]
fn auth0_action_writes_the_shown_claims() {
    let setup = Setup::of("Auth0");
    let call = "exports.onExecutePostLogin({user: {name: 'Ann Lee'}, authorization: {roles: ['Meeting host']}},
                {accessToken: {setCustomClaim: (name, value) => console.log(JSON.stringify([name, value]))}})";
    let output = Command::new("node").args(["-e", &format!("{}{call}", block(setup.text, "js"))]).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let claims: Value = serde_json::from_str(block(setup.text, "json")).unwrap();
    let written: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(written.len(), 2, "{}", String::from_utf8_lossy(&output.stderr));
    for pair in written {
        assert_eq!(claims[pair[0].as_str().unwrap()], pair[1]);
    }
}

#[test]
fn entra_token_of_version_1_is_rejected() {
    let to_version_1 = |claims: &mut Value| {
        claims["iss"] = "https://sts.windows.net/9122040d-6c67-4c5b-b112-36a304b66dad/".into();
        claims["aud"] = "api://6e74172b-be56-4843-9ff4-e66a39bb12e3".into();
    };
    assert_statuses(&Setup::of("Microsoft Entra ID"), to_version_1, [401; 3]);
}

#[test]
fn entra_user_with_too_many_groups_is_a_member() {
    let overage = |claims: &mut Value| {
        claims.as_object_mut().unwrap().remove("roles");
        claims["_claim_names"] = json!({"groups": "src1"});
        claims["_claim_sources"] = json!({"src1": {"endpoint": "https://graph.windows.net/users/x/getMemberObjects"}});
    };
    assert_statuses(&Setup::of("Microsoft Entra ID"), overage, [200, 403, 403]);
}

#[test]
fn session_cookie_of_firebase_is_rejected() {
    let to_cookie = |claims: &mut Value| claims["iss"] = "https://session.firebase.google.com/team-1234".into();
    assert_statuses(&Setup::of("Firebase"), to_cookie, [401; 3]);
}
