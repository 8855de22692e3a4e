//! Choices that follow from a seed: numbers at which something begins or ends, texts, bytes.

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// Numbers at which something begins or ends.
const EDGES: [u64; 15] = [
    0,
    1,
    2,
    (1 << 7) - 1,
    1 << 16,
    (1 << 31) - 1,
    1 << 31,
    u32::MAX as u64 - 1,
    u32::MAX as u64,
    u32::MAX as u64 + 1,
    skv_sharding::COUNT_LIMIT - 1,
    skv_sharding::COUNT_LIMIT,
    i64::MAX as u64,
    u64::MAX - 1,
    u64::MAX,
];
/// The longest bytes that are drawn, but for few.
const SHORT: usize = 40;
/// The longest bytes of all.
const LONG: usize = 6000;

/// A source of choices.
#[derive(Debug)]
pub(crate) struct Draw {
    rng: StdRng,
    /// Numbers that mean something where the inputs go.
    pub(crate) numbers: Vec<u64>,
    /// Texts that mean something there.
    pub(crate) words: Vec<String>,
}

impl Draw {
    pub(crate) fn new(seed: u64) -> Self {
        let words = ["", "a", "key", "12"].map(str::to_owned).to_vec();
        Draw { rng: StdRng::seed_from_u64(seed), numbers: vec![0, 1, 2, 3], words }
    }

    /// Returns true in so many of a hundred cases.
    pub(crate) fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    /// Returns a number below a limit, which isn't 0.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.rng.random_range(0..limit)
    }

    /// Returns one of some choices; `None` if there are none.
    pub(crate) fn pick<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        if choices.is_empty() { None } else { choices.get(self.below(choices.len())) }
    }

    /// Returns any number, often one that means something.
    pub(crate) fn number(&mut self) -> u64 {
        match self.below(10) {
            0..5 => self.numbers[self.rng.random_range(0..self.numbers.len())],
            5..7 => self.rng.random_range(0..6),
            7..9 => EDGES[self.rng.random_range(0..EDGES.len())],
            _ => self.rng.random(),
        }
    }

    /// Returns the number of elements of a list: mostly few.
    pub(crate) fn count(&mut self) -> usize {
        match self.below(40) {
            0 => self.below(60),
            1..10 => 0,
            _ => 1 + self.below(3),
        }
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.rng.random()
    }

    pub(crate) fn bytes(&mut self) -> Bytes {
        match self.below(10) {
            0..5 => {
                let word = self.below(self.words.len());
                Bytes::copy_from_slice(self.words[word].as_bytes())
            }
            5..8 => self.random_bytes(SHORT).into(),
            8 => Bytes::new(),
            _ => self.random_bytes(LONG).into(),
        }
    }

    pub(crate) fn random_bytes(&mut self, most: usize) -> Vec<u8> {
        let length = self.below(most + 1);
        (0..length).map(|_| self.byte()).collect()
    }

    pub(crate) fn text(&mut self) -> String {
        match self.below(10) {
            0..7 => {
                let word = self.below(self.words.len());
                self.words[word].clone()
            }
            7 => "\u{0}\u{1F980} {}[]\"\\%s\n".to_owned(),
            8 => "é".repeat(self.below(LONG)),
            _ => String::from_utf8_lossy(&self.random_bytes(SHORT)).into_owned(),
        }
    }
}
