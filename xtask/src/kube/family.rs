//! The families of addresses that a cluster can have.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The family of all addresses of a cluster: of nodes, pods and Services.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Family {
    #[default]
    Ipv4,
    Ipv6,
}

impl Family {
    /// Returns its name in Kubernetes.
    pub(super) fn name(self) -> &'static str {
        match self {
            Family::Ipv4 => "IPv4",
            Family::Ipv6 => "IPv6",
        }
    }

    /// Returns the address at which a server listens at all of its addresses.
    pub(super) fn any_address(self) -> IpAddr {
        match self {
            Family::Ipv4 => Ipv4Addr::UNSPECIFIED.into(),
            Family::Ipv6 => Ipv6Addr::UNSPECIFIED.into(),
        }
    }

    /// Returns the range of all addresses.
    pub(super) fn everywhere(self) -> String {
        format!("{}/0", self.any_address())
    }
}
