//! `api-key`.

use super::{Workspace, run, workspace};
use crate::support::client::request;
use crate::support::database::TestDatabase;
use crate::support::{TestServer, secrets};

/// Runs a subcommand of `api-key`.
fn api_key(workspace: &Workspace, arguments: &[&str]) -> (i32, String, String) {
    let output = run(workspace, &[&["api-key"], arguments].concat(), &[], "");
    secrets::register_token(output.1.trim_end());
    output
}

fn add(workspace: &Workspace, more: &[&str]) -> String {
    let (code, stdout, stderr) =
        api_key(workspace, &[&["add", "--name", "backend", "--scope", "invitations"], more].concat());
    assert_eq!((code, stderr.as_str()), (0, ""));
    stdout
}

/// Returns the fields of each key in the list.
fn list(workspace: &Workspace) -> Vec<Vec<String>> {
    let (code, stdout, _) = api_key(workspace, &["list"]);
    assert_eq!(code, 0);
    stdout.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

#[test]
fn invalid_arguments_of_api_key_exit_2_and_add_nothing() {
    let workspace = workspace();
    for arguments in [
        &["add"] as &[&str],
        &["add", "--name", "backend"],
        &["add", "--name", "backend", "--scope", "everything"],
        &["add", "--name", "backend", "--scope", "invitations", "--expires", "soon"],
        &["add", "--name", "backend", "--scope", "invitations", "--expires", "0s"],
        &["add", "--name", "backend", "--scope", "invitations", "--expires", "101years"],
        &["revoke"],
        &["revoke", "--id", "0123456789ab"],
        &[],
    ] {
        let (code, stdout, stderr) = api_key(&workspace, arguments);
        assert_eq!((code, stdout.as_str()), (2, ""), "{arguments:?}: {stderr}");
    }
    for (name, sentence) in
        [(" ", "name must not be blank."), ("a\nb", "name must be at most 255 bytes, without control characters.")]
    {
        let (code, stdout, stderr) = api_key(&workspace, &["add", "--name", name, "--scope", "invitations"]);
        assert_eq!((code, stdout.as_str(), stderr.trim()), (1, "", sentence));
    }
    let (code, _, stderr) = api_key(&workspace, &["revoke", "--name", "backend"]);
    assert_eq!((code, stderr.trim()), (1, "there is no active API key with this name and id"));
    assert!(list(&workspace).is_empty());
}

#[test]
fn key_is_printed_once_and_rotated_under_one_name() {
    let server = TestServer::start();
    let workspace = Workspace { database: Some(TestDatabase::at(server.database.url.clone())), ..workspace() };
    let status = |key: &str| {
        let body = r#"{"room": "r1"}"#;
        server.client().post_with("/auth/invitations", key.trim_end(), body).status
    };
    let old = add(&workspace, &[]);
    assert!(old.starts_with("pas_") && old.len() == 48 && old.ends_with('\n'), "one line for a script");
    assert_eq!(status(&old), 200);
    let old_id = list(&workspace)[0][3].clone();
    let new = add(&workspace, &["--expires", "90d"]);
    assert_eq!((status(&old), status(&new)), (200, 200), "both work during a rotation");
    let (code, stdout, _) = api_key(&workspace, &["revoke", "--name", "backend", "--id", &old_id]);
    assert_eq!((code, stdout.as_str()), (0, "revoked: 1\n"));
    assert_eq!((status(&old), status(&new)), (401, 200));
    let keys = list(&workspace);
    assert!(!format!("{keys:?}").contains("pas_"), "the list shows no key");
    let of_id = |is_old: bool| keys.iter().find(|key| (key[3] == old_id) == is_old).unwrap();
    for (key, state) in [(of_id(true), "revoked"), (of_id(false), "active")] {
        assert_eq!((key[0].as_str(), key[1].as_str(), key[2].as_str()), ("backend", "invitations", state));
        assert!(key.len() == 7 && key[4].len() == 20 && key[6].ends_with("T00:00:00Z"), "{key:?}");
    }
    assert_eq!(of_id(true)[5], "never");
    assert_eq!(of_id(false)[5].len(), 20, "the time at which it expires");
    let (_, stdout, _) = api_key(&workspace, &["revoke", "--name", "backend"]);
    assert_eq!(stdout, "revoked: 1\n", "the others of the name");
    assert_eq!(status(&new), 401);
    server.client().request(&request("GET", b"/callConfig", Some(new.trim_end()))).assert_unauthorized("revoked");
}
