//! The ports of pods and Services: the one place where they have numbers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The ports of pods and Services. Clients and servers find those of servers by SRV records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("x-kubernetes-validations" = [
        { "rule": "self.client != self.peer && self.client != self.http && self.peer != self.http && self.manager != self.http", "message": "client, peer and http must differ, and manager and http" }
    ]))]
pub struct Ports {
    /// The port on which servers listen for clients.
    #[schemars(range(min = 1024, max = 65535))]
    pub client: u16,
    /// The port on which servers listen for each other, for the operator, and for commands that manage them.
    #[schemars(range(min = 1024, max = 65535))]
    pub peer: u16,
    /// The port on which servers and shard managers serve /metrics, /livez and /readyz.
    #[schemars(range(min = 1024, max = 65535))]
    pub http: u16,
    /// The port on which shard managers listen for servers and clients.
    #[schemars(range(min = 1024, max = 65535))]
    pub manager: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Ports { client: 7000, peer: 7001, http: 7002, manager: 7400 }
    }
}
