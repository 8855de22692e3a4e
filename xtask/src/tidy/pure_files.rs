//! Files that call themselves pure ("Pure." or "No IO" in their header) name no clock, task,
//! randomness or IO; nor do the files within a module that does, and those of a pure crate.

use std::collections::BTreeSet;

use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use syn::{ExprAsync, ExprAwait, ExprMethodCall, Item, Signature};

use super::arrows::Drawing;
use super::crates::Crates;
use super::finding::Finding;
use super::imports::Names;
use super::modules::Module;
use super::sources::{Source, Sources, doc_line, is_item_for_tests};

const RULE: &str = "pure files";
/// Words by which a header claims it.
const CLAIMS: [&str; 5] = ["Pure.", "Pure:", "No IO", ": no IO", " Pure,"];
/// Crates, and modules of std, that talk to the world.
const CRATES: [&str; 9] =
    ["async_std", "fastrand", "futures", "getrandom", "rand", "rustix", "tokio", "tonic", "tracing"];
const STD: [&str; 6] = ["env", "fs", "net", "os", "process", "thread"];
/// Names that are a clock or a source of randomness, wherever they come from.
const NAMES: [&str; 2] = ["SystemTime", "entropy"];
const METHODS: [&str; 1] = ["elapsed"];

/// Checks the files of a target that call themselves pure, and those within them.
pub(super) fn check(sources: &Sources, modules: &[Module]) -> Vec<Finding> {
    let claims = |module: &&Module| sources.get(&module.file).is_some_and(claims_to_be_pure);
    let pure: BTreeSet<&[String]> = modules.iter().filter(claims).map(|module| &*module.path).collect();
    let is_pure = |module: &&Module| pure.iter().any(|path| module.path.starts_with(path));
    modules.iter().filter(is_pure).flat_map(|module| judge(sources, module)).collect()
}

/// Checks all files of the libraries of pure crates.
pub(super) fn check_crates(
    sources: &Sources,
    drawing: &Drawing,
    crates: &Crates,
    targets: &[Vec<Module>],
) -> Vec<Finding> {
    let folders: Vec<String> = drawing
        .pure()
        .filter_map(|name| crates.get(name))
        .map(|one| format!("{}/src/", one.folder))
        .collect();
    let is_pure = |module: &&Module| folders.iter().any(|folder| module.file.starts_with(folder));
    let modules = targets.iter().flatten().filter(is_pure);
    modules.flat_map(|module| judge(sources, module)).collect()
}

fn claims_to_be_pure(source: &Source) -> bool {
    let header: Vec<String> = source.syntax.attrs.iter().filter_map(doc_line).map(|(text, _)| text).collect();
    let header = header.join("\n");
    CLAIMS.iter().any(|claim| header.contains(claim))
}

fn judge(sources: &Sources, module: &Module) -> Vec<Finding> {
    let Some(source) = sources.get(&module.file).filter(|_| !module.for_tests) else { return Vec::new() };
    let mut impure = Impure::default();
    impure.visit_file(&source.syntax);
    let names = Names::of(&source.syntax);
    let mentions = names.imports.iter().map(|import| &import.mention).chain(&names.mentions);
    for mention in mentions.filter(|mention| is_impure(&mention.path)) {
        impure.0.insert((mention.line, mention.path.join("::")));
    }
    let at = |(line, what)| Finding::new(RULE, format!("{}:{line}", module.file), format!("names {what}"));
    impure.0.into_iter().map(at).collect()
}

fn is_impure(path: &[String]) -> bool {
    let names: Vec<&str> = path.iter().map(String::as_str).collect();
    match names[..] {
        // An address is data, and so is a moment that is handed in.
        ["std", "net", "SocketAddr" | "IpAddr" | "Ipv4Addr" | "Ipv6Addr", ..]
        | ["tokio", "time", "Instant"] => false,
        ["std", module, ..] if STD.contains(&module) => true,
        [first, _, ..] if CRATES.contains(&first) => true,
        [.., "Instant", "now"] => true,
        _ => names.iter().any(|name| NAMES.contains(name)),
    }
}

/// Impure code that isn't a path: asynchronous code, and methods.
#[derive(Default)]
struct Impure(BTreeSet<(usize, String)>);

impl<'ast> Visit<'ast> for Impure {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_item_for_tests(item) {
            visit::visit_item(self, item);
        }
    }

    fn visit_signature(&mut self, signature: &'ast Signature) {
        if signature.asyncness.is_some() {
            self.0.insert((signature.span().start().line, format!("async fn {}", signature.ident)));
        }
        visit::visit_signature(self, signature);
    }

    fn visit_expr_async(&mut self, block: &'ast ExprAsync) {
        self.0.insert((block.span().start().line, "async".to_owned()));
        visit::visit_expr_async(self, block);
    }

    fn visit_expr_await(&mut self, await_: &'ast ExprAwait) {
        self.0.insert((await_.await_token.span.start().line, "await".to_owned()));
        visit::visit_expr_await(self, await_);
    }

    fn visit_expr_method_call(&mut self, call: &'ast ExprMethodCall) {
        let name = call.method.to_string();
        if METHODS.contains(&name.as_str()) {
            self.0.insert((call.method.span().start().line, format!("{name}()")));
        }
        visit::visit_expr_method_call(self, call);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::modules;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let sources = Sources::parse(files.iter().copied()).unwrap();
        let modules = modules::of_target(&sources, "/lib.rs").unwrap();
        let findings = check(&sources, &modules);
        findings.into_iter().map(|finding| format!("{} {}", finding.place, finding.problem)).collect()
    }

    fn in_pure_file(text: &str) -> Vec<String> {
        found(&[("/lib.rs", "mod a;"), ("/a.rs", &format!("//! Rules. Pure.\n{text}"))])
    }

    #[test]
    fn a_pure_file_names_no_clock_task_or_io() {
        for (text, expected) in [
            ("use tokio::sync::watch;", "names tokio::sync::watch"),
            ("fn f() { std::fs::read(\"x\"); }", "names std::fs::read"),
            ("fn f() { let now = Instant::now(); }", "names Instant::now"),
            ("fn f(at: Instant) -> Duration { at.elapsed() }", "names elapsed()"),
            ("use std::time::SystemTime;", "names std::time::SystemTime"),
            ("fn f() { tracing::info!(\"x\"); }", "names tracing::info"),
            ("fn f() { assert!(crate::entropy::random() > 1); }", "names crate::entropy::random"),
            ("async fn f() {}", "names async fn f"),
            ("fn f() { async {}; }", "names async"),
        ] {
            assert_eq!(in_pure_file(text), [format!("/a.rs:2 {expected}")], "{text}");
        }
    }

    #[test]
    fn what_is_handed_in_is_no_clock_and_tests_may_do_anything() {
        let text = "use std::time::Duration;\nuse tokio::time::Instant;\n\
                    fn f(now: Instant, then: Instant) -> Duration { now - then }\n\
                    #[cfg(test)] mod tests { async fn g() { std::fs::read(\"x\"); } }";
        assert_eq!(in_pure_file(text), [""; 0]);
    }

    #[test]
    fn a_module_that_is_pure_has_only_pure_files() {
        let files = |header| {
            [
                ("/lib.rs", "mod a;"),
                ("/a/mod.rs", header),
                ("/a/b.rs", "use tokio::fs;"),
                ("/a/tests.rs", "use tokio::fs;"),
            ]
        };
        let header = "//! Rules. No IO, no clock.\nmod b; #[cfg(test)] mod tests;";
        assert_eq!(found(&files(header)), ["/a/b.rs:1 names tokio::fs"]);
        assert_eq!(found(&files("//! Rules.\nmod b;")), [""; 0]);
    }

    #[test]
    fn a_pure_crate_has_only_pure_files() {
        let sources = Sources::parse([("crates/store/src/lib.rs", "fn f() { std::env::args(); }")]).unwrap();
        let modules = modules::of_target(&sources, "crates/store/src/lib.rs").unwrap();
        let check = |drawn| {
            let drawing = crate::tidy::arrows::parse(&format!("```crates\n{drawn}\n```")).1;
            check_crates(&sources, &drawing, &Crates::of(&[("store", &[])]), std::slice::from_ref(&modules))
        };
        assert_eq!(check("store (pure) ->").len(), 1);
        assert_eq!(check("store ->"), []);
    }
}
