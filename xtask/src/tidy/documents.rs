//! The page about the JSON of `skv` names what is printed: a program that reads it has nothing else to go by.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use syn::visit::{self, Visit};
use syn::{Attribute, ItemEnum, ItemStruct, Meta};

use super::finding::Finding;
use super::sources::Sources;

const PAGE: &str = "docs/reference/json.md";
const CODE: &str = "cli/src/";
const RULE: &str = "documents of skv";

/// A type that becomes JSON.
#[derive(Debug, PartialEq, Eq)]
struct Document {
    place: String,
    fields: BTreeSet<String>,
}

/// Returns a finding for each type whose fields don't stand together in a line of the page, and for each field in
/// the page that nothing has.
pub(super) fn check(root: &Path, sources: &Sources) -> anyhow::Result<Vec<Finding>> {
    let page = fs::read_to_string(root.join(PAGE)).with_context(|| format!("can't read {PAGE}"))?;
    Ok(problems(&page, &documents(sources)))
}

fn problems(page: &str, documents: &[Document]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let lines: Vec<BTreeSet<&str>> = page.lines().map(|line| code(line).collect()).collect();
    for Document { place, fields } in documents {
        let missing = |line: &BTreeSet<&str>| -> Vec<String> {
            fields.iter().filter(|field| !line.contains(field.as_str())).cloned().collect()
        };
        let missing = lines.iter().map(missing).min_by_key(Vec::len).unwrap_or_default();
        if !missing.is_empty() {
            let problem = format!("no line of {PAGE} has all its fields: {} is missing", missing.join(", "));
            findings.push(Finding::new(RULE, place, problem));
        }
    }
    let is_field = |name: &str| documents.iter().any(|document| document.fields.contains(name));
    for (number, line) in (1..).zip(page.lines()) {
        let Some((_, fields)) = line.strip_prefix("| `").and_then(|row| row.split_once(" | ")) else {
            continue;
        };
        let is_name =
            |word: &&str| word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        for name in code(fields).filter(is_name).filter(|name| *name != "null" && !is_field(name)) {
            let place = format!("{PAGE}:{number}");
            findings.push(Finding::new(RULE, place, format!("nothing that skv prints has a field {name}")));
        }
    }
    findings
}

/// Returns the pieces of code in a text.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn documents(sources: &Sources) -> Vec<Document> {
    let mut documents = Vec::new();
    for (path, source) in sources.files().filter(|(path, _)| path.starts_with(CODE)) {
        let mut found = Found { path, documents: &mut documents };
        found.visit_file(&source.syntax);
    }
    documents
}

struct Found<'a> {
    path: &'a str,
    documents: &'a mut Vec<Document>,
}

impl Found<'_> {
    fn add(&mut self, name: &syn::Ident, fields: BTreeSet<String>) {
        let place = format!("{} {name}", self.path);
        self.documents.push(Document { place, fields });
    }
}

impl<'ast> Visit<'ast> for Found<'_> {
    fn visit_item_struct(&mut self, item: &'ast ItemStruct) {
        if list(&item.attrs, "derive").any(|name| name == "Serialize") {
            let is_shown = |field: &&syn::Field| {
                !list(&field.attrs, "serde").any(|option| option == "skip" || option == "flatten")
            };
            let names = item.fields.iter().filter(is_shown).filter_map(|field| field.ident.as_ref());
            self.add(&item.ident, names.map(ToString::to_string).collect());
        }
        visit::visit_item_struct(self, item);
    }

    /// Variants with content become fields; others are values.
    fn visit_item_enum(&mut self, item: &'ast ItemEnum) {
        if list(&item.attrs, "derive").any(|name| name == "Serialize") {
            let with_content = item.variants.iter().filter(|variant| !variant.fields.is_empty());
            self.add(
                &item.ident,
                with_content.map(|variant| snake_case(&variant.ident.to_string())).collect(),
            );
        }
        visit::visit_item_enum(self, item);
    }
}

/// Returns the items in the lists of the attributes of this name.
fn list<'a>(attributes: &'a [Attribute], name: &'a str) -> impl Iterator<Item = String> + 'a {
    let lists = attributes.iter().filter_map(move |attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident(name) => Some(list.tokens.to_string()),
        _ => None,
    });
    lists.flat_map(|list| list.split(',').map(|item| item.trim().to_owned()).collect::<Vec<_>>())
}

fn snake_case(name: &str) -> String {
    let mut text = String::new();
    for (index, letter) in name.char_indices() {
        if letter.is_uppercase() && index > 0 {
            text.push('_');
        }
        text.extend(letter.to_lowercase());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(page: &str, code: &str) -> Vec<String> {
        let sources = Sources::parse([("cli/src/put.rs", code), ("lib/src/lib.rs", code)]).unwrap();
        let findings = problems(page, &documents(&sources)).into_iter();
        findings.map(|finding| format!("{}: {}", finding.place, finding.problem)).collect()
    }

    #[test]
    fn the_fields_of_a_document_stand_together() {
        let code = "#[derive(Debug, Serialize)] struct Put { #[serde(flatten)] key: Key, success: bool,
                    #[serde(skip_serializing_if = \"Option::is_none\")] revision: Option<u64>, #[serde(skip)] own: u8 }
                    #[derive(Serialize)] enum Key { Key(String), KeyHex(String), Nothing }
                    #[derive(Debug)] struct Args { quiet: bool }";
        let page = "| command | fields |\n| `put --if` | `success`, `revision` (no `key_hex`) |\n`key` or `key_hex`\n";
        assert_eq!(found(page, code), [""; 0]);
        let page = page.replace("`revision` ", "`version` ");
        let rest = "docs/reference/json.md has all its fields: revision is missing";
        let expected = [
            format!("cli/src/put.rs Put: no line of {rest}"),
            "docs/reference/json.md:2: nothing that skv prints has a field version".to_owned(),
        ];
        assert_eq!(found(&page, code), expected);
    }
}
