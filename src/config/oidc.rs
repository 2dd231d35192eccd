//! The section `[oidc]`, and its validation.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Error;
use super::sections::section;
use super::values::{self, List, SecretUrl};

/// The algorithms that a provider's tokens may be signed with. Symmetric ones would need its secret.
const ALGORITHMS: [&str; 9] = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];

section! {
    /// `[oidc]`: the team's own identity provider, by the standard OIDC.
    OidcConfig {
        /// The `iss` of its tokens; none accepts no tokens of a provider.
        #[serde(deserialize_with = "values::issuer")]
        issuer: Option<String>,
        /// Audiences, one of which must be in `aud`. Required with an issuer.
        audience: List<String>,
        /// Where its keys are; none to discover it.
        #[serde(deserialize_with = "values::https_url")]
        jwks_url: Option<SecretUrl>,
        /// Accepted algorithms.
        algorithms: List<String> = List::of(["RS256", "ES256"]),
        /// Claim of the display name.
        name_claim: String = "name".to_owned(),
        /// Claim of the roles.
        roles_claim: Option<String>,
        /// Roles of the provider, each with a role in calls: `admin=owner`.
        roles_map: List<String>,
        /// Claim of the rooms.
        rooms_claim: Option<String>,
        /// Accepted difference of clocks; 60 s at most.
        #[serde(deserialize_with = "values::up_to_a_minute", serialize_with = "values::format_duration")]
        leeway: Duration = Duration::from_secs(30),
    }
}

impl OidcConfig {
    /// Checks that the settings are complete.
    ///
    /// # Errors
    ///
    /// The first invalid setting.
    pub(super) fn validate(&self, own_issuer: &str) -> Result<(), Error> {
        let is_mapping =
            |entry: &String| mapping(entry).is_some_and(|(theirs, ours)| !theirs.is_empty() && !ours.is_empty());
        let is_path = |path: &String| path.split('.').all(|name| !name.is_empty());
        let no_path = "must be the name of a claim, or a path of names such as realm_access.roles";
        let needs_issuer = self.jwks_url.is_some() || self.roles_claim.is_some() || self.rooms_claim.is_some();
        Error::first([
            (!is_path(&self.name_claim), "APP_OIDC__NAME_CLAIM", no_path),
            (!self.roles_claim.as_ref().is_none_or(is_path), "APP_OIDC__ROLES_CLAIM", no_path),
            (!self.rooms_claim.as_ref().is_none_or(is_path), "APP_OIDC__ROOMS_CLAIM", no_path),
            (
                self.issuer.is_none() && (needs_issuer || !self.audience.is_empty()),
                "APP_OIDC__ISSUER",
                "is required with APP_OIDC__AUDIENCE, APP_OIDC__JWKS_URL, APP_OIDC__ROLES_CLAIM and APP_OIDC__ROOMS_CLAIM",
            ),
            (
                self.issuer.is_some() && self.audience.is_empty(),
                "APP_OIDC__AUDIENCE",
                "is required with APP_OIDC__ISSUER: the aud that the provider writes into tokens for this server",
            ),
            (
                self.issuer.as_deref() == Some(own_issuer),
                "APP_OIDC__ISSUER",
                "must differ from APP_AUTH__ISSUER, the issuer of this server's own tokens",
            ),
            (
                self.audience.iter().any(|audience| audience == "account"),
                "APP_OIDC__AUDIENCE",
                "must not be account: Keycloak writes it into the tokens of every client",
            ),
            (
                self.algorithms.is_empty() || self.algorithms.iter().any(|name| !ALGORITHMS.contains(&name.as_str())),
                "APP_OIDC__ALGORITHMS",
                "must be of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 and EdDSA",
            ),
            (
                !self.roles_map.iter().all(is_mapping),
                "APP_OIDC__ROLES_MAP",
                "must be pairs such as admin=owner,host=moderator",
            ),
            (
                self.roles_claim.is_none() != self.roles_map.is_empty(),
                "APP_OIDC__ROLES_MAP",
                "and APP_OIDC__ROLES_CLAIM must be set together",
            ),
        ])
    }

    /// Returns the provider's roles, each with a role in calls.
    pub(crate) fn roles(&self) -> Vec<(String, String)> {
        self.roles_map.iter().filter_map(|entry| mapping(entry)).map(|(theirs, ours)| (theirs.into(), ours.into())).collect()
    }
}

fn mapping(entry: &str) -> Option<(&str, &str)> {
    entry.rsplit_once('=').map(|(theirs, ours)| (theirs.trim(), ours.trim()))
}
