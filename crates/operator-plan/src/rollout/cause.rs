//! The reasons for which a server's replica is gone for good, as nodes and volumes show them. A node that
//! merely doesn't answer is none: it may come back, with its disk.

use std::fmt::{self, Display};

use k8s_openapi::api::core::v1::{Node, NodeSelectorRequirement, NodeSelectorTerm, PersistentVolume};

/// The taint by which people, or a cloud, say that nothing runs on a node any more.
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// A reason for which a server's replica is gone for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// The server's node was deleted.
    NodeGone(String),
    /// The server's node was said to be out of service.
    OutOfService(String),
    /// The server's volume was deleted.
    VolumeGone,
    /// The nodes that can use the server's volume are all gone or out of service.
    VolumeStranded,
}

impl Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::NodeGone(node) => write!(f, "its node {node} is gone"),
            Cause::OutOfService(node) => write!(f, "its node {node} is out of service"),
            Cause::VolumeGone => f.write_str("its volume is gone"),
            Cause::VolumeStranded => f.write_str("the node of its volume is gone"),
        }
    }
}

/// Returns true if it was said of a node that nothing runs there any more.
pub fn is_out_of_service(node: &Node) -> bool {
    let mut taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    taints.any(|taint| taint.key == OUT_OF_SERVICE)
}

/// Returns label selectors, of which each node that can use a volume matches one; `None` if every node may
/// be able to.
pub fn selectors(volume: &PersistentVolume) -> Option<Vec<String>> {
    let required = volume.spec.as_ref()?.node_affinity.as_ref()?.required.as_ref()?;
    let terms = required.node_selector_terms.iter().filter(|term| !is_empty(term));
    let selectors: Vec<String> = terms.map(selector).collect::<Option<_>>()?;
    Some(selectors).filter(|selectors| !selectors.is_empty())
}

/// Returns true if a term asks for nothing: Kubernetes has such a term match no node.
fn is_empty(term: &NodeSelectorTerm) -> bool {
    term.match_expressions.as_ref().is_none_or(Vec::is_empty)
        && term.match_fields.as_ref().is_none_or(Vec::is_empty)
}

/// Returns the labels that a term asks for as a label selector, if it asks for any. It may ask for more: then
/// fewer nodes match the term than the selector.
fn selector(term: &NodeSelectorTerm) -> Option<String> {
    let labels: Vec<String> = term.match_expressions.iter().flatten().filter_map(requirement).collect();
    (!labels.is_empty()).then(|| labels.join(","))
}

fn requirement(
    NodeSelectorRequirement { key, operator, values }: &NodeSelectorRequirement,
) -> Option<String> {
    let values = values.as_deref().unwrap_or_default().join(",");
    match operator.as_str() {
        "In" => Some(format!("{key} in ({values})")),
        "NotIn" => Some(format!("{key} notin ({values})")),
        "Exists" => Some(key.clone()),
        "DoesNotExist" => Some(format!("!{key}")),
        // Label selectors compare no numbers.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn volume(terms: &Value) -> PersistentVolume {
        let affinity = json!({ "required": { "nodeSelectorTerms": terms } });
        serde_json::from_value(json!({ "spec": { "nodeAffinity": affinity } })).unwrap()
    }

    #[test]
    fn the_nodes_of_a_volume_are_selected_by_their_labels() {
        let of = |terms: Value| selectors(&volume(&terms));
        let host = json!({ "key": "kubernetes.io/hostname", "operator": "In", "values": ["n1", "n2"] });
        let zone = json!({ "key": "zone", "operator": "NotIn", "values": ["b"] });
        let (has, lacks) = (
            json!({ "key": "ssd", "operator": "Exists" }),
            json!({ "key": "old", "operator": "DoesNotExist" }),
        );
        let expected = ["kubernetes.io/hostname in (n1,n2)", "zone notin (b),ssd,!old"].map(str::to_owned);
        let both = json!([{ "matchExpressions": [host] }, { "matchExpressions": [zone, has, lacks] }]);
        assert_eq!(of(both), Some(expected.into()));
        assert_eq!(of(json!([])), None);
        assert_eq!(selectors(&PersistentVolume::default()), None, "it can be used everywhere");
        let more = json!({ "key": "cores", "operator": "Gt", "values": ["8"] });
        let either = json!([{ "matchExpressions": [host] }, { "matchExpressions": [more] }]);
        assert_eq!(of(either), None, "any node may have the cores");
        let on_hosts = Some(vec!["kubernetes.io/hostname in (n1,n2)".to_owned()]);
        assert_eq!(of(json!([{ "matchExpressions": [more, host] }])), on_hosts);
        assert_eq!(of(json!([{ "matchExpressions": [host] }, {}])), on_hosts, "an empty term matches none");
        assert_eq!(of(json!([{}])), None, "it was never of a node");
        let field =
            json!([{ "matchFields": [{ "key": "metadata.name", "operator": "In", "values": ["n1"] }] }]);
        assert_eq!(of(field), None);
    }

    #[test]
    fn a_node_is_out_of_service_only_when_that_was_said_of_it() {
        let tainted = |key: &str| {
            let taint = json!({ "key": key, "effect": "NoExecute" });
            is_out_of_service(&serde_json::from_value(json!({ "spec": { "taints": [taint] } })).unwrap())
        };
        assert!(tainted("node.kubernetes.io/out-of-service"));
        assert!(!tainted("node.kubernetes.io/unreachable"));
        assert!(!is_out_of_service(&Node::default()));
    }
}
