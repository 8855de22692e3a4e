//! The map as it is now.

use comfy_table::{Cell, Color};
use serde::Serialize;
use skv_proto::v1;
use skv_sharding::{ClusterId, GroupId, GroupUid, Hash, ReplicaId, ShardId};

use crate::outcome::Outcome;
use crate::output::{self, Format};
use crate::shards;

#[derive(Serialize)]
struct Map {
    cluster: ClusterId,
    revision: u64,
    configuration: u64,
    hash: String,
    shards: u32,
    groups: Vec<Group>,
    ranges: Vec<Range>,
    pins: Vec<shards::Pin>,
}

#[derive(Serialize)]
struct Group {
    id: GroupId,
    uid: GroupUid,
    incarnation: u32,
    shards: u32,
    /// True if people drained it: it gets no shards until it joins again.
    drained: bool,
    /// The name of the last known leader's server.
    leader: Option<String>,
    replicas: Vec<Replica>,
}

#[derive(Serialize)]
struct Replica {
    id: ReplicaId,
    server: String,
    client_address: String,
    peer_address: String,
}

#[derive(Serialize)]
struct Range {
    first: u32,
    count: u32,
    group: GroupId,
    epoch: u64,
}

/// The colours of groups, repeated for more groups than colours.
const COLOURS: [(Color, u8); 6] = [
    (Color::Cyan, 96),
    (Color::Yellow, 93),
    (Color::Green, 92),
    (Color::Magenta, 95),
    (Color::Blue, 94),
    (Color::Red, 91),
];
/// Shards in one line of the picture.
const WIDTH: usize = 60;

pub(super) fn show(map: &v1::ShardMap, format: Format) -> anyhow::Result<Outcome> {
    let map = Map::new(map);
    match format {
        Format::Json => output::print_json(&map)?,
        Format::Text => map.print()?,
    }
    Ok(Outcome::Done)
}

impl Map {
    fn new(wire: &v1::ShardMap) -> Map {
        let shards_of = |group: u32| wire.ranges.iter().filter(|r| r.group == group).map(|r| r.count).sum();
        Map {
            cluster: ClusterId(wire.cluster_id),
            revision: wire.revision,
            configuration: wire.configuration,
            hash: Hash::try_from(wire.hash()).map_or("unknown".to_owned(), |hash| hash.to_string()),
            shards: wire.shards,
            groups: wire.groups.iter().map(|group| Group::new(group, shards_of(group.id))).collect(),
            ranges: wire
                .ranges
                .iter()
                .map(|r| Range { first: r.first, count: r.count, group: GroupId(r.group), epoch: r.epoch })
                .collect(),
            pins: wire.pins.iter().map(Into::into).collect(),
        }
    }

    fn print(&self) -> anyhow::Result<()> {
        output::say(format_args!(
            "cluster {}  map revision {}  configuration {}  {} shards by {}",
            self.cluster, self.revision, self.configuration, self.shards, self.hash
        ))?;
        let mut table = output::table(["GROUP", "SHARDS", "EPOCHS", "LEADER", "SERVERS", "OWNS"]);
        for (group, (colour, _)) in self.groups.iter().zip(COLOURS.iter().cycle()) {
            let servers: Vec<&str> = group.replicas.iter().map(|replica| replica.server.as_str()).collect();
            table.add_row([
                Cell::new(group.id).fg(*colour),
                Cell::new(group.shards_and_why()),
                Cell::new(self.epochs(group.id)),
                Cell::new(group.leader.as_deref().unwrap_or("unknown")),
                Cell::new(servers.join(" ")),
                Cell::new(self.owned(group.id)).fg(*colour),
            ]);
        }
        output::print_table(table)?;
        if !self.pins.is_empty() {
            output::say(format_args!("pinned: {}", shards::list_pins(&self.pins)))?;
        }
        if output::is_coloured() {
            self.print_picture()?;
        }
        Ok(())
    }

    fn epochs(&self, group: GroupId) -> String {
        let epochs = || self.ranges.iter().filter(|range| range.group == group).map(|range| range.epoch);
        match (epochs().min(), epochs().max()) {
            (Some(lowest), Some(highest)) if lowest == highest => lowest.to_string(),
            (Some(lowest), Some(highest)) => format!("{lowest}-{highest}"),
            _ => String::new(),
        }
    }

    fn owned(&self, group: GroupId) -> String {
        let ranges = self.ranges.iter().filter(|range| range.group == group);
        shards::list(ranges.flat_map(|range| (range.first..).take(range.count as usize)).map(ShardId))
    }

    /// Prints a block for each shard, in the colour of its group.
    fn print_picture(&self) -> anyhow::Result<()> {
        let colour_of = |group: GroupId| {
            let index = self.groups.iter().position(|g| g.id == group).unwrap_or_default();
            COLOURS[index % COLOURS.len()].1
        };
        let blocks = self
            .ranges
            .iter()
            .flat_map(|range| std::iter::repeat_n(colour_of(range.group), range.count as usize));
        let blocks: Vec<u8> = blocks.collect();
        for (line, first) in blocks.chunks(WIDTH).zip((0..).step_by(WIDTH)) {
            let line = line
                .chunk_by(|a, b| a == b)
                .map(|same| format!("\x1b[{}m{}", same[0], "■".repeat(same.len())));
            output::say(format_args!("{first:>5} {}\x1b[0m", line.collect::<String>()))?;
        }
        Ok(())
    }
}

impl Group {
    fn shards_and_why(&self) -> String {
        if self.drained { format!("{}, drained", self.shards) } else { self.shards.to_string() }
    }

    fn new(wire: &v1::Group, shards: u32) -> Group {
        let leader = wire.replicas.iter().find(|replica| wire.leader != 0 && replica.id == wire.leader);
        Group {
            id: GroupId(wire.id),
            uid: GroupUid(wire.uid),
            incarnation: wire.incarnation,
            shards,
            drained: wire.drained,
            leader: leader.map(|replica| replica.server.clone()),
            replicas: wire
                .replicas
                .iter()
                .map(|replica| Replica {
                    id: ReplicaId(replica.id),
                    server: replica.server.clone(),
                    client_address: replica.client_address.clone(),
                    peer_address: replica.peer_address.clone(),
                })
                .collect(),
        }
    }
}
