//! The writes of the operator, as the API server has noted them. Its Lease, which it renews all the time, is left out.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;

use anyhow::Context as _;
use serde_json::Value;

/// The writes in a log that grows.
pub(super) struct Writes {
    log: PathBuf,
    /// The number of bytes that were read.
    offset: u64,
    total: u64,
}

impl Writes {
    pub(super) fn in_log(log: PathBuf) -> Writes {
        Writes { log, offset: 0, total: 0 }
    }

    /// Returns the number of writes that were read so far.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Reads on from where it ended the last time.
    pub(super) fn read(&mut self) -> anyhow::Result<()> {
        let text = self.rest().with_context(|| format!("can't read {}", self.log.display()))?;
        // The last line may not be complete yet.
        let complete = text.rfind('\n').map_or("", |end| &text[..=end]);
        self.offset += complete.len() as u64;
        self.total += count(complete)?;
        Ok(())
    }

    fn rest(&self) -> std::io::Result<String> {
        let mut file = match File::open(&self.log) {
            // It is made with the first write.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(String::new()),
            opened => opened?,
        };
        file.seek(SeekFrom::Start(self.offset))?;
        let mut rest = Vec::new();
        file.read_to_end(&mut rest)?;
        Ok(String::from_utf8_lossy(&rest).into_owned())
    }
}

fn count(lines: &str) -> anyhow::Result<u64> {
    let mut count = 0;
    for line in lines.lines() {
        let event: Value = serde_json::from_str(line).context("a line of the audit log isn't JSON")?;
        count += u64::from(event["objectRef"]["resource"] != "leases");
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use skv_scratch::Directory;

    use super::*;

    #[test]
    fn writes_are_counted_once_and_without_the_lease() {
        let directory = Directory::new().unwrap();
        let log = directory.path().join("audit.log");
        let mut writes = Writes::in_log(log.clone());
        writes.read().unwrap();
        assert_eq!(writes.total(), 0, "there is no log yet");
        let event =
            |resource: &str| format!(r#"{{"verb": "patch", "objectRef": {{"resource": "{resource}"}}}}"#);
        let (service, lease, half) = (event("services"), event("leases"), r#"{"verb": "#);
        std::fs::write(&log, format!("{service}\n{lease}\n{half}")).unwrap();
        writes.read().unwrap();
        assert_eq!(writes.total(), 1);
        let whole = event("shardedkvs");
        std::fs::write(&log, format!("{service}\n{lease}\n{whole}\n")).unwrap();
        writes.read().unwrap();
        assert_eq!(writes.total(), 2);
    }
}
