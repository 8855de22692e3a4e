//! The options that name a Kubernetes cluster and a namespace in it, as kubectl has them.

use std::path::PathBuf;

use clap::ValueHint;

/// A namespace of a cluster.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Store in Kubernetes")]
#[cfg_attr(not(feature = "kubernetes"), allow(dead_code, reason = "refused as a whole then"))]
pub(crate) struct Options {
    /// The namespace of the store; the command is then about a store in Kubernetes, whose resource --store
    /// names [default: that of the context].
    #[arg(long, global = true, value_name = "NAME", value_hint = ValueHint::Other)]
    pub(crate) namespace: Option<String>,
    /// The context of the kubeconfig, likewise [default: the current one].
    #[arg(long, global = true, value_name = "NAME", value_hint = ValueHint::Other)]
    pub(crate) context: Option<String>,
    /// The file that has the contexts, likewise [default: that of KUBECONFIG, or ~/.kube/config].
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) kubeconfig: Option<PathBuf>,
}
