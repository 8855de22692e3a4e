//! Ports on loopback: chosen once, kept while they are free.

use std::collections::HashSet;
use std::net::{Ipv4Addr, TcpListener};

use anyhow::Context as _;
use rand::RngExt as _;

use super::record::{Member, Record};

/// Below the range from which the system takes ports for outgoing connections, so that a
/// port that is free now isn't gone a moment later.
const RANGE: std::ops::Range<u16> = 10_000..32_000;
const ATTEMPTS: usize = 1000;

/// Gives every member ports that are free now. Those it had are kept where possible.
pub(super) fn choose(record: &mut Record) -> anyhow::Result<()> {
    choose_among(record, is_free)
}

fn choose_among(record: &mut Record, is_free: impl Fn(u16) -> bool) -> anyhow::Result<()> {
    let mut taken = HashSet::new();
    for port in record.members.iter_mut().flat_map(Member::ports_mut) {
        if *port == 0 || taken.contains(port) || !is_free(*port) {
            let mut rng = rand::rng();
            *port = std::iter::repeat_with(|| rng.random_range(RANGE))
                .take(ATTEMPTS)
                .find(|port| !taken.contains(port) && is_free(*port))
                .context("there is no free port on 127.0.0.1")?;
        }
        taken.insert(*port);
    }
    Ok(())
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::up::record::Shape;

    fn ports(record: &mut Record) -> Vec<u16> {
        record.members.iter_mut().flat_map(Member::ports_mut).map(|port| *port).collect()
    }

    #[test]
    fn ports_are_kept_unless_somebody_else_has_one() {
        let yaml = "{apiVersion: shardedkv.io/v1alpha1, kind: ShardedKV, metadata: {name: demo}}";
        let mut record = Record::new(Shape::of(&skv_resource::parse(yaml).unwrap()));
        choose_among(&mut record, |_| true).unwrap();
        let first = ports(&mut record);
        let different: HashSet<&u16> = first.iter().collect();
        assert_eq!((first.len(), different.len()), (20, 20));

        choose_among(&mut record, |_| true).unwrap();
        assert_eq!(ports(&mut record), first);

        choose_among(&mut record, |port| port != first[3]).unwrap();
        let second = ports(&mut record);
        assert_ne!(second[3], first[3]);
        assert_eq!(second.iter().zip(&first).filter(|(a, b)| a != b).count(), 1);

        assert!(choose_among(&mut record, |_| false).is_err());
    }

    #[test]
    fn a_port_with_a_listener_is_not_free() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(!is_free(listener.local_addr().unwrap().port()));
    }
}
