//! The servers of one group, or of the ring.

use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec, StatefulSetUpdateStrategy,
};
use k8s_openapi::api::core::v1::{
    Container, EnvVar, EnvVarSource, Lifecycle, LifecycleHandler, ObjectFieldSelector, PersistentVolumeClaim,
    PersistentVolumeClaimSpec, PodSpec, PodTemplateSpec, SleepAction, VolumeMount,
    VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use skv_resource::{CommandLine, PodTemplate};

use super::input::Input;
use super::pod::{Spread, container, listen, pod_metadata, pod_spec, with_additions};
use crate::gitops;
use crate::names::{
    CLIENT_PORT, Component, DATA, HTTP_PORT, PEER_PORT, RESTART_HASH_ANNOTATION, RETIRED_ANNOTATION, SERVER,
    ServerSet, labels, selector,
};

/// The time that a server goes on after its pod's deletion began: until then all nodes have taken it out of
/// the Services that lead to it.
const GOING_SECONDS: i64 = 5;
/// The time after that in which a leader hands over and connections drain.
const STOPPING_SECONDS: i64 = 60;

/// Builds the StatefulSet. All its pods start at once, since they need each other, and none is replaced by
/// Kubernetes: the state of its groups alone decides which pod may be replaced, and when.
pub(super) fn statefulset(input: &Input, set: ServerSet) -> Result<StatefulSet, serde_json::Error> {
    let (names, spec) = (&input.resolved.names, &input.resolved.spec);
    let labels_of_pods = names.pod_labels(Component::Servers(set));
    let in_memory = spec.storage.memory_only;
    let mut annotations = labels([(RESTART_HASH_ANNOTATION, input.resolved.restart_hash.as_str())]);
    // While the StatefulSet is made again its pods have no owner.
    annotations.extend(gitops::missing(&spec.pod_metadata.annotations));
    // The mark is written with the number of pods, since no server can report the retirement any more once
    // they are gone.
    let mark = input.is_retired(set).then(|| labels([(RETIRED_ANNOTATION, "true")]));
    Ok(StatefulSet {
        metadata: ObjectMeta {
            annotations: mark,
            ..input.owned(names.servers_of(set), labels_of_pods.clone())
        },
        spec: Some(StatefulSetSpec {
            replicas: Some(input.replicas(set).cast_signed()),
            service_name: Some(names.headless_service(set)),
            pod_management_policy: Some("Parallel".to_owned()),
            update_strategy: Some(StatefulSetUpdateStrategy {
                type_: Some("OnDelete".to_owned()),
                rolling_update: None,
            }),
            selector: selector(labels_of_pods.clone()),
            template: PodTemplateSpec {
                metadata: Some(pod_metadata(spec, labels_of_pods, annotations)),
                spec: Some(pod(input, set)?),
            },
            volume_claim_templates: (!in_memory).then(|| vec![claim(input, set)]),
            persistent_volume_claim_retention_policy: (!in_memory).then(|| {
                StatefulSetPersistentVolumeClaimRetentionPolicy {
                    when_deleted: Some(input.when_deleted(set).name().to_owned()),
                    when_scaled: Some(spec.storage.when_scaled.name().to_owned()),
                }
            }),
            ..StatefulSetSpec::default()
        }),
        status: None,
    })
}

fn pod(input: &Input, set: ServerSet) -> Result<PodSpec, serde_json::Error> {
    let (names, spec) = (&input.resolved.names, &input.resolved.spec);
    let labels = names.pod_labels(Component::Servers(set));
    let ports =
        [(CLIENT_PORT, spec.ports.client), (PEER_PORT, spec.ports.peer), (HTTP_PORT, spec.ports.http)];
    let mount = VolumeMount {
        name: DATA.to_owned(),
        mount_path: PodTemplate::DATA_DIR.to_owned(),
        ..VolumeMount::default()
    };
    let container = Container {
        env: Some(vec![
            field("SKV_SERVER", "metadata.name"),
            // The pod's uid tells the runs of its name apart: a successor with an empty disk isn't its
            // predecessor.
            field("SKV_INSTANCE", "metadata.uid"),
        ]),
        resources: spec.server.resources.clone(),
        volume_mounts: (!spec.storage.memory_only).then(|| vec![mount]),
        lifecycle: Some(Lifecycle {
            pre_stop: Some(LifecycleHandler {
                sleep: Some(SleepAction { seconds: GOING_SECONDS }),
                ..LifecycleHandler::default()
            }),
            ..Lifecycle::default()
        }),
        ..container(spec, SERVER, arguments(input, set), &ports)
    };
    let pod = PodSpec {
        termination_grace_period_seconds: Some(GOING_SECONDS + STOPPING_SECONDS),
        ..pod_spec(input, names.servers(), container, Spread { labels: &labels, apart: &[] })
    };
    with_additions(pod, spec)
}

fn arguments(input: &Input, set: ServerSet) -> CommandLine {
    let (spec, ports) = (&input.resolved.spec, &input.resolved.spec.ports);
    let domain =
        input.resolved.names.domain(&input.resolved.names.headless_service(set), &input.cluster_domain);
    let mut line = CommandLine::default();
    match (set, spec.ring()) {
        (ServerSet::Group(group), _) => line.option("--group", group),
        // Each pod finds its place in its name.
        (ServerSet::Ring, Some(ring)) => line.option("--ring", ring),
        (ServerSet::Ring, None) => {}
    }
    line.data(&spec.storage, PodTemplate::DATA_DIR);
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

fn claim(input: &Input, set: ServerSet) -> PersistentVolumeClaim {
    let size = Quantity(input.storage_size(set));
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(DATA.to_owned()),
            labels: Some(input.resolved.names.pod_labels(Component::Servers(set))),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: input.resolved.spec.storage.class_name.clone(),
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
