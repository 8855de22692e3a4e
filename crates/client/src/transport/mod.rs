//! The way of a transmission to a server, and the knowledge about it when it ends.
//!
//! Nothing here sends a request twice.

mod dial;
mod peer;
mod pipe;
mod slot;

use std::sync::Arc;

use skv_proto::v1;
use skv_proto::v1::answer::Answer;

pub(crate) use dial::{Dialer, origin};
pub(crate) use peer::{Patience, Peer, Pool};

/// A server's answer to one operation.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// To a get.
    Get(v1::GetResponse),
    /// To a put.
    Put(v1::PutResponse),
    /// To an append.
    Append(v1::AppendResponse),
    /// To a delete.
    Delete(v1::DeleteResponse),
}

/// The reason why a transmission has no reply.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum Failure {
    /// The request never left.
    #[error("{0}")]
    NotSent(Arc<str>),
    /// The server refused, for this reason.
    #[error("{0}")]
    Answered(Box<skv_proto::Error>),
    /// The request may or may not have arrived.
    #[error("{0}")]
    Lost(Arc<str>),
    /// The same: the server has left it unanswered for as long as the attempt may take.
    #[error("{0}")]
    Overdue(Arc<str>),
}

impl Failure {
    fn overdue(address: &str) -> Failure {
        Failure::Overdue(format!("{address} did not answer in time").into())
    }
}

/// The result of a transmission.
pub(crate) type Transmission = Result<Reply, Failure>;

fn transmission(answer: Option<Answer>) -> Transmission {
    match answer {
        Some(Answer::Get(answer)) => Ok(Reply::Get(answer)),
        Some(Answer::Put(answer)) => Ok(Reply::Put(answer)),
        Some(Answer::Append(answer)) => Ok(Reply::Append(answer)),
        Some(Answer::Delete(answer)) => Ok(Reply::Delete(answer)),
        Some(Answer::Error(error)) => Err(Failure::Answered(Box::new(error.into()))),
        None => Err(Failure::Lost("the answer is of a kind that this version doesn't know".into())),
    }
}
