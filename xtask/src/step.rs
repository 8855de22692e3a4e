//! Steps of a chore that takes long, each with the seconds that it took.

use std::fmt::Display;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use comfy_table::{CellAlignment, Table, presets};

/// The steps that have ended, with their seconds.
static ENDED: Mutex<Vec<(String, u64)>> = Mutex::new(Vec::new());

/// Runs a step, and prints its duration, also when it fails.
#[expect(clippy::disallowed_methods, reason = "nothing here is simulated")]
pub(crate) fn step<T>(name: impl Display, run: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let began = Instant::now();
    let outcome = run();
    let end = if outcome.is_ok() { "done" } else { "failed" };
    let seconds = began.elapsed().as_secs();
    eprintln!("== {name}: {end} after {seconds} s");
    ENDED.lock().unwrap_or_else(PoisonError::into_inner).push((name.to_string(), seconds));
    outcome
}

/// Prints a table of the steps that have ended, in their order.
pub(crate) fn print_summary() {
    eprintln!("\n{}", table(&ENDED.lock().unwrap_or_else(PoisonError::into_inner)));
}

fn table(steps: &[(String, u64)]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["STEP", "SECONDS"]);
    for (name, seconds) in steps {
        table.add_row([name.clone(), seconds.to_string()]);
    }
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_is_listed_with_its_seconds() {
        let steps = [("building".to_owned(), 61), ("the tests in Rust".to_owned(), 5)];
        let text = table(&steps).to_string();
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["STEP", "SECONDS"]);
        assert_eq!(lines[1], ["building", "61"]);
        assert_eq!(lines[2], ["the", "tests", "in", "Rust", "5"]);
    }
}
