//! Small files that are replaced as a whole: JSON behind a line that names the format,
//! its version, the length and a checksum. Damage is detected, never guessed around.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Disk, DiskFile};

/// The reason why a file can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The bytes aren't those that were written.
    #[error("{} is damaged at byte {offset}: {reason}", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// The offset at which the first wrong byte may lie.
        offset: u64,
        /// A description of the damage.
        reason: String,
    },
    /// It was written by another version of the program.
    #[error("{} has format {found}; this program reads {supported}. Use the version that wrote it", file.display())]
    UnsupportedVersion {
        /// The file.
        file: PathBuf,
        /// Its format.
        found: String,
        /// The format that is read here.
        supported: String,
    },
    /// The disk failed.
    #[error("can't read {}: {source}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// The disk's error.
        source: io::Error,
    },
}

/// Replaces the file by `value`, durably and atomically. `format` is a word and a version, `identity/1`.
pub async fn write<T: Serialize>(disk: &dyn Disk, path: &Path, format: &str, value: &T) -> io::Result<()> {
    let body = serde_json::to_vec_pretty(value)?;
    let mut bytes = header(format, &body).into_bytes();
    bytes.extend_from_slice(&body);

    let temporary = path.with_extension("new");
    if disk.exists(&temporary)? {
        disk.remove(&temporary)?;
    }
    let file = disk.create(&temporary)?;
    if let Err(error) = put(disk, &*file, &bytes, &temporary, path).await {
        // It may hold the last free bytes of a full disk. If it stays all the same, the next write removes it.
        let _ = disk.remove(&temporary);
        return Err(error);
    }
    disk.sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// Writes the temporary file and gives it its name.
async fn put(
    disk: &dyn Disk,
    file: &dyn DiskFile,
    bytes: &[u8],
    temporary: &Path,
    path: &Path,
) -> io::Result<()> {
    file.write_all_at(bytes, 0)?;
    file.sync().await?;
    disk.rename(temporary, path)
}

/// Reads what [`write()`] wrote; `None` if there is no such file.
pub fn read<T: DeserializeOwned>(disk: &dyn Disk, path: &Path, format: &str) -> Result<Option<T>, ReadError> {
    let io = |source| ReadError::Io { file: path.to_owned(), source };
    if !disk.exists(path).map_err(io)? {
        return Ok(None);
    }
    let file = disk.open(path).map_err(io)?;
    let mut bytes = vec![0; file.len().map_err(io)? as usize];
    file.read_exact_at(&mut bytes, 0).map_err(io)?;

    let damaged = |offset: usize, reason: String| ReadError::Damaged {
        file: path.to_owned(),
        offset: offset as u64,
        reason,
    };
    let newline =
        bytes.iter().position(|&b| b == b'\n').ok_or_else(|| damaged(0, "no header line".into()))?;
    let (line, body) = (&bytes[..=newline], &bytes[newline + 1..]);
    if line != header(format, body).as_bytes() {
        // A foreign version is only believed when the rest of the line proves that it was written so.
        let found = line.split(|&b| b == b' ').next().and_then(|word| std::str::from_utf8(word).ok());
        return Err(match found {
            Some(found) if found != format && line == header(found, body).as_bytes() => {
                ReadError::UnsupportedVersion {
                    file: path.to_owned(),
                    found: found.to_owned(),
                    supported: format.to_owned(),
                }
            }
            _ => damaged(0, "the header doesn't match the contents".into()),
        });
    }
    serde_json::from_slice(body).map(Some).map_err(|e| damaged(newline + 1, e.to_string()))
}

/// Returns the first line of a file. Its checksum covers the format's name too, so that no flip turns
/// one version into another.
fn header(format: &str, body: &[u8]) -> String {
    let sum = crc32c::crc32c_append(crc32c::crc32c(format.as_bytes()), body);
    format!("{format} length={} crc32c={sum:08x}\n", body.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryDisk;

    #[tokio::test]
    async fn a_write_that_fails_leaves_what_was_there_and_no_other_file() {
        let (disk, path) = (MemoryDisk::new(), Path::new("/numbers"));
        write(&disk, path, "numbers/1", &vec![1; 10]).await.unwrap();
        disk.set_sync_error(Some(io::ErrorKind::Other));
        write(&disk, path, "numbers/1", &vec![2; 1000]).await.unwrap_err();
        disk.set_sync_error(None);
        assert_eq!(disk.list(Path::new("/")).unwrap(), [path]);
        assert_eq!(read::<Vec<u32>>(&disk, path, "numbers/1").unwrap(), Some(vec![1; 10]));
        write(&disk, path, "numbers/1", &vec![2; 1000]).await.unwrap();
        assert_eq!(read::<Vec<u32>>(&disk, path, "numbers/1").unwrap(), Some(vec![2; 1000]));
    }
}
