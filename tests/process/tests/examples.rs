//! The client's examples do what they say, on a cluster of real processes.

use std::collections::BTreeSet;
use std::process::Stdio;

use skv_process::{Cluster, Settings, eventually, example};
use tokio::process::{Child, Command};

fn start(name: &str, manager: &str) -> Child {
    let mut command = Command::new(example(name));
    command.arg(manager).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.kill_on_drop(true).spawn().expect("an example can be run")
}

async fn printed(example: Child) -> String {
    let output = example.wait_with_output().await.expect("it ends");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

async fn value(cluster: &Cluster, key: &str) -> String {
    let found = cluster.clerk().get(key.to_owned()).await.expect("an answer");
    String::from_utf8(found.value.to_vec()).expect("text")
}

#[tokio::test]
async fn counter_counts_each_increment_once_though_the_leader_dies() {
    let mut cluster = Cluster::start(Settings::default()).await;
    let leader = cluster.leader(0).await;
    let counter = start("counter", &cluster.manager_address);
    eventually("it counts", || async { (!value(&cluster, "counter").await.is_empty()).then_some(()) }).await;
    cluster.servers[leader].process.kill();
    assert_eq!(printed(counter).await, "counted from 0 to 100\n");
    assert_eq!(value(&cluster, "counter").await, "100");
    let again = start("counter", &cluster.manager_address);
    assert_eq!(printed(again).await, "counted from 100 to 200\n");
}

#[tokio::test]
async fn lock_is_held_by_one_task_after_the_other() {
    let cluster = Cluster::start(Settings::default()).await;
    let text = printed(start("lock", &cluster.manager_address)).await;
    let (_, tokens) = text.trim_end().rsplit_once(" with the tokens [").expect("it prints tokens");
    let tokens: BTreeSet<u64> =
        tokens.trim_end_matches(']').split(", ").map(|token| token.parse().expect("a number")).collect();
    assert_eq!(tokens.len(), 4, "each holder has another token: {text}");
    let protected = value(&cluster, "protected").await;
    let holders: BTreeSet<&str> = protected.trim_end_matches(", ").split(", ").collect();
    assert_eq!(holders, BTreeSet::from(["task 0", "task 1", "task 2", "task 3"]), "{protected}");
    assert_eq!(value(&cluster, "lock").await, "", "nobody holds it any more");
}

#[tokio::test]
async fn pipeline_writes_all_its_keys() {
    let cluster = Cluster::start(Settings::default()).await;
    let text = printed(start("pipeline", &cluster.manager_address)).await;
    assert_eq!(text.lines().count(), 2, "{text}");
    for number in [0, 1999] {
        assert_eq!(value(&cluster, &format!("key {number}")).await, format!("value {number}"));
    }
}
