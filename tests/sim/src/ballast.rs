//! A client that keeps some shards heavy and rewrites them all the time, so that a move of one takes
//! several chunks and has to catch up with changes. Its reads are judged with all others.

use std::time::Duration;

use skv_checker::{Event, RecordedClerk, Token};

use crate::cluster::Cluster;
use crate::layout::shard_of;
use crate::operator::random_below;
use crate::resharding::Changes;
use crate::values::{repeated, shortened};
use crate::workload::{self, History};

/// The keys whose shards get ballast: those that all clients call on.
const HEAVY: [&str; 3] = ["k0", "k1", "k2"];
/// The number of ballast keys in each of these shards.
const KEYS: usize = 12;
/// The number of calls on one shard before another one's turn.
const ROUND: u64 = 30;

/// Adds it to the simulation as this client of the history; it runs until `changes` are to stop.
pub(crate) fn start(cluster: &mut Cluster, client: u64, changes: &Changes) -> History {
    let history = History::of(1);
    cluster.add_clerk("ballast".to_owned(), run(client, history.clone(), changes.clone()));
    history
}

async fn run(client: u64, history: History, changes: Changes) -> turmoil::Result {
    let clerk = workload::clerk(client, Duration::from_mins(1))?;
    let mut shards = Vec::new();
    for heavy in HEAVY {
        shards.push(keys_beside(heavy)?);
    }
    let mut number = 0;
    for key in shards.iter().flatten() {
        history.push(put(&clerk, key, &mut number).await);
    }
    while !changes.are_enough() {
        let keys = &shards[random_below(shards.len() as u64) as usize];
        for _ in 0..ROUND {
            let key = &keys[random_below(keys.len() as u64) as usize];
            let event = match random_below(8) {
                0 => shortened(clerk.get(key).await.0),
                _ => put(&clerk, key, &mut number).await,
            };
            history.push(event);
            tokio::time::sleep(Duration::from_millis(random_below(60))).await;
        }
    }
    history.finished();
    Ok(())
}

/// Returns keys of the same shard.
fn keys_beside(heavy: &str) -> anyhow::Result<Vec<String>> {
    let shard = shard_of(heavy)?;
    let mut keys = Vec::new();
    for number in 0.. {
        let key = format!("b{number}");
        if shard_of(&key)? == shard {
            keys.push(key);
        }
        if keys.len() == KEYS {
            break;
        }
    }
    Ok(keys)
}

async fn put<Now: Fn() -> u64>(clerk: &RecordedClerk<Now>, key: &str, number: &mut u64) -> Event {
    let token = Token { client: clerk.client(), number: *number }.to_string();
    *number += 1;
    shortened(clerk.put(key, &repeated(&token), None).await.0)
}
