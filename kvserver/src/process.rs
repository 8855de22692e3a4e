//! The server as a process: its options, log, runtime, real disk and real sockets.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use hickory_resolver::TokioResolver;
use skv_listen::{Listener, Shares};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tracing_subscriber::EnvFilter;

use crate::addresses::Addresses;
use crate::clock::Clock;
use crate::disk::{Disk, FaultyDisk, MemoryDisk, RealDisk};
use crate::metrics::Metrics;
use crate::net;
use crate::options::{LogFormat, Options};
use crate::server::{self, Config};

/// Runs the process until SIGTERM or SIGINT.
pub fn run(options: Options) -> anyhow::Result<()> {
    start_log(options.log_format);
    let mut runtime = skv_client::runtime();
    if let Some(threads) = options.worker_threads {
        runtime.worker_threads(threads.into());
    }
    runtime.build().context("starting the runtime")?.block_on(serve(options))
}

fn start_log(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,openraft=off"));
    let log = tracing_subscriber::fmt().with_env_filter(filter);
    match format {
        LogFormat::Text => log.with_ansi(false).init(),
        LogFormat::Json => log.json().init(),
    }
}

async fn serve(options: Options) -> anyhow::Result<()> {
    let descriptors = skv_listen::raise_limit();
    let shares = Shares::of(descriptors, options.max_connections);
    let groups = options.hosted_groups()?;
    let (mut disk, data_dir): (Arc<dyn Disk>, PathBuf) = match &options.data_dir {
        Some(dir) => (Arc::new(RealDisk::default()), dir.clone()),
        None => (Arc::new(MemoryDisk::default()), PathBuf::from("/")),
    };
    if let Some(faults) = options.disk_faults {
        disk = Arc::new(FaultyDisk::new(disk, faults));
    }
    let _lock = options.data_dir.as_deref().map(lock).transpose()?;

    let metrics = Metrics::new();
    let client = listen("client", options.client_listen, shares.users, &metrics).await?;
    let peer = listen("peer", options.peer_listen, shares.servers, &metrics).await?;
    let http = listen("http", options.http_listen, shares.pages, &metrics).await?;
    let addresses = match &options.peers_srv {
        None => Addresses::fixed(options.peers),
        Some(domain) => {
            let resolver = TokioResolver::builder_tokio().context("reading /etc/resolv.conf")?;
            Addresses::srv(resolver.build().context("making the DNS resolver")?, domain.clone())
        }
    };
    let config = Config {
        server: options.server,
        instance: options.instance.unwrap_or_else(server::random_instance),
        groups,
        client_address: server::advertised(options.client_advertise, client.local_addr()?),
        peer_address: server::advertised(options.peer_advertise, peer.local_addr()?),
        managers: options.shard_manager,
        resolve: net::dns(),
        addresses,
        tuning: options.tuning,
        log_operations: options.log_operations,
        disk,
        data_dir,
        clock: Clock::system(),
        connector: skv_client::tcp(),
        beside: Routes::default(),
        metrics,
    };
    tracing::info!(
        server = config.server,
        client = config.client_address,
        peer = config.peer_address,
        http = %http.local_addr()?,
        descriptors,
        connections = shares.users,
        "the server starts"
    );
    let stop = stop_on_signal()?;
    server::run(config, client.incoming(), Some(peer.incoming()), Some(http), stop).await?;
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

/// Keeps a directory for this process until the file is dropped: two servers would destroy it.
pub fn lock(data_dir: &Path) -> anyhow::Result<File> {
    std::fs::create_dir_all(data_dir).with_context(|| format!("making {}", data_dir.display()))?;
    let path = data_dir.join("lock");
    let file = File::create(&path).with_context(|| format!("opening {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => {
            bail!("{} is in use by another server; stop that one first", data_dir.display())
        }
        Err(std::fs::TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("locking {}", path.display()))
        }
    }
}

/// Cancelled by SIGTERM or SIGINT; a second one ends the process at once.
pub fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = CancellationToken::new();
    let token = stop.clone();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if token.is_cancelled() {
                std::process::exit(1);
            }
            tracing::info!("stopping");
            token.cancel();
        }
    });
    Ok(stop)
}
