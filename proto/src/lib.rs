//! The wire format of ShardedKV: the types that the .proto files describe, the typed
//! error that all services share, and conversions to the types of [`skv_sharding`].
//!
//! With the feature `grpc` there are services, their clients, and the error as a gRPC status;
//! without it the crate is messages only, for crates that neither send nor receive.

mod bound;
#[cfg(feature = "grpc")]
mod codec;
mod convert;
mod error;
#[cfg(feature = "grpc")]
mod grpc;
mod status;

/// The generated types of package `shardedkv.v1`. Their documentation stands in the
/// .proto files.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/shardedkv.v1.rs"));
}

/// The services of the exercises, in front of the same store.
pub mod lab {
    /// The generated types of package `shardedkv.lab.v1`. Their documentation stands in the
    /// .proto files.
    #[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/shardedkv.lab.v1.rs"));
    }
}

pub use bound::{Excess, Shape, Shaped, check_inner, check_size};
pub use convert::{ConvertError, owners};
pub use error::{Error, ShardOwner};
#[cfg(feature = "grpc")]
pub use grpc::DOMAIN;

/// The compiled .proto files, for server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/shardedkv.bin"));
