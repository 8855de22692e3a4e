//! The status as people read it: a table of what fits, and the problems below it.

use comfy_table::Color;
use skv_sharding::GroupId;

use super::document::{Group, Replica, Status};
use crate::fitting::{Cell, Column, Grid, flow};
use crate::output::{self, count};

/// The columns; those that matter least leave a narrow terminal first.
const COLUMNS: [Column; 12] = [
    Column { name: "GROUP", leaves: 0 },
    Column { name: "SHARDS", leaves: 5 },
    Column { name: "SERVER", leaves: 0 },
    Column { name: "ADDRESS", leaves: 6 },
    Column { name: "STATE", leaves: 0 },
    Column { name: "READY", leaves: 0 },
    Column { name: "TERM", leaves: 2 },
    Column { name: "APPLIED", leaves: 3 },
    Column { name: "KEYS", leaves: 8 },
    Column { name: "DATA", leaves: 7 },
    Column { name: "LOG", leaves: 4 },
    Column { name: "SESSIONS", leaves: 1 },
];

pub(super) fn lines(status: &Status) -> Vec<String> {
    let mut lines = flow(&summary(status), output::width());
    lines.extend(output::grid_lines(&grid(status)));
    lines.extend(problems(status));
    lines.extend(former_lives(status));
    lines
}

fn summary(status: &Status) -> Vec<String> {
    let mut parts = Vec::new();
    if let Some(store) = &status.store {
        parts.push(format!("store {}", store.name));
        parts.push(format!("manager {}", store.manager_address));
    }
    parts.extend([
        format!("cluster {}", status.cluster),
        format!("configuration {}", status.configuration),
        format!("{} in {}", count(status.shards, "shard"), count(status.groups.len() as u64, "group")),
    ]);
    parts
}

fn grid(status: &Status) -> Grid<12> {
    let mut grid = Grid::new(COLUMNS);
    for group in &status.groups {
        for replica in &group.replicas {
            let state_colour = match replica.state {
                "leader" => Color::Cyan,
                "follower" => Color::Reset,
                "learner" | "candidate" | "waiting" => Color::Yellow,
                _ => Color::Red,
            };
            let ready_colour = if replica.ready { Color::Green } else { Color::Red };
            grid.add_row([
                Cell::new(group.id),
                Cell::new(group.shards),
                Cell::new(&replica.server),
                Cell::new(&replica.client_address),
                Cell::new(replica.state).fg(state_colour),
                Cell::new(if replica.ready { "yes" } else { "no" }).fg(ready_colour),
                Cell::known(replica.term),
                Cell::known(replica.applied_index),
                Cell::known(replica.keys),
                Cell::known(replica.bytes.map(output::bytes)),
                Cell::known(replica.log_bytes.map(output::bytes)),
                Cell::known(replica.sessions),
            ]);
        }
    }
    grid
}

/// Returns a line for each problem, those of whole groups first.
fn problems(status: &Status) -> Vec<String> {
    let lost: Vec<&Group> = status.groups.iter().filter(|group| group.has_no_majority()).collect();
    let mut lines = Vec::new();
    if !lost.is_empty() {
        let groups: Vec<GroupId> = lost.iter().map(|group| group.id).collect();
        let silent = lost.iter().flat_map(|group| &group.replicas).filter(|replica| replica.is_unreachable());
        let mut silent: Vec<&str> = silent.map(|replica| replica.server.as_str()).collect();
        silent.sort_unstable();
        silent.dedup();
        lines.push(match silent.as_slice() {
            [] => format!("{}: no leader has a majority now", GroupId::list(&groups)),
            servers => {
                format!("{}: no majority: {} can't be reached", GroupId::list(&groups), servers.join(", "))
            }
        });
    }
    let replicas = status.groups.iter().flat_map(|group| group.replicas.iter().map(move |r| (group.id, r)));
    let has_problem = |(_, replica): &(GroupId, &Replica)| !replica.problem.is_empty();
    let problem =
        |(group, replica): (GroupId, &Replica)| format!("{group} {}: {}", replica.server, replica.problem);
    lines.extend(replicas.filter(has_problem).map(problem));
    lines
}

/// Returns a line for each group of which servers keep former lives, and how to remove them.
fn former_lives(status: &Status) -> Vec<String> {
    let kept = |replica: &&Replica| replica.former_bytes.is_some_and(|bytes| bytes > 0);
    let of_group = |group: &Group| {
        let kept: Vec<String> = group
            .replicas
            .iter()
            .filter(kept)
            .map(|replica| {
                let bytes = output::bytes(replica.former_bytes.unwrap_or_default());
                format!("{bytes} in {} of {}", replica.former_dir, replica.server)
            })
            .collect();
        (!kept.is_empty()).then(|| {
            format!(
                "{}: what it had before it was reset is kept: {}; if nobody needs it any more: {} group reset {} \
                 --remove-former",
                group.id,
                kept.join(", "),
                output::this_command(),
                group.id
            )
        })
    };
    status.groups.iter().filter_map(of_group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use skv_sharding::{ClusterId, ReplicaId};

    fn replica(server: &str, state: &'static str) -> Replica {
        let known = |number: u64| (state != "unreachable").then_some(number);
        Replica {
            id: ReplicaId(1),
            server: server.to_owned(),
            client_address: "127.0.0.1:19336".to_owned(),
            peer_address: "127.0.0.1:19337".to_owned(),
            pid: None,
            state,
            ready: state != "unreachable",
            problem: if state == "unreachable" { "it doesn't answer".to_owned() } else { String::new() },
            term: known(2),
            last_log_index: known(5),
            applied_index: known(4),
            keys: known(4753),
            bytes: known(1536),
            sessions: known(3),
            log_bytes: known(1 << 20),
            disk_full: Some(false),
            memory_full: Some(false),
            former_bytes: known(0),
            former_dir: String::new(),
        }
    }

    fn status(states: [&'static str; 3]) -> Status {
        let servers = ["quickstart-g0-0", "quickstart-g0-1", "quickstart-g0-2"];
        let replicas = servers.iter().zip(states).map(|(server, state)| replica(server, state)).collect();
        let quorum = states.contains(&"leader");
        let group = Group { id: GroupId(0), shards: 240, leader: None, quorum, replicas };
        Status { store: None, cluster: ClusterId(7), configuration: 1, shards: 240, groups: vec![group] }
    }

    #[test]
    fn the_table_fits_terminals_of_80_and_60_columns() {
        let status = status(["leader", "follower", "unreachable"]);
        let table = |width| grid(&status).lines(Some(width), false).0.join("\n");
        assert_eq!(
            table(120),
            "GROUP  SHARDS  SERVER           ADDRESS          STATE        READY  TERM  APPLIED  KEYS  DATA     LOG      SESSIONS\n\
             g0     240     quickstart-g0-0  127.0.0.1:19336  leader       yes    2     4        4753  1.5 KiB  1.0 MiB  3\n\
             g0     240     quickstart-g0-1  127.0.0.1:19336  follower     yes    2     4        4753  1.5 KiB  1.0 MiB  3\n\
             g0     240     quickstart-g0-2  127.0.0.1:19336  unreachable  no     -     -        -     -        -        -"
        );
        assert_eq!(
            table(80),
            "GROUP  SERVER           ADDRESS          STATE        READY  KEYS  DATA\n\
             g0     quickstart-g0-0  127.0.0.1:19336  leader       yes    4753  1.5 KiB\n\
             g0     quickstart-g0-1  127.0.0.1:19336  follower     yes    4753  1.5 KiB\n\
             g0     quickstart-g0-2  127.0.0.1:19336  unreachable  no     -     -"
        );
        assert_eq!(
            table(60),
            "GROUP  SERVER           STATE        READY  KEYS  DATA\n\
             g0     quickstart-g0-0  leader       yes    4753  1.5 KiB\n\
             g0     quickstart-g0-1  follower     yes    4753  1.5 KiB\n\
             g0     quickstart-g0-2  unreachable  no     -     -"
        );
    }

    #[test]
    fn what_is_kept_of_former_lives_is_told_with_the_way_to_remove_it() {
        let mut status = status(["leader", "follower", "unreachable"]);
        assert_eq!(former_lives(&status), [""; 0]);
        let replica = &mut status.groups[0].replicas[0];
        (replica.former_bytes, replica.former_dir) = (Some(1 << 20), "/data/former/g0-1".to_owned());
        let lines = former_lives(&status).join("\n");
        assert!(lines.contains("1.0 MiB in /data/former/g0-1 of quickstart-g0-0"), "{lines}");
        assert!(lines.ends_with("group reset g0 --remove-former"), "{lines}");
    }

    #[test]
    fn a_group_without_a_majority_is_told_with_the_servers_that_are_away() {
        assert_eq!(problems(&status(["leader", "follower", "follower"])), [""; 0]);
        assert_eq!(
            problems(&status(["follower", "unreachable", "unreachable"])),
            [
                "g0: no majority: quickstart-g0-1, quickstart-g0-2 can't be reached",
                "g0 quickstart-g0-1: it doesn't answer",
                "g0 quickstart-g0-2: it doesn't answer",
            ]
        );
        assert_eq!(problems(&status(["follower"; 3])), ["g0: no leader has a majority now"]);
    }
}
