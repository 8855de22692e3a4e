//! A `ShardedKV`, as a person sees it.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DynamicObject, ListParams, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};
use skv_client::{Clerk, Options};
use skv_process::{Clerks, eventually_every};

use crate::{Namespace, Output, eventually, is_ready, tunnel};

/// The time limit for replacing every pod of a test's store: far more than it needs.
const ROLLOUT: Duration = Duration::from_mins(5);
/// The pause between two looks at a rollout, which tests spend most of their time with.
const LOOK: Duration = Duration::from_millis(250);
/// The pause of a clerk between two calls. The API server and a kubelet carry each of them beside the work of the
/// servers, and values become longer with each append: clerks that hardly paused would keep the processors from the
/// other tests. Four clerks begin a call about every 15 ms, so that even a leadership that is handed over meets some.
const THINK: Duration = Duration::from_millis(50);

/// A `ShardedKV` in a test's namespace.
#[derive(Clone)]
pub struct Store {
    /// The namespace that has it.
    pub namespace: Namespace,
    /// Its name.
    pub name: String,
}

impl Store {
    /// Makes one that runs the image under test on small volumes, and waits until it is complete.
    pub async fn create(namespace: &Namespace, mut spec: Value) -> Store {
        let store = Store::existing(namespace, "kv");
        let defaults = json!({
            "shards": 12,
            "image": { "name": namespace.cluster.image },
            "storage": { "size": "256Mi" },
        });
        for (field, value) in defaults.as_object().into_iter().flatten() {
            spec.as_object_mut().expect("a spec").entry(field.clone()).or_insert_with(|| value.clone());
        }
        store.apply(spec).await.unwrap_or_else(|error| panic!("the resource is refused: {error}"));
        store.complete().await;
        store
    }

    /// Returns one that is there.
    pub fn existing(namespace: &Namespace, name: &str) -> Store {
        Store { namespace: namespace.clone(), name: name.to_owned() }
    }

    /// Applies a specification; returns the API server's answer.
    pub async fn apply(&self, spec: Value) -> Result<DynamicObject, kube::Error> {
        let object = json!({
            "apiVersion": "shardedkv.io/v1alpha1", "kind": "ShardedKV",
            "metadata": { "name": self.name }, "spec": spec,
        });
        let object = serde_json::from_value(object).expect("an object");
        self.namespace.cluster.apply_object(&object, &self.namespace.name).await
    }

    /// Changes some fields of its specification.
    pub async fn change(&self, spec: Value) {
        let patch = Patch::Merge(json!({ "spec": spec }));
        let patched = self.api().patch(&self.name, &PatchParams::default(), &patch).await;
        patched.unwrap_or_else(|error| panic!("the change is refused: {error}"));
    }

    /// Returns the API of all resources of this kind in its namespace.
    pub fn api(&self) -> Api<DynamicObject> {
        let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("shardedkv.io", "v1alpha1", "ShardedKV"));
        Api::namespaced_with(self.namespace.cluster.client.clone(), &self.namespace.name, &kind)
    }

    /// Returns the resource as it is; null while it isn't there.
    pub async fn get(&self) -> Value {
        let found = self.api().get_opt(&self.name).await.ok().flatten();
        found.map_or(Value::Null, |object| serde_json::to_value(object).expect("an object is JSON"))
    }

    /// Waits until its status says that everything is as specified.
    pub async fn complete(&self) -> Value {
        eventually_every(LOOK, ROLLOUT, &format!("{} is as its specification says", self.name), || async {
            let resource = self.get().await;
            let complete = condition(&resource, "Progressing")? == ("False", "Complete")
                && condition(&resource, "Degraded")?.0 == "False"
                && condition(&resource, "Ready")?.0 == "True"
                && resource["status"]["observedGeneration"] == resource["metadata"]["generation"];
            complete.then_some(resource)
        })
        .await
    }

    /// Waits until one of its conditions has this reason.
    pub async fn says(&self, type_: &str, reason: &str) -> Value {
        eventually(&format!("{} says {type_} {reason}", self.name), || async {
            let resource = self.get().await;
            (condition(&resource, type_)?.1 == reason).then_some(resource)
        })
        .await
    }

    /// Returns the pods of a group by their names.
    pub async fn pods(&self, group: u32) -> BTreeMap<String, Pod> {
        let label = format!("app.kubernetes.io/instance={},shardedkv.io/group=g{group}", self.name);
        let list = self.namespace.api::<Pod>().list(&ListParams::default().labels(&label)).await;
        let pods = list.expect("pods can be listed").items.into_iter();
        pods.filter_map(|pod| Some((pod.metadata.name.clone()?, pod))).collect()
    }

    /// Returns the node of a group's server.
    pub async fn node_of(&self, group: u32, server: &str) -> String {
        let node = self.pods(group).await.remove(server).and_then(|pod| pod.spec?.node_name);
        node.unwrap_or_else(|| panic!("{server} is on no node"))
    }

    /// Returns the server that leads a group.
    pub async fn leader(&self, group: usize) -> String {
        eventually(&format!("a leader of g{group} is known"), || async {
            Some(self.group_status(group).await?["leader"].as_str()?.to_owned())
        })
        .await
    }

    /// Returns a group from the output of `skv status`.
    pub async fn group_status(&self, group: usize) -> Option<Value> {
        let status = self.skv(&["status", "-o", "json"]).await;
        let mut status: Value = serde_json::from_str(&status.stdout).ok()?;
        status["groups"].get_mut(group).map(Value::take)
    }

    /// Returns the name of a server.
    pub fn server(&self, group: u32, ordinal: u32) -> String {
        format!("{}-g{group}-{ordinal}", self.name)
    }

    /// Runs `skv` within the cluster, in a server's pod.
    pub async fn skv(&self, arguments: &[&str]) -> Output {
        let pod = eventually("a server is ready to run a command", || async {
            let pods = self.namespace.ready_pods_now(&self.servers_label()).await?;
            pods.into_iter().find_map(|pod| pod.metadata.name)
        })
        .await;
        let manager = format!("--manager={}", self.manager_address());
        let command: Vec<&str> = ["skv", &manager].iter().chain(arguments).copied().collect();
        self.namespace.exec(&pod, &command).await
    }

    /// Returns the address of the shard manager for pods of the namespace.
    pub fn manager_address(&self) -> String {
        format!("{}-manager:7400", self.name)
    }

    /// Returns the label of all its servers.
    pub fn servers_label(&self) -> String {
        format!("app.kubernetes.io/instance={},app.kubernetes.io/component=server", self.name)
    }

    /// Returns the label of its shard managers.
    pub fn managers_label(&self) -> String {
        format!("app.kubernetes.io/instance={},app.kubernetes.io/component=shard-manager", self.name)
    }

    /// Returns the number of pods of a group that aren't ready now.
    pub async fn not_ready(&self, group: u32) -> usize {
        self.pods(group).await.values().filter(|pod| !is_ready(pod)).count()
    }
}

impl Clerks for Store {
    /// Makes a clerk outside of the cluster.
    fn clerk(&self) -> Clerk {
        let mut options = Options::manager([self.manager_address()]);
        options.connector = Some(tunnel::into(&self.namespace));
        Clerk::connect(options).expect("the options are right")
    }

    fn think_time(&self) -> Duration {
        THINK
    }
}

/// Returns status and reason of a condition.
pub fn condition<'a>(resource: &'a Value, type_: &str) -> Option<(&'a str, &'a str)> {
    let conditions = resource["status"]["conditions"].as_array()?;
    let found = conditions.iter().find(|condition| condition["type"] == type_)?;
    Some((found["status"].as_str()?, found["reason"].as_str()?))
}
