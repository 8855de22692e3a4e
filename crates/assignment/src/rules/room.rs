//! The memory that the registrations of replicas may take, so that strangers can't use it up. Pure.

/// The memory that all registrations may take once that of a replica is added which isn't a recorded member. Those
/// of 4,096 groups of seven replicas take less, with the longest names and addresses of a store in Kubernetes too, so
/// that a lost record of any size can be made again.
const MOST_BYTES: usize = 160 << 20;

/// The limits, in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Room {
    /// The limit for a replica that isn't a recorded member.
    pub(super) most: usize,
    /// The limit for a recorded member: other replicas must not keep it out.
    pub(super) with_member: usize,
}

impl Default for Room {
    fn default() -> Self {
        Room { most: MOST_BYTES, with_member: 2 * MOST_BYTES }
    }
}
