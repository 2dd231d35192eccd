//! Migrations: simultaneous, killed, of another version, and by another role than the server's.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use proconf_app_server::sandbox::Script;
use sqlx::{AnyConnection, Connection as _, Executor as _};

use crate::support::database::{Cluster, TestDatabase};
use crate::support::process::{ServerProcess, run_command};
use crate::support::{EMAIL, PASSWORD, SandboxServer, TestClock, TestServer};

fn with_connection<T>(url: &str, work: impl AsyncFnOnce(&mut AnyConnection) -> T) -> T {
    sqlx::any::install_default_drivers();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { work(&mut AnyConnection::connect(url).await.unwrap()).await })
}

/// Returns the number of migration files, and the migrations of a database.
fn migrations(url: &str) -> (usize, Vec<(i64, bool)>) {
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/migrations")).unwrap().count();
    let applied = with_connection(url, async |connection| {
        // SQLite and PostgreSQL have different boolean types.
        let sql = "SELECT version, CASE WHEN success THEN 1 ELSE 0 END FROM _sqlx_migrations ORDER BY version";
        let rows: Vec<(i64, i32)> = sqlx::query_as(sql).fetch_all(connection).await.unwrap();
        rows.into_iter().map(|(version, success)| (version, success == 1)).collect()
    });
    (files, applied)
}

#[track_caller]
fn assert_migrated_once(url: &str) {
    let (files, applied) = migrations(url);
    let expected: Vec<(i64, bool)> = (1..=i64::try_from(files).unwrap()).map(|version| (version, true)).collect();
    assert_eq!(applied, expected);
}

fn new_databases() -> [TestDatabase; 2] {
    [TestDatabase::on_postgresql(), TestDatabase::new()]
}

#[test]
fn simultaneous_starts_migrate_an_empty_database_once() {
    for database in (0..3).flat_map(|_| new_databases()).map(Arc::new) {
        let url = database.url.clone();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                let database = Arc::clone(&database);
                scope.spawn(move || {
                    let server = TestServer::on(database, TestClock::default(), &[]);
                    assert_eq!(server.log_in().status, 401);
                });
            }
        });
        assert_migrated_once(&url);
    }
}

#[test]
fn killed_migration_is_completed_by_the_next_start() {
    let migrate = |url: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_proconf-app-server"));
        command.arg("migrate").current_dir(std::env::temp_dir()).env_clear().env("APP_DATABASE__URL", url);
        command.stderr(Stdio::piped()).spawn().unwrap()
    };
    let assert_succeeds = |process: Child, round: u32| {
        let output = process.wait_with_output().unwrap();
        assert!(output.status.success(), "round {round}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let took = {
        let started = Instant::now();
        assert_succeeds(migrate(&TestDatabase::on_postgresql().url), 0);
        started.elapsed()
    };
    for round in 0..20 {
        for database in new_databases() {
            let mut killed = migrate(&database.url);
            std::thread::park_timeout(took * round / 20);
            killed.kill().unwrap();
            killed.wait().unwrap();
            let (one, other) = (migrate(&database.url), migrate(&database.url));
            assert_succeeds(one, round);
            assert_succeeds(other, round);
            assert_migrated_once(&database.url);
        }
    }
}

#[test]
fn schema_of_a_later_version_is_used_with_a_warning() {
    let sandbox = SandboxServer::start(Script::echo());
    for database in new_databases() {
        assert_eq!(run_command("migrate", &database.url, &sandbox.base_url, &[]).0, 0);
        let later = "ALTER TABLE users ADD COLUMN later TEXT; INSERT INTO _sqlx_migrations \
             (version, description, success, checksum, execution_time) \
             SELECT 99, 'later', TRUE, checksum, 0 FROM _sqlx_migrations WHERE version = 1";
        with_connection(&database.url, async |connection| connection.execute(later).await.map(drop).unwrap());
        let (code, stdout, stderr) = run_command("check-config", &database.url, &sandbox.base_url, &[]);
        let line = "# database: ok, reachable; warning: the schema is of a later version";
        assert!(code == 0 && stdout.contains(line), "{code}: {stdout}{stderr}");
        let server = ServerProcess::on(Arc::new(database), &sandbox.base_url, &[]);
        let warning = server.line(0, |line| line["message"] == "the database's schema is of a later version");
        assert_eq!((&warning["level"], &warning["version"]), (&"WARN".into(), &99.into()));
        assert_eq!(server.client().log_in(EMAIL, PASSWORD).status, 401);
    }
}

#[test]
fn modified_migration_is_refused_by_number() {
    let sandbox = SandboxServer::start(Script::echo());
    for database in new_databases() {
        assert_eq!(run_command("migrate", &database.url, &sandbox.base_url, &[]).0, 0);
        let modify = "UPDATE _sqlx_migrations SET checksum = (SELECT checksum FROM _sqlx_migrations WHERE version = 1) \
             WHERE version = 2";
        with_connection(&database.url, async |connection| connection.execute(modify).await.map(drop).unwrap());
        let started = Instant::now();
        for command in ["serve", "migrate"] {
            let (code, _, stderr) = run_command(command, &database.url, &sandbox.base_url, &[]);
            let message = "migration 2 was previously applied but has been modified: run the build that applied it";
            assert!(code == 1 && stderr.contains(message), "{code}: {stderr}");
        }
        assert!(started.elapsed() < Duration::from_secs(4), "without another attempt: {:?}", started.elapsed());
    }
}

/// The roles of docs/OPERATIONS.md.
fn documented_roles() -> Vec<String> {
    let guide = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/OPERATIONS.md")).unwrap();
    let section = guide.split("### A role without the right to change the schema").nth(1).unwrap();
    let code = section.split("```sql\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    code.split_inclusive(';').map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn server_without_ddl_rights_uses_a_current_schema() {
    let (cluster, sandbox) = (Cluster::start(), SandboxServer::start(Script::echo()));
    let url = cluster.new_database();
    let name = url.rsplit('/').next().unwrap();
    for statement in documented_roles() {
        cluster.sql(&url, &statement.replace("DATABASE proconf ", &format!("DATABASE {name} ")));
    }
    let of = |role: &str| url.replace("tests@", &format!("{role}@"));
    let (owner, app) = (of("proconf_owner"), of("proconf"));
    let (code, _, stderr) = run_command("migrate", &app, &sandbox.base_url, &[]);
    assert!(code == 1 && stderr.contains("permission denied for schema public"), "nothing is there yet: {stderr}");
    assert_eq!(run_command("migrate", &owner, &sandbox.base_url, &[]).0, 0);
    assert_eq!(run_command("migrate", &app, &sandbox.base_url, &[]).0, 0, "nothing is pending");
    let (code, stdout, _) = run_command("check-config", &app, &sandbox.base_url, &[]);
    assert!(code == 0 && stdout.contains("# database: ok, reachable\n"), "{stdout}");
    let server = TestServer::on(Arc::new(TestDatabase::at(app.clone())), TestClock::default(), &[]);
    server.add_user(EMAIL, PASSWORD);
    let login = server.log_in().data();
    let body = serde_json::json!({"refreshToken": login["refreshToken"]}).to_string();
    assert_eq!(server.client().post("/auth/refresh", &body).status, 200);
    assert_eq!(server.client().post("/auth/logout", &body).status, 200);
    // The test must not pass because the role owns something.
    let denied = with_connection(&app, async |connection| connection.execute("CREATE TABLE x (y INT)").await.unwrap_err());
    assert!(denied.to_string().contains("permission denied for schema public"), "{denied}");
}
