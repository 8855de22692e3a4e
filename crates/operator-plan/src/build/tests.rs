//! The objects as they are sent to the API server: `snapshots/` holds them for people to review.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use skv_sharding::GroupId;

use super::*;
use crate::names::{Names, ServerSet};
use crate::observed::Observed;
use crate::resolved::Resolved;

mod fixed;
mod pods;

fn input(spec: &str) -> Input {
    let manifest = format!(
        "{{apiVersion: shardedkv.io/v1alpha1, kind: ShardedKV, metadata: {{name: demo}}, spec: {spec}}}"
    );
    let mut spec = skv_resource::parse(&manifest).unwrap().spec;
    spec.image.name.get_or_insert_with(|| "shardedkv:1".to_owned());
    let names = Names { resource: "demo".to_owned(), namespace: "prod".to_owned() };
    Input {
        resolved: Resolved::of(names, &spec, &Observed::default()).unwrap(),
        owner: OwnerReference {
            api_version: "shardedkv.io/v1alpha1".to_owned(),
            kind: "ShardedKV".to_owned(),
            name: "demo".to_owned(),
            uid: "8d0e".to_owned(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        },
        existing: BTreeMap::new(),
        cluster_domain: "cluster.local".to_owned(),
        operator_namespace: "operators".to_owned(),
        users: Users::OfTheImage,
    }
}

fn group(number: u32) -> ServerSet {
    ServerSet::Group(GroupId(number))
}

fn titles(objects: &[Desired]) -> Vec<String> {
    objects.iter().map(Desired::title).collect()
}

fn find(objects: &[Desired], title: &str) -> Value {
    objects
        .iter()
        .find(|object| object.title() == title)
        .unwrap_or_else(|| panic!("no {title}"))
        .content
        .clone()
}

fn yaml(objects: &[Desired]) -> String {
    let documents = objects.iter().map(|object| serde_saphyr::to_string(&object.content).unwrap());
    documents.flat_map(|document| ["---\n".to_owned(), document]).collect()
}

#[test]
fn one_small_group() {
    insta::assert_snapshot!(yaml(&build(&input("{groups: 1}")).unwrap()));
}

#[test]
fn a_group_that_uses_every_setting() {
    let spec = "{groups: 1, replicas: 5, shards: 12, hash: fnv1a,
        image: {name: 'registry:5000/skv:2', pullPolicy: Always, pullSecrets: [{name: registry}]},
        server: {workerThreads: 2, memory: 1Gi, logOperations: true, logFormat: json,
                 resources: {requests: {cpu: 500m, memory: 1Gi}, limits: {memory: 2Gi}}},
        shardManager: {replicas: 3, resources: {limits: {memory: 128Mi}}},
        storage: {size: 50Gi, className: fast, whenDeleted: Delete, whenScaled: Delete},
        scheduling: {nodeSelector: {disk: fast}, tolerations: [{key: kv, operator: Exists}], priorityClassName: high,
                     topologySpreadConstraints: [{maxSkew: 2, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway}]},
        podMetadata: {labels: {team: a, app.kubernetes.io/name: mine}, annotations: {note: b}},
        ports: {client: 8000, peer: 8001, http: 8002, manager: 8003}, nodePorts: {first: 30400},
        limits: {maxKeyBytes: 10, maxValueBytes: 20, maxSessionsPerShard: 30, sessionTtlSeconds: 40},
        tuning: {heartbeatMs: 100, electionTimeoutMs: 500, snapshotLogBytes: 4096, transferBytesPerSecond: 0},
        networkPolicy: {clients: [{podSelector: {matchLabels: {may: connect}}}]}}";
    insta::assert_snapshot!(yaml(&build(&input(spec)).unwrap()));
}

#[test]
fn a_store_in_memory_only() {
    let objects = build(&input("{groups: 1, storage: {memoryOnly: true}}")).unwrap();
    let set = find(&objects, "StatefulSet demo-g0");
    assert_eq!(set["spec"]["volumeClaimTemplates"], Value::Null);
    let container = &set["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["volumeMounts"], Value::Null);
    assert!(container["args"].as_array().unwrap().contains(&"--memory-only".into()));
    let map = find(&objects, "ShardMap demo");
    assert_eq!(map["metadata"]["ownerReferences"][0]["uid"], "8d0e", "the record goes with the data");
}

#[test]
fn each_group_has_its_own_servers_and_all_share_one_shard_manager() {
    let of_one = titles(&build(&input("{groups: 1}")).unwrap());
    let of_three = titles(&build(&input("{groups: 3}")).unwrap());
    let more: Vec<_> = of_three[of_one.len()..].to_vec();
    assert_eq!(of_three[..of_one.len()], of_one);
    let per_group = |g: &str| {
        [
            format!("Service demo-{g}"),
            format!("PodDisruptionBudget demo-{g}"),
            format!("StatefulSet demo-{g}"),
        ]
    };
    assert_eq!(more, [per_group("g1"), per_group("g2")].concat());
}

#[test]
fn each_group_has_a_node_port_that_follows_from_its_number_until_it_is_no_more() {
    let mut input = input("{groups: 3, nodePorts: {first: 30400}}");
    let node_port = |input: &Input, name: &str| {
        let objects = build(input).unwrap();
        let service = objects.iter().find(|object| object.name == name)?;
        service.content["spec"]["ports"][0]["nodePort"].as_u64()
    };
    assert_eq!(node_port(&input, "demo-manager-nodes"), Some(30_400));
    assert_eq!(node_port(&input, "demo-g0-nodes"), Some(30_401));
    assert_eq!(node_port(&input, "demo-g2-nodes"), Some(30_403));
    let retired = ExistingServers { replicas: 3, storage_size: None, keep_claims: false, retired: true };
    input.existing = [(group(2), retired)].into();
    assert_eq!(node_port(&input, "demo-g2-nodes"), None);
    input.resolved.spec.node_ports = None;
    assert!(!titles(&build(&input).unwrap()).iter().any(|title| title.ends_with("-nodes")));
}

#[test]
fn in_a_ring_each_group_has_a_node_port_that_leads_to_all_servers() {
    let spec = "{placement: ring, groups: 3, shards: 3, hash: integer, nodePorts: {first: 30400}}";
    let objects = build(&input(spec)).unwrap();
    let services: Vec<&Value> = objects
        .iter()
        .filter(|object| object.content["spec"]["type"] == "NodePort" && object.name != "demo-manager-nodes")
        .map(|object| &object.content["spec"])
        .collect();
    let ports: Vec<Option<u64>> = services.iter().map(|spec| spec["ports"][0]["nodePort"].as_u64()).collect();
    assert_eq!(ports, [Some(30_401), Some(30_402), Some(30_403)]);
    let all_servers = &build(&input(spec)).unwrap().pop().unwrap().content["spec"]["selector"]["matchLabels"];
    assert!(services.iter().all(|spec| spec["selector"] == *all_servers), "{services:?}");
}

#[test]
fn a_ring_of_five() {
    let spec = "{placement: ring, groups: 5, shards: 5, replicas: 3, hash: integer}";
    let objects = build(&input(spec)).unwrap();
    let of_group = ["Service demo-ring", "PodDisruptionBudget demo", "StatefulSet demo"];
    assert!(titles(&objects).ends_with(&of_group.map(str::to_owned)), "{:?}", titles(&objects));
    let of_ring: Vec<Desired> =
        objects.into_iter().filter(|object| of_group.contains(&object.title().as_str())).collect();
    insta::assert_snapshot!(yaml(&of_ring));
}

#[test]
fn what_has_one_pod_has_no_disruption_budget() {
    for spec in ["{replicas: 1}", "{disruptionBudget: {enabled: false}}"] {
        let titles = titles(&build(&input(spec)).unwrap());
        assert!(!titles.iter().any(|title| title.starts_with("PodDisruptionBudget demo-g")), "{titles:?}");
    }
}

#[test]
fn shard_managers_have_a_disruption_budget_where_there_are_several() {
    let has =
        |spec| titles(&build(&input(spec)).unwrap()).contains(&"PodDisruptionBudget demo-manager".to_owned());
    assert!(has("{}"));
    assert!(!has("{shardManager: {replicas: 1}}"));
    assert!(!has("{disruptionBudget: {enabled: false}}"));
}

#[test]
fn a_group_that_exists_keeps_its_replicas_its_volumes_and_itself() {
    let mut input = input("{groups: 1, replicas: 5, storage: {size: 20Gi}}");
    let existing = ExistingServers {
        replicas: 3,
        storage_size: Some("10Gi".to_owned()),
        keep_claims: false,
        retired: false,
    };
    input.existing = [(group(0), existing.clone()), (group(1), existing)].into();
    let objects = build(&input).unwrap();
    for title in ["StatefulSet demo-g0", "StatefulSet demo-g1"] {
        let spec = &find(&objects, title)["spec"];
        assert_eq!(spec["replicas"], 3);
        let claim = &spec["volumeClaimTemplates"][0]["spec"];
        assert_eq!(claim["resources"]["requests"]["storage"], "10Gi");
    }
}

#[test]
fn a_group_that_is_no_more_has_no_servers_and_nothing_of_it_is_made_again() {
    for (when_scaled, when_deleted) in [("Delete", "Retain"), ("Retain", "Delete")] {
        let spec =
            format!("{{groups: 1, storage: {{whenScaled: {when_scaled}, whenDeleted: {when_deleted}}}}}");
        let mut input = input(&spec);
        let existing = ExistingServers { replicas: 3, storage_size: None, keep_claims: false, retired: true };
        input.existing = [(group(1), existing)].into();
        let objects = build(&input).unwrap();
        let of_group: Vec<String> = titles(&objects).into_iter().filter(|t| t.ends_with("-g1")).collect();
        assert_eq!(of_group, ["StatefulSet demo-g1"]);
        let set = find(&objects, "StatefulSet demo-g1");
        assert_eq!(set["spec"]["replicas"], 0);
        assert_eq!(set["metadata"]["annotations"]["shardedkv.io/retired"], "true");
        // The resource stays.
        let policy = &set["spec"]["persistentVolumeClaimRetentionPolicy"];
        assert_eq!(
            (&policy["whenDeleted"], &policy["whenScaled"]),
            (&policy["whenScaled"], &when_scaled.into())
        );
        let other = find(&objects, "StatefulSet demo-g0");
        assert_eq!(other["metadata"]["annotations"], Value::Null);
    }
}

#[test]
fn no_claim_goes_with_a_statefulset_that_is_made_anew() {
    let mut input = input("{groups: 1, storage: {whenDeleted: Delete}}");
    let policy = |input: &Input| {
        let set = find(&build(input).unwrap(), "StatefulSet demo-g0");
        set["spec"]["persistentVolumeClaimRetentionPolicy"]["whenDeleted"].clone()
    };
    assert_eq!(policy(&input), "Delete");
    let existing = ExistingServers { replicas: 3, storage_size: None, keep_claims: true, retired: false };
    input.existing = [(group(0), existing)].into();
    assert_eq!(policy(&input), "Retain");
}

#[test]
fn the_shard_map_outlives_the_resource_exactly_when_the_volumes_do() {
    let owners =
        |spec| find(&build(&input(spec)).unwrap(), "ShardMap demo")["metadata"]["ownerReferences"].clone();
    assert_eq!(owners("{}"), Value::Null);
    assert_eq!(owners("{storage: {whenDeleted: Delete}}")[0]["name"], "demo");
}

#[test]
fn all_but_the_shard_map_goes_with_the_resource() {
    for object in build(&input("{groups: 3}")).unwrap() {
        let owned = object.content["metadata"]["ownerReferences"][0]["uid"] == "8d0e";
        assert_eq!(owned, object.resource.kind != "ShardMap", "{}", object.title());
    }
}

#[test]
fn what_may_be_without_an_owner_tells_gitops_tools_to_leave_it_alone() {
    let is_left_alone = |metadata: &Value| {
        metadata["annotations"]["argocd.argoproj.io/sync-options"] == "Prune=false,Delete=false"
            && metadata["annotations"]["argocd.argoproj.io/compare-options"] == "IgnoreExtraneous"
    };
    let objects = build(&input("{groups: 1}")).unwrap();
    for object in &objects {
        let metadata = &object.content["metadata"];
        assert!(!metadata["ownerReferences"].is_null() || is_left_alone(metadata), "{}", object.title());
    }
    // The pods have no owner while their StatefulSet is made again.
    let set = find(&objects, "StatefulSet demo-g0");
    assert!(is_left_alone(&set["spec"]["template"]["metadata"]));
    // The template can't change: a change of an existing set would be refused for ever.
    assert_eq!(set["spec"]["volumeClaimTemplates"][0]["metadata"]["annotations"], Value::Null);
    let manager = find(&objects, "Deployment demo-manager");
    assert_eq!(manager["spec"]["template"]["metadata"]["annotations"], Value::Null, "it is not restarted");
}

#[test]
fn the_shard_manager_may_touch_its_own_record_and_nothing_else() {
    let objects = build(&input("{}")).unwrap();
    let role = find(&objects, "Role demo-manager");
    assert_eq!(
        role["rules"],
        serde_json::json!([{
            "apiGroups": ["shardedkv.io"],
            "resources": ["shardmaps"],
            "resourceNames": ["demo"],
            "verbs": ["get", "list", "watch", "update"],
        }])
    );
    let token =
        |title| find(&objects, title)["spec"]["template"]["spec"]["automountServiceAccountToken"].clone();
    assert_eq!(token("Deployment demo-manager"), true);
    assert_eq!(token("StatefulSet demo-g0"), false);
}

#[test]
fn without_clients_nobody_but_our_own_may_connect() {
    let rules = |spec| {
        let policy = find(&build(&input(spec)).unwrap(), "NetworkPolicy demo");
        policy["spec"]["ingress"].as_array().unwrap().len()
    };
    assert_eq!(rules("{}"), 3);
    assert_eq!(rules("{networkPolicy: {clients: []}}"), 2);
    assert_eq!(rules("{networkPolicy: {clients: [], ingress: [{ports: [{port: 15008}]}]}}"), 3);
}

#[test]
fn building_twice_gives_the_same() {
    let input = input("{}");
    assert_eq!(build(&input).unwrap(), build(&input).unwrap());
}
