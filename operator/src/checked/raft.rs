//! The replicas of one group by Raft's rules, without its messages: who votes and leads, and who has how much.

use std::collections::{BTreeMap, BTreeSet};

use rand::RngExt as _;
use rand::rngs::SmallRng;
use skv_sharding::{GroupId, Ring};

use super::objects::{NAME, group_of, place, server, set_of};

/// The servers that run, with the replica that each hosts. In a ring it has one in each of its groups, all of the same
/// number.
pub(super) type Hosted = BTreeMap<String, u64>;

/// A group.
#[expect(clippy::struct_excessive_bools, reason = "each says something of its own")]
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) number: u32,
    /// The ring on which its replicas are; `None` if it has servers of its own.
    ring: Option<Ring>,
    /// The group's identity; 0 until it is founded.
    pub(super) uid: u64,
    pub(super) voters: BTreeMap<u64, String>,
    /// The replica that is about to vote.
    pub(super) learner: Option<(u64, String)>,
    pub(super) leader: Option<u64>,
    pub(super) term: u64,
    /// The end of the leader's log.
    pub(super) last: u64,
    /// The end of each replica's log.
    pub(super) matched: BTreeMap<u64, u64>,
    /// True while a change of members isn't finished.
    pub(super) changing: bool,
    /// True once the group was to have shards.
    pub(super) joined: bool,
    pub(super) retired: bool,
    /// True once the shard manager has heard that it is retired.
    pub(super) forgotten: bool,
    /// The time at which a leader was last there.
    pub(super) led_at: i64,
    /// Every membership, with its place in the log.
    memberships: Vec<(u64, BTreeMap<u64, String>)>,
    slow_until: BTreeMap<u64, i64>,
    /// The time until which no two of its servers reach each other, though others reach them all.
    apart_until: i64,
}

impl Group {
    /// Returns a group that isn't founded yet.
    pub(super) fn new(number: u32, ring: Option<Ring>) -> Group {
        Group { number, ring, ..Group::default() }
    }

    pub(super) fn is_founded(&self) -> bool {
        self.uid != 0
    }

    /// Returns true if the shard manager has it in its record.
    pub(super) fn is_known(&self) -> bool {
        self.is_founded() && !self.forgotten
    }

    /// Returns the voters that run.
    pub(super) fn live(&self, hosted: &Hosted) -> BTreeSet<u64> {
        let lives = |(replica, server): &(&u64, &String)| hosted.get(*server) == Some(replica);
        self.voters.iter().filter(lives).map(|(replica, _)| *replica).collect()
    }

    /// Returns true if these are most of the voters.
    pub(super) fn is_majority(&self, replicas: &BTreeSet<u64>) -> bool {
        replicas.len() * 2 > self.voters.len()
    }

    /// Returns the newest membership that a replica knows.
    pub(super) fn known_to(&self, replica: u64) -> Option<&(u64, BTreeMap<u64, String>)> {
        let has = self.matched.get(&replica)?;
        self.memberships.iter().rev().find(|(at, _)| at <= has)
    }

    pub(super) fn slow_down(&mut self, replica: u64, until: i64) {
        self.slow_until.insert(replica, until);
    }

    pub(super) fn part(&mut self, until: i64) {
        self.apart_until = until;
    }

    /// Returns the servers that the group should have.
    fn servers(&self, wanted: u32) -> Vec<String> {
        match self.ring {
            Some(ring) => ring.servers_of(GroupId(self.number)).map(|place| server(NAME, place)).collect(),
            None => (0..wanted).map(|ordinal| server(&set_of(self.number), ordinal)).collect(),
        }
    }

    /// Returns true if all servers that the group should have wait for it to be founded: for the first time, or
    /// once more if it never was to have anything, and none of its members is left.
    pub(super) fn waits(&self, wanted: u32, hosted: &Hosted) -> bool {
        let is_left = || self.joined || self.retired || !self.live(hosted).is_empty();
        let are_there = || self.servers(wanted).iter().all(|server| hosted.contains_key(server));
        !(self.is_founded() && is_left()) && are_there()
    }

    /// Founds the group with all servers that it should have, if they wait for that.
    pub(super) fn found(&mut self, wanted: u32, hosted: &Hosted, rng: &mut SmallRng) {
        if !self.waits(wanted, hosted) {
            return;
        }
        let servers = self.servers(wanted).into_iter();
        *self = Group::new(self.number, self.ring);
        self.voters = servers.map(|server| (hosted[&server], server)).collect();
        self.uid = rng.random_range(1..u64::MAX);
        self.last = 1;
        self.matched = self.voters.keys().map(|replica| (*replica, 1)).collect();
        self.memberships = vec![(1, self.voters.clone())];
    }

    /// Lets a second pass. `wanted` is the number of replicas that the shard manager wants.
    pub(super) fn tick(&mut self, now: i64, wanted: u32, hosted: &Hosted, rng: &mut SmallRng) {
        let live = self.live(hosted);
        let can_agree = self.is_majority(&live) && (now >= self.apart_until || self.voters.len() == 1);
        if self.leader.is_some_and(|leader| !live.contains(&leader)) || !can_agree {
            self.leader = None;
        }
        if self.leader.is_none() && can_agree && rng.random_bool(0.5) {
            self.elect(&live);
        }
        if self.leader.is_none() {
            return;
        }
        self.led_at = now;
        if rng.random_bool(0.7) {
            self.last += rng.random_range(1..5);
        }
        self.replicate(now, hosted, rng);
        if self.changing {
            self.changing = rng.random_bool(0.4);
        } else if !self.retired && rng.random_bool(0.5) {
            self.admit(wanted, hosted);
        }
    }

    /// Elects a voter that has all that was committed: of a majority, the one that has most.
    fn elect(&mut self, live: &BTreeSet<u64>) {
        let Some(best) = live.iter().copied().max_by_key(|replica| self.has(*replica)) else { return };
        self.last = self.has(best) + 1;
        for matched in self.matched.values_mut() {
            *matched = (*matched).min(self.last);
        }
        self.memberships.retain(|(at, _)| *at <= self.last);
        self.matched.insert(best, self.last);
        self.leader = Some(best);
        self.term += 1;
    }

    pub(super) fn has(&self, replica: u64) -> u64 {
        self.matched.get(&replica).copied().unwrap_or(0)
    }

    fn replicate(&mut self, now: i64, hosted: &Hosted, rng: &mut SmallRng) {
        let mut reached: Vec<u64> = self.live(hosted).into_iter().collect();
        let learns = |(replica, server): &&(u64, String)| hosted.get(server) == Some(replica);
        reached.extend(self.learner.as_ref().filter(learns).map(|(replica, _)| *replica));
        for replica in reached {
            let is_slow = self.slow_until.get(&replica).is_some_and(|until| now < *until);
            if self.leader == Some(replica) || !is_slow && rng.random_bool(0.8) {
                self.matched.insert(replica, self.last);
            }
        }
    }

    /// Admits a replica: as a learner first, then in the place of the one that its server had before.
    fn admit(&mut self, wanted: u32, hosted: &Hosted) {
        if let Some((replica, server)) = self.learner.clone() {
            // It gets its vote only if it is still wanted.
            if hosted.get(&server) != Some(&replica) || !self.has_place(wanted, &server, hosted) {
                self.learner = None;
            } else if self.has(replica) == self.last {
                let mut voters = self.voters.clone();
                voters.retain(|_, on| *on != server);
                voters.insert(replica, server);
                self.learner = None;
                self.change(voters, hosted);
            }
            return;
        }
        let waits = |(server, replica): (&String, &u64)| {
            (!self.voters.contains_key(replica) && self.has_place(wanted, server, hosted))
                .then(|| (*replica, server.clone()))
        };
        self.learner = hosted.iter().find_map(waits);
    }

    /// Returns true if a server's new replica may vote: its old one doesn't answer, or it never had one.
    fn has_place(&self, wanted: u32, of: &String, hosted: &Hosted) -> bool {
        let Some((set, ordinal)) = place(of) else { return false };
        let is_wanted = match self.ring {
            Some(ring) => ring.servers_of(GroupId(self.number)).any(|place| place == ordinal),
            None if group_of(set) == Some(self.number) => ordinal < wanted,
            None => return false,
        };
        let mut others = self.live(hosted);
        others.retain(|replica| self.voters.get(replica) != Some(of));
        let is_voters = self.voters.values().any(|server| server == of);
        self.is_majority(&others) && (is_voters || is_wanted)
    }

    fn change(&mut self, voters: BTreeMap<u64, String>, hosted: &Hosted) {
        self.voters = voters;
        self.changing = true;
        self.last += 1;
        self.memberships.push((self.last, self.voters.clone()));
        for replica in self.live(hosted) {
            self.matched.insert(replica, self.last);
        }
    }

    /// Takes a replica out, as its leader does if it is asked.
    pub(super) fn remove(&mut self, replica: u64, hosted: &Hosted) -> Result<(), String> {
        let mut staying = self.live(hosted);
        staying.remove(&replica);
        if self.changing || self.learner.is_some() {
            return Err("the members are changing".to_owned());
        }
        if self.leader == Some(replica) {
            return Err("it leads".to_owned());
        }
        if staying.len() * 2 <= self.voters.len().saturating_sub(1) {
            return Err("those who stay have no quorum".to_owned());
        }
        let mut voters = self.voters.clone();
        voters.remove(&replica);
        self.change(voters, hosted);
        Ok(())
    }

    /// Hands the leadership over, to a voter that has everything.
    pub(super) fn hand_over(&mut self, to: Option<u64>, hosted: &Hosted) -> Result<(), String> {
        let mut able = self.live(hosted);
        able.retain(|replica| Some(*replica) != self.leader && self.has(*replica) == self.last);
        let next = to.map_or_else(|| able.first().copied(), |to| able.contains(&to).then_some(to));
        let next = next.ok_or("no voter has caught up")?;
        self.leader = Some(next);
        self.term += 1;
        Ok(())
    }
}
