//! `skv validate`.

use serde::Serialize;
use skv_local::source::{Described, Source};
use skv_local::unused;

use crate::outcome::Outcome;
use crate::output::{self, Format, Output, count};

/// Judge a manifest, and start nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 the manifest is valid, 1 it isn't.

Examples:
  skv validate -f store.yaml
  helm template ... | skv validate -f -
")]
pub(crate) struct Args {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    output: Output,
}

#[derive(Serialize)]
struct Valid {
    name: String,
    groups: u32,
    replicas: u32,
    shards: u32,
    /// The fields that `skv up` doesn't obey.
    only_on_kubernetes: Vec<String>,
}

pub(crate) fn run(args: Args) -> anyhow::Result<Outcome> {
    let Described { resource, .. } = args.source.read()?;
    let only_on_kubernetes = unused::fields(&resource);
    let (name, spec) = (resource.metadata.name, resource.spec);
    match args.output.format {
        Format::Json => output::print_json(&Valid {
            name,
            groups: spec.groups,
            replicas: spec.replicas,
            shards: spec.shards,
            only_on_kubernetes,
        })?,
        Format::Text => {
            output::say(format_args!(
                "{name} is valid: {}, {} of each, {}",
                count(spec.groups, "group"),
                count(spec.replicas, "replica"),
                count(spec.shards, "shard")
            ))?;
            if !only_on_kubernetes.is_empty() {
                output::say(format_args!("only obeyed on Kubernetes: {}", only_on_kubernetes.join(", ")))?;
            }
        }
    }
    Ok(Outcome::Done)
}
