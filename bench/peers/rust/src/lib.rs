//! Shared code of the Rust peers: environment, address and token verification.

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde::Deserialize;

/// Returns the value of an environment variable, which the driver sets.
pub fn from_env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}

/// Returns the address to listen on.
pub fn address() -> (&'static str, u16) {
    ("127.0.0.1", from_env("PORT").parse().expect("PORT is a number"))
}

/// The claims that a peer uses.
#[derive(Debug, Clone, Deserialize)]
pub struct Claims {
    pub sub: String,
    pub exp: u64,
}

/// Verifies tokens. Created once.
pub struct Tokens {
    key: DecodingKey,
    validation: Validation,
}

impl Tokens {
    pub fn from_env() -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.validate_aud = false;
        Self { key: DecodingKey::from_secret(from_env("SECRET").as_bytes()), validation }
    }

    /// Returns the claims of the value of `Authorization`, if it is `Bearer` with a valid token.
    pub fn claims(&self, authorization: Option<impl AsRef<[u8]>>) -> Option<Claims> {
        let token = authorization.as_ref()?.as_ref().strip_prefix(b"Bearer ")?;
        Some(decode::<Claims>(token, &self.key, &self.validation).ok()?.claims)
    }
}
