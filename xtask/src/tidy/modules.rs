//! The modules of a library, program or test, from the file that it begins with.

use anyhow::{Context as _, bail};
use syn::{Expr, Item, ItemMod, Lit, Meta};

use super::sources::{Sources, is_for_tests};

/// A module that has a file of its own.
#[derive(Debug)]
pub(super) struct Module {
    /// Its names from the root, which has none.
    pub(super) path: Vec<String>,
    pub(super) file: String,
    /// True if it is compiled for tests only.
    pub(super) for_tests: bool,
}

/// Finds the modules of the target that begins with this file.
pub(super) fn of_target(sources: &Sources, root: &str) -> anyhow::Result<Vec<Module>> {
    let mut modules = Vec::new();
    let folder = folder_of(root).to_owned();
    let module = Module { path: Vec::new(), file: root.to_owned(), for_tests: false };
    add(sources, &mut modules, module, &folder)?;
    Ok(modules)
}

/// Adds a module and those within, whose files are in `folder`.
fn add(sources: &Sources, all: &mut Vec<Module>, module: Module, folder: &str) -> anyhow::Result<()> {
    let source = sources.get(&module.file).with_context(|| format!("{} isn't there", module.file))?;
    let (path, for_tests) = (module.path.clone(), module.for_tests);
    let beside = folder_of(&module.file).to_owned();
    all.push(module);
    add_items(
        sources,
        all,
        &source.syntax.items,
        (path, for_tests),
        Folders { within: folder, beside: &beside },
    )
}

/// The folders in which the files of modules are looked for.
#[derive(Clone, Copy)]
struct Folders<'a> {
    /// The folder of those that have the usual names.
    within: &'a str,
    /// The folder from which paths that are given count.
    beside: &'a str,
}

fn folder_of(file: &str) -> &str {
    file.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn add_items(
    sources: &Sources,
    all: &mut Vec<Module>,
    items: &[Item],
    (parent, for_tests): (Vec<String>, bool),
    folders: Folders<'_>,
) -> anyhow::Result<()> {
    for item in items {
        let Item::Mod(item) = item else { continue };
        let name = item.ident.to_string();
        let for_tests = for_tests || is_for_tests(&item.attrs);
        let path = [parent.as_slice(), std::slice::from_ref(&name)].concat();
        if let Some((_, items)) = &item.content {
            let folder = format!("{}/{name}", folders.within);
            add_items(sources, all, items, (path, for_tests), Folders { within: &folder, beside: &folder })?;
            continue;
        }
        let (file, within) = find(sources, item, folders, &name)?;
        add(sources, all, Module { path, file, for_tests }, &within)?;
    }
    Ok(())
}

/// Finds the file of a module, and the folder of the modules within.
fn find(
    sources: &Sources,
    item: &ItemMod,
    folders: Folders<'_>,
    name: &str,
) -> anyhow::Result<(String, String)> {
    if let Some(given) = given_path(item) {
        let file = plain(&format!("{}/{given}", folders.beside));
        let within = folder_of(&file).to_owned();
        return Ok((file, within));
    }
    let within = format!("{}/{name}", folders.within);
    for file in [format!("{within}.rs"), format!("{within}/mod.rs")] {
        if sources.get(&file).is_some() {
            return Ok((file, within));
        }
    }
    bail!("module {name} has no file in {}", folders.within)
}

fn given_path(item: &ItemMod) -> Option<String> {
    item.attrs.iter().find_map(|attribute| {
        let Meta::NameValue(pair) = &attribute.meta else { return None };
        let Expr::Lit(value) = &pair.value else { return None };
        let Lit::Str(path) = &value.lit else { return None };
        pair.path.is_ident("path").then(|| path.value())
    })
}

/// Removes each `..` along with the folder before it.
fn plain(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_found_by_their_files() {
        let sources = Sources::parse([
            ("a/src/lib.rs", "mod log; mod inner { mod deep; } #[cfg(test)] mod tests;"),
            ("a/src/log/mod.rs", "mod scan; #[path = \"../../common/x.rs\"] mod x;"),
            ("a/src/log/scan.rs", "#[path = \"../../common/y.rs\"] mod y;"),
            ("a/common/x.rs", ""),
            ("a/common/y.rs", ""),
            ("a/src/inner/deep.rs", ""),
            ("a/src/tests.rs", ""),
        ])
        .unwrap();
        let modules = of_target(&sources, "a/src/lib.rs").unwrap();
        let found: Vec<_> = modules
            .iter()
            .map(|module| (module.path.join("::"), module.file.as_str(), module.for_tests))
            .collect();
        let expected = [
            ("", "a/src/lib.rs", false),
            ("log", "a/src/log/mod.rs", false),
            ("log::scan", "a/src/log/scan.rs", false),
            ("log::scan::y", "a/common/y.rs", false),
            ("log::x", "a/common/x.rs", false),
            ("inner::deep", "a/src/inner/deep.rs", false),
            ("tests", "a/src/tests.rs", true),
        ];
        assert_eq!(found, expected.map(|(path, file, tests)| (path.to_owned(), file, tests)));
        assert!(of_target(&Sources::parse([("lib.rs", "mod lost;")]).unwrap(), "lib.rs").is_err());
    }
}
