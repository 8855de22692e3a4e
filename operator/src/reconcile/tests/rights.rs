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
    let of_kind =
        |kind: &'static str| documents().into_iter().filter(move |document| document["kind"] == kind);
    // The other roles are for people.
    let bound = of_kind("ClusterRoleBinding").next().unwrap()["roleRef"]["name"].clone();
    let role = of_kind("ClusterRole").find(|role| role["metadata"]["name"] == bound).unwrap();
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
    // What is in no namespace follows right after the version.
    let rest = if rest[0] == "namespaces" { &rest[2..] } else { rest };
    let resource = match rest {
        [resource, _, subresource] => format!("{resource}/{subresource}"),
        _ => rest[0].to_owned(),
    };
    let verbs = match method {
        "GET" if rest.len() == 1 => vec!["list"],
        "GET" => vec!["get"],
        "POST" => vec!["create"],
        "PUT" => vec!["update"],
        "DELETE" => vec!["delete"],
        // Others make claims and volumes; the operator changes existing ones.
        "PATCH" if resource.starts_with("persistentvolume") => vec!["patch"],
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
    let mut set = operator.server.get(SET).unwrap();
    set["status"] = json!({ "replicas": 0 });
    operator.server.put(SET, set);
    operator.pass().await.unwrap();
    operator.set_spec(json!({ "replicas": 2 }));
    operator.pass().await.unwrap();
    operator.set_spec(json!({ "replicas": "two" }));
    operator.pass().await.unwrap();
    let mut requests: BTreeSet<_> = operator.server.requests().into_iter().collect();
    requests.extend(groups::requests_of_a_groups_end().await);
    requests.extend(losses::requests_of_a_replacement().await);
    assert!(requests.iter().any(|request| request.starts_with("DELETE") && request.contains("/services/")));
    assert!(requests.iter().any(|request| request.starts_with("GET") && request.ends_with("/events")));
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
    assert!(allowed("", "nodes", "list") && allowed("", "nodes", "watch"));
}

/// An API server that has OwnerReferencesPermissionEnforcement on, as OpenShift's has, asks for it. So it
/// does before an object that exists gets an owner: a shard map that is kept no longer, or what is left of a
/// resource that was deleted without its objects.
#[test]
fn objects_may_have_an_owner_whose_deletion_waits_for_them() {
    assert!(allowed("shardedkv.io", "shardedkvs/finalizers", "update"));
    for kind in kinds() {
        assert!(allowed(&kind.group, &kind.plural, "delete"), "{}", kind.plural);
    }
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

/// Kubernetes' own controllers make pods and claims. The operator enters no pod, and reads claims as lists.
#[test]
fn pods_and_claims_are_made_by_others() {
    for verb in ["create", "update", "patch"] {
        assert!(!allowed("", "pods", verb), "{verb} pods");
    }
    for verb in ["get", "create", "update"] {
        assert!(!allowed("", "persistentvolumeclaims", verb), "{verb} persistentvolumeclaims");
    }
    for subresource in ["pods/exec", "pods/attach", "pods/portforward", "pods/log"] {
        assert!(["get", "create"].iter().all(|verb| !allowed("", subresource, verb)), "{subresource}");
    }
}

/// Network policies let the operator in by this label.
#[test]
fn the_operators_pods_have_the_label_by_which_they_are_known() {
    let deployment = documents().into_iter().find(|document| document["kind"] == "Deployment").unwrap();
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    assert_eq!(labels["app.kubernetes.io/name"], skv_operator_plan::names::MANAGER);
}

#[test]
fn who_may_see_or_change_a_namespace_may_do_so_with_its_stores() {
    let rights = |role: &str| -> BTreeSet<String> {
        let label = format!("rbac.authorization.k8s.io/aggregate-to-{role}");
        let is_added = |document: &Value| document["metadata"]["labels"][&label] == "true";
        let rules_of = |role: Value| serde_json::from_value::<ClusterRole>(role).unwrap().rules.unwrap();
        let of_rule = |rule: PolicyRule| {
            let resources = rule.resources.unwrap();
            let verbs = rule.verbs.into_iter();
            verbs.flat_map(move |verb| resources.clone().into_iter().map(move |r| format!("{verb} {r}")))
        };
        documents().into_iter().filter(is_added).flat_map(rules_of).flat_map(of_rule).collect()
    };
    let (view, edit, admin) = (rights("view"), rights("edit"), rights("admin"));
    let is_reading = |right: &String| ["get ", "list ", "watch "].iter().any(|verb| right.starts_with(verb));
    assert!(view.contains("list shardedkvs") && view.iter().all(is_reading), "{view:?}");
    assert!(edit.is_superset(&view) && edit.contains("create shardedkvs"), "{edit:?}");
    assert!(edit.contains("patch shardedkvs/scale") && !edit.contains("delete shardmaps"), "{edit:?}");
    assert!(admin.is_superset(&edit) && admin.contains("delete shardmaps"), "{admin:?}");
    assert!(!admin.contains("update shardedkvs/status"), "statuses are the operator's");
}
