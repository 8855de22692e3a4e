//! The output of commands: tables for people, JSON for programs; colour only on a terminal.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};

use comfy_table::{Table, presets};
use serde::Serialize;

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

/// Returns true if standard output may be coloured.
pub(crate) fn is_coloured() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
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
    let mut out = io::stdout().lock();
    for line in table.lines() {
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// Prints one line.
pub(crate) fn say(line: impl std::fmt::Display) -> anyhow::Result<()> {
    Ok(writeln!(io::stdout(), "{line}")?)
}

/// Prints a value exactly as it is; on a terminal a line end follows.
pub(crate) fn print_value(value: &[u8]) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(value)?;
    if io::stdout().is_terminal() {
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
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
    std::env::var("SKV_COMMAND").unwrap_or_else(|_| "skv".to_owned())
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
            Err(_) => Text::ValueHex(bytes.iter().fold(String::new(), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            })),
        }
    }
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
    fn only_text_is_printed_as_text() {
        let json = |bytes: &[u8]| serde_json::to_string(&Text::from(bytes)).unwrap();
        assert_eq!(json(b"abc"), r#"{"value":"abc"}"#);
        assert_eq!(json(b"\xff\x00"), r#"{"value_hex":"ff00"}"#);
    }
}
