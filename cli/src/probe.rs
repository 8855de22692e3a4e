//! `skv probe`.

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::Uri;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use crate::outcome::Outcome;
use crate::output;
use crate::target::Target;

/// Ask a process how it is, as a browser would, and print what it says.
///
/// The image has no shell and no other program that could.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 the process says that it is well, 1 it doesn't, or isn't there.

Examples:
  skv probe http://localhost:7002/readyz
  skv probe http://skv-operator.skv-operator/metrics
")]
pub(crate) struct Args {
    /// The page: /readyz, /livez or /metrics.
    #[arg(value_name = "http://HOST:PORT/PAGE")]
    page: Uri,
}

pub(crate) async fn run(target: &Target, args: &Args) -> anyhow::Result<Outcome> {
    let limit = target.timeout();
    let answer = tokio::time::timeout(limit, ask(args.page.clone())).await;
    let (status, text) =
        answer.with_context(|| format!("{} didn't answer within {limit:?}", args.page))??;
    if !status.is_success() {
        bail!("{} answers {status}: {}", args.page, String::from_utf8_lossy(&text).trim());
    }
    output::print_value(&text)?;
    Ok(Outcome::Done)
}

async fn ask(page: Uri) -> anyhow::Result<(http::StatusCode, Bytes)> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let answer = client.get(page.clone()).await.with_context(|| format!("can't ask {page}"))?;
    let status = answer.status();
    let body = answer.into_body().collect().await.with_context(|| format!("can't read {page}"))?;
    Ok((status, body.to_bytes()))
}
