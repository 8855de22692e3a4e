//! The addresses of the cluster's servers: by SRV records, by a static list, or by the shard map.
//! They are resolved again for every dial; the last good answer is kept for when DNS or the manager
//! fail.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::Arc;

use futures::future::BoxFuture;
use parking_lot::{Mutex, RwLock};
use skv_sharding::ShardMap;

/// A listener of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Listener {
    /// The listener for users: Kv, health, reflection.
    Client,
    /// The listener for servers: Raft, admin.
    Peer,
}

impl Listener {
    /// Returns the name of the port in a headless Service.
    fn port_name(self) -> &'static str {
        match self {
            Listener::Client => "client",
            Listener::Peer => "peer",
        }
    }
}

/// Both addresses of one server, `HOST:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAddresses {
    /// The address at which it serves users.
    pub client: String,
    /// The address at which it serves other servers.
    pub peer: String,
}

/// A server of a static list, written `NAME=CLIENT_ADDRESS/PEER_ADDRESS`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedServer {
    /// The server's name.
    pub name: String,
    /// Its addresses.
    pub addresses: ServerAddresses,
}

/// A text that isn't `NAME=CLIENT_ADDRESS/PEER_ADDRESS`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not NAME=CLIENT_HOST:PORT/PEER_HOST:PORT")]
pub struct ParsePeerError(String);

impl FromStr for NamedServer {
    type Err = ParsePeerError;
    fn from_str(text: &str) -> Result<Self, ParsePeerError> {
        let parse = || {
            let (name, addresses) = text.split_once('=')?;
            let (client, peer) = addresses.split_once('/')?;
            let complete = !name.is_empty() && client.contains(':') && peer.contains(':');
            complete.then(|| NamedServer {
                name: name.to_owned(),
                addresses: ServerAddresses { client: client.to_owned(), peer: peer.to_owned() },
            })
        };
        parse().ok_or_else(|| ParsePeerError(text.to_owned()))
    }
}

/// Finds servers by name.
#[derive(Debug)]
pub struct Addresses {
    srv: Option<Srv>,
    fixed: HashMap<String, ServerAddresses>,
    learned: RwLock<HashMap<String, ServerAddresses>>,
}

/// Finds the address, `IP:PORT`, that an SRV record gives a server. It takes the record's name, such
/// as `_peer._tcp.kv-g0.default.svc.cluster.local`, and the first label of its target; `None` if
/// there is no such record.
pub type FindRecord =
    Arc<dyn Fn(String, String) -> BoxFuture<'static, io::Result<Option<String>>> + Send + Sync>;

/// The SRV records of a headless Service.
struct Srv {
    find: FindRecord,
    /// The Service's name, such as `kv-g0.default.svc.cluster.local`.
    domain: String,
    last_good: RwLock<HashMap<(String, Listener), String>>,
    told: Mutex<HashMap<(String, Listener), Finding>>,
}

/// The result of a lookup. Peers are looked up many times a second: only changes are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Finding {
    Found,
    NoRecord,
    Failed,
}

impl Addresses {
    /// Returns a way to find servers by a static list; those that it doesn't name, by the shard map.
    pub fn fixed(servers: impl IntoIterator<Item = NamedServer>) -> Self {
        let fixed = servers.into_iter().map(|s| (s.name, s.addresses)).collect();
        Addresses { srv: None, fixed, learned: RwLock::default() }
    }

    /// Returns a way to find servers by the SRV records of a headless Service; those that have none,
    /// by the shard map.
    pub fn srv(find: FindRecord, domain: String) -> Self {
        let srv = Srv { find, domain, last_good: RwLock::default(), told: Mutex::default() };
        Addresses { srv: Some(srv), fixed: HashMap::new(), learned: RwLock::default() }
    }

    /// Takes over the addresses that a shard map names.
    pub fn learn(&self, map: &ShardMap) {
        let replicas = map.groups.values().flat_map(|group| &group.replicas);
        let learned = replicas
            .map(|r| {
                let addresses =
                    ServerAddresses { client: r.client_address.clone(), peer: r.peer_address.clone() };
                (r.server.clone(), addresses)
            })
            .collect();
        *self.learned.write() = learned;
    }

    /// Returns the address of one listener of a server; `None` if nothing is known of it.
    pub async fn resolve(&self, server: &str, listener: Listener) -> Option<String> {
        if let Some(srv) = &self.srv
            && let Some(address) = srv.resolve(server, listener).await
        {
            return Some(address);
        }
        self.known(server, listener)
    }

    /// Does the same as [`resolve`](Self::resolve), but without asking DNS.
    pub fn known(&self, server: &str, listener: Listener) -> Option<String> {
        let pick = |a: &ServerAddresses| match listener {
            Listener::Client => a.client.clone(),
            Listener::Peer => a.peer.clone(),
        };
        let remembered = self.srv.as_ref().and_then(|srv| srv.remembered(server, listener));
        remembered
            .or_else(|| self.fixed.get(server).map(pick))
            .or_else(|| self.learned.read().get(server).map(pick))
    }
}

impl Srv {
    /// Asks for the SRV record of the listener's port, such as `_peer._tcp.DOMAIN`, and takes the one
    /// whose target is the pod.
    async fn resolve(&self, server: &str, listener: Listener) -> Option<String> {
        let domain = &self.domain;
        match self.lookup(server, listener).await {
            Ok(Some(address)) => {
                if self.is_news(server, listener, Finding::Found) {
                    tracing::info!(server, ?listener, domain, address, "found by its SRV record");
                }
                self.last_good.write().insert((server.to_owned(), listener), address.clone());
                return Some(address);
            }
            Ok(None) => {
                if self.is_news(server, listener, Finding::NoRecord) {
                    tracing::info!(server, ?listener, domain, "there is no SRV record");
                }
            }
            Err(error) => {
                if self.is_news(server, listener, Finding::Failed) {
                    tracing::warn!(server, ?listener, domain, %error, "SRV lookups fail; the last address is used");
                }
            }
        }
        self.remembered(server, listener)
    }

    /// Notes the result of a lookup. Returns true if the last one of this server ended otherwise.
    fn is_news(&self, server: &str, listener: Listener, finding: Finding) -> bool {
        self.told.lock().insert((server.to_owned(), listener), finding) != Some(finding)
    }

    fn remembered(&self, server: &str, listener: Listener) -> Option<String> {
        self.last_good.read().get(&(server.to_owned(), listener)).cloned()
    }

    async fn lookup(&self, server: &str, listener: Listener) -> io::Result<Option<String>> {
        let name = format!("_{}._tcp.{}", listener.port_name(), self.domain.trim_end_matches('.'));
        (self.find)(name, server.to_owned()).await
    }
}

impl fmt::Debug for Srv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Srv").field("domain", &self.domain).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU16, Ordering};

    use futures::FutureExt as _;

    use super::*;

    /// Finds the address with the port `port` for one server, and nothing for others; fails while
    /// `port` is 0.
    fn find(port: Arc<AtomicU16>) -> FindRecord {
        Arc::new(move |name, server| {
            assert!(name.ends_with("._tcp.kv-g0.default.svc"), "{name}");
            let found = match port.load(Ordering::Relaxed) {
                0 => Err(io::Error::other("the name server is away")),
                port if server == "kv-g0-1" => Ok(Some(format!("10.0.0.11:{port}"))),
                _ => Ok(None),
            };
            async move { found }.boxed()
        })
    }

    #[tokio::test]
    async fn what_was_found_last_is_kept_while_lookups_fail() {
        let port = Arc::new(AtomicU16::new(7001));
        let addresses = Addresses::srv(find(port.clone()), "kv-g0.default.svc.".into());
        let found = addresses.resolve("kv-g0-1", Listener::Peer).await;
        assert_eq!(found.as_deref(), Some("10.0.0.11:7001"));
        assert_eq!(addresses.resolve("kv-g0-2", Listener::Peer).await, None);

        port.store(0, Ordering::Relaxed);
        let found = addresses.resolve("kv-g0-1", Listener::Peer).await;
        assert_eq!(found.as_deref(), Some("10.0.0.11:7001"));

        // All this was worth a line once; and each server is news of its own.
        let srv = addresses.srv.unwrap();
        assert!(!srv.is_news("kv-g0-1", Listener::Peer, Finding::Failed));
        assert!(!srv.is_news("kv-g0-2", Listener::Peer, Finding::NoRecord));
        assert!(srv.is_news("kv-g0-1", Listener::Peer, Finding::Found));
        assert!(srv.is_news("kv-g0-1", Listener::Client, Finding::Found));
    }

    #[test]
    fn a_static_peer_is_a_name_and_two_addresses() {
        let peer: NamedServer = "kv-g0-1=127.0.0.1:1/127.0.0.1:2".parse().unwrap();
        assert_eq!(peer.name, "kv-g0-1");
        assert_eq!(peer.addresses.client, "127.0.0.1:1");
        assert_eq!(peer.addresses.peer, "127.0.0.1:2");
        for text in ["", "a", "a=b", "a=b/c", "=h:1/h:2", "a=h:1"] {
            assert!(text.parse::<NamedServer>().is_err(), "{text}");
        }
    }
}
