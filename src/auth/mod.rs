//! Authentication and authorisation: tokens, principals, the identity provider, revoked sessions and access to rooms.

pub(crate) mod http_client;
pub(crate) mod identity;
pub mod principal;
pub(crate) mod revoked_sessions;
pub(crate) mod room_access;
pub(crate) mod stream_lease;
pub mod token;
mod token_cache;
mod token_parts;
