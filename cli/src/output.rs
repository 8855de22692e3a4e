//! The output of commands: tables for people, JSON for programs; colour only on a terminal.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal as _, Write as _};

use comfy_table::{Table, presets};
use serde::Serialize;
use skv_local::screen::Stream;

use crate::fitting::Grid;
use crate::name::Name;

/// The form of a command's output.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// `-o`, for the commands that have it.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Output {
    /// The form of the output.
    #[arg(short = 'o', long = "output", value_enum, default_value_t)]
    pub(crate) format: Format,
}

impl Format {
    /// Returns the stream for lines about progress: a document for programs is alone on standard output.
    pub(crate) fn progress(self) -> Stream {
        match self {
            Format::Text => Stream::Out,
            Format::Json => Stream::Err,
        }
    }
}

/// The reader of the output has gone: no failure for a command whose whole result is its output.
#[derive(Debug)]
pub(crate) struct Unread;

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nobody reads the output")
    }
}

impl std::error::Error for Unread {}

/// Returns the result of printing. Only here a closed pipe becomes [`Unread`]: one to anybody else is a failure.
pub(crate) fn printed(result: io::Result<()>) -> anyhow::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Unread.into()),
        result => Ok(result?),
    }
}

/// Returns the result of printing for a command that goes on, or has another result, if nobody reads it.
pub(crate) fn even_unread(result: anyhow::Result<()>) -> anyhow::Result<()> {
    result.or_else(|error| if error.is::<Unread>() { Ok(()) } else { Err(error) })
}

/// Prints a line about progress. If nobody reads it any more, that is no reason to stop.
pub(crate) fn say_on(stream: Stream, line: impl fmt::Display) {
    let _ = match stream {
        Stream::Out => writeln!(io::stdout(), "{line}"),
        Stream::Err => writeln!(io::stderr(), "{line}"),
    };
}

/// Returns true if standard output may be coloured.
pub(crate) fn is_coloured() -> bool {
    wants_colour(io::stdout().is_terminal())
}

/// Returns true if a stream may be coloured. An empty variable counts as unset.
pub(crate) fn wants_colour(is_terminal: bool) -> bool {
    is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Returns the number of columns of the terminal; `None` if standard output isn't one.
pub(crate) fn width() -> Option<usize> {
    Table::new().width().map(usize::from)
}

/// Returns the number of columns of the terminal on which progress is shown; `None` if standard error isn't
/// one. Three are kept free: a `^C` at the end of a full line would begin another one, and the bar above
/// it would stay.
pub(crate) fn bar_width() -> Option<usize> {
    let mut table = Table::new();
    table.use_stderr();
    table.width().map(|width| usize::from(width).saturating_sub(KEPT_FREE))
}

const KEPT_FREE: usize = 3;

/// Prints a table of the columns that fit.
pub(crate) fn print_grid<const N: usize>(grid: &Grid<N>) -> anyhow::Result<()> {
    grid_lines(grid).iter().try_for_each(say)
}

/// Returns the lines of a table of the columns that fit.
pub(crate) fn grid_lines<const N: usize>(grid: &Grid<N>) -> Vec<String> {
    let (mut lines, left_out) = grid.lines(width(), is_coloured());
    if !left_out.is_empty() {
        lines.push(format!("(no room for {})", left_out.join(", ")));
    }
    lines
}

/// A table without lines, in colour only where that is wanted.
pub(crate) fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    if !is_coloured() {
        table.force_no_tty();
    }
    table
}

/// Prints a table without blanks at either end of its lines.
pub(crate) fn print_table(mut table: Table) -> anyhow::Result<()> {
    if let Some(first) = table.column_mut(0) {
        first.set_padding((0, 1));
    }
    for line in table.lines() {
        say(line.trim_end())?;
    }
    Ok(())
}

/// Prints one line.
pub(crate) fn say(line: impl fmt::Display) -> anyhow::Result<()> {
    printed(writeln!(io::stdout(), "{line}"))
}

/// Prints a value exactly as it is. On a terminal a line end follows, and what isn't text is escaped: it
/// could be orders to the terminal.
pub(crate) fn print_value(value: &[u8]) -> anyhow::Result<()> {
    if io::stdout().is_terminal() {
        let text = String::from_utf8_lossy(&on_terminal(value)).into_owned();
        say(&text)?;
        if text.as_bytes() != value {
            let _ = writeln!(
                io::stderr(),
                "({} bytes that aren't all text; `> FILE` gets them as they are)",
                value.len()
            );
        }
        Ok(())
    } else {
        print_bytes(value)
    }
}

/// Prints bytes as they are, at once.
pub(crate) fn print_bytes(bytes: &[u8]) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    printed(out.write_all(bytes).and_then(|()| out.flush()))
}

/// Returns a value as a terminal shows it.
fn on_terminal(value: &[u8]) -> Vec<u8> {
    let is_text = |text: &str| text.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\t'));
    match std::str::from_utf8(value) {
        Ok(text) if is_text(text) => value.to_vec(),
        _ => value.escape_ascii().to_string().into_bytes(),
    }
}

/// Returns a number of things: `1 group`, `2 groups`.
pub(crate) fn count(number: impl Into<u64>, thing: &str) -> String {
    match number.into() {
        1 => format!("1 {thing}"),
        number => format!("{number} {thing}s"),
    }
}

/// Prints one JSON document.
pub(crate) fn print_json(document: &impl Serialize) -> anyhow::Result<()> {
    say(serde_json::to_string_pretty(document)?)
}

/// Prints one JSON document as one line, for readers of a stream of documents.
pub(crate) fn print_json_line(document: &impl Serialize) -> anyhow::Result<()> {
    say(serde_json::to_string(document)?)
}

/// Returns the name under which this program was called: a wrapper that runs it sets a variable.
pub(crate) fn this_command() -> String {
    std::env::var("SKV_COMMAND").unwrap_or_else(|_| Name::current().text().to_owned())
}

/// Bytes in JSON: as text where they are text.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Text {
    /// UTF-8.
    Value(String),
    /// Anything else, two hexadecimal digits for each byte.
    ValueHex(String),
}

impl From<&[u8]> for Text {
    fn from(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Text::Value(text.to_owned()),
            Err(_) => Text::ValueHex(hex(bytes)),
        }
    }
}

/// A key in JSON, likewise.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Key {
    /// UTF-8.
    Key(String),
    /// Anything else.
    KeyHex(String),
}

impl From<&[u8]> for Key {
    fn from(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Key::Key(text.to_owned()),
            Err(_) => Key::KeyHex(hex(bytes)),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Returns a number of bytes as text for people.
pub(crate) fn bytes(count: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut amount = count as f64;
    let mut unit = 0;
    while amount >= 1024.0 && unit + 1 < units.len() {
        amount /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{amount:.1} {}", units[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_rounded_for_people() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(64 << 20), "64.0 MiB");
        assert_eq!(bytes(u64::MAX), "16777216.0 TiB");
    }

    #[test]
    fn a_terminal_is_shown_text_alone() {
        let shown = |value: &[u8]| String::from_utf8(on_terminal(value)).unwrap();
        assert_eq!(shown("größer\n\tals 1".as_bytes()), "größer\n\tals 1");
        assert_eq!(shown(b"\xff\x00"), r"\xff\x00");
        assert_eq!(shown(b"\x1b[2J"), r"\x1b[2J");
    }

    #[test]
    fn one_thing_isnt_several() {
        assert_eq!(
            [count(0_u32, "group"), count(1_u32, "group"), count(2_u32, "group")],
            ["0 groups", "1 group", "2 groups"]
        );
    }

    #[test]
    fn only_text_is_printed_as_text() {
        let json = |bytes: &[u8]| serde_json::to_string(&Text::from(bytes)).unwrap();
        assert_eq!(json(b"abc"), r#"{"value":"abc"}"#);
        assert_eq!(json(b"\xff\x00"), r#"{"value_hex":"ff00"}"#);
    }
}
