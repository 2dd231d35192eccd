//! The quick start of `docs/IDENTITY.md`, with the `OpenID` provider of the suite.

use std::process::Command;

use super::dev::address_in;
use super::{Running, command, workspace};
use crate::support::client::Client;
use crate::support::openid_provider::OpenIdProvider;
use crate::support::wait_until;

/// Returns the `sh` blocks of the quick start.
fn blocks() -> Vec<&'static str> {
    let page = include_str!("../../../docs/IDENTITY.md");
    let quick_start = page.split("## Quick start").nth(1).unwrap().split("\n## ").next().unwrap();
    quick_start.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

#[test]
fn identity_quick_start_prints_what_its_page_says() {
    let [provider_commands, server_commands, client_commands] = blocks()[..] else { panic!("three blocks") };
    assert!(provider_commands.contains("node tests/suite/identity_provider/provider.mjs 9000\n"));
    let provider = OpenIdProvider::start();
    let issuer = provider.issuer();
    let settings: Vec<(&str, &str)> = server_commands
        .lines()
        .filter_map(|line| line.strip_prefix("export ")?.split_once('='))
        .map(|(name, value)| (name, if name == "APP_OIDC__ISSUER" { issuer.as_str() } else { value }))
        .collect();
    assert!(settings.len() > 3 && server_commands.ends_with("cargo run -- dev\n"), "{server_commands}");
    let workspace = workspace();
    let environment = [&settings[..], &[("APP_SERVER__LISTEN", "127.0.0.1:0")]].concat();
    let mut dev = Running::start(command(&workspace, &["dev"], &environment));
    let address = address_in(&dev.line_with("The server is on"));
    let client = Client::new(address);
    let ann = provider.log_in("ann");
    wait_until("the keys are fetched", || client.get("/callConfig", Some(&ann)).status == 200);
    let script = client_commands.replace("http://127.0.0.1:9000", &issuer).replace("127.0.0.1:8080", &address.to_string());
    let output = Command::new("bash").args(["-euc", &script]).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{printed}\n{}", String::from_utf8_lossy(&output.stderr));
    let mut rest = printed.as_str();
    for response in [
        r#"{"error":null,"data":"Ann opened the call and went through the agenda: "#,
        r#"{"error":null,"data":"eyJ"#,
        r#"{"data":null,"error":{"code":403,"message":"Forbidden"}}"#,
    ] {
        let at = rest.find(response).unwrap_or_else(|| panic!("no {response} in the rest of\n{printed}"));
        rest = &rest[at + response.len()..];
    }
}
