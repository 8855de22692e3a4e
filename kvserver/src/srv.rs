//! Finding servers by SRV records, with the resolver of this machine. Only servers in Kubernetes do that, and a
//! resolver takes minutes to compile: it is behind the feature `kubernetes`.

use skv_net::Addresses;

#[cfg(feature = "kubernetes")]
mod lookup;

/// Returns the addresses of servers that have SRV records in this domain.
#[cfg(feature = "kubernetes")]
pub(crate) fn addresses(domain: String) -> anyhow::Result<Addresses> {
    use anyhow::Context as _;
    use hickory_resolver::TokioResolver;

    let resolver = TokioResolver::builder_tokio().context("reading /etc/resolv.conf")?;
    let resolver = resolver.build().context("making the DNS resolver")?;
    Ok(Addresses::srv(lookup::find(resolver), domain))
}

/// Refuses: there is no resolver in this build.
#[cfg(not(feature = "kubernetes"))]
pub(crate) fn addresses(domain: String) -> anyhow::Result<Addresses> {
    anyhow::bail!(
        "--peers-srv {domain} needs look-ups of SRV records, and this kvserver was built without them: \
         build it with its feature `kubernetes`"
    )
}
