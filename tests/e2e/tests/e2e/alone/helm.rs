//! The charts, used by helm as a person uses them.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::ListParams;
use skv_e2e::{Namespace, Output, eventually, in_namespace, in_project, remove_operator};

const SERVERS: &str = "app.kubernetes.io/component=server";
/// The kinds of objects that belong to no namespace.
const RIGHTS: &str = "clusterroles,clusterrolebindings";
const DEFINITIONS: [&str; 2] = ["shardedkvs.shardedkv.io", "shardmaps.shardedkv.io"];

#[tokio::test]
#[ignore = "needs a cluster: cargo xtask e2e"]
async fn a_release_is_installed_changed_rolled_back_and_removed_and_its_data_survives() {
    in_namespace("helm", |namespace| async move {
        // Two operators that act in the same namespace would each let in only themselves.
        remove_operator(&namespace.cluster).await;
        let release = Release { namespace };
        release.install().await;
        let samples = in_project("deploy/samples");
        let accepted = release.namespace.kubectl(&["apply", "--dry-run=server", "-f", &samples]).await;
        assert!(accepted.succeeded, "{accepted:?}");

        let tested = release.helm(&["test", &release.name(), "--timeout=5m"]).await;
        assert_eq!(tested.matches("Phase:          Succeeded").count(), 2, "{tested}");
        let put = release.skv(&["put", "greeting", "hello"]).await;
        assert!(put.succeeded, "{put:?}");
        assert_eq!(release.operator().await, (2, "text".to_owned()));
        assert_eq!(release.shard_managers().await, 2);

        let changes = [
            "--set=replicas=1,logFormat=json,deletionProtection.enabled=true",
            "--set=sample.spec.shardManager.replicas=1",
        ];
        release.upgrade(&changes).await;
        assert_eq!(release.operator().await, (1, "json".to_owned()));
        release.await_shard_managers(1).await;
        release.assert_protected().await;

        release.helm(&["rollback", &release.name(), "1", "--wait", "--timeout=5m"]).await;
        assert_eq!(release.operator().await, (2, "text".to_owned()));
        release.await_shard_managers(2).await;
        release.assert_greeting().await;

        release.uninstall().await;
        release.install().await;
        release.assert_greeting().await;
        release.uninstall().await;
    })
    .await;
}

/// Both charts in one namespace, with one small sample. Objects of the whole cluster are named
/// after the namespace.
struct Release {
    namespace: Namespace,
}

/// Removes the rights that belong to no namespace, which a failed test would leave.
impl Drop for Release {
    fn drop(&mut self) {
        let ours = format!("--selector=app.kubernetes.io/instance={}", self.name());
        let deleted = self.namespace.kubectl_command().args(["delete", RIGHTS, &ours]).output();
        if !deleted.is_ok_and(|output| output.status.success()) {
            eprintln!("there may be {RIGHTS} left of {}", self.name());
        }
    }
}

impl Release {
    fn name(&self) -> String {
        format!("skv-operator-{}", self.namespace.name)
    }

    /// Runs helm, which must succeed; returns its output.
    async fn helm(&self, arguments: &[&str]) -> String {
        let Output { succeeded, stdout, stderr } = self.namespace.helm(arguments).await;
        assert!(succeeded, "helm {arguments:?}: {stdout}\n{stderr}");
        stdout
    }

    /// Installs both charts, and waits until the sample serves.
    async fn install(&self) {
        let chart = in_project("charts/shardedkv-crds");
        // Other tests may have brought the definitions before.
        self.helm(&["install", "shardedkv-crds", &chart, "--take-ownership", "--wait"]).await;
        self.upgrade(&["--install"]).await;
        self.namespace.ready_pods(SERVERS, 1).await;
    }

    async fn upgrade(&self, flags: &[&str]) {
        let (name, chart) = (self.name(), in_project("charts/shardedkv"));
        let (repository, tag) = self.namespace.cluster.image.rsplit_once(':').expect("the image has a tag");
        let image = format!("--set=image.repository={repository},image.tag={tag}");
        // The release must not disturb another operator of the cluster.
        let scope = format!("--set=watchNamespaces={{{}}}", self.namespace.name);
        let sample = "--set=sample.enabled=true,sample.spec.groups=1,sample.spec.replicas=1";
        let fixed = ["upgrade", &name, &chart, "--wait", "--timeout=5m", &image, &scope, sample];
        self.helm(&[&fixed, flags].concat()).await;
    }

    /// Uninstalls both. Nothing is left but the definitions, the volumes and the shard map.
    async fn uninstall(&self) {
        self.helm(&["uninstall", &self.name(), "--wait", "--timeout=5m"]).await;
        let pods = self.namespace.api::<Pod>();
        eventually("all pods are gone", || async {
            pods.list(&ListParams::default()).await.ok()?.items.is_empty().then_some(())
        })
        .await;
        let claims = self.namespace.api::<PersistentVolumeClaim>().list(&ListParams::default()).await;
        assert_eq!(claims.expect("claims can be listed").items.len(), 1);
        let ours = format!("--selector=app.kubernetes.io/instance={}", self.name());
        let rights = self.namespace.kubectl(&["get", RIGHTS, &ours, "--output=name"]).await;
        assert_eq!((rights.succeeded, rights.stdout.as_str()), (true, ""), "{rights:?}");

        self.helm(&["uninstall", "shardedkv-crds", "--wait"]).await;
        let definitions: Api<CustomResourceDefinition> = Api::all(self.namespace.cluster.client.clone());
        for name in DEFINITIONS {
            let definition = definitions.get(name).await.expect("the definition is kept");
            assert_eq!(definition.metadata.deletion_timestamp, None, "{name}");
        }
        let maps = self.namespace.kubectl(&["get", "shardmap", "sample", "--output=name"]).await;
        assert_eq!(maps.stdout, "shardmap.shardedkv.io/sample", "{maps:?}");
    }

    /// Returns the number of operators, and the form of their log.
    async fn operator(&self) -> (i32, String) {
        let deployment = self.namespace.api::<Deployment>().get(&self.name()).await;
        let status = deployment.as_ref().ok().and_then(|deployment| deployment.status.clone());
        let spec = deployment.ok().and_then(|deployment| deployment.spec).expect("the operator is there");
        let ready = status.and_then(|status| status.ready_replicas).unwrap_or(0);
        let pod = spec.template.spec.expect("it has pods");
        let arguments = pod.containers.into_iter().flat_map(|container| container.args.unwrap_or_default());
        let form = arguments.filter_map(|argument| argument.strip_prefix("--log-format=").map(str::to_owned));
        (ready, form.collect())
    }

    /// Returns the number of shard managers that the sample is to have.
    async fn shard_managers(&self) -> i32 {
        let deployment = self.namespace.api::<Deployment>().get("sample-manager").await;
        deployment.ok().and_then(|deployment| deployment.spec?.replicas).unwrap_or(0)
    }

    async fn await_shard_managers(&self, count: i32) {
        eventually(&format!("the operator has made {count} shard managers"), || async {
            (self.shard_managers().await == count).then_some(())
        })
        .await;
    }

    async fn skv(&self, command: &[&str]) -> Output {
        self.namespace.exec("sample-g0-0", &[&["skv", "--server=sample:7000"], command].concat()).await
    }

    /// A store with data is deleted only once it says that it may be.
    async fn assert_protected(&self) {
        let delete = || self.namespace.kubectl(&["delete", "shardedkv", "sample", "--dry-run=server"]);
        eventually("the deletion of a store with data is refused", || async {
            let refused = delete().await;
            (!refused.succeeded && refused.stderr.contains("annotate it with")).then_some(())
        })
        .await;
        let annotation = "shardedkv.io/allow-deletion=true";
        let annotated = self.namespace.kubectl(&["annotate", "shardedkv", "sample", annotation]).await;
        assert!(annotated.succeeded, "{annotated:?}");
        let allowed = delete().await;
        assert!(allowed.succeeded, "{allowed:?}");
    }

    async fn assert_greeting(&self) {
        let got = self.skv(&["get", "greeting"]).await;
        assert_eq!((got.stdout.as_str(), got.succeeded), ("hello", true), "{got:?}");
    }
}
