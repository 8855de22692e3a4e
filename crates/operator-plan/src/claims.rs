//! The claims of servers, and the facts about the volumes behind them.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::ResourceExt as _;
use skv_resource::Size;

use crate::names::{DATA, ServerSet};

/// The claim of one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The claim's name.
    pub name: String,
    /// The size of the volume that it asks for, if that can be read.
    pub size: Option<Size>,
    /// True if the claim has a volume.
    pub bound: bool,
    /// True if the claim is deleted with its StatefulSet, or with its pod.
    pub owned: bool,
    /// True if the claim is being deleted.
    pub leaving: bool,
}

impl Claim {
    /// Returns the claim, if it is a server's, with the set of servers to which that belongs.
    pub fn parse(claim: &PersistentVolumeClaim) -> Option<(ServerSet, Claim)> {
        let set = ServerSet::of(claim.labels())?;
        let requests = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref()?.requests.as_ref());
        let size = requests.and_then(|requests| requests.get("storage")?.0.parse().ok());
        let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
        let seen = Claim {
            name: claim.name_any(),
            size,
            bound: phase == Some("Bound"),
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
