//! The application's HTTP listener and its connections.

pub mod connection;
pub mod listener;
