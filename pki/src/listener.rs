//! Opening the port.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// Listens on a TCP address. With `reuse_port` several processes of one user share the address, and the kernel spreads
/// new connections over those alive: so the controllers of a cluster on one machine show one front address.
pub fn bind(address: SocketAddr, reuse_port: bool) -> io::Result<TcpListener> {
    let open = || -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // A restart must not wait until the connections of the last run have timed out.
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(reuse_port)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        TcpListener::from_std(socket.into())
    };
    open().map_err(|e| io::Error::new(e.kind(), format!("cannot listen on {address}: {e}")))
}
