//! The growth of servers' volumes: the next step.
//!
//! Claims are asked to grow one by one. The size in a StatefulSet can't change, so that it is made again:
//! its pods are kept and go on, and it isn't deleted before all claims would survive it.

use skv_resource::{Size, Storage};

use crate::claims::{Binding, Claim};
use crate::observed::ObservedServers;

/// The next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Growth {
    /// Everything is as large as it should be.
    Done,
    /// These claims must be asked to grow.
    Ask(Vec<String>),
    /// All claims have been asked; some would still be deleted with the StatefulSet. Kubernetes releases
    /// those whose pod exists, and doesn't release these.
    Disown(Vec<String>),
    /// The StatefulSet must be deleted without its pods.
    Recreate,
}

/// Decides on the next step for servers that should have this storage.
pub(super) fn growth(servers: &ObservedServers, storage: &Storage) -> Growth {
    if storage.memory_only { Growth::Done } else { growth_to(servers, &storage.size) }
}

fn growth_to(servers: &ObservedServers, wanted: &Size) -> Growth {
    let small = |claim: &&Claim| claim.is_smaller_than(wanted) && !claim.leaving;
    // A claim without a volume can't grow; it is asked when it has one.
    let names: Vec<String> = servers
        .claims
        .iter()
        .filter(small)
        .filter(|claim| claim.binding == Binding::Bound)
        .map(|claim| claim.name.clone())
        .collect();
    if !names.is_empty() {
        return Growth::Ask(names);
    }
    let made = servers.set.as_ref().filter(|set| !set.leaving);
    let Some(set) = made else { return Growth::Done };
    let size = set.storage_size.as_ref().and_then(|size| size.parse::<Size>().ok());
    if size.is_none_or(|size| size.bytes() >= wanted.bytes()) {
        return Growth::Done;
    }
    let owned: Vec<&Claim> = servers.claims.iter().filter(|claim| claim.owned).collect();
    if set.keeps_claims && owned.is_empty() {
        return Growth::Recreate;
    }
    // Before Kubernetes sees the policy it would only take them back.
    let has_pod = |claim: &Claim| servers.pods.values().any(|pod| claim.is_of(&pod.name));
    let forgotten = owned
        .into_iter()
        .filter(|claim| set.keeps_claims && set.is_current && !claim.leaving && !has_pod(claim));
    Growth::Disown(forgotten.map(|claim| claim.name.clone()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observed::ObservedSet;
    use crate::pods::{PodState, ServerPod};

    fn group(claims: &[&str], set: &str) -> ObservedServers {
        let claim = |size: &&str| Claim {
            name: format!("data-{size}"),
            size: size.parse().ok(),
            binding: Binding::Bound,
            ..Claim::default()
        };
        let set =
            ObservedSet { storage_size: Some(set.to_owned()), keeps_claims: true, ..ObservedSet::default() };
        ObservedServers {
            set: Some(set),
            claims: claims.iter().map(claim).collect(),
            ..ObservedServers::default()
        }
    }

    fn wanted() -> Storage {
        Storage { size: "2Gi".parse().unwrap(), ..Storage::default() }
    }

    #[test]
    fn claims_grow_first_and_then_the_statefulset_is_made_anew() {
        let ask = Growth::Ask(vec!["data-1Gi".to_owned()]);
        assert_eq!(growth(&group(&["1Gi", "2Gi"], "1Gi"), &wanted()), ask);
        assert_eq!(growth(&group(&["2Gi", "2Gi"], "1Gi"), &wanted()), Growth::Recreate);
        assert_eq!(growth(&group(&["2Gi", "2048Mi"], "2Gi"), &wanted()), Growth::Done);
        assert_eq!(growth(&group(&["3Gi"], "2Gi"), &wanted()), Growth::Done, "somebody wanted more");
    }

    #[test]
    fn a_statefulset_is_not_deleted_while_a_claim_would_go_with_it() {
        let mut group = group(&["2Gi"], "1Gi");
        group.set.as_mut().unwrap().keeps_claims = false;
        assert_eq!(growth(&group, &wanted()), Growth::Disown(Vec::new()));
    }

    #[test]
    fn a_claim_whose_pod_is_gone_is_let_go_by_nobody_else() {
        let mut group = group(&["2Gi"], "1Gi");
        group.claims[0].owned = true;
        let forgotten = Growth::Disown(vec!["data-2Gi".to_owned()]);
        assert_eq!(growth(&group, &wanted()), Growth::Disown(Vec::new()), "its policy isn't seen yet");
        group.set.as_mut().unwrap().is_current = true;
        assert_eq!(growth(&group, &wanted()), forgotten);
        let pod = ServerPod {
            name: "2Gi".to_owned(),
            uid: String::new(),
            ordinal: 0,
            restart_hash: String::new(),
            node: None,
            peer_address: None,
            state: PodState::Ready,
        };
        group.pods.insert(0, pod);
        assert_eq!(growth(&group, &wanted()), Growth::Disown(Vec::new()), "by Kubernetes");
        group.pods.clear();
        group.set.as_mut().unwrap().keeps_claims = false;
        assert_eq!(growth(&group, &wanted()), Growth::Disown(Vec::new()));
    }

    #[test]
    fn a_claim_without_a_volume_is_asked_when_it_has_one() {
        let mut group = group(&["1Gi"], "2Gi");
        group.claims[0].binding = Binding::Pending;
        assert_eq!(growth(&group, &wanted()), Growth::Done);
        group.claims[0].binding = Binding::Bound;
        assert_eq!(growth(&group, &wanted()), Growth::Ask(vec!["data-1Gi".to_owned()]));
    }

    #[test]
    fn nothing_grows_without_a_volume() {
        let group = ObservedServers { set: Some(ObservedSet::default()), ..ObservedServers::default() };
        assert_eq!(growth(&group, &wanted()), Growth::Done);
    }

    #[test]
    fn nothing_grows_in_memory() {
        let in_memory = Storage { memory_only: true, ..wanted() };
        assert_eq!(growth(&group(&["1Gi"], "1Gi"), &in_memory), Growth::Done);
    }
}
