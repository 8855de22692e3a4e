//! The start and the end of ShardedKV's programs: their options, the form of their log, and the signals
//! that end them.

mod log;
mod options;
mod signals;

pub use log::{LogFormat, LogTo, log_filter, start_log};
pub use options::{forget_blank_variables, options, trimmed, variable};
pub use signals::stop_on_signal;
