//! The sources of the dependencies and their comments; `cargo deny` checks the rest.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn project_file(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// Returns the dependencies of a manifest without a comment right above.
fn uncommented(manifest: &str) -> Vec<&str> {
    let (mut names, mut in_dependencies, mut above) = (Vec::new(), false, "");
    for line in manifest.lines() {
        if let Some(section) = line.strip_prefix('[') {
            in_dependencies = section.ends_with("dependencies]");
            // A dependency with its own section: `[dependencies.name]`.
            if section.contains("dependencies.") && !above.starts_with("# ") {
                names.push(line);
            }
        } else if in_dependencies
            && line.starts_with(|c: char| c.is_ascii_alphanumeric())
            && !(above.starts_with("# ") && above.len() > 10)
        {
            names.push(line.split([' ', '.', '=']).next().unwrap_or(line));
        }
        above = line;
    }
    names
}

#[test]
fn every_dependency_has_a_comment() {
    assert_eq!(uncommented(&project_file("Cargo.toml")), [""; 0], "each needs a comment right above");
}

#[test]
fn dependency_without_a_comment_is_reported() {
    let manifest = "[package]\nname = 1\n\n[dependencies]\n# What a is for.\na = 1\nb = 2\n# ?\nc = 3\n\n[dependencies.d]\nversion = 1\n\n[dev-dependencies]\ne.workspace = true\n\n[lints]\nf = 1\n";
    assert_eq!(uncommented(manifest), ["b", "c", "[dependencies.d]", "e"]);
}

#[test]
fn locked_packages_have_one_index_and_a_checksum() {
    let lock = project_file("Cargo.lock");
    let packages: Vec<&str> = lock.split("[[package]]").skip(1).collect();
    let field = |package: &str, name: &str| {
        let line = package.lines().find_map(|line| line.strip_prefix(&format!("{name} = ")));
        line.map(|value| value.trim_matches('"').to_owned())
    };
    let (mut sources, mut local) = (BTreeSet::new(), Vec::new());
    for package in &packages {
        match field(package, "source") {
            Some(source) => {
                assert_eq!(field(package, "checksum").map(|sum| sum.len()), Some(64), "{package}");
                sources.insert(source);
            }
            None => local.push(field(package, "name").unwrap()),
        }
    }
    assert_eq!(local, ["proconf-app-server"]);
    assert_eq!(sources.len(), 1, "{sources:?}");
    assert!(sources.first().unwrap().starts_with("registry+https://"), "{sources:?}");
}

#[test]
fn every_ban_and_ignored_advisory_has_a_reason() {
    let policy = project_file("deny.toml");
    let rows_with = |start: &str| -> Vec<String> {
        let lines = policy.lines().map(str::trim).filter(|line| line.starts_with(start));
        lines.map(str::to_owned).collect()
    };
    for (start, at_least) in [("{ crate = ", 5), ("{ id = ", 0)] {
        let rows = rows_with(start);
        assert!(rows.len() >= at_least, "{start}");
        for row in rows {
            let reason = row.split("reason = \"").nth(1).and_then(|rest| rest.split('"').next());
            assert!(reason.is_some_and(|reason| reason.len() >= 7), "{row}");
        }
    }
    for package in ["openssl", "openssl-sys", "native-tls"] {
        assert!(rows_with("{ crate = ").iter().any(|row| row.contains(&format!("\"{package}\""))), "{package}");
    }
}

#[test]
fn ci_checks_licences_bans_and_sources() {
    let run = project_file(".ci/run");
    assert!(run.lines().any(|line| line.ends_with("cargo deny --locked check licenses bans sources")), "{run}");
    let tools = project_file(".ci/tools.txt");
    let pinned = tools.lines().filter(|line| line.contains("==")).count();
    assert!(pinned >= 1 && tools.matches("--hash=sha256:").count() >= pinned, "pinned by hash");
}

#[test]
fn vendored_swagger_ui_is_the_pinned_release_with_its_licence() {
    let version = project_file("static/swagger-ui/version");
    let script = project_file("static/swagger-ui/swagger-ui-bundle.js");
    assert!(script.contains(&format!("PACKAGE_VERSION:\"{}\"", version.trim())), "run static/swagger-ui/update");
    let numbers: Vec<u32> = version.trim().split('.').map(|number| number.parse().unwrap()).collect();
    assert!(numbers >= vec![5, 35, 0], "{version}");
    assert!(project_file("static/swagger-ui/LICENSE").contains("Apache License"));
    assert!(project_file("deny.toml").contains("static/swagger-ui/update --check"), "documents the update");
    assert!(!project_file("Cargo.toml").contains("swagger-ui"), "no download in a build");
    let script = project_file("build.rs");
    assert!(!script.contains("Command") && !script.contains("net::"), "no download in a build: {script}");
}
