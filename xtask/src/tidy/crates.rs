//! The crates of the workspace, as cargo knows them.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;

use crate::{build, command};

/// A crate of ours. Its name here is that of its folder.
#[derive(Debug)]
pub(super) struct Crate {
    pub(super) name: String,
    pub(super) package: String,
    /// The path from the root of the repository.
    pub(super) folder: String,
    /// The crates of ours that its library and programs depend on.
    pub(super) dependencies: BTreeSet<String>,
    /// All dependencies, also those for tests and of others, by the names that sources use.
    pub(super) named: BTreeSet<String>,
    pub(super) roots: Vec<Root>,
}

/// The beginning of a target.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) file: String,
    /// True if `cargo test` runs its unit tests.
    pub(super) tested: bool,
    /// True if `cargo test` runs the examples in its comments.
    pub(super) doc_tested: bool,
}

/// All crates of the workspace.
pub(super) struct Crates(pub(super) Vec<Crate>);

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: String,
    dependencies: Vec<Dependency>,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    rename: Option<String>,
    /// None for a dependency that isn't only for tests or building.
    kind: Option<String>,
    /// None for a package from a registry.
    path: Option<String>,
}

#[derive(Deserialize)]
struct Target {
    src_path: String,
    test: bool,
    doctest: bool,
}

impl Target {
    fn root(&self, repository: &Path) -> anyhow::Result<Root> {
        let file = relative(Path::new(&self.src_path), repository)?;
        Ok(Root { file, tested: self.test, doc_tested: self.doctest })
    }
}

impl Crates {
    /// Asks cargo.
    pub(super) fn load(root: &Path) -> anyhow::Result<Crates> {
        let mut cargo = build::cargo();
        cargo.args(["metadata", "--no-deps", "--format-version=1"]).current_dir(root);
        let metadata = command::output(&mut cargo)?;
        Crates::from_metadata(&metadata, &root.canonicalize()?)
    }

    fn from_metadata(metadata: &str, root: &Path) -> anyhow::Result<Crates> {
        let metadata: Metadata = serde_json::from_str(metadata).context("cargo's metadata")?;
        let crates = metadata.packages.into_iter().map(|package| {
            let manifest = Path::new(&package.manifest_path);
            let folder = manifest.parent().context("a manifest without a folder")?;
            let name =
                |dependency: &Dependency| dependency.rename.as_ref().unwrap_or(&dependency.name).clone();
            let ours = package.dependencies.iter().filter(|dependency| dependency.kind.is_none());
            let ours = ours.filter_map(|dependency| dependency.path.as_deref());
            Ok(Crate {
                name: last(folder),
                folder: relative(folder, root)?,
                named: package.dependencies.iter().map(name).collect(),
                dependencies: ours.map(|path| last(Path::new(path))).collect(),
                roots: package
                    .targets
                    .iter()
                    .map(|target| target.root(root))
                    .collect::<anyhow::Result<_>>()?,
                package: package.name,
            })
        });
        Ok(Crates(crates.collect::<anyhow::Result<_>>()?))
    }

    /// Returns the files that targets begin with, of all crates.
    pub(super) fn roots(&self) -> impl Iterator<Item = &str> {
        self.roots_where(|_| true)
    }

    /// Returns the files that targets begin with whose unit tests nobody runs.
    pub(super) fn untested(&self) -> impl Iterator<Item = &str> {
        self.roots_where(|root| !root.tested)
    }

    /// Returns the files that targets begin with whose examples in comments nobody runs.
    pub(super) fn not_doc_tested(&self) -> impl Iterator<Item = &str> {
        self.roots_where(|root| !root.doc_tested)
    }

    fn roots_where(&self, is_wanted: fn(&Root) -> bool) -> impl Iterator<Item = &str> {
        let roots = self.0.iter().flat_map(|one| &one.roots);
        roots.filter(move |root| is_wanted(root)).map(|root| root.file.as_str())
    }

    /// Returns the crate of this name.
    pub(super) fn get(&self, name: &str) -> Option<&Crate> {
        self.0.iter().find(|one| one.name == name)
    }
}

fn last(folder: &Path) -> String {
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn relative(path: &Path, root: &Path) -> anyhow::Result<String> {
    let relative = path.strip_prefix(root).with_context(|| format!("{} is elsewhere", path.display()))?;
    Ok(relative.to_string_lossy().into_owned())
}

#[cfg(test)]
impl Crates {
    /// Makes crates with these dependencies; each is in a folder of its name.
    pub(super) fn of(crates: &[(&str, &[&str])]) -> Crates {
        let one = |(name, dependencies): &(&str, &[&str])| Crate {
            name: (*name).to_owned(),
            package: format!("skv-{name}"),
            folder: format!("crates/{name}"),
            dependencies: dependencies.iter().map(|&name| name.to_owned()).collect(),
            named: BTreeSet::new(),
            roots: Vec::new(),
        };
        Crates(crates.iter().map(one).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_programs_and_libraries_need_of_ours_is_an_arrow() {
        let metadata = r#"{"packages": [{
            "name": "skv-raft", "manifest_path": "/w/crates/raft/Cargo.toml",
            "dependencies": [
                {"name": "skv-log", "kind": null, "path": "/w/crates/log"},
                {"name": "tokio", "kind": null},
                {"name": "skv-fake", "kind": "dev", "path": "/w/tests/fake"}
            ],
            "targets": [{"src_path": "/w/crates/raft/src/lib.rs", "test": true, "doctest": false}]
        }]}"#;
        let crates = Crates::from_metadata(metadata, Path::new("/w")).unwrap();
        let raft = crates.get("raft").unwrap();
        assert_eq!((raft.package.as_str(), raft.folder.as_str()), ("skv-raft", "crates/raft"));
        assert_eq!(raft.dependencies.iter().collect::<Vec<_>>(), ["log"]);
        assert_eq!(raft.named.iter().collect::<Vec<_>>(), ["skv-fake", "skv-log", "tokio"]);
        assert_eq!(crates.roots().collect::<Vec<_>>(), ["crates/raft/src/lib.rs"]);
        assert_eq!(crates.untested().count(), 0);
        assert_eq!(crates.not_doc_tested().collect::<Vec<_>>(), ["crates/raft/src/lib.rs"]);
    }
}
