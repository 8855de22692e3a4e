//! Commands about one key: `get`, `put`, `append`, `delete`, and `which`, which shows the place of a key.
//!
//! - `key`, `value`: how keys and values are given as arguments

pub(crate) mod append;
pub(crate) mod delete;
pub(crate) mod get;
mod key;
pub(crate) mod put;
mod value;
pub(crate) mod which;
