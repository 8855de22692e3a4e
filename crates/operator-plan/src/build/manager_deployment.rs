//! The shard manager's pods. Each of them serves; their record is in the API server.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec};
use k8s_openapi::api::core::v1::{Container, PodSpec, PodTemplateSpec};
use skv_resource::{CommandLine, NodePorts};

use super::input::Input;
use super::pod::{container, listen, pod_metadata, pod_spec};
use crate::names::{Component, selector};

pub(super) fn manager_deployment(input: &Input) -> Deployment {
    let (names, spec) = (&input.resolved.names, &input.resolved.spec);
    let labels = names.pod_labels(Component::ShardManager);
    let ports = [("manager", spec.ports.manager), ("http", spec.ports.http)];
    let container = Container {
        resources: spec.shard_manager.resources.clone(),
        ..container(spec, "shardmanager", arguments(input), &ports)
    };
    let pod = PodSpec {
        automount_service_account_token: Some(true),
        ..pod_spec(spec, names.shard_manager(), container, &labels)
    };
    Deployment {
        metadata: input.owned(names.shard_manager(), labels.clone()),
        spec: Some(DeploymentSpec {
            replicas: Some(spec.shard_manager.replicas.cast_signed()),
            selector: selector(labels.clone()),
            template: PodTemplateSpec {
                metadata: Some(pod_metadata(spec, labels, BTreeMap::new())),
                spec: Some(pod),
            },
            ..DeploymentSpec::default()
        }),
        status: None,
    }
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
