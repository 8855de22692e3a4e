//! Checking paths that documents name as code, such as `crates/store/src/slot.rs`: a map with missing
//! paths misleads.

use std::path::{Path, PathBuf};

use super::markdown::{inline_code, line_of};
use super::tree::{files, pages};

/// The folders at the top; anything else with a slash may be no path of the repository.
const TOPS: [&str; 17] = [
    ".ci",
    ".config",
    ".github",
    "benches",
    "bindings",
    "charts",
    "cli",
    "crates",
    "deploy",
    "docs",
    "kvserver",
    "lab",
    "operator",
    "proto",
    "shardmanager",
    "tests",
    "xtask",
];

/// Returns a line for each path that isn't there.
pub(super) fn problems(root: &Path) -> anyhow::Result<Vec<String>> {
    let files = files(root)?;
    let exists = |pattern: &str| {
        let hidden = pattern.starts_with('.') && root.join(pattern).exists();
        hidden || files.iter().any(|file| matches(pattern, file))
    };
    let mut problems = Vec::new();
    for page in pages(root)? {
        for (offset, code) in inline_code(&page.text) {
            for pattern in patterns(code) {
                if !exists(&pattern) {
                    let line = line_of(&page.text, offset);
                    problems.push(format!("{}:{line}: there is no {pattern}", page.path.display()));
                }
            }
        }
    }
    Ok(problems)
}

/// Returns the paths that a piece of code means, with braces expanded; an empty list if it is no path.
fn patterns(code: &str) -> Vec<String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-/{},*".contains(c);
    let top = code.split('/').next().unwrap_or_default();
    // A word in capitals stands for something else each time.
    let capitals = |word: &str| word.len() > 1 && word.chars().all(|c| c.is_ascii_uppercase());
    let placeholder = code.split(['/', '.']).any(|word| capitals(word) && word != "README");
    let is_path = code.contains('/') && code.chars().all(allowed) && TOPS.contains(&top);
    if is_path && !placeholder { expand(code) } else { Vec::new() }
}

/// Expands `a/{b,c}.rs`, also nested.
fn expand(pattern: &str) -> Vec<String> {
    let Some(open) = pattern.find('{') else { return vec![pattern.to_owned()] };
    let mut depth = 0;
    let mut cuts = vec![open];
    for (at, c) in pattern.char_indices().skip(open) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 || (depth == 1 && c == ',') {
            cuts.push(at);
        }
        if depth == 0 {
            break;
        }
    }
    let end = cuts.last().map_or(pattern.len(), |end| end + 1);
    cuts.windows(2)
        .flat_map(|cut| {
            let choice = format!("{}{}{}", &pattern[..open], &pattern[cut[0] + 1..cut[1]], &pattern[end..]);
            expand(&choice)
        })
        .collect()
}

/// Returns true if the pattern names the file or a folder above it.
fn matches(pattern: &str, file: &Path) -> bool {
    let pattern: PathBuf = pattern.into();
    let mut names = file.iter();
    pattern.iter().all(|wanted| {
        names.next().is_some_and(|name| match (wanted.to_str(), name.to_str()) {
            (Some(wanted), Some(name)) => wildcard(wanted, name),
            _ => wanted == name,
        })
    })
}

/// Returns true if the name is the pattern, in which each `*` stands for any text.
fn wildcard(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => name.strip_prefix(before).is_some_and(|rest| {
            rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| wildcard(after, &rest[at..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_begins_with_a_folder_of_ours_is_a_path() {
        for code in ["cargo xtask", "target/release/skv", "a/b", "crates", "deploy/FILE.yaml", "tests/{a b}"]
        {
            assert_eq!(patterns(code), [""; 0], "{code}");
        }
        assert_eq!(patterns("crates/store/"), ["crates/store/"]);
        assert_eq!(patterns(".ci/run"), [".ci/run"]);
        assert_eq!(patterns("crates/client/README.md"), ["crates/client/README.md"]);
    }

    #[test]
    fn braces_stand_for_each_choice_in_them() {
        assert_eq!(expand("a/{b,c/{d,e}}.rs"), ["a/b.rs", "a/c/d.rs", "a/c/e.rs"]);
    }

    #[test]
    fn a_pattern_names_files_folders_and_with_stars_any_of_them() {
        let file = Path::new("crates/log/tests/log_storage/main.rs");
        for right in ["crates/log", "crates/*/tests", "crates/log/tests/log_*", "crates/log/tests/"] {
            assert!(matches(right, file), "{right}");
        }
        for wrong in
            ["crates/lo", "crates/log/src", "crates/*/tests/x*", "crates/log/tests/log_storage/main.rs/x"]
        {
            assert!(!matches(wrong, file), "{wrong}");
        }
    }
}
