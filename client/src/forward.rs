//! Passing one request on to another server: one hop, no session, and never again what may
//! have been executed.

use std::fmt;
use std::time::Duration;

use skv_proto::Error;
use skv_proto::v1::operation::Operation;
use tokio::time::Instant;

use crate::transport::{Connector, Dialer, Failure, Patience, Pool, Reply};

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
    /// How many connections to one server are used under load.
    const CONNECTIONS: usize = 4;

    /// `timeout`: how long one request may take altogether.
    pub fn new(connector: Connector, timeout: Duration) -> Forwarder {
        let dialer = Dialer { connector, timeout: timeout.min(Duration::from_secs(1)) };
        Forwarder { pool: Pool::new(dialer, 1, Self::CONNECTIONS), timeout }
    }

    /// Asks these client addresses in turn until one has an answer. A refusal by a server
    /// that doesn't lead is followed to the next address; the request should be marked
    /// `direct`, else it may hop again. A mutation whose transmission was lost is
    /// [`Error::OutcomeUnknown`].
    pub async fn forward<'a>(
        &self,
        addresses: impl IntoIterator<Item = &'a str>,
        operation: &Operation,
    ) -> Result<Reply, Error> {
        let deadline = Instant::now() + self.timeout;
        let is_read = matches!(operation, Operation::Get(_));
        let mut refused = Error::Unavailable("no other server is known".into());
        for address in addresses {
            let patience = Patience { attempt: self.timeout, deadline };
            match self.pool.peer(address).call(operation.clone(), patience).await {
                Ok(reply) => return Ok(reply),
                Err(Failure::Answered(error)) => match *error {
                    Error::NotLeader { .. } | Error::Unavailable(_) => refused = *error,
                    other => return Err(other),
                },
                Err(Failure::NotSent(why)) => refused = Error::Unavailable(why.to_string()),
                Err(Failure::Lost(why)) if is_read => refused = Error::Unavailable(why.to_string()),
                Err(Failure::Lost(why)) => return Err(Error::OutcomeUnknown(why.to_string())),
            }
        }
        Err(refused)
    }
}
