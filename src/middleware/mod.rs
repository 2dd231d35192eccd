//! What every request passes on its way in and every answer on its way out.
//!
//! The order is made in [`crate::server`]: [`access_log`] is outermost, so that it sees every answer, also one that
//! [`error_boundary`] had to write; then [`answer_headers`], for the same reason; then [`admission`], before any work is done.
//! In `dev`, [`loopback_host`] is innermost.
//! [`authenticate`] is not on the whole server but on each route whose row in the table
//! needs a caller: an unknown URL or a wrong method is 404 before anybody asks for a token.

pub mod access_log;
pub mod admission;
pub mod answer_headers;
pub mod authenticate;
pub mod error_boundary;
pub mod loopback_host;
mod slices;
