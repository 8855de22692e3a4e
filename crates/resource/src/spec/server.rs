//! The settings of each server.

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::size::Size;

/// The settings of each server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Server {
    /// The number of threads that serve requests. The default is one per processor; where
    /// `skv up` runs all servers on one machine, those of a group share its processors.
    #[schemars(range(min = 1, max = 1024))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker_threads: Option<u16>,
    /// The memory that each server may use, such as 2Gi: at least 128Mi. Beyond a part of it nothing is
    /// taken that makes the data grow. By default the limit of its container (`resources.limits.memory`),
    /// or else the memory of the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-kubernetes-validations" = [
        { "rule": "quantity(self).compareTo(quantity('128Mi')) >= 0", "message": "must be at least 128Mi" }
    ]))]
    pub memory: Option<Size>,
    /// Print the input and the result of every operation.
    pub log_operations: bool,
    /// The form of the servers' logs: text (lines for people) or json.
    pub log_format: LogFormat,
    /// The processors and memory of each server's container: by default it asks for a little, and has no
    /// limit. Outside of a cluster they have no meaning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
}

impl Default for Server {
    fn default() -> Self {
        Server {
            worker_threads: None,
            memory: None,
            log_operations: false,
            log_format: LogFormat::default(),
            resources: Some(requests("100m", "128Mi")),
        }
    }
}

/// Asks for so much, without a limit. A container that asks for nothing is the first to go where its node
/// runs short.
pub(super) fn requests(cpu: &str, memory: &str) -> ResourceRequirements {
    let quantity = |name: &str, value: &str| (name.to_owned(), Quantity(value.to_owned()));
    ResourceRequirements {
        requests: Some([quantity("cpu", cpu), quantity("memory", memory)].into()),
        ..ResourceRequirements::default()
    }
}

/// The form of the servers' logs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// A JSON object per line.
    Json,
}

impl LogFormat {
    /// Returns the form as the processes take it.
    pub fn name(self) -> &'static str {
        match self {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        }
    }
}
