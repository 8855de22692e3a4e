//! The output of a measurement.

use serde::Serialize;
use skv_local::screen::Stream;

use super::keys::{self, Fate};
use super::meter::Meter;
use super::settings::{Args, Mix, Transport};
use crate::fitting::{Cell, Column, Grid};
use crate::outcome::Outcome;
use crate::output::{self, Format};

#[derive(Serialize)]
struct Report {
    mix: Mix,
    transport: Transport,
    clients: Option<u32>,
    rate: Option<u32>,
    keys: u32,
    value_size: usize,
    seconds: f64,
    answered: u64,
    failed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_failure: Option<String>,
    per_second: f64,
    latency_us: Latency,
}

#[derive(Serialize)]
struct Latency {
    mean: f64,
    p50: u64,
    p90: u64,
    p99: u64,
    p999: u64,
    max: u64,
}

pub(super) fn show(args: &Args, meter: &Meter, seconds: f64, fate: &Fate) -> anyhow::Result<Outcome> {
    let report = Report {
        mix: args.mix,
        transport: args.transport,
        clients: args.rate.is_none().then_some(args.clients),
        rate: args.rate,
        keys: args.keys,
        value_size: args.value_size,
        seconds,
        answered: meter.answered(),
        failed: meter.failures(),
        first_failure: meter.first_failure().map(str::to_owned),
        // Stopped before anything was measured, it isn't a number.
        per_second: if seconds > 0.0 { meter.answered() as f64 / seconds } else { 0.0 },
        latency_us: Latency {
            mean: meter.mean(),
            p50: meter.quantile(0.5),
            p90: meter.quantile(0.9),
            p99: meter.quantile(0.99),
            p999: meter.quantile(0.999),
            max: meter.max(),
        },
    };
    output::even_unread(match args.output.format {
        Format::Json => output::print_json(&report),
        Format::Text => print(&report),
    })?;
    if report.answered == 0 && report.failed == 0 {
        output::say_on(
            Stream::Err,
            "no request was answered while it was measured: --duration sets for how long",
        );
    }
    let [first, last] = keys::range(args);
    match fate {
        Fate::Removed => {}
        Fate::Kept if args.output.format == Format::Json => {}
        Fate::Kept => output::say_on(Stream::Out, format_args!("the keys {first} to {last} stay")),
        Fate::Left(error) => output::say_on(
            Stream::Err,
            format_args!("the keys {first} to {last} can't be removed, and stay: {error}"),
        ),
    }
    Ok(if report.failed == 0 && report.answered > 0 { Outcome::Done } else { Outcome::Failed })
}

/// The columns; those that matter least leave a narrow terminal first.
const COLUMNS: [Column; 9] = [
    Column { name: "REQUESTS/S", leaves: 0 },
    Column { name: "ANSWERED", leaves: 3 },
    Column { name: "FAILED", leaves: 0 },
    Column { name: "MEAN", leaves: 2 },
    Column { name: "P50", leaves: 0 },
    Column { name: "P90", leaves: 5 },
    Column { name: "P99", leaves: 0 },
    Column { name: "P99.9", leaves: 1 },
    Column { name: "MAX", leaves: 4 },
];

fn grid(report: &Report) -> Grid<9> {
    let latency = &report.latency_us;
    let mut grid = Grid::new(COLUMNS);
    grid.add_row([
        Cell::new(format_args!("{:.0}", report.per_second)),
        Cell::new(report.answered),
        Cell::new(report.failed),
        Cell::new(milliseconds(latency.mean)),
        Cell::new(milliseconds(latency.p50 as f64)),
        Cell::new(milliseconds(latency.p90 as f64)),
        Cell::new(milliseconds(latency.p99 as f64)),
        Cell::new(milliseconds(latency.p999 as f64)),
        Cell::new(milliseconds(latency.max as f64)),
    ]);
    grid
}

fn print(report: &Report) -> anyhow::Result<()> {
    output::print_grid(&grid(report))?;
    if let Some(failure) = &report.first_failure {
        output::say(format_args!("the first failure: {failure}"))?;
    }
    Ok(())
}

fn milliseconds(micros: f64) -> String {
    format!("{:.2} ms", micros / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_fits_terminals_of_80_and_60_columns() {
        let latency_us =
            Latency { mean: 4060.0, p50: 3000, p90: 7070, p99: 23_520, p999: 28_910, max: 31_260 };
        let report = Report {
            mix: Mix::Put,
            transport: Transport::Stream,
            clients: Some(64),
            rate: None,
            keys: 1,
            value_size: 64,
            seconds: 10.0,
            answered: 2_157_300,
            failed: 0,
            first_failure: None,
            per_second: 215_730.4,
            latency_us,
        };
        let table = |width| grid(&report).lines(Some(width), false).0.join("\n");
        assert_eq!(
            table(80),
            "REQUESTS/S  ANSWERED  FAILED  MEAN     P50      P90      P99       MAX\n\
             215730      2157300   0       4.06 ms  3.00 ms  7.07 ms  23.52 ms  31.26 ms"
        );
        assert_eq!(
            table(60),
            "REQUESTS/S  FAILED  P50      P90      P99       MAX\n\
             215730      0       3.00 ms  7.07 ms  23.52 ms  31.26 ms"
        );
    }
}
