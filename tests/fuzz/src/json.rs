//! Changes of JSON, as a file that is whole may have them.

use serde_json::Value;

use crate::draw::Draw;

/// Changes a value somewhere.
pub(crate) fn change(draw: &mut Draw, value: &mut Value) {
    let goes_deeper = draw.chance(85);
    match value {
        Value::Object(fields) if !fields.is_empty() && goes_deeper => {
            let names: Vec<String> = fields.keys().cloned().collect();
            let Some(name) = draw.pick(&names) else { return };
            if draw.chance(8) {
                fields.remove(name);
            } else if draw.chance(6) {
                let other = fields[name].clone();
                let text = draw.number().to_string();
                fields.insert(text, other);
            } else if let Some(field) = fields.get_mut(name) {
                change(draw, field);
            }
        }
        Value::Array(elements) if !elements.is_empty() && goes_deeper => {
            let at = draw.below(elements.len());
            match draw.below(10) {
                0 => drop(elements.remove(at)),
                1 => {
                    let again = elements[at].clone();
                    elements.insert(at, again);
                }
                2 => {
                    let other = draw.below(elements.len());
                    elements.swap(at, other);
                }
                _ => change(draw, &mut elements[at]),
            }
        }
        Value::Number(_) if draw.chance(90) => *value = draw.number().into(),
        Value::String(text) if draw.chance(90) => change_text(draw, text),
        _ => *value = leaf(draw),
    }
}

fn change_text(draw: &mut Draw, text: &mut String) {
    *text = match draw.below(4) {
        0 => draw.text(),
        1 => draw.number().to_string(),
        2 => format!("{text} {}", draw.number()),
        // Sets of shards.
        _ => format!("{}-{}/{}", draw.number(), draw.number(), draw.number()),
    };
}

fn leaf(draw: &mut Draw) -> Value {
    match draw.below(6) {
        0 => Value::Null,
        1 => draw.chance(50).into(),
        2 => draw.number().into(),
        3 => draw.text().into(),
        4 => Value::Array(Vec::new()),
        _ => Value::Object(serde_json::Map::new()),
    }
}
