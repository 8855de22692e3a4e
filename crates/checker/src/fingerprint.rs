//! A value as (length, hash), so that appending to a long value costs nothing.

/// The length and hash of a text. The hash is a polynomial over a prime field: that of a
/// concatenation follows from those of the parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint {
    pub(crate) length: u64,
    hash: u64,
    /// `BASE` to the power of `length`.
    shift: u64,
}

/// A Mersenne prime: two different texts of n bytes collide with a chance of n in 2^61.
const PRIME: u64 = (1 << 61) - 1;
const BASE: u64 = 0x0b2d_4f6a_31c9_e857;

impl Fingerprint {
    pub(crate) const EMPTY: Fingerprint = Fingerprint { length: 0, hash: 0, shift: 1 };

    pub(crate) fn of(text: &str) -> Fingerprint {
        text.bytes().fold(Fingerprint::EMPTY, |before, byte| Fingerprint {
            length: before.length + 1,
            hash: add(multiply(before.hash, BASE), u64::from(byte) + 1),
            shift: multiply(before.shift, BASE),
        })
    }

    /// Returns the fingerprint of this text followed by `end`.
    pub(crate) fn then(self, end: Fingerprint) -> Fingerprint {
        Fingerprint {
            length: self.length + end.length,
            hash: add(multiply(self.hash, end.shift), end.hash),
            shift: multiply(self.shift, end.shift),
        }
    }
}

fn multiply(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    let prime = u128::from(PRIME);
    add((product & prime) as u64, (product >> 61) as u64)
}

fn add(a: u64, b: u64) -> u64 {
    (a + b) % PRIME
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_concatenation_has_the_fingerprint_of_the_whole() {
        let whole = "1.0;2.0;1.1;";
        for cut in 0..=whole.len() {
            let (start, end) = whole.split_at(cut);
            assert_eq!(Fingerprint::of(start).then(Fingerprint::of(end)), Fingerprint::of(whole));
        }
    }

    #[test]
    fn different_texts_differ() {
        let texts = ["", "a", "b", "ab", "ba", "aa", "\0", "\0\0"];
        for (i, one) in texts.iter().enumerate() {
            for other in &texts[i + 1..] {
                assert_ne!(Fingerprint::of(one), Fingerprint::of(other), "{one:?} {other:?}");
            }
        }
    }
}
