//! The remains of a group that lost its majority: what each replica has, and what would be lost if the
//! group were revived from one of them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use skv_proto::v1;
use skv_sharding::{GroupId, Incarnation, ReplicaId};

use crate::admin::{Member, is_leader};
use crate::duration::about;
use crate::fitting::{Cell, Column, Grid};
use crate::output;

/// The columns; those that matter least leave a narrow terminal first.
const COLUMNS: [Column; 8] = [
    Column { name: "", leaves: 0 },
    Column { name: "SERVER", leaves: 0 },
    Column { name: "INCARNATION", leaves: 1 },
    Column { name: "TERM", leaves: 0 },
    Column { name: "INDEX", leaves: 0 },
    Column { name: "COMMITTED", leaves: 2 },
    Column { name: "LAST ENTRY", leaves: 3 },
    Column { name: "DATA", leaves: 0 },
];

/// The remains of a group.
#[derive(Debug, Serialize)]
pub(super) struct Survivors {
    group: GroupId,
    /// The newest incarnation that anybody knows of.
    incarnation: Incarnation,
    /// The index of the last entry that anybody knows to be committed; 0: unknown.
    committed_index: u64,
    /// The server of the replica to revive the group from.
    chosen: String,
    /// The entries that are known to be committed and that the chosen replica lacks: at least these are
    /// lost.
    known_lost: u64,
    replicas: Vec<Survivor>,
}

/// A replica and its log.
#[derive(Debug, Serialize)]
struct Survivor {
    id: ReplicaId,
    server: String,
    /// The reason why it doesn't say what it has.
    #[serde(skip_serializing_if = "String::is_empty")]
    problem: String,
    incarnation: Incarnation,
    last_log_term: u64,
    last_log_index: u64,
    committed_index: u64,
    keys: u64,
    bytes: u64,
    /// The time that its last applied entry carries, in ms since 1970; 0: unknown.
    time_ms: u64,
    former_bytes: u64,
}

impl Survivors {
    /// Looks at the members of a group of which `chosen` is to be the whole.
    pub(super) fn new(known: &v1::Group, newest: u32, members: &[Member], chosen: &Member) -> Self {
        let of_newest = members.iter().filter_map(|member| member.status.as_ref().ok());
        let of_newest = of_newest.filter(|status| status.incarnation == newest);
        let by_manager = if known.incarnation == newest { known.committed } else { 0 };
        let committed = of_newest.map(|status| index(status.committed.as_ref())).fold(by_manager, u64::max);
        let has = chosen.status.as_ref().map_or(0, |status| index(status.last_log.as_ref()));
        Survivors {
            group: GroupId(known.id),
            incarnation: Incarnation(newest),
            committed_index: committed,
            chosen: chosen.replica.server.clone(),
            known_lost: committed.saturating_sub(has),
            replicas: members.iter().map(Survivor::new).collect(),
        }
    }

    /// Prints what is left, and what would be lost.
    pub(super) fn print(&self) -> anyhow::Result<()> {
        output::print_grid(&self.grid(now()))?;
        output::say(match (self.committed_index, self.known_lost) {
            (0, _) => "It isn't known how much had been committed".to_owned(),
            (index, 0) => format!(
                "{} has all that is known to be committed, up to entry {index}; nobody knows what else the others had",
                self.chosen
            ),
            (index, lost) => format!(
                "Entries up to {index} are known to be committed: at least {lost} of them would be lost with {}",
                self.chosen
            ),
        })
    }

    /// Returns the table of the replicas at a time since 1970.
    fn grid(&self, now: Duration) -> Grid<8> {
        let mut grid = Grid::new(COLUMNS);
        for replica in &self.replicas {
            let mark = if replica.server == self.chosen { "*" } else { "" };
            grid.add_row(replica.row(mark, now));
        }
        grid
    }
}

impl Survivor {
    fn new(member: &Member) -> Survivor {
        let status = member.status.as_ref().cloned().unwrap_or_default();
        let last = status.last_log.unwrap_or_default();
        Survivor {
            id: ReplicaId(member.replica.id),
            server: member.replica.server.clone(),
            problem: member.status.as_ref().err().map(|error| format!("{error:#}")).unwrap_or_default(),
            incarnation: Incarnation(status.incarnation),
            last_log_term: last.term,
            last_log_index: last.index,
            committed_index: index(status.committed.as_ref()),
            keys: status.keys,
            bytes: status.bytes,
            time_ms: status.time_ms,
            former_bytes: status.former_bytes,
        }
    }

    fn row(&self, mark: &str, now: Duration) -> [Cell; 8] {
        let answers = self.problem.is_empty();
        let known = |number: u64| Cell::known(answers.then_some(number));
        let data = || format!("{} keys, {}", self.keys, output::bytes(self.bytes));
        [
            Cell::new(mark),
            Cell::new(&self.server),
            Cell::known(answers.then_some(self.incarnation)),
            known(self.last_log_term),
            known(self.last_log_index),
            known(self.committed_index),
            Cell::known(age(self.time_ms, now).map(|age| format!("{} ago", about(age)))),
            // This column is always there.
            Cell::new(if answers { data() } else { "doesn't answer".to_owned() }),
        ]
    }
}

/// Returns the time since 1970.
#[expect(clippy::disallowed_methods, reason = "nothing here is simulated")]
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Returns the age of what happened at a time in ms; `None` if that isn't known, or lies ahead.
fn age(ms: u64, now: Duration) -> Option<Duration> {
    now.checked_sub(Duration::from_millis(ms)).filter(|_| ms > 0)
}

fn index(log_id: Option<&v1::LogId>) -> u64 {
    log_id.map_or(0, |log_id| log_id.index)
}

/// Returns the progress of a replica, to be compared; those that don't answer come first. Logs of an older incarnation are of
/// another history. Within one the term counts before the length: a leader that was deposed may have
/// much that was never acknowledged.
pub(super) fn progress(member: &Member) -> Option<(u32, u64, u64, bool)> {
    let status = member.status.as_ref().ok()?;
    let last = status.last_log.unwrap_or_default();
    Some((status.incarnation, last.term, last.index, is_leader(status)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survivor(server: &str, problem: &str) -> Survivor {
        Survivor {
            id: ReplicaId(1),
            server: server.to_owned(),
            problem: problem.to_owned(),
            incarnation: Incarnation(0),
            last_log_term: 2,
            last_log_index: 4753,
            committed_index: 4750,
            keys: 4753,
            bytes: 1536,
            time_ms: if problem.is_empty() { 60_000 } else { 0 },
            former_bytes: 0,
        }
    }

    #[test]
    fn the_table_fits_terminals_of_80_and_60_columns() {
        let survivors = Survivors {
            group: GroupId(0),
            incarnation: Incarnation(0),
            committed_index: 4750,
            chosen: "quickstart-g0-1".to_owned(),
            known_lost: 0,
            replicas: vec![survivor("quickstart-g0-0", "it is away"), survivor("quickstart-g0-1", "")],
        };
        let table = |width| survivors.grid(Duration::from_secs(72)).lines(Some(width), false).0.join("\n");
        assert_eq!(
            table(120),
            "   SERVER           INCARNATION  TERM  INDEX  COMMITTED  LAST ENTRY      DATA\n   \
             quickstart-g0-0  -            -     -      -          -               doesn't answer\n\
             *  quickstart-g0-1  0            2     4753   4750       about 12 s ago  4753 keys, 1.5 KiB"
        );
        assert_eq!(
            table(80),
            "   SERVER           TERM  INDEX  COMMITTED  LAST ENTRY      DATA\n   \
             quickstart-g0-0  -     -      -          -               doesn't answer\n\
             *  quickstart-g0-1  2     4753   4750       about 12 s ago  4753 keys, 1.5 KiB"
        );
        assert_eq!(
            table(60),
            "   SERVER           TERM  INDEX  DATA\n   \
             quickstart-g0-0  -     -      doesn't answer\n\
             *  quickstart-g0-1  2     4753   4753 keys, 1.5 KiB"
        );
    }
}
