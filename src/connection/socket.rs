//! What the kernel is told about the connections of a listener, once, before there are any.

use std::io;
use std::net::{SocketAddr, TcpListener};
#[cfg(target_os = "linux")]
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::Rules;

/// How many connections the kernel keeps that nobody has accepted yet.
const BACKLOG: i32 = 4096;
/// How much of an answer the kernel takes that it can't send yet: what a slow reader holds is this, and not its whole answer.
#[cfg(target_os = "linux")]
const UNSENT: u32 = 64 * 1024;

/// A listener whose connections start with what this module needs of the kernel.
///
/// # Errors
///
/// If the address can't be listened on.
pub fn listen(address: SocketAddr, rules: &Rules) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A server that starts again must not wait for the last connections of the one before.
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    #[cfg(target_os = "linux")]
    {
        // For a client that is gone without a word, or whose window is shut on the last bytes of its answer. Later than our
        // own end, which tells the client.
        socket.set_tcp_user_timeout(Some(rules.send_window + Duration::from_secs(2)))?;
        socket.set_tcp_notsent_lowat(UNSENT)?;
    }
    #[cfg(not(target_os = "linux"))]
    let _ = rules;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
