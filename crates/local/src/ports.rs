//! Ports on loopback: chosen once, kept while they are free.

use std::collections::HashSet;
use std::net::{Ipv4Addr, TcpListener};

use anyhow::Context as _;
use rand::RngExt as _;

use crate::record::{Member, Record};

/// The range of ports. It lies below the one from which the system takes ports for outgoing connections,
/// so that a port that is free now isn't gone a moment later.
const RANGE: std::ops::Range<u16> = 10_000..32_000;
const ATTEMPTS: usize = 1000;

/// Chooses ports that are free now for every member. Those that it had are kept where possible. Returns the
/// ports that another program has by now.
pub(crate) fn choose(record: &mut Record) -> anyhow::Result<Vec<u16>> {
    choose_among(record, is_free, is_free)
}

/// Gives the members ports one after the other, of which this is the first.
pub(crate) fn choose_from(record: &mut Record, first: u16) -> anyhow::Result<()> {
    let places: Vec<&mut u16> = record.members.iter_mut().flat_map(Member::ports_mut).collect();
    let last = usize::from(first) + places.len() - 1;
    anyhow::ensure!(
        u16::try_from(last).is_ok(),
        "the ports {first} to {last} are asked for, and the last is 65535"
    );
    for (port, place) in (first..).zip(places) {
        anyhow::ensure!(is_free(port), "port {port} of 127.0.0.1 is taken, of the ports {first} to {last}");
        *place = port;
    }
    Ok(())
}

/// Chooses ports for the members that have none; the others may be using theirs.
pub(crate) fn choose_missing(record: &mut Record) -> anyhow::Result<()> {
    choose_among(record, |_| true, is_free).map(drop)
}

fn choose_among(
    record: &mut Record,
    is_kept: impl Fn(u16) -> bool,
    is_free: impl Fn(u16) -> bool,
) -> anyhow::Result<Vec<u16>> {
    let mut ports: Vec<&mut u16> = record.members.iter_mut().flat_map(Member::ports_mut).collect();
    let (mut taken, mut lost) = (HashSet::new(), Vec::new());
    for port in &mut ports {
        if **port != 0 && !(is_kept(**port) && taken.insert(**port)) {
            lost.push(**port);
            **port = 0;
        }
    }
    let mut rng = rand::rng();
    for port in ports.into_iter().filter(|port| **port == 0) {
        *port = std::iter::repeat_with(|| rng.random_range(RANGE))
            .take(ATTEMPTS)
            .find(|port| !taken.contains(port) && is_free(*port))
            .context("there is no free port on 127.0.0.1")?;
        taken.insert(*port);
    }
    Ok(lost)
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

#[cfg(test)]
mod tests {
    use skv_sharding::GroupId;

    use super::*;
    use crate::record::Shape;

    const GROUPS: [GroupId; 2] = [GroupId(0), GroupId(1)];

    fn ports(record: &mut Record) -> Vec<u16> {
        record.members.iter_mut().flat_map(Member::ports_mut).map(|port| *port).collect()
    }

    #[test]
    fn ports_are_kept_unless_somebody_else_has_one() {
        let yaml = "{apiVersion: shardedkv.io/v1alpha1, kind: ShardedKV, metadata: {name: demo}}";
        let mut record = Record::new(Shape::of(&skv_resource::parse(yaml).unwrap()), &GROUPS.into());
        choose_among(&mut record, |_| true, |_| true).unwrap();
        let first = ports(&mut record);
        let different: HashSet<&u16> = first.iter().collect();
        assert_eq!((first.len(), different.len()), (20, 20));

        choose_among(&mut record, |_| true, |_| true).unwrap();
        assert_eq!(ports(&mut record), first);

        let not_the_fourth = |port| port != first[3];
        assert_eq!(choose_among(&mut record, not_the_fourth, not_the_fourth).unwrap(), [first[3]]);
        let second = ports(&mut record);
        assert_ne!(second[3], first[3]);
        assert_eq!(second.iter().zip(&first).filter(|(a, b)| a != b).count(), 1);

        assert!(choose_among(&mut record, |_| false, |_| false).is_err());
    }

    #[test]
    fn a_new_group_gets_ports_and_takes_none_from_those_that_run() {
        let yaml = "{apiVersion: shardedkv.io/v1alpha1, kind: ShardedKV, metadata: {name: demo}}";
        let shape = Shape::of(&skv_resource::parse(yaml).unwrap());
        // The servers of g1, which come last, run already.
        let mut record = Record::new(shape, &[GROUPS[1]].into());
        choose_among(&mut record, |_| true, |_| true).unwrap();
        let running = ports(&mut record);
        record.have_groups(&GROUPS.into());
        let in_use: HashSet<u16> = running.iter().copied().collect();
        choose_among(&mut record, |_| true, |port| !in_use.contains(&port)).unwrap();
        let all = ports(&mut record);
        assert_eq!((&all[..2], &all[11..]), (&running[..2], &running[2..]));
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), 20);
    }

    #[test]
    fn ports_that_are_asked_for_are_given_one_after_the_other() {
        let yaml = "{apiVersion: shardedkv.io/v1alpha1, kind: ShardedKV, metadata: {name: demo}}";
        let mut record = Record::new(Shape::of(&skv_resource::parse(yaml).unwrap()), &GROUPS.into());
        let message = choose_from(&mut record, 65_530).unwrap_err().to_string();
        assert!(message.contains("65530 to 65549"), "{message}");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let taken = listener.local_addr().unwrap().port();
        let message = choose_from(&mut record, taken).unwrap_err().to_string();
        assert!(message.starts_with(&format!("port {taken} of 127.0.0.1 is taken")), "{message}");
    }

    #[test]
    fn a_port_with_a_listener_is_not_free() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        assert!(!is_free(listener.local_addr().unwrap().port()));
    }
}
