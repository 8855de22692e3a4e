//! The objects of the operator's chart, as helm renders them.

use serde_json::Value;

use crate::{Namespace, in_project};

/// The objects that the chart makes with some settings.
pub struct Rendered(Vec<Value>);

impl Rendered {
    /// Renders the chart with these settings, such as `metrics.rules.enabled=true`.
    pub async fn with(namespace: &Namespace, settings: &[&str]) -> Rendered {
        let chart = in_project("charts/shardedkv");
        let mut arguments = vec!["template", "skv-operator", &chart];
        arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
        let output = namespace.helm(&arguments).await;
        assert!(output.succeeded, "{output:?}");
        Rendered(serde_saphyr::from_multiple(&output.stdout).expect("YAML"))
    }

    /// Returns the objects of a kind.
    pub fn of_kind(&self, kind: &str) -> Vec<&Value> {
        self.0.iter().filter(|object| object["kind"] == kind).collect()
    }
}
