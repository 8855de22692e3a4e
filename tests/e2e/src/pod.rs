//! Pods: waited for, deleted, and made to run commands.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{AttachParams, DeleteParams, ListParams, LogParams, PostParams};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::{Namespace, eventually};

/// The result of a command in a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// True if it ended with status 0.
    pub succeeded: bool,
    /// Its standard output, without the last line end.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Namespace {
    /// Waits until this many pods with a label are ready, and returns them.
    pub async fn ready_pods(&self, label: &str, count: usize) -> Vec<Pod> {
        let list = ListParams::default().labels(label);
        eventually(&format!("{count} pods with {label} are ready in {}", self.name), || async {
            let pods = self.api::<Pod>().list(&list).await.ok()?.items;
            (pods.len() == count && pods.iter().all(is_ready)).then_some(pods)
        })
        .await
    }

    /// Returns the pods with a label that are ready at this moment; `None` if they can't be listed.
    pub async fn ready_pods_now(&self, label: &str) -> Option<Vec<Pod>> {
        let list = self.api::<Pod>().list(&ListParams::default().labels(label)).await.ok()?;
        Some(list.items.into_iter().filter(is_ready).collect())
    }

    /// Deletes a pod of a set, and waits until its successor is ready.
    pub async fn replace_pod(&self, name: &str) {
        let pods = self.api::<Pod>();
        let old = pods.get(name).await.unwrap_or_else(|error| panic!("there is no pod {name}: {error}"));
        pods.delete(name, &DeleteParams::default()).await.expect("a pod can be deleted");
        eventually(&format!("pod {name} has a successor that is ready"), || async {
            let pod = pods.get(name).await.ok()?;
            (pod.metadata.uid != old.metadata.uid && is_ready(&pod)).then_some(())
        })
        .await;
    }

    /// Runs a command of the image in a pod of its own.
    pub async fn run(&self, name: &str, command: &[&str]) -> Output {
        let pod = json!({
            "metadata": {"name": name},
            "spec": {
                "restartPolicy": "Never",
                "automountServiceAccountToken": false,
                "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
                "containers": [{
                    "name": "command",
                    "image": self.cluster.image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": command,
                    "securityContext": {
                        "allowPrivilegeEscalation": false,
                        "readOnlyRootFilesystem": true,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }],
            },
        });
        let pods = self.api::<Pod>();
        let pod = serde_json::from_value(pod).expect("a pod");
        pods.create(&PostParams::default(), &pod).await.expect("a pod can be made");
        let succeeded = eventually(&format!("pod {name} has run its command"), || async {
            match pods.get(name).await.ok()?.status?.phase?.as_str() {
                "Succeeded" => Some(true),
                "Failed" => Some(false),
                _ => None,
            }
        })
        .await;
        // Kubernetes doesn't separate the two streams.
        let log = pods.logs(name, &LogParams::default()).await.expect("an ended pod has a log");
        pods.delete(name, &DeleteParams::default()).await.expect("a pod can be deleted");
        Output { succeeded, stdout: log.trim_end_matches('\n').to_owned(), stderr: String::new() }
    }

    /// Runs a command in a pod that is there.
    pub async fn exec(&self, pod: &str, command: &[&str]) -> Output {
        let attach = AttachParams::default().stdin(false).stdout(true).stderr(true);
        let mut process = self
            .api::<Pod>()
            .exec(pod, command.to_vec(), &attach)
            .await
            .unwrap_or_else(|error| panic!("{command:?} can't be run in {pod}: {error}"));
        let (out, err) = (process.stdout(), process.stderr());
        let status = process.take_status();
        let (stdout, stderr) = tokio::join!(read(out), read(err));
        let status = match status {
            Some(status) => status.await.and_then(|status| status.status),
            None => None,
        };
        Output { succeeded: status.as_deref() == Some("Success"), stdout, stderr }
    }
}

/// Returns true if a pod is ready, and isn't on its way out.
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let ready = |condition: &k8s_openapi::api::core::v1::PodCondition| {
        condition.type_ == "Ready" && condition.status == "True"
    };
    pod.metadata.deletion_timestamp.is_none() && { conditions }.any(ready)
}

async fn read(stream: Option<impl AsyncRead + Unpin>) -> String {
    let mut text = String::new();
    if let Some(mut stream) = stream {
        stream.read_to_string(&mut text).await.expect("a command prints text");
    }
    text.trim_end_matches('\n').to_owned()
}
