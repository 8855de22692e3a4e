//! A key with its value, as the store keeps it.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use skv_sharding::Revision;

/// The size up to which a copy of a value is cheaper than sharing it.
const COPY_UP_TO: usize = 1024;

/// A key and its value in one allocation of their own, so that neither keeps a log
/// entry's buffer alive.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyValue {
    bytes: Arc<[u8]>,
    key_length: u32,
}

impl KeyValue {
    /// Returns a key with the value that `head` and `tail` make. `scratch` is overwritten.
    pub(super) fn new(key: &[u8], head: &[u8], tail: &[u8], scratch: &mut Vec<u8>) -> Self {
        scratch.clear();
        scratch.extend_from_slice(key);
        scratch.extend_from_slice(head);
        scratch.extend_from_slice(tail);
        Self { bytes: scratch.as_slice().into(), key_length: key.len() as u32 }
    }

    /// Reads a record, given its key's length; `None` if the two don't fit together.
    pub(super) fn from_bytes(bytes: &[u8], key_length: u32) -> Option<Self> {
        (key_length as usize <= bytes.len()).then(|| Self { bytes: bytes.into(), key_length })
    }

    /// Returns the key.
    pub fn key(&self) -> &[u8] {
        &self.bytes[..self.key_length as usize]
    }

    /// Returns the value.
    pub fn value(&self) -> &[u8] {
        &self.bytes[self.key_length as usize..]
    }

    /// Returns the value, without copying it if it is large.
    pub fn to_value(&self) -> Bytes {
        if self.value().len() <= COPY_UP_TO {
            Bytes::copy_from_slice(self.value())
        } else {
            Bytes::from_owner(self.clone()).slice(self.key_length as usize..)
        }
    }

    /// Returns the bytes of key and value.
    pub(super) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Returns the bytes of the key.
    pub(super) fn key_length(&self) -> u32 {
        self.key_length
    }
}

impl AsRef<[u8]> for KeyValue {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for KeyValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} bytes", self.key().escape_ascii(), self.value().len())
    }
}

/// The content that is stored under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) pair: KeyValue,
    /// The revision of the key's last mutation.
    pub(super) revision: Revision,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_the_same_copied_or_shared() {
        for size in [0, 1, COPY_UP_TO, COPY_UP_TO + 1, 100_000] {
            let value: Vec<u8> = (0..size).map(|i| i as u8).collect();
            let pair = KeyValue::new(b"key", &value[..size / 3], &value[size / 3..], &mut Vec::new());
            assert_eq!(pair.key(), b"key");
            assert_eq!(pair.to_value(), value);
            assert_eq!(KeyValue::from_bytes(pair.as_ref(), 3), Some(pair));
        }
        assert_eq!(KeyValue::from_bytes(b"ab", 3), None);
    }
}
