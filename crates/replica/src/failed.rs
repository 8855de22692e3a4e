//! The failure that ends a replica, and its server.

/// The failure of a replica that can't go on, and the server with it.
#[derive(Debug, thiserror::Error)]
#[error("the replica of {group} can't go on: {reason}")]
pub struct Failed {
    pub(super) group: skv_sharding::GroupId,
    pub(super) reason: String,
}
