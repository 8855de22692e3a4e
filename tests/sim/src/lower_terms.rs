//! A group is reset from a server that was away while the leadership went to and fro: it leads in lower terms
//! than the shard managers have heard of. It is the group all the same, and its old members, which have been a
//! quorum, begin again as members of the revived group.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use skv_checker::Event;
use skv_net::Dial;
use skv_proto::v1;

use crate::cluster::Cluster;
use crate::layout::{LOOK, SERVERS, server_name};
use crate::net;
use crate::operator::{admin, status};
use crate::resharding::{Changes, TIMEOUT, manager};
use crate::revived::revive;
use crate::watcher::Seen;
use crate::workload::{self, Load};

const GROUP: usize = 0;
/// The elections that the survivor misses, many more than it can hold alone before it is revived.
const TURNS: u32 = 20;
/// The calls before the survivor goes away. It has the effects of all of them.
const BEFORE: Load = Load {
    clients: 4,
    ops: 20,
    keys: 5,
    pause: Duration::from_millis(200),
    deadline: Duration::from_mins(1),
};
/// The calls while old members return.
const AFTER: Load = Load { ops: u32::MAX, ..BEFORE };
const PAUSE: Duration = Duration::from_millis(200);
/// The limit of everything that goes on.
const LIMIT: Duration = Duration::from_mins(3);

pub(crate) fn simulate(seed: u64) -> anyhow::Result<Vec<Event>> {
    let mut cluster = Cluster::start(seed, 1);
    // Nobody removes replicas here.
    cluster.sim.crash("operator");
    let seen = Seen::watch(&mut cluster, GROUP);
    let before = workload::start(&mut cluster, BEFORE, &Changes::default());
    cluster.run("the calls before", || before.is_complete(), LIMIT)?;
    // What is seen from then on is of after the last call.
    cluster.run_for(2 * LOOK)?;
    cluster.run("the same log on all servers", || have_the_same(&seen), LIMIT)?;

    let survivor = seen.follower(GROUP).context("nobody leads")?;
    let others = [1, 2].map(|next| (survivor + next) % SERVERS);
    cluster.sim.crash(server_name(survivor));
    let missed = miss_elections(&mut cluster, others)?;
    for server in others {
        cluster.sim.crash(server_name(server));
    }
    cluster.sim.bounce(server_name(survivor));
    eprintln!("{:?}: strikes: Reset({survivor}): the last leader's term was {missed}", cluster.sim.elapsed());
    let term = revive_from(&mut cluster, &seen, survivor)?;
    ensure!(term < missed, "the revived group leads in term {term}, which isn't lower than {missed}");
    eprintln!("{:?}: the revived group leads in the lower term {term}", cluster.sim.elapsed());

    let changes = Changes::default();
    let after = workload::start_from(BEFORE.clients, &mut cluster, AFTER, &changes);
    for server in others {
        cluster.sim.bounce(server_name(server));
    }
    let is_whole = || seen.all(|status| status.ready && status.incarnation > 0);
    cluster.run("the new members", is_whole, LIMIT)?;
    changes.enough();
    cluster.run("the clients' last calls", || after.is_complete(), LIMIT)?;
    workload::read_back(&mut cluster, 2 * BEFORE.clients, vec![before, after])
}

/// Returns true if all servers have applied the same log, to its end.
fn have_the_same(seen: &Seen) -> bool {
    let statuses = seen.statuses();
    let ends = statuses.iter().flat_map(|(_, status)| [status.applied, status.last_log]);
    let ends: BTreeSet<u64> = ends.map(|end| end.map_or(0, |id| id.index)).collect();
    seen.all(|status| status.ready) && ends.len() == 1
}

/// Has the leadership go to and fro between two servers. Returns the last term, which the shard managers know.
fn miss_elections(cluster: &mut Cluster, servers: [usize; 2]) -> anyhow::Result<u64> {
    let last = Arc::new(AtomicU64::new(0));
    cluster.sim.client("turns", take_turns(servers, last.clone()));
    cluster.run("the elections", || last.load(Ordering::Relaxed) > 0, LIMIT)?;
    Ok(last.load(Ordering::Relaxed))
}

async fn take_turns(servers: [usize; 2], last: Arc<AtomicU64>) -> turmoil::Result {
    let dial = skv_net::dial(net::connector());
    let mut turns = 0;
    while turns < TURNS {
        tokio::time::sleep(PAUSE).await;
        turns += u32::from(hand_over(&dial, servers).await);
    }
    let mut term = 0;
    for server in servers {
        term = term.max(status(&dial, server).await.map_or(0, |status| status.term));
    }
    while recorded(&dial).await.is_none_or(|group| group.leader_term < term) {
        tokio::time::sleep(PAUSE).await;
    }
    last.store(term, Ordering::Relaxed);
    Ok(())
}

/// Has the one of two servers that leads hand over to the other one; returns true if it has.
async fn hand_over(dial: &Dial, [one, other]: [usize; 2]) -> bool {
    let (Some(first), Some(second)) = (status(dial, one).await, status(dial, other).await) else {
        return false;
    };
    let (leader, to) = if first.leads_a_quorum() { (one, second.replica) } else { (other, first.replica) };
    let Some(mut admin) = admin(dial, leader) else { return false };
    let request = v1::TransferLeaderRequest { group: GROUP as u32, to, meant: None };
    matches!(tokio::time::timeout(TIMEOUT, admin.transfer_leader(request)).await, Ok(Ok(_)))
}

/// Returns the group as the shard managers know it.
async fn recorded(dial: &Dial) -> Option<v1::Group> {
    let mut manager = manager(dial, 0)?;
    let answer = tokio::time::timeout(TIMEOUT, manager.get_shard_map(v1::GetShardMapRequest {})).await;
    answer.ok()?.ok()?.into_inner().groups.into_iter().find(|group| group.id == GROUP as u32)
}

/// Resets the group from its survivor. Returns the term in which that leads when the shard managers know of it.
fn revive_from(cluster: &mut Cluster, seen: &Seen, survivor: usize) -> anyhow::Result<u64> {
    let is_known = Arc::new(AtomicBool::new(false));
    let known = is_known.clone();
    cluster.sim.client("person", async move {
        revive(GROUP, survivor).await;
        let dial = skv_net::dial(net::connector());
        while recorded(&dial).await.is_none_or(|group| group.incarnation == 0) {
            tokio::time::sleep(PAUSE).await;
        }
        known.store(true, Ordering::Relaxed);
        Ok(())
    });
    cluster.run("the record of the revived group", || is_known.load(Ordering::Relaxed), LIMIT)?;
    let is_revived = |status: &v1::ReplicaStatus| status.ready && status.incarnation > 0;
    let term = || seen.of(survivor).filter(is_revived).map(|status| status.term);
    cluster.run("the revived group", || term().is_some(), LIMIT)?;
    term().context("it is ready")
}
