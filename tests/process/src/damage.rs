//! Damage to files.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// Returns all files under a directory.
pub fn files_under(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten() {
        let path = entry.expect("a directory can be read").path();
        if path.is_dir() {
            files.extend(files_under(&path));
        } else {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// Returns the biggest file under a directory whose name has this ending.
pub fn biggest_file(directory: &Path, ending: &str) -> PathBuf {
    files_under(directory)
        .into_iter()
        .filter(|path| path.to_string_lossy().ends_with(ending))
        .max_by_key(|path| fs::metadata(path).expect("a file has a length").len())
        .unwrap_or_else(|| panic!("no file under {} ends with {ending}", directory.display()))
}

/// Flips one bit of a file.
pub fn flip_bit(path: &Path, offset: u64) {
    let file = fs::File::options().read(true).write(true).open(path).expect("a file can be opened");
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).expect("the offset lies in the file");
    byte[0] ^= 0x10;
    file.write_all_at(&byte, offset).expect("a file can be written");
}

/// Cuts a file to this length.
pub fn cut_file(path: &Path, length: u64) {
    let file = fs::File::options().write(true).open(path).expect("a file can be opened");
    file.set_len(length).expect("a file can be cut");
}
