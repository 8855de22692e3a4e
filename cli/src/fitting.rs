//! Tables and lines that fit the terminal: what matters least is left out, and that is said. Pure.

use std::fmt::Write as _;

use comfy_table::Color;

/// The blanks between two columns.
const GAP: usize = 2;

/// A column of a grid.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    /// The turn in which it is left out where there isn't room for all; 0: never.
    pub(crate) leaves: u8,
}

/// Text in a grid.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    text: String,
    colour: Option<Color>,
}

impl Cell {
    pub(crate) fn new(text: impl std::fmt::Display) -> Cell {
        Cell { text: text.to_string(), colour: None }
    }

    /// Returns a cell with `-` where nothing is known.
    pub(crate) fn known<T: std::fmt::Display>(value: Option<T>) -> Cell {
        value.map_or_else(|| Cell::new("-"), Cell::new)
    }

    pub(crate) fn fg(self, colour: Color) -> Cell {
        Cell { colour: Some(colour), ..self }
    }
}

/// A table without lines.
#[derive(Debug)]
pub(crate) struct Grid<const N: usize> {
    columns: [Column; N],
    rows: Vec<[Cell; N]>,
}

impl<const N: usize> Grid<N> {
    pub(crate) fn new(columns: [Column; N]) -> Grid<N> {
        Grid { columns, rows: Vec::new() }
    }

    pub(crate) fn add_row(&mut self, row: [Cell; N]) {
        self.rows.push(row);
    }

    /// Returns the lines of the table in this width, and the names of the columns that have no room.
    pub(crate) fn lines(&self, width: Option<usize>, is_coloured: bool) -> (Vec<String>, Vec<&'static str>) {
        let widths: [usize; N] = std::array::from_fn(|index| {
            let cells = self.rows.iter().map(|row| length(&row[index].text));
            cells.chain([length(self.columns[index].name)]).max().unwrap_or_default()
        });
        let mut kept = [true; N];
        let total = |kept: &[bool; N]| -> usize {
            let shown = (0..N).filter(|index| kept[*index]).map(|index| widths[index] + GAP);
            shown.sum::<usize>().saturating_sub(GAP)
        };
        while width.is_some_and(|width| total(&kept) > width) {
            let may_leave = (0..N).filter(|index| kept[*index] && self.columns[*index].leaves > 0);
            match may_leave.min_by_key(|index| self.columns[*index].leaves) {
                Some(index) => kept[index] = false,
                None => break,
            }
        }
        let header = self.columns.map(|column| Cell::new(column.name));
        let line = |row: &[Cell; N]| {
            let mut line = String::new();
            for index in (0..N).filter(|index| kept[*index]) {
                row[index].write(widths[index], is_coloured, &mut line);
            }
            line.trim_end().to_owned()
        };
        let lines = std::iter::once(&header).chain(&self.rows).map(line).collect();
        let left_out = (0..N).filter(|index| !kept[*index]).map(|index| self.columns[index].name);
        (lines, left_out.collect())
    }
}

impl Cell {
    fn write(&self, width: usize, is_coloured: bool, line: &mut String) {
        let blanks = " ".repeat(width + GAP - length(&self.text).min(width));
        let _ = match self.colour.filter(|colour| is_coloured && *colour != Color::Reset) {
            Some(colour) => write!(line, "\x1b[{}m{}\x1b[0m{blanks}", code(colour), self.text),
            None => write!(line, "{}{blanks}", self.text),
        };
    }
}

/// Returns the code of a bright colour, as terminals count them.
fn code(colour: Color) -> u8 {
    match colour {
        Color::Red => 91,
        Color::Green => 92,
        Color::Yellow => 93,
        Color::Blue => 94,
        Color::Magenta => 95,
        Color::Cyan => 96,
        _ => 39,
    }
}

/// Returns parts of a line, two blanks between them, in as many lines as the width needs.
pub(crate) fn flow(parts: &[String], width: Option<usize>) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for part in parts {
        match lines.last_mut() {
            Some(line) if width.is_none_or(|width| length(line) + GAP + length(part) <= width) => {
                line.push_str("  ");
                line.push_str(part);
            }
            _ => lines.push(part.clone()),
        }
    }
    lines
}

/// Returns one line of the parts that fit: of those that don't, the one with the highest number is left out
/// first.
pub(crate) fn squeeze(mut parts: Vec<(u8, String)>, width: usize) -> String {
    loop {
        let texts: Vec<&str> = parts.iter().map(|(_, text)| text.as_str()).collect();
        let line = texts.join("  ");
        let last = parts.iter().enumerate().max_by_key(|(_, (rank, _))| *rank).map(|(index, _)| index);
        match last {
            Some(index) if length(&line) > width && parts.len() > 1 => _ = parts.remove(index),
            _ => return line.chars().take(width).collect(),
        }
    }
}

fn length(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid() -> Grid<4> {
        let column = |name, leaves| Column { name, leaves };
        let mut grid =
            Grid::new([column("GROUP", 0), column("SERVER", 0), column("TERM", 1), column("DATA", 2)]);
        grid.add_row([Cell::new("g0"), Cell::new("store-g0-0"), Cell::new(7), Cell::new("1.5 MiB")]);
        grid.add_row([
            Cell::new("g0"),
            Cell::new("store-g0-1").fg(Color::Red),
            Cell::known(None::<u64>),
            Cell::new(""),
        ]);
        grid
    }

    #[test]
    fn what_matters_least_is_left_out_of_a_narrow_table() {
        let wide = "GROUP  SERVER      TERM  DATA\ng0     store-g0-0  7     1.5 MiB\ng0     store-g0-1  -";
        let all = |width| {
            let (lines, left_out) = grid().lines(width, false);
            (lines.join("\n"), left_out)
        };
        assert_eq!(all(None), (wide.to_owned(), vec![]));
        assert_eq!(all(Some(32)), (wide.to_owned(), vec![]));
        let narrow = "GROUP  SERVER      DATA\ng0     store-g0-0  1.5 MiB\ng0     store-g0-1";
        assert_eq!(all(Some(31)), (narrow.to_owned(), vec!["TERM"]));
        let narrowest = "GROUP  SERVER\ng0     store-g0-0\ng0     store-g0-1";
        assert_eq!(all(Some(5)), (narrowest.to_owned(), vec!["TERM", "DATA"]));
    }

    #[test]
    fn colours_take_no_room() {
        let (lines, _) = grid().lines(Some(80), true);
        assert_eq!(lines[2], "g0     \x1b[91mstore-g0-1\x1b[0m  -");
    }

    #[test]
    fn a_long_line_is_broken_between_its_parts() {
        let parts = ["store a".to_owned(), "240 shards".to_owned(), "2 groups".to_owned()];
        assert_eq!(flow(&parts, None), ["store a  240 shards  2 groups"]);
        assert_eq!(flow(&parts, Some(20)), ["store a  240 shards", "2 groups"]);
    }

    #[test]
    fn a_line_of_progress_keeps_what_matters_most() {
        let parts = || {
            vec![
                (0, "20/120 shards".to_owned()),
                (2, "27.0 MiB/147.8 MiB".to_owned()),
                (1, "8.0 MiB/s".to_owned()),
            ]
        };
        assert_eq!(squeeze(parts(), 60), "20/120 shards  27.0 MiB/147.8 MiB  8.0 MiB/s");
        assert_eq!(squeeze(parts(), 30), "20/120 shards  8.0 MiB/s");
        assert_eq!(squeeze(parts(), 6), "20/120");
    }
}
