//! The pods of servers, and the state of the server in each.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodCondition};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;

use crate::names::{self, PEER_PORT, RESTART_HASH_ANNOTATION, SERVER, ServerSet};

/// The time after which a server that runs, and isn't ready, won't become ready by itself.
const PATIENCE: SignedDuration = SignedDuration::from_mins(2);
/// The time that a pod's volume, or a new node, takes before the pod counts as one that fits nowhere.
const SCHEDULING: SignedDuration = SignedDuration::from_secs(30);

/// A server's pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerPod {
    /// The pod's name, which is the server's.
    pub name: String,
    /// The pod's uid, which tells it from others of that name.
    pub uid: String,
    /// The pod's ordinal in its StatefulSet.
    pub ordinal: u32,
    /// The hash of the settings that it was made for: see [`crate::restart::restart_hash`].
    pub restart_hash: String,
    /// The name of the pod's node, once it has one.
    pub node: Option<String>,
    /// The peer address of the pod's server, once it has one.
    pub peer_address: Option<String>,
    /// The pod's state.
    pub state: PodState,
}

/// The state of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PodState {
    /// The pod's server serves.
    Ready,
    /// The pod's server is about to serve, for the first time or again, as far as is known.
    Starting,
    /// No server runs in the pod, and none will by itself, for this reason.
    Down(String),
    /// The pod's server runs, and hasn't been ready for long.
    Stuck,
    /// The pod is being deleted.
    Leaving,
}

impl PodState {
    /// Returns the reason that keeps the pod from serving, where that is known.
    pub fn problem(&self) -> Option<&str> {
        match self {
            PodState::Down(problem) => Some(problem),
            PodState::Stuck => Some("it hasn't been for more than two minutes"),
            PodState::Ready | PodState::Starting | PodState::Leaving => None,
        }
    }
}

impl ServerPod {
    /// Returns the pod, if it is a server's, with the set of servers to which that belongs.
    pub fn parse(pod: &Pod, now: Timestamp) -> Option<(ServerSet, ServerPod)> {
        let set = ServerSet::of(pod.labels())?;
        let name = pod.name_any();
        let ordinal = names::ordinal(&name)?;
        let server = ServerPod {
            uid: pod.uid()?,
            ordinal,
            restart_hash: pod.annotations().get(RESTART_HASH_ANNOTATION).cloned().unwrap_or_default(),
            node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
            peer_address: peer_address(pod),
            state: state(pod, now),
            name,
        };
        Some((set, server))
    }

    /// Returns true if the pod's server serves.
    pub fn is_ready(&self) -> bool {
        self.state == PodState::Ready
    }

    /// Returns true if the pod's node or volume may be gone: it can't start, it isn't ready for long, or it
    /// is being deleted.
    pub fn is_in_doubt(&self) -> bool {
        matches!(self.state, PodState::Down(_) | PodState::Stuck | PodState::Leaving)
    }

    /// Returns true if the pod is being deleted, and its node, one of those that are gone or don't answer,
    /// can't confirm that it stopped.
    pub fn is_lost(&self, lost_nodes: &BTreeSet<String>) -> bool {
        self.state == PodState::Leaving && self.node.as_ref().is_some_and(|node| lost_nodes.contains(node))
    }
}

fn peer_address(pod: &Pod) -> Option<String> {
    let ip = pod.status.as_ref()?.pod_ip.as_deref()?;
    let ports = pod.spec.as_ref()?.containers.iter().flat_map(|container| container.ports.iter().flatten());
    let port = { ports }.find(|port| port.name.as_deref() == Some(PEER_PORT))?.container_port;
    Some(SocketAddr::new(ip.parse().ok()?, port.try_into().ok()?).to_string())
}

fn state(pod: &Pod, now: Timestamp) -> PodState {
    if pod.metadata.deletion_timestamp.is_some() {
        return PodState::Leaving;
    }
    let ready = condition(pod, "Ready");
    if ready.is_some_and(|ready| ready.status == "True") {
        return PodState::Ready;
    }
    // Other containers don't matter: a server that runs may be a voter.
    let Some(running) = server(pod).and_then(|server| server.state.as_ref()?.running.as_ref()) else {
        return problem(pod, now).map_or(PodState::Starting, PodState::Down);
    };
    let unready_since = ready.and_then(|ready| ready.last_transition_time.as_ref());
    match running.started_at.as_ref().max(unready_since) {
        Some(since) if now.duration_since(since.0) > PATIENCE => PodState::Stuck,
        _ => PodState::Starting,
    }
}

fn server(pod: &Pod) -> Option<&ContainerStatus> {
    let containers = pod.status.as_ref()?.container_statuses.iter().flatten();
    { containers }.find(|container| container.name == SERVER)
}

/// Returns the reason that keeps a pod from running, if it isn't just about to.
pub fn problem(pod: &Pod, now: Timestamp) -> Option<String> {
    if let Some(unscheduled) = condition(pod, "PodScheduled").filter(|condition| condition.status == "False")
    {
        let is_stuck = lasts(unscheduled, SCHEDULING, now);
        return is_stuck.then(|| explained(unscheduled.reason.as_deref(), unscheduled.message.as_deref()));
    }
    // No other container starts before those that prepare the pod are done.
    let status = pod.status.as_ref()?;
    let preparing = status.init_container_statuses.iter().flatten();
    preparing.chain(status.container_statuses.iter().flatten()).find_map(waiting)
}

/// Returns true if a pod is known not to have been ready for long.
pub fn is_long_unready(pod: &Pod, now: Timestamp) -> bool {
    condition(pod, "Ready").is_some_and(|ready| ready.status != "True" && lasts(ready, PATIENCE, now))
}

/// Returns true if a condition has been as it is for longer than this, or for an unknown time.
fn lasts(condition: &PodCondition, patience: SignedDuration, now: Timestamp) -> bool {
    condition.last_transition_time.as_ref().is_none_or(|since| now.duration_since(since.0) > patience)
}

fn condition<'a>(pod: &'a Pod, type_: &str) -> Option<&'a PodCondition> {
    let mut conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.find(|condition| condition.type_ == type_)
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use skv_sharding::GroupId;

    use super::*;
    use crate::names::GROUP_LABEL;

    fn parsed(change: impl FnOnce(&mut Value)) -> ServerPod {
        let mut pod = json!({
            "metadata": {
                "name": "demo-g1-2", "uid": "u", "labels": { GROUP_LABEL: "g1" },
                "annotations": { RESTART_HASH_ANNOTATION: "h" },
            },
            "spec": {
                "nodeName": "node1",
                "containers": [{ "name": "kvserver", "ports": [
                    { "name": "client", "containerPort": 7000 }, { "name": PEER_PORT, "containerPort": 7001 },
                ] }],
            },
            "status": { "podIP": "10.0.0.7", "conditions": [{ "type": "Ready", "status": "False" }] },
        });
        change(&mut pod);
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let now = "2026-01-01T00:10:00Z".parse().unwrap();
        let (set, server) = ServerPod::parse(&pod, now).unwrap();
        assert_eq!(set, ServerSet::Group(GroupId(1)));
        server
    }

    fn container(state: Value) -> impl FnOnce(&mut Value) {
        move |pod| {
            pod["status"]["containerStatuses"] = json!([{
                "name": "kvserver", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state,
            }]);
        }
    }

    #[test]
    fn a_pod_names_its_server_and_where_it_is_asked() {
        let pod = parsed(|_| ());
        assert_eq!((pod.name.as_str(), pod.ordinal, pod.restart_hash.as_str()), ("demo-g1-2", 2, "h"));
        assert_eq!(pod.peer_address.as_deref(), Some("10.0.0.7:7001"));
        let pod = parsed(|pod| pod["status"]["podIP"] = json!("fd00::7"));
        assert_eq!(pod.peer_address.as_deref(), Some("[fd00::7]:7001"));
    }

    #[test]
    fn what_merely_starts_is_told_from_what_never_will() {
        assert_eq!(parsed(|_| ()).state, PodState::Starting);
        let creating = container(json!({ "waiting": { "reason": "ContainerCreating" } }));
        assert_eq!(parsed(creating).state, PodState::Starting);
        let no_image = container(json!({ "waiting": { "reason": "ErrImagePull", "message": "no" } }));
        assert_eq!(parsed(no_image).state, PodState::Down("ErrImagePull: no".to_owned()));
        let unscheduled = |pod: &mut Value| {
            pod["status"]["conditions"] =
                json!([{ "type": "PodScheduled", "status": "False", "reason": "full" }]);
        };
        assert_eq!(parsed(unscheduled).state, PodState::Down("full".to_owned()));
        let since = |time: &'static str| {
            move |pod: &mut Value| {
                unscheduled(pod);
                pod["status"]["conditions"][0]["lastTransitionTime"] = json!(time);
            }
        };
        let long = parsed(since("2026-01-01T00:09:00Z"));
        assert_eq!(long.state, PodState::Down("full".to_owned()));
        let lately = parsed(since("2026-01-01T00:09:50Z"));
        assert_eq!(lately.state, PodState::Starting, "its volume may just be made");
    }

    /// Changes a pod to a server that has run since one time, and hasn't been ready since another.
    fn unready(started: &str, since: &str) -> impl FnOnce(&mut Value) {
        let running = container(json!({ "running": { "startedAt": started } }));
        move |pod| {
            running(pod);
            pod["status"]["conditions"][0]["lastTransitionTime"] = json!(since);
        }
    }

    #[test]
    fn a_server_that_runs_is_stuck_when_it_has_not_been_ready_for_long_however_long_it_runs() {
        let (month, long, lately) = ("2025-12-01T00:00:00Z", "2026-01-01T00:07:00Z", "2026-01-01T00:09:50Z");
        assert_eq!(parsed(unready(month, lately)).state, PodState::Starting);
        assert_eq!(parsed(unready(month, long)).state, PodState::Stuck);
        assert_eq!(parsed(unready(long, month)).state, PodState::Stuck, "it never was");
        assert_eq!(parsed(unready(lately, long)).state, PodState::Starting, "it was started again");
    }

    #[test]
    fn a_server_that_runs_is_not_down_whatever_stands_beside_it() {
        let sidecar = json!({
            "name": "mesh", "image": "", "imageID": "", "ready": false, "restartCount": 9,
            "state": { "waiting": { "reason": "CrashLoopBackOff" } },
        });
        let beside = |state: Value| {
            let server = container(state);
            let sidecar = sidecar.clone();
            move |pod: &mut Value| {
                server(pod);
                pod["status"]["containerStatuses"].as_array_mut().unwrap().insert(0, sidecar);
            }
        };
        let running = beside(json!({ "running": { "startedAt": "2026-01-01T00:09:00Z" } }));
        assert_eq!(parsed(running).state, PodState::Starting);
        let waiting = beside(json!({ "waiting": { "reason": "PodInitializing" } }));
        assert_eq!(parsed(waiting).state, PodState::Down("CrashLoopBackOff".to_owned()));
    }

    #[test]
    fn a_server_that_waits_for_a_container_that_never_starts_is_down() {
        let behind = |server: Value, first: Value| {
            let server = container(server);
            move |pod: &mut Value| {
                server(pod);
                pod["status"]["initContainerStatuses"] = json!([{
                    "name": "mesh", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                    "state": first,
                }]);
            }
        };
        let initializing = json!({ "waiting": { "reason": "PodInitializing" } });
        let no_image = json!({ "waiting": { "reason": "ErrImagePull" } });
        let prepares = json!({ "running": { "startedAt": "2026-01-01T00:09:00Z" } });
        let held = parsed(behind(initializing.clone(), no_image.clone()));
        assert_eq!(held.state, PodState::Down("ErrImagePull".to_owned()));
        assert_eq!(parsed(behind(initializing, prepares.clone())).state, PodState::Starting);
        assert_eq!(parsed(behind(prepares, no_image)).state, PodState::Starting, "the server runs");
    }

    #[test]
    fn a_pod_that_is_deleted_serves_no_more_even_if_it_is_ready() {
        let ready = |pod: &mut Value| pod["status"]["conditions"][0]["status"] = json!("True");
        assert_eq!(parsed(ready).state, PodState::Ready);
        let leaving = |pod: &mut Value| {
            ready(pod);
            pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        };
        assert_eq!(parsed(leaving).state, PodState::Leaving);
    }
}
