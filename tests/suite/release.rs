//! The workflows, and what the release workflow takes from the project.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use yaml_rust2::{Yaml, YamlLoader};

const RELEASE: &str = ".github/workflows/release.yml";

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(name: &str) -> String {
    fs::read_to_string(project().join(name)).unwrap()
}

fn workflows() -> Vec<PathBuf> {
    fs::read_dir(project().join(".github/workflows")).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn jobs() -> Yaml {
    YamlLoader::load_from_str(&text(RELEASE)).unwrap()[0]["jobs"].clone()
}

/// Returns the scripts of a job.
fn scripts(job: &Yaml) -> Vec<&str> {
    job["steps"].as_vec().unwrap().iter().filter_map(|step| step["run"].as_str()).collect()
}

#[test]
fn workflows_pass_actionlint() {
    let output = Command::new(project().join("target/deploy/bin/actionlint"))
        // The same result with and without shellcheck on the machine.
        .args(["-no-color", "-shellcheck=", "-pyflakes="])
        .args(workflows())
        .output()
        .expect("actionlint in target/deploy, which tests/run installs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn workflows_use_released_versions_of_official_actions() {
    let mut count = 0;
    for file in workflows() {
        let text = fs::read_to_string(&file).unwrap();
        for action in text.lines().filter_map(|line| line.split("uses: ").nth(1)) {
            let is_version = |version: &str| version.bytes().all(|byte| byte.is_ascii_digit());
            let official = action.strip_prefix("actions/").and_then(|action| action.split_once("@v"));
            let is_released = official.is_some_and(|(_, version)| is_version(version));
            assert!(is_released || action.starts_with("./.github/workflows/"), "{}: {action}", file.display());
            count += 1;
        }
    }
    assert!(count >= 5, "{count}");
}

#[test]
fn release_tag_must_be_the_version_of_all_files() {
    let jobs = jobs();
    let check = |tag: &str| {
        let outputs = tempfile::NamedTempFile::new().unwrap();
        let status = Command::new("bash")
            // As the runner does.
            .args(["--noprofile", "--norc", "-eo", "pipefail", "-c", scripts(&jobs["version"])[0]])
            .current_dir(project())
            .env("TAG", tag)
            .env("GITHUB_OUTPUT", outputs.path())
            .status()
            .unwrap();
        (status.success(), fs::read_to_string(outputs.path()).unwrap())
    };
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(check(&format!("v{version}")), (true, format!("version={version}\n")));
    assert_eq!(check("v9.9.9"), (false, String::new()));
}

#[test]
fn release_has_stripped_binaries_for_amd64_and_arm64() {
    let jobs = jobs();
    let binary = &jobs["binary"];
    let needs = jobs["image"]["needs"].as_vec().unwrap();
    assert!(needs.iter().any(|job| job.as_str() == Some("ci")), "an image of a failed commit would be pushed");
    for job in [binary, &jobs["image"]] {
        let matrix = job["strategy"]["matrix"]["include"].as_vec().unwrap();
        let architectures: Vec<&str> = matrix.iter().map(|row| row["architecture"].as_str().unwrap()).collect();
        assert_eq!(architectures, ["amd64", "arm64"]);
        for row in matrix {
            let is_arm = row["runner"].as_str().unwrap().ends_with("-arm");
            assert_eq!(is_arm, row["architecture"].as_str() == Some("arm64"), "emulated");
        }
    }
    let build = "cargo build --profile dist --locked --bin proconf-app-server";
    assert!(scripts(binary).contains(&build));
    let image = text("Dockerfile");
    assert!(image.contains(build) && image.contains("target/dist/proconf-app-server"));
    let rust = image.split("RUST_IMAGE=rust:").nth(1).unwrap().split('-').next().unwrap();
    assert!(binary["container"].as_str().unwrap().starts_with(&format!("rust:{rust}-")), "{rust}");
    let manifest = text("Cargo.toml");
    let profile = manifest.split("[profile.dist]\n").nth(1).unwrap().split("\n\n").next().unwrap();
    for setting in ["inherits = \"release\"", "debug = false", "strip = \"symbols\""] {
        assert!(profile.lines().any(|line| line.split(" #").next() == Some(setting)), "{setting} in {profile}");
    }
}

#[test]
fn release_archive_is_packed_from_files_that_exist() {
    let jobs = jobs();
    let scripts = scripts(&jobs["binary"]);
    let copy = scripts.iter().flat_map(|script| script.lines()).find_map(|line| line.trim().strip_prefix("cp -r ")).unwrap();
    let copied: Vec<&str> =
        copy.split(' ').filter(|name| !name.starts_with(['"', '$']) && !name.starts_with("target/")).collect();
    assert!(copied.len() >= 5, "{copied:?}");
    for name in copied {
        let stem = name.trim_end_matches('*');
        let mut entries = fs::read_dir(project()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert!(entries.any(|entry| entry == name || (stem != name && entry.starts_with(stem))), "{name}");
    }
}

#[test]
fn image_has_oci_labels() {
    let image = text("Dockerfile").replace("\\\n", " ");
    let last = image.rsplit("FROM ").next().unwrap();
    for label in ["title", "description", "licenses", "version", "revision"] {
        assert!(last.contains(&format!("org.opencontainers.image.{label}=")), "{label}");
    }
    assert!(image.contains(&format!("\nARG VERSION={}\n", env!("CARGO_PKG_VERSION"))), "the version of Cargo.toml");
    assert!(image.contains("org.opencontainers.image.licenses=\"MIT OR Apache-2.0\""));
}
