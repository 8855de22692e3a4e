//! A process dies at each step of a handoff, while clerks work: the source's leader, the
//! target's, and the shard manager; or others die while one stands at a step. Each time the moves
//! complete by themselves, no call of a clerk fails, nothing is lost, and each shard ends in exactly
//! one group.

use skv_process::{Cluster, Load, Settings, keys_of, outgrow_copies};
use skv_proto::v1::shard_status::State;

const SHARDS: u32 = 4;
/// The number of values in each shard: enough that it takes several chunks.
const BALLAST: usize = 4;
const BALLAST_BYTES: usize = 300 << 10;
/// The speed of moves: slow enough that one can be taken back while it is under way.
const SLOW: u32 = 256 << 10;

/// Two groups that share the shards, unless the first one has them all.
struct Store {
    cluster: Cluster,
    load: Load,
    shared: bool,
}

/// A group that takes part in a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Source,
    Target,
}

/// Returns keys with values that differ, the same number in each shard.
fn ballast() -> impl Iterator<Item = (String, String)> {
    let keys = (0..SHARDS).flat_map(|shard| keys_of(shard, SHARDS).take(BALLAST));
    keys.zip('a'..).map(|(key, letter)| (key, letter.to_string().repeat(BALLAST_BYTES)))
}

async fn put_ballast(cluster: &Cluster) {
    let clerk = cluster.clerk();
    for (key, value) in ballast() {
        clerk.put(key, value).await.expect("a put");
    }
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
        put_ballast(&cluster).await;
        let load = Load::start(&cluster, 4, 8);
        load.recorder.more_acknowledged(100).await;
        Store { cluster, load, shared: false }
    }

    /// Moves half of the shards to the second group, or all of them back.
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

    /// Has a server die at this point of a move; the others continue, then it comes back.
    async fn kill_server_at(&mut self, point: &str, victim: Side) {
        eprintln!("a server dies at {point}");
        self.cluster.arm(point);
        self.resize().await;
        let index = self.cluster.server_dies_at(point).await;
        self.revive(index, self.group(victim), point).await;
    }

    /// Returns the group on this side of the moves that were requested last.
    fn group(&self, side: Side) -> u32 {
        let target = u32::from(self.shared);
        if side == Side::Target { target } else { 1 - target }
    }

    /// Has the leader of one group stand at this point of a move, while the other group's leader
    /// and the shard manager die; the groups continue, then those come back.
    async fn kill_others_at(&mut self, point: &str, victim: Side) {
        eprintln!("{victim:?} and the shard manager die while a server stands at {point}");
        self.cluster.arm_to_stand(point);
        self.resize().await;
        self.cluster.somebody_stands_at(point).await;
        let index = self.cluster.leader(self.group(victim)).await;
        self.cluster.servers[index].process.kill();
        self.cluster.manager.kill();
        self.cluster.release(point);
        self.load.recorder.more_acknowledged(20).await;
        self.cluster.manager.start();
        self.cluster.servers[index].process.start();
        self.settled().await;
        self.cluster.servers[index].ready().await;
    }

    /// Waits until the others continue without a server of this group that died; then brings it back.
    async fn revive(&mut self, index: usize, group: u32, point: &str) {
        assert!(self.cluster.servers[index].hosts(group), "{point}");
        self.load.recorder.more_acknowledged(20).await;
        self.cluster.servers[index].process.start();
        self.settled().await;
        self.cluster.servers[index].ready().await;
    }

    /// Has a server die at this point of the rounds of changes while a shard is copied. Each shard
    /// has more changes than may go along with the last step.
    async fn kill_amid_rounds_at(&mut self, point: &str, victim: Side) {
        eprintln!("a server dies at {point}, amid the rounds");
        self.cluster.arm_to_stand("copied");
        self.resize().await;
        self.cluster.somebody_stands_at("copied").await;
        put_ballast(&self.cluster).await;
        self.cluster.arm(point);
        self.cluster.release("copied");
        let index = self.cluster.server_dies_at(point).await;
        self.revive(index, self.group(victim), point).await;
    }

    /// Has the source's leader die at this point of giving up a copy without a receiver; then the
    /// target comes back.
    async fn kill_giving_up_at(&mut self, point: &str) {
        eprintln!("a server dies at {point}");
        self.cluster.arm(point);
        self.resize().await;
        let (source, target) = (self.group(Side::Source), self.group(Side::Target));
        self.cluster.some_shard_is(source, State::Copying).await;
        self.cluster.take_quorum(target);
        let clerk = self.cluster.clerk();
        outgrow_copies(&clerk).await;
        // The target may have some of them.
        for (key, _) in ballast() {
            clerk.delete(key).await.expect("the source serves");
        }
        let index = self.cluster.server_dies_at(point).await;
        assert!(self.cluster.servers[index].hosts(source), "{point}");
        self.load.recorder.more_acknowledged(20).await;
        self.cluster.start_servers();
        self.settled().await;
        self.cluster.ready().await;
        for (key, _) in ballast() {
            assert_eq!(
                clerk.get(key.clone()).await.expect("a get").value,
                "",
                "{point}: {key} is there again"
            );
        }
        put_ballast(&self.cluster).await;
    }

    /// Has the shard manager die at this point of a change; the groups continue, then it comes back.
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
        for (key, value) in ballast() {
            let found = clerk.get(key.clone()).await.expect("a get").value;
            assert!(found == value, "{key} isn't what was put");
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
        store.kill_server_at(point, Side::Source).await;
    }
    store.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_targets_leader_dies_at_each_step() {
    let mut store = Store::start().await;
    for point in
        ["receive-due", "receive-applied", "chunk-due", "chunk-applied", "install-due", "install-applied"]
    {
        store.kill_server_at(point, Side::Target).await;
    }
    store.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_dies_amid_the_rounds_of_what_changed_meanwhile() {
    let mut store = Store::start().await;
    store.kill_amid_rounds_at("round-answered", Side::Source).await;
    for point in ["chunk-due", "chunk-applied"] {
        store.kill_amid_rounds_at(point, Side::Target).await;
    }
    store.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sources_leader_dies_as_it_gives_up_a_copy_that_nobody_takes() {
    let slow = Settings::default().server_flag("--transfer-bytes-per-second", SLOW);
    for point in ["pause-due", "pause-applied"] {
        let mut store = Store::start_with(slow.clone()).await;
        store.kill_giving_up_at(point).await;
        store.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_dies_while_another_is_at_a_step() {
    let mut store = Store::start().await;
    for point in
        ["begin-applied", "receive-answered", "chunk-answered", "copied", "freeze-applied", "drop-due"]
    {
        store.kill_others_at(point, Side::Target).await;
    }
    // At the last point the shard is served already, and the source dies before it hears of it.
    for point in
        ["receive-due", "receive-applied", "chunk-due", "chunk-applied", "install-due", "install-applied"]
    {
        store.kill_others_at(point, Side::Source).await;
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
        store.cluster.some_shard_is(1, State::Arriving).await;
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
    // Registrations of leaders change the record only when shards have arrived.
    for point in ["change-due", "change-written", "registration-due", "registration-written"] {
        for _ in 0..2 {
            store.kill_manager_at(point).await;
        }
    }
    store.finish().await;
}
