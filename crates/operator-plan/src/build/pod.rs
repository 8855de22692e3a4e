//! The parts that pods of servers and of the shard manager have in common.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, HTTPGetAction, PodSecurityContext, PodSpec, Probe,
    SeccompProfile, SecurityContext, ServicePort, TopologySpreadConstraint,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use skv_resource::{CommandLine, ShardedKvSpec};

use crate::names::{Labels, selector};

/// The user and group of the image's processes.
const USER: i64 = 65532;

/// Adds the flag by which a program listens on a port of its pod.
pub(super) fn listen(line: &mut CommandLine, name: &str, port: u16) {
    line.option(name, format_args!("0.0.0.0:{port}"));
}

/// Builds a container of the image. It has a port `http`, by which its health is probed.
pub(super) fn container(
    spec: &ShardedKvSpec,
    program: &str,
    line: CommandLine,
    ports: &[(&str, u16)],
) -> Container {
    Container {
        name: program.to_owned(),
        image: Some(spec.image.name.clone()),
        image_pull_policy: Some(spec.image.pull_policy.name().to_owned()),
        command: Some(vec![program.to_owned()]),
        args: Some(line.into_arguments()),
        ports: Some(ports.iter().map(|&(name, number)| container_port(name, number)).collect()),
        readiness_probe: Some(Probe {
            period_seconds: Some(2),
            failure_threshold: Some(2),
            ..probe("/readyz")
        }),
        // A process that answers nothing for a minute won't recover by itself.
        liveness_probe: Some(Probe {
            period_seconds: Some(10),
            failure_threshold: Some(6),
            ..probe("/livez")
        }),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
            ..SecurityContext::default()
        }),
        ..Container::default()
    }
}

/// Builds a pod of one container, placed as the resource says.
pub(super) fn pod_spec(
    spec: &ShardedKvSpec,
    account: String,
    container: Container,
    labels: &Labels,
) -> PodSpec {
    let scheduling = &spec.scheduling;
    let secrets = &spec.image.pull_secrets;
    PodSpec {
        service_account_name: Some(account),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        image_pull_secrets: (!secrets.is_empty()).then(|| secrets.clone()),
        containers: vec![container],
        node_selector: (!scheduling.node_selector.is_empty()).then(|| scheduling.node_selector.clone()),
        tolerations: (!scheduling.tolerations.is_empty()).then(|| scheduling.tolerations.clone()),
        affinity: scheduling.affinity.clone(),
        topology_spread_constraints: Some(spread(spec, labels)),
        priority_class_name: scheduling.priority_class_name.clone(),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(USER),
            run_as_group: Some(USER),
            fs_group: Some(USER),
            // Volumes may hold many files; they have the right owner from the first time on.
            fs_group_change_policy: Some("OnRootMismatch".to_owned()),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                localhost_profile: None,
            }),
            ..PodSecurityContext::default()
        }),
        ..PodSpec::default()
    }
}

/// Spreads pods evenly over the nodes. It doesn't use anti-affinity: where there are fewer nodes than
/// pods, all still run.
fn spread(spec: &ShardedKvSpec, labels: &Labels) -> Vec<TopologySpreadConstraint> {
    let Some(chosen) = &spec.scheduling.topology_spread_constraints else {
        return vec![TopologySpreadConstraint {
            max_skew: 1,
            topology_key: "kubernetes.io/hostname".to_owned(),
            when_unsatisfiable: "DoNotSchedule".to_owned(),
            node_taints_policy: Some("Honor".to_owned()),
            label_selector: Some(selector(labels.clone())),
            ..TopologySpreadConstraint::default()
        }];
    };
    let with_selector = |constraint: &TopologySpreadConstraint| TopologySpreadConstraint {
        label_selector: constraint.label_selector.clone().or_else(|| Some(selector(labels.clone()))),
        ..constraint.clone()
    };
    chosen.iter().map(with_selector).collect()
}

/// Builds the metadata of pods: the resource's additions and our own.
pub(super) fn pod_metadata(
    spec: &ShardedKvSpec,
    labels: Labels,
    annotations: BTreeMap<String, String>,
) -> ObjectMeta {
    let mut all_labels = spec.pod_metadata.labels.clone();
    all_labels.extend(labels);
    let mut all_annotations = spec.pod_metadata.annotations.clone();
    all_annotations.extend(annotations);
    ObjectMeta {
        labels: Some(all_labels),
        annotations: (!all_annotations.is_empty()).then_some(all_annotations),
        ..ObjectMeta::default()
    }
}

/// Builds a port of a Service that leads to the container's port of the same name.
pub(super) fn service_port(name: &str, number: u16) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: number.into(),
        target_port: Some(IntOrString::String(name.to_owned())),
        protocol: Some("TCP".to_owned()),
        ..ServicePort::default()
    }
}

fn container_port(name: &str, number: u16) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: number.into(),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

fn probe(path: &str) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String("http".to_owned()),
            ..HTTPGetAction::default()
        }),
        timeout_seconds: Some(3),
        ..Probe::default()
    }
}
