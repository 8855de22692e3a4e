//! `skv top`.
//!
//! - `samples`: what a server's metrics say (pure)

mod samples;

use std::time::Duration;

use futures::future::join_all;
use serde::Serialize;
use tokio::time::{Instant, sleep, timeout};

use self::samples::Sample;
use crate::fitting::{Cell, Column, Grid};
use crate::outcome::Outcome;
use crate::output::{self, Format, Output};
use crate::process::{Process, page};
use crate::target::Target;
use crate::watching::{CLEAR, Watching, clears, until_ctrl_c};

/// The time over which operations are counted if none is given.
const EVERY: Duration = Duration::from_secs(2);

/// Show what each server does and holds: operations, data, log and memory.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 all servers answer, 1 not all do.

  OPS/S, FAILED/S   operations with an answer, and without one, in a second
  DATA, LOG         bytes of keys and values, and of what was applied since the
                    newest snapshot, in all groups of the server
  MEMORY, LIMIT     what the process has, and may use

Examples:
  skv top                what happens within two seconds
  skv top --watch        again and again, until Ctrl-C
  skv top --watch=10s
")]
pub(crate) struct Args {
    #[command(flatten)]
    watching: Watching,
    #[command(flatten)]
    output: Output,
}

/// A server for programs.
#[derive(Debug, Serialize)]
#[allow(clippy::struct_field_names, reason = "a field's name is what programs read")]
struct Server {
    server: String,
    answering: bool,
    operations_per_second: Option<f64>,
    failed_per_second: Option<f64>,
    keys: Option<u64>,
    bytes: Option<u64>,
    log_bytes: Option<u64>,
    memory_bytes: Option<u64>,
    memory_limit_bytes: Option<u64>,
    connections: Option<u64>,
}

/// The counters of servers at a time; `None` for one that doesn't answer.
struct Look {
    at: Instant,
    servers: Vec<(String, Option<Sample>)>,
}

pub(crate) async fn run(target: &Target, args: &Args) -> anyhow::Result<Outcome> {
    let (every, format) = (args.watching.watch.unwrap_or(EVERY), args.output.format);
    if args.watching.watch.is_none() {
        let before = look(target).await?;
        sleep(every).await;
        return show(&before, &look(target).await?, format, false);
    }
    until_ctrl_c(watch(target, every, format)).await
}

async fn watch(target: &Target, every: Duration, format: Format) -> anyhow::Result<Outcome> {
    let clears = clears(format);
    let mut before = look(target).await?;
    loop {
        sleep(every).await;
        let now = look(target).await?;
        show(&before, &now, format, clears)?;
        before = now;
    }
}

/// Asks all servers at the same time.
async fn look(target: &Target) -> anyhow::Result<Look> {
    let processes = target.processes().await?;
    let servers = processes.into_iter().filter(|process| !process.is_manager);
    let asked = servers.map(async |server: Process| {
        let answer =
            timeout(target.timeout(), page(target.connector(), &server.http_address, "/metrics")).await;
        let answer = answer.ok().and_then(Result::ok).filter(|(status, _)| status.is_success());
        (server.name, answer.map(|(_, text)| Sample::of(&String::from_utf8_lossy(&text))))
    });
    let servers = join_all(asked).await;
    Ok(Look { at: Instant::now(), servers })
}

fn show(before: &Look, now: &Look, format: Format, clears: bool) -> anyhow::Result<Outcome> {
    let seconds = (now.at - before.at).as_secs_f64();
    let servers: Vec<Server> = now
        .servers
        .iter()
        .map(|(name, sample)| {
            let earlier = before
                .servers
                .iter()
                .find(|(other, _)| other == name)
                .and_then(|(_, sample)| sample.as_ref());
            Server::new(name, earlier, sample.as_ref(), seconds)
        })
        .collect();
    let page = match format {
        Format::Json => serde_json::to_string_pretty(&servers)?,
        Format::Text => lines(&servers).join("\n"),
    };
    let clear = if clears { CLEAR } else { "" };
    output::print_bytes(format!("{clear}{page}\n").as_bytes())?;
    let all_answer = !servers.is_empty() && servers.iter().all(|server| server.answering);
    Ok(if all_answer { Outcome::Done } else { Outcome::Failed })
}

impl Server {
    fn new(name: &str, before: Option<&Sample>, now: Option<&Sample>, seconds: f64) -> Server {
        // A server that began again counts from zero.
        let rate = |count: fn(&Sample) -> u64| {
            let (before, now) = (count(before?), count(now?));
            Some(now.checked_sub(before).unwrap_or(now) as f64 / seconds)
        };
        Server {
            server: name.to_owned(),
            answering: now.is_some(),
            operations_per_second: rate(|sample| sample.operations),
            failed_per_second: rate(|sample| sample.failed),
            keys: now.map(|sample| sample.keys),
            bytes: now.map(|sample| sample.bytes),
            log_bytes: now.map(|sample| sample.log_bytes),
            memory_bytes: now.map(|sample| sample.memory),
            memory_limit_bytes: now.map(|sample| sample.memory_limit).filter(|limit| *limit > 0),
            connections: now.map(|sample| sample.connections),
        }
    }
}

fn lines(servers: &[Server]) -> Vec<String> {
    let column = |name, leaves| Column { name, leaves };
    let mut grid = Grid::new([
        column("SERVER", 0),
        column("OPS/S", 0),
        column("FAILED/S", 5),
        column("KEYS", 2),
        column("DATA", 4),
        column("LOG", 3),
        column("MEMORY", 0),
        column("LIMIT", 6),
        column("CONNECTIONS", 1),
    ]);
    let rate = |rate: Option<f64>| Cell::known(rate.map(|rate| format!("{rate:.0}")));
    let bytes = |bytes: Option<u64>| Cell::known(bytes.map(output::bytes));
    for server in servers {
        grid.add_row([
            Cell::new(&server.server),
            rate(server.operations_per_second),
            rate(server.failed_per_second),
            Cell::known(server.keys),
            bytes(server.bytes),
            bytes(server.log_bytes),
            bytes(server.memory_bytes),
            bytes(server.memory_limit_bytes),
            Cell::known(server.connections),
        ]);
    }
    output::grid_lines(&grid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_over_the_time_between_two_looks() {
        let before = Sample { operations: 100, failed: 5, ..Sample::default() };
        let now = Sample { operations: 300, failed: 1, memory_limit: 9, ..Sample::default() };
        let server = Server::new("kv-g0-0", Some(&before), Some(&now), 2.0);
        assert_eq!(server.operations_per_second, Some(100.0));
        // It began again meanwhile.
        assert_eq!(server.failed_per_second, Some(0.5));
        assert_eq!(server.memory_limit_bytes, Some(9));
        let silent = Server::new("kv-g0-1", Some(&before), None, 2.0);
        assert_eq!((silent.answering, silent.operations_per_second, silent.bytes), (false, None, None));
    }
}
