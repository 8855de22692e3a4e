//! A rolling update amid moves: a newer program, which knows more, comes to one server after the other. A
//! group never takes a shard from one that may know more than any of its own servers: such a shard stays
//! where it is, and is served there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::ensure;
use skv_checker::Event;
use skv_proto::v1;
use skv_proto::v1::ReplicaStatus;

use crate::ballast;
use crate::cluster::Cluster;
use crate::layout::{SHARDS, server_name, servers_of};
use crate::net;
use crate::operator::random_below;
use crate::resharding::{Changes, PAUSE, TIMEOUT, come_to_rest, manager};
use crate::watcher::Seen;
use crate::workload::{self, History, Load};

/// The group that has all shards at first, and is updated first.
const FIRST: usize = 0;
/// The group that shares them.
const SECOND: usize = 1;
const HALF: u32 = SHARDS / 2;
const LOAD: Load = Load {
    clients: 4,
    ops: u32::MAX,
    keys: 60,
    pause: Duration::from_millis(800),
    deadline: Duration::from_mins(1),
};
/// The time that a server takes to start again, at least.
const START: Duration = Duration::from_secs(10);
/// The time in which a source asks its target several times.
const ASKED: Duration = Duration::from_secs(20);
/// The limit of everything that goes on.
const LIMIT: Duration = Duration::from_mins(3);

pub(crate) fn simulate(seed: u64) -> anyhow::Result<Vec<Event>> {
    let mut cluster = Cluster::start(seed, 2);
    // Nobody removes replicas here.
    cluster.sim.crash("operator");
    let seen = [FIRST, SECOND].map(|group| Seen::watch(&mut cluster, group));
    let [first, second] = &seen;
    let changes = Changes::default();
    let histories = vec![
        workload::start(&mut cluster, LOAD, &changes),
        ballast::start(&mut cluster, LOAD.clients, &changes),
    ];
    ask(&mut cluster, "first join", true)?;
    cluster.run("the first moves", || owned(second) == Some(HALF), LIMIT)?;

    // Whoever knows more takes what comes from those who know less.
    ask(&mut cluster, "leave", false)?;
    for server in in_some_order(FIRST) {
        update(&mut cluster, first, server)?;
    }
    let all_went = || owned(first) == Some(SHARDS) && owned(second) == Some(0);
    cluster.run("the moves to a newer group", all_went, LIMIT)?;

    ask(&mut cluster, "second join", true)?;
    let is_wanted = || leading(first).is_some_and(|status| status.shards_queued == HALF);
    cluster.run("the list of moves", is_wanted, LIMIT)?;
    for server in in_some_order(SECOND) {
        nothing_comes(&mut cluster, second)?;
        update(&mut cluster, second, server)?;
    }
    cluster.run("the moves between updated groups", || owned(second) == Some(HALF), LIMIT)?;
    rest(cluster, &changes, histories)
}

/// Waits until all has come to rest; returns all events.
fn rest(mut cluster: Cluster, changes: &Changes, histories: Vec<History>) -> anyhow::Result<Vec<Event>> {
    changes.enough();
    let last_calls = || histories.iter().all(History::is_complete);
    cluster.run("the clients' last calls", last_calls, Duration::from_mins(2))?;
    let judged = changes.clone();
    cluster.sim.client("judge", async move {
        come_to_rest(&skv_net::dial(net::connector()), 2, &judged).await;
        Ok(())
    });
    cluster.run("coming to rest", || changes.are_over(), Duration::from_mins(5))?;
    workload::read_back(&mut cluster, LOAD.clients + 1, histories)
}

/// Has the second group join or leave.
fn ask(cluster: &mut Cluster, person: &str, joins: bool) -> anyhow::Result<()> {
    let done = Arc::new(AtomicBool::new(false));
    let answered = done.clone();
    cluster.sim.client(person.replace(' ', "-"), async move {
        let (dial, groups) = (skv_net::dial(net::connector()), vec![SECOND as u32]);
        while !done.load(Ordering::Relaxed) {
            tokio::time::sleep(PAUSE).await;
            let Some(mut manager) = manager(&dial, 0) else { continue };
            let groups = groups.clone();
            let answer = async {
                if joins {
                    manager.join(v1::JoinRequest { groups, ..Default::default() }).await
                } else {
                    manager.leave(v1::LeaveRequest { groups, ..Default::default() }).await
                }
            };
            let answer = tokio::time::timeout(TIMEOUT, answer).await;
            done.store(matches!(answer, Ok(Ok(_))), Ordering::Relaxed);
        }
        Ok(())
    });
    cluster.run(person, || answered.load(Ordering::Relaxed), LIMIT)
}

/// Returns the servers of a group in the order in which they are updated.
fn in_some_order(group: usize) -> Vec<usize> {
    let mut servers: Vec<usize> = servers_of(group).collect();
    let first = random_below(servers.len() as u64) as usize;
    servers.rotate_left(first);
    servers
}

/// Has a server start again with the next program, and waits until its group is whole.
fn update(cluster: &mut Cluster, seen: &Seen, server: usize) -> anyhow::Result<()> {
    cluster.levels[server].raise();
    cluster.sim.crash(server_name(server));
    cluster.disks[server].lose_power(|| false);
    cluster.sim.bounce(server_name(server));
    eprintln!("{:?}: strikes: Update({server})", cluster.sim.elapsed());
    cluster.run_for(START)?;
    cluster.run("an updated server", || seen.all(|status| status.ready), LIMIT)
}

/// Checks for a while that no part of any shard comes to a group.
fn nothing_comes(cluster: &mut Cluster, seen: &Seen) -> anyhow::Result<()> {
    let end = cluster.sim.elapsed() + ASKED;
    while cluster.sim.elapsed() < end {
        cluster.run_for(cluster.look)?;
        let Some(status) = leading(seen) else { continue };
        let came = (status.shards_arriving, status.shards_owned);
        ensure!(came == (0, 0), "shards came to a group that is behind: {came:?}");
    }
    Ok(())
}

/// Returns the status of a group's leader.
fn leading(seen: &Seen) -> Option<ReplicaStatus> {
    let (leader, _) = seen.leader()?;
    seen.of(leader)
}

/// Returns the number of shards that a group has, if none is on its way to it.
fn owned(seen: &Seen) -> Option<u32> {
    let status = leading(seen)?;
    (status.shards_arriving == 0).then_some(status.shards_owned)
}
