//! Masters and servers that end, and start again.

use skv_process::eventually;

use crate::lab::Lab;

#[tokio::test]
async fn a_server_that_was_killed_has_its_keys_again() {
    let mut lab = Lab::start();
    lab.grow_to(2).await;
    for key in ["0", "1"] {
        lab.put(key, &format!("value of {key}")).await.assert_code(0);
    }
    lab.servers[1].process.kill();
    lab.get("0").await.assert_found("value of 0");
    lab.get_at(0, "1").await.assert_code(2);
    lab.get("1").await.assert_code(1);

    lab.servers[1].process.start();
    lab.answer_at(1, "1").await.assert_found("value of 1");
    lab.get("1").await.assert_found("value of 1");
    lab.put_at(1, "3", "three").await.assert_code(0);
    lab.get_at(1, "0").await.assert_code(2);
}

#[tokio::test]
async fn a_server_that_is_killed_while_it_joins_gets_its_share_all_the_same() {
    let mut lab = Lab::start();
    lab.grow_to(1).await;
    for key in ["0", "1", "2519"] {
        lab.put(key, &format!("value of {key}")).await.assert_code(0);
    }
    let new = lab.start_server();
    lab.joined(2).await;
    lab.servers[new].process.kill();
    lab.servers[new].process.start();
    lab.settled(2).await;
    lab.get_at(0, "0").await.assert_found("value of 0");
    lab.get_at(1, "1").await.assert_found("value of 1");
    lab.get_at(1, "2519").await.assert_found("value of 2519");
}

#[tokio::test]
async fn a_new_master_is_a_new_and_empty_cluster_which_servers_join_by_themselves() {
    let mut lab = Lab::start();
    lab.grow_to(2).await;
    lab.put("1", "old").await.assert_code(0);
    lab.master.kill();
    lab.master.start();
    lab.settled(2).await;
    lab.get("1").await.assert_code(2);
    lab.put("1", "new").await.assert_code(0);
    lab.get("1").await.assert_found("new");
    // The data of the old cluster is gone.
    let directories = || std::fs::read_dir(lab.temporary()).unwrap().count();
    assert_eq!(directories(), 1);
}

#[tokio::test]
async fn a_master_that_is_asked_to_stop_leaves_nothing_behind() {
    let mut lab = Lab::start();
    lab.grow_to(1).await;
    for server in &mut lab.servers {
        assert!(server.process.stop().await.success(), "{}", server.process.log());
    }
    assert!(lab.master.stop().await.success(), "{}", lab.master.log());
    assert_eq!(std::fs::read_dir(lab.temporary()).unwrap().count(), 0);
}

#[tokio::test]
async fn with_a_directory_everything_is_there_again() {
    let mut lab = Lab::start_kept();
    lab.grow_to(2).await;
    for key in ["0", "1"] {
        lab.put(key, &format!("value of {key}")).await.assert_code(0);
    }
    // Without the master the servers serve, and clients that ask them directly need none.
    lab.master.kill();
    lab.get_at(1, "1").await.assert_found("value of 1");
    lab.get_at(0, "1").await.assert_code(2);
    lab.master.start();
    lab.get("1").await.assert_found("value of 1");

    lab.master.kill();
    lab.servers.iter_mut().for_each(|server| server.process.kill());
    lab.master.start();
    lab.servers.iter_mut().for_each(|server| server.process.start());
    lab.serves(0).await;
    lab.serves(1).await;
    for (server, key) in [(0, "0"), (1, "1")] {
        lab.get(key).await.assert_found(&format!("value of {key}"));
        lab.get_at(server, key).await.assert_found(&format!("value of {key}"));
    }
    lab.grow_to(3).await;
    lab.get_at(1, "1").await.assert_found("value of 1");
    assert_eq!(std::fs::read_dir(lab.temporary()).unwrap().count(), 0);
}

#[tokio::test]
async fn the_eleventh_server_is_refused_with_a_reason() {
    let mut lab = Lab::start();
    lab.start_server();
    lab.joined(1).await;
    for _ in 1..10 {
        lab.start_server();
    }
    lab.joined(10).await;
    let one_too_many = lab.start_server();
    let server = &mut lab.servers[one_too_many].process;
    assert_eq!(server.wait().await.code(), Some(1));
    assert!(server.log().contains("there are 10 servers already"), "{}", server.log());
}

#[tokio::test]
async fn a_server_waits_for_its_master() {
    let mut lab = Lab::start();
    lab.master.kill();
    let server = lab.start_server();
    eventually("the server says that it waits", || async {
        lab.servers[server].process.log().contains("the master doesn't answer").then_some(())
    })
    .await;
    lab.master.start();
    lab.settled(1).await;
    lab.put_at(server, "1", "one").await.assert_code(0);
}
