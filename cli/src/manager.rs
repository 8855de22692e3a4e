//! The requests to the shard managers.

use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{Stream, StreamExt as _, stream};
use skv_net::LEAD;
use skv_proto::v1;
use skv_proto::v1::shard_manager_client::ShardManagerClient;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tonic::transport::Channel;
use tonic::{Code, Response, Status, Streaming};

use crate::target::{Target, explain, is_another_kind, not_a_manager};

/// The pause before a manager is asked again.
const PAUSE: Duration = Duration::from_millis(250);

/// A client of one manager.
pub(crate) type Client = ShardManagerClient<Channel>;

/// The reason why one attempt failed.
enum Failure {
    /// Another attempt may succeed.
    Passing(anyhow::Error),
    /// The manager refused.
    Refusal(anyhow::Error),
}

/// Asks the managers until one answers or the command's time is over: the next one beside one that keeps
/// silent, and each again when it failed. A request may reach them more than once, so it must be
/// idempotent.
pub(crate) async fn ask<T>(
    target: &Target,
    request: impl AsyncFn(Client) -> Result<Response<T>, Status>,
) -> anyhow::Result<T> {
    let (managers, deadline) = (target.managers()?, Instant::now() + target.timeout());
    let mut problem = None;
    let asking = async {
        let (mut under_way, mut others) = (FuturesUnordered::new(), managers.iter());
        let mut next_at = Instant::now();
        loop {
            tokio::select! {
                biased;
                Some((manager, ended)) = under_way.next() => match ended {
                    Ok(answer) => return Ok(answer),
                    Err(Failure::Refusal(error)) => return Err(error),
                    Err(Failure::Passing(error)) => {
                        problem = Some(error);
                        under_way.push(attempt_after(PAUSE, target, manager, &request));
                        // There is nothing to wait for.
                        next_at = Instant::now();
                    }
                },
                () = sleep_until(next_at), if others.len() > 0 => {
                    let first = others.next().map(|one| attempt_after(Duration::ZERO, target, one, &request));
                    under_way.extend(first);
                    next_at = Instant::now() + LEAD;
                }
            }
        }
    };
    match timeout_at(deadline, asking).await {
        Ok(answer) => answer,
        Err(_) => Err(problem.unwrap_or_else(|| {
            anyhow::anyhow!("{} didn't answer within {:?}", managers.join(", "), target.timeout())
        })),
    }
}

async fn attempt_after<'a, T>(
    pause: Duration,
    target: &Target,
    manager: &'a str,
    request: &impl AsyncFn(Client) -> Result<Response<T>, Status>,
) -> (&'a str, Result<T, Failure>) {
    sleep(pause).await;
    (manager, attempt(target, manager, request).await)
}

async fn attempt<T>(
    target: &Target,
    manager: &str,
    request: &impl AsyncFn(Client) -> Result<Response<T>, Status>,
) -> Result<T, Failure> {
    let channel = target.dial(manager).await.map_err(Failure::Passing)?;
    let answer = request(ShardManagerClient::new(channel)).await;
    answer.map(Response::into_inner).map_err(|status| {
        let error = if is_another_kind(&status) { not_a_manager(manager) } else { explain(&status, manager) };
        if is_passing(&status) { Failure::Passing(error) } else { Failure::Refusal(error) }
    })
}

/// Returns true for a manager that starts, stops, or can't write now; or a connection that broke.
fn is_passing(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Unknown)
}

/// Returns one configuration of the history; `None`: the newest.
pub(crate) async fn configuration(target: &Target, number: Option<u64>) -> anyhow::Result<v1::Configuration> {
    ask(target, async |mut manager: Client| manager.query(v1::QueryRequest { number }).await).await
}

/// Returns the current shard map.
pub(crate) async fn shard_map(target: &Target) -> anyhow::Result<v1::ShardMap> {
    ask(target, async |mut manager: Client| manager.get_shard_map(v1::GetShardMapRequest {}).await).await
}

/// Returns the shard map now and after every change. Goes on with another manager when one ends,
/// and fails when none answers within the command's time.
pub(crate) fn maps(target: &Target) -> impl Stream<Item = anyhow::Result<v1::ShardMap>> {
    stream::try_unfold(Watch { target, open: None, after_revision: 0 }, Watch::next)
}

struct Watch<'a> {
    target: &'a Target,
    open: Option<Streaming<v1::ShardMap>>,
    /// The last revision that was seen.
    after_revision: u64,
}

impl Watch<'_> {
    async fn next(mut self) -> anyhow::Result<Option<(v1::ShardMap, Self)>> {
        loop {
            if let Some(maps) = &mut self.open {
                if let Ok(Some(map)) = maps.message().await {
                    self.after_revision = map.revision;
                    return Ok(Some((map, self)));
                }
                // This manager stops, or is gone.
                sleep(PAUSE).await;
            }
            let request = v1::WatchShardMapRequest { after_revision: self.after_revision };
            let maps = ask(self.target, async |mut manager: Client| manager.watch_shard_map(request).await);
            self.open = Some(maps.await?);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use skv_fake::Fake;

    use super::*;

    #[tokio::test]
    async fn a_manager_that_accepts_and_keeps_silent_is_passed_by() {
        let fake = Fake::group(1, 4);
        let silent = TcpListener::bind("127.0.0.1:0").unwrap();
        let managers = [silent.local_addr().unwrap().to_string(), fake.manager()];
        // Long enough for any answer; the silent one would use up all of it.
        let target = Target::of_managers(managers, Duration::from_secs(20));
        assert_eq!(shard_map(&target).await.unwrap(), fake.map());
        assert_eq!(target.shard_map().await.unwrap(), fake.map());
    }
}
