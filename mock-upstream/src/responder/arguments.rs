//! Arguments for a tool call that are valid for the offered schema, as far as it is simple.
//!
//! Strings carry the call's marker, so that whoever receives them can tell which call of which request they are of.

use std::cell::Cell;
use std::collections::HashSet;

use serde_json::{Map, Value};

use crate::tokens;

/// How deep nested schemas are followed.
const DEPTH_MAX: usize = 8;

/// Elements of lists in all arguments of a call. Lists in lists multiply: without a limit, a schema of 300 bytes is
/// answered with hundreds of megabytes.
const ELEMENTS_MAX: u64 = 256;

/// Canonical JSON of arguments: every required property, and the optional ones of a simple type.
pub(super) fn for_schema(schema: &Value, marker: &str, call: usize) -> String {
    let filling = Filling {
        marker,
        call,
        elements: Cell::new(ELEMENTS_MAX),
    };
    tokens::canonical(&filling.object(schema, 0))
}

/// What arguments are filled with.
struct Filling<'a> {
    marker: &'a str,
    call: usize,
    /// Elements of lists that may still come.
    elements: Cell<u64>,
}

impl Filling<'_> {
    fn object(&self, schema: &Value, depth: usize) -> Value {
        let required: HashSet<&str> = schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let mut members = Map::new();
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            if required.contains(name.as_str()) || is_simple(property) {
                members.insert(name.clone(), self.value(property, depth + 1));
            }
        }
        // Required, but not described: anything goes.
        for name in required {
            if !members.contains_key(name) {
                members.insert(name.to_owned(), self.marker.into());
            }
        }
        Value::Object(members)
    }

    fn value(&self, schema: &Value, depth: usize) -> Value {
        if let Some(constant) = schema.get("const") {
            return constant.clone();
        }
        if let Some(first) = schema["enum"].as_array().and_then(|values| values.first()) {
            return first.clone();
        }
        match type_of(schema) {
            Some("integer" | "number") => match &schema["minimum"] {
                Value::Null => self.call.into(),
                minimum => minimum.clone(),
            },
            Some("boolean") => true.into(),
            Some("null") => Value::Null,
            Some("array") if depth < DEPTH_MAX => {
                let count = schema["minItems"]
                    .as_u64()
                    .unwrap_or(0)
                    .min(DEPTH_MAX as u64)
                    .min(self.elements.get());
                self.elements.set(self.elements.get() - count);
                let items = (0..count).map(|_| self.value(&schema["items"], depth + 1));
                Value::Array(items.collect())
            }
            Some("array") => Value::Array(Vec::new()),
            Some("object") if depth < DEPTH_MAX => self.object(schema, depth),
            Some("object") => Value::Object(Map::new()),
            _ => self.marker.into(),
        }
    }
}

fn is_simple(schema: &Value) -> bool {
    schema.get("enum").is_some()
        || schema.get("const").is_some()
        || matches!(
            type_of(schema),
            Some("string" | "number" | "integer" | "boolean")
        )
}

/// The type, or the first of several that is not null.
fn type_of(schema: &Value) -> Option<&str> {
    match &schema["type"] {
        Value::Array(types) => types
            .iter()
            .filter_map(Value::as_str)
            .find(|name| *name != "null"),
        name => name.as_str(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(schema: &Value, expected: &str) {
        assert_eq!(for_schema(schema, "01234567.c1", 1), expected);
    }

    #[test]
    fn simple_properties_are_filled_in() {
        check(
            &json!({
                "type": "object",
                "properties": {
                    "city": {"type": "string"},
                    "days": {"type": "integer"},
                    "least": {"type": "number", "minimum": 2.5},
                    "exact": {"type": "boolean"},
                    "unit": {"enum": ["C", "F"]},
                    "maybe": {"type": ["null", "string"]},
                },
                "required": ["city"],
            }),
            r#"{"city":"01234567.c1","days":1,"exact":true,"least":2.5,"maybe":"01234567.c1","unit":"C"}"#,
        );
    }

    #[test]
    fn nested_properties_are_filled_in_where_required() {
        check(
            &json!({
                "properties": {
                    "place": {"type": "object", "properties": {"name": {"type": "string"}}},
                    "tags": {"type": "array", "minItems": 1, "items": {"type": "string"}},
                    "optional": {"type": "array"},
                },
                "required": ["place", "tags", "undescribed"],
            }),
            r#"{"place":{"name":"01234567.c1"},"tags":["01234567.c1"],"undescribed":"01234567.c1"}"#,
        );
    }

    #[test]
    fn a_tool_without_parameters_gets_an_empty_object() {
        check(&Value::Null, "{}");
        check(&json!({"type": "object"}), "{}");
    }
}
