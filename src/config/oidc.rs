//! Validation of the section `[oidc]`.

use super::{Error, OidcConfig};

/// The algorithms that a provider's tokens may be signed with. Symmetric ones would need its secret.
const ALGORITHMS: [&str; 9] = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"];

impl OidcConfig {
    /// Checks that the settings are complete. The URLs are checked by their component.
    ///
    /// # Errors
    ///
    /// The first invalid setting.
    pub(super) fn validate(&self, own_issuer: &str) -> Result<(), Error> {
        let is_path = |path: &str| path.split('.').all(|name| !name.is_empty());
        let is_mapping =
            |entry: &String| matches!(self::mapping(entry), Some((theirs, ours)) if !theirs.is_empty() && !ours.is_empty());
        let paths = [
            ("APP_OIDC__NAME_CLAIM", Some(&self.name_claim)),
            ("APP_OIDC__ROLES_CLAIM", self.roles_claim.as_ref()),
            ("APP_OIDC__ROOMS_CLAIM", self.rooms_claim.as_ref()),
        ];
        if let Some((setting, _)) = paths.into_iter().find(|(_, path)| path.is_some_and(|path| !is_path(path))) {
            return Err(Error::of(setting, "must be the name of a claim, or a path of names such as realm_access.roles"));
        }
        let problems = [
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
        ];
        match problems.into_iter().find(|(applies, ..)| *applies) {
            Some((_, setting, problem)) => Err(Error::of(setting, problem)),
            None => Ok(()),
        }
    }

    /// Returns the provider's roles, each with a role in calls.
    #[must_use]
    pub fn roles(&self) -> Vec<(String, String)> {
        self.roles_map.iter().filter_map(|entry| mapping(entry)).map(|(theirs, ours)| (theirs.into(), ours.into())).collect()
    }
}

fn mapping(entry: &str) -> Option<(&str, &str)> {
    entry.rsplit_once('=').map(|(theirs, ours)| (theirs.trim(), ours.trim()))
}
