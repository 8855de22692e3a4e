//! No files of a library, program or test import each other in a circle: each can be read after the
//! files that it builds on.
//!
//! A file imports another one if it uses something that is defined there, whatever module it gets
//! it through. `mod x;` and a re-export aren't imports. A module may lend something of its own to
//! those within it; but if it builds on them as well, neither can be read first. Such loans are
//! counted, and their number may only fall; all other circles are forbidden.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::finding::Finding;
use super::imports::{Import, Mention, Names};
use super::modules::Module;
use super::sources::Sources;

const RULE: &str = "circles";
/// The number of re-exports that are followed one after the other.
const DEPTH: usize = 8;

/// The files that each file imports, with the first place and the name there.
type Graph<'a> = BTreeMap<&'a str, BTreeMap<&'a str, (usize, String)>>;

/// The circles in a target.
#[derive(Debug, Default)]
pub(super) struct Circles {
    pub(super) forbidden: Vec<Finding>,
    /// Files that use something of a module around them, which builds on them.
    pub(super) loans: Vec<String>,
}

pub(super) fn check(sources: &Sources, modules: &[Module]) -> Circles {
    let target = Target::new(sources, modules);
    let mut graph = target.graph();
    let mut loans = Vec::new();
    for module in modules {
        let Some(edges) = graph.get_mut(module.file.as_str()) else { continue };
        for other in modules.iter().filter(|other| is_around(other, module)) {
            if let Some((line, name)) = edges.remove(other.file.as_str()) {
                loans.push((module, other, line, name));
            }
        }
    }
    let mutual = loans
        .into_iter()
        .filter(|(borrower, lender, ..)| reachable(&graph, &lender.file).contains(borrower.file.as_str()));
    let loans = mutual.map(|(borrower, lender, line, name)| {
        format!("{}:{line} uses {name} of {}, which builds on it", borrower.file, lender.file)
    });
    Circles { loans: loans.collect(), forbidden: forbidden(&graph) }
}

fn is_around(outer: &Module, inner: &Module) -> bool {
    outer.path.len() < inner.path.len() && inner.path.starts_with(&outer.path)
}

fn forbidden(graph: &Graph) -> Vec<Finding> {
    circles(graph)
        .into_iter()
        .map(|files| {
            let shortest = shortest(graph, &files);
            let steps = shortest.windows(2).map(|pair| {
                let (line, name) = &graph[pair[0]][pair[1]];
                format!("{}:{line} uses {name} of {}", pair[0], pair[1])
            });
            let steps = steps.collect::<Vec<_>>().join("\n");
            let problem = match files.len() - (shortest.len() - 1) {
                0 => steps,
                _ => format!("{steps}\nin a tangle of {} files: {}", files.len(), list(&files)),
            };
            Finding::new(RULE, shortest[0], problem)
        })
        .collect()
}

fn list(files: &BTreeSet<&str>) -> String {
    files.iter().copied().collect::<Vec<_>>().join(", ")
}

/// The modules of a target, with their names.
struct Target<'a> {
    modules: BTreeMap<&'a [String], (&'a str, Names)>,
}

impl<'a> Target<'a> {
    fn new(sources: &Sources, modules: &'a [Module]) -> Target<'a> {
        let modules = modules.iter().filter(|module| !module.for_tests).filter_map(|module| {
            let names = Names::of(&sources.get(&module.file)?.syntax);
            Some((module.path.as_slice(), (module.file.as_str(), names)))
        });
        Target { modules: modules.collect() }
    }

    fn graph(&self) -> Graph<'a> {
        let mut graph = Graph::new();
        for (&path, (file, names)) in &self.modules {
            let to = graph.entry(file).or_default();
            // An export is an import only if the file itself mentions the name.
            let imports = names.imports.iter().filter(|import| !import.is_export && import.name != "*");
            for mention in imports.map(|import| &import.mention).chain(&names.mentions) {
                if let Some(other) = self.origin(path, mention, 0).filter(|other| other != file) {
                    to.entry(other).or_insert_with(|| (mention.line, mention.path.join("::")));
                }
            }
        }
        graph
    }

    /// Returns the file that defines a name mentioned in a module; None for other crates' names,
    /// and for a module as a whole.
    fn origin(&self, module: &[String], mention: &Mention, depth: usize) -> Option<&'a str> {
        let base = [module, &mention.within].concat();
        let (start, rest) = anchored(&base, &mention.path)?;
        match rest {
            Anchored::Absolute(rest) => self.walk(&start, rest, depth),
            Anchored::Relative(rest) => self.lookup(&start, rest, depth),
        }
    }

    /// Follows a path that begins with a name that is known in a module.
    fn lookup(&self, module: &[String], path: &[String], depth: usize) -> Option<&'a str> {
        let (first, module) = (path.first()?, self.nearest(module));
        let child = [module, std::slice::from_ref(first)].concat();
        let (file, names) = self.modules.get(module)?;
        if self.modules.contains_key(child.as_slice()) {
            return self.walk(&child, &path[1..], depth);
        }
        if names.defined.contains(first) {
            return Some(file);
        }
        self.through_imports(module, path, depth)
    }

    /// Follows a path downwards from a module.
    fn walk(&self, from: &[String], path: &[String], depth: usize) -> Option<&'a str> {
        let mut module = from.to_vec();
        let mut rest = path;
        while let [first, after @ ..] = rest {
            let child = [module.as_slice(), std::slice::from_ref(first)].concat();
            if !self.modules.contains_key(child.as_slice()) {
                break;
            }
            (module, rest) = (child, after);
        }
        let first = rest.first()?;
        let module = self.nearest(&module);
        let (file, names) = self.modules.get(module)?;
        if names.defined.contains(first) {
            return Some(file);
        }
        // A name without a visible definition comes from a macro.
        self.through_imports(module, rest, depth).or(Some(file))
    }

    fn through_imports(&self, module: &[String], path: &[String], depth: usize) -> Option<&'a str> {
        if depth > DEPTH {
            return None;
        }
        let (first, rest) = path.split_first()?;
        let (_, names) = self.modules.get(module)?;
        if let Some(import) = names.imports.iter().find(|import| import.name == *first) {
            // `use clap::Parser` and `use parser::parser` lead to no further import of that name.
            let is_itself = import.mention.path.first() == Some(first) && import.mention.path.len() == 1;
            return if is_itself { None } else { self.origin(module, &followed(import, rest), depth + 1) };
        }
        let globs = names.imports.iter().filter(|import| import.name == "*");
        globs.into_iter().find_map(|glob| {
            let base = [module, &glob.mention.within].concat();
            let there = self.module_of(&base, &glob.mention.path)?;
            let child = [there.as_slice(), std::slice::from_ref(first)].concat();
            let (file, names) = self.modules.get(there.as_slice())?;
            if self.modules.contains_key(child.as_slice()) {
                self.walk(&child, rest, depth + 1)
            } else if names.defined.contains(first) {
                Some(*file)
            } else if there != module {
                self.through_imports(&there, path, depth + 1)
            } else {
                None
            }
        })
    }

    /// Returns the module that a path names.
    fn module_of(&self, base: &[String], path: &[String]) -> Option<Vec<String>> {
        let (start, Anchored::Absolute(rest) | Anchored::Relative(rest)) = anchored(base, path)?;
        let there = [start.as_slice(), rest].concat();
        self.modules.contains_key(there.as_slice()).then_some(there)
    }

    /// Returns the module of the file that a module is in.
    fn nearest<'m>(&self, module: &'m [String]) -> &'m [String] {
        let mut module = module;
        while !self.modules.contains_key(module) && !module.is_empty() {
            module = &module[..module.len() - 1];
        }
        module
    }
}

/// The rest of a path, and the place where it is looked up.
enum Anchored<'p> {
    /// Only in the module.
    Absolute(&'p [String]),
    /// Among all names that are known in the module.
    Relative(&'p [String]),
}

/// Returns the module that a path begins at, and the rest of the path.
fn anchored<'p>(base: &[String], path: &'p [String]) -> Option<(Vec<String>, Anchored<'p>)> {
    let mut start = base.to_vec();
    match path.first()?.as_str() {
        "crate" => Some((Vec::new(), Anchored::Absolute(&path[1..]))),
        "self" => Some((start, Anchored::Absolute(&path[1..]))),
        "super" => {
            let up = path.iter().take_while(|name| *name == "super").count();
            start.truncate(start.len().checked_sub(up)?);
            Some((start, Anchored::Absolute(&path[up..])))
        }
        _ => Some((start, Anchored::Relative(path))),
    }
}

fn followed(import: &Import, rest: &[String]) -> Mention {
    let Mention { path, line, within } = &import.mention;
    Mention { path: [path, rest].concat(), line: *line, within: within.clone() }
}

/// Returns the sets of files of which each can be reached from each.
fn circles<'a>(graph: &Graph<'a>) -> Vec<BTreeSet<&'a str>> {
    let reached: BTreeMap<&str, BTreeSet<&'a str>> =
        graph.keys().map(|&file| (file, reachable(graph, file))).collect();
    let mut found: Vec<BTreeSet<&'a str>> = Vec::new();
    for &file in graph.keys() {
        if !reached[file].contains(file) || found.iter().any(|circle| circle.contains(file)) {
            continue;
        }
        found.push(reached[file].iter().copied().filter(|other| reached[other].contains(file)).collect());
    }
    found
}

fn reachable<'a>(graph: &Graph<'a>, from: &'a str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut open = vec![from];
    while let Some(file) = open.pop() {
        open.extend(graph[file].keys().copied().filter(|&other| reached.insert(other)));
    }
    reached
}

/// Returns a shortest way round within a set of files; its first file is its last one as well.
fn shortest<'a>(graph: &Graph<'a>, files: &BTreeSet<&'a str>) -> Vec<&'a str> {
    files.iter().map(|&file| way_round(graph, files, file)).min_by_key(Vec::len).unwrap_or_default()
}

fn way_round<'a>(graph: &Graph<'a>, files: &BTreeSet<&'a str>, start: &'a str) -> Vec<&'a str> {
    let mut before: BTreeMap<&str, &str> = BTreeMap::new();
    let mut open = VecDeque::from([start]);
    while let Some(file) = open.pop_front() {
        for &other in graph[file].keys().filter(|other| files.contains(*other)) {
            if other == start {
                let mut way = vec![start, file];
                while way.last() != Some(&start) {
                    way.push(before[way[way.len() - 1]]);
                }
                way.reverse();
                return way;
            }
            if !before.contains_key(other) {
                before.insert(other, file);
                open.push_back(other);
            }
        }
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::modules;

    fn all(files: &[(&str, &str)]) -> Circles {
        let sources = Sources::parse(files.iter().copied()).unwrap();
        let modules = modules::of_target(&sources, "/lib.rs").unwrap();
        check(&sources, &modules)
    }

    /// Returns the circles in a library of these files that are forbidden.
    fn found(files: &[(&str, &str)]) -> Vec<String> {
        all(files).forbidden.into_iter().map(|finding| finding.problem).collect()
    }

    const NONE: [String; 0] = [];

    #[test]
    fn two_files_that_import_each_other_are_named_with_line_and_name() {
        let found = found(&[
            ("/lib.rs", "mod a; mod b;"),
            ("/a.rs", "use crate::b::B;\npub struct A(B);"),
            ("/b.rs", "pub struct B;\nfn f() -> crate::a::A { todo!() }"),
        ]);
        assert_eq!(found, ["/a.rs:1 uses crate::b::B of /b.rs\n/b.rs:2 uses crate::a::A of /a.rs"]);
    }

    #[test]
    fn a_module_that_lends_something_and_shows_what_it_has_builds_on_nothing() {
        let files =
            [("/lib.rs", "mod a; pub use a::A; pub struct Lent;"), ("/a.rs", "pub struct A(super::Lent);")];
        assert_eq!((found(&files), all(&files).loans), (Vec::new(), Vec::new()));
    }

    #[test]
    fn a_module_that_builds_on_those_to_whom_it_lends_is_counted() {
        for parent in ["mod a; use a::A; pub struct P(A);", "mod a; pub use a::A; pub struct P(A);"] {
            let files = [("/lib.rs", parent), ("/a.rs", "use super::P; pub struct A(Box<P>);")];
            assert_eq!(all(&files).loans, ["/a.rs:1 uses super::P of /lib.rs, which builds on it"]);
            assert_eq!(found(&files), NONE);
        }
        let in_two_steps = [
            ("/lib.rs", "mod a; mod b; pub struct P(a::A);"),
            ("/a.rs", "pub struct A(crate::b::B);"),
            ("/b.rs", "pub struct B(Box<crate::P>);"),
        ];
        assert_eq!(all(&in_two_steps).loans.len(), 1);
    }

    #[test]
    fn what_is_got_through_a_re_export_is_its_files_own() {
        let files = [
            ("/lib.rs", "mod a; mod b; pub use a::A; fn f(_: b::B) {}"),
            ("/a.rs", "pub struct A;"),
            ("/b.rs", "use crate::A; pub struct B(A);"),
        ];
        assert_eq!(found(&files), NONE);
        let through_a_module = [
            ("/lib.rs", "mod a; mod b;"),
            ("/a.rs", "use crate::b; pub struct A; fn f() { b::g() }"),
            ("/b.rs", "use crate::a; pub fn g() { vec![a::A]; }"),
        ];
        assert_eq!(found(&through_a_module).len(), 1);
    }

    #[test]
    fn a_glob_imports_what_is_used_of_it() {
        let child = "use super::*; pub struct A(P);";
        let loans = |parent| all(&[("/lib.rs", parent), ("/a.rs", child)]).loans.len();
        assert_eq!(loans("mod a; pub struct P; fn f(_: a::A) {}"), 1);
        assert_eq!(loans("mod a; pub struct P;"), 0);
    }

    #[test]
    fn what_only_tests_import_makes_no_circle() {
        let files = [
            ("/lib.rs", "mod a; mod b;"),
            ("/a.rs", "pub struct A; #[cfg(test)] mod tests { use crate::b::B; }"),
            ("/b.rs", "pub struct B(crate::a::A);"),
        ];
        assert_eq!(found(&files), NONE);
    }

    #[test]
    fn a_tangle_is_shown_by_its_shortest_circle() {
        let found = found(&[
            ("/lib.rs", "mod a; mod b; mod c;"),
            ("/a.rs", "pub struct A(crate::b::B);"),
            ("/b.rs", "pub struct B(crate::c::C);"),
            ("/c.rs", "pub struct C(crate::a::A, crate::b::B);"),
        ]);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("/b.rs:1 uses crate::c::C of /c.rs\n/c.rs:1"), "{found:?}");
        assert!(found[0].ends_with("in a tangle of 3 files: /a.rs, /b.rs, /c.rs"), "{found:?}");
    }
}
