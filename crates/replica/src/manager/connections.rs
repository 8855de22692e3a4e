//! Connections to all shard managers, kept from one registration to the next.
//!
//! Replicas register every two seconds. Names are looked up far less often, unless a manager can't be
//! reached, so that hundreds of idle pods are no load for their name servers.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use parking_lot::Mutex;
use skv_net::{Dial, MESSAGE_LIMIT, Resolve};
use skv_proto::v1::shard_manager_client::ShardManagerClient;
use tokio::time::{Instant, timeout};
use tonic::Status;
use tonic::transport::Channel;

/// The time for which names that lead to managers aren't looked up again.
const FRESH: Duration = Duration::from_secs(10);
/// The same once one of the managers couldn't be reached.
const DOUBTFUL: Duration = Duration::from_secs(1);

/// A manager's address, and how to call it.
type Client = (String, ShardManagerClient<Channel>);

/// Finds the managers by their names.
pub(super) struct Connections {
    names: Vec<String>,
    resolve: Resolve,
    dial: Dial,
    kept: Mutex<Kept>,
}

/// The result of the last lookups.
#[derive(Default)]
struct Kept {
    /// The time at which all names were last found.
    found: Option<Instant>,
    /// True if a manager couldn't be reached since.
    doubtful: bool,
    /// The connections by name and address: those to which each name led when it was last found.
    channels: BTreeMap<String, BTreeMap<String, Channel>>,
}

impl Kept {
    fn is_fresh(&self) -> bool {
        let lasts = if self.doubtful { DOUBTFUL } else { FRESH };
        self.found.is_some_and(|found| found.elapsed() < lasts)
    }

    fn clients(&self) -> Vec<Client> {
        let all: BTreeMap<&String, &Channel> = self.channels.values().flatten().collect();
        let client = |(address, channel): (&String, &Channel)| {
            let client = ShardManagerClient::new(channel.clone());
            (address.clone(), client.max_decoding_message_size(MESSAGE_LIMIT))
        };
        all.into_iter().map(client).collect()
    }
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connections").field("names", &self.names).finish_non_exhaustive()
    }
}

impl Connections {
    pub(super) fn new(names: Vec<String>, resolve: Resolve, dial: Dial) -> Self {
        Connections { names, resolve, dial, kept: Mutex::default() }
    }

    /// Notes that a manager couldn't be reached: names may lead elsewhere by now.
    pub(super) fn doubt(&self) {
        self.kept.lock().doubtful = true;
    }

    /// Returns all managers, each once. Names are looked up if that was long ago, for at most `patience`;
    /// one that can't be found stands for the addresses that it had before.
    pub(super) async fn all(&self, patience: Duration) -> Result<Vec<Client>, Status> {
        {
            let kept = self.kept.lock();
            if kept.is_fresh() {
                return Ok(kept.clients());
            }
        }
        let found = join_all(self.names.iter().map(|name| timeout(patience, (self.resolve)(name)))).await;
        let mut kept = self.kept.lock();
        let mut problem = None;
        for (name, found) in self.names.iter().zip(found) {
            match found {
                Ok(Ok(addresses)) => {
                    let mut before = kept.channels.remove(name).unwrap_or_default();
                    let mut now = BTreeMap::new();
                    for address in addresses {
                        let channel = match before.remove(&address) {
                            Some(channel) => channel,
                            None => (self.dial)(&address).map_err(|e| Status::unavailable(e.to_string()))?,
                        };
                        now.insert(address, channel);
                    }
                    kept.channels.insert(name.clone(), now);
                }
                Ok(Err(error)) => problem = Some(format!("{name} can't be found: {error}")),
                Err(_) => problem = Some(format!("{name} wasn't found within {patience:?}")),
            }
        }
        kept.doubtful = problem.is_some();
        kept.found = Some(Instant::now());
        let clients = kept.clients();
        match problem {
            Some(problem) if clients.is_empty() => {
                kept.found = None;
                Err(Status::unavailable(problem))
            }
            _ => Ok(clients),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// Names that are looked up in a table, the number of lookups, and the number of times that each
    /// address was dialled.
    struct Net {
        names: Arc<Mutex<BTreeMap<&'static str, Vec<&'static str>>>>,
        asked: Arc<AtomicUsize>,
        dialled: Arc<AtomicUsize>,
        connections: Connections,
    }

    impl Net {
        fn new(names: &[&str]) -> Net {
            let table: Arc<Mutex<BTreeMap<&str, Vec<&str>>>> = Arc::default();
            let dialled = Arc::new(AtomicUsize::new(0));
            let (names, seen) = (names.iter().map(ToString::to_string).collect(), table.clone());
            let asked = Arc::new(AtomicUsize::new(0));
            let counted = asked.clone();
            let resolve = skv_net::resolver(move |name| {
                counted.fetch_add(1, Ordering::Relaxed);
                let found = seen.lock().get(&*name).cloned();
                let found = found.map(|all| all.into_iter().map(str::to_owned).collect());
                async move { found.ok_or_else(|| io::Error::other("no such name")) }
            });
            let (tcp, count) = (skv_net::dial(skv_net::tcp()), dialled.clone());
            let dial: Dial = Arc::new(move |address| {
                count.fetch_add(1, Ordering::Relaxed);
                tcp(address)
            });
            Net { names: table, asked, dialled, connections: Connections::new(names, resolve, dial) }
        }

        fn set(&self, name: &'static str, addresses: &[&'static str]) {
            self.names.lock().insert(name, addresses.to_vec());
        }

        async fn all(&self) -> Result<Vec<String>, String> {
            let all = self.connections.all(PATIENCE).await.map_err(|status| status.message().to_owned())?;
            Ok(all.into_iter().map(|(address, _)| address).collect())
        }
    }

    #[tokio::test]
    async fn a_name_stands_for_all_its_addresses_and_each_is_dialled_once() {
        let net = Net::new(&["managers:1", "other:1"]);
        net.set("managers:1", &["10.0.0.1:1", "10.0.0.2:1"]);
        net.set("other:1", &["10.0.0.2:1", "10.0.0.3:1"]);
        for _ in 0..3 {
            assert_eq!(net.all().await.unwrap(), ["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"]);
        }
        assert_eq!(net.dialled.load(Ordering::Relaxed), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_replica_hardly_asks_for_names() {
        let net = Net::new(&["managers:1"]);
        net.set("managers:1", &["10.0.0.1:1"]);
        for _ in 0..300 {
            net.all().await.unwrap();
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        let asked = net.asked.load(Ordering::Relaxed);
        assert!(asked <= 61, "{asked} lookups in ten minutes");
    }

    #[tokio::test(start_paused = true)]
    async fn who_joins_is_found_in_time() {
        let net = Net::new(&["managers:1"]);
        net.set("managers:1", &["10.0.0.1:1"]);
        net.all().await.unwrap();
        net.set("managers:1", &["10.0.0.1:1", "10.0.0.4:1"]);
        tokio::time::sleep(FRESH).await;
        assert_eq!(net.all().await.unwrap(), ["10.0.0.1:1", "10.0.0.4:1"]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_moved_is_found_once_it_cant_be_reached() {
        let net = Net::new(&["managers:1"]);
        net.set("managers:1", &["10.0.0.1:1", "10.0.0.2:1"]);
        net.all().await.unwrap();
        net.set("managers:1", &["10.0.0.2:1", "10.0.0.4:1"]);
        net.connections.doubt();
        tokio::time::sleep(DOUBTFUL).await;
        assert_eq!(net.all().await.unwrap(), ["10.0.0.2:1", "10.0.0.4:1"]);
        assert_eq!(net.dialled.load(Ordering::Relaxed), 3, "who stayed is not dialled again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_is_no_longer_found_stands_for_what_it_did() {
        let net = Net::new(&["managers:1"]);
        let unknown = net.all().await.unwrap_err();
        assert!(unknown.contains("managers:1") && unknown.contains("no such name"), "{unknown}");
        net.set("managers:1", &["10.0.0.1:1"]);
        net.all().await.unwrap();
        net.names.lock().clear();
        tokio::time::sleep(FRESH).await;
        assert_eq!(net.all().await.unwrap(), ["10.0.0.1:1"]);
    }
}
