//! The output of a measurement.

use comfy_table::{Cell, CellAlignment};
use serde::Serialize;

use super::meter::Meter;
use super::plan::{Args, Mix, Transport};
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

pub(super) fn show(args: &Args, meter: &Meter) -> anyhow::Result<Outcome> {
    let seconds = args.duration.as_secs_f64();
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
        per_second: meter.answered() as f64 / seconds,
        latency_us: Latency {
            mean: meter.mean(),
            p50: meter.quantile(0.5),
            p90: meter.quantile(0.9),
            p99: meter.quantile(0.99),
            p999: meter.quantile(0.999),
            max: meter.max(),
        },
    };
    match args.output.format {
        Format::Json => output::print_json(&report)?,
        Format::Text => print(&report)?,
    }
    Ok(if report.failed == 0 && report.answered > 0 { Outcome::Done } else { Outcome::Failed })
}

fn print(report: &Report) -> anyhow::Result<()> {
    let mut table =
        output::table(["REQUESTS/S", "ANSWERED", "FAILED", "MEAN", "P50", "P90", "P99", "P99.9", "MAX"]);
    let latency = &report.latency_us;
    let cells = [
        format!("{:.0}", report.per_second),
        report.answered.to_string(),
        report.failed.to_string(),
        milliseconds(latency.mean),
        milliseconds(latency.p50 as f64),
        milliseconds(latency.p90 as f64),
        milliseconds(latency.p99 as f64),
        milliseconds(latency.p999 as f64),
        milliseconds(latency.max as f64),
    ];
    table.add_row(cells.map(|text| Cell::new(text).set_alignment(CellAlignment::Right)));
    output::print_table(table)?;
    if let Some(failure) = &report.first_failure {
        output::say(format_args!("the first failure: {failure}"))?;
    }
    Ok(())
}

fn milliseconds(micros: f64) -> String {
    format!("{:.2} ms", micros / 1000.0)
}
