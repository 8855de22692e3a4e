//! The servers of one group.

use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec, StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{
    Container, EnvVar, EnvVarSource, ObjectFieldSelector, PersistentVolumeClaim, PersistentVolumeClaimSpec,
    PodSpec, PodTemplateSpec, VolumeMount, VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use skv_resource::CommandLine;
use skv_sharding::GroupId;

use super::Input;
use super::pod::{container, listen, pod_metadata, pod_spec};
use crate::names::{
    Component, DATA, PEER_PORT, RESTART_HASH_ANNOTATION, RETIRED_ANNOTATION, labels, selector,
};

/// Where the volume of a server is mounted.
const DATA_DIR: &str = "/data";

/// A leader hands over and connections drain in this time.
const GRACE_SECONDS: i64 = 60;

/// All pods start at once, since they need each other, and none is replaced by Kubernetes:
/// which one may go, and when, only the state of the group says.
pub(super) fn statefulset(input: &Input, group: GroupId, restart_hash: &str) -> StatefulSet {
    let (names, spec) = (&input.names, &input.spec);
    let labels_of_pods = names.pod_labels(Component::Group(group));
    let ports = [("client", spec.ports.client), (PEER_PORT, spec.ports.peer), ("http", spec.ports.http)];
    let in_memory = spec.storage.memory_only;
    let mount =
        VolumeMount { name: DATA.to_owned(), mount_path: DATA_DIR.to_owned(), ..VolumeMount::default() };
    let container = Container {
        env: Some(vec![
            field("SKV_SERVER", "metadata.name"),
            // Tells the runs of a pod's name apart: a successor with an empty disk isn't its predecessor.
            field("SKV_INSTANCE", "metadata.uid"),
        ]),
        resources: spec.server.resources.clone(),
        volume_mounts: (!in_memory).then(|| vec![mount]),
        ..container(spec, "kvserver", arguments(input, group), &ports)
    };
    let pod = PodSpec {
        termination_grace_period_seconds: Some(GRACE_SECONDS),
        ..pod_spec(spec, names.servers(), container, &labels_of_pods)
    };
    let annotations = labels([(RESTART_HASH_ANNOTATION, restart_hash)]);
    // Written with the number of pods, since nobody can say it any more when they are gone.
    let mark = input.is_retired(group).then(|| labels([(RETIRED_ANNOTATION, "true")]));
    StatefulSet {
        metadata: ObjectMeta { annotations: mark, ..input.owned(names.group(group), labels_of_pods.clone()) },
        spec: Some(StatefulSetSpec {
            replicas: Some(input.replicas(group).cast_signed()),
            service_name: Some(names.group(group)),
            pod_management_policy: Some("Parallel".to_owned()),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("OnDelete".to_owned()),
                rolling_update: None,
            }),
            selector: selector(labels_of_pods.clone()),
            template: PodTemplateSpec {
                metadata: Some(pod_metadata(spec, labels_of_pods, annotations)),
                spec: Some(pod),
            },
            volume_claim_templates: (!in_memory).then(|| vec![claim(input, group)]),
            persistent_volume_claim_retention_policy: (!in_memory).then(|| {
                StatefulSetPersistentVolumeClaimRetentionPolicy {
                    when_deleted: Some(input.when_deleted(group).name().to_owned()),
                    when_scaled: Some(spec.storage.when_scaled.name().to_owned()),
                }
            }),
            ..StatefulSetSpec::default()
        }),
        status: None,
    }
}

fn arguments(input: &Input, group: GroupId) -> CommandLine {
    let (spec, ports) = (&input.spec, &input.spec.ports);
    let domain = input.names.domain(&input.names.group(group), &input.cluster_domain);
    let mut line = CommandLine::default();
    line.option("--group", group);
    line.data(&spec.storage, DATA_DIR);
    listen(&mut line, "--client-listen", ports.client);
    listen(&mut line, "--peer-listen", ports.peer);
    listen(&mut line, "--http-listen", ports.http);
    line.option("--client-advertise", format_args!("$(SKV_SERVER).{domain}:{}", ports.client));
    line.option("--peer-advertise", format_args!("$(SKV_SERVER).{domain}:{}", ports.peer));
    line.option("--shard-manager", input.manager_address());
    line.option("--peers-srv", domain);
    if let Some(threads) = spec.server.worker_threads {
        line.option("--worker-threads", threads);
    }
    line.server(spec);
    line
}

fn claim(input: &Input, group: GroupId) -> PersistentVolumeClaim {
    let size = Quantity(input.storage_size(group));
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(DATA.to_owned()),
            labels: Some(input.names.pod_labels(Component::Group(group))),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: input.spec.storage.class_name.clone(),
            resources: Some(VolumeResourceRequirements {
                requests: Some([("storage".to_owned(), size)].into()),
                limits: None,
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}

fn field(variable: &str, path: &str) -> EnvVar {
    EnvVar {
        name: variable.to_owned(),
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector { field_path: path.to_owned(), api_version: None }),
            ..EnvVarSource::default()
        }),
        value: None,
    }
}
