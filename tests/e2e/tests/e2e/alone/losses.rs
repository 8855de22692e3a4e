//! Nodes that are emptied ahead of a drain, and nodes that are deleted with the volumes that only they have.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, PersistentVolume, PersistentVolumeClaim, Pod};
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use serde_json::json;
use skv_e2e::{
    Load, Namespace, Node, Store, eventually, eventually_within, in_namespace, install_operator, is_ready,
};

/// The time limit until a replica is back elsewhere: Kubernetes alone takes a minute or two to give its pod up.
const REPLACED: Duration = Duration::from_mins(6);
const GROUPS: u32 = 3;
/// The label that names a node's zone.
const ZONE: &str = "topology.kubernetes.io/zone";

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn a_replica_whose_node_was_deleted_is_replaced_by_itself() {
    in_namespace("lost", |namespace| async move {
        install_operator(&namespace.cluster).await;
        let replacement = json!({ "afterSeconds": 5, "maxPerHour": 1 });
        let store = Store::create(&namespace, json!({ "groups": 1, "replacement": replacement })).await;
        let load = Load::start(&store, 4, 4);
        load.recorder.more_acknowledged(50).await;

        let leader = store.leader(0).await;
        let lost = store.pods(0).await.into_keys().find(|server| *server != leader).expect("a server");
        let volume = volume_of(&namespace, &lost).await;
        let node = Node::new(&namespace, &store.node_of(0, &lost).await);
        let deleted = node.delete().await;
        eventually_within(REPLACED, "the lost replica is back elsewhere", || async {
            let pod = store.pods(0).await.remove(&lost)?;
            let elsewhere = node_of(&pod)? != &node.name;
            (elsewhere && is_ready(&pod)).then_some(())
        })
        .await;
        load.recorder.more_acknowledged(50).await;
        let status = store.get().await["status"].take();
        let replaced = status["replaced"].as_array().map_or(0, Vec::len);
        assert_eq!((replaced, &status["replaced"][0]["server"]), (1, &json!(lost)), "{status:#}");
        let volumes: Api<PersistentVolume> = Api::all(namespace.cluster.client.clone());
        let kept = volumes.get(&volume).await.expect("its volume is kept").spec.expect("a specification");
        assert_eq!(kept.persistent_volume_reclaim_policy.as_deref(), Some("Retain"));

        node.add(deleted).await;
        volumes.delete(&volume, &DeleteParams::default()).await.expect("a volume can be deleted");
        store.complete().await;
        load.finish_right(&store).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn leaders_leave_a_node_that_is_cordoned_and_its_drain_fails_no_call() {
    in_namespace("cordon", |namespace| async move {
        install_operator(&namespace.cluster).await;
        let store = Store::create(&namespace, json!({ "groups": GROUPS })).await;
        store.says("Spread", "Apart").await;
        let load = Load::start(&store, 4, 4);
        load.recorder.more_acknowledged(50).await;

        let leader = store.leader(0).await;
        let node = Node::new(&namespace, &store.node_of(0, &leader).await);
        let follower = store.pods(0).await.into_keys().find(|server| *server != leader).expect("a server");
        let other = Node::new(&namespace, &store.node_of(0, &follower).await);
        // A zone is looked at when something happens, such as the cordon.
        let visit = Visit::begin(&namespace, &other, &node.zone().await).await;
        node.cordon().await;
        store.says("Spread", "SharedZone").await;
        visit.end().await;
        for group in 0..GROUPS {
            eventually(&format!("the leader of g{group} is elsewhere"), || async {
                let leader = store.leader(group as usize).await;
                let pod = store.pods(group).await.remove(&leader)?;
                (node_of(&pod)? != &node.name).then_some(())
            })
            .await;
        }
        let leaving = servers_on(&store, &node).await;
        let staying = servers_on(&store, &other).await;
        node.drain().await;
        load.recorder.more_acknowledged(50).await;
        // Each group is without a server now, which is as many as its budget allows.
        other.cordon().await;
        evictions_wait(&store, &other, &staying, &leaving).await;
        other.uncordon().await;
        node.uncordon().await;
        let resource = store.complete().await;
        assert_eq!(resource["status"]["heldEvictions"].as_array().map_or(0, Vec::len), 0);
        store.says("Spread", "Apart").await;

        let events = load.finish_right(&store).await;
        let slowest = events.iter().filter_map(|event| event.return_ns?.checked_sub(event.call_ns)).max();
        println!("the slowest of {} calls took {:?}", events.len(), slowest.map(Duration::from_nanos));
    })
    .await;
}

/// A node's stay in another zone. It ends when this is dropped, since other tests count on a zone for each node.
struct Visit<'a> {
    namespace: &'a Namespace,
    node: &'a Node,
    /// The node's own zone; `None` once it is back there.
    own: Option<String>,
}

impl<'a> Visit<'a> {
    /// Moves a node to a zone.
    async fn begin(namespace: &'a Namespace, node: &'a Node, zone: &str) -> Visit<'a> {
        let visit = Visit { namespace, node, own: Some(node.zone().await) };
        node.move_to_zone(zone).await;
        visit
    }

    /// Moves the node back, while clerks go on: a drop would hold up their thread.
    async fn end(mut self) {
        if let Some(own) = &self.own {
            self.node.move_to_zone(own).await;
        }
        self.own = None;
    }
}

/// Moves the node back, which a failed test would leave in the other zone.
impl Drop for Visit<'_> {
    fn drop(&mut self) {
        let Some(own) = &self.own else { return };
        let (name, label) = (&self.node.name, format!("{ZONE}={own}"));
        let arguments: [&str; 5] = ["label", "--overwrite", "node", name, &label];
        let labelled = self.namespace.kubectl_command().args(arguments).output();
        if !labelled.is_ok_and(|output| output.status.success()) {
            eprintln!("{name} may have been left in another zone than {own}");
        }
    }
}

fn node_of(pod: &Pod) -> Option<&String> {
    pod.spec.as_ref()?.node_name.as_ref()
}

/// Returns the server of each group that is on a node.
async fn servers_on(store: &Store, node: &Node) -> Vec<String> {
    let mut servers = Vec::new();
    for group in 0..GROUPS {
        let here = store.pods(group).await.into_iter().find(|(_, pod)| node_of(pod) == Some(&node.name));
        servers.push(here.unwrap_or_else(|| panic!("{} has no server of g{group}", node.name)).0);
    }
    servers
}

/// Waits until status and Events say that the evictions of these servers from a node wait, each for one of the others.
async fn evictions_wait(store: &Store, node: &Node, staying: &[String], away: &[String]) {
    let pairs = || staying.iter().zip(away);
    let held = pairs().map(|(server, away)| json!({ "server": server, "node": node.name, "waitsFor": away }));
    let held = json!(held.collect::<Vec<_>>());
    eventually("the status says which evictions wait", || async {
        (store.get().await["status"]["heldEvictions"] == held).then_some(())
    })
    .await;
    let name = &node.name;
    eventually("Events say which evictions wait", || async {
        let waits = ListParams::default().fields("reason=EvictionWaits");
        let events = store.namespace.api::<Event>().list(&waits).await.ok()?.items;
        let said = |(server, away): (&String, &String)| {
            let note = format!("The eviction of {server} from node {name} waits until {away} is ready");
            events.iter().any(|event| event.message.as_ref() == Some(&note))
        };
        pairs().all(said).then_some(())
    })
    .await;
}

/// Returns the name of the volume of a server.
async fn volume_of(namespace: &Namespace, server: &str) -> String {
    let claims = namespace.api::<PersistentVolumeClaim>();
    let claim = claims.get(&format!("data-{server}")).await.expect("a server has a claim");
    claim.spec.and_then(|spec| spec.volume_name).expect("a server's claim has a volume")
}
