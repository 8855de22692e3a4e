//! The lab on static sharding, from outside of the cluster: only ports of a node are known.

use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::{Node, Service};
use kube::Api;
use kube::api::ListParams;
use skv_e2e::{Namespace, Store, in_namespace, in_project, install_operator, reach_node};
use skv_proto::lab::v1::kv_server_client::KvServerClient;
use skv_proto::lab::v1::shard_manager_client::ShardManagerClient;
use skv_proto::lab::v1::{AppendRequest, GetRequest, GetShardIndexRequest};
use skv_proto::v1::kv_client::KvClient;
use skv_proto::{Error, v1};
use skv_sharding::fnv1;

/// The first port in deploy/samples/lab-static.yaml.
const FIRST: u32 = 30_400;
const KEYS: usize = 10_000;
/// The number of calls that are under way at a time.
const AT_ONCE: usize = 64;

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn the_static_lab_is_reached_by_ports_of_a_node_with_two_groups_and_with_three() {
    in_namespace("lab", |namespace| async move {
        install_operator(&namespace.cluster).await;
        let applied =
            namespace.kubectl(&["apply", "-f", &in_project("deploy/samples/lab-static.yaml")]).await;
        assert!(applied.succeeded, "{applied:?}");
        let store = Store::existing(&namespace, "lab-static");
        store.complete().await;
        let node = node(&namespace).await;
        ports_follow_from_keys(&node, 2).await;
        each_port_is_its_groups(&node, 2).await;

        let scaled = namespace.kubectl(&["scale", "shardedkv/lab-static", "--replicas=3"]).await;
        assert!(scaled.succeeded, "{scaled:?}");
        store.complete().await;
        ports_follow_from_keys(&node, 3).await;
        each_port_is_its_groups(&node, 3).await;

        let scaled = namespace.kubectl(&["scale", "shardedkv/lab-static", "--replicas=2"]).await;
        assert!(scaled.succeeded, "{scaled:?}");
        store.complete().await;
        let left = namespace.api::<Service>().get_opt("lab-static-g2-nodes").await;
        assert_eq!(left.expect("a Service can be looked for"), None, "the port goes with its group");
        ports_follow_from_keys(&node, 2).await;
    })
    .await;
}

/// Returns the address of some node.
async fn node(namespace: &Namespace) -> String {
    let nodes: Api<Node> = Api::all(namespace.cluster.client.clone());
    let nodes = nodes.list(&ListParams::default()).await.expect("nodes can be listed").items;
    let addresses = nodes.into_iter().filter_map(|node| node.status?.addresses).flatten();
    let address = addresses.filter(|address| address.type_ == "InternalIP").map(|found| found.address);
    address.into_iter().next().expect("a node has an address")
}

fn port_of(key: &str, groups: u64) -> u32 {
    FIRST + 1 + (fnv1(key.as_bytes()) % groups) as u32
}

/// Asserts that GetShardIndex is FNV-1 mod the number of groups.
async fn ports_follow_from_keys(node: &str, groups: u64) {
    let manager = format!("http://{}", reach_node(node, FIRST).await);
    let manager = ShardManagerClient::connect(manager).await.expect("the shard manager answers");
    let asked = (0..KEYS).map(|number| {
        let (mut manager, key) = (manager.clone(), format!("K{number}"));
        async move {
            let answer = manager.get_shard_index(GetShardIndexRequest { key: key.clone() }).await;
            assert_eq!(answer.expect("a port").into_inner().port, port_of(&key, groups), "{key} of {groups}");
        }
    });
    stream::iter(asked).buffer_unordered(AT_ONCE).for_each(|()| async {}).await;
}

/// Asserts that behind each port are servers of its group alone, and that the lab's calls work there.
async fn each_port_is_its_groups(node: &str, groups: u64) {
    for group in 0..groups as u32 {
        let port = FIRST + 1 + group;
        let address = format!("http://{}", reach_node(node, port).await);
        let mut lab = KvServerClient::connect(address.clone()).await.expect("a server answers");
        let mut direct = KvClient::connect(address).await.expect("a server answers");
        for number in 0..20 {
            let key = format!("K{groups}-{number}");
            let append = AppendRequest { key: key.clone(), args: group.to_string() };
            let before = lab.append(append).await.expect("an answer").into_inner().old_value;
            let value = lab.get(GetRequest { key: key.clone() }).await.expect("a value").into_inner().value;
            assert_eq!(value, format!("{before}{group}"));

            // A request that isn't passed on is accepted only by servers of the group.
            let ask = v1::GetRequest { key: key.clone().into(), direct: true, ..v1::GetRequest::default() };
            let refusal = direct.get(ask).await.err().and_then(|status| Error::from_status(&status));
            let is_its_own = !matches!(refusal, Some(Error::WrongGroup { .. }));
            assert_eq!(is_its_own, port_of(&key, groups) == port, "{key} at g{group}: {refusal:?}");
        }
    }
}
