//! Histories as files: one event as JSON per line, so that other checkers can read them.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::Event;

/// A history that can't be written or read.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The file can't be used.
    #[error("history {}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A line isn't an event.
    #[error("history {} line {line}: {source}", .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line's number, from 1.
        line: usize,
        /// The reason.
        source: serde_json::Error,
    },
}

/// Writes a history; many clients may share it.
#[derive(Debug)]
pub struct HistoryWriter {
    path: PathBuf,
    file: Mutex<BufWriter<File>>,
}

impl HistoryWriter {
    /// Begins a new history; an old file of that name is emptied.
    pub fn create(path: impl Into<PathBuf>) -> Result<HistoryWriter, HistoryError> {
        let path = path.into();
        match File::create(&path) {
            Ok(file) => Ok(HistoryWriter { path, file: Mutex::new(BufWriter::new(file)) }),
            Err(source) => Err(HistoryError::Io { path, source }),
        }
    }

    /// Adds one call. Every call belongs into the history, also one without an answer.
    pub fn record(&self, event: &Event) -> Result<(), HistoryError> {
        let write = || -> io::Result<()> {
            let mut line = serde_json::to_vec(event)?;
            line.push(b'\n');
            self.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line)
        };
        write().map_err(|source| HistoryError::Io { path: self.path.clone(), source })
    }

    /// Writes out what is still buffered.
    pub fn flush(&self) -> Result<(), HistoryError> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.flush().map_err(|source| HistoryError::Io { path: self.path.clone(), source })
    }
}

/// Reads a history.
pub fn read_history(path: impl AsRef<Path>) -> Result<Vec<Event>, HistoryError> {
    let path = path.as_ref();
    let io_error = |source| HistoryError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(io_error)?;
    let mut events = Vec::new();
    for (index, line) in BufReader::new(file).lines().enumerate() {
        let line = line.map_err(io_error)?;
        if line.trim().is_empty() {
            continue;
        }
        let event = serde_json::from_str(&line).map_err(|source| HistoryError::Line {
            path: path.to_owned(),
            line: index + 1,
            source,
        })?;
        events.push(event);
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_is_read_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("history.jsonl");
        let events = vec![
            Event::get(1, "k", 5).got("", 0, 9),
            Event::put(2, "k", "v\n\"", 6).if_revision(0).stored(true, 1, 10),
            Event::append(1, "k", "w", 11).appended("v", true, 2, 12),
            Event::delete(1, "k", 13).deleted(true, true, 0, 14),
            Event::append(1, "k", "x", 15),
            Event::put(1, "k", "y", 16).refused(17),
        ];
        let writer = HistoryWriter::create(&path).unwrap();
        for event in &events {
            writer.record(event).unwrap();
        }
        writer.flush().unwrap();
        assert_eq!(read_history(&path).unwrap(), events);
    }

    #[test]
    fn the_format_is_the_documented_one() {
        let event = Event::append(3, "k", "x", 15);
        let text = r#"{"client":3,"op":"append","key":"k","value":"x","call_ns":15,"return_ns":null,"outcome":"unknown"}"#;
        assert_eq!(serde_json::to_string(&event).unwrap(), text);
    }

    #[test]
    fn a_bad_line_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("history.jsonl");
        std::fs::write(&path, "\n{\"client\":1}\n").unwrap();
        let error = read_history(&path).unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("history.jsonl"), "{error}");
    }
}
