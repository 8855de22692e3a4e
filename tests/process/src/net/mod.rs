//! A net that loses, doubles, delays and reorders the messages between clerks and servers.
//!
//! A [`Net`] is a proxy in front of each server. It relays decoded messages, not bytes: TCP would
//! hide a lost packet, and a broken connection is lost as a whole. So one operation of a stream can
//! get lost, or one answer, while the stream and all others in it continue.
//!
//! - `faults`: the possible faults, and the dice; pure
//! - `counts`: the faults that happened, so that a test can assert that it tested something
//! - `state`: the state that all proxies of a net share; `label`: the identity of messages
//! - `proxy`: the Kv service in front of one server; `stream`: one pipeline through it

mod counts;
mod faults;
mod label;
mod proxy;
mod state;
mod stream;

use std::net::Ipv4Addr;
use std::sync::Arc;

use skv_proto::v1::kv_client::KvClient;
use skv_proto::v1::kv_server::KvServer;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Endpoint, Server};

pub use counts::{Counts, Passed};
pub use faults::Faults;
use proxy::Proxy;
use state::State;

/// The way between clerks and servers. Reliable at first.
#[derive(Debug)]
pub struct Net {
    state: Arc<State>,
    /// Their end is the end of the net.
    proxies: JoinSet<()>,
}

impl Net {
    pub(crate) fn new() -> Net {
        Net { state: Arc::default(), proxies: JoinSet::new() }
    }

    /// Puts a proxy in front of a server; returns the proxy's address.
    pub(crate) fn lead_to(&mut self, server: &str) -> String {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
        listener.set_nonblocking(true).expect("a listener needn't block");
        let address = listener.local_addr().expect("a listener has an address");
        let listener = TcpListener::from_std(listener).expect("this is called within a runtime");
        let endpoint = Endpoint::from_shared(format!("http://{server}")).expect("an address makes a URI");
        let proxy = Proxy::new(KvClient::new(endpoint.connect_lazy()), Arc::clone(&self.state));
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let serving = Server::builder().add_service(KvServer::new(proxy)).serve_with_incoming(incoming);
        self.proxies.spawn(async move { serving.await.expect("a proxy can listen") });
        address.to_string()
    }

    /// Sets the faults of the net from now on.
    pub fn set(&self, faults: Faults) {
        self.state.set(faults);
    }

    /// Loses the next reply to an operation on this key, and no other one.
    pub fn lose_next_reply_to(&self, key: &str) {
        self.state.lose_next_reply_to(key);
    }

    /// Returns the counts so far.
    pub fn counts(&self) -> Counts {
        self.state.counts()
    }
}
