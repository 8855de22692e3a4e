//! `placement: ring` as `skv up` runs it. The keys that answer after servers stop follow from the
//! majorities of each shard's replicas, and from nothing else.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use rustix::process::Signal;
use skv_client::{Clerk, Error, Options};
use skv_process::{Home, eventually, is_alive, signal};
use skv_sharding::{GroupId, Ring};

/// The number of keys of each shard.
const KEYS: u32 = 2;

/// A ring of processes, with all acknowledged writes.
struct RingStore {
    home: Home,
    ring: Ring,
    /// The value of every key.
    value: String,
}

impl RingStore {
    /// Starts a ring; each key has a value.
    async fn start(servers: u32, replicas: u32) -> RingStore {
        let home = Home::new(&format!(
            "{{placement: ring, groups: {servers}, shards: {servers}, replicas: {replicas}, hash: integer, \
             server: {{workerThreads: 1}}}}"
        ));
        home.up();
        let ring = Ring::new(servers, replicas).expect("a ring");
        let store = RingStore { home, ring, value: "first".to_owned() };
        let clerk = store.clerk(Duration::from_secs(30));
        for key in store.keys() {
            clerk.put(key.to_string(), store.value.clone()).await.expect("a put");
        }
        store
    }

    /// Returns all keys; key k is in shard k mod N.
    fn keys(&self) -> impl Iterator<Item = u32> {
        0..self.ring.servers() * KEYS
    }

    fn clerk(&self, deadline: Duration) -> Clerk {
        let mut options = Options::manager([self.home.manager_address()]);
        options.deadline = deadline;
        Clerk::connect(options).expect("the options are right")
    }

    /// Kills these servers for good by kill -9: also the supervisor, which would start them again.
    async fn stop(&self, places: &[u32]) {
        let supervisor = self.home.pid("supervisor");
        let servers = places.iter().map(|place| self.home.pid(&format!("store-{place}")));
        for pid in [supervisor].into_iter().chain(servers).flatten() {
            signal(pid, Signal::KILL);
            eventually("it is gone", || async { (!is_alive(pid)).then_some(()) }).await;
        }
    }

    /// Returns the keys of the shards of which more than half of the replicas run, by the rule as
    /// it is stated: shard i on servers i to i + R - 1.
    fn expected(&self, stopped: &[u32]) -> BTreeSet<u32> {
        let (servers, replicas) = (self.ring.servers(), self.ring.replicas());
        let answers = |key: &u32| {
            let running = (*key..*key + replicas).filter(|place| !stopped.contains(&(place % servers)));
            running.count() as u32 * 2 > replicas
        };
        self.keys().filter(answers).collect()
    }

    /// Asserts that exactly these keys answer, to reads and to writes; others are refused within
    /// the clerk's deadline.
    async fn assert_exactly(&self, answering: &BTreeSet<u32>, stopped: &[u32]) {
        let patient = self.clerk(Duration::from_mins(1));
        for key in answering {
            self.assert_value(&patient, *key).await;
        }
        let hasty = self.clerk(Duration::from_secs(2));
        let silent: Vec<u32> = self.keys().filter(|key| !answering.contains(key)).collect();
        let asked = silent.iter().map(|key| {
            let hasty = hasty.clone();
            async move {
                let got = hasty.get(key.to_string()).await;
                // The write may still happen later, so it writes the value that is there.
                let put = hasty.put(key.to_string(), self.value.clone()).await;
                let (Err(got), Err(put)) = (&got, &put) else {
                    panic!("key {key} answers without a majority: {got:?}, {put:?}");
                };
                for error in [got, put] {
                    assert_says_what_is_missing(error, stopped);
                }
            }
        });
        join_all(asked).await;
        // However the others are refused, these still answer.
        for key in answering {
            patient.put(key.to_string(), self.value.clone()).await.expect("a put");
        }
    }

    async fn assert_value(&self, clerk: &Clerk, key: u32) {
        let got = clerk.get(key.to_string()).await;
        let got = got.unwrap_or_else(|error| panic!("key {key}, whose shard has a majority: {error}"));
        assert_eq!(got.value, self.value.as_bytes(), "key {key}");
    }

    /// Brings all servers back, and has all keys written again.
    async fn restart(&mut self) {
        self.home.up();
        let clerk = self.clerk(Duration::from_secs(30));
        for key in self.keys() {
            self.assert_value(&clerk, key).await;
        }
        self.value.push('+');
        for key in self.keys() {
            clerk.put(key.to_string(), self.value.clone()).await.expect("a put");
        }
    }

    /// Stops servers one after the other, each time with a look at the keys that answer.
    async fn stop_in_turn(&mut self, places: &[u32]) {
        for stopped in (1..=places.len()).map(|count| &places[..count]) {
            self.stop(&stopped[stopped.len() - 1..]).await;
            let expected = self.expected(stopped);
            self.assert_exactly(&expected, stopped).await;
        }
        self.restart().await;
    }

    /// Asserts the servers of each group's replicas, and the group of each shard.
    fn assert_layout(&self) {
        let status = self.home.json(&["status"]);
        let groups = status["groups"].as_array().expect("groups");
        assert_eq!(groups.len(), self.ring.servers() as usize);
        for (group, id) in groups.iter().zip(self.ring.groups()) {
            let replicas = group["replicas"].as_array().expect("replicas").iter();
            let servers: BTreeSet<&str> = replicas.filter_map(|replica| replica["server"].as_str()).collect();
            let names: Vec<String> = self.ring.servers_of(id).map(|place| format!("store-{place}")).collect();
            assert_eq!(servers, names.iter().map(String::as_str).collect(), "{id}");
        }
        let map = self.home.json(&["map"]);
        let owner = |shard: u64| {
            let ranges = map["ranges"].as_array().expect("ranges");
            let number = |range: &serde_json::Value, field: &str| range[field].as_u64().expect("a number");
            let range = ranges
                .iter()
                .find(|r| (number(r, "first")..number(r, "first") + number(r, "count")).contains(&shard));
            range.map(|range| GroupId(number(range, "group") as u32))
        };
        for group in self.ring.groups() {
            assert_eq!(owner(group.0.into()), Some(group), "shard {}", group.0);
        }
    }
}

/// Asserts that no stopped server is said to lead, and that the missing majority is named unless a request was lost.
fn assert_says_what_is_missing(error: &Error, stopped: &[u32]) {
    let text = error.to_string();
    for place in stopped {
        let (leads, is) = (format!("store-{place} leads"), format!("not the leader; store-{place} "));
        assert!(!text.contains(&leads) && !text.contains(&is), "{text}");
    }
    match error {
        Error::OutcomeUnknown(_) | Error::Deadline(_) => {}
        Error::Unreachable(_) => assert!(text.contains("can't be reached"), "{text}"),
        _ => {
            assert!(text.contains("no replica of group g"), "{text}");
            assert!(text.contains("a majority of the group is needed"), "{text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_five_servers_with_three_replicas_each_shard_survives_any_one_and_some_survive_two() {
    let mut store = RingStore::start(5, 3).await;
    store.assert_layout();
    assert_eq!(store.expected(&[1]).len(), 10);
    // Shard 0 is on 0, 1, 2; shard 1 on 1, 2, 3; shard 4 on 4, 0, 1: those lost two.
    assert_eq!(store.expected(&[1, 2]), BTreeSet::from([2, 3, 4, 7, 8, 9]));
    store.stop_in_turn(&[1, 2, 4]).await;
    store.stop_in_turn(&[0, 2, 1, 3]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_three_servers_with_one_replica_each_shard_lives_and_dies_with_its_own() {
    let mut store = RingStore::start(3, 1).await;
    store.assert_layout();
    assert_eq!(store.expected(&[0]), BTreeSet::from([1, 2, 4, 5]));
    store.stop_in_turn(&[0, 2]).await;
    store.stop_in_turn(&[1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_replicas_both_are_the_majority() {
    let mut store = RingStore::start(3, 2).await;
    store.assert_layout();
    assert_eq!(store.expected(&[0]), BTreeSet::from([1, 4]));
    store.stop_in_turn(&[0]).await;
    store.stop_in_turn(&[2, 1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_replica_of_each_shard_on_every_server_all_shards_stand_and_fall_together() {
    let mut store = RingStore::start(4, 4).await;
    store.assert_layout();
    assert_eq!((store.expected(&[2]).len(), store.expected(&[2, 3]).len()), (8, 0));
    store.stop_in_turn(&[2, 3]).await;
    store.stop_in_turn(&[0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_disk_was_emptied_is_a_member_of_all_its_groups_again() {
    let mut store = RingStore::start(4, 3).await;
    store.stop(&[1]).await;
    std::fs::remove_dir_all(store.home.data("store-1")).expect("a directory can be removed");
    store.restart().await;
    store.assert_layout();
    // One more server of each of its groups goes: without the new replica's log there is no majority.
    store.stop_in_turn(&[3]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ring_stays_as_it_was_made() {
    let store = RingStore::start(3, 2).await;
    let file = store.home.manifest.to_string_lossy().into_owned();
    let apply = |spec: &str| {
        store.home.write_manifest(&format!(
            "{{placement: ring, hash: integer, server: {{workerThreads: 1}}, {spec}}}"
        ));
        store.home.run(&["apply", "-f", &file])
    };
    let complaint = |spec| {
        let output = apply(spec);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8(output.stderr).expect("text")
    };
    let more = complaint("groups: 4, shards: 3, replicas: 2");
    assert!(more.contains("a ring has one group for each shard"), "{more}");
    let bigger = complaint("groups: 4, shards: 4, replicas: 2");
    assert!(bigger.contains("spec.shards is 3 there, 4 in the manifest"), "{bigger}");
    let fewer = complaint("groups: 3, shards: 3, replicas: 1");
    assert!(fewer.contains("spec.replicas is 2 there, 1 in the manifest"), "{fewer}");
    let same = apply("groups: 3, shards: 3, replicas: 2");
    assert!(same.status.success(), "{same:?}");
    assert!(String::from_utf8_lossy(&same.stdout).contains("nothing to do"), "{same:?}");
}
