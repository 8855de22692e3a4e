//! A defect of `tests/mutants.yaml`: a text that takes the place of another one, and the tests that must notice.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use skv_sharding::fnv1a;

/// The folder of the sources.
pub(super) const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// A defect that the tests must notice.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mutant {
    pub(crate) name: String,
    /// The rule that it breaks.
    pub(crate) rule: String,
    pub(super) file: PathBuf,
    /// A text that occurs in the file once,
    find: String,
    /// and its replacement.
    replace: String,
    /// The arguments of `cargo test` that run the tests which must fail.
    pub(super) tests: Vec<String>,
}

/// Reads all defects. Those that the same tests must notice are next to each other, and so are those of one package.
pub(crate) fn load() -> anyhow::Result<Vec<Mutant>> {
    let file = Path::new(ROOT).join("tests/mutants.yaml");
    let text = fs::read_to_string(&file).with_context(|| format!("{}", file.display()))?;
    let mut mutants: Vec<Mutant> =
        serde_saphyr::from_str(&text).with_context(|| format!("{}", file.display()))?;
    sort(&mut mutants);
    Ok(mutants)
}

/// Sorts by tests and then by file: the next build has most of what it needs from the one before.
fn sort(mutants: &mut [Mutant]) {
    mutants.sort_by(|a, b| (&a.tests, &a.file).cmp(&(&b.tests, &b.file)));
}

impl Mutant {
    /// Returns a file with this defect.
    pub(super) fn applied_to(&self, source: &str) -> anyhow::Result<String> {
        let (name, file) = (&self.name, self.file.display());
        let count = source.matches(&self.find).count();
        ensure!(count == 1, "{name}: its text is {count} times in {file}, and must be there once");
        Ok(source.replace(&self.find, &self.replace))
    }

    /// Returns a hash of the defect, of the file that it changes, and of the tests that it names. A verdict
    /// counts while none of them is edited.
    pub(super) fn key(&self, source: &str) -> String {
        let file = self.file.to_string_lossy();
        let parts = [&*file, self.find.as_str(), self.replace.as_str(), source];
        let parts = parts.into_iter().chain(self.tests.iter().map(String::as_str));
        // The length before each part keeps two lists of parts from looking the same.
        let bytes: Vec<u8> =
            parts.flat_map(|part| part.len().to_le_bytes().into_iter().chain(part.bytes())).collect();
        format!("{:016x}", fnv1a(&bytes))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn mutant(name: &str, file: &str, tests: &[&str]) -> Mutant {
        Mutant {
            name: name.to_owned(),
            rule: "A rule.".to_owned(),
            file: file.into(),
            find: "right".to_owned(),
            replace: "wrong".to_owned(),
            tests: tests.iter().map(|&test| test.to_owned()).collect(),
        }
    }

    #[test]
    fn each_defect_can_still_be_made() {
        let mutants = load().unwrap();
        for mutant in &mutants {
            let source = fs::read_to_string(Path::new(ROOT).join(&mutant.file)).unwrap();
            assert_ne!(mutant.applied_to(&source).unwrap(), source, "{}", mutant.name);
        }
        let names: BTreeSet<&str> = mutants.iter().map(|mutant| mutant.name.as_str()).collect();
        assert_eq!(names.len(), mutants.len(), "two have the same name");
    }

    #[test]
    fn what_the_same_tests_notice_is_next_to_each_other() {
        let mut mutants = [
            mutant("a", "log.rs", &["--package=log", "--lib"]),
            mutant("b", "store.rs", &["--package=store", "--test=store"]),
            mutant("c", "log.rs", &["--package=store", "--test=store"]),
            mutant("d", "log.rs", &["--package=log", "--test=log"]),
            mutant("e", "log.rs", &["--package=log", "--lib"]),
            mutant("f", "store.rs", &["--package=store", "--test=store"]),
        ];
        sort(&mut mutants);
        assert_eq!(mutants.map(|mutant| mutant.name), ["a", "e", "d", "c", "b", "f"]);
    }

    #[test]
    fn a_key_is_of_the_defect_of_its_file_and_of_its_tests() {
        let mutant = mutant("a", "log.rs", &["--package=log", "--lib"]);
        let key = mutant.key("the right text");
        assert_eq!(key, mutant.key("the right text"));
        assert_eq!(key, Mutant { rule: "The same rule.".to_owned(), ..mutant.clone() }.key("the right text"));
        let others = [
            mutant.key("the right texts"),
            Mutant { file: "logs.rs".into(), ..mutant.clone() }.key("the right text"),
            Mutant { find: "rig".to_owned(), replace: "htwrong".to_owned(), ..mutant.clone() }
                .key("the right text"),
            Mutant { replace: "false".to_owned(), ..mutant.clone() }.key("the right text"),
            Mutant { tests: vec!["--package=log".to_owned()], ..mutant }.key("the right text"),
        ];
        assert!(!others.contains(&key));
    }
}
