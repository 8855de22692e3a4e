//! `skv which`.

use anyhow::Context as _;
use serde::Serialize;
use skv_sharding::{GroupId, Hash, ShardId};

use super::key;
use crate::outcome::Outcome;
use crate::output::{self, Format, Output};
use crate::target::Target;

/// Show the shard, the group and the leader of a key.
///
/// It is where the key belongs, whether it exists or not.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  skv which greeting
  skv which greeting -o json
")]
pub(crate) struct Args {
    #[command(flatten)]
    key: key::Key,
    #[command(flatten)]
    output: Output,
}

#[derive(Serialize)]
struct Which {
    #[serde(flatten)]
    key: output::Key,
    shard: u32,
    group: GroupId,
    /// The server that led when last heard of.
    leader: Option<String>,
    client_address: Option<String>,
    servers: Vec<String>,
}

pub(crate) async fn run(target: &Target, args: Args) -> anyhow::Result<Outcome> {
    let key = args.key.read()?;
    let map = target.shard_map().await?;
    anyhow::ensure!(map.shards > 0, "the store has no shards yet: its servers are starting");
    let hash = Hash::try_from(map.hash()).context("this store maps keys to shards in an unknown way")?;
    let ShardId(shard) = hash.shard(&key, map.shards)?;
    let owners = skv_proto::owners(&map.ranges);
    let owner = *owners.get(&ShardId(shard)).with_context(|| format!("nobody owns shard {shard} yet"))?;
    let group = map.groups.iter().find(|group| group.id == owner.0);
    let group = group.with_context(|| format!("the map names no {owner}"))?;
    let leader = group.replicas.iter().find(|replica| group.leader != 0 && replica.id == group.leader);
    let which = Which {
        key: key[..].into(),
        shard,
        group: owner,
        leader: leader.map(|replica| replica.server.clone()),
        client_address: leader.map(|replica| replica.client_address.clone()),
        servers: group.replicas.iter().map(|replica| replica.server.clone()).collect(),
    };
    match args.output.format {
        Format::Json => output::print_json(&which)?,
        Format::Text => {
            let leader = match (&which.leader, &which.client_address) {
                (Some(leader), Some(address)) => format!("led by {leader} at {address}"),
                _ => format!("on {}; its leader isn't known", which.servers.join(", ")),
            };
            output::say(format_args!("shard {shard} of {}  group {owner}  {leader}", map.shards))?;
        }
    }
    Ok(Outcome::Done)
}
