//! `cargo xtask book`: the documentation as a book of HTML pages.
//!
//! Some pages are generated from the code and checked in, so that a reader finds them without building
//! anything. Links are checked here, since mdBook doesn't, and without a network.

mod fields;
mod flags;
mod links;
mod markdown;
mod metrics;
mod paths;
mod site;
mod tool;
mod tree;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

use crate::step::step;

/// Write the generated pages of the documentation, check all links, and build the HTML.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write no page of the repository; fail if a generated one is stale.
    #[arg(long)]
    check: bool,
    /// Build no HTML: then mdBook isn't needed.
    #[arg(long)]
    no_html: bool,
}

/// The root of the repository.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let root = fs::canonicalize(ROOT)?;
    let mut pages = pages_without_programs(&root)?;
    pages.push((root.join("docs/reference/flags.md"), flags::page()?));
    for (file, page) in pages {
        if args.check {
            check(&file, &page)?;
        } else {
            write(&file, &page)?;
        }
    }
    let problems = [links::problems(&root)?, paths::problems(&root)?].concat();
    ensure!(
        problems.is_empty(),
        "{} links or paths in documents lead nowhere:\n{}",
        problems.len(),
        problems.join("\n")
    );
    if !args.no_html {
        let book = step("building the book", || site::build(&root))?;
        println!("{}", book.display());
    }
    Ok(())
}

/// The generated pages for which nothing has to be built.
fn pages_without_programs(root: &Path) -> anyhow::Result<Vec<(PathBuf, String)>> {
    Ok(vec![
        (root.join("docs/reference/fields.md"), fields::page()?),
        (root.join("docs/reference/metrics.md"), metrics::page(root)?),
    ])
}

fn write(file: &Path, page: &str) -> anyhow::Result<()> {
    // An unchanged file keeps its time.
    if fs::read_to_string(file).is_ok_and(|there| there == page) {
        return Ok(());
    }
    fs::write(file, page).with_context(|| format!("can't write {}", file.display()))?;
    println!("{}", file.display());
    Ok(())
}

fn check(file: &Path, page: &str) -> anyhow::Result<()> {
    let there = fs::read_to_string(file).with_context(|| format!("can't read {}", file.display()))?;
    if there != page {
        bail!("{} is stale: run `cargo xtask book`", file.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_of_fields_and_metrics_are_what_the_code_says() {
        for (file, page) in pages_without_programs(Path::new(ROOT)).unwrap() {
            check(&file, &page).unwrap();
        }
    }

    #[test]
    fn every_link_in_the_documents_leads_somewhere_and_every_page_is_in_the_summary() {
        let problems = links::problems(&fs::canonicalize(ROOT).unwrap()).unwrap();
        assert!(problems.is_empty(), "{}", problems.join("\n"));
    }
}
