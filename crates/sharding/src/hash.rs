//! The way from a key to its shard.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ShardId;

const FNV_OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// Returns the 64-bit FNV-1 hash: multiply, then xor.
///
/// Source: <https://datatracker.ietf.org/doc/rfc9923/>. Many libraries named "fnv"
/// implement [`fnv1a`].
pub fn fnv1(bytes: &[u8]) -> u64 {
    bytes.iter().fold(FNV_OFFSET_BASIS, |hash, &byte| hash.wrapping_mul(FNV_PRIME) ^ u64::from(byte))
}

/// Returns the 64-bit FNV-1a hash: xor, then multiply.
pub fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(FNV_OFFSET_BASIS, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME))
}

/// The rule that maps keys to shards. Fixed for the life of a cluster.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hash {
    /// [`fnv1`] of the key, mod shards.
    #[default]
    Fnv1,
    /// [`fnv1a`] of the key, mod shards.
    Fnv1a,
    /// The key itself, a decimal integer of any length, mod shards (never negative).
    Integer,
    /// [`Hash::Integer`] where the key is a decimal integer, [`Hash::Fnv1`] for any other key.
    #[serde(rename = "integer-or-fnv1")]
    IntegerOrFnv1,
}

/// A key that isn't a decimal integer, which [`Hash::Integer`] needs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the key {key:?} is not a decimal integer, which hash \"integer\" needs")]
pub struct KeyError {
    key: String,
}

/// A text that isn't the name of a hash.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no hash: there are fnv1, fnv1a, integer and integer-or-fnv1")]
pub struct ParseHashError {
    text: String,
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Hash::Fnv1 => "fnv1",
            Hash::Fnv1a => "fnv1a",
            Hash::Integer => "integer",
            Hash::IntegerOrFnv1 => "integer-or-fnv1",
        })
    }
}

impl FromStr for Hash {
    type Err = ParseHashError;

    fn from_str(text: &str) -> Result<Self, ParseHashError> {
        Hash::ALL
            .into_iter()
            .find(|hash| hash.to_string() == text)
            .ok_or_else(|| ParseHashError { text: text.to_owned() })
    }
}

impl Hash {
    /// Every hash.
    pub const ALL: [Hash; 4] = [Hash::Fnv1, Hash::Fnv1a, Hash::Integer, Hash::IntegerOrFnv1];

    /// Returns the shard of a key. `shards` must not be 0.
    pub fn shard(self, key: &[u8], shards: u32) -> Result<ShardId, KeyError> {
        let remainder = match self {
            Hash::Fnv1 => (fnv1(key) % u64::from(shards)) as u32,
            Hash::Fnv1a => (fnv1a(key) % u64::from(shards)) as u32,
            Hash::Integer => decimal_remainder(key, shards)
                .ok_or_else(|| KeyError { key: String::from_utf8_lossy(key).into_owned() })?,
            Hash::IntegerOrFnv1 => match decimal_remainder(key, shards) {
                Some(remainder) => remainder,
                None => return Hash::Fnv1.shard(key, shards),
            },
        };
        Ok(ShardId(remainder))
    }
}

/// Returns the remainder of a decimal integer, `None` for any other text. It goes digit by digit, so that
/// no length overflows.
fn decimal_remainder(key: &[u8], shards: u32) -> Option<u32> {
    let (negative, digits) = match key {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, key),
    };
    if digits.is_empty() {
        return None;
    }
    let shards = u64::from(shards);
    let mut remainder = 0u64;
    for &digit in digits {
        let value = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        remainder = (remainder * 10 + value) % shards;
    }
    if negative && remainder != 0 {
        remainder = shards - remainder;
    }
    Some(remainder as u32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn fnv_matches_the_published_vectors() {
        assert_eq!(fnv1(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1(b"a"), 0xaf63_bd4c_8601_b7be);
        assert_eq!(fnv1(b"foobar"), 0x340d_8765_a4dd_a9c2);
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn a_hash_has_one_name_everywhere() {
        for hash in Hash::ALL {
            assert_eq!(hash.to_string().parse(), Ok(hash));
            assert_eq!(serde_json::to_value(hash).unwrap(), hash.to_string());
        }
        assert!("FNV1".parse::<Hash>().is_err());
    }

    #[test]
    fn integer_refuses_what_is_not_decimal() {
        for key in ["", "-", "+", "1a", " 1", "1 ", "0x10", "1.0", "--1", "²"] {
            assert!(Hash::Integer.shard(key.as_bytes(), 7).is_err(), "{key:?}");
        }
    }

    #[test]
    fn integer_or_fnv1_takes_every_key() {
        for (key, as_if) in
            [("-5", Hash::Integer), ("123", Hash::Integer), ("", Hash::Fnv1), ("1a", Hash::Fnv1)]
        {
            let shard = Hash::IntegerOrFnv1.shard(key.as_bytes(), 2520);
            assert_eq!(shard, as_if.shard(key.as_bytes(), 2520), "{key:?}");
        }
    }

    proptest! {
        #[test]
        fn integer_is_the_euclidean_remainder(key: i128, shards in 1u32..) {
            let expected = key.rem_euclid(i128::from(shards));
            let shard = Hash::Integer.shard(key.to_string().as_bytes(), shards).unwrap();
            prop_assert_eq!(i128::from(shard.0), expected);
        }

        #[test]
        fn every_hash_stays_below_the_number_of_shards(key: Vec<u8>, shards in 1u32..5000) {
            for hash in [Hash::Fnv1, Hash::Fnv1a, Hash::IntegerOrFnv1] {
                prop_assert!(hash.shard(&key, shards).unwrap().0 < shards);
            }
        }
    }
}
