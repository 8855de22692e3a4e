//! The display while shards move: a live line on a terminal, elsewhere a line from time to time.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use skv_local::screen::Stream;
use tokio::time::Instant;

use super::moves::{End, Moves};
use super::speed::Speed;
use crate::duration::about;
use crate::fitting::squeeze;
use crate::output::{self, Format};

/// The time between two lines if there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(2);

/// The display of progress.
pub(super) struct Screen {
    /// A bar on standard error; hidden if that is no terminal.
    bar: ProgressBar,
    /// The last line that was printed instead, with its time.
    printed: Option<(String, Instant)>,
    /// True if lines may be printed: programs read one document.
    lines: bool,
    stream: Stream,
}

/// The width of the bar, and of a terminal that has room for it.
const BAR: usize = 20;
const WIDE: usize = 100;
/// Columns that the bar, its blanks and the spinner take.
const TAKEN: usize = 3;

impl Screen {
    pub(super) fn new(format: Format, stream: Stream) -> Screen {
        let bar = ProgressBar::no_length();
        let template = match output::bar_width() {
            Some(width) if width < WIDE => "{spinner:.cyan} {msg}",
            _ => "{spinner:.cyan} {bar:20.cyan} {msg}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        let lines = bar.is_hidden() && format == Format::Text;
        Screen { bar, printed: None, lines, stream }
    }

    /// Shows the progress of the moves, and the reason why some don't progress, if it is known.
    pub(super) fn show(&mut self, moves: &Moves, speed: &Speed, problem: Option<&str>) {
        if self.lines {
            self.print(line(moves, speed, problem, usize::MAX));
        } else {
            let width = output::bar_width().map_or(usize::MAX, |width| match width {
                WIDE.. => width - TAKEN - BAR,
                _ => width.saturating_sub(TAKEN),
            });
            let line = line(moves, speed, problem, width);
            let (came, all) = share(moves);
            self.bar.set_length(all);
            self.bar.set_position(came);
            self.bar.set_message(line);
        }
    }

    /// Prints a new line, not too often.
    fn print(&mut self, line: String) {
        let due = self.printed.as_ref().is_none_or(|(last, at)| *last != line && at.elapsed() >= LINE_EVERY);
        if due {
            output::say_on(self.stream, &line);
            self.printed = Some((line, Instant::now()));
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Returns the share that has arrived, and the total: in bytes if there are any, else in shards.
fn share(moves: &Moves) -> (u64, u64) {
    match moves.bytes() {
        Some(bytes) if bytes > 0 => (moves.came(), bytes),
        _ => (moves.counts().arrived as u64, moves.len() as u64),
    }
}

/// Returns the progress in a line of this width: where it is narrow, without what matters least.
fn line(moves: &Moves, speed: &Speed, problem: Option<&str>, width: usize) -> String {
    let counts = moves.counts();
    let mut parts = vec![(0, format!("{}/{} shards", counts.arrived, moves.len()))];
    if let Some(bytes) = moves.bytes().filter(|bytes| *bytes > 0) {
        parts.push((4, format!("{}/{}", output::bytes(moves.came()), output::bytes(bytes))));
        if let Some(per_second) = speed.per_second() {
            parts.push((3, format!("{}/s", output::bytes(per_second))));
        }
        if let Some(left) = speed.until(bytes.saturating_sub(moves.came())) {
            parts.push((1, format!("{} left", about(left))));
        }
    }
    let stages = [(counts.queued, "queued"), (counts.copying, "copying"), (counts.frozen, "frozen")];
    let stages = stages.iter().filter(|(count, _)| *count > 0);
    let stages: Vec<String> = stages.map(|(count, stage)| format!("{count} {stage}")).collect();
    if !stages.is_empty() {
        parts.push((2, stages.join(", ")));
    }
    parts.extend(problem.map(|problem| (5, problem.to_owned())));
    squeeze(parts, width)
}

/// Returns the last line.
pub(super) fn last_line(end: End, moves: &Moves, elapsed: Duration) -> String {
    let (skv, arrived, all) = (output::this_command(), moves.counts().arrived, moves.len());
    let bytes = moves.bytes().filter(|bytes| *bytes > 0);
    let bytes = bytes.map_or_else(String::new, |bytes| format!(", {},", output::bytes(bytes)));
    match end {
        End::Done if all == 1 => format!("the shard is there{bytes} after {:.1} s", elapsed.as_secs_f64()),
        End::Done => format!("all {all} shards are there{bytes} after {:.1} s", elapsed.as_secs_f64()),
        End::Stopped => format!(
            "{arrived} of {all} shards are there; the others move on without this command, and `{skv} \
             rebalance` shows them again"
        ),
        End::NotWatched => {
            format!("they move without this command; `{skv} rebalance` shows how far they are")
        }
    }
}

/// `1 shard moves`, `7 shards move`.
pub(super) fn to_move(moves: &Moves) -> String {
    match moves.len() {
        1 => "1 shard moves".to_owned(),
        count => format!("{count} shards move"),
    }
}

#[cfg(test)]
mod tests {
    use skv_proto::v1::shard_status::State;
    use skv_sharding::GroupId;

    use super::*;
    use crate::resharding::moves::tests::{planned, says};

    #[test]
    fn the_line_says_how_far_the_moves_are_and_how_long_it_takes() {
        let mut moves = Moves::new(&[planned(0, 0, 1), planned(1, 0, 1), planned(2, 0, 1)]);
        let nothing = Speed::default();
        let line = |moves: &Moves, speed: &Speed, problem| line(moves, speed, problem, usize::MAX);
        assert_eq!(line(&moves, &nothing, None), "0/3 shards  3 queued");
        let silent = Some("g1 can't be asked: it is away");
        assert_eq!(line(&moves, &nothing, silent), "0/3 shards  3 queued  g1 can't be asked: it is away");
        let mut speed = Speed::default();
        speed.sample(Duration::ZERO, 0);
        let of_g0 = [(0, State::Frozen), (1, State::Copying), (2, State::Queued)];
        moves.hear(GroupId(0), &of_g0.map(|(shard, state)| says(shard, state, 1, 10 << 20)));
        moves.hear(GroupId(1), &[says(0, State::Arriving, 1, 6 << 20)]);
        speed.sample(Duration::from_secs(3), moves.came());
        assert_eq!(
            line(&moves, &speed, None),
            "0/3 shards  6.0 MiB/30.0 MiB  2.0 MiB/s  about 12 s left  1 queued, 1 copying, 1 frozen"
        );
        assert_eq!(share(&moves), (6 << 20, 30 << 20));
        let narrow = |width| super::line(&moves, &speed, None, width);
        assert_eq!(
            narrow(77),
            "0/3 shards  2.0 MiB/s  about 12 s left  1 queued, 1 copying, 1 frozen",
            "80 columns"
        );
        assert_eq!(narrow(57), "0/3 shards  about 12 s left", "60 columns");
    }

    #[test]
    fn in_the_end_it_says_what_happens_without_the_command() {
        let moves = Moves::new(&[planned(0, 0, 1)]);
        let line = |end| last_line(end, &moves, Duration::from_millis(1500));
        assert!(line(End::Stopped).starts_with("0 of 1 shards are there; the others move on"));
        assert_eq!(line(End::Done), "the shard is there after 1.5 s");
    }
}
