//! Crowds of clerks and connections, none of whose calls may fail.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use skv_client::Clerk;
use skv_proto::v1::kv_client::KvClient;
use tokio::time::Instant;
use tonic::transport::Channel;

use crate::{Cluster, keys_of, open_session};

/// The number of calls of a crowd that are under way.
const UNDER_WAY: usize = 256;
/// The number of scripts that run at a time.
const SCRIPTS: usize = 32;

/// Returns a key of each shard.
pub fn a_key_of_each(shards: u32) -> Vec<String> {
    (0..shards).filter_map(|shard| keys_of(shard, shards).next()).collect()
}

/// Has each clerk write all of these keys: it has a session in each of their shards then.
pub async fn write_everywhere(clerks: &[Clerk], keys: &[String]) {
    let puts = clerks.iter().flat_map(|clerk| keys.iter().map(move |key| clerk.put(key.clone(), "v")));
    let puts = stream::iter(puts).buffer_unordered(UNDER_WAY);
    puts.try_for_each(|_| async { Ok(()) }).await.expect("every put is answered");
}

/// Opens this many connections to a server at `HOST:PORT`. Each is used once.
pub async fn connect(address: &str, count: usize) -> Vec<KvClient<Channel>> {
    let open = |_| async move {
        let connected = KvClient::connect(format!("http://{address}")).await;
        let mut kv = connected.expect("the server takes the connection");
        open_session(&mut kv).await;
        kv
    };
    stream::iter(0..count).map(open).buffer_unordered(UNDER_WAY).collect().await
}

impl Cluster {
    /// Makes this many puts, each with a clerk of its own, as short scripts do. Returns their times in
    /// ms, from the making of the clerk on.
    pub async fn run_scripts(&self, count: usize) -> Vec<f64> {
        let script = |number| async move {
            let began = Instant::now();
            self.clerk().put(format!("script-{number}"), "v").await.expect("a put");
            began.elapsed().as_secs_f64() * 1e3
        };
        stream::iter(0..count).map(script).buffer_unordered(SCRIPTS).collect().await
    }

    /// Returns the number of sessions that each group has, as its leader reports it.
    pub async fn sessions(&self, groups: u32) -> Vec<u64> {
        let mut sessions = Vec::new();
        for group in 0..groups {
            let leader = self.leader(group).await;
            let replica = self.servers[leader].replica_of(group).await.expect("the leader answers");
            sessions.push(replica.sessions);
        }
        sessions
    }
}
