//! The bytes of the usual entry, judged without being decoded: commands as this version writes them. A follower
//! judges each entry when it takes it, and decodes it when it applies it; to make and drop all commands twice
//! would be work for each write, on each follower.
//!
//! Only the fields that are known here are let pass, in the form in which they are written. Whatever else
//! there may be in an entry is for the decoder to judge.

use skv_proto::v1::command::Kind;

/// Returns the number of commands if these bytes are an entry of commands, of no later version than this,
/// that can be decoded and applied. `None` says nothing.
pub(super) fn commands(mut entry: &[u8], newest: u32) -> Option<usize> {
    let (mut version, mut count) = (0, None);
    while !entry.is_empty() {
        match field(&mut entry)? {
            (1, Value::Number(number)) => version = number,
            (2, Value::Number(_)) => {}
            // A batch that comes in several parts is one.
            (3, Value::Bytes(bytes)) => count = Some(count.unwrap_or(0) + commands_of(bytes)?),
            _ => return None,
        }
    }
    count.filter(|_| (1..=u64::from(newest)).contains(&version))
}

fn commands_of(mut batch: &[u8]) -> Option<usize> {
    let mut count = 0;
    while !batch.is_empty() {
        match field(&mut batch)? {
            (1, Value::Bytes(bytes)) => command(bytes)?,
            _ => return None,
        }
        count += 1;
    }
    Some(count)
}

fn command(mut command: &[u8]) -> Option<()> {
    while !command.is_empty() {
        match field(&mut command)? {
            (1, Value::Number(kind)) => _ = Kind::try_from(i32::try_from(kind).ok()?).ok()?,
            (2 | 5, Value::Number(_)) | (3 | 4, Value::Bytes(_)) => {}
            (6, Value::Bytes(id)) => request_id(id)?,
            _ => return None,
        }
    }
    Some(())
}

fn request_id(mut id: &[u8]) -> Option<()> {
    while !id.is_empty() {
        match field(&mut id)? {
            (1, Value::Bytes(session)) => session_id(session)?,
            (2 | 3, Value::Number(_)) => {}
            _ => return None,
        }
    }
    Some(())
}

fn session_id(mut id: &[u8]) -> Option<()> {
    while !id.is_empty() {
        match field(&mut id)? {
            (1 | 2, Value::Fixed) => {}
            _ => return None,
        }
    }
    Some(())
}

/// The value of a field.
enum Value<'a> {
    Number(u64),
    /// Eight bytes.
    Fixed,
    Bytes(&'a [u8]),
}

/// Takes a field off a message, whose number goes into one byte with its kind.
fn field<'a>(message: &mut &'a [u8]) -> Option<(u8, Value<'a>)> {
    let (&key, rest) = message.split_first()?;
    *message = rest;
    let value = match key & 7 {
        0 => Value::Number(number(message)?),
        1 => {
            take(message, 8)?;
            Value::Fixed
        }
        2 => {
            let length = usize::try_from(number(message)?).ok()?;
            Value::Bytes(take(message, length)?)
        }
        _ => return None,
    };
    (key < 0x80).then_some((key >> 3, value))
}

/// Takes a number off a message.
fn number(message: &mut &[u8]) -> Option<u64> {
    // Nearly all have one byte: kinds, lengths.
    match message.split_first() {
        Some((&byte, rest)) if byte < 0x80 => {
            *message = rest;
            Some(u64::from(byte))
        }
        _ => long_number(message),
    }
}

/// Takes a number off a message, of seven bits in each byte: of the tenth only one counts.
fn long_number(message: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(message, 1)?[0];
        if shift == 63 && byte > 1 {
            return None;
        }
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

fn take<'a>(message: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = message.split_at_checked(count)?;
    *message = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use skv_proto::v1;

    use super::*;
    use crate::entry::{ENTRY_VERSION, decode, encode_batch, encode_tick};

    fn commands(entry: &[u8]) -> Option<usize> {
        super::commands(entry, ENTRY_VERSION)
    }

    /// Returns an entry of commands in which each field is set, to small and to large values.
    fn entry() -> Vec<u8> {
        let command = |kind: Kind, number: u64| v1::Command {
            kind: kind as i32,
            shard: number as u32,
            key: "key".into(),
            value: "value".into(),
            if_revision: Some(number),
            id: Some(v1::RequestId {
                session: Some(v1::SessionId { opened_at: number, random: u64::MAX }),
                seq: number,
                acked_below: number / 2,
            }),
        };
        let commands =
            vec![command(Kind::Put, 3), command(Kind::Append, u64::MAX), command(Kind::Delete, 1 << 40)];
        encode_batch(1_700_000_000_000, commands).into()
    }

    #[test]
    fn what_this_version_writes_is_let_pass() {
        assert_eq!(commands(&entry()), Some(3));
        assert_eq!(commands(&encode_batch(1, Vec::new())), Some(0));
        assert_eq!(commands(&encode_batch(1, vec![v1::Command::default(); 2])), Some(2));
        assert_eq!(commands(&encode_tick(1)), None);
        assert_eq!(commands(&[]), None);
    }

    #[test]
    fn a_batch_in_two_parts_counts_as_a_whole() {
        let both = [entry(), entry()].concat();
        assert_eq!(commands(&both), Some(6));
        let Ok((_, v1::entry::Entry::Batch(batch))) = decode(&Bytes::from(both)) else { panic!("no batch") };
        assert_eq!(batch.commands.len(), 6);
    }

    #[test]
    fn what_is_let_pass_can_be_decoded() {
        let entry = entry();
        let mut let_pass = 0;
        let mut judge = |bytes: Vec<u8>| {
            if commands(&bytes).is_some() {
                let_pass += 1;
                assert_eq!(decode(&Bytes::from(bytes.clone())).err(), None, "{bytes:?}");
            }
        };
        for at in 0..entry.len() {
            judge(entry[..at].to_vec());
            for byte in 0..=u8::MAX {
                let mut changed = entry.clone();
                changed[at] = byte;
                judge(changed);
            }
            for inserted in [0, 0x7f, 0x80, 0xff] {
                let mut longer = entry.clone();
                longer.insert(at, inserted);
                judge(longer);
            }
        }
        assert!(let_pass > entry.len(), "values may be any: {let_pass}");
    }
}
