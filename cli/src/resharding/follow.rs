//! Watches moves until every shard is there.
//!
//! The shard map has the current place of each shard, the configuration that the map names has its
//! wanted place, and the groups know how much of each has been copied.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::join_all;
use skv_proto::v1;
use skv_sharding::{GroupId, ShardId};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::moves::{End, Moves};
use super::screen::Screen;
use super::speed::Speed;
use crate::target::Target;
use crate::{admin, manager, shards};

/// The interval at which the groups are asked for their shards.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// Watches until every shard is where the newest configuration has it, for good. Maps that don't know
/// this configuration yet are ignored. A shard manager that lost its record begins to count
/// configurations again: then the configuration that it has now is watched.
pub(super) async fn follow(
    target: &Target,
    configuration: u64,
    moves: &mut Moves,
    screen: &mut Screen,
) -> anyhow::Result<End> {
    tokio::select! {
        // Ctrl-C comes first, so that a user who sees the first line can already stop it.
        biased;
        stopped = tokio::signal::ctrl_c() => Ok(stopped.map(|()| End::Stopped)?),
        done = until_done(target, configuration, moves, screen) => done.map(|()| End::Done),
    }
}

async fn until_done(
    target: &Target,
    configuration: u64,
    moves: &mut Moves,
    screen: &mut Screen,
) -> anyhow::Result<()> {
    let mut maps = pin!(manager::maps(target));
    let mut tick = interval(ASK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (started, mut speed) = (Instant::now(), Speed::default());
    let mut newest: Option<v1::ShardMap> = None;
    let (mut numbers, mut goal) = (Numbers { first: configuration, seen: 0 }, Goal::default());
    let mut problem = None;
    loop {
        tokio::select! {
            Some(map) = maps.next() => {
                let map = map?;
                if numbers.count(map.configuration) {
                    let owners = skv_proto::owners(&map.ranges);
                    moves.follow(&owners, goal.of(target, map.configuration).await?);
                    newest = Some(map);
                }
            }
            _ = tick.tick() => {
                if let Some(map) = &newest {
                    let problems = hear(target, map, moves).await;
                    problem = problems.first().map(|problem| format!("{problem:#}"));
                    speed.sample(started.elapsed(), moves.came());
                }
            }
        }
        let there = newest.as_ref().filter(|_| moves.is_done());
        if let Some(map) = there.filter(|map| map.moving == 0) {
            // The targets know the sizes of shards that moved before they were asked for.
            if moves.bytes().is_none() {
                hear(target, map, moves).await;
            }
            return Ok(());
        }
        let unsettled = there.map(|map| shards::unsettled(map.moving));
        screen.show(moves, &speed, problem.as_deref().or(unsettled.as_deref()));
    }
}

/// Asks the groups between which shards move for their shards. Returns the reasons why some didn't
/// answer: without them the moves are known, but not the progress of each.
pub(super) async fn hear(target: &Target, map: &v1::ShardMap, moves: &mut Moves) -> Vec<anyhow::Error> {
    let concerned = moves.groups();
    let groups = map.groups.iter().filter(|group| concerned.contains(&GroupId(group.id)));
    let asked = groups.map(async |group| (GroupId(group.id), admin::shards(target, group).await));
    let mut problems = Vec::new();
    for (group, answer) in join_all(asked).await {
        match answer {
            Ok(shards) => moves.hear(group, &shards),
            Err(problem) => problems.push(problem.context(format!("{group} can't be asked"))),
        }
    }
    problems
}

/// The numbers of the maps that know the awaited configuration.
struct Numbers {
    /// The lowest number of them.
    first: u64,
    /// The last number that was seen.
    seen: u64,
}

impl Numbers {
    /// Returns true if a map of this configuration has the wanted place of shards. Each is newer
    /// than the one before, so that a lower number belongs to a new count.
    fn count(&mut self, configuration: u64) -> bool {
        if configuration < self.seen {
            self.first = configuration;
        }
        self.seen = configuration;
        configuration >= self.first
    }
}

/// The places of the shards in a configuration, which is requested once.
#[derive(Default)]
struct Goal {
    number: u64,
    owners: BTreeMap<ShardId, GroupId>,
}

impl Goal {
    async fn of(&mut self, target: &Target, number: u64) -> anyhow::Result<&BTreeMap<ShardId, GroupId>> {
        if self.number != number {
            let configuration = manager::configuration(target, Some(number)).await?;
            *self = Goal { number, owners: skv_proto::owners(&configuration.ranges) };
        }
        Ok(&self.owners)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_from_before_the_change_say_nothing_and_those_of_a_new_count_do() {
        let mut numbers = Numbers { first: 5, seen: 0 };
        let counted = [3, 4, 5, 5, 7, 1, 2].map(|configuration| numbers.count(configuration));
        assert_eq!(counted, [false, false, true, true, true, true, true]);
    }
}
