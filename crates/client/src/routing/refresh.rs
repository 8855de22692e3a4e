//! Keeping the shard map fresh in the background: by a shard manager's watch, and by asking servers
//! when a call needs more than the map contains.

use std::sync::Arc;
use std::time::Duration;

use skv_proto::v1;
use tokio::time::Instant;
use tonic::Status;

use super::{Router, Source};
use crate::pause::Backoff;
use crate::transport::{Failure, Patience, Peer};

/// The pause between two rounds of asking all servers.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
/// The pause after a round that brought nothing new.
const PAUSE: Duration = Duration::from_millis(250);
/// The pause while no server has a map, which is no emergency: calls are forwarded.
const BLIND_PAUSE: Duration = Duration::from_secs(1);

impl Router {
    /// Follows the shard managers' map, one manager at a time, for ever.
    pub(crate) async fn watch(self: Arc<Self>, patience: Duration) {
        let mut backoff = Backoff::default();
        for manager in self.seeds.iter().cycle() {
            if let Err(why) = self.watch_one(manager, patience, &mut backoff).await {
                tracing::debug!(manager = %manager.address(), why, "can't watch the shard map");
                *self.trouble.lock() = Some(why);
            }
            tokio::time::sleep(backoff.next(&self.jitter)).await;
        }
    }

    async fn watch_one(
        &self,
        manager: &Peer,
        patience: Duration,
        backoff: &mut Backoff,
    ) -> Result<(), String> {
        let patience = Patience { attempt: patience, deadline: Instant::now() + patience };
        let connection = manager.connection(patience).await.map_err(|failure| failure.to_string())?;
        let mut client = connection.shard_manager();
        let text = |status: Status| format!("{}: {}", manager.address(), status.message());
        let opened = client.watch_shard_map(v1::WatchShardMapRequest::default());
        let opened = tokio::time::timeout_at(patience.deadline, opened).await;
        let opened = opened.map_err(|_| format!("{} did not answer in time", manager.address()))?;
        let mut maps = opened.map_err(text)?.into_inner();
        while let Some(map) = maps.message().await.map_err(text)? {
            *backoff = Backoff::default();
            if !self.learn_map(&map, Source::Manager) {
                *self.trouble.lock() = Some(format!("{} has no usable map", manager.address()));
            }
        }
        Ok(())
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

    async fn ask_all(&self, attempt: Duration) -> Round {
        let revision = || self.known.read().as_ref().map(|known| known.revision);
        let before = revision();
        let mut round = Round::NoNews;
        for peer in self.servers(None) {
            match peer.shard_map(Patience { attempt, deadline: Instant::now() + attempt }).await {
                Ok(map) => {
                    self.learn_map(&map, Source::Server);
                    if revision() > before {
                        return Round::News;
                    }
                }
                Err(failure) => {
                    if before.is_none() && matches!(failure, Failure::Answered(_)) {
                        round = Round::NoMap;
                    }
                    *self.trouble.lock() = Some(failure.to_string());
                }
            }
        }
        round
    }
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
