//! The start and the end of ShardedKV's programs: the form of their log, and the signals that end
//! them.

mod log;
mod signals;

pub use log::{LogFormat, LogTo, start_log};
pub use signals::stop_on_signal;
