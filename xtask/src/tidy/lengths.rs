//! Lengths of files and functions. Those over the limits are found; `limits` has the allowed ones.

use std::collections::BTreeMap;

use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use syn::{Block, ImplItemFn, ItemFn, Signature, TraitItemFn};

use super::limits::{FILE, FUNCTION, Limits};
use super::sources::Sources;

/// Returns all files and functions that are too long, with their lines.
pub(super) fn measure(sources: &Sources) -> Limits {
    let mut limits = Limits::default();
    for (path, source) in sources.files() {
        if source.lines > FILE {
            limits.files.insert(path.to_owned(), source.lines);
        }
        let mut functions = Functions { path, too_long: &mut limits.functions };
        functions.visit_file(&source.syntax);
    }
    limits
}

struct Functions<'a> {
    path: &'a str,
    too_long: &'a mut BTreeMap<String, usize>,
}

impl Functions<'_> {
    fn measure(&mut self, signature: &Signature, body: &Block) {
        let first = signature.span().start().line;
        let lines = body.span().end().line - first + 1;
        if lines > FUNCTION {
            self.too_long.insert(format!("{} {}", self.path, signature.ident), lines);
        }
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, function: &'ast ItemFn) {
        self.measure(&function.sig, &function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast ImplItemFn) {
        self.measure(&function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast TraitItemFn) {
        if let Some(body) = &function.default {
            self.measure(&function.sig, body);
        }
        visit::visit_trait_item_fn(self, function);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(text: &str) -> Limits {
        measure(&Sources::parse([("a.rs", text)]).unwrap())
    }

    /// Returns a function of this many lines.
    fn function(lines: usize) -> String {
        format!("/// Does much.\n#[inline]\nfn f() {{\n{}}}\n", "g();\n".repeat(lines - 2))
    }

    #[test]
    fn a_function_is_as_long_as_from_its_name_to_its_end() {
        assert_eq!(measured(&function(FUNCTION)), Limits::default());
        let too_long = measured(&function(FUNCTION + 1));
        assert_eq!(too_long.functions, BTreeMap::from([("a.rs f".to_owned(), FUNCTION + 1)]));
        for (before, after) in [("impl A {", "}"), ("trait A {", "}"), ("mod tests {", "}")] {
            let within = measured(&format!("{before}\n{}{after}", function(FUNCTION + 1)));
            assert_eq!(within.functions.len(), 1, "{before}");
        }
    }

    #[test]
    fn a_file_may_have_so_many_lines_and_no_more() {
        assert_eq!(measured(&"//\n".repeat(FILE)), Limits::default());
        let files = measured(&"//\n".repeat(FILE + 1)).files;
        assert_eq!(files, BTreeMap::from([("a.rs".to_owned(), FILE + 1)]));
    }
}
