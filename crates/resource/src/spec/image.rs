//! The image of the pods.

use k8s_openapi::api::core::v1::LocalObjectReference;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The image that the pods run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Image {
    /// The image, with its tag or digest. Without one a store gets that of the operator that makes it, and
    /// keeps it: a newer operator doesn't change it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub name: Option<String>,
    /// The pull policy of the image: IfNotPresent, Always or Never.
    pub pull_policy: PullPolicy,
    /// Secrets of this namespace with which the image is pulled.
    pub pull_secrets: Vec<LocalObjectReference>,
}

/// The pull policy of an image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PullPolicy {
    /// Only where the node doesn't have it.
    #[default]
    IfNotPresent,
    /// Before each start.
    Always,
    /// The node must have it.
    Never,
}

impl PullPolicy {
    /// Returns the policy as Kubernetes writes it.
    pub fn name(self) -> &'static str {
        match self {
            PullPolicy::IfNotPresent => "IfNotPresent",
            PullPolicy::Always => "Always",
            PullPolicy::Never => "Never",
        }
    }
}

impl Image {
    /// Returns the tag of an image's name, or the beginning of its digest: this part tells versions apart.
    pub fn version_of(name: &str) -> &str {
        if let Some((_, digest)) = name.split_once('@') {
            return digest.get(..19).unwrap_or(digest);
        }
        // A colon before a slash belongs to the port of a registry.
        match name.rsplit_once(':') {
            Some((_, tag)) if !tag.contains('/') => tag,
            _ => "latest",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_tag_or_the_digest() {
        for (name, version) in [
            ("shardedkv:0.1.0", "0.1.0"),
            ("registry:5000/shardedkv", "latest"),
            ("registry:5000/a/shardedkv:v2", "v2"),
            ("shardedkv@sha256:0123456789abcdef0123", "sha256:0123456789ab"),
            ("shardedkv:1@sha256:01", "sha256:01"),
        ] {
            assert_eq!(Image::version_of(name), version, "{name}");
        }
    }
}
