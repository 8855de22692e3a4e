//! The placement of the replicas of a group on servers.

use std::fmt::{self, Display};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The placement of a group's replicas on servers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Placement {
    /// Each group has servers of its own.
    #[default]
    Groups,
    /// All groups share one ring of servers, each of which holds replicas of several groups.
    Ring,
}

impl Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Placement::Groups => "groups",
            Placement::Ring => "ring",
        })
    }
}
