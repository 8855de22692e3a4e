//! A server may host replicas of several groups, which don't disturb each other.

use skv_process::{Cluster, Load, Server, Settings, eventually, status};

/// Waits until both replicas of a server are ready.
async fn both_ready(server: &Server) {
    let what = format!("both replicas of {} are ready", server.name);
    eventually(&what, || async {
        let replicas = status(&server.peer_address).await?.replicas;
        (replicas.len() == 2 && replicas.iter().all(|replica| replica.ready)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_with_replicas_of_two_groups_serve_both_and_survive_each_others_kill() {
    let settings = Settings {
        first_groups: Some(2),
        server_flags: vec!["--log-segment-bytes=4194304".to_owned(), "--group=g1".to_owned()],
        ..Settings::default()
    };
    let mut cluster = Cluster::start(settings).await;
    for server in &cluster.servers {
        both_ready(server).await;
    }
    let load = Load::start(&cluster, 8, 12);
    for index in 0..3 {
        load.recorder.more_acknowledged(200).await;
        cluster.servers[index].process.kill();
        load.recorder.more_acknowledged(200).await;
        cluster.servers[index].process.start();
        both_ready(&cluster.servers[index]).await;
    }
    load.finish_right(&cluster).await;

    let server = status(&cluster.servers[0].peer_address).await.expect("it answers");
    let keys: Vec<u64> = server.replicas.iter().map(|replica| replica.keys).collect();
    assert!(keys.iter().all(|keys| *keys > 0), "each group has keys of its own: {keys:?}");
}
