//! The shard manager's pods. Each of them serves; their record is in the API server.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec};
use k8s_openapi::api::core::v1::{Container, PodSpec, PodTemplateSpec};
use skv_resource::{CommandLine, NodePorts, PodTemplate};

use super::input::Input;
use super::pod::{Spread, container, listen, pod_metadata, pod_spec, with_additions};
use crate::names::{Component, HTTP_PORT, MANAGER_PORT, selector};

/// The label by which Kubernetes tells the pods of one revision of a Deployment from those of others.
const REVISION: &str = "pod-template-hash";

pub(super) fn manager_deployment(input: &Input) -> Result<Deployment, serde_json::Error> {
    let (names, spec) = (&input.resolved.names, &input.resolved.spec);
    let labels = names.pod_labels(Component::ShardManager);
    let ports = [(MANAGER_PORT, spec.ports.manager), (HTTP_PORT, spec.ports.http)];
    let container = Container {
        resources: spec.shard_manager.resources.clone(),
        ..container(spec, PodTemplate::SHARD_MANAGER, arguments(input), &ports)
    };
    // During an update the pods that go must not decide where those that come may be.
    let spread = Spread { labels: &labels, apart: &[REVISION] };
    let pod = PodSpec {
        automount_service_account_token: Some(true),
        ..pod_spec(input, names.shard_manager(), container, spread)
    };
    Ok(Deployment {
        metadata: input.owned(names.shard_manager(), labels.clone()),
        spec: Some(DeploymentSpec {
            replicas: Some(spec.shard_manager.replicas.cast_signed()),
            selector: selector(labels.clone()),
            template: PodTemplateSpec {
                metadata: Some(pod_metadata(spec, labels, BTreeMap::new())),
                spec: Some(with_additions(pod, spec)?),
            },
            ..DeploymentSpec::default()
        }),
        status: None,
    })
}

fn arguments(input: &Input) -> CommandLine {
    let (names, spec) = (&input.resolved.names, &input.resolved.spec);
    let mut line = CommandLine::default();
    line.option("--kubernetes", format_args!("{}/{}", names.namespace, names.resource));
    listen(&mut line, "--listen", spec.ports.manager);
    listen(&mut line, "--http-listen", spec.ports.http);
    line.shard_manager(spec);
    if let Some(NodePorts { first }) = spec.node_ports {
        line.option("--first-node-port", first);
    }
    line
}
