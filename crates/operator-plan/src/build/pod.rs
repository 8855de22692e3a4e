//! The parts that pods of servers and of the shard manager have in common.

use std::collections::BTreeMap;

use k8s_openapi::DeepMerge as _;
use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, HTTPGetAction, PodSecurityContext, PodSpec, Probe,
    SeccompProfile, SecurityContext, ServicePort, TopologySpreadConstraint,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use skv_resource::{CommandLine, PodTemplate, ShardedKvSpec};

use super::input::{Input, Users};
use crate::names::{HTTP_PORT, Labels, selector};

/// The user and group of the image's processes.
const USER: i64 = 65532;

/// The policy by which a Service has an address of each family that the cluster has.
pub(super) const DUAL_STACK: &str = "PreferDualStack";

/// Adds the flag by which a program listens on a port of its pod, at all addresses of both families.
pub(super) fn listen(line: &mut CommandLine, name: &str, port: u16) {
    line.option(name, format_args!("[::]:{port}"));
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
        image: spec.image.name.clone(),
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
pub(super) fn pod_spec(input: &Input, account: String, container: Container, spread: Spread<'_>) -> PodSpec {
    let spec = &input.resolved.spec;
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
        topology_spread_constraints: Some(spread.constraints(spec)),
        priority_class_name: scheduling.priority_class_name.clone(),
        security_context: Some(security_context(input)),
        ..PodSpec::default()
    }
}

/// Merges the resource's additions into a pod of one of our programs.
pub(super) fn with_additions(mut pod: PodSpec, spec: &ShardedKvSpec) -> Result<PodSpec, serde_json::Error> {
    let Some(template) = &spec.pod_template else { return Ok(pod) };
    let mut additions = template.pod_spec()?;
    // An entry for our other program is no sidecar.
    let is_ours = |name: &str| [PodTemplate::SERVER, PodTemplate::SHARD_MANAGER].contains(&name);
    let is_here = |name: &str| pod.containers.iter().any(|container| container.name == name);
    additions.containers.retain(|container| is_here(&container.name) || !is_ours(&container.name));
    pod.merge_from(additions);
    Ok(pod)
}

/// Builds what a pod may do. Kubernetes gives volumes to the group of our user; where the platform assigns
/// users, it does so with their groups.
fn security_context(input: &Input) -> PodSecurityContext {
    let mut context = PodSecurityContext {
        // Volumes may hold many files; they have the right owner from the first time on.
        fs_group_change_policy: Some("OnRootMismatch".to_owned()),
        seccomp_profile: Some(SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }),
        ..PodSecurityContext::default()
    };
    match (&input.resolved.spec.pod_security_context, input.users) {
        (Some(chosen), _) => context.merge_from(chosen.clone()),
        (None, Users::OfTheImage) => {
            (context.run_as_user, context.run_as_group) = (Some(USER), Some(USER));
            context.fs_group = Some(USER);
        }
        (None, Users::OfThePlatform) => {}
    }
    context.run_as_non_root = Some(true);
    context
}

/// The pods that are spread evenly.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spread<'a> {
    /// The labels of the pods.
    pub(super) labels: &'a Labels,
    /// Labels whose values differ between pods that don't count for each other, such as those of two
    /// revisions.
    pub(super) apart: &'a [&'a str],
}

impl Spread<'_> {
    /// Spreads over the nodes, and over zones as far as there are any with room. It doesn't use
    /// anti-affinity: where there are fewer nodes than pods, all still run.
    fn constraints(self, spec: &ShardedKvSpec) -> Vec<TopologySpreadConstraint> {
        let Some(chosen) = &spec.scheduling.topology_spread_constraints else {
            return vec![
                self.even("kubernetes.io/hostname", "DoNotSchedule"),
                self.even("topology.kubernetes.io/zone", "ScheduleAnyway"),
            ];
        };
        let ours = || Some(selector(self.labels.clone()));
        let with_selector = |constraint: &TopologySpreadConstraint| TopologySpreadConstraint {
            label_selector: constraint.label_selector.clone().or_else(ours),
            ..constraint.clone()
        };
        chosen.iter().map(with_selector).collect()
    }

    fn even(self, topology: &str, otherwise: &str) -> TopologySpreadConstraint {
        let apart: Vec<String> = self.apart.iter().map(|&label| label.to_owned()).collect();
        TopologySpreadConstraint {
            max_skew: 1,
            topology_key: topology.to_owned(),
            when_unsatisfiable: otherwise.to_owned(),
            node_taints_policy: Some("Honor".to_owned()),
            label_selector: Some(selector(self.labels.clone())),
            match_label_keys: (!apart.is_empty()).then_some(apart),
            ..TopologySpreadConstraint::default()
        }
    }
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
            port: IntOrString::String(HTTP_PORT.to_owned()),
            ..HTTPGetAction::default()
        }),
        timeout_seconds: Some(3),
        ..Probe::default()
    }
}
