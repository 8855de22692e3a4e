//! A replica that is gone for good: from the first sight of it to its replacement.

use k8s_openapi::jiff::Timestamp;

use super::*;
use crate::testing::ranges;

const SHARDS: u32 = 12;
const CLAIM: &str = "/api/v1/namespaces/prod/persistentvolumeclaims/data-demo-g0-1";
const POD: &str = "/api/v1/namespaces/prod/pods/demo-g0-1";
const VOLUME: &str = "/api/v1/persistentvolumes/pv-1";

/// A group of three servers, of which the first leads.
pub(super) const THREE: Told = Told { manager: || Some(manager_state()), server: |at| Some(answer(at)) };
/// The same, and the second can't be asked.
const TWO: Told = Told { server: |at| Some(answer(at)).filter(|told| told.server != "demo-g0-1"), ..THREE };

fn manager_state() -> ManagerState {
    let all = ranges(&[0; SHARDS as usize]);
    let map = v1::ShardMap {
        cluster_id: 7,
        configuration: 1,
        shards: SHARDS,
        groups: vec![v1::Group { id: 0, uid: 7, ..v1::Group::default() }],
        ranges: all.clone(),
        ..v1::ShardMap::default()
    };
    let configuration = v1::Configuration { number: 1, groups: vec![0], ranges: all };
    ManagerState { map, configuration }
}

fn answer(address: &str) -> v1::StatusResponse {
    let (ip, _) = address.rsplit_once(':').unwrap();
    let ordinal: u64 = ip.rsplit_once('.').unwrap().1.parse().unwrap();
    v1::StatusResponse {
        server: format!("demo-g0-{ordinal}"),
        replicas: vec![status_of(ordinal)],
        ..v1::StatusResponse::default()
    }
}

fn status_of(ordinal: u64) -> v1::ReplicaStatus {
    let server = |ordinal: u64| format!("demo-g0-{ordinal}");
    let end = || Some(v1::LogId { term: 1, replica: 1, index: 10 });
    let member = |ordinal| v1::membership::Member { replica: ordinal + 1, server: server(ordinal) };
    let membership = v1::Membership {
        configs: vec![v1::membership::VoterSet { replicas: vec![1, 2, 3] }],
        members: (0..3).map(member).collect(),
    };
    let peer = |ordinal| v1::PeerProgress {
        replica: ordinal + 1,
        server: server(ordinal),
        matched: end(),
        ..v1::PeerProgress::default()
    };
    let state = if ordinal == 0 { v1::ReplicaState::Leader } else { v1::ReplicaState::Follower };
    v1::ReplicaStatus {
        group_uid: 7,
        replica: ordinal + 1,
        state: state as i32,
        ready: true,
        term: 1,
        last_log: end(),
        membership: Some(v1::StoredMembership { log_id: end(), membership: Some(membership) }),
        peers: if ordinal == 0 { (1..3).map(peer).collect() } else { Vec::new() },
        ..v1::ReplicaStatus::default()
    }
}

/// Puts a server's pod and claim there. The pod is ready, or can't be scheduled.
fn put_server(operator: &Operator, ordinal: u32, is_ready: bool) {
    let template = operator.server.get(SET).unwrap()["spec"]["template"].clone();
    let (name, labels) = (format!("demo-g0-{ordinal}"), &template["metadata"]["labels"]);
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": { "name": format!("data-{name}"), "namespace": "prod", "labels": labels },
        "spec": {
            "volumeName": format!("pv-{ordinal}"), "resources": { "requests": { "storage": "10Gi" } },
        },
        "status": { "phase": "Bound" },
    });
    operator.server.put(&format!("/api/v1/namespaces/prod/persistentvolumeclaims/data-{name}"), claim);
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": "prod", "labels": labels,
            "annotations": template["metadata"]["annotations"],
        },
        "spec": { "containers": template["spec"]["containers"] },
        "status": { "conditions": [{ "type": "PodScheduled", "status": "False", "reason": "Unschedulable" }] },
    });
    if is_ready {
        pod["spec"]["nodeName"] = json!("node");
        pod["status"] = json!({
            "podIP": format!("10.0.0.{ordinal}"), "conditions": [{ "type": "Ready", "status": "True" }],
        });
    }
    operator.server.put(&format!("/api/v1/namespaces/prod/pods/{name}"), pod);
}

fn set_clock(operator: &mut Operator, time: &str) {
    let now: Timestamp = time.parse().unwrap();
    operator.context.clock = Arc::new(move || now);
}

/// Makes an operator with a group of three servers that are ready at noon.
pub(super) async fn with_servers(servers: Told) -> Operator {
    let replacement = json!({ "afterSeconds": 60 });
    let mut operator = Operator::new(json!({ "groups": 1, "shards": SHARDS, "replacement": replacement }));
    operator.context.servers = Arc::new(servers);
    set_clock(&mut operator, "2026-01-01T12:00:00Z");
    operator.pass().await.unwrap();
    let managers = "/apis/apps/v1/namespaces/prod/deployments/demo-manager";
    let mut deployment = operator.server.get(managers).unwrap();
    deployment["status"] = json!({ "replicas": 2, "readyReplicas": 2, "updatedReplicas": 2 });
    operator.server.put(managers, deployment);
    for ordinal in 0..3 {
        put_server(&operator, ordinal, true);
    }
    operator
}

/// Makes an operator that has seen at noon that a replica is lost: its volume is of a node that is gone. It is
/// replaced a minute later.
async fn with_a_loss() -> Operator {
    let mut operator = with_servers(TWO).await;
    let host = json!({ "key": "kubernetes.io/hostname", "operator": "In", "values": ["gone"] });
    let volume = json!({
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": { "name": "pv-1" },
        "spec": { "nodeAffinity": { "required": { "nodeSelectorTerms": [{ "matchExpressions": [host] }] } } },
    });
    operator.server.put(VOLUME, volume);
    operator.pass().await.unwrap();
    put_server(&operator, 1, false);
    operator.pass().await.unwrap();
    operator.pass().await.unwrap();
    operator.server.requests();
    operator
}

/// Returns all requests of the pass that replaces a replica.
pub(super) async fn requests_of_a_replacement() -> Vec<String> {
    let mut operator = with_a_loss().await;
    set_clock(&mut operator, "2026-01-01T12:01:00Z");
    operator.pass().await.unwrap();
    operator.server.requests()
}

#[tokio::test]
async fn a_lost_replica_is_told_of_and_replaced_when_its_time_has_come() {
    let mut operator = with_a_loss().await;
    let degraded = operator.condition("Degraded");
    assert_eq!(degraded["reason"], "ReplicaLost");
    let told = "demo-g0-1 is lost: the node of its volume is gone; it is replaced at 12:01 UTC";
    assert_eq!(degraded["message"], told);
    set_clock(&mut operator, "2026-01-01T12:00:59Z");
    operator.pass().await.unwrap();
    assert_eq!(operator.writes(), [""; 0], "it waits, and writes nothing");

    set_clock(&mut operator, "2026-01-01T12:01:00Z");
    operator.pass().await.unwrap();
    let status = format!("PUT {RESOURCE}/status");
    let deleted = [format!("DELETE {CLAIM}"), format!("DELETE {POD}")];
    let expected = [&[status.clone(), format!("PATCH {VOLUME}")][..], &deleted, &[status]].concat();
    assert_eq!(operator.writes(), expected);
    let resource = operator.server.get(RESOURCE).unwrap();
    assert_eq!(resource["status"]["replacing"]["pod"], "demo-g0-1");
    assert_eq!(resource["status"]["replaced"][0]["at"], "2026-01-01T12:01:00Z");
    let objects = operator.server.objects();
    let is_told =
        objects.iter().any(|(path, event)| path.contains("/events/") && event["reason"] == "ReplicaReplaced");
    assert!(is_told, "{:#?}", objects.keys());
}

#[tokio::test]
async fn a_lost_replica_is_replaced_though_an_object_can_not_be_applied() {
    let mut operator = with_a_loss().await;
    operator.server.remove(BUDGET);
    operator.server.refuse("/poddisruptionbudgets/demo-g0", 403);
    operator.pass().await.unwrap_err();
    assert_eq!(operator.condition("Degraded")["reason"], "ReplicaLost", "its state is told all the same");
    set_clock(&mut operator, "2026-01-01T12:01:00Z");
    let error = operator.pass().await.unwrap_err();
    assert!(error.to_string().contains("PodDisruptionBudget demo-g0"), "{error}");
    assert_eq!((operator.server.get(CLAIM), operator.server.get(POD)), (None, None));
    assert_eq!(operator.condition("Progressing")["reason"], "ApplyFailed");
    assert_eq!(operator.server.get(RESOURCE).unwrap()["status"]["replacing"]["pod"], "demo-g0-1");
}

#[tokio::test]
async fn no_replica_is_replaced_while_what_its_replacement_rests_on_can_not_be_read() {
    for field in ["replaced", "replacing"] {
        let mut operator = with_a_loss().await;
        let newer = json!([{ "of": "a newer version" }]);
        operator.change_status(|status| status[field] = newer.clone());
        set_clock(&mut operator, "2026-01-01T12:01:00Z");
        operator.pass().await.unwrap();
        assert!(operator.server.get(CLAIM).is_some() && operator.server.get(POD).is_some(), "{field}");
        let degraded = operator.condition("Degraded");
        assert_eq!(degraded["reason"], "ReplicaLost");
        let loss = "demo-g0-1 is lost: the node of its volume is gone, since 12:00 UTC";
        let why = format!("this version of the operator can't read status.{field}");
        assert_eq!(degraded["message"], format!("{loss}; {why}"));
        operator.server.requests();
        operator.pass().await.unwrap();
        assert_eq!(operator.writes(), [""; 0], "it waits, and writes nothing");
        operator.change_status(|status| {
            assert_eq!(status[field], newer, "it is nobody's to change");
            status.as_object_mut().unwrap().remove(field);
        });
        operator.pass().await.unwrap();
        assert_eq!((operator.server.get(CLAIM), operator.server.get(POD)), (None, None), "{field}");
    }
}

#[tokio::test]
async fn a_lost_replica_is_told_of_while_the_objects_can_not_be_read() {
    let mut operator = with_a_loss().await;
    let degraded = operator.condition("Degraded");
    assert_eq!(degraded["reason"], "ReplicaLost");
    operator.server.refuse("/statefulsets", 403);
    operator.pass().await.unwrap_err();
    assert_eq!(operator.condition("Degraded"), degraded);
    assert_eq!(operator.condition("Progressing")["reason"], "ApplyFailed");
}

#[tokio::test]
async fn evictions_that_have_to_wait_are_told_of_once() {
    let mut operator = with_a_loss().await;
    operator.context.cordons.show(["node".to_owned()].into());
    operator.pass().await.unwrap();
    let status = operator.server.get(RESOURCE).unwrap()["status"].take();
    let held = status["heldEvictions"].as_array().unwrap();
    assert_eq!(held.len(), 2, "{held:?}");
    assert_eq!(held[0], json!({ "server": "demo-g0-0", "node": "node", "waitsFor": "demo-g0-1" }));
    let told = |operator: &Operator| {
        let objects = operator.server.objects();
        objects.values().filter(|event| event["reason"] == "EvictionWaits").count()
    };
    assert_eq!(told(&operator), 2);
    operator.server.requests();
    operator.pass().await.unwrap();
    assert_eq!((operator.writes(), told(&operator)), (Vec::new(), 2));
}
