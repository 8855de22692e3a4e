//! Manifests as people write them.

use skv_resource::{
    IpFamily, IpFamilyPolicy, ManifestError, NodePorts, Placement, PullPolicy, Retention, ServiceType,
    ShardedKvSpec, TrafficDistribution, parse,
};
use skv_sharding::{Hash, Policy};

const HEAD: &str = "apiVersion: shardedkv.io/v1alpha1\nkind: ShardedKV\nmetadata: {name: demo}\n";

#[track_caller]
fn refused(yaml: &str) -> String {
    parse(yaml).expect_err("must be refused").to_string()
}

fn with_spec(spec: &str) -> String {
    format!("{HEAD}spec: {spec}\n")
}

#[test]
fn the_quickstart_is_two_groups_of_three() {
    let resource = parse(include_str!("../../../deploy/samples/quickstart.yaml")).unwrap();
    assert_eq!(resource.metadata.name, "quickstart");
    assert_eq!((resource.spec.groups, resource.spec.replicas, resource.spec.shards), (2, 3, 240));
}

#[test]
fn every_sample_is_valid_and_has_the_name_of_its_file() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/samples");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let resource = parse(&std::fs::read_to_string(&path).unwrap());
        let resource = resource.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(path.file_stem().unwrap(), resource.metadata.name.as_str());
        names.push(resource.metadata.name);
    }
    names.sort();
    let labs = ["lab-raft", "lab-ring", "lab-shardkv", "lab-static"];
    assert_eq!(names, [&labs[..], &["memory-only", "production", "quickstart", "single"]].concat());
}

#[test]
fn what_is_left_out_has_its_default() {
    assert_eq!(parse(HEAD).unwrap().spec, ShardedKvSpec::default());
    assert_eq!(parse(&with_spec("{}")).unwrap().spec, ShardedKvSpec::default());
}

#[test]
fn every_field_can_be_set() {
    let spec = parse(&with_spec(
        "{groups: 1, replicas: 5, shards: 7, hash: integer, policy: modulo, placement: groups,
          image: {name: 'registry:5000/skv:2', pullPolicy: Always, pullSecrets: [{name: registry}]},
          server: {workerThreads: 4, memory: 512Mi, logOperations: true, logFormat: json, resources: {limits: {memory: 1Gi}}},
          shardManager: {replicas: 1, resources: {requests: {cpu: 100m}}},
          scheduling: {nodeSelector: {disk: fast}, tolerations: [{key: kv, operator: Exists}], affinity: {},
                       topologySpreadConstraints: [], priorityClassName: high},
          podMetadata: {labels: {team: a}, annotations: {b: c}},
          podTemplate: {spec: {runtimeClassName: gvisor}}, podSecurityContext: {runAsUser: 7},
          service: {type: LoadBalancer, annotations: {a: b}, loadBalancerSourceRanges: [10.0.0.0/8],
                    trafficDistribution: PreferSameZone, ipFamilyPolicy: RequireDualStack, ipFamilies: [IPv6, IPv4]},
          ports: {client: 8000, peer: 8001, http: 8002, manager: 8003}, nodePorts: {first: 30400},
          disruptionBudget: {enabled: false}, networkPolicy: {enabled: false, clients: [], ingress: [{}]}, paused: true,
          replacement: {enabled: false, afterSeconds: 60, maxPerHour: 1, volumes: Delete},
          limits: {maxKeyBytes: 10, maxValueBytes: 20, maxSessionsPerShard: 30, sessionTtlSeconds: 40},
          tuning: {heartbeatMs: 100, electionTimeoutMs: 500, snapshotLogBytes: 4096, transferBytesPerSecond: 0},
          storage: {memoryOnly: true, size: 20Gi, whenDeleted: Delete, whenScaled: Delete}}",
    ))
    .unwrap()
    .spec;
    assert_eq!((spec.groups, spec.replicas, spec.shards, spec.hash), (1, 5, 7, Hash::Integer));
    assert_eq!((spec.policy, spec.placement), (Policy::Modulo, Placement::Groups));
    assert_eq!((spec.server.worker_threads, spec.server.log_operations), (Some(4), true));
    assert_eq!(spec.server.memory.map(|memory| memory.bytes()), Some(512 << 20));
    assert_eq!((spec.limits.max_value_bytes, spec.limits.session_ttl_seconds), (20, 40));
    assert_eq!((spec.tuning.heartbeat_ms, spec.tuning.snapshot_log_bytes), (100, 4096));
    assert_eq!(spec.tuning.transfer_bytes_per_second, 0);
    assert!(spec.storage.memory_only);
    assert_eq!((spec.storage.size.bytes(), spec.storage.when_deleted), (20 << 30, Retention::Delete));
    assert_eq!(
        (spec.image.name.as_deref(), spec.image.pull_policy),
        (Some("registry:5000/skv:2"), PullPolicy::Always)
    );
    assert_eq!((spec.replacement.after_seconds, spec.replacement.volumes), (60, Retention::Delete));
    assert_eq!(spec.node_ports, Some(NodePorts { first: 30_400 }));
    let pods = spec.pod_template.unwrap().pod_spec().unwrap();
    assert_eq!(pods.runtime_class_name.as_deref(), Some("gvisor"));
    assert_eq!(spec.pod_security_context.unwrap().run_as_user, Some(7));
    assert_eq!(
        (spec.service.type_, spec.service.traffic_distribution),
        (ServiceType::LoadBalancer, Some(TrafficDistribution::SameZone))
    );
    assert_eq!(spec.service.ip_family_policy, Some(IpFamilyPolicy::RequireDual));
    assert_eq!(spec.service.ip_families, [IpFamily::V6, IpFamily::V4]);
    assert_eq!((spec.ports.manager, spec.shard_manager.replicas, spec.paused), (8003, 1, true));
}

#[test]
fn an_object_read_back_from_a_cluster_is_accepted() {
    let yaml = format!(
        "{}status: {{conditions: []}}\n",
        HEAD.replace("{name: demo}", "{name: demo, uid: 8d0e, generation: 3, labels: {a: b}}")
    );
    assert_eq!(parse(&yaml).unwrap().metadata.labels["a"], "b");
}

#[test]
fn a_wrong_field_is_named_with_its_path_and_the_reason() {
    for (spec, expected) in [
        ("{replica: 3}", "spec.replica: unknown field `replica`"),
        ("{replicas: three}", "spec.replicas: invalid type: string \"three\""),
        ("{replicas: -1}", "spec.replicas: invalid value: integer `-1`"),
        ("{limits: {maxKeyByte: 1}}", "spec.limits.maxKeyByte: unknown field"),
        (
            "{storage: {size: 1.5Gi}}",
            "spec.storage.size: \"1.5Gi\" is not a size: write a whole number and a unit",
        ),
        ("{image: {pullPolicy: Sometimes}}", "spec.image.pullPolicy: unknown variant `Sometimes`"),
        ("{scheduling: {tolerations: {}}}", "spec.scheduling.tolerations: invalid type: map"),
        ("{hash: md5}", "spec.hash: unknown variant `md5`"),
        ("{groups: 9, shards: 4}", "spec.groups: 9 groups can't share 4 shards"),
        ("{policy: even}", "spec.policy: unknown variant `even`"),
        ("{groups: 7, policy: modulo}", "spec.groups: 7 groups don't divide 240 shards"),
        ("{placement: line}", "spec.placement: unknown variant `line`"),
        (
            "{placement: ring}",
            "spec.replicas: a ring of 2 servers holds 1 to 2 replicas of each group, not 3",
        ),
        ("{placement: ring, groups: 5}", "spec.groups: a ring has one group for each shard"),
    ] {
        let message = refused(&with_spec(spec));
        assert!(message.starts_with(expected), "{spec}: {message}");
    }
}

#[test]
fn several_problems_are_told_at_once() {
    let message = refused(&with_spec("{replicas: 4, shards: 0, placement: ring}"));
    assert_eq!(message.lines().count(), 3, "{message}");
}

#[test]
fn missing_parts_are_named() {
    assert_eq!(
        refused("apiVersion: shardedkv.io/v1alpha1\nkind: ShardedKV\n"),
        "manifest: missing field `metadata`"
    );
    assert_eq!(
        refused("apiVersion: shardedkv.io/v1alpha1\nkind: ShardedKV\nmetadata: {}\n"),
        "metadata: missing field `name`"
    );
    let message = refused(&HEAD.replace("v1alpha1", "v2"));
    assert_eq!(message, "apiVersion: \"shardedkv.io/v2\" is not shardedkv.io/v1alpha1");
}

#[test]
fn the_one_sharded_kv_among_other_documents_is_taken() {
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: n}\n";
    let yaml = format!("# a comment\n---\n{namespace}---\n{HEAD}---\n");
    assert_eq!(parse(&yaml).unwrap().metadata.name, "demo");
    let message = refused(namespace);
    assert_eq!(message, "no document has kind ShardedKV; there is Namespace");
    assert!(matches!(parse(&format!("{HEAD}---\n{HEAD}")), Err(ManifestError::Several(2))));
}

#[test]
fn what_is_not_yaml_is_refused() {
    for yaml in ["", "a: [", "\t", "just text", "a: 1\na: 2\n"] {
        assert!(parse(yaml).is_err(), "{yaml:?}");
    }
    let message = refused("spec: [\n");
    assert!(message.contains("line"), "{message}");
}
