//! Keeping the shard map fresh in the background: by a shard manager's watch, and by asking servers
//! when a call needs more than the map contains.

use std::sync::Arc;
use std::time::Duration;

use skv_net::race;
use skv_proto::v1;
use skv_sharding::MapRevision;
use tokio::time::{Instant, timeout_at};
use tonic::{Code, Status, Streaming};

use super::{Router, Source};
use crate::pause::Backoff;
use crate::transport::{Failure, Patience, Peer};

/// The pause between two rounds of asking all servers.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
/// The pause after a round that brought nothing new.
const PAUSE: Duration = Duration::from_millis(250);
/// The longest pause of a clerk whose watch was refused because others have all of them. It has the map
/// without a watch, and servers' answers correct it.
const CROWDED: Duration = Duration::from_secs(20);
/// The pause while no server has a map, which is no emergency: calls are forwarded.
const BLIND_PAUSE: Duration = Duration::from_secs(1);

impl Router {
    /// Follows the shard managers' map, one manager at a time, for ever. The next one is asked beside one that
    /// keeps silent.
    pub(crate) async fn watch(self: Arc<Self>, patience: Duration) {
        let mut backoff = Backoff::default();
        let mut managers = self.seeds.clone();
        loop {
            let opened = race(&managers, |manager| self.open_watch(manager, patience), &mut 0).await;
            if let Ok((index, opened)) = opened {
                let manager = Arc::clone(&managers[index]);
                managers.rotate_left((index + 1) % self.seeds.len());
                if let Err(why) = self.follow(&manager, opened, &mut backoff).await {
                    self.note_trouble(&manager, why);
                }
            }
            tokio::time::sleep(backoff.next(&self.jitter)).await;
        }
    }

    async fn open_watch(&self, manager: &Peer, patience: Duration) -> Result<Opened, ()> {
        let patience = Patience { attempt: patience, deadline: Instant::now() + patience };
        let opened = async {
            let connection = manager.connection(patience).await.map_err(|failure| failure.to_string())?;
            let mut client = connection.shard_manager();
            let text = |status: Status| format!("{}: {}", manager.address(), status.message());
            match client.watch_shard_map(v1::WatchShardMapRequest::default()).await {
                Ok(maps) => Ok(Opened::Watch(Box::new(maps.into_inner()))),
                Err(status) if status.code() == Code::ResourceExhausted => {
                    let map = client.get_shard_map(v1::GetShardMapRequest {}).await.map_err(text)?;
                    Ok(Opened::Crowded(map.into_inner()))
                }
                Err(status) => Err(text(status)),
            }
        };
        let silent = || format!("{} did not answer in time", manager.address());
        let opened = timeout_at(patience.deadline, opened).await.unwrap_or_else(|_| Err(silent()));
        opened.map_err(|why| self.note_trouble(manager, why))
    }

    /// Takes over the maps of a watch until it ends. The map of a manager without a watch is taken once, and
    /// it is a while until a watch is tried again.
    async fn follow(&self, manager: &Peer, opened: Opened, backoff: &mut Backoff) -> Result<(), String> {
        let mut maps = match opened {
            Opened::Watch(maps) => maps,
            Opened::Crowded(map) => {
                self.learn_map(&map, Source::Manager);
                tokio::time::sleep(self.jitter.between(CROWDED / 2, CROWDED)).await;
                return Ok(());
            }
        };
        let text = |status: Status| format!("{}: {}", manager.address(), status.message());
        while let Some(map) = maps.message().await.map_err(text)? {
            *backoff = Backoff::default();
            if !self.learn_map(&map, Source::Manager) {
                *self.trouble.lock() = Some(format!("{} has no usable map", manager.address()));
            }
        }
        Ok(())
    }

    fn note_trouble(&self, manager: &Peer, why: String) {
        tracing::debug!(manager = %manager.address(), why, "can't watch the shard map");
        *self.trouble.lock() = Some(why);
    }

    /// Asks servers for their copies of the map whenever a call wants a newer one, for ever.
    pub(crate) async fn ask(self: Arc<Self>, attempt: Duration) {
        loop {
            self.wanted.notified().await;
            let pause = match self.ask_all(attempt).await {
                Round::News => SHORTEST_PAUSE,
                Round::NoNews if self.known.read().is_none() => SHORTEST_PAUSE,
                Round::NoNews => PAUSE,
                Round::NoMap => {
                    self.go_blind();
                    BLIND_PAUSE
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Asks all servers until one has a newer map. The next one is asked beside one that keeps silent.
    async fn ask_all(&self, attempt: Duration) -> Round {
        let before = self.revision();
        let servers = self.servers(None);
        let asked = race(&servers, |server| self.ask_one(server, attempt, before), &mut 0).await;
        let Err(failures) = asked else { return Round::News };
        let one_answered = failures.iter().any(|(_, failure)| matches!(failure, Some(Failure::Answered(_))));
        if before.is_none() && one_answered { Round::NoMap } else { Round::NoNews }
    }

    /// Succeeds if this server's map is newer; without a failure it is not.
    async fn ask_one(
        &self,
        server: &Peer,
        attempt: Duration,
        before: Option<MapRevision>,
    ) -> Result<(), Option<Failure>> {
        let patience = Patience { attempt, deadline: Instant::now() + attempt };
        match server.shard_map(patience).await {
            Ok(map) => {
                self.learn_map(&map, Source::Server);
                if self.revision() > before { Ok(()) } else { Err(None) }
            }
            Err(failure) => {
                *self.trouble.lock() = Some(failure.to_string());
                Err(Some(failure))
            }
        }
    }

    fn revision(&self) -> Option<MapRevision> {
        self.known.read().as_ref().map(|known| known.revision)
    }
}

/// The answer of a shard manager to a wish for a watch.
enum Opened {
    Watch(Box<Streaming<v1::ShardMap>>),
    /// Others have all of its watches; but it has a map.
    Crowded(v1::ShardMap),
}

/// The result of asking all servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    /// There was a newer map.
    News,
    NoNews,
    /// Servers work, but have no map, and we have none.
    NoMap,
}
