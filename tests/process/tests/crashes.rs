//! Servers die, pause and come back under load: no call of a clerk fails, no answer is wrong, no
//! acknowledged write is lost.

use skv_process::{Cluster, Load, Settings, assert_linearizable};

#[tokio::test(flavor = "multi_thread")]
async fn any_one_server_may_be_killed_under_load() {
    let mut cluster = Cluster::start(Settings { groups: 2, ..Settings::default() }).await;
    let load = Load::start(&cluster, 8, 6);
    load.recorder.more_acknowledged(200).await;
    for index in 0..cluster.servers.len() {
        cluster.servers[index].process.kill();
        load.recorder.more_acknowledged(200).await;
        cluster.servers[index].process.start();
        cluster.servers[index].ready().await;
    }
    load.finish_right(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_may_be_killed_again_and_again() {
    let mut cluster = Cluster::start(Settings::default().server_flag("--snapshot-log-bytes", 65_536)).await;
    let load = Load::start(&cluster, 8, 6);
    for _ in 0..5 {
        load.recorder.more_acknowledged(200).await;
        let leader = cluster.leader(0).await;
        cluster.servers[leader].process.kill();
        load.recorder.more_acknowledged(50).await;
        cluster.servers[leader].process.start();
        cluster.servers[leader].ready().await;
    }
    load.finish_right(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_may_be_killed_at_once() {
    let mut cluster = Cluster::start(Settings { groups: 2, ..Settings::default() }).await;
    let load = Load::start(&cluster, 8, 6);
    for _ in 0..3 {
        load.recorder.more_acknowledged(300).await;
        cluster.kill_all();
        cluster.manager.start();
        cluster.start_servers();
        cluster.ready().await;
    }
    let events = load.finish(&cluster).await;
    assert_linearizable(&events);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_was_paused_serves_nothing_old_when_it_goes_on() {
    let cluster = Cluster::start(Settings::default()).await;
    let load = Load::start(&cluster, 8, 6);
    for _ in 0..3 {
        load.recorder.more_acknowledged(100).await;
        let leader = cluster.leader(0).await;
        cluster.servers[leader].process.pause();
        load.recorder.more_acknowledged(200).await;
        cluster.servers[leader].process.resume();
        cluster.servers[leader].ready().await;
    }
    load.finish_right(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_told_to_stop_hands_its_leadership_over() {
    let mut cluster = Cluster::start(Settings::default()).await;
    let load = Load::start(&cluster, 4, 4);
    for _ in 0..3 {
        load.recorder.more_acknowledged(100).await;
        let leader = cluster.leader(0).await;
        let status = cluster.servers[leader].process.stop().await;
        assert!(status.success(), "{status}");
        cluster.servers[leader].process.start();
        cluster.servers[leader].ready().await;
    }
    load.finish_right(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_is_handed_over_under_load_when_a_person_asks() {
    let cluster = Cluster::start(Settings::default()).await;
    let load = Load::start(&cluster, 8, 6);
    for _ in 0..5 {
        load.recorder.more_acknowledged(100).await;
        let leader = cluster.leader(0).await;
        let to = cluster.servers[(leader + 1) % 3].name.clone();
        let done = cluster.skv(&["group", "transfer-leader", "g0", "--to", &to]).await;
        assert!(done.status.success(), "{done:?}");
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(said.contains(&format!("g0 is led by {to}")), "{said}");
    }
    load.finish_right(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn data_is_served_while_the_manager_is_down() {
    let mut cluster = Cluster::start(Settings { groups: 2, ..Settings::default() }).await;
    let load = Load::start(&cluster, 4, 4);
    load.recorder.more_acknowledged(100).await;
    cluster.manager.kill();
    load.recorder.more_acknowledged(100).await;
    let leader = cluster.leader(1).await;
    cluster.servers[leader].process.kill();
    load.recorder.more_acknowledged(100).await;
    cluster.servers[leader].process.start();
    cluster.servers[leader].ready().await;
    cluster.manager.start();
    load.finish_right(&cluster).await;
}
