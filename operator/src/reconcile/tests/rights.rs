//! The rights in deploy/operator are enough for the operator's requests, and no wider.

use std::collections::BTreeSet;

use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use serde_json::Value;

use super::*;
use crate::cache::kinds;

fn documents() -> Vec<Value> {
    serde_saphyr::from_multiple(include_str!("../../../../deploy/operator/operator.yaml")).unwrap()
}

fn rules() -> Vec<PolicyRule> {
    let role = documents().into_iter().find(|document| document["kind"] == "ClusterRole").unwrap();
    serde_json::from_value::<ClusterRole>(role).unwrap().rules.unwrap()
}

fn allowed(group: &str, resource: &str, verb: &str) -> bool {
    let has = |list: &Option<Vec<String>>, what: &str| list.iter().flatten().any(|entry| entry == what);
    rules().iter().any(|rule| {
        has(&rule.api_groups, group) && has(&rule.resources, resource) && rule.verbs.iter().any(|v| v == verb)
    })
}

/// Returns group, resource (with subresource) and verbs of a request `METHOD PATH`.
fn right(request: &str) -> (String, String, Vec<&'static str>) {
    let (method, path) = request.split_once(' ').unwrap();
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let (group, rest) = if parts[0] == "api" { ("", &parts[2..]) } else { (parts[1], &parts[3..]) };
    let resource = match rest[2..] {
        [resource, _, subresource] => format!("{resource}/{subresource}"),
        _ => rest[2].to_owned(),
    };
    let verbs = match method {
        "GET" if rest.len() == 3 => vec!["list"],
        "GET" => vec!["get"],
        "POST" => vec!["create"],
        "PUT" => vec!["update"],
        "DELETE" => vec!["delete"],
        // Kubernetes makes claims; the operator changes existing ones.
        "PATCH" if resource == "persistentvolumeclaims" => vec!["patch"],
        // A server-side apply of a new object creates it.
        "PATCH" if group != "events.k8s.io" => vec!["create", "patch"],
        _ => vec!["patch"],
    };
    (group.to_owned(), resource, verbs)
}

#[tokio::test]
async fn all_that_a_life_of_a_resource_needs_is_allowed() {
    let mut operator = Operator::new(json!({ "groups": 1 }));
    operator.pass().await.unwrap();
    let off = json!({ "groups": 1, "disruptionBudget": { "enabled": false }, "networkPolicy": { "enabled": false } });
    operator.set_spec(off);
    operator.pass().await.unwrap();
    operator.set_spec(json!({ "replicas": 2 }));
    operator.pass().await.unwrap();
    operator.set_spec(json!({ "replicas": "two" }));
    operator.pass().await.unwrap();
    let mut requests: BTreeSet<_> = operator.server.requests().into_iter().collect();
    requests.extend(groups::requests_of_a_groups_end().await);
    assert!(requests.iter().any(|request| request.starts_with("DELETE") && request.contains("/services/")));
    assert!(requests.len() > 20, "{requests:#?}");
    for request in requests {
        let (group, resource, verbs) = right(&request);
        for verb in verbs {
            assert!(allowed(&group, &resource, verb), "{verb} {resource} of {group:?}, for {request}");
        }
    }
}

#[test]
fn all_that_is_watched_is_allowed() {
    for kind in kinds() {
        for verb in ["list", "watch"] {
            assert!(allowed(&kind.group, &kind.plural, verb), "{verb} {}", kind.plural);
        }
    }
    assert!(allowed("shardedkv.io", "shardedkvs", "list") && allowed("shardedkv.io", "shardedkvs", "watch"));
}

#[test]
fn what_is_given_to_shard_managers_is_ours_to_give() {
    for verb in ["get", "list", "watch", "update"] {
        assert!(allowed("shardedkv.io", "shardmaps", verb), "{verb}");
    }
}

#[test]
fn nothing_is_allowed_wholesale_and_no_secret_is_read() {
    for rule in rules() {
        let all = [rule.api_groups.as_ref(), rule.resources.as_ref(), Some(&rule.verbs)];
        for entry in all.into_iter().flatten().flatten() {
            assert!(!entry.contains('*') && entry != "secrets", "{entry}");
        }
    }
}

/// Network policies let the operator in by this label.
#[test]
fn the_operators_pods_have_the_label_by_which_they_are_known() {
    let deployment = documents().into_iter().find(|document| document["kind"] == "Deployment").unwrap();
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    assert_eq!(labels["app.kubernetes.io/name"], skv_operator_plan::names::MANAGER);
}
