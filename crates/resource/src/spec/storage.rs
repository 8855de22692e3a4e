//! The place of a server's data, and its retention.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Size;

/// The storage of each server's data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("x-kubernetes-validations" = [
        { "rule": "has(self.className) == has(oldSelf.className) && (!has(self.className) || self.className == oldSelf.className)", "message": "is fixed for the life of the resource", "fieldPath": ".className" },
        { "rule": "!self.memoryOnly || !has(self.className)", "message": "has no meaning with memoryOnly: leave it out", "fieldPath": ".className" }
    ]))]
pub struct Storage {
    /// Keep everything in memory only: a server is a new replica after every restart, and
    /// acknowledged writes survive as long as a majority of each group stays up. Fixed for
    /// the life of the resource.
    #[schemars(extend("x-kubernetes-validations" = [
        { "rule": "self == oldSelf", "message": "is fixed for the life of the resource" }
    ]))]
    pub memory_only: bool,
    /// The size of each server's volume, such as 10Gi: at least 256Mi. It may grow, and
    /// never shrinks. Outside of a cluster it has no meaning.
    #[schemars(extend("x-kubernetes-validations" = [
        { "rule": "quantity(self).compareTo(quantity('256Mi')) >= 0", "message": "must be at least 256Mi" },
        { "rule": "quantity(self).compareTo(quantity(oldSelf)) >= 0", "message": "can't shrink" }
    ]))]
    pub size: Size,
    /// The storage class of the volumes; the cluster's default without it. Fixed for the
    /// life of the resource. Outside of a cluster it has no meaning.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub class_name: Option<String>,
    /// The retention of the volumes, and of the shard map, when the resource is deleted:
    /// Retain or Delete. Outside of a cluster they are always kept.
    pub when_deleted: Retention,
    /// The retention of the volumes of a server that is no longer needed: Retain or Delete.
    /// Outside of a cluster `skv apply` always removes the data of a group that left.
    pub when_scaled: Retention,
}

/// The retention of volumes that nothing uses any more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Retention {
    /// They are kept.
    #[default]
    Retain,
    /// They are deleted with their data.
    Delete,
}

impl Retention {
    /// Returns the retention as Kubernetes writes it.
    pub fn name(self) -> &'static str {
        match self {
            Retention::Retain => "Retain",
            Retention::Delete => "Delete",
        }
    }
}

impl Default for Storage {
    fn default() -> Self {
        Storage {
            memory_only: false,
            size: Size::gibibytes(10),
            class_name: None,
            when_deleted: Retention::default(),
            when_scaled: Retention::default(),
        }
    }
}
