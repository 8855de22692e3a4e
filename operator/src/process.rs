//! The operator as a process: options, log, signals, HTTP, the Lease, and then the work.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use futures::future::join_all;
use kube::{Api, Client, Config};
use rand::Rng as _;
use skv_listen::{Listener, MOST_CONNECTIONS, PAGES, Shares};
use skv_startup::{LogTo, start_log, stop_on_signal};

use crate::api_client;
use crate::controller::control;
use crate::http::routes;
use crate::lease::Candidate;
use crate::metrics::Metrics;
use crate::options::Options;
use crate::surroundings::Surroundings;

/// Runs until SIGTERM or SIGINT; fails when the Lease is lost.
pub async fn run(options: Options) -> anyhow::Result<()> {
    start_log(options.log_format, LogTo::Stderr, "info");
    // One provider for all of TLS; fails only if one was installed before, which then stays.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let descriptors = skv_listen::raise_limit();
    let config = Config::infer().await.context("finding the API server")?;
    let client = api_client::connect(config)?;
    let metrics = Arc::new(Metrics::default());
    let pages = Shares::of(descriptors, MOST_CONNECTIONS).pages;
    let listener = Listener::bind("http", options.http_listen, pages, metrics.listeners.of("http"))
        .await
        .with_context(|| format!("can't listen on {}", options.http_listen))?
        .with_silence(PAGES);
    let candidate = Candidate {
        leases: Api::namespaced(client.clone(), &options.own_namespace),
        lease: options.lease.clone(),
        identity: options.identity.clone().unwrap_or_else(random_identity),
    };
    tracing::info!(identity = candidate.identity, http = %listener.local_addr()?, "the operator starts");
    let signalled = stop_on_signal().context("waiting for signals")?;
    tokio::select! {
        ended = axum::serve(listener, routes(Arc::clone(&metrics))) => ended.context("the HTTP server failed"),
        ended = lead(&candidate, client, &options, metrics) => ended,
        () = signalled.cancelled() => stop(&candidate).await,
    }
}

/// Waits for the Lease, and acts for as long as it is ours.
async fn lead(
    candidate: &Candidate,
    client: Client,
    options: &Options,
    metrics: Arc<Metrics>,
) -> anyhow::Result<()> {
    candidate.acquire().await;
    metrics.leads.set(1);
    tracing::info!(lease = candidate.lease, "the Lease is ours");
    tokio::select! {
        ended = act(client, options, metrics) => ended,
        // Work under way is dropped with the process: another operator may act now.
        () = candidate.hold() => bail!("the Lease {} was lost", candidate.lease),
    }
}

async fn act(client: Client, options: &Options, metrics: Arc<Metrics>) -> anyhow::Result<()> {
    let surroundings = Surroundings::find(&client, options).await?;
    let scopes = match options.namespaces.as_slice() {
        [] => vec![None],
        some => some.iter().cloned().map(Some).collect(),
    };
    let in_scope = |scope| control(client.clone(), scope, options, &surroundings, Arc::clone(&metrics));
    join_all(scopes.into_iter().map(in_scope)).await;
    bail!("the watches ended")
}

async fn stop(candidate: &Candidate) -> anyhow::Result<()> {
    candidate.release().await.context("giving up the Lease")
}

fn random_identity() -> String {
    format!("skv-operator-{:08x}", rand::rng().next_u32())
}
