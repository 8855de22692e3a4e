//! A process dies at each step of a handoff, while clerks work: the source's leader, the
//! target's, and the shard manager. Each time the moves complete by themselves, no call of a
//! clerk fails, nothing is lost, and each shard ends in exactly one group.

use skv_chaos::{Cluster, Load, Settings, eventually};
use skv_proto::v1::shard_status::State;

const SHARDS: u32 = 4;
/// Enough that a shard takes several chunks.
const BALLAST: u32 = 16;
const BALLAST_BYTES: usize = 300 << 10;
/// So slow that a move can be taken back while it is under way.
const SLOW: u32 = 256 << 10;

/// Two groups that share the shards, or the first one has them all.
struct Store {
    cluster: Cluster,
    load: Load,
    shared: bool,
}

/// Who is to die.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Victim {
    Source,
    Target,
}

fn ballast(index: u32) -> String {
    char::from(b'a' + index as u8).to_string().repeat(BALLAST_BYTES)
}

impl Store {
    async fn start() -> Store {
        Store::start_with(Settings::default()).await
    }

    async fn start_with(settings: Settings) -> Store {
        let settings =
            Settings { groups: 2, first_groups: Some(1), shards: SHARDS, fail_points: true, ..settings };
        let cluster = Cluster::start(settings).await;
        cluster.founded(2).await;
        let clerk = cluster.clerk();
        for index in 0..BALLAST {
            clerk.put(format!("ballast-{index}"), ballast(index)).await.expect("a put");
        }
        let load = Load::start(&cluster, 4, 8);
        load.recorder.more_acknowledged(100).await;
        Store { cluster, load, shared: false }
    }

    /// Asks for half of the shards to go to the second group, or for all to come back.
    fn resize(&mut self) -> impl Future<Output = ()> + use<> {
        self.shared = !self.shared;
        let (changes, join) = (self.cluster.changes(), self.shared);
        async move {
            if join {
                changes.join(&[1]).await;
            } else {
                changes.leave(&[1]).await;
            }
        }
    }

    async fn settled(&self) {
        let expected = if self.shared { [SHARDS / 2, SHARDS / 2] } else { [0, SHARDS] };
        self.cluster.settled(&expected).await;
    }

    /// Has a server die at this point of a move; the others go on, then it comes back.
    async fn kill_server_at(&mut self, point: &str, victim: Victim) {
        eprintln!("a server dies at {point}");
        self.cluster.arm(point);
        self.resize().await;
        let index = self.cluster.server_dies_at(point).await;
        let target = u32::from(self.shared);
        let group = if victim == Victim::Target { target } else { 1 - target };
        self.revive(index, group, point).await;
    }

    /// The others go on without a server of this group that died; then it comes back.
    async fn revive(&mut self, index: usize, group: u32, point: &str) {
        assert!(self.cluster.servers[index].hosts(group), "{point}");
        self.load.recorder.more_acknowledged(20).await;
        self.cluster.servers[index].process.start();
        self.settled().await;
        self.cluster.servers[index].ready().await;
    }

    /// Has the shard manager die at this point of a change; the groups go on, then it comes back.
    async fn kill_manager_at(&mut self, point: &str) {
        eprintln!("the shard manager dies at {point}");
        self.cluster.arm(point);
        let asked = tokio::spawn(self.resize());
        self.cluster.manager_dies_at(point).await;
        self.load.recorder.more_acknowledged(100).await;
        self.cluster.manager.start();
        asked.await.expect("the change is made");
        self.settled().await;
    }

    async fn finish(self) {
        let clerk = self.cluster.clerk();
        for index in 0..BALLAST {
            let found = clerk.get(format!("ballast-{index}")).await.expect("a get").value;
            assert!(found == ballast(index), "ballast-{index} isn't what was put");
        }
        self.load.finish_right(&self.cluster).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sources_leader_dies_at_each_step() {
    let mut store = Store::start().await;
    for point in [
        "list-due",
        "list-applied",
        "begin-due",
        "begin-applied",
        "receive-answered",
        "chunk-answered",
        "copied",
        "freeze-due",
        "freeze-applied",
        "drop-due",
        "drop-applied",
    ] {
        store.kill_server_at(point, Victim::Source).await;
    }
    store.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_targets_leader_dies_at_each_step() {
    let mut store = Store::start().await;
    for point in
        ["receive-due", "receive-applied", "chunk-due", "chunk-applied", "install-due", "install-applied"]
    {
        store.kill_server_at(point, Victim::Target).await;
    }
    store.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_targets_leader_dies_while_it_forgets_a_move_that_was_taken_back() {
    let slow = Settings::default().server_flag("--transfer-bytes-per-second", SLOW);
    let mut store = Store::start_with(slow).await;
    for point in ["abort-due", "abort-applied"] {
        eprintln!("a server dies at {point}");
        store.resize().await;
        eventually("a shard arrives", || async {
            (store.cluster.group_holdings(1).await?.count(State::Arriving) > 0).then_some(())
        })
        .await;
        store.cluster.arm(point);
        store.resize().await;
        let index = store.cluster.server_dies_at(point).await;
        store.revive(index, 1, point).await;
    }
    store.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shard_manager_dies_before_and_after_each_write() {
    let mut store = Store::start().await;
    // What leaders register changes the record only when shards have arrived.
    for point in ["change-due", "change-written", "registration-due", "registration-written"] {
        for _ in 0..2 {
            store.kill_manager_at(point).await;
        }
    }
    store.finish().await;
}
