//! Names that a file uses: its imports, and all paths in its text, also within macros. Code that is
//! compiled only for tests is left out.

use std::collections::BTreeSet;

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use syn::{Item, ItemMod, ItemUse, UseTree, Visibility};

use super::sources::is_item_for_tests;

/// A path as it is written, such as `super::log::Log`.
#[derive(Debug)]
pub(super) struct Mention {
    pub(super) path: Vec<String>,
    pub(super) line: usize,
    /// The modules within the file that it stands in.
    pub(super) within: Vec<String>,
}

/// An import: a path and the name that it gets, which is `*` for all names.
#[derive(Debug)]
pub(super) struct Import {
    pub(super) mention: Mention,
    pub(super) name: String,
    /// True for an export.
    pub(super) is_export: bool,
}

/// The names in a file.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) imports: Vec<Import>,
    pub(super) mentions: Vec<Mention>,
    /// The items that it defines at its top.
    pub(super) defined: BTreeSet<String>,
    within: Vec<String>,
}

impl Names {
    pub(super) fn of(file: &syn::File) -> Names {
        let items = file.items.iter().filter(|item| !is_item_for_tests(item));
        let mut names = Names { defined: items.filter_map(defined_name).collect(), ..Names::default() };
        names.visit_file(file);
        names
    }

    fn mention(&mut self, path: Vec<String>, line: usize) {
        self.mentions.push(Mention { path, line, within: self.within.clone() });
    }

    fn add_imports(&mut self, tree: &UseTree, before: &[String], is_export: bool) {
        let mut add = |last: Option<String>, name: String, line: usize| {
            let path: Vec<String> = before.iter().cloned().chain(last).collect();
            let mention = Mention { path, line, within: self.within.clone() };
            self.imports.push(Import { mention, name, is_export });
        };
        match tree {
            UseTree::Path(path) => {
                let before = [before, &[path.ident.to_string()]].concat();
                self.add_imports(&path.tree, &before, is_export);
            }
            UseTree::Name(name) => {
                let (line, name) = (name.span().start().line, name.ident.to_string());
                if name == "self" {
                    add(None, before.last().cloned().unwrap_or_default(), line);
                } else {
                    add(Some(name.clone()), name, line);
                }
            }
            UseTree::Rename(rename) => {
                let last = Some(rename.ident.to_string()).filter(|name| name != "self");
                add(last, rename.rename.to_string(), rename.span().start().line);
            }
            UseTree::Glob(glob) => add(None, "*".to_owned(), glob.span().start().line),
            UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.add_imports(tree, before, is_export));
            }
        }
    }

    /// Finds the paths among the tokens of a macro.
    fn scan(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let (mut line, mut colons, mut after_dot) = (0, 0, false);
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.end(&mut path, line);
                        line = ident.span().start().line;
                    }
                    if !after_dot {
                        path.push(ident.to_string());
                    }
                    (colons, after_dot) = (0, false);
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Punct(punct) => {
                    self.end(&mut path, line);
                    (colons, after_dot) = (0, punct.as_char() == '.');
                }
                TokenTree::Group(group) => {
                    self.end(&mut path, line);
                    (colons, after_dot) = (0, false);
                    self.scan(group.stream());
                }
                TokenTree::Literal(_) => {
                    self.end(&mut path, line);
                    (colons, after_dot) = (0, false);
                }
            }
        }
        self.end(&mut path, line);
    }

    fn end(&mut self, path: &mut Vec<String>, line: usize) {
        if !path.is_empty() {
            self.mention(std::mem::take(path), line);
        }
    }
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_item_for_tests(item) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        self.within.push(module.ident.to_string());
        visit::visit_item_mod(self, module);
        self.within.pop();
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.add_imports(&item.tree, &[], !matches!(item.vis, Visibility::Inherited));
    }

    // `pub(in crate::store)` limits the users of an item: it uses nothing itself.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.mention(names, path.span().start().line);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.visit_path(&call.path);
        self.scan(call.tokens.clone());
    }
}

fn defined_name(item: &Item) -> Option<String> {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::TraitAlias(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        // A module within the file counts as an item of it.
        Item::Mod(item) if item.content.is_some() => &item.ident,
        _ => return None,
    };
    Some(name.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_found_in_imports_text_and_macros_but_not_in_tests() {
        let file = syn::parse_file(
            "use crate::a::{self, B as C, d::*};\n\
             pub use e::F;\n\
             fn g() { super::h(); println!(\"{}\", crate::i::J.super_k(l::<M>())); }\n\
             #[cfg(test)] mod tests { use crate::n::O; }\n",
        )
        .unwrap();
        let names = Names::of(&file);
        let imports: Vec<_> = names
            .imports
            .iter()
            .map(|import| (import.mention.path.join("::"), import.name.as_str(), import.is_export))
            .collect();
        let expected = [
            ("crate::a", "a", false),
            ("crate::a::B", "C", false),
            ("crate::a::d", "*", false),
            ("e::F", "F", true),
        ];
        assert_eq!(imports, expected.map(|(path, name, export)| (path.to_owned(), name, export)));
        let mentions: Vec<_> = names.mentions.iter().map(|mention| mention.path.join("::")).collect();
        assert_eq!(mentions, ["super::h", "println", "crate::i::J", "l", "M"]);
        assert_eq!(names.defined.iter().collect::<Vec<_>>(), ["g"]);
    }
}
