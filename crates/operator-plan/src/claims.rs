//! The claims of servers, and the facts about the volumes behind them.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt as _;
use skv_resource::Size;

use crate::names::{DATA, ServerSet};

/// The claim of one server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claim {
    /// The claim's name.
    pub name: String,
    /// The claim's uid, which tells it from others of that name.
    pub uid: String,
    /// The size of the volume that it asks for, if that can be read.
    pub size: Option<Size>,
    /// The tie of the claim to its volume.
    pub binding: Binding,
    /// The name of the volume that was bound to the claim.
    pub volume: Option<String>,
    /// True if the claim is deleted with its StatefulSet, or with its pod.
    pub owned: bool,
    /// True if the claim is being deleted.
    pub leaving: bool,
}

/// The tie of a claim to its volume.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Binding {
    /// The claim has no volume yet.
    #[default]
    Pending,
    /// The claim has a volume.
    Bound,
    /// The claim's volume is gone.
    Lost,
}

impl Binding {
    fn of_phase(phase: Option<&str>) -> Binding {
        match phase {
            Some("Bound") => Binding::Bound,
            Some("Lost") => Binding::Lost,
            _ => Binding::Pending,
        }
    }
}

impl Claim {
    /// Returns the claim, if it is a server's, with the set of servers to which that belongs.
    pub fn parse(claim: &PersistentVolumeClaim) -> Option<(ServerSet, Claim)> {
        let set = ServerSet::of(claim.labels())?;
        let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
        let seen = Claim {
            name: claim.name_any(),
            uid: claim.uid().unwrap_or_default(),
            size: requested(claim),
            binding: Binding::of_phase(phase),
            volume: claim.spec.as_ref().and_then(|spec| spec.volume_name.clone()),
            owned: !claim.owner_references().is_empty(),
            leaving: claim.metadata.deletion_timestamp.is_some(),
        };
        Some((set, seen))
    }

    /// Returns true if it is this server's.
    pub fn is_of(&self, server: &str) -> bool {
        self.name.strip_prefix(DATA).and_then(|rest| rest.strip_prefix('-')) == Some(server)
    }

    /// Returns true if it asks for less than this.
    pub fn is_smaller_than(&self, wanted: &Size) -> bool {
        self.size.as_ref().is_none_or(|size| size.bytes() < wanted.bytes())
    }
}

/// The growth of volumes whose claims were asked to grow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VolumeGrowth {
    /// The volumes that haven't grown yet.
    pub under_way: Vec<String>,
    /// The volumes that won't.
    pub hopeless: Vec<String>,
}

impl VolumeGrowth {
    /// Returns the growth of the volumes behind these claims.
    pub fn of<'a>(claims: impl IntoIterator<Item = &'a PersistentVolumeClaim>) -> VolumeGrowth {
        let mut growth = VolumeGrowth::default();
        for claim in claims {
            growth.add(claim);
        }
        growth
    }

    fn add(&mut self, claim: &PersistentVolumeClaim) {
        let (Some(status), Some(wanted)) = (&claim.status, requested(claim)) else { return };
        let size =
            status.capacity.as_ref().and_then(|capacity| capacity.get("storage")?.0.parse::<Size>().ok());
        let Some(size) = size.filter(|size| size.bytes() < wanted.bytes()) else { return };
        let mut told: Vec<String> = Vec::new();
        for condition in status.conditions.iter().flatten().filter(|condition| condition.status == "True") {
            let message = condition.message.as_deref().filter(|message| !message.is_empty());
            told.push(message.unwrap_or(&condition.type_).to_owned());
        }
        let resize = status.allocated_resource_statuses.as_ref().and_then(|resize| resize.get("storage"));
        let is_hopeless = resize.is_some_and(|resize| resize.ends_with("Infeasible"));
        told.extend(resize.filter(|_| is_hopeless).cloned());
        let reason = if told.is_empty() { String::new() } else { format!(" ({})", told.join("; ")) };
        let message = format!("{} has {size} of {wanted}{reason}", claim.name_any());
        if is_hopeless { self.hopeless.push(message) } else { self.under_way.push(message) }
    }
}

fn requested(claim: &PersistentVolumeClaim) -> Option<Size> {
    let requests = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref()?.requests.as_ref());
    requests.and_then(|requests| requests.get("storage")?.0.parse().ok())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn growth(wanted: &str, status: &Value) -> VolumeGrowth {
        let claim = json!({
            "metadata": { "name": "data-demo-g0-0" },
            "spec": { "resources": { "requests": { "storage": wanted } } },
            "status": status,
        });
        VolumeGrowth::of([&serde_json::from_value(claim).unwrap()])
    }

    #[test]
    fn a_volume_grows_until_it_has_the_size() {
        let of = |size: &str| growth("2Gi", &json!({ "capacity": { "storage": size } }));
        assert_eq!(of("1Gi").under_way, ["data-demo-g0-0 has 1Gi of 2Gi"]);
        assert_eq!(of("2Gi"), VolumeGrowth::default());
        assert_eq!(of("2048Mi"), VolumeGrowth::default());
        assert_eq!(of("3Gi"), VolumeGrowth::default(), "somebody wanted more");
        assert_eq!(growth("2Gi", &json!({ "phase": "Pending" })), VolumeGrowth::default(), "it has none yet");
    }

    #[test]
    fn what_keeps_a_volume_from_growing_is_told() {
        let waits = json!({
            "capacity": { "storage": "1Gi" },
            "conditions": [
                { "type": "Resizing", "status": "False", "message": "over" },
                { "type": "FileSystemResizePending", "status": "True", "message": "waiting for the node" },
            ],
        });
        let told = "data-demo-g0-0 has 1Gi of 2Gi (waiting for the node)";
        assert_eq!(
            growth("2Gi", &waits),
            VolumeGrowth { under_way: vec![told.to_owned()], hopeless: vec![] }
        );
        let never = json!({
            "capacity": { "storage": "1Gi" },
            "conditions": [{ "type": "ControllerResizeError", "status": "True", "message": "no room" }],
            "allocatedResourceStatuses": { "storage": "ControllerResizeInfeasible" },
        });
        let told = "data-demo-g0-0 has 1Gi of 2Gi (no room; ControllerResizeInfeasible)";
        assert_eq!(
            growth("2Gi", &never),
            VolumeGrowth { under_way: vec![], hopeless: vec![told.to_owned()] }
        );
    }
}
