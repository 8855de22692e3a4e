//! The page of the resource's fields, from its definition.

use std::fmt::Write as _;

use anyhow::Context as _;
use serde_json::Value;

const HEAD: &str = "\
<!-- Written by `cargo xtask book` from the types in crates/resource/. -->

# Fields of a ShardedKV

`kubectl explain shardedkv.spec` tells the same. A field without a default may be left out, unless it is said to be
required. Fields of Kubernetes' own types (affinity, tolerations, resources and so on) are as in a pod.
";

/// Objects whose fields are defined by Kubernetes.
const OF_KUBERNETES: [&str; 7] = [
    "affinity",
    "clients",
    "conditions",
    "pullSecrets",
    "resources",
    "tolerations",
    "topologySpreadConstraints",
];

/// Returns the page.
pub(super) fn page() -> anyhow::Result<String> {
    let definitions = skv_resource::definitions();
    let definition = definitions.iter().find(|definition| definition.spec.names.kind == "ShardedKV");
    let definition = serde_json::to_value(definition.context("there is no ShardedKV")?)?;
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
    let mut page = HEAD.to_owned();
    for (part, what) in [("spec", "What is wanted."), ("status", "What the operator observed.")] {
        let _ = write!(
            page,
            "\n## {part}\n\n{what}\n\n| field | type | default | meaning |\n|---|---|---|---|\n"
        );
        rows(part, &schema[part], &mut page);
    }
    Ok(page)
}

/// Appends a row for each field, those of an object after it.
fn rows(path: &str, schema: &Value, page: &mut String) {
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        let ours = !OF_KUBERNETES.contains(&name.as_str());
        let has_fields = ours && field["properties"].is_object();
        let default = if required.contains(&name.as_str()) {
            "required".to_owned()
        } else if has_fields || field["default"].is_null() {
            // Its fields have the defaults.
            String::new()
        } else {
            format!("`{}`", text(&field["default"]))
        };
        let _ = writeln!(page, "| `{path}` | {} | {default} | {} |", kind(field), meaning(field));
        rows_of(ours, &path, field, page);
    }
}

fn rows_of(ours: bool, path: &str, field: &Value, page: &mut String) {
    if ours {
        rows(path, field, page);
        rows(&format!("{path}[]"), &field["items"], page);
    }
}

fn kind(field: &Value) -> String {
    if let Some(choices) = field["enum"].as_array() {
        let choices =
            choices.iter().filter(|choice| !choice.is_null()).map(|choice| format!("`{}`", text(choice)));
        return choices.collect::<Vec<_>>().join(", ");
    }
    let name = match field["type"].as_str().unwrap_or("any") {
        "object" if field["additionalProperties"].is_object() => "map",
        "array" => "list",
        other => other,
    };
    match (field["minimum"].as_f64(), field["maximum"].as_f64()) {
        (Some(least), Some(most)) => format!("{name}, {least} to {most}"),
        (Some(least), None) if least > 0.0 => format!("{name}, {least} or more"),
        _ => name.to_owned(),
    }
}

/// Returns the description, and the rules that it doesn't contain already.
fn meaning(field: &Value) -> String {
    let description = field["description"].as_str().unwrap_or_default();
    let rules = field["x-kubernetes-validations"].as_array().into_iter().flatten();
    let rules = rules.filter_map(|rule| rule["message"].as_str());
    // The description of a fixed field says so already.
    let rules = rules.filter(|rule| !rule.contains(" fixed")).map(|rule| format!(" Rule: {rule}."));
    let meaning = description.to_owned() + &rules.collect::<String>();
    meaning.replace('|', "\\|").replace('\n', " ")
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_says_its_type_default_and_rules() {
        let schema = json!({
            "required": ["name"],
            "properties": {
                "groups": { "type": "integer", "minimum": 1.0, "maximum": 4096.0, "default": 2, "description": "How many." },
                "name": { "type": "string", "enum": ["a", "b"], "description": "a|b",
                          "x-kubernetes-validations": [{ "message": "is fixed" }, { "message": "is short" }] },
                "ports": { "type": "object", "default": { "http": 1 },
                           "properties": { "http": { "type": "integer", "default": 1 } } },
                "affinity": { "type": "object", "properties": { "x": {} } },
            }
        });
        let mut page = String::new();
        rows("spec", &schema, &mut page);
        let expected = "\
| `spec.affinity` | object |  |  |
| `spec.groups` | integer, 1 to 4096 | `2` | How many. |
| `spec.name` | `a`, `b` | required | a\\|b Rule: is short. |
| `spec.ports` | object |  |  |
| `spec.ports.http` | integer | `1` |  |
";
        assert_eq!(page, expected);
    }
}
