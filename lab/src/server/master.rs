//! The master, as its servers see it.

use std::time::Duration;

use anyhow::{Context as _, bail};
use skv_proto::lab::v1::join_response::Answer;
use skv_proto::lab::v1::locator_client::LocatorClient;
use skv_proto::lab::v1::membership_client::MembershipClient;
use skv_proto::lab::v1::{JoinRequest, LocateRequest, LocateResponse, Place};
use tokio::time::{sleep, timeout};
use tonic::transport::Channel;
use tonic::{Response, Status};

use crate::{Port, address};

/// The pause between two calls by which a server reports itself.
const PAUSE: Duration = Duration::from_millis(250);
/// The time limit of the master's answers.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The connection to the master, made when it is needed.
#[derive(Debug, Clone)]
pub(super) struct Master {
    address: String,
    channel: Channel,
}

impl Master {
    /// Makes a connection to the master at this port.
    pub(super) fn new(port: Port) -> anyhow::Result<Self> {
        let address = address(port);
        let dialled = skv_net::dial(skv_net::tcp())(&address);
        let channel = dialled.with_context(|| format!("{address} can't be dialled"))?;
        Ok(Master { address, channel })
    }

    /// Returns the master's address.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Reports a server at `port` to the master, again and again, until it has a place for it other
    /// than this one. Returns an error if there is none.
    pub(super) async fn await_place(&self, port: Port, other_than: Option<&Place>) -> anyhow::Result<Place> {
        let (mut client, mut told) = (MembershipClient::new(self.channel.clone()), String::new());
        loop {
            match in_time(client.join(JoinRequest { port: port.get().into() })).await.map(|join| join.answer)
            {
                Ok(Some(Answer::Place(place))) if Some(&place) != other_than => return Ok(place),
                Ok(Some(Answer::Place(_))) => told.clear(),
                Ok(Some(Answer::Refusal(reason))) => {
                    bail!("the master at {} refuses this server: {reason}", self.address)
                }
                Ok(None) => bail!("the master at {} is of another version", self.address),
                Err(status) if told.is_empty() => {
                    tracing::warn!(
                        master = self.address,
                        error = status.message(),
                        "the master doesn't answer"
                    );
                    status.message().clone_into(&mut told);
                }
                Err(_) => {}
            }
            sleep(PAUSE).await;
        }
    }

    /// Asks the master for the place of a key.
    pub(super) async fn locate(&self, request: LocateRequest) -> Result<LocateResponse, Status> {
        in_time(LocatorClient::new(self.channel.clone()).locate(request)).await
    }
}

async fn in_time<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Status> {
    let answer = timeout(TIMEOUT, call).await;
    let answer = answer.map_err(|_| Status::deadline_exceeded(format!("no answer within {TIMEOUT:?}")))?;
    answer.map(Response::into_inner)
}
