//! A cluster all of whose addresses are of IPv6.

use std::net::{Ipv6Addr, TcpListener, ToSocketAddrs as _};
use std::process::Command;

use skv_client::{Clerk, Options};
use skv_process::{Cluster, Settings, http_get, programs};
use skv_proto::v1::shard_manager_client::ShardManagerClient;
use skv_proto::v1::{GetShardIndexRequest, LeaveRequest};

#[tokio::test(flavor = "multi_thread")]
async fn servers_clerks_and_people_reach_each_other_by_ipv6() {
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        eprintln!("not run: this machine has no IPv6");
        return;
    }
    let cluster =
        Cluster::start(Settings { groups: 2, host: Ipv6Addr::LOCALHOST.into(), ..Settings::default() }).await;
    let server = &cluster.servers[0];
    assert!(server.client_address.starts_with("[::1]:"), "{}", server.client_address);
    let port = |address: &str| address.rsplit_once(':').expect("it has a port").1.to_owned();
    let by_name = format!("localhost:{}", port(&cluster.manager_address));
    let mut ways = vec![
        Options::manager([cluster.manager_address.clone()]),
        Options::seeds([server.client_address.clone()]),
    ];
    // Some machines give this name no address of IPv6.
    let mut named = ("localhost", 0).to_socket_addrs().expect("every machine has this name");
    if named.any(|address| address.is_ipv6()) {
        ways.push(Options::manager([by_name]));
    }
    for options in ways {
        let clerk = Clerk::connect(options).expect("the address is one");
        for key in 0..20 {
            clerk.put(format!("key{key}"), "value").await.expect("a put");
            assert_eq!(clerk.get(format!("key{key}")).await.expect("a get").value, "value");
        }
    }
    for page in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(http_get(&server.http_address, page).await.expect("it listens").0, 200, "{page}");
    }
    for arguments in [
        vec!["--manager", &cluster.manager_address, "get", "key1"],
        vec!["--server", &server.client_address, "get", "key1"],
        vec!["--manager", &cluster.manager_address, "status"],
        vec!["probe", &format!("http://{}/readyz", server.http_address)],
    ] {
        let ran = Command::new(&programs().skv).args(&arguments).output().expect("it can be run");
        assert!(ran.status.success(), "{arguments:?}: {ran:?}");
    }

    // Groups reach each other too.
    let manager = format!("http://{}", cluster.manager_address);
    let mut manager = ShardManagerClient::connect(manager).await.expect("it listens");
    let request = GetShardIndexRequest { key: "key1".into() };
    let index = manager.get_shard_index(request).await.expect("a place").into_inner();
    assert!(index.addresses.iter().any(|address| port(address) == index.port.to_string()), "{index:?}");
    manager.leave(LeaveRequest { groups: vec![0], ..Default::default() }).await.expect("it may leave");
    let clerk = Clerk::connect(Options::manager([cluster.manager_address.clone()])).expect("an address");
    skv_process::eventually("the other group has all shards", || async {
        let drained = cluster.servers[0].replica().await?.shards_owned == 0;
        (drained && clerk.get("key1").await.is_ok_and(|found| found.found)).then_some(())
    })
    .await;
}
