//! The server as a process: its options, log, runtime, real disk and real sockets.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use skv_disk::clock::Clock;
use skv_disk::{Disk, FaultyDisk, MemoryDisk, RealDisk};
use skv_listen::{Listener, PAGES, Services, Shares};
use skv_memory::Budget;
use skv_net::Addresses;
use skv_startup::LogTo;

use crate::data_lock::DataLock;
use crate::memory;
use crate::metrics::Metrics;
use crate::options::Options;
use crate::server::{self, Config};
use crate::srv;

/// Runs the process until SIGTERM or SIGINT.
pub fn run(options: Options) -> anyhow::Result<()> {
    skv_startup::start_log(options.log_format, LogTo::Stdout, "info,openraft=off");
    memory::avoid_huge_pages();
    let mut runtime = skv_net::runtime();
    if let Some(threads) = options.worker_threads {
        runtime.worker_threads(threads.into());
    }
    runtime.build().context("starting the runtime")?.block_on(serve(options))
}

async fn serve(options: Options) -> anyhow::Result<()> {
    let descriptors = skv_listen::raise_limit();
    let shares = Shares::of(descriptors, options.max_connections);
    let groups = options.hosted_groups()?;
    let in_memory = options.data_dir.is_none().then(MemoryDisk::default);
    let mut disk: Arc<dyn Disk> = match &in_memory {
        Some(disk) => Arc::new(disk.clone()),
        None => Arc::new(RealDisk::default()),
    };
    let data_dir = options.data_dir.clone().unwrap_or_else(|| PathBuf::from("/"));
    let budget = Budget::new(memory::limit(options.memory));
    let tuning = memory::bound_log(options.tuning, &budget, in_memory.as_ref().map(|_| groups.len()));
    tokio::spawn(memory::watch(budget.clone(), in_memory));
    if let Some(faults) = options.disk_faults {
        disk = Arc::new(FaultyDisk::new(disk, faults));
    }
    let lock = options.data_dir.as_deref().map(DataLock::take).transpose()?;

    let metrics = Metrics::new();
    let client = listen("client", options.client_listen, shares.users, &metrics).await?;
    let peer = listen("peer", options.peer_listen, shares.servers, &metrics).await?;
    let http = listen("http", options.http_listen, shares.pages, &metrics).await?.with_silence(PAGES);
    let addresses = match &options.peers_srv {
        None => Addresses::fixed(options.peers),
        Some(domain) => srv::addresses(domain.clone())?,
    };
    let config = Config {
        server: options.server,
        instance: options.instance.unwrap_or_else(server::random_instance),
        groups,
        client_address: server::advertised(options.client_advertise, client.local_addr()?),
        peer_address: server::advertised(options.peer_advertise, peer.local_addr()?),
        managers: options.shard_manager,
        resolve: skv_net::dns(),
        addresses: Arc::new(addresses),
        tuning,
        memory: budget,
        log_operations: options.log_operations,
        disk,
        data_dir,
        clock: Clock::system(),
        connector: skv_net::tcp(),
        beside: Services::default(),
        metrics,
    };
    tracing::info!(
        server = config.server,
        client = config.client_address,
        peer = config.peer_address,
        http = %http.local_addr()?,
        descriptors,
        memory = config.memory.limit(),
        connections = shares.users,
        "the server starts"
    );
    let stop = skv_startup::stop_on_signal().context("waiting for signals")?;
    let gone = async {
        match &lock {
            Some(lock) => lock.until_gone().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        ended = server::run(config, client.incoming(), Some(peer.incoming()), Some(http), stop) => ended?,
        error = gone => return Err(error),
    }
    tracing::info!("the server has stopped");
    Ok(())
}

async fn listen(
    name: &'static str,
    address: SocketAddr,
    limit: usize,
    metrics: &Metrics,
) -> anyhow::Result<Listener> {
    let listener = Listener::bind(name, address, limit, metrics.listener(name)).await;
    listener.with_context(|| format!("the {name} listener can't use {address}"))
}
