//! `healthcheck`: asks the server on this machine whether it is ready, so that a container needs no other program for it.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use super::Error;
use crate::config::Config;

/// How long each step may take; a probe of Docker's or Kubernetes' has given up by then.
const PATIENCE: Duration = Duration::from_secs(3);
/// What is read of the answer: its first line says all.
const ENOUGH: u64 = 1024;

pub(super) fn run(config: Option<&Path>) -> Result<(), Error> {
    // Exit code 1 whatever is wrong: to those who ask, 0 and 1 are the only ones that mean something.
    let failed = |error: &dyn std::fmt::Display| Error::NotReady(error.to_string().trim_end().to_owned());
    let environment = super::environment::read().map_err(|problem| failed(&problem))?;
    let config = Config::load(&environment, config).map_err(|problems| failed(&problems))?;
    let status = ask(reachable(config.management.listen)).map_err(|error| failed(&error))?;
    if status == "200" { Ok(()) } else { Err(Error::NotReady(format!("/health/ready answers {status}"))) }
}

/// Where to connect for what listens there.
fn reachable(mut listen: SocketAddr) -> SocketAddr {
    match listen.ip() {
        IpAddr::V4(any) if any.is_unspecified() => listen.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(any) if any.is_unspecified() => listen.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    listen
}

/// The status of the answer.
fn ask(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET /health/ready HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ENOUGH).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
    status.map(str::to_owned).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "what answers there is not HTTP"))
}
