//! Authentication and authorisation: tokens, API keys, the identity provider, invitations, revoked sessions, access to rooms.

pub(crate) mod access_webhook;
pub mod api_key;
pub(crate) mod http_client;
pub(crate) mod identity;
pub(crate) mod invitation;
pub mod principal;
pub(crate) mod revoked_sessions;
pub(crate) mod room_access;
pub(crate) mod stream_lease;
mod stream_ticket;
pub mod token;
mod token_cache;
mod token_parts;
