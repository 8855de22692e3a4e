//! Where the servers of the cluster listen: by SRV records, by a static list, or by what
//! the shard map says. Resolved anew for every dial; the last good answer is kept for
//! when DNS or the manager fail.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::str::FromStr;

use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::RData;
use parking_lot::{Mutex, RwLock};
use skv_sharding::ShardMap;

/// Which of a server's two listeners.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Listener {
    /// For users: Kv, health, reflection.
    Client,
    /// For servers: Raft, admin.
    Peer,
}

impl Listener {
    /// The name of the port in a headless Service.
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
    /// Where it serves users.
    pub client: String,
    /// Where it serves other servers.
    pub peer: String,
}

/// One server of a static list, written `NAME=CLIENT_ADDRESS/PEER_ADDRESS`.
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

/// SRV records of a headless Service.
#[derive(Debug)]
struct Srv {
    resolver: TokioResolver,
    /// The Service's name, such as `kv-g0.default.svc.cluster.local`.
    domain: String,
    last_good: RwLock<HashMap<(String, Listener), String>>,
    told: Mutex<HashMap<(String, Listener), Finding>>,
}

/// How a lookup ended. Peers are looked up many times a second: only changes are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Finding {
    Found,
    NoRecord,
    Failed,
}

impl Addresses {
    /// Finds servers by a static list; those that it doesn't name, by the shard map.
    pub fn fixed(servers: impl IntoIterator<Item = NamedServer>) -> Self {
        let fixed = servers.into_iter().map(|s| (s.name, s.addresses)).collect();
        Addresses { srv: None, fixed, learned: RwLock::default() }
    }

    /// Finds servers by the SRV records of a headless Service; those that have none, by
    /// the shard map.
    pub fn srv(resolver: TokioResolver, domain: String) -> Self {
        let srv = Srv { resolver, domain, last_good: RwLock::default(), told: Mutex::default() };
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

    /// The address of one listener of a server; `None` if nothing is known of it.
    pub async fn resolve(&self, server: &str, listener: Listener) -> Option<String> {
        if let Some(srv) = &self.srv
            && let Some(address) = srv.resolve(server, listener).await
        {
            return Some(address);
        }
        self.known(server, listener)
    }

    /// Like [`resolve`](Self::resolve), but without asking DNS.
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
    /// Asks for `_peer._tcp.DOMAIN` and takes the record whose target is the pod.
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

    /// Whether the last lookup of this server ended otherwise.
    fn is_news(&self, server: &str, listener: Listener, finding: Finding) -> bool {
        self.told.lock().insert((server.to_owned(), listener), finding) != Some(finding)
    }

    fn remembered(&self, server: &str, listener: Listener) -> Option<String> {
        self.last_good.read().get(&(server.to_owned(), listener)).cloned()
    }

    async fn lookup(
        &self,
        server: &str,
        listener: Listener,
    ) -> Result<Option<String>, hickory_resolver::net::NetError> {
        let name = format!("_{}._tcp.{}.", listener.port_name(), self.domain.trim_end_matches('.'));
        let records = match self.resolver.srv_lookup(name).await {
            Err(error) if error.is_no_records_found() => return Ok(None),
            records => records?,
        };
        let found = records.answers().iter().find_map(|record| match &record.data {
            RData::SRV(srv) => {
                let target = srv.target.to_utf8();
                let first_label = target.split('.').next().unwrap_or_default();
                (first_label == server).then_some((target, srv.port))
            }
            _ => None,
        });
        let Some((target, port)) = found else { return Ok(None) };
        let address = self.resolver.lookup_ip(target).await?.iter().next();
        Ok(address.map(|ip| SocketAddr::new(ip, port).to_string()))
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

    use hickory_resolver::config::{NameServerConfig, ResolverConfig};
    use hickory_resolver::net::runtime::TokioRuntimeProvider;
    use hickory_resolver::proto::op::{Message, ResponseCode};
    use hickory_resolver::proto::rr::rdata::{A, SRV};
    use hickory_resolver::proto::rr::{Name, Record, RecordType};
    use tokio::net::UdpSocket;

    use super::*;

    /// A DNS server for one Service: answers SRV and A queries while `up`, else with an error.
    async fn serve_dns(socket: UdpSocket, up: Arc<AtomicBool>, peer_port: Arc<AtomicU16>) {
        let mut buffer = [0; 1500];
        loop {
            let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
            let query = Message::from_vec(&buffer[..length]).unwrap();
            let question = query.queries[0].clone();
            let mut answer = query.into_response();
            let port = match question.name().to_utf8().split('.').next() {
                Some("_client") => 7000,
                _ => peer_port.load(Ordering::Relaxed),
            };
            if !up.load(Ordering::Relaxed) {
                answer.metadata.response_code = ResponseCode::ServFail;
            } else if question.query_type() == RecordType::SRV {
                for pod in ["kv-g0-0", "kv-g0-1"] {
                    let target = Name::from_utf8(format!("{pod}.kv-g0.default.svc.cluster.local.")).unwrap();
                    let srv = RData::SRV(SRV::new(0, 50, port, target));
                    answer.add_answer(Record::from_rdata(question.name().clone(), 0, srv));
                }
            } else if question.query_type() == RecordType::A {
                let last = if question.name().to_utf8().starts_with("kv-g0-1") { 11 } else { 10 };
                let address = RData::A(A::new(10, 0, 0, last));
                answer.add_answer(Record::from_rdata(question.name().clone(), 0, address));
            }
            socket.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
        }
    }

    #[tokio::test]
    async fn servers_and_their_ports_are_found_by_srv_records() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut name_server = NameServerConfig::udp(IpAddr::V4(Ipv4Addr::LOCALHOST));
        name_server.connections[0].port = socket.local_addr().unwrap().port();
        let (up, peer_port) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU16::new(7001)));
        tokio::spawn(serve_dns(socket, up.clone(), peer_port.clone()));
        let config = ResolverConfig::from_name_servers(vec![name_server]);
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        builder.options_mut().cache_size = 0;
        let addresses = Addresses::srv(builder.build().unwrap(), "kv-g0.default.svc.cluster.local".into());

        let found = addresses.resolve("kv-g0-1", Listener::Peer).await;
        assert_eq!(found.as_deref(), Some("10.0.0.11:7001"));
        assert_eq!(addresses.resolve("kv-g0-0", Listener::Client).await.as_deref(), Some("10.0.0.10:7000"));
        assert_eq!(addresses.resolve("kv-g0-2", Listener::Peer).await, None);

        // A port that changes is found at the next dial.
        peer_port.store(9001, Ordering::Relaxed);
        let found = addresses.resolve("kv-g0-1", Listener::Peer).await;
        assert_eq!(found.as_deref(), Some("10.0.0.11:9001"));

        // Without DNS the last good answer stays.
        up.store(false, Ordering::Relaxed);
        let found = addresses.resolve("kv-g0-1", Listener::Peer).await;
        assert_eq!(found.as_deref(), Some("10.0.0.11:9001"));

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
