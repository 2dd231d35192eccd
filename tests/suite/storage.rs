//! What was acknowledged is there afterwards, and what needs no database goes on without one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::database::{Cluster, TestDatabase, on_postgres};
use crate::support::{TestClock, TestServer, tokens};

const EMAIL: &str = "ann@example.com";
const PASSWORD: &str = "correct horse battery 🐎";

fn log_in(server: &TestServer) -> u16 {
    server.client().post("/auth/login", &json!({"email": EMAIL, "password": PASSWORD}).to_string()).status
}

#[test]
fn postgresql_may_be_restarted_under_a_running_server() {
    if !on_postgres() {
        return;
    }
    let cluster = Cluster::start();
    let database = Arc::new(TestDatabase::at(cluster.new_database()));
    let server = TestServer::on(database, TestClock::default(), &[]);
    server.add_user(EMAIL, PASSWORD);
    for mode in ["fast", "immediate"] {
        assert_eq!(log_in(&server), 200);
        cluster.pg_ctl(&["stop", "-m", mode]);
        for _ in 0..5 {
            server.client().get("/callCatchUp/r1", Some(&tokens::user())).is_success_with(r#""r1""#);
            server.client().get("/auth/joinmember?roomName=r1", None).data();
        }
        let started = Instant::now();
        let answer = server.client().post("/auth/login", &json!({"email": EMAIL, "password": PASSWORD}).to_string());
        answer.is_error(500, "Internal server error", "the database is down");
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
        cluster.pg_ctl(&["start"]);
        let started = Instant::now();
        while log_in(&server) != 200 {
            assert!(started.elapsed() < Duration::from_secs(5), "it does not recover by itself");
        }
    }
}

#[test]
fn two_replicas_that_start_at_once_migrate_once() {
    for _ in 0..3 {
        let database = Arc::new(TestDatabase::new());
        std::thread::scope(|scope| {
            for _ in 0..3 {
                let database = Arc::clone(&database);
                scope.spawn(move || assert_eq!(log_in(&TestServer::on(database, TestClock::default(), &[])), 401));
            }
        });
    }
}
