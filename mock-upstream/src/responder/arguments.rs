//! Arguments for a tool call that are valid for the offered schema, as far as it is simple.
//!
//! Strings carry the call's marker, so that whoever receives them can tell which call of which request they are of.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::tokens;

/// How deep nested schemas are followed.
const DEPTH_MAX: usize = 8;

/// Bytes of names and values, beyond which arguments are left incomplete: a request of megabytes, with lists in lists,
/// would have them grow without end.
const BYTES_MAX: usize = 64 * 1024;

/// Arguments without any member.
pub(super) const NONE: &str = "{}";

/// Canonical JSON of arguments: every required property, and the optional ones of a simple type.
pub(super) fn for_schema(schema: &Value, marker: &str, call: usize) -> String {
    let mut writer = Writer {
        marker,
        call,
        bytes_left: BYTES_MAX,
    };
    tokens::canonical(&writer.object(schema, 0))
}

/// Keeps at most so many bytes, and no part of a character.
pub(super) fn truncate(arguments: &mut String, bytes: usize) {
    let mut end = bytes.min(arguments.len());
    while !arguments.is_char_boundary(end) {
        end -= 1;
    }
    arguments.truncate(end);
}

/// Makes of an object what no JSON parser takes: one with a comma before its end.
pub(super) fn break_syntax(arguments: &mut String) {
    if arguments.pop().is_some() {
        arguments.push_str(",}");
    }
}

/// Makes values, as long as there is room for them.
struct Writer<'a> {
    marker: &'a str,
    call: usize,
    bytes_left: usize,
}

impl Writer<'_> {
    /// Whether so many bytes are left, which are then used up.
    fn has_room(&mut self, bytes: usize) -> bool {
        let left = self.bytes_left.checked_sub(bytes);
        self.bytes_left = left.unwrap_or_default();
        left.is_some()
    }

    /// A value from the schema, if there is room for it, else null.
    fn copy(&mut self, value: &Value) -> Value {
        if self.has_room(tokens::canonical(value).len()) {
            return value.clone();
        }
        Value::Null
    }

    fn object(&mut self, schema: &Value, depth: usize) -> Value {
        let required: BTreeSet<&str> = schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let mut members = Map::new();
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let is_wanted = required.contains(name.as_str()) || is_simple(property);
            if is_wanted && self.has_room(name.len()) {
                members.insert(name.clone(), self.value(property, depth + 1));
            }
        }
        // Required, but not described: anything goes.
        for name in required {
            if !members.contains_key(name) && self.has_room(name.len() + self.marker.len()) {
                members.insert(name.to_owned(), self.marker.into());
            }
        }
        Value::Object(members)
    }

    fn value(&mut self, schema: &Value, depth: usize) -> Value {
        if let Some(constant) = schema.get("const") {
            return self.copy(constant);
        }
        if let Some(first) = schema["enum"].as_array().and_then(|values| values.first()) {
            return self.copy(first);
        }
        if !self.has_room(self.marker.len()) {
            return Value::Null;
        }
        match type_of(schema) {
            Some("integer" | "number") => match &schema["minimum"] {
                Value::Null => self.call.into(),
                minimum => self.copy(minimum),
            },
            Some("boolean") => true.into(),
            Some("null") => Value::Null,
            Some("array") if depth < DEPTH_MAX => {
                let least = schema["minItems"].as_u64().unwrap_or(0);
                let count = least.min(DEPTH_MAX as u64);
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

    #[test]
    fn arguments_do_not_grow_without_end() {
        let mut nested = json!({"type": "string"});
        for _ in 0..8 {
            nested = json!({"type": "array", "minItems": 1_000_000, "items": nested});
        }
        let long = "x".repeat(2 * BYTES_MAX);
        for schema in [
            json!({"properties": {"a": nested}, "required": ["a"]}),
            json!({"properties": {"a": {"const": long}, "b": {"enum": [long]}}}),
            json!({"properties": {&*long: {"type": "string"}}}),
            json!({"required": [long]}),
        ] {
            let arguments = for_schema(&schema, "01234567.c1", 1);
            assert!(arguments.len() < 4 * BYTES_MAX, "{}", arguments.len());
            assert!(serde_json::from_str::<Value>(&arguments).is_ok());
        }
    }

    #[test]
    fn broken_arguments_are_no_json_and_end_within_no_character() {
        for (arguments, invalid) in [("{}", "{,}"), (r#"{"a":"é"}"#, r#"{"a":"é",}"#)] {
            let mut broken = arguments.to_owned();
            break_syntax(&mut broken);
            assert_eq!(broken, invalid);
            assert!(serde_json::from_str::<Value>(&broken).is_err());
        }
        for (bytes, expected) in [
            (0, ""),
            (6, r#"{"a":""#),
            (7, r#"{"a":""#),
            (8, r#"{"a":"é"#),
        ] {
            let mut arguments = r#"{"a":"é"}"#.to_owned();
            truncate(&mut arguments, bytes);
            assert_eq!(arguments, expected);
        }
    }
}
