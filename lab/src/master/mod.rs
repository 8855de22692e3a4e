//! `master-svr`: the shard manager, which also gives servers their places.

mod home;
mod joins;
mod places;
mod services;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use shardmanager::record::Limits;
use shardmanager::rules::Settings;
use shardmanager::store::FileStore;
use shardmanager::{Environment, Manager};
use skv_proto::lab::v1::locator_server::LocatorServer;
use skv_proto::lab::v1::membership_server::MembershipServer;

use crate::{SHARDING, options, process};
use home::Home;
use services::Services;

/// The time that open calls have to finish once the process is asked to stop.
const GRACE: Duration = Duration::from_secs(2);

/// The filter of the log: each of thousands of moves would be a line.
const LOG: &str = "info,shardmanager=warn";

/// Runs `master-svr` until it is asked to stop.
pub fn master_svr(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    match process::parse(arguments) {
        Ok(options) => process::run("master-svr", LOG, run(options)),
        Err(refused) => refused,
    }
}

async fn run(options: options::Master) -> anyhow::Result<ExitCode> {
    let stop = skv_startup::stop_on_signal()?;
    // The port comes first of all: the process that listens there is the one master of that port.
    let listener = process::listen(options.port).await?;
    let home = Home::open(options.port)?;
    let store = FileStore::open(&home.path().join("master"))?.on_one_thread();
    let environment = Environment::new(skv_disk::entropy::random_id);
    let manager = Manager::open(settings(), Arc::new(store), environment).await?;
    let beside = master_services(manager.clone(), home.path());
    tracing::info!(port = options.port, directory = %home.path().display(), "the master serves");

    tokio::spawn(joins::run(manager.clone()));
    let incoming = listener.incoming();
    tokio::select! {
        ended = shardmanager::serve_beside(beside, manager, None, incoming, stop.clone().cancelled_owned()) => ended?,
        () = async { stop.cancelled().await; tokio::time::sleep(GRACE).await } => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns what a master serves beside the shard manager, for servers that keep their data in this directory.
pub fn master_services(manager: Manager, directory: &Path) -> skv_listen::Services {
    let places = Services::new(manager, directory);
    let services = skv_listen::Services::default();
    services.with(MembershipServer::new(places.clone())).with(LocatorServer::new(places))
}

/// The first server has everything; the others join.
fn settings() -> Settings {
    let (shards, hash, policy) = SHARDING;
    Settings { groups: 1, replicas: 1, shards, hash, policy, ring: false, limits: Limits::DEFAULT }
}
