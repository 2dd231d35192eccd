//! `tests/run` repeats on PostgreSQL the modules that read or write the database.

use std::fs;
use std::path::{Path, PathBuf};

/// Fixtures and routes with which a test reads or writes the database.
const DATABASE_USES: [&str; 9] = [
    "TestDatabase::",
    "Cluster::",
    "on_postgres()",
    ".add_user(",
    "with_account(",
    ".manage(",
    ".rows(",
    "execute_sql(",
    "/auth/streamticket",
];

/// Modules that use the database only as a means, or only SQLite, with the reason.
const SQLITE_ONLY: [(&str, &str); 15] = [
    ("conformance", "tests the conformance suite; the routes are tested elsewhere"),
    ("console", "tests the pages; the routes behind them are tested elsewhere"),
    ("disks", "tests the file of SQLite"),
    ("doc_examples", "tests the examples of the documentation"),
    ("first_contact", "uses PostgreSQL in both runs"),
    ("generated_clients", "tests generated clients; the routes behind them are tested elsewhere"),
    ("ipv6", "uses PostgreSQL in both runs"),
    ("name_comparison", "tests room names"),
    ("openid_provider", "tests tokens of a provider, which are in no database"),
    ("pooler", "uses PostgreSQL in both runs"),
    ("replicas", "tests the shared cache; no request needs the database"),
    ("room_names", "tests room names"),
    ("sse_clients", "tests client libraries; tickets are tested elsewhere"),
    ("test_run", "names the fixtures"),
    ("tls", "tests TLS to Admin Control"),
];

fn suite() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite")
}

/// Returns the modules that `tests/run` repeats on PostgreSQL.
fn postgresql_modules() -> Vec<String> {
    let script = fs::read_to_string(suite().join("../run")).unwrap();
    let list = script.split("postgresql_modules=(").nth(1).and_then(|rest| rest.split(')').next()).unwrap();
    list.split_whitespace().map(str::to_owned).collect()
}

/// Returns the text of a module and its submodules.
fn text_of(module: &str) -> String {
    let submodules = fs::read_dir(suite().join(module)).into_iter().flatten();
    let rust = submodules.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|end| end == "rs"));
    let files = rust.chain([suite().join(format!("{module}.rs"))]);
    files.map(|path| fs::read_to_string(path).unwrap()).collect()
}

#[test]
fn every_module_that_uses_the_database_runs_on_postgresql() {
    let main = fs::read_to_string(suite().join("main.rs")).unwrap();
    let modules = main.lines().filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'));
    let repeated = postgresql_modules();
    for module in modules.filter(|module| *module != "support") {
        let on_postgresql = repeated.iter().any(|name| name == module);
        let sqlite_only = SQLITE_ONLY.iter().any(|(name, _)| *name == module);
        assert!(!(on_postgresql && sqlite_only), "{module} is in both lists");
        let text = text_of(module);
        let found = DATABASE_USES.iter().find(|part| text.contains(**part));
        let listed = on_postgresql || sqlite_only;
        assert!(found.is_none() || listed, "{module} uses {found:?}: add it to postgresql_modules in tests/run");
    }
}

#[test]
fn every_listed_module_exists() {
    let exceptions = SQLITE_ONLY.iter().map(|(name, _)| (*name).to_owned());
    for module in postgresql_modules().into_iter().chain(exceptions) {
        assert!(suite().join(format!("{module}.rs")).is_file(), "{module}");
    }
}
