//! The typed error as the details of a gRPC status.

use std::collections::HashMap;

use bytes::Bytes;
use prost::Message as _;
use skv_sharding::{GroupId, GroupUid};
use tonic::{Code, Status};
use tonic_types::pb;

use crate::{Error, v1};

/// The domain of our reasons in `google.rpc.ErrorInfo`.
pub const DOMAIN: &str = "shardedkv.io";

const TYPE_URL: &str = "type.googleapis.com/shardedkv.v1.Error";

impl Error {
    /// Returns the gRPC status code under which it is sent. None of them is one that gRPC libraries
    /// retry by themselves after the request may have been executed.
    pub fn code(&self) -> Code {
        match self {
            Error::InvalidArgument(_) => Code::InvalidArgument,
            Error::NotLeader { .. }
            | Error::WrongGroup { .. }
            | Error::ShardMoving { .. }
            | Error::SessionExpired { .. }
            | Error::ClockSkew { .. }
            | Error::StaleSequence { .. }
            | Error::WindowExceeded { .. }
            | Error::WrongIdentity(_)
            | Error::FormerLife(_)
            | Error::UnsupportedVersion(_) => Code::FailedPrecondition,
            Error::Overloaded(_) | Error::DiskFull(_) | Error::MemoryFull(_) => Code::ResourceExhausted,
            Error::Unavailable(_) => Code::Unavailable,
            Error::Unimplemented(_) => Code::Unimplemented,
            Error::OutcomeUnknown(_) => Code::Unknown,
            Error::AlreadyApplied { .. } => Code::AlreadyExists,
            Error::Internal(_) => Code::Internal,
        }
    }

    /// Reads the error from a status; `None` if the status wasn't made by one of our services.
    pub fn from_status(status: &Status) -> Option<Error> {
        let details = pb::Status::decode(Bytes::copy_from_slice(status.details())).ok()?;
        let any = details.details.iter().find(|any| any.type_url == TYPE_URL)?;
        v1::Error::decode(any.value.as_slice()).ok().map(Error::from)
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let (code, message) = (error.code(), error.to_string());
        let reason = error.reason().as_str_name().trim_start_matches("REASON_").to_owned();
        let wire = v1::Error::from(error);
        let mut metadata = HashMap::new();
        if let Some(leader) = &wire.leader {
            metadata.insert("leader".to_owned(), leader.client_address.clone());
        }
        if let Some(owner) = &wire.owner {
            metadata.insert("owner".to_owned(), GroupId(owner.group).to_string());
            metadata.insert("owner_uid".to_owned(), GroupUid(owner.group_uid).to_string());
            metadata.insert("epoch".to_owned(), owner.epoch.to_string());
        }
        let info = pb::ErrorInfo { reason, domain: DOMAIN.to_owned(), metadata };
        let details = pb::Status {
            code: code as i32,
            message: message.clone(),
            details: vec![
                prost_types::Any {
                    type_url: "type.googleapis.com/google.rpc.ErrorInfo".to_owned(),
                    value: info.encode_to_vec(),
                },
                prost_types::Any { type_url: TYPE_URL.to_owned(), value: wire.encode_to_vec() },
            ],
        };
        Status::with_details(code, message, details.encode_to_vec().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::tests::every_error;

    #[test]
    fn errors_survive_the_way_through_a_status() {
        for error in every_error() {
            assert_eq!(Error::from_status(&Status::from(error.clone())), Some(error));
        }
    }

    #[test]
    fn a_foreign_status_is_not_ours() {
        assert_eq!(Error::from_status(&Status::unavailable("proxy")), None);
    }
}
