//! Files and directories that only their owner can read: keys and values stand in data and logs.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// Makes a directory, and those above it that are missing.
pub(crate) fn create_dir_all(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Returns the options of a file to be made or opened.
pub(crate) fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

/// Takes a directory of an earlier version away from others. The owner of a directory may do that; for
/// everybody else it stays as it is.
pub(crate) fn tighten(path: &Path) {
    let _ = fs::set_permissions(path, Permissions::from_mode(0o700));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn only_the_owner_reads_what_is_made() {
        let temporary = tempfile::tempdir().unwrap();
        let (outer, inner) = (temporary.path().join("a"), temporary.path().join("a/b"));
        create_dir_all(&inner).unwrap();
        let file = inner.join("file");
        options().write(true).create(true).open(&file).unwrap();
        assert_eq!([&outer, &inner, &file].map(|path| mode(path)), [0o700, 0o700, 0o600]);
        fs::set_permissions(&outer, Permissions::from_mode(0o755)).unwrap();
        tighten(&outer);
        assert_eq!(mode(&outer), 0o700);
    }
}
