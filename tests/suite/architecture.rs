//! Enforces the rules of the architecture on every line of `src/`, except comments, strings and unit tests.
//!
//! A violation is reported as `file:line: rule`. A test below shows for each rule a line that violates it.

use std::fs;
use std::path::Path;

/// A source file: its path below `src/`, and its lines of code.
struct Source {
    path: String,
    lines: Vec<String>,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), lines: code_of(text) }
    }

    /// Whether the file is one of `places`, or in one of these folders.
    fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| match place.strip_suffix('/') {
            Some(_) => self.path.starts_with(place),
            None => self.path == *place,
        })
    }
}

/// A package or module that only some files may use.
struct RestrictedName {
    name: &'static str,
    places: &'static [&'static str],
    sentence: &'static str,
}

const FRAMEWORK: &[&str] = &["app/", "middleware/", "routes/", "extract/", "response/", "sandbox/"];

/// The top-level modules, highest first. Each names only modules below it, so that there is no cycle.
const LAYERS: &[&str] = &[
    "main",
    "lib",
    "cli",
    "conformance",
    "sandbox",
    "app",
    "routes",
    "middleware",
    "extract",
    "response",
    "accounts",
    "catch_up",
    "summaries",
    "cache",
    "admin_control",
    "auth",
    "db",
    "telemetry",
    "config",
    "request_context",
    "room",
    "strict_json",
    "clock",
    "secret",
];

const RESTRICTED_NAMES: &[RestrictedName] = &[
    RestrictedName { name: "actix_web", places: FRAMEWORK, sentence: "rule 1: only the HTTP modules use actix-web" },
    RestrictedName {
        name: "actix_http",
        places: &["app/listener.rs"],
        sentence: "rule 1: only app/listener.rs uses actix-http",
    },
    RestrictedName {
        name: "actix_server",
        places: &["app/listener.rs"],
        sentence: "rule 1: only app/listener.rs uses actix-server",
    },
    RestrictedName { name: "sqlx", places: &["db/"], sentence: "rule 2: only db/ uses sqlx" },
    RestrictedName {
        name: "awc",
        places: &["admin_control/", "auth/http_client.rs"],
        sentence: "rule 2: only admin_control/ and auth/http_client.rs use awc",
    },
    RestrictedName {
        name: "rustls",
        places: &["admin_control/", "auth/http_client.rs", "conformance/client.rs"],
        sentence: "rule 2: only admin_control/ and two HTTP clients use rustls",
    },
    RestrictedName { name: "ureq", places: &["conformance/"], sentence: "rule 2: only conformance/ uses ureq" },
    RestrictedName { name: "jsonwebtoken", places: &["auth/"], sentence: "rule 2: only auth/ uses jsonwebtoken" },
    RestrictedName {
        name: "argon2",
        places: &["accounts/password.rs"],
        sentence: "rule 2: only accounts/password.rs uses argon2",
    },
    RestrictedName {
        name: "object_store",
        places: &["summaries/store/"],
        sentence: "rule 2: only summaries/store/ uses object_store",
    },
    RestrictedName { name: "::redis", places: &["cache/redis/"], sentence: "rule 2: only cache/redis/ uses redis" },
    RestrictedName { name: "::config::", places: &["config/"], sentence: "rule 2: only config/ uses config" },
    RestrictedName {
        name: "::metrics",
        places: &["telemetry/metrics.rs"],
        sentence: "rule 2: only telemetry/metrics.rs uses metrics",
    },
    RestrictedName {
        name: "metrics_exporter_prometheus",
        places: &["telemetry/metrics.rs"],
        sentence: "rule 2: only telemetry/metrics.rs uses metrics",
    },
    RestrictedName {
        name: "metrics_process",
        places: &["telemetry/metrics.rs"],
        sentence: "rule 2: only telemetry/metrics.rs uses metrics",
    },
    RestrictedName {
        name: "env_logger",
        places: &["telemetry/logging.rs"],
        sentence: "rule 2: only telemetry/logging.rs uses env_logger",
    },
    RestrictedName {
        name: "tracing_appender",
        places: &["telemetry/logging.rs"],
        sentence: "rule 2: only telemetry/logging.rs uses tracing-appender",
    },
    RestrictedName {
        name: "clap",
        places: &["cli/", "conformance/options.rs"],
        sentence: "rule 2: only cli/ and conformance/options.rs use clap",
    },
    RestrictedName {
        name: "sandbox",
        // The conformance suite has an option of this name; below is that it does not use the module.
        places: &["lib.rs", "cli/", "sandbox/", "conformance/"],
        sentence: "rule 6: only the command line and tests use the sandbox",
    },
    RestrictedName {
        name: "crate::config",
        places: &["cli/", "app/", "telemetry/"],
        sentence: "rule 7: the configuration stops at cli and app; take plain values",
    },
    RestrictedName {
        name: "SystemTime::now",
        places: &["clock.rs"],
        sentence: "rule 8: the wall clock is read in clock.rs",
    },
    RestrictedName {
        name: "UNIX_EPOCH.elapsed",
        places: &["clock.rs"],
        sentence: "rule 8: the wall clock is read in clock.rs",
    },
    RestrictedName { name: "set_var", places: &[], sentence: "rule 8: the process environment is not written" },
    RestrictedName { name: "static mut", places: &[], sentence: "rule 8: no globals" },
    RestrictedName { name: "thread_local!", places: &[], sentence: "rule 8: no globals" },
    RestrictedName { name: "OnceLock", places: &[], sentence: "rule 8: no globals" },
    RestrictedName { name: "LazyLock", places: &[], sentence: "rule 8: no globals" },
    RestrictedName {
        name: "HttpResponse",
        // `object_store` has a type of this name.
        places: &["response/", "sandbox/", "summaries/store/"],
        sentence: "rule 5: only response/ builds responses",
    },
    RestrictedName {
        name: "StatusCode::",
        places: &["response/", "admin_control/", "sandbox/"],
        sentence: "rule 5: only response/ chooses a status",
    },
];

/// The modules that a folder or file must not use.
const FORBIDDEN: &[(&str, &[&str], &str)] = &[
    ("routes/", &["db"], "rule 3: routes do not use the database"),
    ("catch_up/", &["accounts", "summaries", "db"], "rule 4: catch_up uses neither its siblings nor the database"),
    ("summaries/", &["accounts", "catch_up", "db"], "rule 4: summaries use neither their siblings nor the database"),
    ("accounts/", &["catch_up", "summaries", "cache", "admin_control"], "rule 4: accounts do not use Admin Control"),
    ("admin_control/", &["auth", "telemetry", "db", "config"], "rule 4: admin_control uses leaf types only"),
    ("cache/", &["auth", "db", "config"], "rule 4: the cache does not use its callers"),
    ("auth/", &["telemetry"], "rule 4: auth reports through its callers"),
    (
        "sandbox/",
        &["admin_control", "cache", "catch_up", "accounts", "routes", "response", "room", "db", "auth", "app"],
        "rule 6: the sandbox shares no code with the server",
    ),
];

fn violations(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        for (at, line) in source.lines.iter().enumerate() {
            let mut report = |sentence: &str| found.push(format!("src/{}:{}: {sentence}", source.path, at + 1));
            for restricted in RESTRICTED_NAMES.iter().filter(|it| names(line, it.name) && !source.is_in(it.places)) {
                report(restricted.sentence);
            }
            for (place, modules, sentence) in FORBIDDEN {
                if source.is_in(&[place]) && modules.iter().any(|module| names_module(line, module)) {
                    report(sentence);
                }
            }
            // All but the clock and the reading of files, in `secret`.
            let of_server = |module: &&&str| !["conformance", "clock", "secret"].contains(*module);
            if source.is_in(&["conformance/"]) && LAYERS.iter().filter(of_server).any(|module| names_module(line, module)) {
                report("rule 6: the conformance suite shares no code with the server");
            }
            for module in modules_above(source).filter(|module| names_module(line, module)) {
                report(&format!("rule 9: a module uses only modules below it, not {module}"));
            }
            if line.trim_start().starts_with("static ") || line.contains("pub static ") {
                // ALLOCATOR is required by `#[global_allocator]`.
                let known = [
                    ("routes/mod.rs", "TABLE"),
                    ("routes/mod.rs", "MANAGEMENT"),
                    ("db/mod.rs", "MIGRATIONS"),
                    ("main.rs", "ALLOCATOR"),
                ];
                if !known.iter().any(|(path, name)| source.path == *path && names(line, name)) {
                    report("rule 8: no globals");
                }
            }
            if line.contains("cfg(test)") || line.contains("cfg(any(test") {
                report("rule 8: no test hook in production code");
            }
            if line.contains("error::Error")
                && line.split("error::Error").skip(1).any(|rest| rest.starts_with(char::is_uppercase))
            {
                report("rule 5: only response/ builds error responses");
            }
            if source.is_in(&["routes/"]) && source.path != "routes/mod.rs" && names_another_handler(source, line) {
                report("rule 3: a route does not use another route");
            }
        }
    }
    found
}

/// The modules that a file must not name, because they are above its own.
fn modules_above(source: &Source) -> impl Iterator<Item = &'static str> {
    let own = source.path.split('/').next().unwrap_or_default().trim_end_matches(".rs");
    let known = LAYERS.contains(&own);
    LAYERS.iter().copied().take_while(move |layer| known && *layer != own)
}

/// Whether `line` has `name` as a whole word.
fn names(line: &str, name: &str) -> bool {
    let part_of_a_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(name).any(|(at, _)| {
        let (before, after) = (line[..at].chars().next_back(), line[at + name.len()..].chars().next());
        let open_end = name.ends_with(|c: char| !part_of_a_word(c));
        !before.is_some_and(part_of_a_word) && (open_end || !after.is_some_and(part_of_a_word))
    })
}

/// Whether `line` names a module of this crate, by path from the root, by way of `super`, or in a braced import.
fn names_module(line: &str, module: &str) -> bool {
    names(line, &format!("crate::{module}"))
        || names(line, &format!("super::super::{module}"))
        || (line.contains("use crate::{") && names(line, module))
}

/// Whether a line of a route uses another route.
fn names_another_handler(source: &Source, line: &str) -> bool {
    let shared: [&str; 0] = [];
    let own = source.path.trim_start_matches("routes/").trim_end_matches(".rs");
    ["super::", "crate::routes::"].iter().any(|path| {
        line.split(path).skip(1).any(|rest| {
            let sibling: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            sibling != own && !shared.contains(&sibling.as_str())
        })
    })
}

/// Returns the lines of a file without comments, strings and unit tests. A multi-line import is joined on its first line.
fn code_of(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = without_unit_tests(text).into_iter().map(code_of_line).collect();
    let mut at = 0;
    while at < lines.len() {
        let start = at;
        let is_import = ["use ", "pub use "].iter().any(|start| lines[at].trim_start().starts_with(start));
        while is_import && !lines[start].contains(';') && at + 1 < lines.len() {
            at += 1;
            let more = std::mem::take(&mut lines[at]);
            lines[start].push_str(&more);
        }
        at += 1;
    }
    lines
}

/// Returns the lines of a file, with those of its `mod tests` empty.
fn without_unit_tests(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    let starts = |at: usize, lines: &[&str]| {
        lines[at] == "#[cfg(test)]" && lines.get(at + 1).is_some_and(|next| next.starts_with("mod tests"))
    };
    let Some(start) = (0..lines.len()).find(|&at| starts(at, &lines)) else {
        return lines;
    };
    let in_line = |line: &&str| line.ends_with(';') || line.ends_with('}');
    let last = if in_line(&lines[start + 1]) { Some(start + 1) } else { (start..lines.len()).find(|&at| lines[at] == "}") };
    for line in &mut lines[start..=last.expect("the module ends")] {
        *line = "";
    }
    lines
}

fn code_of_line(line: &str) -> String {
    let mut code = String::new();
    let mut in_text = false;
    let line = line.replace(r#"'"'"#, "' '");
    let mut characters = line.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '\\' if in_text => drop(characters.next()),
            '"' => in_text = !in_text,
            '/' if !in_text && characters.peek() == Some(&'/') => break,
            _ if !in_text => code.push(c),
            _ => {}
        }
    }
    code
}

fn all_sources(folder: &Path, below: &str, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        let path = format!("{below}{name}");
        if entry.file_type().unwrap().is_dir() {
            all_sources(&entry.path(), &format!("{path}/"), sources);
        } else if entry.path().extension().is_some_and(|extension| extension == "rs") && name != "tests.rs" {
            sources.push(Source::new(&path, &fs::read_to_string(entry.path()).unwrap()));
        }
    }
}

fn src() -> Vec<Source> {
    let mut sources = Vec::new();
    all_sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "", &mut sources);
    assert!(sources.len() > 20, "src/ was read");
    sources
}

#[test]
fn source_breaks_no_rule() {
    let found = violations(&src());
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn rule_fails_on_a_line_that_breaks_it() {
    for (path, line, rule) in [
        ("catch_up/mod.rs", "use actix_web::web;", "rule 1"),
        ("auth/token.rs", "fn f(r: actix_web::HttpRequest) {}", "rule 1"),
        ("routes/auth.rs", "use sqlx::Row;", "rule 2"),
        ("app/components.rs", "let client = awc::Client::default();", "rule 2"),
        ("middleware/authenticate.rs", "jsonwebtoken::decode(token)", "rule 2"),
        ("accounts/mod.rs", "use argon2::Argon2;", "rule 2"),
        ("app/mod.rs", "use ::config::Config;", "rule 2"),
        ("app/mod.rs", "env_logger::Builder::new();", "rule 2"),
        ("main.rs", "use clap::Parser;", "rule 2"),
        ("cache/metrics.rs", "use ::metrics::Counter;", "rule 2"),
        ("cache/entry.rs", "use ::redis::Client;", "rule 2"),
        ("routes/auth.rs", "use crate::db::Database;", "rule 3"),
        ("routes/auth.rs", "use crate::{db, response};", "rule 3"),
        ("routes/auth.rs", "use super::join_member::create;", "rule 3"),
        ("admin_control/mod.rs", "use crate::telemetry::metrics;", "rule 4"),
        ("telemetry/health.rs", "use crate::db::Database;", "rule 9"),
        ("admin_control/mod.rs", "use crate::cache::Responses;", "rule 9"),
        ("cache/mod.rs", "use crate::catch_up::CatchUp;", "rule 9"),
        ("catch_up/window.rs", "use crate::{accounts, clock};", "rule 4"),
        ("summaries/mod.rs", "let room = crate::catch_up::CatchUp;", "rule 4"),
        ("accounts/login.rs", "use crate::response::ApiError;", "rule 9"),
        ("db/mod.rs", "use crate::accounts::Accounts;", "rule 9"),
        ("room.rs", "use crate::{cache, clock};", "rule 9"),
        ("routes/meetings.rs", "HttpResponse::Forbidden().finish()", "rule 5"),
        ("middleware/authenticate.rs", "response.status(StatusCode::UNAUTHORIZED)", "rule 5"),
        ("app/mod.rs", "use crate::sandbox::Sandbox;", "rule 6"),
        ("sandbox/mod.rs", "use crate::admin_control::Error;", "rule 6"),
        ("sandbox/script.rs", "use crate::room::RoomName;", "rule 6"),
        ("conformance/target.rs", "use crate::room::RoomName;", "rule 6"),
        ("conformance/target.rs", "use crate::sandbox::Script;", "rule 6"),
        ("catch_up/live.rs", "use ureq::Agent;", "rule 2"),
        ("catch_up/mod.rs", "use crate::config::Config;", "rule 7"),
        ("auth/token.rs", "let now = SystemTime::now();", "rule 8"),
        ("routes/auth.rs", "use crate::{\n    auth::principal::Principal,\n    db::Database,\n};", "rule 3"),
        ("routes/auth.rs", "use super::super::db::Database;", "rule 3"),
        ("routes/auth.rs", "let quote = '\"'; crate::db::Database::open()", "rule 3"),
        ("routes/auth.rs", "Err(actix_web::error::ErrorForbidden(1))", "rule 5"),
        ("clock.rs", "static CALLS: AtomicUsize = AtomicUsize::new(0);", "rule 8"),
        ("clock.rs", "#[cfg(test)] fn hook() {}", "rule 8"),
        ("telemetry.rs", "static LEVEL: OnceLock<u8> = OnceLock::new();", "rule 8"),
    ] {
        let found = violations(&[Source::new(path, line)]);
        let expected = format!("src/{path}:1: {rule}: ");
        assert!(found.iter().any(|violation| violation.starts_with(&expected)), "{line:?} in {path}: {found:?}");
    }
}

#[test]
fn comments_strings_and_unit_tests_are_ignored() {
    let text = "// use sqlx;\n/// awc\nlet a = \"actix_web \\\" sqlx\"; // awc\n#[cfg(test)]\nmod tests { use awc; }\n";
    assert!(violations(&[Source::new("auth/token.rs", text)]).is_empty());
    let after = "#[cfg(test)]\nmod tests {\n    use awc;\n}\nfn f() { awc::get() }";
    assert_eq!(
        violations(&[Source::new("auth/token.rs", after)]),
        ["src/auth/token.rs:5: rule 2: only admin_control/ and auth/http_client.rs use awc"]
    );
    let found = violations(&[Source::new("auth/token.rs", "let a = \"x\";\nlet b = 1; use sqlx;")]);
    assert_eq!(found, ["src/auth/token.rs:2: rule 2: only db/ uses sqlx"]);
}

#[test]
fn crate_docs_and_page_show_the_same_request_flow() {
    let way = |file: &str| -> Vec<String> {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
        let lines = text.lines().map(|line| line.trim_start_matches("//!").trim().to_owned());
        lines.skip_while(|line| line != "request").take_while(|line| line != "response").collect()
    };
    assert!(way("src/lib.rs").len() > 10);
    assert_eq!(way("src/lib.rs"), way("docs/ARCHITECTURE.md"));
}

#[test]
fn tests_named_in_docs_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("docs/REPLICAS.md")).unwrap();
    let named: Vec<_> = page.split('`').skip(1).step_by(2).filter_map(|code| code.split_once("::")).collect();
    assert!(named.len() > 10, "{named:?}");
    for (module, name) in named {
        let file = fs::read_to_string(root.join(format!("tests/suite/{module}.rs"))).unwrap_or_default();
        assert!(file.contains(&format!("#[test]\nfn {name}() {{")), "{module}::{name}");
    }
}

#[test]
fn source_file_has_docs_and_at_most_300_lines() {
    for source in src() {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(&source.path)).unwrap();
        assert!(text.starts_with("//! "), "{} has no `//!` comment", source.path);
        let code = without_unit_tests(&text).len()
            - without_unit_tests(&text).iter().rev().take_while(|line| line.is_empty()).count();
        assert!(code <= 300, "{} has {code} lines", source.path);
    }
}

#[test]
fn top_level_modules_have_a_layer_and_are_few() {
    let mut modules: Vec<String> =
        src().iter().map(|source| source.path.split('/').next().unwrap().replace(".rs", "")).collect();
    modules.sort();
    modules.dedup();
    let mut layers = LAYERS.to_vec();
    layers.sort_unstable();
    assert_eq!(modules, layers);
    assert!(modules.len() <= 24, "{} entries directly under src/", modules.len());
}
