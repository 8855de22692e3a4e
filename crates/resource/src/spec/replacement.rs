//! The replacement of replicas whose node or volume is gone for good.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Retention;

/// The replacement of a server's replica whose node was deleted or tainted as out of service, or
/// whose volume is gone: the server gets an empty volume, and a new replica on it joins the
/// group. One is replaced at a time, and only while its group holds a majority without it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Replacement {
    /// Replace lost replicas without being asked.
    pub enabled: bool,
    /// The time for which a replica must have been lost, in seconds.
    #[schemars(range(min = 1, max = 86400))]
    pub after_seconds: u32,
    /// The number of replicas that are replaced within an hour at most, so that a broken zone
    /// empties nothing.
    #[schemars(range(min = 1, max = 60))]
    pub max_per_hour: u32,
    /// The retention of the volume that is given up, where it still exists: Retain or Delete.
    pub volumes: Retention,
}

impl Default for Replacement {
    fn default() -> Self {
        Replacement { enabled: true, after_seconds: 600, max_per_hour: 2, volumes: Retention::default() }
    }
}
