//! Checking links between documents. Addresses on the net aren't requested: a machine without a network
//! must reach the same verdict.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::markdown::{anchors, line_of, links};
use super::tree::{Page, pages, resolve};

/// The page that lists the others for the book.
pub(super) const SUMMARY: &str = "docs/SUMMARY.md";

/// Returns a line for each link that leads nowhere, and for each page of `docs` that the summary lacks.
pub(super) fn problems(root: &Path) -> anyhow::Result<Vec<String>> {
    Ok(problems_of(&pages(root)?, &|path| root.join(path).exists()))
}

fn problems_of(pages: &[Page], exists: &dyn Fn(&Path) -> bool) -> Vec<String> {
    let texts: BTreeMap<&Path, &str> =
        pages.iter().map(|page| (page.path.as_path(), page.text.as_str())).collect();
    let mut problems = Vec::new();
    let mut listed = Vec::new();
    for page in pages {
        for link in links(&page.text) {
            let target = &page.text[link.target];
            match destination(page, target, &texts, exists) {
                Ok(path) if page.path == Path::new(SUMMARY) => listed.extend(path),
                Ok(_) => {}
                Err(problem) => {
                    let line = line_of(&page.text, link.whole.start);
                    problems.push(format!("{}:{line}: {target} {problem}", page.path.display()));
                }
            }
        }
    }
    let unlisted = texts.keys().filter(|path| {
        path.starts_with("docs") && **path != Path::new(SUMMARY) && !listed.iter().any(|l| l == **path)
    });
    problems.extend(unlisted.map(|path| format!("{} isn't in {SUMMARY}", path.display())));
    problems
}

/// Returns the path that a link leads to, if it leads to one; or else the problem with it.
fn destination(
    page: &Page,
    target: &str,
    texts: &BTreeMap<&Path, &str>,
    exists: &dyn Fn(&Path) -> bool,
) -> Result<Option<PathBuf>, &'static str> {
    if is_elsewhere(target) {
        return Ok(None);
    }
    let (path, anchor) = target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
    let path = if path.is_empty() {
        page.path.clone()
    } else {
        resolve(&page.path, path).ok_or("leads out of the repository")?
    };
    if !exists(&path) {
        return Err("leads nowhere");
    }
    if let Some(anchor) = anchor {
        let text = texts.get(path.as_path()).ok_or("has an anchor, but leads to no page")?;
        if !anchors(text).iter().any(|known| known == anchor) {
            return Err("names a heading that isn't there");
        }
    }
    Ok(Some(path))
}

/// Returns true for an address on the net.
pub(super) fn is_elsewhere(target: &str) -> bool {
    ["https://", "http://", "mailto:"].iter().any(|scheme| target.starts_with(scheme))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(pages: &[(&str, &str)]) -> Vec<String> {
        let pages: Vec<Page> =
            pages.iter().map(|(path, text)| Page { path: path.into(), text: (*text).to_owned() }).collect();
        let file = |path: &Path| path == Path::new("crates/store") || pages.iter().any(|p| p.path == path);
        problems_of(&pages, &file)
    }

    #[test]
    fn links_to_pages_folders_headings_and_the_net_are_right() {
        let summary = ("docs/SUMMARY.md", "- [a](a.md)\n- [b](b/b.md)\n- [map](../ARCHITECTURE.md)");
        let a = ("docs/a.md", "# One\n[b](b/b.md) [self](#one) [store](../crates/store) [x](https://x.y/#z)");
        let b = ("docs/b/b.md", "[one](../a.md#one)");
        assert_eq!(found(&[summary, a, b, ("ARCHITECTURE.md", "[a](docs/a.md)")]), [""; 0]);
    }

    #[test]
    fn a_wrong_link_is_named_with_its_page_and_line() {
        let summary = ("docs/SUMMARY.md", "[a](a.md)");
        let a = ("docs/a.md", "# One\n\n[b](b.md) [c](#two)\n[d](../../x.md) [e](../crates/store#f)");
        assert_eq!(
            found(&[summary, a]),
            [
                "docs/a.md:3: b.md leads nowhere",
                "docs/a.md:3: #two names a heading that isn't there",
                "docs/a.md:4: ../../x.md leads out of the repository",
                "docs/a.md:4: ../crates/store#f has an anchor, but leads to no page",
            ]
        );
    }

    #[test]
    fn a_page_that_no_reader_of_the_book_finds_is_named() {
        let pages = [("docs/SUMMARY.md", "[a](a.md)"), ("docs/a.md", "[b](b.md)"), ("docs/b.md", "")];
        assert_eq!(found(&pages), ["docs/b.md isn't in docs/SUMMARY.md"]);
    }
}
