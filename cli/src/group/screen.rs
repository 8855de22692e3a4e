//! The display while a server revives a group: a live line on a terminal, elsewhere a line for each stage.

use std::time::Duration;

use indicatif::ProgressBar;
use skv_local::screen::Stream;
use skv_proto::v1;
use skv_proto::v1::reset_progress::Stage;

use crate::fitting::squeeze;
use crate::output::{self, Format};

/// Columns that the spinner and its blank take.
const TAKEN: usize = 2;

/// The display of progress.
pub(super) struct Screen {
    /// The group, and the server that revives it.
    of: String,
    /// A spinner on standard error; hidden if that is no terminal.
    bar: ProgressBar,
    /// The last line that was printed instead.
    printed: String,
    /// True if lines may be printed: programs read one document.
    lines: bool,
}

impl Screen {
    pub(super) fn new(of: String, format: Format) -> Screen {
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(Duration::from_millis(100));
        let lines = bar.is_hidden() && format == Format::Text;
        Screen { of, bar, printed: String::new(), lines }
    }

    /// Shows the status of the replica that becomes the whole group.
    pub(super) fn show(&mut self, status: &v1::ReplicaStatus) {
        let width = output::bar_width().map_or(usize::MAX, |width| width.saturating_sub(TAKEN));
        self.bar.set_message(line(&self.of, status, width));
        if self.lines && self.printed != status.problem {
            output::say_on(Stream::Out, format_args!("{}: {}", self.of, status.problem));
            self.printed.clone_from(&status.problem);
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Returns the progress in a line of this width: where it is narrow, without what matters least.
fn line(of: &str, status: &v1::ReplicaStatus, width: usize) -> String {
    let progress = status.reset.unwrap_or_default();
    let (stage, bytes) = match progress.stage() {
        Stage::Reading => ("reads its log", Some(bytes(progress))),
        Stage::Writing => ("writes its state", Some(bytes(progress))),
        Stage::Unspecified | Stage::Ending | Stage::Starting => (status.problem.as_str(), None),
    };
    let mut parts = vec![(2, of.to_owned()), (1, stage.to_owned())];
    parts.extend(bytes.map(|bytes| (0, bytes)));
    squeeze(parts, width)
}

/// Returns the progress of a stage in bytes.
fn bytes(progress: v1::ResetProgress) -> String {
    let done = output::bytes(progress.bytes);
    match progress.of {
        0 => done,
        of => format!("{done} of about {}", output::bytes(of.max(progress.bytes))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(stage: Stage, bytes: u64, of: u64) -> v1::ReplicaStatus {
        let mut reset = v1::ResetProgress { bytes, of, ..v1::ResetProgress::default() };
        reset.set_stage(stage);
        let problem = "it is to be the whole group, and ends its life before".to_owned();
        v1::ReplicaStatus { problem, reset: Some(reset), ..v1::ReplicaStatus::default() }
    }

    #[test]
    fn the_line_fits_terminals_of_80_and_60_columns() {
        let line = |status: &v1::ReplicaStatus, width| line("g0 on quickstart-g0-1", status, width);
        let ending = status(Stage::Ending, 0, 0);
        assert_eq!(
            line(&ending, usize::MAX),
            "g0 on quickstart-g0-1  it is to be the whole group, and ends its life before"
        );
        assert_eq!(line(&ending, 75), "it is to be the whole group, and ends its life before", "80 columns");
        let reading = status(Stage::Reading, 5 << 20, 0);
        assert_eq!(line(&reading, 55), "g0 on quickstart-g0-1  reads its log  5.0 MiB", "60 columns");
        let writing = status(Stage::Writing, 12 << 20, 30 << 20);
        assert_eq!(
            line(&writing, 75),
            "g0 on quickstart-g0-1  writes its state  12.0 MiB of about 30.0 MiB",
            "80 columns"
        );
        assert_eq!(line(&writing, 55), "writes its state  12.0 MiB of about 30.0 MiB", "60 columns");
    }

    #[test]
    fn more_than_was_expected_is_no_more_than_all() {
        let progress = v1::ResetProgress { bytes: 2048, of: 1024, ..v1::ResetProgress::default() };
        assert_eq!(bytes(progress), "2.0 KiB of about 2.0 KiB");
    }
}
