//! The command: reads its input, runs the cases, writes the reports, and returns the exit code.

use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use super::case::{Case, Failure, check};
use super::cases::all_cases;
use super::client::Client;
use super::options::{Options, TargetConfig};
use super::redaction::printable;
use super::report::{Report, html, json, junit};
use super::runner::run_cases;
use super::target::Target;
use super::waiver::Waivers;
use crate::clock::Clock;
use crate::secret::files;

/// The exit code if the cases could not be run.
const COULD_NOT_RUN: u8 = 2;
/// The maximum length of a password that is read, in bytes.
const MAX_PASSWORD: u64 = 8 * 1024;

/// Runs the command. Exit codes: 0 if all cases held, 1 if some failed, 2 if they could not be run.
#[must_use]
pub fn run(options: &Options) -> ExitCode {
    match try_run(options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(reason) => {
            // Standard error may be closed.
            let _ = writeln!(io::stderr(), "could not run: {}", printable(&reason));
            ExitCode::from(COULD_NOT_RUN)
        }
    }
}

/// Returns whether all cases held.
fn try_run(options: &Options) -> Result<bool, String> {
    let cases = select_cases(&options.tag)?;
    let Some(url) = options.url.as_deref().filter(|_| !options.list) else {
        let lines = cases.iter().map(|case| format!("{}  [{}]\n    {}\n", case.name, case.tags, case.sentence));
        return print(&lines.collect::<String>()).map(|()| true);
    };
    check_certificate_file()?;
    let waivers = options.waive.as_deref().map_or(Ok(Waivers::default()), read_waivers)?;
    let password = if options.password_stdin { Some(read_password()?) } else { None };
    let report = run_against(url, options, password.as_deref(), &cases, &waivers)?;
    print(&report.to_text())?;
    write_reports(options, &report)?;
    let Some(other_url) = &options.against else { return has_held(&report) };
    let other = run_against(other_url, options, password.as_deref(), &cases, &waivers)?;
    let differences = report.differences(&other);
    print(&format!("{}\nDifferences:\n{differences}", other.to_text()))?;
    Ok(has_held(&report)? && has_held(&other)? && differences.is_empty())
}

fn select_cases(tags: &[String]) -> Result<Vec<&'static Case>, String> {
    for tag in tags {
        if !all_cases().any(|case| case.is_selected(std::slice::from_ref(tag))) {
            return Err(format!("no case has the tag {tag:?}; --list prints the tags"));
        }
    }
    Ok(all_cases().filter(|case| case.is_selected(tags)).collect())
}

/// Checks the file of root certificates, which the TLS library opens. That may block forever if it is a FIFO.
fn check_certificate_file() -> Result<(), String> {
    let file = std::env::var_os("SSL_CERT_FILE").filter(|file| !file.is_empty());
    let regular = file.map_or(Ok(()), |file| files::require_regular(Path::new(&file)));
    regular.map_err(|error| format!("SSL_CERT_FILE cannot be read: {error}"))
}

fn read_waivers(path: &Path) -> Result<Waivers, String> {
    let today = humantime::format_rfc3339_seconds(Clock::system().now()).to_string();
    let waivers = files::read_regular(path).map_err(|error| error.to_string());
    let waivers = waivers.and_then(|text| Waivers::parse(&text, today.get(..10).unwrap_or_default()));
    waivers.map_err(|error| format!("{}: {error}", path.display()))
}

fn read_password() -> Result<String, String> {
    let mut password = String::new();
    io::stdin().take(MAX_PASSWORD).read_to_string(&mut password).map_err(|error| error.to_string())?;
    Ok(files::without_line_break(&password).to_owned())
}

fn run_against(
    url: &str,
    options: &Options,
    password: Option<&str>,
    cases: &[&'static Case],
    waivers: &Waivers,
) -> Result<Report, String> {
    if let Some(limit) = options.wait_ready {
        wait_until_ready(url, limit)?;
    }
    let target = Target::connect(TargetConfig {
        url: url.to_owned(),
        login: options.email.clone().zip(password.map(str::to_owned)),
        ..options.target.clone()
    })?;
    Ok(run_cases(&target, cases, options.jobs.get(), waivers))
}

/// Waits until the deployment is ready. One without health routes is ready when it responds.
fn wait_until_ready(url: &str, limit: Duration) -> Result<(), String> {
    let client = Client::new(url).map_err(|reason| format!("the URL {reason}"))?;
    let attempt = || {
        let response = client.request("GET", "/health/ready").send()?;
        check([200, 404].contains(&response.status), || format!("/health/ready: status {}", response.status))
    };
    Target::retry_for(limit, attempt).map_err(|failure| match failure {
        Failure::Violation(message) | Failure::NotTried(message) => {
            format!("not ready: {}", client.secrets.redact(&message))
        }
    })
}

/// Returns whether no case failed. A run in which nothing could be tried is an error.
fn has_held(report: &Report) -> Result<bool, String> {
    let untried = report.count("not tried") == report.results.len();
    if untried { Err("no case could be tried".to_owned()) } else { Ok(report.failed_cases().is_empty()) }
}

fn write_reports(options: &Options, report: &Report) -> Result<(), String> {
    let render: [fn(&Report) -> String; 3] = [junit::render, json::render, html::render];
    for (path, render) in [&options.junit, &options.json, &options.html].into_iter().zip(render) {
        if let Some(path) = path {
            std::fs::write(path, render(report)).map_err(|error| format!("{}: {error}", path.display()))?;
        }
    }
    Ok(())
}

/// Writes to standard output, without control characters. A reader that has closed it is no failure.
fn print(text: &str) -> Result<(), String> {
    match io::stdout().lock().write_all(printable(text).as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.to_string()),
        _ => Ok(()),
    }
}
