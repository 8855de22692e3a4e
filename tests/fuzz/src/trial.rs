//! An input, watched while it is read.

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::memory;
use crate::panics;

/// The bytes of an input that are printed.
const SHOWN: usize = 2000;

/// The counts of a round.
#[derive(Debug, Default)]
pub(crate) struct Trial {
    /// The number of inputs.
    pub(crate) inputs: u64,
    /// The number of inputs that were refused.
    pub(crate) refused: u64,
    /// The memory that what reads the inputs of this round may take for itself, such as for buffers.
    pub(crate) own_bytes: usize,
}

impl Trial {
    /// Has an input read, which is named for people. A panic, and too much memory, are findings.
    pub(crate) fn read<T>(
        &mut self,
        what: &str,
        bytes: &[u8],
        work: impl FnOnce() -> T,
    ) -> Result<T, String> {
        self.read_with(what, bytes, 0, work)
    }

    /// Does the same with an input that may take some more memory for what it says.
    pub(crate) fn read_with<T>(
        &mut self,
        what: &str,
        bytes: &[u8],
        more: usize,
        work: impl FnOnce() -> T,
    ) -> Result<T, String> {
        self.inputs += 1;
        let (result, taken) = memory::measured(|| catch_unwind(AssertUnwindSafe(work)));
        if let Some(panic) = panics::take() {
            return Err(format!("{what}: {panic}\n{}", shown(bytes)));
        }
        let allowed = self.own_bytes + more + memory::allowed(bytes.len());
        if taken > allowed {
            let length = bytes.len();
            let problem =
                format!("{what}: {length} bytes took {taken} bytes of memory; {allowed} are allowed");
            return Err(format!("{problem}\n{}", shown(bytes)));
        }
        result.map_err(|_| format!("{what}: a panic without a text\n{}", shown(bytes)))
    }

    /// Counts an input that was refused.
    pub(crate) fn refuse(&mut self) {
        self.refused += 1;
    }
}

/// Returns the bytes as text, or as many of them as a person looks at.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes.iter().take(SHOWN) {
        // A text grows.
        let _ = write!(text, "{byte:02x}");
    }
    if bytes.len() > SHOWN {
        text.push_str("...");
    }
    format!("the input: {text}")
}
