//! The shard manager's pods. Any of them serves; their record is in the API server.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec};
use k8s_openapi::api::core::v1::{Container, PodSpec, PodTemplateSpec};

use super::Input;
use super::pod::{CommandLine, container, pod_metadata, pod_spec};
use crate::names::{Component, selector};

pub(super) fn manager_deployment(input: &Input) -> Deployment {
    let (names, spec) = (&input.names, &input.spec);
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
    let (names, spec) = (&input.names, &input.spec);
    let mut line = CommandLine::default();
    line.option("--kubernetes", format_args!("{}/{}", names.namespace, names.resource));
    line.listen("--listen", spec.ports.manager);
    line.listen("--http-listen", spec.ports.http);
    line.option("--log-format", spec.server.log_format.name());
    line.option("--groups", spec.groups);
    line.option("--replicas", spec.replicas);
    line.option("--shards", spec.shards);
    line.option("--hash", spec.hash);
    line.option("--max-key-bytes", spec.limits.max_key_bytes);
    line.option("--max-value-bytes", spec.limits.max_value_bytes);
    line.option("--max-sessions-per-shard", spec.limits.max_sessions_per_shard);
    line.option("--session-ttl-ms", spec.limits.session_ttl_seconds * 1000);
    line
}
