//! Many at the same time: clients that change the configuration through managers that are rivals, and replicas that
//! register.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use shardmanager::record::Record;
use shardmanager::rules::{Change, Settings};
use shardmanager::store::{MapStore, MemoryStore, StoreError, Version};
use skv_proto::v1;
use skv_proto::v1::shard_manager_client::ShardManagerClient;
use skv_sharding::GroupId;
use support::{Replica, SHARDS, Server, found, found_groups, owners, settings};
use tokio::sync::Notify;
use tonic::transport::Channel;

const CLIENTS: u32 = 10;
const ROUNDS: u32 = 4;

/// Has a group leave and join, again and again.
async fn leave_and_join(mut client: ShardManagerClient<Channel>, group: u32) {
    for round in 0..ROUNDS {
        let groups = vec![group];
        let request_id = format!("{group}-{round}-leaves");
        let leave = v1::LeaveRequest { groups: groups.clone(), request_id, ..Default::default() };
        client.leave(leave).await.unwrap();
        let request_id = format!("{group}-{round}-joins");
        let join = v1::JoinRequest { groups, request_id, ..Default::default() };
        client.join(join).await.unwrap();
    }
}

/// Returns all configurations from the first on.
async fn history(client: &mut ShardManagerClient<Channel>) -> Vec<v1::Configuration> {
    let newest = client.query(v1::QueryRequest { number: None }).await.unwrap().into_inner();
    let mut all = Vec::new();
    for number in 1..=newest.number {
        all.push(client.query(v1::QueryRequest { number: Some(number) }).await.unwrap().into_inner());
    }
    all
}

fn sizes(configuration: &v1::Configuration) -> Vec<usize> {
    let owners = owners(&configuration.ranges);
    let size = |group: &u32| owners.iter().filter(|owner| *owner == group).count();
    configuration.groups.iter().map(size).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_clients_of_two_managers_make_one_history_of_which_nothing_is_lost() {
    let (store, settings) =
        (MemoryStore::default(), Settings { groups: CLIENTS + 1, replicas: 1, ..settings() });
    let managers = [
        Server::start(settings.clone(), store.clone()).await,
        Server::start(settings.clone(), store.clone()).await,
    ];
    // Each client has one group, and one more stays.
    found_groups(&mut managers[0].client().await, CLIENTS + 1, 1).await;
    let clients = join_all((1..=CLIENTS).map(|group| managers[group as usize % 2].client())).await;
    join_all(clients.into_iter().zip(1..).map(|(client, group)| leave_and_join(client, group))).await;

    // A manager that starts now has read all of it.
    let later = Server::start(settings, store).await;
    let made = history(&mut later.client().await).await;
    assert_eq!(made.len() as u32, 1 + CLIENTS * ROUNDS * 2);
    for (configuration, number) in made.iter().zip(1..) {
        assert_eq!(configuration.number, number);
        let sizes = sizes(configuration);
        assert_eq!(sizes.iter().sum::<usize>(), SHARDS as usize, "{configuration:?}");
        assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1, "{configuration:?}");
    }
    let groups: Vec<BTreeSet<u32>> = made.iter().map(|c| c.groups.iter().copied().collect()).collect();
    for pair in groups.windows(2) {
        assert_eq!((&pair[0] ^ &pair[1]).len(), 1, "one group came or went: {pair:?}");
    }
    assert_eq!(*groups.last().unwrap(), (0..=CLIENTS).collect());

    // A rival may not have heard of the last ones yet; all others it reports alike.
    for manager in managers {
        let known = history(&mut manager.client().await).await;
        assert!(known.len() > made.len() / 2 && made.starts_with(&known), "{known:?}");
    }
}

/// A store that delays its report of a write that it has made, once it is set to be slow.
#[derive(Debug, Clone, Default)]
struct Slow {
    store: MemoryStore,
    waits: Arc<AtomicBool>,
    written: Arc<Notify>,
    go_on: Arc<Notify>,
}

impl MapStore for Slow {
    fn load(&self) -> BoxFuture<'_, Result<Option<(Record, Version)>, StoreError>> {
        self.store.load()
    }

    fn compare_and_swap<'a>(
        &'a self,
        expected: Option<&'a Version>,
        record: &'a Record,
    ) -> BoxFuture<'a, Result<Version, StoreError>> {
        Box::pin(async move {
            let swapped = self.store.compare_and_swap(expected, record).await;
            if self.waits.load(Ordering::SeqCst) {
                self.written.notify_one();
                self.go_on.notified().await;
            }
            swapped
        })
    }
}

#[tokio::test]
async fn a_change_is_made_and_shown_though_nobody_waits_for_it() {
    let store = Slow::default();
    let server = Server::start(Settings { groups: 2, replicas: 1, ..settings() }, store.clone()).await;
    found_groups(&mut server.client().await, 2, 1).await;
    store.waits.store(true, Ordering::SeqCst);
    let leave = Change::Leave(vec![GroupId(1)]);
    tokio::select! {
        changed = server.manager.change("leaves", &leave, false) => panic!("too early: {changed:?}"),
        () = store.written.notified() => {}
    }
    store.go_on.notify_one();
    let mut shown = server.manager.watch();
    let left = shown.wait_for(|published| {
        published.as_ref().is_some_and(|published| published.record.history.newest().groups == [GroupId(0)])
    });
    tokio::time::timeout(Duration::from_secs(20), left).await.expect("everybody is shown").unwrap();
}

/// Registers all of these: the later ones while the first one's record is written. Returns the number of writes.
async fn writes_of_all(
    server: &Server,
    store: &Slow,
    requests: impl IntoIterator<Item = v1::RegisterReplicaRequest>,
) -> u64 {
    let mut registering = requests.into_iter().map(|request| {
        let manager = server.manager.clone();
        tokio::spawn(async move { manager.register(request).await })
    });
    let writes = store.store.writes();
    store.waits.store(true, Ordering::SeqCst);
    let first = registering.next().unwrap();
    store.written.notified().await;
    let later: Vec<_> = registering.collect();
    // These tests have one thread: the others come as far as they can.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    store.waits.store(false, Ordering::SeqCst);
    store.go_on.notify_one();
    for registered in std::iter::once(first).chain(later) {
        registered.await.unwrap().unwrap();
    }
    store.store.writes() - writes
}

#[tokio::test]
async fn what_replicas_say_while_the_record_is_written_is_written_together() {
    let store = Slow::default();
    let server = Server::start(settings(), store.clone()).await;
    let mut replicas = found(&mut server.client().await).await;
    let is_follower =
        |replica: &&mut Replica| replica.data.as_ref().is_some_and(|data| !data.report.confirmed);
    let moved: Vec<_> = replicas
        .iter_mut()
        .filter(is_follower)
        .map(|replica| {
            replica.port += 50;
            replica.registration()
        })
        .collect();
    assert_eq!(writes_of_all(&server, &store, moved).await, 2);
    let record = store.store.record().unwrap();
    let addresses =
        record.groups.values().flat_map(|group| &group.members).map(|member| &member.peer_address);
    let expected = replicas.iter().map(|replica| replica.describe().peer_address);
    assert_eq!(addresses.cloned().collect::<BTreeSet<_>>(), expected.collect::<BTreeSet<_>>());
}

#[tokio::test]
async fn shards_that_arrive_while_the_record_is_written_are_written_together() {
    let store = Slow::default();
    let server = Server::start(Settings { groups: 2, replicas: 1, ..settings() }, store.clone()).await;
    let mut client = server.client().await;
    found_groups(&mut client, 2, 1).await;
    let mut target = Replica::new(2, 0);
    target.obey(&mut client).await;
    target.lead(1);
    let join = Change::Join(vec![GroupId(2)]);
    server.manager.change("joins", &join, false).await.unwrap();
    let moves = store.store.record().unwrap().moves;
    let arrivals: Vec<v1::ShardEpoch> =
        moves.into_iter().map(|(shard, to)| v1::ShardEpoch { shard: shard.0, epoch: to.epoch.0 }).collect();
    // The target's leader reports them one after the other.
    let reports: Vec<_> = (1..=arrivals.len())
        .map(|arrived| {
            target.report().shards_owned = arrivals[..arrived].to_vec();
            target.registration()
        })
        .collect();
    assert_eq!((reports.len(), writes_of_all(&server, &store, reports).await), (4, 2));
    let record = store.store.record().unwrap();
    assert!(record.moves.is_empty(), "{:?}", record.moves);
    assert_eq!(record.owners.iter().filter(|owner| owner.group == GroupId(2)).count(), 4);
}
