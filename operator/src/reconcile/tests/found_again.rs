//! Stores of which the record and volumes are left, and no server.

use super::*;

const MAP: &str = "/apis/shardedkv.io/v1alpha1/namespaces/prod/shardmaps/demo";

/// Puts the record of a group with this number of members there, and the volumes of five servers.
fn leave(server: &FakeApiServer, members: u32) {
    let labels = json!({
        "app.kubernetes.io/instance": "demo", "app.kubernetes.io/managed-by": "skv-operator",
        "shardedkv.io/group": "g0",
    });
    for ordinal in 0..5 {
        let name = format!("data-demo-g0-{ordinal}");
        let claim = json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "metadata": { "name": name, "namespace": "prod", "labels": labels },
        });
        server.put(&format!("/api/v1/namespaces/prod/persistentvolumeclaims/{name}"), claim);
    }
    let members: Vec<Value> = (0..members).map(|n| json!({ "server": format!("demo-g0-{n}") })).collect();
    let record = json!({
        "hash": "fnv1", "policy": "minimal", "owners": [{ "group": 0, "epoch": 1, "shards": "0-11" }],
        "limits": {
            "max_key_bytes": 4096, "max_value_bytes": 1_048_576, "max_sessions_per_shard": 16_384,
            "session_ttl_ms": 600_000,
        },
        "groups": { "0": { "members": members } },
    });
    let map = json!({
        "apiVersion": "shardedkv.io/v1alpha1", "kind": "ShardMap", "record": record,
        "metadata": { "name": "demo", "namespace": "prod", "labels": labels },
    });
    server.put(MAP, map);
}

#[tokio::test]
async fn the_members_on_record_get_their_servers_again_before_a_shard_manager_can_be_asked() {
    for (members, wanted, made) in [(5, 1, 5), (3, 1, 3), (3, 3, 3), (3, 5, 5)] {
        let mut operator = Operator::new(json!({ "groups": 1, "shards": 12, "replicas": wanted }));
        leave(&operator.server, members);
        for _ in 0..2 {
            operator.pass().await.unwrap();
            let set = operator.server.get(SET).unwrap();
            assert_eq!(set["spec"]["replicas"], made, "{members} members, and {wanted} are wanted");
        }
    }
}
