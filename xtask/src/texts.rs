//! The texts of fields, anywhere in a document. Pure.

use std::collections::BTreeSet;

use serde_json::Value;

/// Returns the texts in all fields of these names.
pub(crate) fn texts<'a>(document: &'a Value, names: &[&str]) -> BTreeSet<&'a str> {
    match document {
        Value::Object(fields) => {
            let own = fields.iter().filter(|(name, _)| names.contains(&name.as_str()));
            let own = own.filter_map(|(_, value)| value.as_str());
            own.chain(fields.values().flat_map(|value| texts(value, names))).collect()
        }
        Value::Array(items) => items.iter().flat_map(|item| texts(item, names)).collect(),
        _ => BTreeSet::new(),
    }
}
