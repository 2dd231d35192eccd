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
            |entry: &String| matches!(self::mapping(entry), Some((theirs, ours)) if !theirs.is_empty() && !ours.is_empty());
        self.validate_paths()?;
        let needs_issuer = self.jwks_url.is_some() || self.roles_claim.is_some() || self.rooms_claim.is_some();
        if self.issuer.is_none() && (needs_issuer || !self.audience.is_empty()) {
            return Err(Error::of(
                "APP_OIDC__ISSUER",
                "is required with APP_OIDC__AUDIENCE, APP_OIDC__JWKS_URL, APP_OIDC__ROLES_CLAIM and APP_OIDC__ROOMS_CLAIM",
            ));
        }
        if self.issuer.is_some() && self.audience.is_empty() {
            return Err(Error::of(
                "APP_OIDC__AUDIENCE",
                "is required with APP_OIDC__ISSUER: the aud that the provider writes into tokens for this server",
            ));
        }
        if self.issuer.as_deref() == Some(own_issuer) {
            return Err(Error::of(
                "APP_OIDC__ISSUER",
                "must differ from APP_AUTH__ISSUER, the issuer of this server's own tokens",
            ));
        }
        if self.audience.iter().any(|audience| audience == "account") {
            return Err(Error::of(
                "APP_OIDC__AUDIENCE",
                "must not be account: Keycloak writes it into the tokens of every client",
            ));
        }
        if self.algorithms.is_empty() || self.algorithms.iter().any(|name| !ALGORITHMS.contains(&name.as_str())) {
            return Err(Error::of(
                "APP_OIDC__ALGORITHMS",
                "must be of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 and EdDSA",
            ));
        }
        if !self.roles_map.iter().all(is_mapping) {
            return Err(Error::of("APP_OIDC__ROLES_MAP", "must be pairs such as admin=owner,host=moderator"));
        }
        if self.roles_claim.is_none() != self.roles_map.is_empty() {
            return Err(Error::of("APP_OIDC__ROLES_MAP", "and APP_OIDC__ROLES_CLAIM must be set together"));
        }
        Ok(())
    }

    /// Checks the names of claims.
    fn validate_paths(&self) -> Result<(), Error> {
        let is_path = |path: &str| path.split('.').all(|name| !name.is_empty());
        let paths = [
            ("APP_OIDC__NAME_CLAIM", Some(&self.name_claim)),
            ("APP_OIDC__ROLES_CLAIM", self.roles_claim.as_ref()),
            ("APP_OIDC__ROOMS_CLAIM", self.rooms_claim.as_ref()),
        ];
        let problem = "must be the name of a claim, or a path of names such as realm_access.roles";
        let invalid = paths.into_iter().find(|(_, path)| path.is_some_and(|path| !is_path(path)));
        invalid.map_or(Ok(()), |(setting, _)| Err(Error::of(setting, problem)))
    }

    /// Returns the provider's roles, each with a role in calls.
    pub(crate) fn roles(&self) -> Vec<(String, String)> {
        self.roles_map.iter().filter_map(|entry| mapping(entry)).map(|(theirs, ours)| (theirs.into(), ours.into())).collect()
    }
}

fn mapping(entry: &str) -> Option<(&str, &str)> {
    entry.rsplit_once('=').map(|(theirs, ours)| (theirs.trim(), ours.trim()))
}
