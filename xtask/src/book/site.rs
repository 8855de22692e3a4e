//! The book: the pages that the summary names, laid out as in the repository, and made into HTML.
//!
//! The summary also names pages outside of `docs`, such as ARCHITECTURE.md. A link to a file outside of
//! the book, such as a source file, becomes plain text.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use super::links::{SUMMARY, is_elsewhere};
use super::markdown::links;
use super::tool;
use super::tree::{Page, files, pages, resolve};
use crate::{build, command};

/// Builds the book below the target directory; returns its first page.
pub(super) fn build(root: &Path) -> anyhow::Result<PathBuf> {
    let mdbook = tool::mdbook()?;
    let folder = build::target()?.join("book");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("can't remove {}", folder.display()))?;
    }
    lay_out(root, &folder)?;
    command::run(std::process::Command::new(mdbook).arg("build").arg(&folder))?;
    let first = folder.join("html/index.html");
    ensure!(first.exists(), "mdBook made no {}", first.display());
    Ok(first)
}

fn lay_out(root: &Path, folder: &Path) -> anyhow::Result<()> {
    let source = folder.join("src");
    let pages = pages(root)?;
    let summary = pages.iter().find(|page| page.path == Path::new(SUMMARY));
    let summary = summary.with_context(|| format!("there is no {SUMMARY}"))?;
    let chosen = chosen(summary);
    for page in pages.iter().filter(|page| chosen.contains(&page.path)) {
        put(&source.join(&page.path), &without_foreign_links(page, &chosen))?;
    }
    put(&source.join("SUMMARY.md"), &from_root(summary))?;
    for picture in files(root)?.iter().filter(|file| is_picture(file)) {
        let to = source.join(picture);
        make_parent(&to)?;
        fs::copy(root.join(picture), &to).with_context(|| format!("can't copy {}", picture.display()))?;
    }
    let settings = root.join("docs/book.toml");
    let settings =
        fs::read_to_string(&settings).with_context(|| format!("can't read {}", settings.display()))?;
    put(&folder.join("book.toml"), &settings)
}

/// Returns the paths of the pages that the summary names.
fn chosen(summary: &Page) -> BTreeSet<PathBuf> {
    links(&summary.text)
        .into_iter()
        .filter_map(|link| resolve(&summary.path, &summary.text[link.target]))
        .collect()
}

/// Returns the summary with paths from the root, since it stands there in the book.
fn from_root(summary: &Page) -> String {
    rewrite(&summary.text, |text, target| {
        let path = resolve(&summary.path, target)?;
        Some(format!("[{text}]({})", path.display()))
    })
}

/// Returns the text of a page, in which only links to other chosen pages, pictures and the net are left.
fn without_foreign_links(page: &Page, chosen: &BTreeSet<PathBuf>) -> String {
    rewrite(&page.text, |text, target| {
        let path = target.split('#').next().unwrap_or_default();
        let resolved = resolve(&page.path, path)?;
        let stays =
            path.is_empty() || is_elsewhere(target) || chosen.contains(&resolved) || is_picture(&resolved);
        (!stays).then(|| text.to_owned())
    })
}

/// Replaces links by what `replace` returns for text and target; `None` leaves one as it is.
fn rewrite(text: &str, replace: impl Fn(&str, &str) -> Option<String>) -> String {
    let mut rewritten = String::new();
    let mut at = 0;
    for link in links(text) {
        if let Some(replacement) = replace(&text[link.text], &text[link.target]) {
            rewritten.push_str(&text[at..link.whole.start]);
            rewritten.push_str(&replacement);
            at = link.whole.end;
        }
    }
    rewritten.push_str(&text[at..]);
    rewritten
}

fn is_picture(path: &Path) -> bool {
    path.starts_with("docs")
        && path.extension().is_some_and(|extension| extension == "svg" || extension == "png")
}

fn put(file: &Path, text: &str) -> anyhow::Result<()> {
    make_parent(file)?;
    fs::write(file, text).with_context(|| format!("can't write {}", file.display()))
}

fn make_parent(file: &Path) -> anyhow::Result<()> {
    let parent = file.parent().context("a file has a folder")?;
    fs::create_dir_all(parent).with_context(|| format!("can't make {}", parent.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(path: &str, text: &str) -> Page {
        Page { path: path.into(), text: text.to_owned() }
    }

    #[test]
    fn the_summary_of_the_book_has_paths_from_the_root() {
        let summary = page(SUMMARY, "- [Map](../ARCHITECTURE.md)\n  - [Log](design/log.md)\n");
        assert_eq!(from_root(&summary), "- [Map](ARCHITECTURE.md)\n  - [Log](docs/design/log.md)\n");
    }

    #[test]
    fn links_to_pages_of_the_book_stay_and_others_become_text() {
        let summary = page(SUMMARY, "- [Map](../ARCHITECTURE.md)\n- [Log](design/log.md)");
        let log = page(
            "docs/design/log.md",
            "[map](../../ARCHITECTURE.md#words) [code](../../crates/log) [top](#log) [x](https://x.y) \
             ![p](../p.svg)",
        );
        assert_eq!(
            without_foreign_links(&log, &chosen(&summary)),
            "[map](../../ARCHITECTURE.md#words) code [top](#log) [x](https://x.y) ![p](../p.svg)"
        );
    }
}
