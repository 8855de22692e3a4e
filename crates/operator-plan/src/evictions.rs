//! Evictions that have to wait: those of servers on nodes that are about to be emptied, while another server
//! uses up the disruption budget.

use std::collections::BTreeSet;

use skv_resource::HeldEviction;

use crate::names::ServerSet;
use crate::observed::{Observed, ObservedServers};
use crate::pods::ServerPod;
use crate::resolved::Resolved;

/// Returns the evictions that have to wait; `None` as long as nobody knows which nodes are about to be
/// emptied.
pub(crate) fn held(resolved: &Resolved, seen: &Observed) -> Option<Vec<HeldEviction>> {
    let cordoned = seen.cordoned.as_ref()?;
    if !resolved.spec.disruption_budget.enabled {
        return Some(Vec::new());
    }
    let of_sets = seen.servers.iter().flat_map(|(set, servers)| of_set(resolved, cordoned, *set, servers));
    Some(of_sets.collect())
}

fn of_set(
    resolved: &Resolved,
    cordoned: &BTreeSet<String>,
    set: ServerSet,
    servers: &ObservedServers,
) -> Vec<HeldEviction> {
    let mut names = (0..servers.replicas()).map(|ordinal| resolved.names.server(set, ordinal));
    let away = names.find(|server| !servers.pod(server).is_some_and(ServerPod::is_ready));
    let Some(away) = away else { return Vec::new() };
    let on_node = servers.pods.values().filter(|pod| pod.is_ready()).filter_map(|pod| {
        let node = pod.node.clone().filter(|node| cordoned.contains(node))?;
        Some(HeldEviction { server: pod.name.clone(), node, waits_for: away.clone() })
    });
    on_node.collect()
}

#[cfg(test)]
mod tests {
    use skv_resource::ShardedKvSpec;
    use skv_sharding::GroupId;

    use super::*;
    use crate::names::Names;
    use crate::observed::ObservedSet;
    use crate::pods::PodState;

    /// Returns the evictions that wait in a group of three, each server on a node of its own.
    fn waiting(states: [PodState; 3], cordoned: &[&str], budget: bool) -> Vec<HeldEviction> {
        let pod = |(ordinal, state): (u32, PodState)| {
            let pod = ServerPod {
                name: format!("demo-g0-{ordinal}"),
                uid: String::new(),
                ordinal,
                restart_hash: String::new(),
                node: Some(format!("n{ordinal}")),
                peer_address: None,
                state,
            };
            (ordinal, pod)
        };
        let set = ObservedSet { replicas: 3, ..ObservedSet::default() };
        let pods = (0..).zip(states).map(pod).collect();
        let servers = ObservedServers { set: Some(set), pods, claims: Vec::new() };
        let seen = Observed {
            servers: [(ServerSet::Group(GroupId(0)), servers)].into(),
            cordoned: Some(cordoned.iter().map(|node| (*node).to_owned()).collect()),
            ..Observed::default()
        };
        let names = Names { resource: "demo".to_owned(), namespace: "prod".to_owned() };
        let mut spec = ShardedKvSpec::default();
        spec.disruption_budget.enabled = budget;
        held(&Resolved::of(names, &spec, &seen).unwrap(), &seen).unwrap()
    }

    #[test]
    fn an_eviction_waits_until_all_others_are_ready() {
        let one_starts = || [PodState::Ready, PodState::Starting, PodState::Ready];
        let eviction = HeldEviction {
            server: "demo-g0-2".to_owned(),
            node: "n2".to_owned(),
            waits_for: "demo-g0-1".to_owned(),
        };
        assert_eq!(waiting(one_starts(), &["n1", "n2"], true), [eviction]);
        assert!(waiting(one_starts(), &["n1"], true).is_empty(), "it isn't ready itself");
        assert!(waiting(one_starts(), &["n2"], false).is_empty(), "nothing forbids it");
        let all = [PodState::Ready, PodState::Ready, PodState::Ready];
        assert!(waiting(all, &["n1", "n2"], true).is_empty());
    }
}
