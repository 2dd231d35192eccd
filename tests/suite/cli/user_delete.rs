//! `user delete`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::{Workspace, run, workspace};
use crate::support::client::Client;
use crate::support::database::TestDatabase;
use crate::support::{EMAIL, PASSWORD, TestServer, wait_until};

const OTHER: &str = "bo@example.com";

/// The command line's workspace on the database of `server`.
fn workspace_of(server: &TestServer) -> Workspace {
    Workspace { database: Some(TestDatabase::at(server.database.url.clone())), ..workspace() }
}

fn delete(workspace: &Workspace, email: &str) -> (i32, String, String) {
    run(workspace, &["user", "delete", "--email", email], &[], "")
}

fn refresh(client: Client, token: &serde_json::Value) -> u16 {
    client.post("/auth/refresh", &json!({"refreshToken": token}).to_string()).status
}

#[test]
fn deleted_account_is_gone_with_sessions_and_counters() {
    let server = TestServer::with_account(&[]);
    let replica = server.replica(&[]);
    server.add_user(OTHER, PASSWORD);
    let other = server.client().log_in(OTHER, PASSWORD).data();
    let logins = [server.log_in().data(), replica.log_in().data()];
    for email in [EMAIL, OTHER, "unknown@example.com"] {
        server.client().log_in(email, "wrong password").assert_unauthorized(email);
    }
    let workspace = workspace_of(&server);
    let (code, stdout, stderr) = delete(&workspace, "Ann@Example.com");
    let expected = "deleted: the account, its sessions (2) and its counters of failed logins (2)\n";
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (0, expected, ""));
    // One address; each of the other two e-mails alone, and with the address.
    let rows = ["users", "sessions", "refresh_tokens", "login_failures"].map(|table| server.rows(table));
    assert_eq!(rows, [1, 1, 1, 5]);
    let get = |server: &TestServer, login: &serde_json::Value| {
        server.client().get("/callCatchUp/r1", Some(login["token"].as_str().unwrap())).status
    };
    // A replica that starts later learns of it too.
    for server in [&server, &replica, &server.replica(&[])] {
        wait_until("its tokens are rejected", || logins.iter().all(|login| get(server, login) == 401));
        assert!(logins.iter().all(|login| refresh(server.client(), &login["refreshToken"]) == 401));
        server.log_in().assert_unauthorized("no account");
        assert_eq!(get(server, &other), 200, "the other account is not affected");
    }
    server.add_user(EMAIL, PASSWORD);
    assert_eq!(get(&server, &server.log_in().data()), 200);
    assert_eq!(get(&server, &logins[0]), 401, "the new account has new sessions");
}

#[test]
fn unknown_account_is_not_deleted() {
    let workspace = workspace();
    for email in ["unknown@example.com", EMAIL] {
        let (code, stdout, stderr) = delete(&workspace, email);
        assert_eq!((code, stdout.as_str(), stderr.trim()), (1, "", "there is no account with this e-mail"));
    }
    assert_eq!(run(&workspace, &["user", "delete"], &[], "").0, 2, "an e-mail is required");
}

#[test]
fn deletion_during_logins_and_refreshes_leaves_nothing() {
    let server = Arc::new(TestServer::start());
    let workspace = workspace_of(&server);
    for round in 0..5 {
        server.add_user(EMAIL, PASSWORD);
        let mut tokens: Vec<_> = (0..4).map(|_| server.log_in().data()["refreshToken"].take()).collect();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for token in &mut tokens {
                let (client, done) = (server.client(), &done);
                scope.spawn(move || {
                    while !done.load(Ordering::SeqCst) {
                        let response = client.post("/auth/refresh", &json!({"refreshToken": token}).to_string());
                        match response.status {
                            200 => *token = response.data()["refreshToken"].take(),
                            status => assert_eq!(status, 401),
                        }
                    }
                });
            }
            let (server, done) = (&server, &done);
            scope.spawn(move || {
                while !done.load(Ordering::SeqCst) {
                    assert!([200, 401, 429].contains(&server.log_in().status));
                }
            });
            let (code, _, stderr) = delete(&workspace, EMAIL);
            done.store(true, Ordering::SeqCst);
            assert_eq!(code, 0, "round {round}: {stderr}");
        });
        let rows = ["users", "sessions", "refresh_tokens"].map(|table| server.rows(table));
        assert_eq!(rows, [0; 3], "round {round}");
        server.execute_sql("DELETE FROM login_failures");
    }
}
