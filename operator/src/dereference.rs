//! What is known of one resource, gathered from the cache and from its shard manager.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt as _;
use skv_proto::v1;
use skv_sharding::{ClusterId, GroupId};

use crate::build::ExistingGroup;
use crate::cache::Cache;
use crate::names::{GROUP_LABEL, Names};

/// What was seen.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Observed {
    /// The groups that have a StatefulSet.
    pub(crate) groups: BTreeMap<GroupId, ObservedGroup>,
    /// How many pods of the shard manager are ready.
    pub(crate) ready_managers: u32,
    /// Why pods don't start, each with the pod's name.
    pub(crate) problems: Vec<String>,
    /// The images that servers run.
    pub(crate) images: BTreeSet<String>,
    /// What the shard manager says; `None` if it can't be asked.
    pub(crate) map: Option<ObservedMap>,
}

/// One group's StatefulSet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ObservedGroup {
    pub(crate) existing: ExistingGroup,
    pub(crate) ready: u32,
}

/// What the shard map says, in short.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ObservedMap {
    pub(crate) cluster: ClusterId,
    pub(crate) configuration: u64,
    /// The server that leads each group, where it is known.
    pub(crate) leaders: BTreeMap<GroupId, String>,
    /// How many shards each group owns.
    pub(crate) shards: BTreeMap<GroupId, u32>,
}

/// What the cache has of a resource.
pub(crate) fn dereference(cache: &Cache, names: &Names) -> Observed {
    let parsed = |object: &std::sync::Arc<kube::api::DynamicObject>| (**object).clone();
    let mut observed = Observed::default();
    for object in cache.of::<StatefulSet>(names) {
        let group = object.labels().get(GROUP_LABEL).and_then(|group| group.parse().ok());
        if let (Some(group), Ok(set)) = (group, parsed(&object).try_parse::<StatefulSet>()) {
            observed.groups.insert(group, observed_group(&set));
        }
    }
    for object in cache.of::<Deployment>(names) {
        if let Ok(deployment) = parsed(&object).try_parse::<Deployment>() {
            let ready = deployment.status.and_then(|status| status.ready_replicas);
            observed.ready_managers += ready.unwrap_or_default().unsigned_abs();
        }
    }
    for object in cache.of::<Pod>(names) {
        let Ok(pod) = parsed(&object).try_parse::<Pod>() else { continue };
        if let Some(problem) = problem(&pod) {
            observed.problems.push(format!("{}: {problem}", pod.name_any()));
        }
        if pod.labels().contains_key(GROUP_LABEL) {
            let containers = pod.spec.into_iter().flat_map(|spec| spec.containers);
            observed.images.extend(containers.filter_map(|container| container.image));
        }
    }
    observed
}

impl From<&v1::ShardMap> for ObservedMap {
    fn from(map: &v1::ShardMap) -> ObservedMap {
        let mut observed = ObservedMap {
            cluster: ClusterId(map.cluster_id),
            configuration: map.configuration,
            ..ObservedMap::default()
        };
        for group in &map.groups {
            if let Some(leader) = group.replicas.iter().find(|replica| replica.id == group.leader) {
                observed.leaders.insert(GroupId(group.id), leader.server.clone());
            }
        }
        for range in &map.ranges {
            *observed.shards.entry(GroupId(range.group)).or_default() += range.count;
        }
        observed
    }
}

fn observed_group(set: &StatefulSet) -> ObservedGroup {
    let spec = set.spec.as_ref();
    let claim = spec.and_then(|spec| spec.volume_claim_templates.as_ref()?.first()?.spec.as_ref());
    let size = claim.and_then(|claim| claim.resources.as_ref()?.requests.as_ref()?.get("storage"));
    ObservedGroup {
        existing: ExistingGroup {
            replicas: spec.and_then(|spec| spec.replicas).unwrap_or(1).unsigned_abs(),
            storage_size: size.map(|size| size.0.clone()),
        },
        ready: set
            .status
            .as_ref()
            .and_then(|status| status.ready_replicas)
            .unwrap_or_default()
            .unsigned_abs(),
    }
}

/// What keeps a pod from running, if it isn't just about to.
fn problem(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let unscheduled = status
        .conditions
        .iter()
        .flatten()
        .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False");
    if let Some(condition) = unscheduled {
        return Some(explained(condition.reason.as_deref(), condition.message.as_deref()));
    }
    status.container_statuses.iter().flatten().find_map(waiting)
}

fn waiting(container: &ContainerStatus) -> Option<String> {
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    match waiting.reason.as_deref() {
        None | Some("ContainerCreating" | "PodInitializing") => None,
        reason => Some(explained(reason, waiting.message.as_deref())),
    }
}

fn explained(reason: Option<&str>, message: Option<&str>) -> String {
    match (reason, message) {
        (Some(reason), Some(message)) => format!("{reason}: {message}"),
        (reason, message) => reason.or(message).unwrap_or("not running").to_owned(),
    }
}
