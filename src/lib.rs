//! The application server between ProCONF clients and Admin Control.
//!
//! # The one way a request travels
//!
//! ```text
//! request
//!   → app/listener                actix's HTTP/1.1 over TCP streams with deadlines (app/connection)
//!   → middleware/request_log      request id, trace, client address; one log line and the metrics at the end
//!   → middleware/security_headers  headers for browsers, on every response
//!   → middleware/keep_alive       closes the connection where it must not be used again; large bodies in slices
//!   → middleware/cors             if origins are configured
//!   → middleware/host             400 without exactly one valid Host
//!   → middleware/load_shed        503 above MAX_IN_FLIGHT, before any work
//!   → middleware/error_envelope   panics, time-outs and framework errors become the envelope
//!   → routes (THE TABLE)          path → row; no row, or the wrong method → 404
//!   → middleware/authenticate     on rows that need a caller: 401, or leaves a Caller
//!   → routes/<endpoint>           parse in, call one service, name the answer
//!   → catch_up | summaries | accounts     the decision; knows no HTTP framework, no SQL, no awc
//!   → cache                       single-flight, fresh or stale, bounded; through Redis for all replicas
//!   → admin_control | db | summaries/store    the outside world
//!   ← Result<T, that module's Error>
//!   ← responders                  Success<T>, CachedResponse or ApiError: the whole envelope, on one page
//! response
//! ```
//!
//! # The arrows
//!
//! Knowledge points down that list, never up. What must not name what is written in `tests/suite/architecture.rs`, which
//! reads `src/` and reports each line that breaks a rule. Below, the modules stand in the order of the list.

// What is started: the commands, their settings, the two listeners, and everything that is made once.
pub mod cli;
pub mod config;
pub mod management;
pub mod server;
pub mod services;

// In and out: bytes, then what every request passes, then the table of routes, and the answers.
pub mod app;
pub mod middleware;
pub mod openapi;
pub mod responders;
pub mod routes;

// What a request says, once it is understood: who asks, from where, for which room.
pub mod asker;
pub mod caller;
pub mod client_address;
pub mod json;
pub mod jwt;
pub mod room;
pub mod trace;

// Decisions, and the response cache.
pub mod accounts;
pub mod cache;
pub mod catch_up;
pub mod summaries;

// The outside world.
pub mod admin_control;
pub mod db;

// What the whole server shares: its state, its limits, what it says of itself, and the time.
pub mod background;
pub mod clock;
pub mod connection_state;
pub mod files;
pub mod health;
pub mod loopback;
pub mod random;
pub mod secret;
pub mod telemetry;

// An Admin Control for development and for tests, which the server knows nothing of.
pub mod sandbox;
