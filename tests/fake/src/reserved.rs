//! A port on loopback that nobody else gets.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpSocket;

/// A port at which nobody listens, until its owner does.
///
/// The port of a listener that has ended is free, and soon another test's. As long as a socket is bound to it, the system
/// gives it to nobody who doesn't name it.
pub struct Reserved {
    address: SocketAddr,
    _socket: TcpSocket,
}

impl Reserved {
    /// Reserves a free port.
    #[expect(clippy::new_without_default, reason = "each one is another port")]
    pub fn new() -> Reserved {
        let socket = TcpSocket::new_v4().unwrap();
        // A listener can be bound beside it.
        socket.set_reuseaddr(true).unwrap();
        socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        Reserved { address: socket.local_addr().unwrap(), _socket: socket }
    }

    /// Returns the address to which the port belongs.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
