//! What the Rust peers share: where they listen, whom they ask, and what they take for a token.

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde::Deserialize;

/// The value of an environment variable that the driver sets.
pub fn from_env(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}

/// The address to listen on.
pub fn address() -> (&'static str, u16) {
    ("127.0.0.1", from_env("PORT").parse().expect("PORT is a number"))
}

/// The claims that a plain server looks at.
#[derive(Debug, Clone, Deserialize)]
pub struct Claims {
    pub sub: String,
    pub exp: u64,
}

/// The key and the rules, made once.
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

    /// The claims of `Bearer <token>`, if the token is good.
    pub fn claims(&self, authorization: Option<&str>) -> Option<Claims> {
        let token = authorization?.strip_prefix("Bearer ")?;
        Some(decode::<Claims>(token, &self.key, &self.validation).ok()?.claims)
    }
}
