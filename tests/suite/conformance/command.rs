//! The command `conformance` of the built binary: exit codes, reports, waivers, and the example in docs/CONFORMANCE.md.

use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::faulty::{Fault, NONE, forward, start_proxy};
use super::{ORIGIN, base_url, start_server};
use crate::cli::{self, Running};
use crate::support::tls::{Authority, TlsUpstream, end};
use crate::support::{EMAIL, PASSWORD, TestServer, tokens};
use proconf_app_server::conformance::all_cases;

const BINARY: &str = env!("CARGO_BIN_EXE_proconf-app-server");

/// Runs the command in `folder` with `stdin`; returns its exit code, standard output and standard error.
fn run(folder: &TempDir, arguments: &[&str], stdin: &str) -> (i32, String, String) {
    run_with(folder, arguments, &[], stdin)
}

fn run_with(folder: &TempDir, arguments: &[&str], environment: &[(&str, &str)], stdin: &str) -> (i32, String, String) {
    let mut command = Command::new(BINARY);
    command.arg("conformance").args(arguments).current_dir(folder.path()).env_clear().envs(environment.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // The command may exit without reading.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn read(folder: &TempDir, file: &str) -> String {
    std::fs::read_to_string(folder.path().join(file)).unwrap()
}

/// Counts the test cases, failures and skipped ones of a JUnit report with an XML parser.
fn parse_junit(folder: &TempDir, file: &str) -> Vec<usize> {
    let script = "import sys, xml.etree.ElementTree as E; r = E.parse(sys.argv[1]).getroot(); \
                  print(*(len(r.findall('.//' + n)) for n in ('testcase', 'failure', 'skipped')))";
    let output = Command::new("python3").args(["-c", script, file]).current_dir(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let counts = String::from_utf8(output.stdout).unwrap();
    counts.split_whitespace().map(|count| count.parse().unwrap()).collect()
}

/// A server that answers a wrong method with an error page, and shows the credentials of the request in it.
const SHOWS_CREDENTIALS: Fault = Fault {
    response: |request, response| {
        if response.status == 404 {
            let said: String = request.headers.iter().map(|(name, value)| format!("{name}: {value} ")).collect();
            let body = String::from_utf8_lossy(&request.body);
            response.set(200, &json!({"error": null, "data": format!("<b>&\u{1b}[31m {} {said} {body}", request.target)}));
        }
    },
    ..NONE
};

#[test]
fn documented_command_tests_dev_and_writes_reports() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/CONFORMANCE.md")).unwrap();
    let script = page.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let place = cli::workspace();
    let mut dev = Running::start(cli::command(&place, &["dev"], &[("APP_SERVER__LISTEN", "127.0.0.1:0")]));
    let mut url_after = |start: &str| {
        let line = dev.line_with(start);
        let url = line.split_whitespace().find(|word| word.starts_with("http://")).unwrap();
        url.trim_end_matches([',', '/']).to_owned()
    };
    let (url, sandbox) = (url_after("The server is on"), url_after("Sandbox:"));
    let folder = folder();
    let path = std::env::join_paths(
        [Path::new(BINARY).parent().unwrap().to_owned()]
            .into_iter()
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap())),
    );
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", script])
        .current_dir(folder.path())
        .env_clear()
        .env("PATH", path.unwrap())
        .envs([("URL", &url), ("SANDBOX", &sandbox)])
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{stdout}{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_str(&read(&folder, "conformance.json")).unwrap();
    let cases = all_cases().count();
    assert_eq!((report["cases"].as_array().unwrap().len(), &report["counts"]["failed"]), (cases, &json!(0)));
    let untried = report["counts"]["notTried"].as_u64().unwrap();
    assert!(untried <= 6, "{stdout}");
    assert!(
        stdout.contains(&format!("{cases} cases: {} held, 0 failed", u64::try_from(cases).unwrap() - untried)),
        "{stdout}"
    );
    assert_eq!(parse_junit(&folder, "conformance.xml"), [cases, 0, usize::try_from(untried).unwrap()]);
    assert!(read(&folder, "conformance.html").contains("<td>held<td>login::sample_response<td>"));
}

/// Writes a waiver for a case.
fn write_waiver(folder: &TempDir, case: &str, until: &str) {
    let text = format!("[[waiver]]\ncase = \"{case}\"\nreason = \"Replaced in May\"\nuntil = {until}\n");
    std::fs::write(folder.path().join("waivers.toml"), text).unwrap();
}

#[test]
fn failure_exits_1_until_it_is_waived() {
    let server = start_server();
    let fault = Fault { response: |_, response| response.remove_header("access-control-expose-headers"), ..NONE };
    let (url, token) = (start_proxy(server.address, fault), tokens::user());
    let arguments = ["--url", &url, "--token", &token, "--origin", ORIGIN, "--tag", "cors", "--json", "report.json"];
    let folder = folder();
    let (code, stdout, stderr) = run(&folder, &arguments, "");
    assert_eq!((code, stderr.as_str()), (1, ""), "{stdout}");
    assert!(stdout.contains("failed     cors::response_exposes_its_headers\n"), "{stdout}");
    assert!(stdout.contains("contract: Pages of an allowed origin can read the API's headers"), "{stdout}");
    let waived = [&arguments[..], &["--waive", "waivers.toml", "--junit", "report.xml"]].concat();
    for (until, expected, says) in [
        (
            "2999-12-31",
            0,
            "waived     cors::response_exposes_its_headers\n           waived until 2999-12-31: Replaced in May (",
        ),
        ("2020-01-01", 1, "(its waiver ended on 2020-01-01)"),
    ] {
        write_waiver(&folder, "cors::response_exposes_its_headers", until);
        let (code, stdout, stderr) = run(&folder, &waived, "");
        assert_eq!((code, stderr.as_str()), (expected, ""), "{stdout}");
        assert!(stdout.contains(says), "{stdout}");
        let counts = parse_junit(&folder, "report.xml");
        assert_eq!(&counts[1..], if expected == 0 { [0, 1] } else { [1, 0] }, "{counts:?}");
    }
    write_waiver(&folder, "cors::error_is_readable", "2999-12-31");
    let (code, stdout, _) = run(&folder, &waived, "");
    assert_eq!(code, 1, "another case is waived");
    assert!(stdout.contains("held       cors::error_is_readable\n           its waiver is no longer needed"), "{stdout}");
    let report: Value = serde_json::from_str(&read(&folder, "report.json")).unwrap();
    assert_eq!(report["counts"], json!({"held": 4, "failed": 1, "waived": 0, "notTried": 0}));
}

#[test]
fn run_that_is_not_possible_exits_2_and_says_why() {
    let server = start_server();
    let url = base_url(&server);
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let closed = format!("http://{free}");
    let folder = folder();
    write_waiver(&folder, "cors::no_such_case", "2999-12-31");
    let user = ["--email", EMAIL, "--password-stdin"];
    for (arguments, stdin, says) in [
        (vec![], "", "--url <URL>"),
        (vec!["--url", &*closed], "", "could not run: GET /callConfig: no response: "),
        (vec!["--url", &*closed, "--wait-ready", "300ms"], "", "could not run: not ready: "),
        (vec!["--url", "ftp://127.0.0.1"], "", "could not run: the URL must begin with http:// or https://"),
        (vec!["--url", "http://ann:secret-word@127.0.0.1"], "", "could not run: the URL must have no user name"),
        (vec!["--url", "nonsense"], "", "could not run: the URL "),
        (vec!["--url", &*url, "--token", "not-a-token"], "", "could not run: the deployment rejects the token with 401"),
        (
            [&["--url", &*url], &user[..]].concat(),
            "a wrong password",
            "could not run: POST /auth/login: status 401 and not 200",
        ),
        ([&["--url", &*url], &user[..]].concat(), "", "could not run: the password is empty"),
        (vec!["--url", &*url, "--email", EMAIL], "", "--password-stdin"),
        (vec!["--url", &*url, "--tag", "no-such-tag"], "", "could not run: no case has the tag \"no-such-tag\""),
        (
            vec!["--url", &*url, "--waive", "waivers.toml"],
            "",
            "could not run: waivers.toml: \"cors::no_such_case\" is not a case",
        ),
        (vec!["--url", &*url, "--waive", "none.toml"], "", "could not run: none.toml: "),
        (vec!["--url", &*url, "--tag", "upstream"], "", "could not run: no case could be tried"),
        (vec!["--url", &*url, "--tag", "cors", "--json", "no/such/folder.json"], "", "could not run: no/such/folder.json: "),
        (
            vec!["--url", &*url, "--against", &*closed, "--tag", "errors"],
            "",
            "could not run: GET /callConfig: no response: ",
        ),
        (vec!["--url", &*url, "--jobs", "0"], "", "--jobs"),
    ] {
        let (code, _, stderr) = run(&folder, &arguments, stdin);
        assert_eq!(code, 2, "{arguments:?}: {stderr}");
        assert!(stderr.contains(says), "{arguments:?}: {stderr}");
        assert!(!stderr.contains("secret-word") && !stderr.contains("a wrong password"), "{stderr}");
    }
}

#[test]
fn terminal_output_and_reports_have_no_control_characters() {
    let fault = Fault { response: |_, response| response.remove_header("x-request-id"), ..NONE };
    let server = start_server();
    let (url, folder) = (start_proxy(server.address, fault), folder());
    let hostile = "a\u{1b}[31m\u{202e}\u{61c}\u{2028}\u{85}b";
    let is_plain = |text: &str| !text.contains(|c: char| c != '\n' && (hostile.contains(c) && !c.is_ascii_graphic()));
    let waivers = |text: &str| std::fs::write(folder.path().join("waivers.toml"), text).unwrap();
    waivers(&format!("[[waiver]]\ncase = \"{hostile}\n"));
    for arguments in
        [["--url", &url, "--waive", hostile], ["--url", &url, "--waive", "waivers.toml"], ["--url", &url, "--tag", hostile]]
    {
        let (code, stdout, stderr) = run(&folder, &arguments, "");
        assert!(code == 2 && stdout.is_empty() && is_plain(&stderr), "{stderr:?}");
    }
    let reason = r"a\u001b[31m\u202e\u061c\u2028\u0085b";
    let case = "request_id::every_response_has_one";
    waivers(&format!("[[waiver]]\ncase = \"{case}\"\nreason = \"{reason}\"\nuntil = 2999-12-31\n"));
    let arguments = ["--url", &url, "--tag", "request_id", "--waive", "waivers.toml", "--junit", "report.xml"];
    let (_, stdout, stderr) = run(&folder, &arguments, "");
    assert!(stdout.contains("until 2999-12-31: a") && is_plain(&stdout), "{stdout:?}{stderr}");
    assert!(parse_junit(&folder, "report.xml")[0] > 0);
}

#[test]
fn certificate_file_that_is_not_regular_exits_2() {
    let folder = folder();
    assert!(Command::new("mkfifo").arg(folder.path().join("fifo")).status().unwrap().success());
    for file in ["fifo", "/dev/zero", "/", "none"] {
        let mut command = Command::new("timeout");
        command.args(["20", BINARY, "conformance", "--url", "http://127.0.0.1:1"]).env("SSL_CERT_FILE", file);
        let output = command.current_dir(folder.path()).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        // `timeout` exits with 124 on a hang.
        assert_eq!(output.status.code(), Some(2), "{file}: {stderr}");
        assert!(stderr.starts_with("could not run: SSL_CERT_FILE cannot be read: "), "{file}: {stderr}");
    }
}

#[test]
fn certificate_of_an_unknown_authority_exits_2() {
    let server = start_server();
    let (authority, address) = (Authority::new(), server.address);
    let tls = TlsUpstream::serving(authority.sign(&["localhost"]).config(), move |mut tls| {
        // The client may leave.
        let _ = forward(&mut tls, address, NONE);
        end(tls);
    });
    let url = tls.url("localhost", "");
    let folder = folder();
    let arguments = ["--url", &url, "--tag", "request_id"];
    let (code, _, stderr) = run(&folder, &arguments, "");
    assert!(code == 2 && stderr.contains("certificate"), "{code} {stderr}");
    let (code, stdout, stderr) = run_with(&folder, &arguments, &[("SSL_CERT_FILE", &authority.file())], "");
    assert_eq!(code, 0, "{stdout}{stderr}");
}

#[test]
fn reports_and_output_contain_no_secret_and_no_markup() {
    let server = start_server();
    let (url, folder) = (start_proxy(server.address, SHOWS_CREDENTIALS), folder());
    let expired = super::expired_token();
    let files = ["report.xml", "report.json", "report.html"];
    let mut arguments = vec!["--url", &url, "--email", EMAIL, "--password-stdin", "--expired-token", &expired];
    arguments.extend(["--room", "r1", "--against", &url]);
    arguments.extend(["--junit", files[0], "--json", files[1], "--html", files[2]]);
    let (code, stdout, stderr) = run(&folder, &arguments, &format!("{PASSWORD}\n"));
    assert_eq!((code, stderr.as_str()), (1, ""));
    assert!(stdout.contains("[redacted]"), "{stdout}");
    let counts = parse_junit(&folder, files[0]);
    assert!(counts[1] > 5, "{counts:?}");
    for text in files.map(|file| read(&folder, file)).iter().chain([&stdout]) {
        let is_token = |word: &&str| word.starts_with("eyJ") && word.len() > 40;
        let token = text.split(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c))).find(is_token);
        assert_eq!(token, None, "{text}");
        assert!(!text.contains(PASSWORD) && !text.contains(&expired) && !text.contains('\u{1b}'), "{text}");
    }
    assert!(!read(&folder, files[2]).contains("<b>") && read(&folder, files[2]).contains("&lt;b&gt;&amp;"));
}

#[test]
fn deployments_are_compared() {
    let server = start_server();
    let fault = Fault { response: |_, response| response.remove_header("x-request-id"), ..NONE };
    let (url, wrong) = (base_url(&server), start_proxy(server.address, fault));
    let folder = folder();
    let (code, stdout, stderr) = run(&folder, &["--url", &url, "--against", &wrong, "--tag", "errors"], "");
    assert_eq!((code, stderr.as_str()), (1, ""), "{stdout}");
    let (_, differences) = stdout.split_once("Differences:\n").unwrap();
    let expected = format!(
        "request_id::each_request_has_another\n    {url}: held\n    {wrong}: failed: GET /conformance: status 404 without X-Request-Id\n"
    );
    assert!(differences.contains(&expected), "{stdout}");
    assert!(!differences.contains("errors::unknown_url"), "{differences}");
    let (code, stdout, _) = run(&folder, &["--url", &url, "--against", &url, "--tag", "errors"], "");
    assert!(code == 0 && stdout.ends_with("Differences:\n"), "{stdout}");
}

#[test]
fn list_names_every_case_without_a_deployment() {
    let (code, stdout, _) = run(&folder(), &["--list"], "");
    assert_eq!(code, 0);
    assert_eq!(stdout.lines().filter(|line| line.contains("::")).count(), all_cases().count());
    let (_, tagged, _) = run(&folder(), &["--list", "--tag", "cors"], "");
    assert!(tagged.starts_with("errors::options_is_404  [errors cors]\n    An OPTIONS request"), "{tagged}");
}

#[test]
fn deployment_that_becomes_ready_is_waited_for() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{free}");
    let waiting =
        std::thread::spawn(move || run(&folder(), &["--url", &url, "--wait-ready", "60s", "--tag", "request_id"], ""));
    let listen = free.to_string();
    let server = Arc::new(TestServer::with(&[("APP_SERVER__LISTEN", &listen)]));
    let (code, stdout, stderr) = waiting.join().unwrap();
    assert_eq!(code, 0, "{stdout}{stderr}");
    drop(server);
}
