//! The system of the shardctl and ShardKV exercise: ten shards, three groups of three, which join
//! and leave by `skv` while clerks work. Its other behaviours have tests of their own:
//! docs/labs/shardkv.md names them.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use skv_process::{Cluster, Load, Settings, eventually};

const SHARDS: u32 = 10;

/// Returns the JSON output of a command of `skv` that must succeed.
async fn skv(cluster: &Cluster, arguments: &[&str]) -> Value {
    let output = cluster.skv(&[arguments, &["-o", "json"]].concat()).await;
    assert!(output.status.success(), "skv {arguments:?}: {output:?}");
    serde_json::from_slice(&output.stdout).expect("it prints JSON")
}

/// Returns one configuration of the history.
async fn configuration(cluster: &Cluster, number: usize) -> Value {
    skv(cluster, &["map", "--config", &number.to_string()]).await
}

/// Returns the group of each shard.
fn owners(configuration: &Value) -> Vec<u64> {
    let number = |value: &Value| value.as_u64().expect("a number");
    let ranges = configuration["ranges"].as_array().expect("ranges").iter();
    ranges.flat_map(|range| vec![number(&range["group"]); number(&range["count"]) as usize]).collect()
}

/// Returns the number of groups that have shards.
fn groups(owners: &[u64]) -> usize {
    owners.iter().collect::<BTreeSet<_>>().len()
}

/// Returns the number of shards of each of the three groups, sorted.
fn sizes(owners: &[u64]) -> Vec<usize> {
    let mut sizes: Vec<usize> =
        (0..3).map(|group| owners.iter().filter(|owner| **owner == group).count()).collect();
    sizes.sort_unstable();
    sizes
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_shards_follow_three_groups_that_join_and_leave_while_clerks_go_on() {
    let settings =
        Settings { groups: 3, first_groups: Some(1), replicas: 3, shards: SHARDS, ..Settings::default() };
    let mut cluster = Cluster::start(settings).await;
    let load = Load::start(&cluster, 10, 12);

    let mut history = vec![configuration(&cluster, 0).await, configuration(&cluster, 1).await];
    assert_eq!(history[0], json!({"configuration": 0, "number": 0, "groups": [], "ranges": []}));
    assert_eq!(sizes(&owners(&history[1])), [0, 0, 10]);
    // Each change, and the sizes that it leads to.
    let changes: [(&[&str], [usize; 3]); 6] = [
        (&["add", "g1"], [0, 5, 5]),
        (&["add", "g2"], [3, 3, 4]),
        (&["remove", "g1"], [0, 5, 5]),
        (&["add", "g1"], [3, 3, 4]),
        (&["remove", "g0", "g2"], [0, 0, 10]),
        (&["add", "g0", "g2"], [3, 3, 4]),
    ];
    for (change, expected) in changes {
        load.recorder.more_acknowledged(100).await;
        let before = owners(history.last().expect("there is one"));
        let done = skv(&cluster, &[&["groups"], change].concat()).await;
        assert_eq!((&done["done"], &done["configuration"]), (&json!(true), &json!(history.len())), "{done}");
        let made = configuration(&cluster, history.len()).await;
        let after = owners(&made);
        assert_eq!(sizes(&after), expected, "{change:?}: {made}");
        let moved = before.iter().zip(&after).filter(|(before, after)| before != after).count();
        // No shard moves from one group that stays to another, and a group that joins gets no more
        // than a smallest share.
        let of_changed = |owners: &[u64]| {
            owners.iter().filter(|owner| change[1..].contains(&format!("g{owner}").as_str())).count()
        };
        let fewest =
            if change[0] == "add" { (change.len() - 1) * (10 / groups(&after)) } else { of_changed(&before) };
        assert_eq!(moved, fewest, "{change:?}: {before:?} -> {after:?}");
        assert_eq!(done["moves"].as_array().map(Vec::len), Some(moved), "{done}");
        history.push(made);
    }

    let shard = owners(&history[7]).iter().position(|owner| *owner == 0).expect("g0 has some");
    skv(&cluster, &["shard", "move", &shard.to_string(), "g2"]).await;
    history.push(configuration(&cluster, 8).await);
    let pinned = owners(&history[8]);
    assert_eq!((pinned[shard], sizes(&pinned)), (2, [3, 3, 4].into()), "{:?}", history[8]);
    cluster.settled(&[3, 3, 4]).await;

    // Any number can be asked for, also by a manager that was started again.
    cluster.manager.kill();
    cluster.manager.start();
    eventually("the manager is back", || async { cluster.shard_map().await.map(drop) }).await;
    for (number, known) in history.iter().enumerate() {
        assert_eq!(&configuration(&cluster, number).await, known);
    }
    assert_eq!(skv(&cluster, &["rebalance", "--dry-run"]).await["moves"], json!([]));
    load.finish_right(&cluster).await;
}
