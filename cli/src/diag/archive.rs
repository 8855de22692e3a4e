//! The archive: a compressed tar file that no other user may read.

use std::fs::OpenOptions;
use std::io::{BufWriter, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;
use flate2::Compression;
use flate2::write::GzEncoder;
use tar::{Builder, Header};

/// The mode of the archive and of its files.
const MODE: u32 = 0o600;

/// Writes files under one folder into a new archive. Their time is in seconds since 1970.
pub(super) fn write(path: &Path, folder: &str, files: &[(String, Vec<u8>)], time: u64) -> anyhow::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path);
    let file = file.with_context(|| format!("can't make {}: another name is --file", path.display()))?;
    let mut archive = Builder::new(GzEncoder::new(BufWriter::new(file), Compression::default()));
    let written = files.iter().try_for_each(|(name, content)| {
        let mut header = Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(MODE);
        header.set_mtime(time);
        archive.append_data(&mut header, format!("{folder}/{name}"), content.as_slice())
    });
    let finished = written.and_then(|()| archive.into_inner()?.finish()?.flush());
    finished.with_context(|| format!("can't write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read as _;

    use flate2::read::GzDecoder;
    use tar::Archive;

    use super::*;

    #[test]
    fn an_archive_has_its_files_in_one_folder_and_replaces_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("report.tar.gz");
        let long = format!("logs/{}.log", "x".repeat(150));
        let files = [("status.json".to_owned(), b"{}\n".to_vec()), (long.clone(), vec![b'a'; 100_000])];
        write(&path, "skv-diag", &files, 1_700_000_000).unwrap();
        let mut archive = Archive::new(GzDecoder::new(File::open(&path).unwrap()));
        let mut found = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            found.push((name, content));
        }
        let expected = files.clone().map(|(name, content)| (format!("skv-diag/{name}"), content));
        assert!(found == expected, "{:?}", found.iter().map(|(name, _)| name).collect::<Vec<_>>());
        let error = write(&path, "skv-diag", &files, 0).unwrap_err().to_string();
        assert!(error.contains("another name is --file"), "{error}");
    }
}
