//! A namespace for one test.

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::time::Duration;

use futures::FutureExt as _;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Resource};
use serde_json::json;
use tokio::time::Instant;

use crate::{Cluster, diagnosis, eventually_within};

/// The time after which a namespace never goes. One with hundreds of stores takes minutes where others work beside it.
const GONE: Duration = Duration::from_mins(10);

/// A namespace whose pods must keep to the restricted Pod Security level.
#[derive(Clone)]
pub struct Namespace {
    /// The cluster that has it.
    pub cluster: Cluster,
    /// Its name.
    pub name: String,
}

/// Runs a test in a new namespace, and prints its duration. If it fails, the logs of its pods are
/// printed; then the namespace is deleted, and nothing in it may hold that up.
pub async fn in_namespace<F: Future<Output = ()>>(test: &str, run: impl FnOnce(Namespace) -> F) {
    let namespace = Namespace::create(test).await;
    let began = Instant::now();
    let outcome = AssertUnwindSafe(run(namespace.clone())).catch_unwind().await;
    // `eprintln!` doesn't work here: the test harness captures it.
    let printed = writeln!(std::io::stderr(), "\n{test}: {} s", began.elapsed().as_secs());
    if outcome.is_err() {
        diagnosis::print(&namespace.cluster.client, &namespace.name).await;
    }
    let namespaces: Api<v1::Namespace> = Api::all(namespace.cluster.client.clone());
    let deleted = namespaces.delete(&namespace.name, &DeleteParams::default()).await;
    // Nobody waits for these pods to hand over and drain. A failure only costs time.
    let soon = DeleteParams { grace_period_seconds: Some(1), ..DeleteParams::default() };
    let _ = namespace.api::<v1::Pod>().delete_collection(&soon, &ListParams::default()).await;
    if let Err(panic) = outcome {
        resume_unwind(panic);
    }
    deleted.expect("a namespace can be deleted");
    printed.expect("the time can be printed");
    eventually_within(GONE, &format!("namespace {} is gone", namespace.name), || async {
        namespaces.get_opt(&namespace.name).await.is_ok_and(|found| found.is_none()).then_some(())
    })
    .await;
}

impl Namespace {
    async fn create(test: &str) -> Namespace {
        let cluster = Cluster::connect().await;
        let name = format!("{test}-{:06x}", rand::random::<u32>() & 0xff_ffff);
        let namespace = json!({"metadata": {
            "name": name,
            "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
        }});
        let namespace = serde_json::from_value(namespace).expect("a namespace");
        let namespaces: Api<v1::Namespace> = Api::all(cluster.client.clone());
        namespaces.create(&PostParams::default(), &namespace).await.expect("a namespace can be made");
        Namespace { cluster, name }
    }

    /// Returns the API of its objects of one kind.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.cluster.client.clone(), &self.name)
    }
}
