//! Authentication: tokens, principals and revoked sessions.

pub mod principal;
pub mod revoked_sessions;
pub mod stream_lease;
pub mod token;
mod token_cache;
