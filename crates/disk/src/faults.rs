//! A disk that fails on demand, for tests that run whole processes over real files.
//!
//! The faults stand in a control file, one per line; without the file nothing fails:
//! ```text
//! full              no file can grow
//! failing-sync      every sync of a file or directory fails
//! slow-sync 250     every sync of a file takes that many ms longer
//! ```

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;

use crate::{Disk, DiskFile};

/// A disk and the faults that a control file gives it.
#[derive(Debug)]
pub struct FaultyDisk {
    disk: Arc<dyn Disk>,
    control: Control,
}

#[derive(Debug, Clone)]
struct Control(Arc<PathBuf>);

#[derive(Debug, Default)]
struct Faults {
    full: bool,
    failing_sync: bool,
    slow_sync: Duration,
}

impl FaultyDisk {
    /// Adds the faults that `control` will name to a disk.
    pub fn new(disk: Arc<dyn Disk>, control: PathBuf) -> Self {
        FaultyDisk { disk, control: Control(Arc::new(control)) }
    }

    fn faulty(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(FaultyFile { file, control: self.control.clone() })
    }
}

impl Control {
    fn read(&self) -> io::Result<Faults> {
        let text = match std::fs::read_to_string(&*self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Faults::default()),
            text => text?,
        };
        let mut faults = Faults::default();
        for line in text.lines() {
            let unknown = || {
                let message = format!("{}: {line:?} is no fault", self.0.display());
                io::Error::new(io::ErrorKind::InvalidInput, message)
            };
            match line.split_once(' ') {
                None if line == "full" => faults.full = true,
                None if line == "failing-sync" => faults.failing_sync = true,
                Some(("slow-sync", ms)) => {
                    faults.slow_sync = Duration::from_millis(ms.parse().map_err(|_| unknown())?);
                }
                _ => return Err(unknown()),
            }
        }
        Ok(faults)
    }

    fn check_sync(&self) -> io::Result<Duration> {
        let faults = self.read()?;
        if faults.failing_sync {
            return Err(io::Error::other("the sync fails as asked for"));
        }
        Ok(faults.slow_sync)
    }
}

impl Disk for FaultyDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.create(path).map(|file| self.faulty(file))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open(path).map(|file| self.faulty(file))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir_all(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.disk.list(dir)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.disk.exists(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_dir_all(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.control.check_sync()?;
        self.disk.sync_dir(dir)
    }

    fn spawn(&self, name: &str, task: BoxFuture<'static, ()>) {
        self.disk.spawn(name, task);
    }

    fn lower_priority(&self) {
        self.disk.lower_priority();
    }
}

#[derive(Debug)]
struct FaultyFile {
    file: Arc<dyn DiskFile>,
    control: Control,
}

impl DiskFile for FaultyFile {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if self.control.read()?.full && offset + bytes.len() as u64 > self.file.len()? {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.write_all_at(bytes, offset)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn sync(&self) -> BoxFuture<'_, io::Result<()>> {
        Box::pin(async {
            let slow = self.control.check_sync()?;
            if !slow.is_zero() {
                tokio::time::sleep(slow).await;
            }
            self.file.sync().await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RealDisk;

    #[tokio::test]
    async fn the_control_file_decides_what_fails() {
        let dir = tempfile::tempdir().unwrap();
        let control = dir.path().join("faults");
        let disk = FaultyDisk::new(Arc::new(RealDisk::default()), control.clone());
        let file = disk.create(&dir.path().join("f")).unwrap();
        file.write_all_at(b"abc", 0).unwrap();
        file.sync().await.unwrap();

        std::fs::write(&control, "full\n").unwrap();
        assert_eq!(file.write_all_at(b"d", 3).unwrap_err().kind(), io::ErrorKind::StorageFull);
        file.write_all_at(b"ABC", 0).unwrap();
        file.sync().await.unwrap();

        std::fs::write(&control, "failing-sync\nslow-sync 1\n").unwrap();
        file.write_all_at(b"d", 3).unwrap();
        assert!(file.sync().await.is_err());
        assert!(disk.sync_dir(dir.path()).is_err());

        std::fs::write(&control, "slow-sync 1").unwrap();
        file.sync().await.unwrap();
        std::fs::write(&control, "slow").unwrap();
        assert_eq!(file.sync().await.unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
