//! The memory that a piece of work takes at its peak.

use peak_alloc::PeakAlloc;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Counts the memory of everything in this process.
#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// The most addresses that this process may have. More is a finding that ends it, and not the machine.
const ADDRESSES: u64 = 16 << 30;

/// The memory that lists of a message may take, however short it is, while they grow: the limit that
/// messages are decoded with.
const FREE: usize = 16 << 20;
/// The memory that an input may take for each of its bytes.
const TIMES: usize = 4;
/// The memory that what reads files may take for itself: buffers, and a segment that begins.
pub(crate) const OF_FILES: usize = 8 << 20;

/// Limits the memory of this process.
pub(crate) fn limit() {
    let limit = Rlimit { current: Some(ADDRESSES), ..getrlimit(Resource::As) };
    // Where that isn't possible, the machine's own limit is what ends an excess.
    let _ = setrlimit(Resource::As, limit);
}

/// Returns the memory that an input of this length may take.
pub(crate) fn allowed(length: usize) -> usize {
    FREE + TIMES * length
}

/// Does some work; returns its result, and the bytes that were held at its peak more than before.
pub(crate) fn measured<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let result = work();
    (result, MEMORY.peak_usage().saturating_sub(before))
}

/// Awaits some work; returns its result, and the bytes that were held at the peak more than before.
pub(crate) async fn measured_while<T>(work: impl Future<Output = T>) -> (T, usize) {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let result = work.await;
    (result, MEMORY.peak_usage().saturating_sub(before))
}
