//! The effect of more server threads: one group of three servers, started with 1, 2, 4 and 8
//! threads each, under few clients and under many. A table on standard output, and a plot as SVG.
//!
//! `cargo bench -p skv-benches --bench threads -- docs/labs/threads.svg`

#![allow(clippy::expect_used, reason = "a benchmark that can't go on says why")]

use std::collections::BTreeMap;
use std::path::Path;

use plotters::prelude::*;
use serde_json::Value;
use skv_process::{Cluster, Settings};

const THREADS: [u32; 4] = [1, 2, 4, 8];
/// The numbers of clients. The exercise has five; many show the limit of the servers.
const CLIENTS: [u32; 2] = [5, 256];
const MIXES: [&str; 2] = ["put", "get"];
/// The number of rounds. Runs of a round lie close together, so that other work of the machine affects all alike.
const ROUNDS: usize = 5;

/// The varied settings: the requests of the clients, their number, and the threads of each server.
type Case = (&'static str, u32, u32);

#[tokio::main]
async fn main() {
    let plot = std::env::args().skip(1).find(|argument| !argument.starts_with("--"));
    let mut runs: BTreeMap<Case, Vec<Run>> = BTreeMap::new();
    let mut clusters = Vec::new();
    for threads in THREADS {
        let settings = Settings { server_flags: Vec::new(), ..Settings::default() };
        clusters.push((threads, Cluster::start(settings.server_flag("--worker-threads", threads)).await));
    }
    for round in 1..=ROUNDS {
        eprintln!("round {round} of {ROUNDS}");
        for (mix, clients) in MIXES.into_iter().flat_map(|mix| CLIENTS.map(|clients| (mix, clients))) {
            for (threads, cluster) in &clusters {
                let run = Run::of(cluster, mix, clients).await;
                runs.entry((mix, clients, *threads)).or_default().push(run);
            }
        }
    }
    let medians: BTreeMap<Case, Run> =
        runs.into_iter().map(|(case, runs)| (case, Run::median(&runs))).collect();
    print_table(&medians);
    if let Some(plot) = plot {
        draw(&medians, Path::new(&plot)).expect("the plot can be written");
    }
}

/// The results of one run of `skv bench`.
#[derive(Debug, Clone, Copy)]
struct Run {
    per_second: f64,
    p50_us: f64,
    p99_us: f64,
}

impl Run {
    async fn of(cluster: &Cluster, mix: &str, clients: u32) -> Run {
        let clients = clients.to_string();
        let output = cluster
            .skv(&[
                "bench",
                mix,
                "--clients",
                &clients,
                "--transport",
                "unary",
                "--duration",
                "2s",
                "--warmup",
                "500ms",
                "-o",
                "json",
            ])
            .await;
        assert!(output.status.success(), "{output:?}");
        let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
        let number = |value: &Value| value.as_f64().expect("a number");
        Run {
            per_second: number(&report["per_second"]),
            p50_us: number(&report["latency_us"]["p50"]),
            p99_us: number(&report["latency_us"]["p99"]),
        }
    }

    /// Returns each figure's own median.
    fn median(runs: &[Run]) -> Run {
        let of = |figure: fn(&Run) -> f64| {
            let mut figures: Vec<f64> = runs.iter().map(figure).collect();
            figures.sort_by(f64::total_cmp);
            figures[figures.len() / 2]
        };
        Run {
            per_second: of(|run| run.per_second),
            p50_us: of(|run| run.p50_us),
            p99_us: of(|run| run.p99_us),
        }
    }
}

fn print_table(medians: &BTreeMap<Case, Run>) {
    println!(
        "| | clients | threads of each server | operations/s | p50, us | p99, us |\n|---|---|---|---|---|---|"
    );
    for ((mix, clients, threads), run) in medians {
        println!(
            "| {mix} | {clients} | {threads} | {:.0} | {:.0} | {:.0} |",
            run.per_second, run.p50_us, run.p99_us
        );
    }
}

/// Draws operations per second over threads, relative to one thread: a line for each mix and number of clients.
fn draw(medians: &BTreeMap<Case, Run>, path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let lines = MIXES.into_iter().flat_map(|mix| CLIENTS.map(|clients| (mix, clients)));
    let lines: Vec<(String, Vec<(f64, f64)>)> = lines
        .map(|(mix, clients)| {
            let per_second = |threads| medians[&(mix, clients, threads)].per_second;
            let points =
                THREADS.map(|threads| (f64::from(threads).log2(), per_second(threads) / per_second(1)));
            (format!("{mix}, {clients} clients"), points.to_vec())
        })
        .collect();
    let highest = lines.iter().flat_map(|(_, points)| points).map(|(_, ratio)| *ratio).fold(1.0, f64::max);
    let root = SVGBackend::new(path, (720, 420)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption("Operations per second, beside one thread", ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(48)
        .build_cartesian_2d(0.0..3.0, 0.0..highest * 1.1)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(THREADS.len())
        .x_label_formatter(&|log: &f64| format!("{:.0}", log.exp2()))
        .x_desc("threads of each server")
        .draw()?;
    for (index, (name, points)) in lines.into_iter().enumerate() {
        let colour = Palette99::pick(index).mix(1.0);
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(2)).point_size(3))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK).draw()?;
    root.present()?;
    Ok(())
}
