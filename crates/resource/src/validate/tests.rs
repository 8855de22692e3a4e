//! The rules, one by one, as we check them and as an API server does.

use kube::core::cel::{validate_cel, validate_cel_update};
use skv_sharding::GroupId;

use super::*;
use crate::{Founded, IpFamily, ShardedKv};

fn problems(change: impl FnOnce(&mut ShardedKvSpec)) -> Vec<String> {
    let mut spec = ShardedKvSpec::default();
    change(&mut spec);
    validate("quickstart", &spec).into_iter().map(|problem| problem.path).collect()
}

/// Returns an error if an API server's rules refuse this resource. They don't cover ranges and enums,
/// which the schema states by itself.
fn rules_take(name: &str, spec: &ShardedKvSpec) -> Result<(), String> {
    validate_cel(&ShardedKv::new(name, spec.clone())).map_err(|errors| format!("{errors:?}"))
}

/// Returns a ring of this many servers, with this many replicas of each group.
fn ring(servers: u32, replicas: u32) -> ShardedKvSpec {
    let placement = Placement::Ring;
    ShardedKvSpec { groups: servers, shards: servers, replicas, placement, ..ShardedKvSpec::default() }
}

#[test]
fn the_defaults_are_valid() {
    assert!(problems(|_| {}).is_empty());
    assert_eq!(rules_take("quickstart", &ShardedKvSpec::default()), Ok(()));
}

#[test]
fn each_field_out_of_range_is_named() {
    let one = |path: &str, change: fn(&mut ShardedKvSpec)| assert_eq!(problems(change), [path]);
    one("spec.groups", |spec| spec.groups = 0);
    one("spec.replicas", |spec| spec.replicas = 0);
    one("spec.replicas", |spec| {
        *spec = ring(5, 0);
    });
    one("spec.shards", |spec| spec.shards = 10_001);
    one("spec.server.workerThreads", |spec| spec.server.worker_threads = Some(0));
    one("spec.server.memory", |spec| {
        spec.server.memory = Some("2Gi".parse().unwrap());
        spec.server.resources =
            serde_json::from_value(serde_json::json!({ "limits": { "memory": "1Gi" } })).unwrap();
    });
    one("spec.shardManager.replicas", |spec| spec.shard_manager.replicas = 0);
    one("spec.image.name", |spec| spec.image.name = Some(String::new()));
    one("spec.storage.className", |spec| spec.storage.class_name = Some(String::new()));
    one("spec.ports.client", |spec| spec.ports.client = 80);
    one("spec.nodePorts.first", |spec| spec.node_ports = Some(NodePorts { first: 29_999 }));
    one("spec.nodePorts.first", |spec| spec.node_ports = Some(NodePorts { first: 32_768 }));
    one("spec.replacement.afterSeconds", |spec| spec.replacement.after_seconds = 0);
    one("spec.replacement.maxPerHour", |spec| spec.replacement.max_per_hour = 0);
    one("spec.service.ipFamilies", |spec| spec.service.ip_families = vec![IpFamily::V4; 3]);
    one("spec.limits.maxKeyBytes", |spec| spec.limits.max_key_bytes = 0);
    one("spec.limits.maxValueBytes", |spec| spec.limits.max_value_bytes = 3 << 20);
    one("spec.limits.maxSessionsPerShard", |spec| spec.limits.max_sessions_per_shard = 0);
    one("spec.limits.sessionTtlSeconds", |spec| spec.limits.session_ttl_seconds = 9);
    one("spec.tuning.heartbeatMs", |spec| spec.tuning.heartbeat_ms = 0);
    one("spec.tuning.snapshotLogBytes", |spec| spec.tuning.snapshot_log_bytes = 10);
}

#[test]
fn what_a_schema_can_not_say_is_refused_by_us_and_by_the_rules_of_the_api_server() {
    let both = |path: &str, change: fn(&mut ShardedKvSpec)| {
        assert_eq!(problems(change), [path]);
        let mut spec = ShardedKvSpec::default();
        change(&mut spec);
        assert!(rules_take("quickstart", &spec).is_err(), "{path}");
    };
    both("spec.groups", |spec| spec.groups = 241);
    both("spec.server.memory", |spec| spec.server.memory = Some("100Mi".parse().unwrap()));
    both("spec.groups", |spec| {
        spec.policy = Policy::Modulo;
        spec.groups = 7;
    });
    both("spec.replicas", |spec| spec.replicas = 2);
    both("spec.replicas", |spec| spec.replicas = 9);
    both("spec.replicas", |spec| *spec = ring(3, 4));
    both("spec.groups", |spec| *spec = ShardedKvSpec { groups: 4, ..ring(5, 3) });
    both("spec.groups", |spec| *spec = ShardedKvSpec { groups: 6, ..ring(5, 3) });
    both("spec.tuning.electionTimeoutMs", |spec| spec.tuning.election_timeout_ms = 149);
    both("spec.storage.size", |spec| spec.storage.size = "255Mi".parse().unwrap());
    both("spec.storage.className", |spec| {
        spec.storage.memory_only = true;
        spec.storage.class_name = Some("fast".to_owned());
    });
    both("spec.service.loadBalancerSourceRanges", |spec| {
        spec.service.load_balancer_source_ranges = vec!["10.0.0.0/8".to_owned()];
    });
    both("spec.service.ipFamilies", |spec| spec.service.ip_families = vec![IpFamily::V6; 2]);
    both("spec.service.ipFamilies", |spec| {
        spec.service.ip_families = vec![IpFamily::V6, IpFamily::V4];
        spec.service.ip_family_policy = Some(IpFamilyPolicy::Single);
    });
    both("spec.ports", |spec| spec.ports.http = spec.ports.client);
    both("spec.ports", |spec| spec.ports.manager = spec.ports.http);
    both("spec.nodePorts.first", |spec| {
        spec.groups = 68;
        spec.node_ports = Some(NodePorts { first: 32_700 });
    });
}

#[test]
fn each_group_has_a_port_of_its_own_in_the_range_of_node_ports() {
    let nodes = NodePorts { first: 32_700 };
    let spec = ShardedKvSpec { groups: 67, node_ports: Some(nodes), ..ShardedKvSpec::default() };
    assert!(validate("quickstart", &spec).is_empty());
    assert_eq!(rules_take("quickstart", &spec), Ok(()));
    assert_eq!(nodes.of_group(GroupId(0)), Some(32_701));
    assert_eq!(nodes.of_group(GroupId(66)), Some(32_767));
    // Groups aren't always numbered without a gap.
    assert_eq!(nodes.of_group(GroupId(67)), None);
    assert_eq!(nodes.of_group(GroupId(u32::MAX)), None);
}

#[test]
fn a_ring_has_any_number_of_replicas_up_to_that_of_its_servers() {
    for servers in 1..=9 {
        for replicas in 1..=servers {
            for policy in [Policy::Minimal, Policy::Modulo] {
                let spec = ShardedKvSpec { policy, ..ring(servers, replicas) };
                assert_eq!(validate("ring", &spec), []);
                assert_eq!(rules_take("ring", &spec), Ok(()));
                assert_eq!(spec.ring(), Some(Ring::new(servers, replicas).unwrap()));
            }
        }
    }
}

#[test]
fn a_ring_stays_as_it_was_created() {
    let old = ring(5, 3);
    let refused = |new: &ShardedKvSpec| {
        let (old, new) = (ShardedKv::new("ring", old.clone()), ShardedKv::new("ring", new.clone()));
        validate_cel_update(&new, &old).is_err()
    };
    // This is the request of `kubectl scale`: it isn't even valid by itself.
    let scaled = ShardedKvSpec { groups: 6, ..old.clone() };
    assert!(refused(&scaled));
    assert_eq!(validate("ring", &scaled)[0].path, "spec.groups");
    let fewer = ShardedKvSpec { replicas: 2, ..old.clone() };
    assert!(refused(&fewer));
    let found = Founded::from(&old).problems(&fewer);
    assert_eq!(found.len(), 1);
    assert_eq!(
        found[0].to_string(),
        "spec.replicas: is fixed for the life of the resource: set it back to 3"
    );
    assert!(!refused(&ShardedKvSpec { paused: true, ..old.clone() }));
}

#[test]
fn a_name_must_fit_into_dns() {
    let (spec, long) = (ShardedKvSpec::default(), "a".repeat(41));
    for name in ["", "-a", "a-", "1a", "A", "a.b", "a_b", "ä", &long] {
        let paths: Vec<_> = validate(name, &spec).into_iter().map(|problem| problem.path).collect();
        assert_eq!(paths, ["metadata.name"], "{name}");
        assert!(rules_take(name, &spec).is_err(), "{name}");
    }
    for name in ["a", "a1", "a-b", &long[1..]] {
        assert!(validate(name, &spec).is_empty(), "{name}");
        assert_eq!(rules_take(name, &spec), Ok(()), "{name}");
    }
}

#[test]
fn what_is_fixed_can_not_change_for_us_nor_for_the_api_server() {
    let fixed = |path: &str, change: fn(&mut ShardedKvSpec)| {
        let mut old = ShardedKvSpec::default();
        old.storage.class_name = Some("fast".to_owned());
        let mut new = old.clone();
        change(&mut new);
        let found = Founded::from(&old).problems(&new);
        assert_eq!(found.iter().map(|problem| problem.path.as_str()).collect::<Vec<_>>(), [path]);
        let (old, new) = (ShardedKv::new("quickstart", old), ShardedKv::new("quickstart", new));
        assert!(validate_cel_update(&new, &old).is_err(), "{path}");
    };
    fixed("spec.shards", |spec| spec.shards = 480);
    fixed("spec.hash", |spec| spec.hash = skv_sharding::Hash::Fnv1a);
    fixed("spec.policy", |spec| spec.policy = Policy::Modulo);
    fixed("spec.placement", |spec| spec.placement = Placement::Ring);
    fixed("spec.limits", |spec| spec.limits.max_key_bytes = 1);
    fixed("spec.storage.memoryOnly", |spec| spec.storage.memory_only = true);
    fixed("spec.storage.className", |spec| spec.storage.class_name = Some("slow".to_owned()));
    fixed("spec.storage.className", |spec| spec.storage.class_name = None);
}

#[test]
fn the_rest_can_change() {
    let mut old = ShardedKvSpec::default();
    old.storage.size = "1Gi".parse().unwrap();
    let mut new = ShardedKvSpec { groups: 3, replicas: 5, paused: true, ..old.clone() };
    new.storage.size = "2Gi".parse().unwrap();
    new.tuning.heartbeat_ms = 60;
    new.ports.client = 8000;
    new.node_ports = Some(NodePorts { first: 30_400 });
    assert!(Founded::from(&old).problems(&new).is_empty());
    let (old, new) = (ShardedKv::new("quickstart", old), ShardedKv::new("quickstart", new));
    validate_cel_update(&new, &old).unwrap();
    assert!(validate_cel_update(&old, &new).is_err(), "a volume doesn't shrink");
}

/// Returns the specification of a resource whose pods have these additions.
fn with_template(template: serde_json::Value) -> ShardedKvSpec {
    let pod_template = Some(serde_json::from_value(template).unwrap());
    ShardedKvSpec { pod_template, ..ShardedKvSpec::default() }
}

#[test]
fn pods_can_have_what_follows_from_nothing_else() {
    let spec = with_template(serde_json::json!({ "spec": {
        "serviceAccountName": "orders", "runtimeClassName": "gvisor", "dnsPolicy": "None", "hostname": null,
        "dnsConfig": { "nameservers": ["10.0.0.1"] },
        "volumes": [{ "name": "certificates", "secret": { "secretName": "tls" } }, { "name": "x", "emptyDir": {} }],
        "initContainers": [{ "name": "first", "image": "i" }],
        "containers": [
            { "name": "kvserver", "env": [{ "name": "RUST_LOG", "value": "debug" }],
              "volumeMounts": [{ "name": "certificates", "mountPath": "/tls" }],
              "livenessProbe": { "failureThreshold": 9 } },
            { "name": "shipper", "image": "i", "args": ["-f"], "ports": [{ "containerPort": 1 }],
              "resources": { "limits": { "memory": "1Gi" } } },
        ],
    } }));
    assert_eq!(validate("quickstart", &spec), []);
    assert_eq!(rules_take("quickstart", &spec), Ok(()));
}

#[test]
fn what_pods_have_from_elsewhere_can_not_be_set_by_their_template() {
    let refused = |pod: serde_json::Value| -> Vec<String> {
        let problems = validate("quickstart", &with_template(serde_json::json!({ "spec": pod })));
        problems.into_iter().map(|problem| problem.path.replace("spec.podTemplate.spec.", "")).collect()
    };
    assert_eq!(refused(serde_json::json!({ "restartPolicy": "Never" })), ["restartPolicy"]);
    assert_eq!(refused(serde_json::json!({ "securityContext": {} })), ["securityContext"]);
    assert_eq!(refused(serde_json::json!({ "volumes": [{ "name": "data" }] })), ["volumes[0].name"]);
    assert_eq!(
        refused(serde_json::json!({ "initContainers": [{ "name": "kvserver" }] })),
        ["initContainers[0].name"]
    );
    let sidecar = serde_json::json!({ "name": "x", "ports": [{ "name": "peer", "containerPort": 1 }] });
    assert_eq!(refused(serde_json::json!({ "containers": [sidecar] })), ["containers[0].ports[0].name"]);
    let ours = serde_json::json!({
        "name": "kvserver", "args": ["--x"], "readinessProbe": { "exec": {}, "periodSeconds": 1 },
        "env": [{ "name": "A" }, { "name": "SKV_GROUP", "value": "g9" }],
        "volumeMounts": [{ "name": "data", "mountPath": "/elsewhere" }, { "name": "x", "mountPath": "/data" }],
    });
    assert_eq!(
        refused(serde_json::json!({ "containers": [{ "name": "other", "args": [] }, ours] })),
        ["args", "readinessProbe.exec", "env[1].name", "volumeMounts[0]", "volumeMounts[1]"]
            .map(|field| format!("containers[1].{field}"))
    );
}

#[test]
fn what_is_no_field_of_a_pod_is_named() {
    for (template, path) in [
        (serde_json::json!({ "metadata": { "labels": {} } }), "spec.podTemplate.metadata"),
        (serde_json::json!({ "sepc": {} }), "spec.podTemplate.sepc"),
        (serde_json::json!({ "spec": { "contaners": [] } }), "spec.podTemplate.spec.contaners"),
        (
            serde_json::json!({ "spec": { "containers": [{ "name": "a" }, { "name": "b", "envs": [] }] } }),
            "spec.podTemplate.spec.containers[1].envs",
        ),
        (serde_json::json!({ "spec": { "hostNetwork": "yes" } }), "spec.podTemplate.spec.hostNetwork"),
    ] {
        let paths: Vec<_> =
            validate("quickstart", &with_template(template)).into_iter().map(|p| p.path).collect();
        assert_eq!(paths, [path]);
    }
}

#[test]
fn all_problems_are_found_at_once() {
    let found = problems(|spec| {
        spec.replicas = 4;
        spec.shards = 0;
    });
    assert_eq!(found, ["spec.replicas", "spec.shards"]);
}
