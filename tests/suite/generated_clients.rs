//! Clients that common generators make from `docs/openapi.json` compile and work.
//!
//! `tests/run` installs the programs: `tests/suite/clients` lists them.

use std::path::{Path, PathBuf};
use std::process::Command;

use proconf_app_server::sandbox::Reply;
use tempfile::TempDir;

use crate::support::{EMAIL, PASSWORD, TestServer};

fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

/// A program of `tests/suite/clients/package.json`.
fn node_program(name: &str) -> Command {
    Command::new(root().join("tests/suite/clients/node_modules/.bin").join(name))
}

/// A program of `tests/suite/clients/requirements.txt`.
fn python_program(name: &str) -> Command {
    Command::new(root().join("target/clients/venv/bin").join(name))
}

/// Runs a program, asserts its success, and returns its output.
#[track_caller]
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; tests/run installs it"));
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(output.status.success(), "{command:?}: {}\n{text}", output.status);
    text
}

/// Generates a client of the OpenAPI document with OpenAPI Generator.
fn generate(generator: &str, folder: &Path) {
    let document = root().join("docs/openapi.json");
    let mut command = python_program("openapi-generator-cli");
    run(command.args(["generate", "--generator-name", generator, "--input-spec"]).arg(document).arg("--output").arg(folder));
}

#[test]
fn document_passes_spectral_and_redocly_without_warnings() {
    let folder = TempDir::new().unwrap();
    let ruleset = folder.path().join("ruleset.yaml");
    std::fs::write(&ruleset, "extends: ['spectral:oas']\n").unwrap();
    let document = root().join("docs/openapi.json");
    run(node_program("spectral").args(["lint", "--fail-severity", "warn", "--ruleset"]).arg(&ruleset).arg(&document));
    let report = run(node_program("redocly").args(["lint", "--extends", "recommended", "--format", "json"]).arg(&document));
    assert!(report.contains(r#""warnings": 0"#) && report.contains(r#""errors": 0"#), "{report}");
}

#[test]
fn generated_python_client_reads_successes_and_failures() {
    let folder = TempDir::new().unwrap();
    generate("python", folder.path());
    let server = TestServer::with_account(&[]);
    server.script.set("call-catchup", "unknown", Reply::not_found());
    server.script.set("call-catchup", "failing", Reply::body(500, "the inside"));
    let printed = run(python_program("python")
        .arg(root().join("tests/suite/clients/generated_client.py"))
        .env("PYTHONPATH", folder.path())
        .env("BASE", format!("http://{}", server.address))
        .envs([("EMAIL", EMAIL), ("PASSWORD", PASSWORD), ("UNKNOWN_ROOM", "unknown"), ("FAILING_ROOM", "failing")]));
    assert_eq!(printed, "the generated client works\n");
}

#[test]
fn generated_typescript_clients_compile_strictly() {
    let folder = TempDir::new().unwrap();
    generate("typescript-fetch", folder.path());
    let types = folder.path().join("types.ts");
    run(node_program("openapi-typescript").arg(root().join("docs/openapi.json")).arg("--output").arg(&types));
    // It fails to compile if `data` of a catch-up is no string, or a status code no number.
    let usage = r#"
        import { CallsApi, Configuration } from "./index";
        import type { components } from "./types";
        const catchUp: Promise<string> = new CallsApi(new Configuration()).callCatchUp({ roomName: "r1" }).then((response) => response.data);
        const code = (failure: components["schemas"]["Failure"]): number => failure.error.code;
        export { catchUp, code };
    "#;
    std::fs::write(folder.path().join("usage.ts"), usage).unwrap();
    let options = ["--noEmit", "--strict", "--target", "es2022", "--module", "esnext", "--moduleResolution", "bundler"];
    run(node_program("tsc").args(options).arg("usage.ts").current_dir(folder.path()));
}
