//! The application server between ProCONF clients and Admin Control.
//!
//! # Request flow
//!
//! ```text
//! request
//!   → app/listener                 HTTP/1.1 by actix, over streams with deadlines (app/connection)
//!   → middleware/request_log       request id, trace, client address; one log line and the metrics
//!   → middleware/response_head     400 without one valid Host; request id, security headers, CORS
//!   → middleware/load_shed         503 above APP_SERVER__MAX_IN_FLIGHT
//!   → middleware/error_envelope    panics, timeouts and framework errors become the envelope
//!   → routes (TABLE)               path and method → row; else 404
//!   → middleware/authenticate      token → Principal, or 401
//!   → routes/<endpoint>            parses the input (extract), asks for the room, calls one service
//!   → catch_up | summaries | accounts         business logic; no HTTP, no SQL
//!   → cache                        single-flight, fresh or stale, bounded; shared through Redis
//!   → admin_control | db | summaries/store    external systems
//!   ← response                     envelope, errors, ETag and 304, event streams
//! response
//! ```
//!
//! # Modules
//!
//! `LAYERS` in `tests/suite/architecture.rs` has the order of the modules, and a test enforces it: each uses only modules
//! below it. The list below is grouped by purpose; docs/ARCHITECTURE.md describes the modules, and CONTRIBUTING.md says where a new
//! route, setting, metric or table goes.

pub mod cli;
pub mod config;

pub mod app;
mod extract;
mod middleware;
mod response;
pub mod routes;

pub mod accounts;
pub mod auth;
mod catch_up;
mod summaries;

pub mod admin_control;
pub mod cache;
pub mod db;
pub mod telemetry;

// Leaf types, which every module may use.
pub mod clock;
mod request_context;
pub mod room;
pub mod secret;
pub mod strict_json;

// A fake Admin Control for development and tests. It shares no code with `admin_control`.
pub mod sandbox;

// The contract as a black-box test suite. It shares no code with the server.
pub mod conformance;
