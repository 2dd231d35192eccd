//! Authentication: tokens, who they stand for, and their revocation.

pub mod principal;
pub mod revoked_sessions;
pub mod stream_lease;
pub mod token;
mod token_cache;
