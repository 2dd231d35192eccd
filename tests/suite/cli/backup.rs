//! `backup`.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};
use sqlx::{Connection as _, SqliteConnection};

use super::{Workspace, run, user_add, workspace};
use crate::support::database::{TestDatabase, on_postgres};
use crate::support::small_disk::SmallDisk;
use crate::support::{EMAIL, PASSWORD, TestServer, wait_until};

const DEFAULT: &str = "var/app.db";

fn backup(workspace: &Workspace, target: &str) -> (i32, String, String) {
    run(workspace, &["backup", "--to", target], &[], "")
}

fn integrity(file: &Path) -> String {
    let url = format!("sqlite://{}?mode=ro", file.display());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut connection = SqliteConnection::connect(&url).await.unwrap();
        sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut connection).await.unwrap()
    })
}

#[test]
fn backup_during_writes_is_private_intact_and_complete() {
    if on_postgres() {
        return;
    }
    let server = TestServer::with_account(&[]);
    let workspace = Workspace { database: Some(TestDatabase::at(server.database.url.clone())), ..workspace() };
    let (done, logins) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut acknowledged: Vec<Value> = Vec::new();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    server.log_in().data();
                    logins.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for round in 0..5 {
            acknowledged.push(server.log_in().data()["refreshToken"].take());
            let script = format!(r#"umask 000; exec "$0" backup --to copy{round}.db"#);
            let mut command = Command::new("sh");
            command.args(["-c", &script, env!("CARGO_BIN_EXE_proconf-app-server")]).current_dir(workspace.path());
            let output = command.env("APP_DATABASE__URL", &server.database.url).output().unwrap();
            assert!(output.status.success(), "{output:?}");
            let before = logins.load(Ordering::SeqCst);
            wait_until("writes go on", || logins.load(Ordering::SeqCst) > before);
        }
        done.store(true, Ordering::SeqCst);
    });
    assert_eq!(fs::read_dir(workspace.path()).unwrap().count(), 5, "nothing is beside the copies");
    for round in 0..5 {
        let copy = workspace.path().join(format!("copy{round}.db"));
        assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(integrity(&copy), "ok");
        let database = TestDatabase::at(format!("sqlite://{}", copy.display()));
        let restored = TestServer::on(database.into(), server.clock.clone(), &[]);
        for token in &acknowledged[..=round] {
            restored.client().post("/auth/refresh", &json!({"refreshToken": token}).to_string()).data();
        }
    }
}

#[test]
fn backup_never_overwrites_and_leaves_no_part_of_a_file() {
    if on_postgres() {
        return;
    }
    let workspace = workspace();
    assert_eq!(user_add(&workspace, EMAIL, PASSWORD).0, 0);
    fs::write(workspace.path().join("empty"), "").unwrap();
    fs::write(workspace.path().join("full"), "full").unwrap();
    symlink("elsewhere", workspace.path().join("link")).unwrap();
    let names = || {
        let mut names: Vec<_> = fs::read_dir(workspace.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = names();
    for (target, says) in [
        ("empty", "File exists"),
        ("full", "File exists"),
        ("link", "File exists"),
        ("var", "File exists"),
        (DEFAULT, "File exists"),
        ("no/folder/copy.db", "No such file or directory"),
        ("/proc/copy.db", "can't write /proc/copy.db"),
    ] {
        let (code, stdout, stderr) = backup(&workspace, target);
        assert!(code == 1 && stdout.is_empty() && stderr.contains(says), "{target}: {code} {stdout} {stderr}");
    }
    assert_eq!(names(), before);
    assert_eq!(fs::read_to_string(workspace.path().join("full")).unwrap(), "full");
    // A name that SQLite could take for a URL.
    assert_eq!(backup(&workspace, "file:copy.db?mode=memory").0, 0);
    assert_eq!(integrity(&workspace.path().join("file:copy.db%3Fmode=memory")), "ok");
}

#[test]
fn backup_without_sqlite_says_what_to_do() {
    let workspace = workspace();
    if on_postgres() {
        let (code, stdout, stderr) = backup(&workspace, "copy.db");
        assert_eq!((code, stdout.as_str()), (1, ""));
        assert!(stderr.contains("use pg_dump for PostgreSQL"), "{stderr}");
    } else {
        let (code, _, stderr) = backup(&workspace, "copy.db");
        assert!(code == 1 && stderr.contains("APP_DATABASE__URL"), "{code}: {stderr}");
    }
    assert_eq!(fs::read_dir(workspace.path()).unwrap().count(), 0, "neither a copy nor a database is created");
    assert_eq!(run(&workspace, &["backup"], &[], "").0, 2, "a file is required");
}

#[test]
fn backup_to_a_full_disk_leaves_no_file() {
    if on_postgres() {
        return;
    }
    let Some(disk) = SmallDisk::mount() else { return };
    let workspace = workspace();
    assert_eq!(user_add(&workspace, EMAIL, PASSWORD).0, 0);
    let script = r#"head -c 8m /dev/zero >filler; "$0" backup --to "$1/copy.db"; code=$?; ls; exit $code"#;
    let mut command = disk.command(disk.folder(), "sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_proconf-app-server")]).arg(disk.folder());
    command.env("APP_DATABASE__URL", format!("sqlite://{}/{DEFAULT}", workspace.path().display()));
    let output = command.output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!((output.status.code(), stdout.as_ref()), (Some(1), "filler\n"), "{stderr}");
    assert!(stderr.contains("database or disk is full") || stderr.contains("disk I/O error"), "{stderr}");
}
