//! Where the dependencies come from, and that each one says what it is for. `cargo deny` holds the rest, by `deny.toml`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn project_file(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

/// The dependencies of a manifest that no comment stands right above.
fn unexplained(manifest: &str) -> Vec<&str> {
    let (mut found, mut among_dependencies, mut above) = (Vec::new(), false, "");
    for line in manifest.lines() {
        if let Some(section) = line.strip_prefix('[') {
            among_dependencies = section.ends_with("dependencies]");
            // A dependency with a section of its own: `[dependencies.name]`.
            if section.contains("dependencies.") && !above.starts_with("# ") {
                found.push(line);
            }
        } else if among_dependencies
            && line.starts_with(|c: char| c.is_ascii_alphanumeric())
            && !(above.starts_with("# ") && above.len() > 10)
        {
            found.push(line.split([' ', '.', '=']).next().unwrap_or(line));
        }
        above = line;
    }
    found
}

#[test]
fn every_dependency_has_a_comment() {
    assert_eq!(unexplained(&project_file("Cargo.toml")), [""; 0], "put a comment right above each");
}

#[test]
fn dependency_without_a_comment_is_reported() {
    let manifest = "[package]\nname = 1\n\n[dependencies]\n# What a is for.\na = 1\nb = 2\n# ?\nc = 3\n\n[dependencies.d]\nversion = 1\n\n[dev-dependencies]\ne.workspace = true\n\n[lints]\nf = 1\n";
    assert_eq!(unexplained(manifest), ["b", "c", "[dependencies.d]", "e"]);
}

#[test]
fn locked_packages_have_one_index_and_a_checksum() {
    let lock = project_file("Cargo.lock");
    let packages: Vec<&str> = lock.split("[[package]]").skip(1).collect();
    let field = |package: &str, name: &str| {
        let line = package.lines().find_map(|line| line.strip_prefix(&format!("{name} = ")));
        line.map(|value| value.trim_matches('"').to_owned())
    };
    let (mut sources, mut of_this_project) = (BTreeSet::new(), Vec::new());
    for package in &packages {
        match field(package, "source") {
            Some(source) => {
                assert_eq!(field(package, "checksum").map(|sum| sum.len()), Some(64), "{package}");
                sources.insert(source);
            }
            None => of_this_project.push(field(package, "name").unwrap()),
        }
    }
    assert_eq!(of_this_project, ["proconf-app-server"]);
    assert_eq!(sources.len(), 1, "{sources:?}");
    assert!(sources.first().unwrap().starts_with("registry+https://"), "{sources:?}");
}

#[test]
fn every_ban_and_ignored_advisory_has_a_reason() {
    let rules = project_file("deny.toml");
    let of = |start: &str| -> Vec<String> {
        let lines = rules.lines().map(str::trim).filter(|line| line.starts_with(start));
        lines.map(str::to_owned).collect()
    };
    for (start, at_least) in [("{ crate = ", 5), ("{ id = ", 0)] {
        let rows = of(start);
        assert!(rows.len() >= at_least, "{start}");
        for row in rows {
            let reason = row.split("reason = \"").nth(1).and_then(|rest| rest.split('"').next());
            assert!(reason.is_some_and(|reason| reason.len() >= 7), "{row}");
        }
    }
    for package in ["openssl", "openssl-sys", "native-tls"] {
        assert!(of("{ crate = ").iter().any(|row| row.contains(&format!("\"{package}\""))), "{package}");
    }
}

#[test]
fn ci_checks_licences_bans_and_sources() {
    let run = project_file(".ci/run");
    assert!(run.lines().any(|line| line.ends_with("cargo deny --locked check licenses bans sources")), "{run}");
    let tools = project_file(".ci/tools.txt");
    let pinned = tools.lines().filter(|line| line.contains("==")).count();
    assert!(pinned >= 1 && tools.matches("--hash=sha256:").count() >= pinned, "pinned to the byte");
}

#[test]
fn vendored_swagger_ui_is_the_pinned_release_with_its_licence() {
    let version = project_file("static/swagger-ui/version");
    let script = project_file("static/swagger-ui/swagger-ui-bundle.js");
    assert!(script.contains(&format!("PACKAGE_VERSION:\"{}\"", version.trim())), "run static/swagger-ui/update");
    let numbers: Vec<u32> = version.trim().split('.').map(|number| number.parse().unwrap()).collect();
    assert!(numbers >= vec![5, 35, 0], "{version}");
    assert!(project_file("static/swagger-ui/LICENSE").contains("Apache License"));
    assert!(project_file("deny.toml").contains("static/swagger-ui/update --check"), "says how it is kept current");
    let manifest = project_file("Cargo.toml");
    assert!(!manifest.contains("[build-dependencies]") && !manifest.contains("swagger-ui"), "no build downloads anything");
}
