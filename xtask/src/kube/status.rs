//! `cargo xtask kube status`: the clusters that were made here.

use std::path::PathBuf;
use std::process::Command;

use comfy_table::{Table, presets};
use serde::Serialize;
use serde_json::Value;

use super::Cluster;
use super::machine::CLUSTERS;
use crate::command::output;

/// The form of the output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// The status of a cluster.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    index: u8,
    made_of: &'static str,
    /// Empty when the API server doesn't answer.
    nodes: Vec<Node>,
    kubeconfig: PathBuf,
}

#[derive(Debug, Serialize)]
struct Node {
    name: String,
    ready: bool,
    version: String,
}

pub(super) fn run(format: Format) -> anyhow::Result<()> {
    let clusters = (0..CLUSTERS).map(Cluster::new).filter(Cluster::exists);
    let clusters: Vec<_> = clusters.map(|cluster| status(&cluster)).collect::<Result<_, _>>()?;
    match format {
        Format::Json => println!("{}", serde_json::to_string_pretty(&clusters)?),
        Format::Text if clusters.is_empty() => println!("no clusters; `cargo xtask kube up` makes one"),
        Format::Text => print_table(&clusters),
    }
    Ok(())
}

fn status(cluster: &Cluster) -> anyhow::Result<Status> {
    let mut kubectl = cluster.command(&"kubectl".into())?;
    let nodes = nodes(kubectl.args(["get", "nodes", "--output=json", "--request-timeout=5s"]));
    let made_of = match cluster {
        Cluster::Kind(_) => "containers",
        Cluster::Machine(_) => "namespaces",
    };
    // An API server that doesn't answer is a status, not a failure.
    let nodes = nodes.unwrap_or_default();
    Ok(Status { index: cluster.index(), made_of, nodes, kubeconfig: cluster.kubeconfig()? })
}

fn nodes(kubectl: &mut Command) -> anyhow::Result<Vec<Node>> {
    let list: Value = serde_json::from_str(&output(kubectl)?)?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let nodes = list["items"].as_array().into_iter().flatten().map(|node| {
        let conditions = node["status"]["conditions"].as_array();
        let is_ready = |condition: &Value| condition["type"] == "Ready" && condition["status"] == "True";
        Node {
            name: text(&node["metadata"]["name"]),
            ready: conditions.into_iter().flatten().any(is_ready),
            version: text(&node["status"]["nodeInfo"]["kubeletVersion"]),
        }
    });
    Ok(nodes.collect())
}

fn print_table(clusters: &[Status]) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header([
        "INDEX",
        "MADE OF",
        "NODES",
        "READY",
        "VERSION",
        "KUBECONFIG",
    ]);
    for cluster in clusters {
        let ready = cluster.nodes.iter().filter(|node| node.ready).count();
        let version = cluster.nodes.first().map_or("not answering", |node| &node.version);
        table.add_row([
            cluster.index.to_string(),
            cluster.made_of.to_owned(),
            cluster.nodes.len().to_string(),
            ready.to_string(),
            version.to_owned(),
            cluster.kubeconfig.display().to_string(),
        ]);
    }
    for line in table.lines() {
        println!("{}", line.trim());
    }
}
