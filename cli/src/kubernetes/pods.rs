//! The pods of a store, and what they tell of themselves.

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use skv_resource::PodTemplate;

use crate::process::Process;

/// The names of the ports of servers and shard managers.
pub(super) const CLIENT_PORT: &str = PodTemplate::CLIENT_PORT;
pub(super) const MANAGER_PORT: &str = PodTemplate::MANAGER_PORT;
const HTTP_PORT: &str = PodTemplate::HTTP_PORT;
const GROUP_LABEL: &str = PodTemplate::GROUP_LABEL;
/// The word that means the shard managers where a group can be named.
const MANAGERS: &str = "manager";

/// Returns the pods of a store, sorted by name.
pub(super) async fn of_store(pods: &Api<Pod>, store: &str) -> anyhow::Result<Vec<Pod>> {
    let labels = format!("app.kubernetes.io/name=shardedkv,app.kubernetes.io/instance={store}");
    let found = pods.list(&ListParams::default().labels(&labels)).await;
    let mut found = found.with_context(|| format!("can't list the pods of {store}"))?.items;
    found.sort_by(|one, other| one.metadata.name.cmp(&other.metadata.name));
    Ok(found)
}

/// Returns the number of a named port.
pub(super) fn port(pod: &Pod, name: &str) -> Option<u16> {
    let containers = &pod.spec.as_ref()?.containers;
    let mut ports = containers.iter().flat_map(|container| container.ports.iter().flatten());
    let port = ports.find(|port| port.name.as_deref() == Some(name))?;
    u16::try_from(port.container_port).ok()
}

/// Returns the address of a named port, for the tunnel.
pub(super) fn address(pod: &Pod, port_name: &str) -> Option<String> {
    Some(format!("{}:{}", pod.metadata.name.as_ref()?, port(pod, port_name)?))
}

/// Returns true for a pod of the shard manager.
pub(super) fn is_manager(pod: &Pod) -> bool {
    port(pod, MANAGER_PORT).is_some()
}

pub(super) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let mut conditions = conditions.into_iter().flatten();
    pod.metadata.deletion_timestamp.is_none()
        && conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Returns true for a pod of this group, of the shard managers, or of this name.
pub(super) fn is_of(pod: &Pod, process: &str) -> bool {
    let labels = pod.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(GROUP_LABEL)).is_some_and(|group| group == process)
        || (process == MANAGERS && is_manager(pod))
        || pod.metadata.name.as_deref() == Some(process)
}

pub(super) fn process(pod: &Pod) -> Option<Process> {
    Some(Process {
        name: pod.metadata.name.clone()?,
        http_address: address(pod, HTTP_PORT)?,
        is_manager: is_manager(pod),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, group: Option<&str>, ports: &[(&str, u16)], ready: &str) -> Pod {
        let ports: Vec<_> =
            ports.iter().map(|(name, port)| json!({ "name": name, "containerPort": port })).collect();
        let labels = group.map_or(json!({}), |group| json!({ GROUP_LABEL: group }));
        serde_json::from_value(json!({
            "metadata": { "name": name, "labels": labels },
            "spec": { "containers": [{ "name": "kvserver", "ports": ports }] },
            "status": { "conditions": [{ "type": "Ready", "status": ready }] },
        }))
        .unwrap()
    }

    #[test]
    fn pods_are_named_by_group_as_managers_or_by_their_names() {
        let server = pod("kv-g1-0", Some("g1"), &[("client", 7000), ("http", 7002)], "True");
        let manager = pod("kv-manager-5d7", None, &[("manager", 7400), ("http", 7002)], "False");
        let named = |process| [is_of(&server, process), is_of(&manager, process)];
        assert_eq!(named("g1"), [true, false]);
        assert_eq!(named("g10"), [false, false]);
        assert_eq!(named("manager"), [false, true]);
        assert_eq!(named("kv-g1-0"), [true, false]);
        assert_eq!([is_ready(&server), is_ready(&manager)], [true, false]);
        assert_eq!(address(&server, CLIENT_PORT).as_deref(), Some("kv-g1-0:7000"));
        assert_eq!(address(&manager, CLIENT_PORT), None);
        let process = process(&manager).unwrap();
        assert_eq!((process.http_address.as_str(), process.is_manager), ("kv-manager-5d7:7002", true));
    }
}
