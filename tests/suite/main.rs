//! The suite: one test binary, a module for each endpoint or concern, each test a sentence about a behaviour.
//!
//! Tests talk to the real server over real sockets, with a sandbox or a raw socket in Admin Control's place and a database
//! of their own.

#![expect(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    reason = "a test that can't go on has failed; and nothing of a test binary is public"
)]

mod ahead;
mod architecture;
mod breaker;
mod call_catch_up;
mod call_summary;
mod cli;
mod connection_pool;
mod console;
mod contract;
mod crashes;
mod crowds;
mod database;
mod deploy;
mod disks;
mod dns;
mod doc_examples;
mod failures;
mod faults;
mod framing;
mod header_injection;
mod headers;
mod health;
mod join_member;
mod limits;
mod live;
mod login;
mod login_limit;
mod logs;
mod metrics;
mod mutated_requests;
mod name_comparison;
mod openapi;
mod pass_through;
mod postgresql;
mod proconf_token;
mod proxies;
mod replicas;
mod response_cache;
mod room_names;
mod sandbox;
mod sessions;
mod shared_cache;
mod shutdown;
mod stream_limit;
mod stream_tickets;
mod supply_chain;
mod support;
mod test_run;
mod tls;
mod tokens;
