//! The bytes of the record's file: a line that names format version and checksum, then
//! the record as JSON, for people to read.
//!
//! The first line stays as it is in all versions, and the checksum covers the version
//! too: so a damaged file is never taken for one of another version.

use skv_assignment::record::Record;

/// The format version that is written and read.
pub(super) const VERSION: u32 = 1;

const MAGIC: &str = "ShardedKV shard map, format ";
const CHECKSUM: &str = ", crc32c ";

/// The reason for which bytes aren't a record.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Problem {
    Damaged(String),
    UnsupportedVersion(u32),
}

pub(super) fn encode(record: &Record) -> serde_json::Result<Vec<u8>> {
    let body = serde_json::to_vec_pretty(record)?;
    let mut bytes = header(VERSION, &body).into_bytes();
    bytes.extend(body);
    Ok(bytes)
}

pub(super) fn decode(bytes: &[u8]) -> Result<Record, Problem> {
    let damaged = |reason: &str| Problem::Damaged(reason.to_owned());
    let end = bytes.iter().position(|&b| b == b'\n').ok_or_else(|| damaged("it has no first line"))?;
    let (first_line, body) = bytes.split_at(end + 1);
    let version = std::str::from_utf8(first_line)
        .ok()
        .and_then(|line| line.strip_prefix(MAGIC)?.split_once(CHECKSUM))
        .and_then(|(version, _)| version.parse().ok())
        .ok_or_else(|| damaged("its first line isn't that of a shard map"))?;
    let expected = header(version, body);
    if first_line != expected.as_bytes() {
        return Err(damaged("its content doesn't match the checksum in its first line"));
    }
    if version != VERSION {
        return Err(Problem::UnsupportedVersion(version));
    }
    let record: Record =
        serde_json::from_slice(body).map_err(|e| damaged(&format!("it isn't a record: {e}")))?;
    record.check().map_err(|e| damaged(&format!("the record is inconsistent: {e}")))?;
    Ok(record)
}

/// Returns the first line, with its end.
fn header(version: u32, body: &[u8]) -> String {
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&version.to_le_bytes()), body);
    format!("{MAGIC}{version}{CHECKSUM}{checksum:08x}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::sample_record;

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let record = sample_record();
        assert_eq!(decode(&encode(&record).unwrap()), Ok(record));
    }

    #[test]
    fn every_flipped_byte_and_every_flipped_bit_is_noticed() {
        let good = encode(&sample_record()).unwrap();
        for at in 0..good.len() {
            for mask in (0..8).map(|bit| 1 << bit).chain([0xff]) {
                let mut bad = good.clone();
                bad[at] ^= mask;
                assert!(matches!(decode(&bad), Err(Problem::Damaged(_))), "byte {at} xor {mask:#x}");
            }
        }
    }

    #[test]
    fn every_cut_and_anything_behind_the_end_is_noticed() {
        let good = encode(&sample_record()).unwrap();
        for length in 0..good.len() {
            assert!(matches!(decode(&good[..length]), Err(Problem::Damaged(_))), "cut at {length}");
        }
        let longer = [good.as_slice(), b"\n"].concat();
        assert!(matches!(decode(&longer), Err(Problem::Damaged(_))));
    }

    #[test]
    fn a_record_that_counts_to_the_end_of_all_numbers_is_refused() {
        let good = serde_json::to_value(sample_record()).unwrap();
        let at = |path: &str| {
            let mut record = good.clone();
            *record.pointer_mut(path).unwrap() = u64::MAX.into();
            let body = serde_json::to_vec(&record).unwrap();
            decode(&[header(VERSION, &body).as_bytes(), &body].concat())
        };
        for path in ["/revision", "/epoch", "/owners/0/epoch"] {
            let problem = at(path);
            let is_said = |reason: &str| reason.contains("more than anything counts to");
            assert!(
                matches!(&problem, Err(Problem::Damaged(reason)) if is_said(reason)),
                "{path}: {problem:?}"
            );
        }
    }

    #[test]
    fn another_version_is_no_damage() {
        let body = b"whatever version 2 writes";
        let newer = [header(2, body).as_bytes(), body].concat();
        assert_eq!(decode(&newer), Err(Problem::UnsupportedVersion(2)));
    }
}
