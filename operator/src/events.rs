//! The Events by which people learn of actions and changes.

use std::slice::from_ref;

use k8s_openapi::api::core::v1::ObjectReference;
use kube::ResourceExt as _;
use kube::runtime::events::{Event, EventType};
use skv_operator_plan::build::Desired;
use skv_operator_plan::condition::Notice;
use skv_operator_plan::names::{Names, ServerSet};
use skv_operator_plan::rollout::{Abandoned, GroupStep, Step};
use skv_resource::{HeldEviction, ShardedKv};
use skv_sharding::GroupId;

/// Returns the Event of a condition that changed.
pub(crate) fn of_condition(notice: Notice) -> Event {
    Event {
        type_: if notice.is_warning { EventType::Warning } else { EventType::Normal },
        reason: notice.reason,
        note: Some(notice.note),
        action: notice.type_,
        secondary: None,
    }
}

/// Returns the Event of an eviction that will have to wait.
pub(crate) fn of_held_eviction(resource: &ShardedKv, held: &HeldEviction) -> Event {
    let HeldEviction { server, node, waits_for } = held;
    let note = format!("The eviction of {server} from node {node} waits until {waits_for} is ready");
    event(resource, "EvictionWaits", "Evict", note, ("Pod", server))
}

/// Returns the Event of an object that was created. Of all objects, people want to hear of new servers.
pub(crate) fn of_creation(resource: &ShardedKv, object: &Desired) -> Option<Event> {
    let note = format!("Created the servers of {}", object.name);
    let about = (object.resource.kind.as_str(), object.name.as_str());
    object.counts_pods().then(|| event(resource, "ServersCreated", "Create", note, about))
}

/// Returns the Event of a step of one pod, or of one member, that was taken.
pub(crate) fn of_step(resource: &ShardedKv, step: &Step) -> Event {
    let (reason, server, note) = match step {
        Step::Evict(pod) => ("Replacing", &pod.name, format!("Evicted {}, which is out of date", pod.name)),
        Step::Delete(pod) => (
            "Replacing",
            &pod.name,
            format!("Deleted {}, which doesn't come up and is out of date", pod.name),
        ),
        Step::ForceDelete(pod) => (
            "Replacing",
            &pod.name,
            format!("Let go of {}: its node is lost, and it has no volume that is to stay", pod.name),
        ),
        Step::Abandon(abandoned) => {
            let Abandoned { pod, why, keep, .. } = abandoned;
            let volume = match keep {
                Some(volume) => format!("its volume {volume} is kept"),
                None => "its volume isn't kept".to_owned(),
            };
            ("ReplicaReplaced", &pod.name, format!("Replaced the replica of {}: {why}; {volume}", pod.name))
        }
        Step::HandOver { group, server, .. } => {
            ("HandedOver", server, format!("{server} handed over the leadership of {group}"))
        }
        Step::Remove { group, server, .. } => {
            ("Removed", server, format!("{server} is no member of {group} any more"))
        }
    };
    event(resource, reason, "Step", note, ("Pod", server))
}

/// Returns the Event of a step of whole groups that was taken.
pub(crate) fn of_group_step(resource: &ShardedKv, names: &Names, step: &GroupStep) -> Event {
    let (reason, groups, note) = match step {
        GroupStep::Join(groups) => {
            ("Joined", &groups[..], format!("The shards are spread over {} too", GroupId::list(groups)))
        }
        GroupStep::Leave(groups) => {
            ("Left", &groups[..], format!("The shards of {} go to the other groups", GroupId::list(groups)))
        }
        GroupStep::Retire { group, .. } => {
            ("Retired", from_ref(group), format!("{group} has no shards, and takes none any more"))
        }
        GroupStep::LetGo { group, pod } => {
            ("LetGo", from_ref(group), format!("Let go of {} of {group}: its node is lost", pod.name))
        }
        GroupStep::Disown { group, .. } => {
            ("VolumesKept", from_ref(group), format!("The volumes of {group} are kept"))
        }
        GroupStep::Delete { group, .. } => {
            ("GroupDeleted", from_ref(group), format!("Deleted the objects of {group}"))
        }
    };
    let about = groups.first().map_or_else(String::new, |group| names.servers_of(ServerSet::Group(*group)));
    event(resource, reason, "Step", note, ("StatefulSet", &about))
}

fn event(
    resource: &ShardedKv,
    reason: &str,
    action: &str,
    note: String,
    (kind, name): (&str, &str),
) -> Event {
    Event {
        type_: EventType::Normal,
        reason: reason.to_owned(),
        note: Some(note),
        action: action.to_owned(),
        // Events that differ only in their note would be counted as one.
        secondary: Some(ObjectReference {
            kind: Some(kind.to_owned()),
            namespace: resource.namespace(),
            name: Some(name.to_owned()),
            ..ObjectReference::default()
        }),
    }
}
