//! The test suite: one binary, with one module for each endpoint or concern.
//!
//! Tests use the real server over real sockets, with a sandbox or a fake upstream as Admin Control and a database of their own.
//! They are named `subject_condition_result`. `support` has the fixtures.

#![expect(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::too_many_lines,
    reason = "a test that cannot continue has failed, and a test binary exports nothing"
)]

mod admin_control_calls;
mod alerts;
mod api_keys;
mod architecture;
mod breaker;
mod call_catch_up;
mod call_summary;
mod cli;
mod conformance;
mod connection_pool;
mod console;
mod contract;
mod crashes;
mod database;
mod deploy;
mod disks;
mod dns;
mod doc_examples;
mod failover;
mod faults;
mod first_contact;
mod framing;
mod generated_clients;
mod header_injection;
mod headers;
mod health;
mod helm;
mod identity;
mod identity_guide;
mod invitations;
mod ipv6;
mod join_member;
mod limits;
mod live;
mod login;
mod login_limit;
mod logs;
mod metrics;
mod migrations;
mod mutated_requests;
mod name_comparison;
mod openapi;
mod openid_provider;
#[cfg(any(feature = "gcs", feature = "azure"))]
mod other_buckets;
mod overload;
mod pass_through;
mod pipelining;
mod pooler;
mod postgresql;
mod proconf_token;
mod proxies;
mod redis_failures;
mod release;
mod replicas;
mod response_cache;
mod room_access;
mod room_names;
mod sandbox;
mod sessions;
mod shared_cache;
mod shutdown;
mod slow_calls;
mod sse_clients;
mod static_files;
mod stream_limit;
mod stream_tickets;
mod summary_store;
mod supply_chain;
mod support;
mod test_run;
mod tls;
mod tokens;
