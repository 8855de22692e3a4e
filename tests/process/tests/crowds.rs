//! Many clerks, sessions, connections and shards, in small: nothing fails. `benches/crowds.rs` measures
//! the same with thousands.

use std::collections::BTreeSet;

use skv_process::{Cluster, Settings, a_key_of_each, connect, eventually, write_everywhere};

#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_many_clerks_move_and_start_again_with_their_shards() {
    const CLERKS: usize = 40;
    const SHARDS: u32 = 24;
    let settings = Settings { groups: 2, first_groups: Some(1), shards: SHARDS, ..Settings::default() };
    let mut cluster = Cluster::start(settings).await;
    cluster.founded(2).await;
    let keys = a_key_of_each(SHARDS);
    assert_eq!(keys.iter().collect::<BTreeSet<_>>().len(), SHARDS as usize);
    let clerks: Vec<_> = (0..CLERKS).map(|_| cluster.clerk()).collect();
    write_everywhere(&clerks, &keys).await;
    let all = CLERKS as u64 * u64::from(SHARDS);
    assert_eq!(cluster.sessions(2).await, [all, 0]);

    cluster.changes().join(&[1]).await;
    cluster.settled(&[12, 12]).await;
    assert_eq!(cluster.sessions(2).await, [all / 2, all / 2], "sessions go along");
    write_everywhere(&clerks, &keys).await;
    cluster.kill_all();
    cluster.manager.start();
    cluster.start_servers();
    cluster.ready().await;
    write_everywhere(&clerks, &keys).await;
    assert_eq!(cluster.sessions(2).await, [all / 2, all / 2], "no clerk needed a new session");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_and_clerks_come_and_go() {
    const CONNECTIONS: usize = 200;
    const SCRIPTS: usize = 100;
    let cluster = Cluster::start(Settings::default()).await;
    let server = &cluster.servers[cluster.leader(0).await];
    for _ in 0..3 {
        let open = connect(&server.client_address, CONNECTIONS).await;
        let counted = server.metric("skv_connections{listener=\"client\"}").await;
        assert!(counted >= Some(CONNECTIONS as f64), "{counted:?}");
        drop(open);
        assert_eq!(cluster.run_scripts(SCRIPTS).await.len(), SCRIPTS);
        eventually("all connections are closed", || async {
            (server.metric("skv_connections{listener=\"client\"}").await? == 0.0).then_some(())
        })
        .await;
    }
    assert_eq!(server.metric("skv_connections_refused_total{listener=\"client\"}").await, Some(0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_shards_are_founded_and_start_again() {
    const SHARDS: u32 = 2000;
    let mut cluster = Cluster::start(Settings { shards: SHARDS, ..Settings::default() }).await;
    let clerk = cluster.clerk();
    let keys: Vec<String> = (0..100).map(|number| format!("key-{number}")).collect();
    write_everywhere(std::slice::from_ref(&clerk), &keys).await;
    cluster.kill_all();
    cluster.manager.start();
    cluster.start_servers();
    cluster.ready().await;
    assert_eq!(cluster.settled(&[SHARDS]).await, [SHARDS]);
    for key in keys {
        assert_eq!(clerk.get(key).await.expect("a get").value, "v");
    }
}
