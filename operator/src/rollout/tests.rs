//! Replicas that are gone for good: how they are known, and what is done for one, against an API server in
//! memory.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::{Value, json};
use skv_operator_plan::claims::{Binding, Claim};
use skv_operator_plan::names::{Names, ServerSet};
use skv_operator_plan::observed::ObservedServers;
use skv_operator_plan::pods::{PodState, ServerPod};
use skv_operator_plan::rollout::{Abandoned, PodRef, Step};
use skv_resource::{ReplacedServer, Replacing};
use skv_sharding::GroupId;

use super::act::Taken;
use super::losses::{causes, nodes};
use super::*;
use crate::error::Class;
use crate::servers::Network;
use crate::testing::FakeApiServer;

const NODE: &str = "/api/v1/nodes/n1";
const VOLUME: &str = "/api/v1/persistentvolumes/pv";
const CLAIM: &str = "/api/v1/namespaces/prod/persistentvolumeclaims/data-demo-g0-1";
const POD: &str = "/api/v1/namespaces/prod/pods/demo-g0-1";
const RESOURCE: &str = "/apis/shardedkv.io/v1alpha1/namespaces/prod/shardedkvs/demo";

fn node(taints: &Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": "n1" }, "spec": { "taints": taints } })
}

fn out_of_service() -> Value {
    node(&json!([{ "key": "node.kubernetes.io/out-of-service", "effect": "NoExecute" }]))
}

/// Returns why the replica of a server counts as gone for good, whose pod has this node, and whose claim
/// this phase.
async fn cause(server: &FakeApiServer, node: Option<&str>, lost: bool) -> Option<String> {
    let pod = ServerPod {
        name: "demo-g0-1".to_owned(),
        uid: "u".to_owned(),
        ordinal: 1,
        restart_hash: String::new(),
        node: node.map(str::to_owned),
        peer_address: None,
        state: PodState::Down("it can't start".to_owned()),
    };
    let claim = Claim {
        name: "data-demo-g0-1".to_owned(),
        binding: if lost { Binding::Lost } else { Binding::Bound },
        volume: Some("pv".to_owned()),
        ..Claim::default()
    };
    let servers = ObservedServers { set: None, pods: [(1, pod)].into(), claims: vec![claim] };
    let (client, seen) = (server.client(), BTreeMap::from([(ServerSet::Group(GroupId(0)), servers)]));
    let nodes = nodes(&client, &seen).await.unwrap();
    causes(&client, &seen, &nodes).await.unwrap().get("demo-g0-1").map(ToString::to_string)
}

#[tokio::test]
async fn a_node_that_is_gone_or_out_of_service_takes_its_replica_with_it() {
    let server = FakeApiServer::default();
    let cause = async || cause(&server, Some("n1"), false).await;
    assert_eq!(cause().await.as_deref(), Some("its node n1 is gone"));
    server.put(NODE, node(&json!([])));
    assert_eq!(cause().await, None);
    server.put(NODE, out_of_service());
    assert_eq!(cause().await.as_deref(), Some("its node n1 is out of service"));
    server.refuse("/nodes/n1", 403);
    assert_eq!(cause().await, None, "nothing is known of a node that may not be read");
}

#[tokio::test]
async fn so_does_a_volume_that_is_gone_or_that_no_node_can_use() {
    let server = FakeApiServer::default();
    server.put(NODE, node(&json!([])));
    assert_eq!(cause(&server, Some("n1"), true).await.as_deref(), Some("its volume is gone"));
    let cause = async || cause(&server, None, false).await;
    assert_eq!(cause().await.as_deref(), Some("its volume is gone"));
    let term = json!({ "matchExpressions": [
        { "key": "kubernetes.io/hostname", "operator": "In", "values": ["n1"] },
    ] });
    let mut volume = json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": "pv" },
        "spec": { "nodeAffinity": { "required": { "nodeSelectorTerms": [term] } } },
    });
    server.put(VOLUME, volume.clone());
    assert_eq!(cause().await, None, "its node is there");
    server.put(NODE, out_of_service());
    assert_eq!(cause().await.as_deref(), Some("the node of its volume is gone"));
    server.remove(NODE);
    assert_eq!(cause().await.as_deref(), Some("the node of its volume is gone"));
    server.refuse("/nodes", 403);
    assert_eq!(cause().await, None, "nothing is known of nodes that may not be listed");
    server.stop_refusing();
    volume["spec"] = json!({});
    server.put(VOLUME, volume);
    assert_eq!(cause().await, None, "every node can use it");
}

/// An API server with a lost server's objects, and the step that replaces its replica.
fn loss() -> (FakeApiServer, Step) {
    let server = FakeApiServer::default();
    let resource = json!({
        "apiVersion": "shardedkv.io/v1alpha1", "kind": "ShardedKV",
        "metadata": { "name": "demo", "namespace": "prod", "uid": "8d0e" }, "spec": {},
    });
    server.put(RESOURCE, resource);
    let objects =
        [(VOLUME, "PersistentVolume", "v"), (CLAIM, "PersistentVolumeClaim", "c"), (POD, "Pod", "u")];
    for (path, kind, uid) in objects {
        let metadata = json!({ "name": path.rsplit_once('/').unwrap().1, "uid": uid });
        server.put(path, json!({ "apiVersion": "v1", "kind": kind, "metadata": metadata }));
    }
    let (name, uid) = ("demo-g0-1".to_owned(), "u".to_owned());
    let past = ReplacedServer { server: name.clone(), uid: uid.clone(), at: Time(Timestamp::UNIX_EPOCH) };
    let step = Step::Abandon(Abandoned {
        pod: PodRef { name, uid },
        at_once: true,
        claim: "data-demo-g0-1".to_owned(),
        claim_uid: "c".to_owned(),
        keep: Some("pv".to_owned()),
        why: "its node n1 is gone".to_owned(),
        history: vec![past],
    });
    (server, step)
}

fn resource(server: &FakeApiServer) -> ShardedKv {
    serde_json::from_value(server.get(RESOURCE).unwrap()).unwrap()
}

fn names() -> Names {
    Names { resource: "demo".to_owned(), namespace: "prod".to_owned() }
}

/// Records the step for a resource that was looked at.
async fn record(server: &FakeApiServer, looked_at: &mut ShardedKv, step: &Step) -> Result<(), Error> {
    let (client, names) = (server.client(), names());
    let unread = Unread::default();
    let actor =
        Actor { client: &client, servers: &Network, names: &names, manager_address: "", unread: &unread };
    actor.record(looked_at, step.replaces().unwrap(), step).await
}

/// Records the step and takes it, as a pass does.
async fn take(server: &FakeApiServer, step: &Step) -> Taken {
    record(server, &mut resource(server), step).await.unwrap();
    let (client, names) = (server.client(), names());
    let unread = Unread::default();
    let actor =
        Actor { client: &client, servers: &Network, names: &names, manager_address: "", unread: &unread };
    actor.take(step).await.unwrap()
}

#[tokio::test]
async fn a_replacement_is_recorded_and_the_volume_kept_before_anything_goes() {
    let (server, step) = loss();
    assert_eq!(take(&server, &step).await, Taken::Done);
    let kept = [format!("PUT {RESOURCE}/status"), format!("PATCH {VOLUME}")];
    let gone = [format!("GET {POD}"), format!("DELETE {CLAIM}"), format!("DELETE {POD}")];
    assert_eq!(server.requests(), [&kept[..], &gone].concat());
    assert_eq!(server.get(VOLUME).unwrap()["spec"]["persistentVolumeReclaimPolicy"], "Retain");
    let status = resource(&server).status.unwrap();
    let replacing = Replacing { pod: "demo-g0-1".to_owned(), uid: "u".to_owned() };
    assert_eq!(status.replacing, Some(replacing));
    assert_eq!(status.replaced.len(), 1);
    // An operator that was killed amid it is followed by one that does the rest.
    let recorded = server.get(RESOURCE);
    assert_eq!(take(&server, &step).await, Taken::Done);
    assert_eq!(server.get(RESOURCE), recorded, "it is recorded once");
}

#[tokio::test]
async fn a_recorded_step_is_taken_by_no_look_that_others_have_overtaken() {
    let (server, step) = loss();
    record(&server, &mut resource(&server), &step).await.unwrap();
    let mut looked_at = resource(&server);
    let mut changed = server.get(RESOURCE).unwrap();
    changed["spec"] = json!({ "paused": true });
    server.put(RESOURCE, changed);
    let overtaken = record(&server, &mut looked_at, &step).await.unwrap_err();
    assert_eq!(overtaken.class(), Class::Passing);
    record(&server, &mut resource(&server), &step).await.unwrap();
}

#[tokio::test]
async fn a_volume_that_can_not_be_kept_is_not_given_up() {
    let (server, step) = loss();
    server.refuse("/persistentvolumes/pv", 403);
    let Taken::NotYet(why) = take(&server, &step).await else { panic!("it was given up") };
    assert!(why.contains("allow it to patch persistentvolumes"), "{why}");
    assert!(server.get(CLAIM).is_some() && server.get(POD).is_some());
}

#[tokio::test]
async fn a_volume_that_another_pod_has_by_now_is_not_given_up() {
    let (server, step) = loss();
    let mut successor = server.get(POD).unwrap();
    successor["metadata"]["uid"] = json!("another");
    server.put(POD, successor);
    let Taken::NotYet(why) = take(&server, &step).await else { panic!("it was given up") };
    assert!(why.contains("another pod has taken its place"), "{why}");
    assert!(server.get(CLAIM).is_some() && server.get(POD).is_some());
}
