//! Passing one request on to another server: one hop, no session, and no second transmission of a
//! request that may have been executed.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use skv_net::Connector;
use skv_proto::Error;
use skv_proto::v1::operation::Operation;
use skv_sharding::GroupId;
use tokio::time::Instant;

use crate::attempt::Attempt;
use crate::options;
use crate::transport::{Dialer, Failure, Patience, Pool, Reply};
use crate::tried::Tried;

/// Connections to other servers, kept open.
pub struct Forwarder {
    pool: Pool,
    timeout: Duration,
}

impl fmt::Debug for Forwarder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forwarder").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl Forwarder {
    /// The number of connections to one server that are used under load.
    const CONNECTIONS: usize = 4;

    /// Makes a forwarder whose requests take no longer than `timeout` altogether.
    pub fn new(connector: Connector, timeout: Duration) -> Forwarder {
        let timeout = timeout.min(options::LONGEST);
        let dialer = Dialer { connector, attempt: Attempt::first(Attempt::FIRST, timeout) };
        Forwarder { pool: Pool::new(dialer, 1, Self::CONNECTIONS), timeout }
    }

    /// Asks the server at this client address and no other, once.
    pub async fn ask(&self, address: &str, operation: &Operation) -> Result<Reply, Error> {
        let patience = Patience { attempt: self.timeout, deadline: Instant::now() + self.timeout };
        self.pool.peer(address).call(operation.clone(), patience).await.map_err(|failure| match failure {
            Failure::Answered(error) => *error,
            Failure::Lost(why) | Failure::Overdue(why) if !is_read(operation) => {
                Error::OutcomeUnknown(why.to_string())
            }
            Failure::NotSent(why) | Failure::Lost(why) | Failure::Overdue(why) => {
                Error::Unavailable(why.to_string())
            }
        })
    }

    /// Asks a group's servers at these client addresses in turn until one has an answer. A refusal
    /// by a server that doesn't lead is followed to the next address; the request should be marked
    /// `direct`, else it may hop again. A mutation whose transmission was lost is
    /// [`Error::OutcomeUnknown`]. So nobody else is asked for it, and its server has all the time; a read
    /// that is left unanswered is asked for elsewhere meanwhile, and then there once more.
    pub async fn forward<'a>(
        &self,
        group: GroupId,
        addresses: impl IntoIterator<Item = &'a str>,
        operation: &Operation,
    ) -> Result<Reply, Error> {
        let deadline = Instant::now() + self.timeout;
        let mut tried = Tried::new(group);
        let (mut asked, mut named) = (Vec::new(), None);
        let mut attempt = Attempt::first(Attempt::FIRST, self.timeout);
        let mut due: VecDeque<&str> = addresses.into_iter().collect();
        while let Some(address) = due.pop_front().filter(|_| Instant::now() < deadline) {
            let time = if is_read(operation) { attempt.time() } else { self.timeout };
            let patience = Patience { attempt: time, deadline };
            let failure = match self.pool.peer(address).call(operation.clone(), patience).await {
                Ok(reply) => return Ok(reply),
                Err(failure) => failure,
            };
            asked.push(address);
            tried.failed("", address, &failure);
            match failure {
                Failure::Answered(error) => match *error {
                    Error::NotLeader { leader: Some(_), .. } => named = Some(*error),
                    Error::NotLeader { .. } | Error::Unavailable(_) => {}
                    other => return Err(other),
                },
                Failure::Lost(why) | Failure::Overdue(why) if !is_read(operation) => {
                    return Err(Error::OutcomeUnknown(why.to_string()));
                }
                Failure::Overdue(_) => {
                    attempt.overran();
                    due.push_back(address);
                }
                Failure::NotSent(_) | Failure::Lost(_) => {}
            }
        }
        match named {
            // The server that passed the request on may know the way to a leader that we don't.
            Some(Error::NotLeader { leader: Some(leader), group, term })
                if !asked.contains(&&*leader.client_address) =>
            {
                Err(Error::NotLeader { group, leader: Some(leader), term })
            }
            _ if asked.is_empty() => Err(Error::Unavailable("no other server is known".into())),
            _ => Err(Error::Unavailable(tried.to_string())),
        }
    }
}

fn is_read(operation: &Operation) -> bool {
    matches!(operation, Operation::Get(_))
}
