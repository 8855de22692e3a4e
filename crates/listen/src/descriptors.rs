//! The number of a process's descriptors, and their uses.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The number of users' connections that a process takes by default: each has buffers, too.
pub const MOST_CONNECTIONS: u32 = 10_000;

/// The part of the descriptors for files, and for connections that the process opens itself.
const FOR_FILES: u64 = 4;
/// The part for connections of other servers.
const FOR_SERVERS: u64 = 8;
/// The part for probes and for readers of metrics.
const FOR_PAGES: u64 = 16;
/// The upper limit of the descriptors that are set aside for files: the segments of logs beside large
/// snapshots are some hundreds.
const MOST_FILES: u64 = 4096;
const MOST_SERVERS: u64 = 1024;
const MOST_PAGES: u64 = 64;

/// Raises the soft limit of open descriptors to the hard one. Returns the limit that holds.
///
/// The soft limit is 1024 in many places for the sake of programs that use `select`, which can't
/// deal with more; ours don't.
pub fn raise_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // None means that there is no limit.
    if current.is_some_and(|current| maximum.is_none_or(|maximum| current < maximum))
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
    {
        tracing::warn!(%error, ?current, ?maximum, "the limit of open files can't be raised");
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// The number of connections that each kind of listener takes, so that descriptors are left for the
/// rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shares {
    /// The connections of users.
    pub users: usize,
    /// The connections of other servers.
    pub servers: usize,
    /// The connections of probes, and of readers of metrics.
    pub pages: usize,
}

impl Shares {
    /// Shares out `descriptors`, with at most `wanted` connections of users.
    pub fn of(descriptors: u64, wanted: u32) -> Shares {
        let part = |part: u64, most: u64| (descriptors / part).clamp(1, most);
        let (servers, pages) = (part(FOR_SERVERS, MOST_SERVERS), part(FOR_PAGES, MOST_PAGES));
        let left = descriptors.saturating_sub(servers + pages + part(FOR_FILES, MOST_FILES));
        let users = left.clamp(1, u64::from(wanted).max(1));
        Shares { users: users as usize, servers: servers as usize, pages: pages as usize }
    }

    /// Returns the number of connections for a process with one listener for users and servers.
    pub fn users_and_servers(&self) -> usize {
        self.users + self.servers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_a_reserve_whatever_the_limit_is() {
        for descriptors in [64, 256, 1024, 4096, 1 << 20] {
            let Shares { users, servers, pages } = Shares::of(descriptors, u32::MAX);
            let connections = (users + servers + pages) as u64;
            assert!(users > servers && servers > pages && pages > 0);
            assert!(descriptors - connections >= (descriptors / 4).min(MOST_FILES), "{descriptors}");
        }
        assert_eq!(Shares::of(256, MOST_CONNECTIONS), Shares { users: 144, servers: 32, pages: 16 });
    }

    #[test]
    fn users_have_no_more_connections_than_are_wanted() {
        assert_eq!(Shares::of(1 << 20, MOST_CONNECTIONS).users, MOST_CONNECTIONS as usize);
        assert_eq!(Shares::of(1 << 20, 7).users, 7);
        assert_eq!(Shares::of(u64::MAX, 7).users, 7);
    }

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let limit = raise_limit();
        assert_eq!(getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX), limit);
    }
}
