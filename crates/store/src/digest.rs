//! A checksum of a set that doesn't depend on the order, kept up to date item by item.

use skv_sharding::Revision;

/// The sum of one number for each item. It guards against defects, not against people.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Digest(pub(super) u64);

impl Digest {
    /// Adds an item.
    pub(super) fn add(&mut self, item: u64) {
        self.0 = self.0.wrapping_add(item);
    }

    /// Takes an item out again.
    pub(super) fn remove(&mut self, item: u64) {
        self.0 = self.0.wrapping_sub(item);
    }
}

/// Returns the number of a key at its revision. It is equal on all servers of all versions.
pub(super) fn of_key(key: &[u8], revision: Revision) -> u64 {
    mix(u64::from(crc32c::crc32c(key)), revision.0)
}

/// Returns the number of a session at its last use.
pub(super) fn of_session(opened_at: u64, random: u64, used: Revision) -> u64 {
    mix(mix(opened_at, random), used.0)
}

/// The end of splitmix64 (Steele, Lea and Flood, 2014): every bit of both reaches all bits.
fn mix(a: u64, b: u64) -> u64 {
    let mut z = a.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(b);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_does_not_count_and_everything_else_does() {
        let items = [of_key(b"a", Revision(1)), of_key(b"b", Revision(2)), of_session(1, 2, Revision(3))];
        let of = |items: &[u64]| {
            let mut digest = Digest::default();
            for item in items {
                digest.add(*item);
            }
            digest
        };
        assert_eq!(of(&items), of(&[items[2], items[0], items[1]]));
        assert_ne!(of_key(b"a", Revision(2)), of_key(b"b", Revision(1)));
        let swapped = [of_key(b"a", Revision(2)), of_key(b"b", Revision(1))];
        assert_ne!(of(&items[..2]), of(&swapped));
        let mut taken = of(&items);
        taken.remove(items[1]);
        assert_eq!(taken, of(&[items[0], items[2]]));
    }
}
