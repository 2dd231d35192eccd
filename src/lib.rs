//! The application server between ProCONF clients and Admin Control.
//!
//! # The one way a request travels
//!
//! ```text
//! request
//!   → connection                  deadlines and limits on bytes, whatever they mean; then actix's parser (listener)
//!   → middleware::access_log      request id, clock starts; one log line at the end
//!   → middleware::answer_headers  what every answer carries: security headers, CORS, the end of the connection in a drain
//!   → middleware::admission       503 beyond so many requests at once, before any work
//!   → middleware::error_boundary  a panic, a timeout or a framework-made error leaves as the envelope
//!   → routes                      THE TABLE: path → row; no row, or the wrong method → 404
//!   → middleware::authenticate    on rows that need a caller: 401, or leaves a Caller
//!   → routes::<endpoint>          parse in, call one service, name the answer
//!   → catch_up | summaries | accounts   the decision; knows no HTTP framework, no SQL, no awc
//!   → window                      an answer that is there already, or one call for everybody who asks
//!   → admin_control | db | summaries::store   the outside world
//!   ← responders                  Success<T>, Served or ApiError: the whole envelope, on one page
//! response
//! ```
//!
//! # The arrows
//!
//! Knowledge points down that list, never up. What must not name what is written in `tests/suite/architecture.rs`, which
//! reads `src/` and reports each line that breaks a rule.

pub mod accounts;
pub mod admin_control;
pub mod answer;
pub mod asker;
pub mod background;
pub mod bodies;
pub mod caller;
pub mod catch_up;
pub mod cli;
pub mod client_address;
pub mod clock;
pub mod connection;
pub mod db;
pub mod descriptors;
pub mod draining;
pub mod folder;
pub mod health;
pub mod json;
pub mod jwt;
pub mod listener;
pub mod management;
pub mod metrics;
pub mod middleware;
pub mod openapi;
pub mod pass_through;
pub mod random;
pub mod recent;
pub mod responders;
pub mod room;
pub mod routes;
pub mod sandbox;
pub mod secret;
pub mod server;
pub mod services;
pub mod settings;
pub mod summaries;
pub mod telemetry;
pub mod trace;
pub mod window;
