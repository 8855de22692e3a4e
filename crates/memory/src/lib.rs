//! The memory limit of a process: the bytes that count towards it, and the point at which data may no
//! longer grow.
//!
//! Pure: the texts of the system's files and the samples of resident memory are handed in.

mod budget;
mod ceiling;
mod system;
mod tally;

pub use budget::{Budget, Purpose};
pub use system::{limit_files, limit_in, physical, resident};
pub use tally::{Charge, Tally};
