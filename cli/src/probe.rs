//! `skv probe`.

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::Uri;

use crate::outcome::Outcome;
use crate::target::Target;
use crate::{output, process};

const HTTP_PORT: u16 = 80;

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
    let (Some(host), Some("http")) = (page.host(), page.scheme_str()) else {
        bail!("{page} is not of the form http://HOST:PORT/PAGE");
    };
    let address = format!("{host}:{}", page.port_u16().unwrap_or(HTTP_PORT));
    let path = page.path_and_query().map_or("/", |path| path.as_str());
    process::page(&skv_net::tcp(), &address, path).await
}
