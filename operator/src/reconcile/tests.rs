//! Passes over a resource, against an API server in memory.

mod found_again;
mod groups;
mod losses;
mod rights;
mod silence;
mod unusable;

use futures::future::{BoxFuture, ready};
use kube::runtime::events::Recorder;
use serde_json::{Value, json};
use skv_proto::v1;
use skv_sharding::{GroupId, GroupUid, ReplicaId};

use super::*;
use crate::servers::ManagerState;
use crate::testing::FakeApiServer;

const RESOURCE: &str = "/apis/shardedkv.io/v1alpha1/namespaces/prod/shardedkvs/demo";
const SET: &str = "/apis/apps/v1/namespaces/prod/statefulsets/demo-g0";
const BUDGET: &str = "/apis/policy/v1/namespaces/prod/poddisruptionbudgets/demo-g0";

/// Servers that tell their state, and carry out nothing.
struct Told {
    manager: fn() -> Option<ManagerState>,
    /// The answer of the server at an address.
    server: fn(&str) -> Option<v1::StatusResponse>,
}

/// Servers that can't be asked.
const SILENCE: Told = Told { manager: || None, server: |_| None };

impl Servers for Told {
    fn manager_state<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Option<ManagerState>> {
        Box::pin(ready((self.manager)()))
    }

    fn status<'a>(&'a self, address: &'a str) -> BoxFuture<'a, Option<v1::StatusResponse>> {
        Box::pin(ready((self.server)(address)))
    }

    fn hand_over<'a>(
        &'a self,
        _: &'a str,
        _: GroupId,
        _: v1::ReplicaIdentity,
        _: Option<ReplicaId>,
    ) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(ready(Err("silence".to_owned())))
    }

    fn remove_replica<'a>(
        &'a self,
        _: &'a str,
        _: GroupId,
        _: GroupUid,
        _: ReplicaId,
    ) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(ready(Err("silence".to_owned())))
    }

    fn join<'a>(&'a self, _: &'a str, _: &'a [GroupId]) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(ready(Err("silence".to_owned())))
    }

    fn leave<'a>(&'a self, _: &'a str, _: &'a [GroupId]) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(ready(Err("silence".to_owned())))
    }

    fn retire<'a>(&'a self, _: &'a str, _: GroupId, _: GroupUid) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(ready(Err("silence".to_owned())))
    }
}

/// An operator whose cache is filled again for each pass.
struct Operator {
    server: FakeApiServer,
    context: Context,
    /// The number of passes in a row that failed.
    failures: u32,
}

impl Operator {
    fn new(spec: Value) -> Operator {
        let server = FakeApiServer::default();
        let operator = Operator::on(server);
        operator.set_spec(spec);
        operator
    }

    fn on(server: FakeApiServer) -> Operator {
        let client = server.client();
        let context = Context {
            cache: server.cache(),
            applier: Applier::new(client.clone()),
            reporter: Reporter {
                client: client.clone(),
                recorder: Recorder::new(client.clone(), "skv-operator".into()),
            },
            client,
            servers: Arc::new(SILENCE),
            metrics: Arc::default(),
            cluster_domain: "cluster.local".to_owned(),
            own_namespace: "operators".to_owned(),
            users: Users::OfTheImage,
            image: "shardedkv:1".to_owned(),
            cordons: Cordons::default(),
            silences: Silences::default(),
            clock: crate::time::system(),
        };
        Operator { server, context, failures: 0 }
    }

    fn set_spec(&self, spec: Value) {
        let mut object = self.server.get(RESOURCE).unwrap_or_else(|| {
            json!({
                "apiVersion": "shardedkv.io/v1alpha1",
                "kind": "ShardedKV",
                "metadata": { "name": "demo", "namespace": "prod", "uid": "8d0e" },
            })
        });
        object["spec"] = spec;
        self.server.put(RESOURCE, object);
    }

    /// Changes the status, as another program would.
    fn change_status(&self, change: impl FnOnce(&mut Value)) {
        let mut object = self.server.get(RESOURCE).unwrap();
        change(&mut object["status"]);
        self.server.put(RESOURCE, object);
    }

    async fn pass(&mut self) -> Result<Action, Error> {
        self.pass_over(RESOURCE).await
    }

    async fn pass_over(&mut self, path: &str) -> Result<Action, Error> {
        self.context.cache = self.server.cache();
        let resource = serde_json::from_value(self.server.get(path).unwrap()).unwrap();
        // A whole pass is a large future.
        let end = Box::pin(reconcile(&resource, self.failures, &self.context)).await;
        self.failures = if end.is_ok() { 0 } else { self.failures + 1 };
        end
    }

    /// Returns the writes of the last pass, without those of Events.
    fn writes(&self) -> Vec<String> {
        let requests = self.server.requests().into_iter();
        requests.filter(|request| !request.starts_with("GET") && !request.contains("/events")).collect()
    }

    fn condition(&self, type_: &str) -> Value {
        let resource = self.server.get(RESOURCE).unwrap();
        let conditions = resource["status"]["conditions"].as_array().unwrap();
        conditions.iter().find(|condition| condition["type"] == type_).unwrap().clone()
    }
}

#[tokio::test]
async fn a_new_resource_gets_all_its_objects_and_a_status() {
    let mut operator = Operator::new(json!({ "groups": 2 }));
    operator.pass().await.unwrap();
    let writes = operator.writes();
    assert_eq!(writes.len(), 10 + 2 * 3 + 1, "{writes:#?}");
    assert!(writes.last().unwrap().ends_with("/shardedkvs/demo/status"));
    assert_eq!(operator.condition("Progressing")["reason"], "Starting");
}

/// An API server that has OwnerReferencesPermissionEnforcement on asks only about such owners.
#[tokio::test]
async fn a_resource_that_is_deleted_in_the_foreground_waits_for_all_its_objects() {
    let mut operator = Operator::new(json!({ "groups": 1, "storage": { "whenDeleted": "Delete" } }));
    operator.pass().await.unwrap();
    let owner = json!({
        "apiVersion": "shardedkv.io/v1alpha1", "kind": "ShardedKV", "name": "demo", "uid": "8d0e",
        "controller": true, "blockOwnerDeletion": true,
    });
    let mut objects = operator.server.objects();
    objects.retain(|path, _| path != RESOURCE && !path.contains("/events/"));
    assert_eq!(objects.len(), 10 + 3, "{:#?}", objects.keys());
    for (path, object) in objects {
        assert_eq!(object["metadata"]["ownerReferences"], json!([owner]), "{path}");
    }
}

#[tokio::test]
async fn a_pass_in_a_steady_state_sends_nothing_at_all() {
    let mut operator = Operator::new(json!({}));
    operator.pass().await.unwrap();
    operator.pass().await.unwrap();
    operator.server.requests();
    operator.pass().await.unwrap();
    assert_eq!(operator.server.requests(), [""; 0]);
}

#[tokio::test]
async fn what_somebody_changed_or_deleted_is_put_right() {
    let mut operator = Operator::new(json!({}));
    operator.pass().await.unwrap();
    operator.pass().await.unwrap();
    operator.server.requests();
    let mut set = operator.server.get(SET).unwrap();
    set["spec"]["updateStrategy"]["type"] = json!("RollingUpdate");
    operator.server.put(SET, set);
    operator.pass().await.unwrap();
    assert_eq!(operator.writes(), [format!("PATCH {SET}")]);
    assert_eq!(operator.server.get(SET).unwrap()["spec"]["updateStrategy"]["type"], "OnDelete");
}

#[tokio::test]
async fn a_status_of_an_object_is_no_reason_to_apply_it() {
    let mut operator = Operator::new(json!({ "groups": 1 }));
    operator.pass().await.unwrap();
    operator.pass().await.unwrap();
    operator.server.requests();
    let mut set = operator.server.get(SET).unwrap();
    set["status"] = json!({ "replicas": 3, "readyReplicas": 3 });
    operator.server.put(SET, set);
    operator.pass().await.unwrap();
    assert_eq!(operator.writes(), [""; 0]);
}

#[tokio::test]
async fn an_invalid_resource_says_so_once_and_gets_no_objects() {
    let mut operator = Operator::new(json!({ "replicas": 2 }));
    assert_eq!(operator.pass().await.unwrap(), Action::await_change());
    assert_eq!(operator.writes(), [format!("PUT {RESOURCE}/status")]);
    let valid = operator.condition("Valid");
    assert_eq!((&valid["status"], &valid["reason"]), (&json!("False"), &json!("Invalid")));
    assert!(valid["message"].as_str().unwrap().starts_with("spec.replicas: 2 tolerates"), "{valid}");
    operator.pass().await.unwrap();
    assert!(operator.server.requests().is_empty(), "no hot loop");
    operator.set_spec(json!({ "replicas": 3 }));
    operator.pass().await.unwrap();
    assert_eq!(operator.condition("Valid")["status"], "True");
}

#[tokio::test]
async fn a_resource_that_can_not_be_read_says_so_once() {
    let mut operator = Operator::new(json!({ "replicas": "three" }));
    assert_eq!(operator.pass().await.unwrap(), Action::await_change());
    assert_eq!(operator.writes(), [format!("PUT {RESOURCE}/status")]);
    let valid = operator.condition("Valid");
    assert_eq!((&valid["status"], &valid["reason"]), (&json!("False"), &json!("Unreadable")));
    operator.pass().await.unwrap();
    assert!(operator.writes().is_empty(), "no hot loop");
}

#[tokio::test]
async fn what_can_not_change_is_refused_by_the_operator_too() {
    let mut operator = Operator::new(json!({}));
    operator.pass().await.unwrap();
    operator.server.requests();
    operator.set_spec(json!({ "shards": 480 }));
    operator.pass().await.unwrap();
    assert_eq!(operator.writes(), [format!("PUT {RESOURCE}/status")]);
    let valid = operator.condition("Valid");
    assert_eq!(valid["message"], "spec.shards: is fixed for the life of the resource: set it back to 240");
}

#[tokio::test]
async fn a_paused_resource_is_watched_and_not_touched() {
    let mut operator = Operator::new(json!({ "paused": true }));
    operator.pass().await.unwrap();
    assert_eq!(operator.writes(), [format!("PUT {RESOURCE}/status")]);
    assert_eq!(operator.condition("Progressing")["reason"], "Paused");
}

#[tokio::test]
async fn a_deleted_resource_is_left_to_its_owner_references() {
    let mut operator = Operator::new(json!({}));
    let mut resource = operator.server.get(RESOURCE).unwrap();
    resource["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    operator.server.put(RESOURCE, resource);
    assert_eq!(operator.pass().await.unwrap(), Action::await_change());
    assert!(operator.server.requests().is_empty());
}

#[tokio::test]
async fn an_object_of_somebody_else_is_not_taken_over() {
    let mut operator = Operator::new(json!({}));
    let service = "/api/v1/namespaces/prod/services/demo";
    let foreign =
        json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "demo", "namespace": "prod" } });
    operator.server.put(service, foreign);
    let before = operator.server.get(service);
    let error = operator.pass().await.unwrap_err();
    assert!(matches!(error, Error::Foreign { .. }), "{error}");
    assert_eq!(operator.server.get(service), before);
    assert_eq!(operator.condition("Progressing")["reason"], "ApplyFailed");
}

#[tokio::test]
async fn of_two_resources_whose_names_collide_the_second_touches_nothing_of_the_first() {
    let path = |name: &str| format!("/apis/shardedkv.io/v1alpha1/namespaces/prod/shardedkvs/{name}");
    let colliding = [
        ("demo-g0", json!({ "groups": 1 }), "Service demo-g0"),
        (
            "demo-g0",
            json!({ "groups": 3, "shards": 3, "placement": "ring", "hash": "integer" }),
            "Service demo-g0",
        ),
        ("demo-manager", json!({ "groups": 1 }), "Service demo-manager"),
    ];
    for (name, spec, object) in colliding {
        let mut operator = Operator::new(json!({ "groups": 1 }));
        operator.pass().await.unwrap();
        operator.pass().await.unwrap();
        let firsts = operator.server.objects();
        let second = json!({
            "apiVersion": "shardedkv.io/v1alpha1", "kind": "ShardedKV",
            "metadata": { "name": name, "namespace": "prod", "uid": "9999" }, "spec": spec,
        });
        operator.server.put(&path(name), second);
        let error = operator.pass_over(&path(name)).await.unwrap_err();
        let said = format!("{object} belongs to ShardedKV demo: give one of the two another name");
        assert_eq!(error.to_string(), said);
        let requests = operator.server.requests();
        assert!(requests.iter().any(|request| request.starts_with("POST") && request.contains("/events")));
        let resource = operator.server.get(&path(name)).unwrap();
        let condition = { resource["status"]["conditions"].as_array().unwrap().iter() }
            .find(|condition| condition["type"] == "Progressing");
        assert_eq!(condition.unwrap()["message"], said);
        operator.pass_over(&path(name)).await.unwrap_err();
        operator.server.requests();
        // Neither resource takes an object from the other, after any number of passes.
        for _ in 0..2 {
            operator.pass().await.unwrap();
            operator.pass_over(&path(name)).await.unwrap_err();
            for (path, object) in &firsts {
                assert_eq!(operator.server.get(path).as_ref(), Some(object), "{path}");
            }
            assert_eq!(operator.writes(), [""; 0]);
        }
        // Switching off an object that has the same name as the other's deletes nothing either.
        let mut spec = operator.server.get(&path(name)).unwrap();
        spec["spec"]["disruptionBudget"] = json!({ "enabled": false });
        operator.server.put(&path(name), spec);
        operator.pass_over(&path(name)).await.unwrap_err();
        assert!(operator.server.get(BUDGET).is_some());
    }
}

#[tokio::test]
async fn claims_tell_gitops_tools_to_leave_them_alone_also_when_their_group_is_no_more() {
    let mut operator = Operator::new(json!({ "groups": 1 }));
    operator.pass().await.unwrap();
    operator.pass().await.unwrap();
    let path = |name: &str| format!("/api/v1/namespaces/prod/persistentvolumeclaims/{name}");
    let names = ["data-demo-g0-0", "data-demo-g7-0"];
    for name in names {
        let mut labels = operator.server.get(SET).unwrap()["metadata"]["labels"].clone();
        labels["shardedkv.io/group"] = json!(name.split('-').nth(2).unwrap());
        let claim = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": { "name": name, "namespace": "prod", "labels": labels },
            "spec": { "resources": { "requests": { "storage": "10Gi" } } },
        });
        operator.server.put(&path(name), claim);
    }
    operator.server.requests();
    operator.pass().await.unwrap();
    assert_eq!(operator.writes(), names.map(|name| format!("PATCH {}", path(name))));
    for name in names {
        let annotations = &operator.server.get(&path(name)).unwrap()["metadata"]["annotations"];
        assert_eq!(annotations["argocd.argoproj.io/sync-options"], "Prune=false,Delete=false");
        assert_eq!(annotations["argocd.argoproj.io/compare-options"], "IgnoreExtraneous");
    }
    operator.pass().await.unwrap();
    assert_eq!(operator.writes(), [""; 0]);
}

#[tokio::test]
async fn a_refused_object_is_reported_and_tried_again() {
    let mut operator = Operator::new(json!({}));
    operator.server.refuse("/deployments/demo-manager", 403);
    let error = operator.pass().await.unwrap_err();
    assert_eq!(error.class(), Class::Lasting);
    let message = operator.condition("Progressing")["message"].as_str().unwrap().to_owned();
    assert!(message.contains("Deployment demo-manager"), "{message}");
    assert!(operator.server.get(SET).is_some(), "the others are there all the same");
    operator.server.stop_refusing();
    operator.pass().await.unwrap();
    assert_ne!(operator.condition("Progressing")["reason"], "ApplyFailed");
}

#[tokio::test]
async fn what_is_switched_off_is_deleted() {
    let mut operator = Operator::new(json!({ "groups": 1 }));
    operator.pass().await.unwrap();
    assert!(operator.server.get(BUDGET).is_some());
    operator.set_spec(json!({ "groups": 1, "disruptionBudget": { "enabled": false } }));
    operator.pass().await.unwrap();
    assert_eq!(operator.server.get(BUDGET), None);
    operator.server.requests();
    operator.pass().await.unwrap();
    assert!(operator.writes().is_empty());
}

#[tokio::test]
async fn node_ports_are_switched_on_and_off_and_other_services_stay() {
    let services = |operator: &Operator| {
        let names = ["demo", "demo-manager", "demo-g0", "demo-manager-nodes", "demo-g0-nodes"];
        let path = |name: &str| format!("/api/v1/namespaces/prod/services/{name}");
        let there = names.into_iter().filter(|name| operator.server.get(&path(name)).is_some());
        there.collect::<Vec<_>>()
    };
    let mut operator = Operator::new(json!({ "groups": 1 }));
    operator.pass().await.unwrap();
    let others = ["demo", "demo-manager", "demo-g0"];
    assert_eq!(services(&operator), others);
    operator.set_spec(json!({ "groups": 1, "nodePorts": { "first": 30400 } }));
    operator.pass().await.unwrap();
    assert_eq!(services(&operator), [&others[..], &["demo-manager-nodes", "demo-g0-nodes"]].concat());
    operator.set_spec(json!({ "groups": 1 }));
    operator.pass().await.unwrap();
    assert_eq!(services(&operator), others);
}

#[tokio::test]
async fn a_groups_replicas_and_the_group_itself_are_never_counted_away() {
    let mut operator = Operator::new(json!({ "groups": 2, "replicas": 5 }));
    operator.pass().await.unwrap();
    operator.set_spec(json!({ "groups": 1, "replicas": 3 }));
    operator.pass().await.unwrap();
    for group in ["g0", "g1"] {
        let set = operator.server.get(&format!("/apis/apps/v1/namespaces/prod/statefulsets/demo-{group}"));
        assert_eq!(set.unwrap()["spec"]["replicas"], 5, "{group}");
    }
}

#[tokio::test]
async fn the_record_in_the_shard_map_is_left_alone() {
    let mut operator = Operator::new(json!({}));
    operator.pass().await.unwrap();
    operator.pass().await.unwrap();
    operator.server.requests();
    let path = "/apis/shardedkv.io/v1alpha1/namespaces/prod/shardmaps/demo";
    let mut map = operator.server.get(path).unwrap();
    map["record"] = json!({ "revision": 1 });
    operator.server.put(path, map);
    operator.pass().await.unwrap();
    assert!(operator.writes().is_empty());
    assert_eq!(operator.server.get(path).unwrap()["record"]["revision"], 1);
}
