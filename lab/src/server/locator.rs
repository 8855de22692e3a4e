//! Passes the question for a key's place on to the master: a client that asks a server directly
//! needn't know the master.

use skv_proto::Error;
use skv_proto::lab::v1::locator_server::Locator;
use skv_proto::lab::v1::{LocateRequest, LocateResponse};
use tonic::{Request, Response, Status};

use super::master::Master;

/// Asks this master.
#[derive(Debug)]
pub(super) struct PassedOn(pub(super) Master);

#[tonic::async_trait]
impl Locator for PassedOn {
    async fn locate(&self, request: Request<LocateRequest>) -> Result<Response<LocateResponse>, Status> {
        let located = self.0.locate(request.into_inner()).await;
        let unanswered = |status: Status| {
            Error::Unavailable(format!("the master at {}: {}", self.0.address(), status.message()))
        };
        Ok(Response::new(located.map_err(unanswered)?))
    }
}
