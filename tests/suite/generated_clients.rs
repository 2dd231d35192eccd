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
fn generate(generator: &str, properties: &str, folder: &Path) {
    let document = root().join("docs/openapi.json");
    let mut command = python_program("openapi-generator-cli");
    command.args(["generate", "--generator-name", generator, "--additional-properties", properties, "--input-spec"]);
    run(command.arg(document).arg("--output").arg(folder));
}

/// Returns the path of OpenAPI Generator, which contains the Jackson libraries that its Java and Kotlin clients use.
fn generator_jar() -> String {
    let package = "import openapi_generator_cli; print(openapi_generator_cli.__path__[0])";
    let folder = run(python_program("python").args(["-c", package]));
    Path::new(folder.trim()).join("openapi-generator.jar").display().to_string()
}

/// Returns the files of a folder and its subfolders with this extension.
fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.append(&mut files(&path, extension));
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    // Generators name a schema without a name `InlineObject1`.
    assert!(!found.is_empty() && found.iter().all(|path| !path.display().to_string().contains("Inline")), "{found:?}");
    found
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
    generate("python", "", folder.path());
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
    generate("typescript-fetch", "", folder.path());
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

#[test]
fn generated_java_client_reads_successes_and_failures() {
    let folder = TempDir::new().unwrap();
    generate("java", "library=native,openApiNullable=false,useJakartaEe=true", folder.path());
    let libraries = [generator_jar(), "/usr/share/java/jakarta-annotation-api.jar".to_owned()].join(":");
    let classes = folder.path().join("classes");
    run(Command::new("javac")
        .args(["-proc:none", "-cp", &libraries, "-d"])
        .arg(&classes)
        .args(files(&folder.path().join("src/main"), "java"))
        .arg(root().join("tests/suite/clients/GeneratedClient.java")));
    let server = TestServer::with_account(&[]);
    server.script.set("call-catchup", "unknown", Reply::not_found());
    let printed = run(Command::new("java")
        .args(["-cp", &format!("{}:{libraries}", classes.display()), "GeneratedClient"])
        .env("BASE", format!("http://{}", server.address))
        .envs([("EMAIL", EMAIL), ("PASSWORD", PASSWORD), ("UNKNOWN_ROOM", "unknown")]));
    assert_eq!(printed, "the generated client works\n");
}

#[test]
fn generated_kotlin_models_compile() {
    let folder = TempDir::new().unwrap();
    // Its HTTP library, OkHttp 4, is in none of the registries that tests/run uses. The models need Jackson only.
    generate("kotlin", "serializationLibrary=jackson", folder.path());
    let usage = folder.path().join("Usage.kt");
    // It fails to compile if `data` of a catch-up is no string, or a status code no number.
    let text = "import org.openapitools.client.models.*
        fun text(response: CatchUpResponse): String = response.data
        fun code(failure: Failure): Int = failure.error.code
        fun refreshToken(response: SessionResponse): String = response.data.refreshToken
        fun rooms(response: MeetingsResponse): List<String> = response.data.map { it.roomName }
        fun audio(response: CallConfigResponse): Boolean? = response.data.features.audioCall
    ";
    std::fs::write(&usage, text).unwrap();
    run(Command::new(root().join("tests/suite/clients/node_modules/kotlin-compiler/bin/kotlinc"))
        .args(["-J-Xmx512m", "-Werror", "-cp", &generator_jar(), "-d"])
        .arg(folder.path().join("classes"))
        .arg(&usage)
        .args(files(&folder.path().join("src/main/kotlin/org/openapitools/client/models"), "kt")));
}
