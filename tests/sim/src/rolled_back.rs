//! Disks that go back in time while clerks call: an older copy is put back, or the disk reports syncs
//! that it hasn't made and loses its power. It is the disk of a follower, whose leader stays: the leader
//! remembers what the follower acknowledged, and has it begin again as a new replica.

use std::time::Duration;

use anyhow::Context as _;
use skv_checker::Event;
use skv_proto::v1::ReplicaStatus;

use crate::cluster::Cluster;
use crate::layout::server_name;
use crate::resharding::Changes;
use crate::watcher::Seen;
use crate::workload::{self, Load};

const ROUNDS: u32 = 4;
const LOAD: Load = Load {
    clients: 4,
    ops: u32::MAX,
    keys: 5,
    pause: Duration::from_millis(200),
    deadline: Duration::from_mins(1),
};
/// The time that the disk loses.
const LOST: Duration = Duration::from_secs(5);
/// In which it is found out, and a new replica is a voter.
const SOON: Duration = Duration::from_mins(1);

pub(crate) fn simulate(seed: u64) -> anyhow::Result<Vec<Event>> {
    let mut cluster = Cluster::start(seed, 1);
    // Nobody removes replicas here.
    cluster.sim.crash("operator");
    let seen = Seen::watch(&mut cluster, 0);
    let changes = Changes::default();
    let history = workload::start(&mut cluster, LOAD, &changes);
    for round in 0..ROUNDS {
        cluster.run("a group that is ready", || seen.all(is_ready), Duration::from_mins(2))?;
        go_back(&mut cluster, &seen, round % 2 == 0)?;
    }
    changes.enough();
    cluster.run("the clients' last calls", || history.is_complete(), Duration::from_mins(2))?;
    workload::read_back(&mut cluster, LOAD.clients + 1, vec![history])
}

fn is_ready(status: &ReplicaStatus) -> bool {
    status.ready
}

/// Takes a follower's disk back in time, and waits for a new replica in its place.
fn go_back(cluster: &mut Cluster, seen: &Seen, by_copy: bool) -> anyhow::Result<()> {
    let victim = seen.follower(0).context("nobody leads")?;
    let (leader, old) = (seen.leader(), seen.of(victim).context("it answered")?.replica);
    let disk = cluster.disks[victim].get();
    let copy = disk.copy();
    disk.set_lies(!by_copy);
    cluster.run_for(LOST)?;

    cluster.sim.crash(server_name(victim));
    if by_copy {
        cluster.disks[victim].replace(copy);
    } else {
        cluster.disks[victim].lose_power(|| false);
        cluster.disks[victim].get().set_lies(false);
    }
    cluster.sim.bounce(server_name(victim));
    let fault = if by_copy { "RolledBackDisk" } else { "LyingDisk" };
    eprintln!("{:?}: strikes: {fault}({victim})", cluster.sim.elapsed());
    let is_new = || seen.of(victim).is_some_and(|status| status.ready && status.replica != old);
    cluster.run("a new replica", || is_new() || seen.leader().is_some() && seen.leader() != leader, SOON)?;
    let what = if is_new() { "a new replica is a voter" } else { "another leader can't know" };
    eprintln!("{:?}: {what}", cluster.sim.elapsed());
    Ok(())
}
