//! The Rust files of the working tree, parsed.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;
use proc_macro2::TokenStream;
use syn::visit::{self, Visit};
use syn::{Attribute, Expr, Item, Lit, Meta};

use crate::command;

/// A parsed file.
pub(super) struct Source {
    pub(super) lines: usize,
    pub(super) syntax: syn::File,
    pub(super) tokens: TokenStream,
}

/// All files, by their paths from the root of the repository.
pub(super) struct Sources(BTreeMap<String, Source>);

impl Sources {
    /// Reads the files that git knows, and new ones that aren't ignored.
    pub(super) fn load(root: &Path) -> anyhow::Result<Sources> {
        let mut list = Command::new("git");
        list.args(["ls-files", "--cached", "--others", "--exclude-standard", "*.rs"]).current_dir(root);
        let list = command::output(&mut list)?;
        let mut texts = Vec::new();
        for path in list.lines() {
            // A file that was removed stays in git's list until that is committed.
            if let Ok(text) = fs::read_to_string(root.join(path)) {
                texts.push((path, text));
            }
        }
        Sources::parse(texts.iter().map(|(path, text)| (*path, text.as_str())))
    }

    /// Parses these texts.
    pub(super) fn parse<'a>(texts: impl IntoIterator<Item = (&'a str, &'a str)>) -> anyhow::Result<Sources> {
        let parse = |(path, text): (&str, &str)| {
            let cant = || format!("{path} can't be parsed");
            let tokens: TokenStream = text.parse().map_err(|error| anyhow::anyhow!("{}: {error}", cant()))?;
            let syntax = syn::parse2(tokens.clone()).with_context(cant)?;
            Ok((path.to_owned(), Source { lines: text.lines().count(), syntax, tokens }))
        };
        Ok(Sources(texts.into_iter().map(parse).collect::<anyhow::Result<_>>()?))
    }

    /// Returns all files with their paths.
    pub(super) fn files(&self) -> impl Iterator<Item = (&str, &Source)> {
        self.0.iter().map(|(path, source)| (path.as_str(), source))
    }

    /// Returns the file at a path, if it is one of the tree's.
    pub(super) fn get(&self, path: &str) -> Option<&Source> {
        self.0.get(path)
    }
}

/// Returns the text and the line of an attribute that is a line of a doc comment.
pub(super) fn doc_line(attribute: &Attribute) -> Option<(String, usize)> {
    let Meta::NameValue(pair) = &attribute.meta else { return None };
    if !pair.path.is_ident("doc") {
        return None;
    }
    let Expr::Lit(value) = &pair.value else { return None };
    let Lit::Str(text) = &value.lit else { return None };
    Some((text.value(), attribute.pound_token.spans[0].start().line))
}

/// Returns true for code that is compiled only for tests.
pub(super) fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string() == "test",
        Meta::Path(path) => path.is_ident("test"),
        Meta::NameValue(_) => false,
    })
}

/// Returns true for an item that is compiled only for tests.
pub(super) fn is_item_for_tests(item: &Item) -> bool {
    is_for_tests(attributes(item))
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// Visits all attributes of a file.
pub(super) fn for_each_attribute(file: &syn::File, each: impl FnMut(&Attribute)) {
    struct Attributes<F>(F);
    impl<'ast, F: FnMut(&Attribute)> Visit<'ast> for Attributes<F> {
        fn visit_attribute(&mut self, attribute: &'ast Attribute) {
            (self.0)(attribute);
            visit::visit_attribute(self, attribute);
        }
    }
    Attributes(each).visit_file(file);
}
