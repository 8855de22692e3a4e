//! The wire format of ShardedKV: the types that the .proto files describe, the typed
//! error that all services share, and conversions to the types of [`skv_sharding`].

mod convert;
mod error;
mod status;

/// The generated types of package `shardedkv.v1`. Their documentation stands in the
/// .proto files.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/shardedkv.v1.rs"));
}

/// What the front doors of the exercises speak, over the same store.
pub mod lab {
    /// The generated types of package `shardedkv.lab.v1`. Their documentation stands in the
    /// .proto files.
    #[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/shardedkv.lab.v1.rs"));
    }
}

pub use convert::{ConvertError, owners};
pub use error::{DOMAIN, Error, ShardOwner};

/// The compiled .proto files, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/shardedkv.bin"));
