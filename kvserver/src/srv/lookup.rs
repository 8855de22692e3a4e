//! Look-ups of SRV records.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures::FutureExt as _;
use hickory_resolver::TokioResolver;
use hickory_resolver::net::NetError;
use hickory_resolver::proto::rr::RData;
use skv_net::FindRecord;

/// Makes a [`FindRecord`] of a resolver.
pub(super) fn find(resolver: TokioResolver) -> FindRecord {
    let resolver = Arc::new(resolver);
    Arc::new(move |name, target| {
        let resolver = resolver.clone();
        async move { lookup(&resolver, &name, &target).await.map_err(io::Error::other) }.boxed()
    })
}

/// Takes the record whose target begins with this label: in a headless Service, the pod's name.
async fn lookup(resolver: &TokioResolver, name: &str, label: &str) -> Result<Option<String>, NetError> {
    let records = match resolver.srv_lookup(format!("{name}.")).await {
        Err(error) if error.is_no_records_found() => return Ok(None),
        records => records?,
    };
    let found = records.answers().iter().find_map(|record| match &record.data {
        RData::SRV(srv) => {
            let target = srv.target.to_utf8();
            let first_label = target.split('.').next().unwrap_or_default();
            (first_label == label).then_some((target, srv.port))
        }
        _ => None,
    });
    let Some((target, port)) = found else { return Ok(None) };
    let address = resolver.lookup_ip(target).await?.iter().next();
    Ok(address.map(|ip| SocketAddr::new(ip, port).to_string()))
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

    use hickory_resolver::config::{NameServerConfig, ResolverConfig};
    use hickory_resolver::net::runtime::TokioRuntimeProvider;
    use hickory_resolver::proto::op::{Message, ResponseCode};
    use hickory_resolver::proto::rr::rdata::{A, SRV};
    use hickory_resolver::proto::rr::{Name, Record, RecordType};
    use skv_net::{Addresses, Listener};
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
        let records = find(builder.build().unwrap());
        let addresses = Addresses::srv(records, "kv-g0.default.svc.cluster.local".into());

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
    }
}
