//! The memory that a message takes once it is decoded, judged by its bytes alone.
//!
//! Two bytes name an empty element of a list, and the element takes a hundred and more: a message of
//! 64 MiB could take gigabytes. So the elements are counted before anything is decoded, by tables that
//! are made from the .proto files. A list counts with the room that it has asked for while it grew, and not
//! only with its elements. Pure.

use std::collections::BTreeMap;

/// The lists of a message may take this much memory, whatever it is.
const FREE: usize = 16 << 20;
/// The lists of a message may take this many times the bytes that it came in.
const TIMES: usize = 4;
/// No element takes more than this, and none has less than two bytes.
const LARGEST_ELEMENT: usize = 512;
/// The elements for which a list that has one asks for room.
const FIRST_ROOM: usize = 4;
/// Shorter messages can't take more than what is free.
const SHORT: usize = 2 * FREE / (room(1) * LARGEST_ELEMENT);
/// More messages than this in each other are no message of ours.
const DEEPEST: usize = 32;

/// The fields of a message that can make it larger than its bytes.
#[derive(Debug)]
pub struct Shape {
    fields: &'static [Field],
}

#[derive(Debug)]
struct Field {
    number: u32,
    each: Each,
    /// The message in it, if that can grow.
    message: Option<&'static Shape>,
}

/// The memory that each occurrence of a field adds.
#[derive(Debug, Clone, Copy)]
enum Each {
    /// No memory: the field replaces the one before.
    Once,
    /// An element of this size.
    Item(usize),
    /// A number, or many in one field, of a byte at least.
    Number,
}

/// A message whose size can be judged.
pub trait Shaped {
    /// Its fields that count.
    const SHAPE: &'static Shape;
}

/// A message that would take too much memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a message of {bytes} bytes has too many elements, which would take more than {most} bytes of memory: \
     send it in several messages"
)]
pub struct Excess {
    bytes: usize,
    most: usize,
}

/// Refuses the bytes of a message that would take much more memory than they do.
pub fn check_size<M: Shaped>(bytes: &[u8]) -> Result<(), Excess> {
    check::<M>(bytes, 1)
}

/// Refuses such bytes that another message has in it, undecoded. They may take twice as much: what they
/// hold came in a message that was let through, and nobody may refuse it after that.
pub fn check_inner<M: Shaped>(bytes: &[u8]) -> Result<(), Excess> {
    check::<M>(bytes, 2)
}

fn check<M: Shaped>(bytes: &[u8], allowance: usize) -> Result<(), Excess> {
    if bytes.len() <= SHORT || M::SHAPE.fields.is_empty() {
        return Ok(());
    }
    let most = FREE.max(TIMES.saturating_mul(bytes.len())).saturating_mul(allowance);
    let mut count = Count { left: most };
    let within = count.message(M::SHAPE, bytes, &mut Lists::default(), DEEPEST);
    if within { Ok(()) } else { Err(Excess { bytes: bytes.len(), most }) }
}

/// Returns the number of elements for which a list has room at its peak, until it has `elements`: the room
/// doubles, and while the list moves it has its old place as well.
const fn room(elements: usize) -> usize {
    if elements == 0 {
        return 0;
    }
    let doubled = elements.next_power_of_two();
    let places = if doubled < FIRST_ROOM { FIRST_ROOM } else { doubled };
    places / 2 * 3
}

/// The lists of a message that were counted so far, by their fields. A message that comes in several parts is
/// one, and so are its lists.
#[derive(Default)]
struct Lists {
    lengths: BTreeMap<u32, usize>,
    parts: BTreeMap<u32, Lists>,
}

impl Lists {
    /// Adds elements to the list of a field; returns the number for which that takes more room.
    fn grow(&mut self, field: u32, by: usize) -> usize {
        let length = self.lengths.entry(field).or_default();
        let before = room(*length);
        *length += by;
        room(*length) - before
    }
}

/// Counts the memory of lists.
struct Count {
    left: usize,
}

impl Count {
    /// Counts a message; false: it takes too much. One that can't be decoded counts up to its fault.
    fn message(&mut self, shape: &Shape, bytes: &[u8], lists: &mut Lists, depth: usize) -> bool {
        let mut reader = Reader { bytes };
        while let Some((number, value)) = reader.field() {
            let Some(field) = shape.fields.iter().find(|field| field.number == number) else { continue };
            let adds = match (field.each, value) {
                (Each::Once, _) => 0,
                (Each::Item(size), _) => size * lists.grow(number, 1),
                (Each::Number, numbers) => {
                    size_of::<u64>() * lists.grow(number, numbers.map_or(1, <[u8]>::len))
                }
            };
            let Some(left) = self.left.checked_sub(adds) else { return false };
            self.left = left;
            if let (Some(inner), Some(value)) = (field.message, value) {
                let mut of_element = Lists::default();
                let lists = match field.each {
                    Each::Once => lists.parts.entry(number).or_default(),
                    Each::Item(_) | Each::Number => &mut of_element,
                };
                if depth == 0 || !self.message(inner, value, lists, depth - 1) {
                    return false;
                }
            }
        }
        true
    }
}

/// Reads the fields of a message, one after the other.
struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Returns the next field's number, and its bytes if it has a length. `None`: there is no more that can
    /// be read.
    fn field(&mut self) -> Option<(u32, Option<&'a [u8]>)> {
        let key = self.varint()?;
        let number = (key >> 3) as u32;
        let value = match key & 7 {
            0 => {
                self.varint()?;
                None
            }
            1 => {
                self.take(8)?;
                None
            }
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Some(self.take(length)?)
            }
            // The beginning and the end of a group, which has fields of its own.
            3 | 4 => None,
            5 => {
                self.take(4)?;
                None
            }
            _ => return None,
        };
        Some((number, value))
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(count)?;
        self.bytes = rest;
        Some(taken)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let (first, rest) = self.bytes.split_first()?;
            self.bytes = rest;
            value |= u64::from(first & 0x7f).checked_shl(shift).unwrap_or(0);
            if first & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

include!(concat!(env!("OUT_DIR"), "/shapes.rs"));

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::v1;

    const MIB: usize = 1 << 20;

    /// The memory that is counted for a message.
    fn counted<M: Message + Shaped>(message: &M) -> usize {
        counted_of::<M>(&message.encode_to_vec())
    }

    fn counted_of<M: Shaped>(bytes: &[u8]) -> usize {
        let mut count = Count { left: usize::MAX };
        assert!(count.message(M::SHAPE, bytes, &mut Lists::default(), DEEPEST));
        usize::MAX - count.left
    }

    #[test]
    fn a_list_of_nothing_is_refused_before_it_takes_gigabytes() {
        // Field 1 without a byte, a million times: what a PipelineRequest calls operations.
        let empty = [0x0a, 0].repeat(MIB);
        for excess in [
            check_size::<v1::PipelineRequest>(&empty),
            check_size::<v1::PipelineResponse>(&empty),
            check_size::<v1::StatusResponse>(&[0x1a, 0].repeat(MIB)),
            check_size::<v1::RegisterReplicaResponse>(&nested(&[6, 1], MIB)),
            check_size::<v1::TakeStepRequest>(&nested(&[2, 7, 1], MIB)),
            check_size::<v1::AppendEntriesRequest>(&nested(&[2, 3], MIB)),
        ] {
            let text = excess.unwrap_err().to_string();
            assert!(text.starts_with("a message of 2097") && text.contains("more than 16777"), "{text}");
        }
    }

    /// Returns a message in which the last of these fields comes empty so many times.
    fn nested(fields: &[u8], times: usize) -> Vec<u8> {
        let (last, outer) = fields.split_last().unwrap();
        let inner = [last << 3 | 2, 0].repeat(times);
        outer.iter().rev().fold(inner, |inner, field| {
            let mut message = vec![field << 3 | 2];
            prost::encoding::encode_varint(inner.len() as u64, &mut message);
            message.extend(inner);
            message
        })
    }

    #[test]
    fn large_values_and_long_lists_that_are_full_are_let_through() {
        let put = |bytes: usize| {
            let put = v1::PutRequest { key: "k".into(), value: vec![7; bytes].into(), ..Default::default() };
            v1::Operation { id: 1, operation: Some(v1::operation::Operation::Put(put)) }
        };
        for (count, bytes) in [(1, 32 * MIB), (17, MIB), (100_000, 100), (8192, 0)] {
            let frame = v1::PipelineRequest { operations: vec![put(bytes); count] };
            assert_eq!(
                check_size::<v1::PipelineRequest>(&frame.encode_to_vec()),
                Ok(()),
                "{count} of {bytes}"
            );
        }
        let owned = |shard| v1::ShardEpoch { shard, epoch: 1 };
        let report =
            v1::GroupReport { shards_owned: (0..500_000).map(owned).collect(), ..Default::default() };
        let report = v1::RegisterReplicaRequest { report: Some(report), ..Default::default() };
        assert_eq!(check_size::<v1::RegisterReplicaRequest>(&report.encode_to_vec()), Ok(()));
        let range = |first| v1::ShardRange { first, count: 1, group: first % 2, epoch: 1 };
        let map = v1::ShardMap { ranges: (0..500_000).map(range).collect(), ..Default::default() };
        assert_eq!(check_size::<v1::ShardMap>(&map.encode_to_vec()), Ok(()));
    }

    #[test]
    fn an_entry_of_nothing_is_refused_and_one_that_came_in_a_message_is_not() {
        let entry = |commands, bytes: usize| {
            let command = v1::Command { key: "k".into(), value: vec![7; bytes].into(), ..Default::default() };
            let commands = vec![command; commands];
            let entry = v1::entry::Entry::Batch(v1::CommandBatch { commands });
            v1::Entry { version: 1, time: 1, entry: Some(entry) }.encode_to_vec()
        };
        for (commands, bytes) in [(1, 17 * MIB), (11_000, 0), (11_000, 100)] {
            assert_eq!(check_inner::<v1::Entry>(&entry(commands, bytes)), Ok(()), "{commands} of {bytes}");
        }
        assert!(check_inner::<v1::Entry>(&entry(200_000, 0)).is_err());
        // Between the two limits.
        let step = v1::handoff_step::Chunk {
            sessions: vec![v1::SessionState::default(); FREE / size_of::<v1::SessionState>() + 1],
            ..Default::default()
        };
        let step = v1::HandoffStep { step: Some(v1::handoff_step::Step::Chunk(step)), ..Default::default() };
        assert!(check_size::<v1::HandoffStep>(&step.encode_to_vec()).is_err());
        assert_eq!(check_inner::<v1::HandoffStep>(&step.encode_to_vec()), Ok(()));
    }

    #[test]
    fn elements_count_at_each_depth() {
        let decided = vec![v1::session_state::Decided::default(); 3];
        let session = v1::SessionState { decided, ..Default::default() };
        let chunk = v1::handoff_step::Chunk { sessions: vec![session; 2], ..Default::default() };
        // Lists of two and of three have room for four, and a half for their move.
        let expected = 6 * size_of::<v1::SessionState>() + 2 * 6 * size_of::<v1::session_state::Decided>();
        assert_eq!(counted(&chunk), expected);
        let install = v1::handoff_step::Install { rest: Some(chunk), ..Default::default() };
        assert_eq!(counted(&install), expected);
        assert_eq!(counted(&v1::Configuration { groups: vec![1, 2, 3], ..Default::default() }), 48);
    }

    #[test]
    fn an_answer_counts_with_the_box_of_its_error() {
        let error = Some(v1::answer::Answer::Error(Box::default()));
        let answers = vec![v1::Answer { id: 1, answer: error }; 5];
        let (answer, error) = (size_of::<v1::Answer>(), size_of::<v1::Error>());
        assert_eq!(counted(&v1::PipelineResponse { answers }), room(5) * (answer + error));
        assert!(answer < error / 2, "{answer} bytes, and {error} of an error");
    }

    #[test]
    fn a_list_counts_with_the_room_that_it_asks_for_while_it_grows() {
        let mut list: Vec<v1::KeyState> = Vec::new();
        let (mut place, mut most) = (0_usize, 0_usize);
        for elements in 1..1000 {
            list.push(v1::KeyState::default());
            let moves = if list.capacity() > place { place } else { 0 };
            place = list.capacity();
            most = most.max(place + moves);
            assert!(room(elements) >= most, "{elements} elements have had room for {most}");
            assert!(room(elements) <= (3 * elements).max(6), "{elements}");
        }
    }

    #[test]
    fn a_list_that_comes_in_two_parts_is_one() {
        let part = |sessions: usize| {
            let rest = v1::handoff_step::Chunk {
                sessions: vec![v1::SessionState::default(); sessions],
                ..Default::default()
            };
            v1::handoff_step::Install { rest: Some(rest), ..Default::default() }.encode_to_vec()
        };
        let both = [part(8), part(1)].concat();
        let decoded = v1::handoff_step::Install::decode(both.as_slice()).unwrap();
        assert_eq!(decoded.rest.unwrap().sessions.len(), 9);
        let expected = room(9) * size_of::<v1::SessionState>();
        assert_eq!(counted_of::<v1::handoff_step::Install>(&both), expected);
    }

    #[test]
    fn any_bytes_are_judged_without_a_panic() {
        let mut bytes = vec![0_u8; SHORT + 100];
        for seed in 0..200_u64 {
            let mut state = seed;
            for byte in &mut bytes {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                *byte = (state >> 56) as u8;
            }
            let _ = check_size::<v1::TakeStepRequest>(&bytes);
            let _ = check_size::<v1::PipelineRequest>(&bytes);
        }
    }
}
