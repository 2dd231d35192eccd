//! `healthcheck`: checks whether the local server is ready.
//!
//! It is for containers without an HTTP client.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use super::Error;
use crate::config::Config;

/// Time limit of each step.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Maximum number of bytes of the response that are read.
const MAX_RESPONSE: u64 = 1024;

pub(super) fn run(config: Option<&Path>) -> Result<(), Error> {
    // Exit code 1 for every failure: container runtimes expect 0 or 1.
    let failed = |error: &dyn std::fmt::Display| Error::NotReady(error.to_string().trim_end().to_owned());
    let environment = super::environment::read().map_err(|problem| failed(&problem))?;
    let config = Config::load(&environment, config).map_err(|problems| failed(&problems))?;
    let status = request_status(connectable(config.management.listen)).map_err(|error| failed(&error))?;
    if status == "200" { Ok(()) } else { Err(Error::NotReady(format!("/health/ready returned {status}"))) }
}

/// Replaces the unspecified address by loopback.
fn connectable(mut listen: SocketAddr) -> SocketAddr {
    if listen.ip().is_unspecified() {
        listen.set_ip(if listen.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    listen
}

/// Returns the status of `/health/ready`.
fn request_status(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(format!("GET /health/ready HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut response = Vec::new();
    stream.take(MAX_RESPONSE).read_to_end(&mut response)?;
    let response = String::from_utf8_lossy(&response);
    let status = response.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
    status.map(str::to_owned).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the response is not HTTP"))
}
