//! Groups that come and go, against an API server and a shard manager in memory.

mod beginning;
mod leaving;
mod refused;
mod shrinking;

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;

use super::*;
use crate::testing::ranges;

const SHARDS: u32 = 12;

/// The shard manager and the servers, of groups of one replica.
#[derive(Default)]
struct World(Mutex<Cluster>);

#[derive(Default)]
struct Cluster {
    founded: BTreeSet<u32>,
    sharing: BTreeSet<u32>,
    /// The owner of each shard.
    owners: Vec<u32>,
    retired: BTreeSet<u32>,
    leaderless: BTreeSet<u32>,
    /// The shard manager can't be asked.
    silent: bool,
    calls: Vec<String>,
}

impl Cluster {
    fn plan(&self) -> Vec<u32> {
        let sharing: Vec<u32> = self.sharing.iter().copied().collect();
        (0..SHARDS as usize).map(|shard| sharing[shard % sharing.len()]).collect()
    }

    /// Returns a server's status; nothing of its group is known before that is founded.
    fn status(&self, group: u32) -> v1::ReplicaStatus {
        if !self.founded.contains(&group) && !self.retired.contains(&group) {
            let state = v1::ReplicaState::Waiting as i32;
            return v1::ReplicaStatus { group, replica: 1, state, ..v1::ReplicaStatus::default() };
        }
        let leads = !self.leaderless.contains(&group);
        let state = if leads { v1::ReplicaState::Leader } else { v1::ReplicaState::Follower };
        let server = format!("demo-g{group}-0");
        let membership = v1::Membership {
            configs: vec![v1::membership::VoterSet { replicas: vec![1] }],
            members: vec![v1::membership::Member { replica: 1, server }],
        };
        v1::ReplicaStatus {
            group,
            group_uid: uid(group),
            replica: 1,
            state: state as i32,
            ready: leads,
            membership: Some(v1::StoredMembership { log_id: None, membership: Some(membership) }),
            shards_owned: self.owners.iter().filter(|owner| **owner == group).count() as u32,
            retired: self.retired.contains(&group),
            ..v1::ReplicaStatus::default()
        }
    }
}

fn uid(group: u32) -> u64 {
    u64::from(group) + 100
}

fn done<'a>() -> BoxFuture<'a, Result<(), String>> {
    Box::pin(ready(Ok(())))
}

impl Servers for World {
    fn manager_state<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Option<ManagerState>> {
        let cluster = self.0.lock();
        if cluster.sharing.is_empty() || cluster.silent {
            return Box::pin(ready(None));
        }
        let group = |id: &u32| v1::Group { id: *id, uid: uid(*id), ..v1::Group::default() };
        let map = v1::ShardMap {
            cluster_id: 7,
            configuration: 1,
            shards: SHARDS,
            groups: cluster.founded.iter().map(group).collect(),
            ranges: ranges(&cluster.owners),
            ..v1::ShardMap::default()
        };
        let configuration = v1::Configuration {
            number: 1,
            groups: cluster.sharing.iter().copied().collect(),
            ranges: ranges(&cluster.plan()),
        };
        Box::pin(ready(Some(ManagerState { map, configuration })))
    }

    fn status<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Option<v1::StatusResponse>> {
        let group = address.split('.').nth(2).unwrap().parse().unwrap();
        let status = v1::StatusResponse {
            server: format!("demo-g{group}-0"),
            replicas: vec![self.0.lock().status(group)],
            ..v1::StatusResponse::default()
        };
        Box::pin(ready(Some(status)))
    }

    fn hand_over<'a>(
        &'a self,
        _: &'a str,
        _: GroupId,
        _: v1::ReplicaIdentity,
        _: Option<ReplicaId>,
    ) -> BoxFuture<'a, Result<(), String>> {
        done()
    }

    fn remove_replica<'a>(
        &'a self,
        _: &'a str,
        _: GroupId,
        _: GroupUid,
        _: ReplicaId,
    ) -> BoxFuture<'a, Result<(), String>> {
        done()
    }

    fn join<'a>(&'a self, address: &'a str, groups: &'a [GroupId]) -> BoxFuture<'a, Result<(), String>> {
        let mut cluster = self.0.lock();
        cluster.calls.push(format!("join {} at {address}", GroupId::list(groups)));
        cluster.sharing.extend(groups.iter().map(|group| group.0));
        done()
    }

    fn leave<'a>(&'a self, address: &'a str, groups: &'a [GroupId]) -> BoxFuture<'a, Result<(), String>> {
        let mut cluster = self.0.lock();
        cluster.calls.push(format!("leave {} at {address}", GroupId::list(groups)));
        cluster.sharing.retain(|group| !groups.contains(&GroupId(*group)));
        done()
    }

    fn retire<'a>(
        &'a self,
        address: &'a str,
        group: GroupId,
        uid: GroupUid,
    ) -> BoxFuture<'a, Result<(), String>> {
        let mut cluster = self.0.lock();
        cluster.calls.push(format!("retire {group} {} at {address}", uid.0));
        cluster.retired.insert(group.0);
        done()
    }
}

/// An operator and the world around it.
struct Scene {
    operator: Operator,
    world: Arc<World>,
    spec: BTreeMap<&'static str, Value>,
}

impl Scene {
    /// Makes a store in which this number of groups run, and share the shards.
    async fn running(groups: u32, when_scaled: &str) -> Scene {
        let spec: BTreeMap<&str, Value> = [
            ("replicas", json!(1)),
            ("shards", json!(SHARDS)),
            ("groups", json!(groups)),
            ("storage", json!({ "whenScaled": when_scaled })),
        ]
        .into();
        let world = Arc::new(World::default());
        let mut operator = Operator::new(json!(spec));
        operator.context.servers = world.clone();
        let node = json!({
            "apiVersion": "v1", "kind": "Node", "metadata": { "name": "node" },
            "status": { "conditions": [{ "type": "Ready", "status": "True" }] },
        });
        operator.server.put("/api/v1/nodes/node", node);
        let mut scene = Scene { operator, world, spec };
        scene.pass().await;
        scene.run_managers();
        {
            let mut cluster = scene.world.0.lock();
            cluster.founded = (0..groups).collect();
            cluster.sharing = (0..groups).collect();
            cluster.owners = cluster.plan();
        }
        scene.run_pods();
        scene.pass().await;
        scene.pass().await;
        assert_eq!(scene.progress(), "Complete: Everything is as the specification says");
        scene.operator.server.requests();
        scene
    }

    async fn pass(&mut self) {
        self.operator.pass().await.unwrap();
    }

    fn change(&mut self, field: &'static str, value: Value) {
        self.spec.insert(field, value);
        self.operator.set_spec(json!(self.spec));
    }

    fn run_managers(&self) {
        let path = "/apis/apps/v1/namespaces/prod/deployments/demo-manager";
        let mut deployment = self.operator.server.get(path).unwrap();
        deployment["status"] = json!({ "replicas": 2, "readyReplicas": 2, "updatedReplicas": 2 });
        self.operator.server.put(path, deployment);
    }

    /// Gives each StatefulSet its pod, which is ready, or none.
    fn run_pods(&self) {
        for group in 0..4 {
            let pod = format!("/api/v1/namespaces/prod/pods/demo-g{group}-0");
            let set = self.set(group);
            match set.filter(|set| set["spec"]["replicas"] == 1) {
                None => self.operator.server.remove(&pod),
                Some(set) if self.operator.server.get(&pod).is_none() => {
                    let template = &set["spec"]["template"];
                    let object = json!({
                        "apiVersion": "v1", "kind": "Pod",
                        "metadata": {
                            "name": format!("demo-g{group}-0"), "namespace": "prod",
                            "labels": template["metadata"]["labels"],
                            "annotations": template["metadata"]["annotations"],
                        },
                        "spec": { "nodeName": "node", "containers": template["spec"]["containers"] },
                        "status": {
                            "podIP": format!("10.0.{group}.0"),
                            "conditions": [{ "type": "Ready", "status": "True" }],
                        },
                    });
                    self.operator.server.put(&pod, object);
                }
                Some(_) => {}
            }
        }
    }

    /// Takes a group's leader away. Then its server isn't ready, for long by now.
    fn lose_leader(&self, group: u32) {
        self.world.0.lock().leaderless.insert(group);
        let path = format!("/api/v1/namespaces/prod/pods/demo-g{group}-0");
        let mut pod = self.operator.server.get(&path).unwrap();
        let since = "2026-01-01T00:00:00Z";
        pod["status"]["conditions"] =
            json!([{ "type": "Ready", "status": "False", "lastTransitionTime": since }]);
        pod["status"]["containerStatuses"] = json!([{
            "name": "kvserver", "image": "", "imageID": "", "ready": false, "restartCount": 0,
            "state": { "running": { "startedAt": since } },
        }]);
        self.operator.server.put(&path, pod);
    }

    fn set(&self, group: u32) -> Option<Value> {
        self.operator.server.get(&format!("/apis/apps/v1/namespaces/prod/statefulsets/demo-g{group}"))
    }

    fn found(&self, group: u32) {
        self.world.0.lock().founded.insert(group);
    }

    fn forget(&self, group: u32) {
        self.world.0.lock().founded.remove(&group);
    }

    /// Puts every shard into its place.
    fn settle(&self) {
        let mut cluster = self.world.0.lock();
        cluster.owners = cluster.plan();
    }

    /// Makes a pass, and returns the pods that Kubernetes then evicted.
    async fn evictions(&mut self) -> Vec<String> {
        self.operator.server.requests();
        self.pass().await;
        self.evicted()
    }

    /// Returns the pods that were evicted by the last pass, and makes them again.
    fn evicted(&self) -> Vec<String> {
        let evicted = self.operator.writes().into_iter().filter_map(|write| {
            let pod = write.strip_prefix("POST /api/v1/namespaces/prod/pods/")?.strip_suffix("/eviction")?;
            Some(pod.to_owned())
        });
        let evicted = evicted.collect();
        self.run_pods();
        evicted
    }

    fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.world.0.lock().calls)
    }

    fn progress(&self) -> String {
        let condition = self.operator.condition("Progressing");
        format!("{}: {}", condition["reason"].as_str().unwrap(), condition["message"].as_str().unwrap())
    }
}

const MANAGER: &str = "demo-manager.prod.svc.cluster.local.:7400";

#[tokio::test]
async fn new_groups_join_and_take_their_share_of_the_shards() {
    let mut scene = Scene::running(1, "Retain").await;
    scene.change("groups", json!(3));
    scene.pass().await;
    scene.run_pods();
    scene.found(1);
    scene.pass().await;
    assert_eq!(scene.progress(), "Moving: g1, g2 are to join: waiting for g2 to be founded");
    assert_eq!(scene.calls(), [""; 0]);
    scene.found(2);
    assert_eq!(scene.operator.pass().await.unwrap(), Action::requeue(LOOK_SOON));
    assert_eq!(scene.calls(), [format!("join g1, g2 at {MANAGER}")]);
    assert_eq!(scene.progress(), "Moving: g1, g2 join");
    assert_eq!(scene.operator.pass().await.unwrap(), Action::requeue(LOOK_SOON));
    assert_eq!(scene.progress(), "Moving: 8 of 12 shards are on their way");
    scene.settle();
    scene.pass().await;
    assert_eq!(scene.progress(), "Complete: Everything is as the specification says");
    scene.operator.server.requests();
    assert_eq!(scene.operator.pass().await.unwrap(), Action::requeue(LOOK_AGAIN));
    assert_eq!(scene.operator.server.requests(), [""; 0]);
    assert_eq!(scene.calls(), [""; 0]);
}

#[tokio::test]
async fn a_group_that_is_too_many_is_drained_retired_forgotten_stopped_and_deleted() {
    let mut scene = Scene::running(3, "Delete").await;
    scene.change("groups", json!(2));
    scene.pass().await;
    assert_eq!(scene.calls(), [format!("leave g2 at {MANAGER}")]);
    scene.pass().await;
    let drains = "Moving: 8 of 12 shards are on their way; g2 leaves: 4 of its shards are still to go";
    assert_eq!(scene.progress(), drains);
    assert_eq!(scene.calls(), [""; 0]);
    scene.settle();
    scene.pass().await;
    assert_eq!(scene.calls(), ["retire g2 102 at 10.0.2.0:7001"]);
    scene.pass().await;
    assert_eq!(scene.progress(), "Moving: g2 is retired: waiting for the shard manager to forget it");
    assert_eq!(scene.set(2).unwrap()["spec"]["replicas"], 1);
    scene.forget(2);
    scene.operator.server.requests();
    scene.pass().await;
    assert_eq!(scene.set(2).unwrap()["spec"]["replicas"], 0);
    scene.pass().await;
    assert_eq!(scene.progress(), "Moving: g2 is no more: waiting for its servers to stop");
    assert!(!scene.operator.writes().iter().any(|write| write.starts_with("DELETE")));
    scene.run_pods();
    scene.pass().await;
    let deleted: Vec<String> =
        scene.operator.writes().into_iter().filter(|write| write.starts_with("DELETE")).collect();
    let expected = [
        "DELETE /api/v1/namespaces/prod/services/demo-g2",
        "DELETE /apis/apps/v1/namespaces/prod/statefulsets/demo-g2",
    ];
    assert_eq!(deleted, expected);
    scene.pass().await;
    assert_eq!(scene.progress(), "Complete: Everything is as the specification says");
    assert_eq!(scene.operator.condition("Available")["status"], "True");
    scene.operator.server.requests();
    scene.pass().await;
    assert_eq!(scene.operator.server.requests(), [""; 0]);
    assert_eq!(scene.calls(), [""; 0]);
}

#[tokio::test]
async fn a_service_of_somebody_else_is_not_deleted_with_a_group() {
    let mut scene = Scene::running(2, "Delete").await;
    let path = "/api/v1/namespaces/prod/services/demo-g1";
    let mut service = scene.operator.server.get(path).unwrap();
    scene.change("groups", json!(1));
    scene.pass().await;
    scene.settle();
    scene.pass().await;
    scene.forget(1);
    scene.pass().await;
    scene.run_pods();
    service["metadata"]["ownerReferences"] = json!([]);
    scene.operator.server.put(path, service);
    scene.pass().await;
    assert!(scene.set(1).is_none() && scene.operator.server.get(path).is_some());
}

#[tokio::test]
async fn a_retired_group_that_is_wanted_again_is_deleted_and_made_anew() {
    let mut scene = Scene::running(3, "Retain").await;
    scene.change("groups", json!(2));
    scene.pass().await;
    scene.settle();
    scene.pass().await;
    scene.change("groups", json!(3));
    scene.calls();
    scene.pass().await;
    assert_eq!(scene.calls(), [""; 0], "it doesn't join");
    let old = scene.set(2).unwrap()["metadata"]["uid"].clone();
    scene.forget(2);
    scene.pass().await;
    assert_eq!(scene.set(2).unwrap()["spec"]["replicas"], 0);
    scene.run_pods();
    scene.pass().await;
    assert!(scene.set(2).is_none());
    scene.pass().await;
    let new = scene.set(2).unwrap();
    assert_ne!(new["metadata"]["uid"], old);
    assert_eq!((&new["spec"]["replicas"], &new["metadata"]["annotations"]), (&json!(1), &Value::Null));
    scene.world.0.lock().retired.clear();
    scene.found(2);
    scene.run_pods();
    scene.pass().await;
    assert_eq!(scene.calls(), [format!("join g2 at {MANAGER}")]);
}

#[tokio::test]
async fn a_group_that_is_wanted_again_in_time_joins_again() {
    let mut scene = Scene::running(3, "Delete").await;
    scene.change("groups", json!(2));
    scene.pass().await;
    scene.change("groups", json!(3));
    scene.calls();
    scene.pass().await;
    assert_eq!(scene.calls(), [format!("join g2 at {MANAGER}")]);
    scene.pass().await;
    assert_eq!(scene.progress(), "Complete: Everything is as the specification says");
}

const WITHOUT_LEADER: &str = "waiting for g2: demo-g2-0 isn't ready: it hasn't been for more than two minutes; \
                              demo-g2-0 stays as it is: g2 isn't seen to hold a majority without it";

#[tokio::test]
async fn servers_of_a_group_that_was_never_founded_stop_when_it_is_not_wanted_any_more() {
    let mut scene = Scene::running(1, "Delete").await;
    scene.change("groups", json!(2));
    scene.pass().await;
    scene.run_pods();
    scene.change("groups", json!(1));
    scene.pass().await;
    scene.run_pods();
    scene.pass().await;
    assert!(scene.set(1).is_none());
    assert_eq!(scene.calls(), [""; 0]);
}

#[tokio::test]
async fn nothing_joins_or_leaves_in_a_pause() {
    let mut scene = Scene::running(3, "Delete").await;
    scene.change("groups", json!(2));
    scene.change("paused", json!(true));
    scene.pass().await;
    assert_eq!(scene.calls(), [""; 0]);
    scene.change("paused", json!(false));
    scene.pass().await;
    assert_eq!(scene.calls(), [format!("leave g2 at {MANAGER}")]);
}

/// Returns all requests of a group's end.
pub(super) async fn requests_of_a_groups_end() -> Vec<String> {
    let mut scene = Scene::running(2, "Retain").await;
    scene.change("groups", json!(1));
    scene.pass().await;
    scene.settle();
    scene.pass().await;
    scene.forget(1);
    scene.pass().await;
    scene.run_pods();
    let claim = json!({
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": "data-demo-g1-0", "namespace": "prod",
            "labels": scene.set(1).unwrap()["metadata"]["labels"],
            "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "demo-g1", "uid": "u" }],
        },
    });
    let path = "/api/v1/namespaces/prod/persistentvolumeclaims/data-demo-g1-0";
    scene.operator.server.put(path, claim);
    scene.pass().await;
    assert!(scene.set(1).is_some(), "its claim would go with it");
    assert_eq!(scene.operator.server.get(path).unwrap()["metadata"]["ownerReferences"], Value::Null);
    scene.pass().await;
    assert!(scene.set(1).is_none());
    scene.operator.server.requests()
}
