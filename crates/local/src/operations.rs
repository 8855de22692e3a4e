//! The users' operations, which servers log with input and result under `logOperations`: these lines are
//! shown as they are written.

use std::io::SeekFrom;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::fs::File;
use tokio::io::{AsyncBufReadExt as _, AsyncSeekExt as _, BufReader};
use tokio::time::sleep;

use crate::screen::Screen;

const POLL: Duration = Duration::from_millis(100);

/// Shows the operations that a server logs from now on.
pub(crate) async fn follow(name: String, log: PathBuf, screen: Screen) {
    let from = tokio::fs::metadata(&log).await.map_or(0, |metadata| metadata.len());
    let mut reader = loop {
        match File::open(&log).await {
            Ok(file) => break BufReader::new(file),
            Err(_) => sleep(POLL).await,
        }
    };
    if reader.seek(SeekFrom::Start(from)).await.is_err() {
        return;
    }
    let mut line = String::new();
    loop {
        match reader.read_line(&mut line).await {
            // The log ends here for now, perhaps in the middle of a line.
            Ok(_) if !line.ends_with('\n') => {
                sleep(POLL).await;
                if is_behind_the_end(&mut reader, &log).await {
                    line.clear();
                    let _ = reader.seek(SeekFrom::Start(0)).await;
                }
            }
            Ok(_) => {
                if is_operation(&line) {
                    screen.say(&format!("{name} {}", line.trim_end()));
                }
                line.clear();
            }
            // The line isn't UTF-8: not a line of ours.
            Err(_) => line.clear(),
        }
    }
}

/// Returns true if the log was emptied, and begins again.
async fn is_behind_the_end(reader: &mut BufReader<File>, log: &Path) -> bool {
    match (reader.stream_position().await, tokio::fs::metadata(log).await) {
        (Ok(position), Ok(metadata)) => position > metadata.len(),
        _ => false,
    }
}

/// Returns true for a line about an operation: servers log them under the target `operation`, as text or
/// as JSON.
fn is_operation(line: &str) -> bool {
    line.contains(" operation: ") || line.contains(r#""target":"operation""#)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_told_from_other_lines() {
        assert!(is_operation("2026-01-01T00:00:00Z  INFO operation: Put key=\"a\""));
        assert!(is_operation(r#"{"timestamp":"..","level":"INFO","fields":{},"target":"operation"}"#));
        assert!(!is_operation("2026-01-01T00:00:00Z  INFO kvserver::raft: became leader"));
    }
}
