//! `skv explain`: the fields of a manifest, from the schema that Kubernetes takes too.

use anyhow::Context as _;
use clap::ValueHint;
use serde_json::Value;

use crate::outcome::Outcome;
use crate::output;

/// Show the fields of a manifest: what each means, its type and its default.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  skv explain                       the fields of spec
  skv explain spec.tuning
  skv explain spec.storage.size
")]
pub(crate) struct Args {
    /// The field, such as spec.tuning.
    #[arg(default_value = "spec", value_hint = ValueHint::Other)]
    field: String,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Outcome> {
    let [definition, _] = skv_resource::definitions();
    let definition = serde_json::to_value(definition)?;
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    for line in explain(schema, &args.field)? {
        output::say(line)?;
    }
    Ok(Outcome::Done)
}

fn explain(schema: &Value, field: &str) -> anyhow::Result<Vec<String>> {
    let (mut field_schema, mut path) = (schema, Vec::new());
    for name in field.split('.') {
        let fields = field_schema["properties"].as_object();
        field_schema = fields.and_then(|fields| fields.get(name)).with_context(|| {
            let of = if path.is_empty() { "a manifest".to_owned() } else { path.join(".") };
            let names: Vec<&str> = fields.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
            match names.as_slice() {
                [] => format!("{of} has no fields of ours"),
                names => format!("{of} has no field {name}; it has {}", names.join(", ")),
            }
        })?;
        path.push(name);
    }
    let mut lines = vec![title(field, field_schema)];
    lines.extend(describe(field_schema).map(|text| format!("  {text}")));
    let fields = field_schema["properties"].as_object().into_iter().flatten();
    for (name, schema) in fields {
        lines.push(String::new());
        lines.push(title(name, schema));
        lines.extend(describe(schema).map(|text| format!("  {text}")));
    }
    Ok(lines)
}

/// Returns a field with its type and default: `groups <integer, 1 to 4096>, default 2`.
fn title(name: &str, schema: &Value) -> String {
    let mut kind = schema["type"].as_str().unwrap_or("any").to_owned();
    if let Some(choices) = schema["enum"].as_array() {
        let choices: Vec<&str> = choices.iter().filter_map(Value::as_str).collect();
        kind = choices.join(" or ");
    }
    match (number(&schema["minimum"]), number(&schema["maximum"])) {
        (Some(least), Some(most)) => kind = format!("{kind}, {least} to {most}"),
        (Some(least), None) => kind = format!("{kind}, at least {least}"),
        _ => {}
    }
    let default = match &schema["default"] {
        Value::Null | Value::Object(_) => String::new(),
        Value::String(text) => format!(", default {text}"),
        other => format!(", default {other}"),
    };
    format!("{name} <{kind}>{default}")
}

fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_f64().map(f64::round).and_then(|n| format!("{n}").parse().ok()))
}

fn describe(schema: &Value) -> Option<String> {
    schema["description"].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(field: &str) -> anyhow::Result<String> {
        let [definition, _] = skv_resource::definitions();
        let definition = serde_json::to_value(definition)?;
        Ok(explain(&definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"], field)?.join("\n"))
    }

    #[test]
    fn a_field_is_explained_with_those_below_it() {
        let spec = told("spec").unwrap();
        assert!(
            spec.contains("\ngroups <integer, 1 to 4096>, default 2\n  The number of Raft groups"),
            "{spec}"
        );
        let size = told("spec.storage.size").unwrap();
        assert!(size.contains("default 10Gi") && size.contains("may grow"), "{size}");
        let hash = told("spec.hash").unwrap();
        assert!(
            hash.starts_with("spec.hash <fnv1 or fnv1a or integer or integer-or-fnv1>, default fnv1"),
            "{hash}"
        );
    }

    #[test]
    fn a_field_that_isnt_there_is_answered_with_those_that_are() {
        let message = told("spec.tunings").unwrap_err().to_string();
        assert!(
            message.contains("spec has no field tunings; it has ") && message.contains("tuning"),
            "{message}"
        );
        let message = told("spec.groups.many").unwrap_err().to_string();
        assert_eq!(message, "spec.groups has no fields of ours");
    }
}
