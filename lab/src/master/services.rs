//! The master's services beside the shard manager's.

use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use shardmanager::{Manager, Published};
use skv_proto::Error;
use skv_proto::lab::v1::join_response::Answer;
use skv_proto::lab::v1::locator_server::Locator;
use skv_proto::lab::v1::membership_server::Membership;
use skv_proto::lab::v1::{JoinRequest, JoinResponse, LocateRequest, LocateResponse, Place};
use tokio::time::Instant;
use tonic::{Request, Response, Status};

use super::places::{Founded, Places};
use crate::{Port, port_of};

/// Serves servers and clients.
#[derive(Debug, Clone)]
pub(super) struct Services {
    manager: Manager,
    places: Arc<Mutex<Places>>,
    /// The directory in which the servers keep their data.
    directory: String,
}

impl Services {
    pub(super) fn new(manager: Manager, directory: &Path) -> Self {
        Services { manager, places: Arc::default(), directory: directory.display().to_string() }
    }
}

/// Returns the servers whose groups are founded.
fn founded(published: &Published) -> Founded {
    let groups = published.record.groups.iter();
    groups
        .flat_map(|(id, group)| group.servers().filter_map(|server| Some((port_of(server)?, *id))))
        .collect()
}

#[tonic::async_trait]
impl Membership for Services {
    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinResponse>, Status> {
        let number = request.into_inner().port;
        let port = u16::try_from(number).ok().and_then(Port::new);
        let port = port.ok_or_else(|| Error::InvalidArgument(format!("there is no port {number}")))?;
        let founded = self.manager.published().as_deref().map(founded).unwrap_or_default();
        let answer = match self.places.lock().place(&founded, port, Instant::now()) {
            Ok(group) => Answer::Place(Place { group: group.0, directory: self.directory.clone() }),
            Err(full) => Answer::Refusal(full.to_string()),
        };
        Ok(Response::new(JoinResponse { answer: Some(answer) }))
    }
}

#[tonic::async_trait]
impl Locator for Services {
    async fn locate(&self, request: Request<LocateRequest>) -> Result<Response<LocateResponse>, Status> {
        let nobody = || Error::Unavailable("no server has joined yet".to_owned());
        let published = self.manager.published().ok_or_else(nobody)?;
        let located = published.map.locate(&request.get_ref().key);
        let (slot, _) =
            located.map_err(|error| Error::InvalidArgument(error.to_string()))?.ok_or_else(nobody)?;
        let (record, founded) = (&published.record, founded(&published));
        let newest = record.history.newest();
        let owner = newest.owners.get(slot.0 as usize).ok_or_else(nobody)?;
        let index = newest.groups.iter().position(|group| group == owner).ok_or_else(nobody)?;
        let port = founded.iter().find(|(_, group)| *group == owner).map_or(0, |(port, _)| port.get());

        let joining = record.groups.keys().any(|group| !newest.groups.contains(group))
            || self.places.lock().is_waiting(&founded, Instant::now());
        let settled = !joining && !record.moves.contains_key(&slot);
        Ok(Response::new(LocateResponse { shard: index as u32 + 1, port: port.into(), settled }))
    }
}
