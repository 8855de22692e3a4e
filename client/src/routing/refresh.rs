//! Keeping the shard map fresh in the background: by a shard manager's watch, and by
//! asking servers when a call needs what the map doesn't say.

use std::sync::Arc;
use std::time::Duration;

use skv_proto::v1;
use tokio::time::Instant;
use tonic::Status;

use super::{Router, Source};
use crate::pause::Backoff;
use crate::transport::{Failure, Patience, Peer};

/// Between two rounds of asking all servers.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
/// The same while no server has a map, which is no emergency: calls are forwarded.
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
                Answer::Blind => {
                    self.go_blind();
                    BLIND_PAUSE
                }
                Answer::Map | Answer::Nothing => SHORTEST_PAUSE,
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn ask_all(&self, attempt: Duration) -> Answer {
        let before = self.known.read().as_ref().map(|known| known.revision);
        let mut answer = Answer::Nothing;
        for peer in self.servers(None) {
            match peer.shard_map(Patience { attempt, deadline: Instant::now() + attempt }).await {
                Ok(map) if self.learn_map(&map, Source::Server) => {
                    if self.known.read().as_ref().map(|known| known.revision) > before {
                        return Answer::Map;
                    }
                    answer = Answer::Map;
                }
                Ok(_) => {}
                Err(failure) => {
                    // It works, and has no map.
                    let works = matches!(failure, Failure::Answered(_));
                    if works && before.is_none() && answer == Answer::Nothing {
                        answer = Answer::Blind;
                    }
                    *self.trouble.lock() = Some(failure.to_string());
                }
            }
        }
        answer
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Map,
    /// Servers answered, but none has a map.
    Blind,
    Nothing,
}
