//! The former lives of a group: the files of a replica from before the group was revived,
//! from it or without it. They may be the only copy of writes that the new life lacks, so nothing
//! removes them but a person.

use std::io;
use std::path::{Path, PathBuf};

use skv_disk::Disk;
use skv_disk::checked_file::{self, ReadError};
use skv_sharding::{GroupId, GroupUid, Incarnation};

use super::{DataDir, IDENTITY_FORMAT, Identity};

/// The former lives of a group that one server keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Former {
    /// The directory in which each has a directory of its own.
    pub dir: PathBuf,
    /// The bytes of all their files.
    pub bytes: u64,
}

impl DataDir {
    /// Puts a replica's directory where the former lives are, so that the next [`open`](Self::open)
    /// makes a new, empty replica. Returns its new place. The call can be repeated if it fails.
    pub fn keep_as_former(&self, group: GroupId) -> io::Result<PathBuf> {
        self.forget_reborn(group)?;
        self.put_aside(group, &self.former_dir())
    }

    /// Returns true unless a directory is known to be one of this incarnation, or of a replica that had no place
    /// in a group, or in another one.
    pub(super) fn may_be_former(
        &self,
        dir: &Path,
        uid: GroupUid,
        incarnation: Incarnation,
    ) -> io::Result<bool> {
        match checked_file::read::<Identity>(&*self.disk, &dir.join("identity"), IDENTITY_FORMAT) {
            Ok(Some(identity)) => Ok(identity
                .belongs
                .is_some_and(|belongs| belongs.uid == uid && belongs.incarnation != incarnation)),
            Ok(None) | Err(ReadError::Damaged { .. } | ReadError::UnsupportedVersion { .. }) => Ok(true),
            Err(ReadError::Io { source, .. }) => Err(source),
        }
    }

    /// Moves a directory to where the former lives are.
    pub(super) fn keep_directory(&self, dir: &Path) -> io::Result<()> {
        let (to, from) = (self.former_dir(), self.quarantine_dir());
        self.disk.create_dir_all(&to)?;
        self.disk.sync_dir(&self.root)?;
        if let Some(name) = dir.file_name() {
            self.disk.rename(dir, &to.join(name))?;
            self.disk.sync_dir(&to)?;
            self.disk.sync_dir(&from)?;
        }
        Ok(())
    }

    /// Returns what is kept of a group's former lives; `None` if that is nothing. Looks at every file.
    pub fn former(&self, group: GroupId) -> io::Result<Option<Former>> {
        let kept = self.former_lives(group)?;
        let bytes = kept.iter().map(|dir| bytes_below(&*self.disk, dir)).sum::<io::Result<u64>>()?;
        Ok((!kept.is_empty()).then(|| Former { dir: self.former_dir(), bytes }))
    }

    /// Removes what is kept of a group's former lives. Returns the bytes of that.
    pub fn remove_former(&self, group: GroupId) -> io::Result<u64> {
        let mut removed = 0;
        for dir in self.former_lives(group)? {
            removed += bytes_below(&*self.disk, &dir)?;
            tracing::warn!(%group, dir = %dir.display(), "removing a former life of the group");
            self.disk.remove_dir_all(&dir)?;
            self.disk.sync_dir(&self.former_dir())?;
        }
        Ok(removed)
    }

    pub(super) fn former_dir(&self) -> PathBuf {
        self.root.join("former")
    }

    fn former_lives(&self, group: GroupId) -> io::Result<Vec<PathBuf>> {
        let dir = self.former_dir();
        if !self.disk.exists(&dir)? {
            return Ok(Vec::new());
        }
        let of_group = |dir: &PathBuf| super::is_of(group, dir);
        Ok(self.disk.list(&dir)?.into_iter().filter(of_group).collect())
    }
}

fn bytes_below(disk: &dyn Disk, path: &Path) -> io::Result<u64> {
    match disk.list(path) {
        Ok(names) => names.iter().map(|path| bytes_below(disk, path)).sum(),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => disk.open(path)?.len(),
        Err(error) => Err(error),
    }
}
