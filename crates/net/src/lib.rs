//! The connections between processes of ShardedKV.
//!
//! Everything that opens a connection or asks for a name is handed in ([`Connector`], [`Dial`],
//! [`Resolve`], [`FindRecord`]), so that a simulation can carry the bytes and resolve names itself.

mod addresses;
mod connector;
mod dial;
mod names;
mod race;
mod runtime;
mod silence;

pub use addresses::{Addresses, FindRecord, Listener, NamedServer, ParsePeerError, ServerAddresses};
pub use connector::{ByteStream, Connector, connector, tcp};
pub use dial::{
    CALLS_PER_CONNECTION, Dial, MESSAGE_LIMIT, Resolve, STREAM_WINDOW, authority, dial, dns, endpoint, open,
    resolver, server,
};
pub use race::{LEAD, race};
pub use runtime::runtime;
