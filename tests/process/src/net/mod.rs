//! A net that loses, doubles, delays and reorders what clerks and servers say to each other.
//!
//! A [`Net`] is a proxy in front of each server. It relays decoded messages, not bytes: TCP
//! would hide a lost packet, and a broken connection is lost as a whole. So one operation of a
//! stream can get lost, or one answer, while the stream and all others in it go on.
//!
//! - `faults`: what may happen to messages, and the dice; pure
//! - `counts`: what did happen, so that a test can tell that it tested something
//! - `proxy`: the Kv service in front of one server; `stream`: one pipeline through it

mod counts;
mod faults;
mod proxy;
mod stream;

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use parking_lot::Mutex;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use skv_proto::v1::kv_client::KvClient;
use skv_proto::v1::kv_server::KvServer;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Endpoint, Server};

pub use counts::{Counts, Passed};
use faults::Arrivals;
pub use faults::Faults;
use proxy::{Label, Proxy};

/// The dice are the same each time; which message meets which throw is up to the scheduler.
const SEED: u64 = 1;

/// The way between clerks and servers. Reliable at first.
#[derive(Debug)]
pub struct Net {
    state: Arc<State>,
    /// Their end is the end of the net.
    proxies: JoinSet<()>,
}

/// What all proxies of a net share.
#[derive(Debug)]
struct State(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    faults: Faults,
    dice: StdRng,
    counts: Counts,
    /// Keys of which the next reply gets lost.
    lose_reply_to: HashSet<Vec<u8>>,
    /// The mutations that have passed.
    known: HashSet<Label>,
}

impl Net {
    pub(crate) fn new() -> Net {
        let state = State(Mutex::new(Inner {
            faults: Faults::NONE,
            dice: StdRng::seed_from_u64(SEED),
            counts: Counts::default(),
            lose_reply_to: HashSet::new(),
            known: HashSet::new(),
        }));
        Net { state: Arc::new(state), proxies: JoinSet::new() }
    }

    /// Puts a proxy in front of a server; answers the proxy's address.
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

    /// From now on the net does this to messages.
    pub fn set(&self, faults: Faults) {
        self.state.0.lock().faults = faults;
    }

    /// The next reply to an operation on this key gets lost, and no other one by this.
    pub fn lose_next_reply_to(&self, key: &str) {
        self.state.0.lock().lose_reply_to.insert(key.as_bytes().to_owned());
    }

    /// What has happened so far.
    pub fn counts(&self) -> Counts {
        self.state.0.lock().counts
    }
}

impl State {
    /// When each copy of a request reaches the server.
    fn request(&self, label: &Label) -> Arrivals {
        let inner = &mut *self.0.lock();
        if let Some(id) = &label.id {
            let open = (id.seq + 1).saturating_sub(id.acked_below);
            inner.counts.most_open = inner.counts.most_open.max(open);
            if !inner.known.insert(label.once()) {
                inner.counts.sent_again += 1;
            }
        }
        let arrivals = inner.faults.request(&mut inner.dice);
        inner.counts.requests.add(&arrivals, inner.faults.delay);
        arrivals
    }

    /// When each copy of a reply reaches the clerk.
    fn reply(&self, label: &Label) -> Arrivals {
        let inner = &mut *self.0.lock();
        let arrivals = if inner.lose_reply_to.remove(&label.key) {
            Arrivals::new()
        } else {
            inner.faults.reply(&mut inner.dice)
        };
        inner.counts.replies.add(&arrivals, inner.faults.delay);
        arrivals
    }

    fn count(&self, count: impl FnOnce(&mut Counts)) {
        count(&mut self.0.lock().counts);
    }
}
