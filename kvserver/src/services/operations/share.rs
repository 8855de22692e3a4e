//! The share of one replica in a batch of operations.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use skv_proto::v1;
use skv_proto::v1::command::Kind;
use skv_replica::Running;
use skv_sharding::ShardId;

use crate::services::outbox::{BESIDE_VALUE, FRAME, LongPut, Room};

/// Bytes of writes that are proposed together, unless one alone has more: a small part of what the smallest
/// log takes in an entry, so that a frame may have any size.
const PROPOSED: usize = 1 << 20;
/// Bytes of a write beside its key and value, about.
const COMMAND_BYTES: usize = 64;

/// The share of one replica in a batch.
pub(super) struct Share {
    pub(super) running: Arc<Running>,
    pub(super) writes: Vec<Writes>,
    pub(super) reads: Vec<(u64, Bytes)>,
    /// The future lengths of the values of keys that are appended to.
    lengths: HashMap<Bytes, usize>,
}

/// Writes that are proposed together.
#[derive(Default)]
pub(super) struct Writes {
    pub(super) commands: Vec<v1::Command>,
    pub(super) ids: Vec<u64>,
    /// Bytes that will be proposed, about.
    bytes: usize,
    /// Bytes that will be answered, about.
    pub(super) expected: usize,
    pub(super) puts: Vec<LongPut>,
}

impl Share {
    pub(super) fn of(running: Arc<Running>) -> Self {
        Share { running, writes: Vec::new(), reads: Vec::new(), lengths: HashMap::new() }
    }

    /// Adds a write to those that are proposed together, while they are small, and their answers too.
    pub(super) fn write(&mut self, command: v1::Command, id: u64, room: &Room) {
        let expected = self.expected(&command, room);
        let bytes = COMMAND_BYTES + command.key.len() + command.value.len();
        let writes = match self.writes.last_mut() {
            Some(last) if last.expected + expected <= FRAME && last.bytes + bytes <= PROPOSED => last,
            _ => self.writes.push_mut(Writes::default()),
        };
        writes.bytes += bytes;
        writes.expected += expected;
        if command.kind() == Kind::Put {
            writes.puts.extend(room.put(command.value.len()));
        }
        writes.commands.push(command);
        writes.ids.push(id);
    }

    /// Returns the bytes that will be answered, about: an append is with the value before.
    fn expected(&mut self, command: &v1::Command, room: &Room) -> usize {
        match command.kind() {
            Kind::Append => {
                let (store, shard) = (&self.running.store, ShardId(command.shard));
                let length = self.lengths.entry(command.key.clone());
                let length = length.or_insert_with(|| store.value_length(shard, &command.key));
                let before = *length;
                *length += command.value.len();
                BESIDE_VALUE + before.max(room.longest_put())
            }
            Kind::Put | Kind::Delete => BESIDE_VALUE,
        }
    }
}
