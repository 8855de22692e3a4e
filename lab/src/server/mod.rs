//! `svr`: a `kvserver` with one replica of one group, in the place that the master gives it.

mod locator;
mod master;

use std::ffi::OsString;
use std::num::NonZeroU16;
use std::path::Path;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;

use kvserver::server::{self, Config};
use kvserver::{DataLock, Metrics};
use skv_disk::RealDisk;
use skv_disk::clock::Clock;
use skv_listen::{Incoming, Services};
use skv_memory::Budget;
use skv_net::Addresses;
use skv_proto::lab::v1::Place;
use skv_proto::lab::v1::locator_server::LocatorServer;
use skv_replica::Tuning;
use skv_sharding::GroupId;
use skv_startup::stop_on_signal;
use tokio_util::sync::CancellationToken;

use crate::{Port, address, options, process, server_name};
use locator::PassedOn;
use master::Master;

/// A server of a cluster this small has little to log.
const SEGMENT_BYTES: u32 = 4 << 20;

/// The filter of the log: each of thousands of moves would be a line.
const LOG: &str = "info,openraft=off,skv_replica::handoff=warn";

/// Runs `svr` until it is asked to stop.
pub fn svr(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    match process::parse(arguments) {
        Ok(options) => process::run("svr", LOG, run(options)),
        Err(refused) => refused,
    }
}

async fn run(options: options::Server) -> anyhow::Result<ExitCode> {
    let stop = stop_on_signal()?;
    let server = Server { port: options.port, master: Master::new(options.master)?, stop };
    let mut place = server.await_place(None).await?;
    while let Some(given) = place {
        place = server.serve(&given).await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns what a server serves beside the store: it passes questions on to the master at this port.
pub fn server_services(master: NonZeroU16) -> anyhow::Result<Services> {
    Ok(services_of(Master::new(master)?))
}

fn services_of(master: Master) -> Services {
    Services::default().with(LocatorServer::new(PassedOn(master)))
}

/// A server.
struct Server {
    port: Port,
    master: Master,
    stop: CancellationToken,
}

impl Server {
    /// Waits for the first place, or one other than this; `None` when the server is to stop.
    async fn await_place(&self, other_than: Option<&Place>) -> anyhow::Result<Option<Place>> {
        tokio::select! {
            place = self.master.await_place(self.port, other_than) => place.map(Some),
            () = self.stop.cancelled() => Ok(None),
        }
    }

    /// Serves in a place until there is another, or `None`. Another cluster is another directory:
    /// the data of this one is left behind.
    async fn serve(&self, place: &Place) -> anyhow::Result<Option<Place>> {
        let data_dir = Path::new(&place.directory).join(server_name(self.port));
        let listener = process::listen(self.port).await?;
        let _lock = DataLock::take(&data_dir)?;
        let over = self.stop.child_token();
        let config = self.config(place, &data_dir);
        let mut served = pin!(server::run(config, listener.incoming(), None::<Incoming>, None, over.clone()));
        let next = tokio::select! {
            ended = &mut served => match ended {
                Ok(()) => return Ok(None),
                Err(error) => return self.after(error, place).await,
            },
            next = self.await_place(Some(place)) => next?,
        };
        if let Some(next) = &next {
            tracing::info!(
                group = next.group,
                directory = next.directory,
                "there is another place for this server"
            );
        }
        over.cancel();
        if let Err(error) = served.await {
            tracing::warn!(%error, "the place was left with an error");
        }
        Ok(next)
    }

    /// Handles an error. The files of a cluster go with its master: a server that fails then may have another place.
    async fn after(&self, error: server::ServerError, place: &Place) -> anyhow::Result<Option<Place>> {
        tracing::error!(%error, "the server failed");
        let next = self.await_place(None).await?;
        if next.as_ref() == Some(place) { Err(error.into()) } else { Ok(next) }
    }

    fn config(&self, place: &Place, data_dir: &Path) -> Config {
        Config {
            server: server_name(self.port),
            instance: server::random_instance(),
            groups: vec![GroupId(place.group)],
            client_address: address(self.port),
            peer_address: address(self.port),
            managers: vec![self.master.address().to_owned()],
            resolve: skv_net::dns(),
            addresses: Arc::new(Addresses::fixed([])),
            tuning: Tuning { log_segment_bytes: SEGMENT_BYTES, ..Tuning::default() },
            log_operations: false,
            disk: Arc::new(RealDisk::on_one_thread()),
            data_dir: data_dir.to_owned(),
            clock: Clock::system(),
            connector: skv_net::tcp(),
            beside: services_of(self.master.clone()),
            metrics: Metrics::new(),
            memory: Budget::new(None),
        }
    }
}
