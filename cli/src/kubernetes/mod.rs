//! A store in Kubernetes, found by the name of its resource and reached through the API server.
//!
//! - `pods`: which pods it has, and what they tell; `tunnel`: connections to them
//! - `logs`: what they wrote; `objects`: what the API server knows of the store

mod logs;
mod objects;
mod pods;
mod tunnel;

use std::fmt;

use anyhow::{Context as _, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::Value;
use skv_net::Connector;
use skv_resource::{Ports, ShardedKv};

use crate::cluster::Options;
use crate::process::Process;

/// A store of a namespace.
pub(crate) struct Store {
    name: String,
    namespace: String,
    client: Client,
    pods: Api<Pod>,
    manager: String,
    servers: Vec<String>,
    connector: Connector,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("name", &self.name)
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Finds the store of this name, or the only one of the namespace.
    pub(crate) async fn find(options: &Options, name: Option<&str>) -> anyhow::Result<Store> {
        let config = config(options).await?;
        let namespace = options.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config).context("the kubeconfig can't be used")?;
        let resources: Api<ShardedKv> = Api::namespaced(client.clone(), &namespace);
        let found = resources.list_metadata(&ListParams::default()).await;
        let found = found.with_context(|| format!("can't list the stores of namespace {namespace}"))?;
        let names: Vec<String> =
            found.items.into_iter().filter_map(|resource| resource.metadata.name).collect();
        let name = choose(&names, name, &namespace)?;
        let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
        let all = pods::of_store(&pods, &name).await?;
        let manager_port = all.iter().find_map(|pod| pods::port(pod, pods::MANAGER_PORT));
        let manager = tunnel::manager_name(&name);
        let servers = all.iter().filter_map(|pod| pods::address(pod, pods::CLIENT_PORT));
        Ok(Store {
            manager: format!("{manager}:{}", manager_port.unwrap_or(Ports::default().manager)),
            servers: servers.collect(),
            connector: tunnel::into(pods.clone(), name.clone()),
            name,
            namespace,
            client,
            pods,
        })
    }

    /// Returns its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the address of its shard manager, for its connector.
    pub(crate) fn manager(&self) -> &str {
        &self.manager
    }

    /// Returns the addresses of its servers for users, for its connector.
    pub(crate) fn servers(&self) -> &[String] {
        &self.servers
    }

    /// Returns what opens connections to its processes, by the names that they have within the cluster.
    pub(crate) fn connector(&self) -> &Connector {
        &self.connector
    }

    /// Returns its processes.
    pub(crate) async fn processes(&self) -> anyhow::Result<Vec<Process>> {
        let pods = pods::of_store(&self.pods, &self.name).await?;
        Ok(pods.iter().filter_map(pods::process).collect())
    }

    /// Prints the last lines of the logs of a group (`g0`), of the shard managers (`manager`), of a pod, or of
    /// all; and those that come until this is dropped, if they are to be followed. `print` gets each text with
    /// the name of its pod, and whether it is the only one.
    pub(crate) async fn show_logs(
        &self,
        process: Option<&str>,
        lines: usize,
        follow: bool,
        print: impl FnMut(bool, String, &[u8]) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let logs = logs::Logs { pods: &self.pods, store: &self.name, process, lines };
        if follow { logs.follow(print).await } else { logs.show(print).await }
    }

    /// Returns the version of the API server.
    pub(crate) async fn kubernetes_version(&self) -> anyhow::Result<String> {
        let version = self.client.apiserver_version().await;
        Ok(version.context("can't ask for the version of Kubernetes")?.git_version)
    }

    /// Returns the objects of the store as the API server has them, by their kinds.
    pub(crate) async fn objects(&self) -> Vec<(&'static str, anyhow::Result<Value>)> {
        objects::of_store(&self.client, &self.namespace, &self.name).await
    }
}

async fn config(options: &Options) -> anyhow::Result<Config> {
    let chosen = KubeConfigOptions { context: options.context.clone(), ..KubeConfigOptions::default() };
    let config = match &options.kubeconfig {
        Some(file) => {
            let kubeconfig = Kubeconfig::read_from(file);
            let kubeconfig = kubeconfig.with_context(|| format!("can't read {}", file.display()))?;
            Config::from_custom_kubeconfig(kubeconfig, &chosen).await.map_err(anyhow::Error::from)
        }
        None if options.context.is_some() => {
            Config::from_kubeconfig(&chosen).await.map_err(anyhow::Error::from)
        }
        // Within a pod there is no kubeconfig.
        None => Config::infer().await.map_err(anyhow::Error::from),
    };
    config.context("no Kubernetes cluster is known: name one with --kubeconfig or --context")
}

/// Returns the name of the store that is meant.
fn choose(names: &[String], wanted: Option<&str>, namespace: &str) -> anyhow::Result<String> {
    match (wanted, names) {
        (Some(wanted), _) if names.iter().any(|name| name == wanted) => Ok(wanted.to_owned()),
        (None, [only]) => Ok(only.clone()),
        (None, []) => bail!("namespace {namespace} has no store: name another one with --namespace"),
        (Some(wanted), []) => {
            bail!("namespace {namespace} has no store {wanted}: name another one with --namespace")
        }
        (Some(wanted), names) => {
            bail!("namespace {namespace} has no store {wanted}: it has {}", names.join(", "))
        }
        (None, names) => {
            bail!("namespace {namespace} has several stores: name one with --store ({})", names.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_store_of_a_namespace_needs_no_name() {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let chosen =
            |all: &[&str], wanted| choose(&names(all), wanted, "prod").map_err(|error| error.to_string());
        assert_eq!(chosen(&["kv"], None), Ok("kv".to_owned()));
        assert_eq!(chosen(&["kv", "other"], Some("other")), Ok("other".to_owned()));
        let error = chosen(&["kv", "other"], None).unwrap_err();
        assert!(error.contains("--store (kv, other)"), "{error}");
        let error = chosen(&["kv"], Some("vk")).unwrap_err();
        assert!(error.contains("prod has no store vk: it has kv"), "{error}");
        let error = chosen(&[], None).unwrap_err();
        assert!(error.contains("prod has no store: name another one with --namespace"), "{error}");
    }
}
