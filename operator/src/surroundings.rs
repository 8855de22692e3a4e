//! The cluster around the operator, as it finds it when it begins to act.

use anyhow::Context as _;
use kube::Client;
use skv_operator_plan::build::Users;

use crate::options::Options;

/// The file in which Kubernetes tells a pod the domains of its cluster.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// The domain of most clusters.
const USUAL_DOMAIN: &str = "cluster.local";

/// The cluster around the operator.
#[derive(Debug, Clone)]
pub(crate) struct Surroundings {
    /// The domain of the cluster's Services.
    pub(crate) cluster_domain: String,
    /// The users that pods run as, unless a resource says.
    pub(crate) users: Users,
}

impl Surroundings {
    /// Asks the API server, and reads what the operator's pod was told.
    pub(crate) async fn find(client: &Client, options: &Options) -> anyhow::Result<Surroundings> {
        let served = client.list_api_groups().await.context("asking which resources the cluster has")?;
        let users = Users::of(served.groups.iter().map(|group| group.name.as_str()));
        let cluster_domain = if let Some(domain) = &options.cluster_domain {
            domain.clone()
        } else {
            // A process outside of a pod has other domains, or none.
            let told = tokio::fs::read_to_string(RESOLV_CONF).await.unwrap_or_default();
            domain_in(&told).unwrap_or(USUAL_DOMAIN).to_owned()
        };
        tracing::info!(cluster_domain, ?users, "the cluster is known");
        Ok(Surroundings { cluster_domain, users })
    }
}

/// Returns the domain of a cluster by the `search` line of a pod, such as
/// `search prod.svc.cluster.local svc.cluster.local cluster.local`.
fn domain_in(resolv_conf: &str) -> Option<&str> {
    let mut lines = resolv_conf.lines().filter_map(|line| line.trim().strip_prefix("search"));
    // The last one counts.
    let domains = lines.next_back()?.split_whitespace().filter_map(|domain| domain.strip_prefix("svc."));
    // A namespace may have the name svc, too.
    domains
        .map(|domain| domain.trim_end_matches('.'))
        .filter(|domain| !domain.is_empty())
        .min_by_key(|d| d.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_domain_is_that_of_all_services() {
        for (resolv_conf, domain) in [
            (
                "search prod.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.0.0.10",
                "cluster.local",
            ),
            (
                "nameserver ::1\nsearch a.svc.k8s.example.com. svc.k8s.example.com. example.com",
                "k8s.example.com",
            ),
            ("search svc.svc.corp svc.corp corp", "corp"),
            ("search svc.old\nsearch a.svc.new svc.new new\noptions ndots:5", "new"),
        ] {
            assert_eq!(domain_in(resolv_conf), Some(domain), "{resolv_conf}");
        }
    }

    #[test]
    fn a_process_outside_of_a_pod_is_told_no_domain() {
        for resolv_conf in ["", "nameserver 1.1.1.1", "search example.com", "search", "search svc."] {
            assert_eq!(domain_in(resolv_conf), None, "{resolv_conf}");
        }
    }
}
