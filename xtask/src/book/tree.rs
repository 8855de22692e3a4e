//! The documents of the repository.

use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::Context as _;

/// A document.
#[derive(Debug)]
pub(super) struct Page {
    /// Its path from the root of the repository.
    pub(super) path: PathBuf,
    /// Its text.
    pub(super) text: String,
}

/// Returns all Markdown files, sorted by their paths.
pub(super) fn pages(root: &Path) -> anyhow::Result<Vec<Page>> {
    let markdown = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "md");
    let paths = files(root)?.into_iter().filter(markdown);
    paths
        .map(|path| {
            let file = root.join(&path);
            let text = fs::read_to_string(&file).with_context(|| format!("can't read {}", file.display()))?;
            Ok(Page { path, text })
        })
        .collect()
}

/// Returns the paths of all files from the root, sorted, except hidden ones and outputs of builds.
pub(super) fn files(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let there = root.join(&folder);
        for entry in fs::read_dir(&there).with_context(|| format!("can't list {}", there.display()))? {
            let entry = entry?;
            let name = entry.file_name();
            let built = folder.as_os_str().is_empty() && (name == "target" || name == "build");
            if built || name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let path = folder.join(&name);
            if entry.file_type()?.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    Ok(files)
}

/// Returns the path that a relative one in a page means, from the root; `None` if that is outside.
pub(super) fn resolve(page: &Path, relative: &str) -> Option<PathBuf> {
    let mut resolved = page.parent().map(Path::to_owned).unwrap_or_default();
    for component in Path::new(relative).components() {
        match component {
            Component::Normal(name) => resolved.push(name),
            Component::CurDir => {}
            Component::ParentDir if resolved.pop() => {}
            _ => return None,
        }
    }
    Some(resolved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relative_path_is_taken_from_its_page_and_never_leaves_the_repository() {
        let from = |relative| resolve(Path::new("docs/labs/ring.md"), relative);
        assert_eq!(from("../kubernetes.md"), Some("docs/kubernetes.md".into()));
        assert_eq!(from("./raft.md"), Some("docs/labs/raft.md".into()));
        assert_eq!(from("../../README.md"), Some("README.md".into()));
        assert_eq!(from("../../../README.md"), None);
        assert_eq!(from("/etc/passwd"), None);
    }
}
