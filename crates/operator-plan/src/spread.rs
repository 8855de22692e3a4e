//! The condition Spread: the places of each group's servers, by node, and by zone where the cluster has
//! several. The scheduler keeps them apart only as far as there is room, and moves none back afterwards.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use skv_sharding::GroupId;

use crate::condition::{ConditionType, Reason, Verdict, named, shortened};
use crate::observed::Observed;
use crate::placement;
use crate::resolved::Resolved;

/// Returns the verdict on the places of all servers. While one of them has no node the last verdict stands,
/// if there is one: a server that is replaced may come back to the same place.
pub(crate) fn verdict(resolved: &Resolved, seen: &Observed, old: &[Condition]) -> Option<Verdict> {
    let Some(groups) = nodes(resolved, seen).filter(|groups| !groups.is_empty()) else {
        return last(old);
    };
    let (mut in_nodes, mut in_zones) = (Vec::new(), Vec::new());
    for (id, nodes) in groups.iter().filter(|(_, nodes)| nodes.len() > 1) {
        let all = nodes.len();
        let crowded = |(place, count): (&str, usize)| format!("{place} has {count} of the {all} of {id}");
        let shared = counted(nodes.iter().copied()).into_iter().filter(|(_, count)| *count > 1);
        in_nodes.extend(shared.map(crowded));
        let zones = counted(nodes.iter().filter_map(|node| seen.zones.get(*node)));
        let decisive = zones.into_iter().filter(|(_, count)| (all - count) * 2 <= all);
        in_zones.extend(decisive.map(crowded));
    }
    let type_ = ConditionType::Spread;
    let shared = [
        (Reason::SharedNode, "servers of a group share a node", in_nodes),
        (Reason::SharedZone, "the loss of a zone would take a majority", in_zones),
    ];
    let Some((reason, means, places)) = shared.into_iter().find(|(_, _, places)| !places.is_empty()) else {
        let message = "No node has two servers of a group, and no zone the majority of one".to_owned();
        return Some(Verdict { type_, holds: true, reason: Reason::Apart, message });
    };
    let message = shortened(&format!("{means}: {}", named(&places)));
    Some(Verdict { type_, holds: false, reason, message })
}

/// Returns the nodes of each group's servers; `None` if one of these has none yet.
fn nodes<'a>(resolved: &Resolved, seen: &'a Observed) -> Option<Vec<(GroupId, Vec<&'a String>)>> {
    let spec = &resolved.spec;
    let of_group = |id: GroupId| {
        let servers = seen.servers.get(&placement::set_of(spec, id))?;
        let places = placement::places(spec, id, servers.replicas());
        let nodes: Option<Vec<&String>> =
            places.iter().map(|place| servers.pods.get(place)?.node.as_ref()).collect();
        Some((id, nodes?))
    };
    placement::groups(spec, seen.servers.keys()).into_iter().map(of_group).collect()
}

/// Returns the verdict of an earlier pass.
fn last(old: &[Condition]) -> Option<Verdict> {
    let type_ = ConditionType::Spread;
    let condition = old.iter().find(|condition| ConditionType::of(condition) == Some(type_))?;
    let (holds, reason) = (condition.status == "True", Reason::of(condition)?);
    Some(Verdict { type_, holds, reason, message: condition.message.clone() })
}

fn counted<'a>(places: impl Iterator<Item = &'a String>) -> BTreeMap<&'a str, usize> {
    let mut counts = BTreeMap::new();
    for place in places {
        *counts.entry(place.as_str()).or_default() += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;
    use skv_resource::ShardedKvSpec;

    use super::*;
    use crate::condition::conditions;
    use crate::names::{Names, ServerSet};
    use crate::observed::{ObservedServers, ObservedSet};
    use crate::pods::{PodState, ServerPod};

    /// Returns a group of servers on these nodes, of which each name ends in its zone.
    fn group(nodes: &[&str], zones: bool) -> Observed {
        let pod = |(ordinal, node): (u32, &&str)| {
            let pod = ServerPod {
                name: format!("demo-g0-{ordinal}"),
                uid: String::new(),
                ordinal,
                restart_hash: String::new(),
                node: (!node.is_empty()).then(|| (*node).to_owned()),
                peer_address: None,
                state: PodState::Ready,
            };
            (ordinal, pod)
        };
        let set = ObservedSet { replicas: nodes.len() as u32, ..ObservedSet::default() };
        let pods = (0..).zip(nodes).map(pod).collect();
        let servers = ObservedServers { set: Some(set), pods, claims: Vec::new() };
        let zone_of = |node: &&str| {
            let zone: String = node.chars().next_back().into_iter().collect();
            ((*node).to_owned(), zone)
        };
        Observed {
            servers: [(ServerSet::Group(GroupId(0)), servers)].into(),
            zones: nodes.iter().filter(|_| zones).map(zone_of).collect(),
            ..Observed::default()
        }
    }

    fn judged(seen: &Observed, old: &[Condition]) -> Option<Verdict> {
        let names = Names { resource: "demo".to_owned(), namespace: "prod".to_owned() };
        verdict(&Resolved::of(names, &ShardedKvSpec::default(), seen).unwrap(), seen, old)
    }

    #[test]
    fn servers_of_a_group_that_share_a_node_are_told_of() {
        let apart = judged(&group(&["n1", "n2", "n3"], false), &[]).unwrap();
        assert_eq!((apart.holds, apart.reason), (true, Reason::Apart));
        let shared = judged(&group(&["n1", "n2", "n1"], false), &[]).unwrap();
        assert_eq!((shared.holds, shared.reason), (false, Reason::SharedNode));
        assert_eq!(shared.message, "servers of a group share a node: n1 has 2 of the 3 of g0");
        assert!(judged(&group(&["n1"], true), &[]).unwrap().holds, "one server shares nothing");
    }

    #[test]
    fn a_zone_whose_loss_takes_the_majority_is_told_of() {
        let crowded = judged(&group(&["n1a", "n2b", "n3a"], true), &[]).unwrap();
        assert_eq!((crowded.holds, crowded.reason), (false, Reason::SharedZone));
        let told = "the loss of a zone would take a majority: a has 2 of the 3 of g0";
        assert_eq!(crowded.message, told);
        assert!(judged(&group(&["n1a", "n2b", "n3c"], true), &[]).unwrap().holds);
        let of_five = ["n1a", "n2b", "n3c", "n4a", "n5b"];
        assert!(judged(&group(&of_five, true), &[]).unwrap().holds, "three stay, whichever zone goes");
        assert!(judged(&group(&["n1a", "n2b", "n3a"], false), &[]).unwrap().holds, "there are no zones");
    }

    #[test]
    fn while_a_server_has_no_node_the_last_verdict_stands() {
        let waiting = group(&["n1", "n1", ""], false);
        assert_eq!(judged(&waiting, &[]), None);
        assert_eq!(judged(&Observed::default(), &[]), None);
        let before = judged(&group(&["n1", "n1", "n1"], false), &[]).unwrap();
        let old = conditions(&[], [before.clone()], Some(1), Timestamp::UNIX_EPOCH);
        assert_eq!(judged(&waiting, &old), Some(before));
    }
}
