//! Arguments for a tool call that are valid for the offered schema, as far as it is simple.
//!
//! Strings carry the call's marker, so that whoever receives them can tell which call of which request they are of.

use std::collections::BTreeSet;

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use crate::tokens;

/// How deep nested schemas are followed.
const DEPTH_MAX: usize = 8;

/// Bytes of names and values, beyond which arguments are left incomplete: a request of megabytes, with lists in lists,
/// would have them grow without end.
const BYTES_MAX: usize = 64 * 1024;

/// Schemas that may say something of one value: those that a `$ref` names, and branches.
const PARTS_MAX: usize = 16;

/// Longer references are not followed: one of a megabyte could be looked up for every value.
const REFERENCE_BYTES_MAX: usize = 1024;

/// Arguments without any member.
pub(super) const NONE: &str = "{}";

/// Canonical JSON of arguments: every required property, and the optional ones of a simple type.
pub(super) fn for_schema(schema: &Value, marker: &str, call: usize) -> String {
    let mut writer = Writer {
        root: schema,
        marker,
        call,
        bytes_left: BYTES_MAX,
    };
    let parts = Parts::of(schema, schema, 0);
    tokens::canonical(&writer.object(&parts, 0))
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

/// What a schema says of a value, together with what it refers to: a local `$ref`, `allOf`, and one branch of `anyOf` and
/// `oneOf`.
struct Parts<'s>(Vec<&'s Value>);

impl<'s> Parts<'s> {
    fn of(root: &'s Value, schema: &'s Value, depth: usize) -> Self {
        let mut parts = Self(Vec::new());
        parts.add(root, schema, depth);
        parts
    }

    fn add(&mut self, root: &'s Value, schema: &'s Value, depth: usize) {
        // A reference may lead to itself.
        if self.0.len() == PARTS_MAX {
            return;
        }
        self.0.push(schema);
        if let Some(target) = referred(root, schema) {
            self.add(root, target, depth);
        }
        for branch in branches(schema, "allOf") {
            self.add(root, branch, depth);
        }
        for name in ["anyOf", "oneOf"] {
            let first = branches(schema, name).next();
            // A list that is linked by its elements has an end only where null is taken.
            let null = || branches(schema, name).find(|branch| branch["type"] == "null");
            let branch = if depth < DEPTH_MAX / 2 {
                first
            } else {
                null().or(first)
            };
            if let Some(branch) = branch {
                self.add(root, branch, depth);
            }
        }
    }

    /// The value of a keyword in the first part that has it.
    fn get(&self, keyword: &str) -> Option<&'s Value> {
        self.0.iter().find_map(|part| part.get(keyword))
    }

    fn number(&self, keyword: &str) -> Option<f64> {
        self.get(keyword).and_then(Value::as_f64)
    }

    fn count(&self, keyword: &str) -> Option<usize> {
        let count = self.get(keyword)?.as_u64()?;
        Some(usize::try_from(count).unwrap_or(usize::MAX))
    }

    /// The type, or the first of several that is not null.
    fn type_name(&self) -> Option<&'s str> {
        match self.get("type") {
            Some(Value::Array(types)) => types
                .iter()
                .take(PARTS_MAX)
                .filter_map(Value::as_str)
                .find(|name| *name != "null"),
            Some(name) => name.as_str(),
            None => self.get("properties").map(|_| "object"),
        }
    }

    /// Whether an optional property is worth a value: one of a simple type, with no keyword that nobody looks at.
    fn is_simple(&self) -> bool {
        let is_plain = ["pattern", "format", "multipleOf", "not"]
            .iter()
            .all(|keyword| self.get(keyword).is_none());
        let is_listed = self.get("enum").is_some() || self.get("const").is_some();
        let is_scalar = matches!(
            self.type_name(),
            Some("string" | "number" | "integer" | "boolean")
        );
        is_listed || is_plain && is_scalar
    }
}

/// What a `$ref` within the same schema leads to.
fn referred<'s>(root: &'s Value, schema: &Value) -> Option<&'s Value> {
    let reference = schema["$ref"].as_str()?;
    let pointer = reference.strip_prefix('#')?;
    if pointer.len() > REFERENCE_BYTES_MAX {
        return None;
    }
    root.pointer(&percent_decode_str(pointer).decode_utf8_lossy())
}

fn branches<'s>(schema: &'s Value, keyword: &str) -> impl Iterator<Item = &'s Value> {
    let list = schema[keyword].as_array().into_iter().flatten();
    list.take(PARTS_MAX)
}

/// Makes values, as long as there is room for them.
struct Writer<'a> {
    /// What references lead into.
    root: &'a Value,
    marker: &'a str,
    call: usize,
    bytes_left: usize,
}

impl<'a> Writer<'a> {
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

    fn object(&mut self, parts: &Parts<'a>, depth: usize) -> Value {
        let mut required = BTreeSet::new();
        let mut members = Map::new();
        for part in &parts.0 {
            for name in part["required"].as_array().into_iter().flatten() {
                // A look costs room, too: many small objects may refer to one with a long list.
                if !self.has_room(1) {
                    break;
                }
                required.extend(name.as_str());
            }
        }
        for part in &parts.0 {
            for (name, property) in part["properties"].as_object().into_iter().flatten() {
                if !self.has_room(1) {
                    break;
                }
                let property = Parts::of(self.root, property, depth + 1);
                let is_wanted = required.contains(name.as_str()) || property.is_simple();
                let is_new = !members.contains_key(name);
                if is_wanted && is_new && self.has_room(name.len()) {
                    members.insert(name.clone(), self.value(&property, depth + 1));
                }
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

    fn value(&mut self, parts: &Parts<'a>, depth: usize) -> Value {
        if let Some(constant) = parts.get("const") {
            return self.copy(constant);
        }
        let listed = parts.get("enum").and_then(Value::as_array);
        if let Some(first) = listed.and_then(|values| values.first()) {
            return self.copy(first);
        }
        if !self.has_room(self.marker.len().max(1)) {
            return Value::Null;
        }
        match parts.type_name() {
            Some("integer") => self.number(parts, true),
            Some("number") => self.number(parts, false),
            Some("boolean") => true.into(),
            Some("null") => Value::Null,
            Some("array") if depth < DEPTH_MAX => {
                let least = parts.count("minItems").unwrap_or(0).min(DEPTH_MAX);
                let items = parts.get("items").unwrap_or(&Value::Null);
                let items = Parts::of(self.root, items, depth + 1);
                let elements = (0..least).map(|_| self.value(&items, depth + 1));
                Value::Array(elements.collect())
            }
            Some("array") => Value::Array(Vec::new()),
            Some("object") if depth < DEPTH_MAX => self.object(parts, depth),
            Some("object") => Value::Object(Map::new()),
            _ => self.text(parts),
        }
    }

    /// The marker, as long as it has to be.
    fn text(&mut self, parts: &Parts<'a>) -> Value {
        let least = parts.count("minLength").unwrap_or(0);
        let most = parts.count("maxLength").unwrap_or(usize::MAX);
        let length = self.marker.len().max(least).min(most);
        if !self.has_room(length) {
            return Value::Null;
        }
        let text: String = self.marker.chars().cycle().take(length).collect();
        text.into()
    }

    /// The call's number, or one within the bounds.
    fn number(&mut self, parts: &Parts<'a>, is_whole: bool) -> Value {
        if let Some(minimum) = parts.get("minimum") {
            return self.copy(minimum);
        }
        let above = parts.number("exclusiveMinimum");
        let below = parts.number("exclusiveMaximum");
        let most = parts.number("maximum");
        let call = self.call as f64;
        let number = match (above, most.or(below)) {
            (Some(above), _) if is_whole => above.floor() + 1.0,
            (Some(above), None) => above + 1.0,
            (Some(above), Some(top)) => f64::midpoint(above, top),
            (None, _) if below.is_some_and(|below| call >= below) => {
                below.unwrap_or_default().ceil() - 1.0
            }
            (None, _) => most.map_or(call, |most| most.min(call)),
        };
        // JSON has 1 and 1.0 for the same whole number, and clients like the short one.
        let whole = format!("{number}").parse::<i64>();
        whole.map_or_else(|_| number.into(), Value::from)
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

    /// What Pydantic makes of models, and what people write by hand.
    #[test]
    fn arguments_are_valid_for_schemas() {
        let address = json!({"type": "object", "properties": {"street": {"type": "string"}, "zip": {"type": "integer"}},
            "required": ["street", "zip"]});
        let node = json!({"type": "object", "properties": {"name": {"type": "string"},
            "next": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]},
            "children": {"type": "array", "items": {"$ref": "#/$defs/Node"}}}, "required": ["name", "next", "children"]});
        let defs = json!({"Address": address, "Node": node, "Unit": {"enum": ["C", "F"]}, "A/b": {"type": "boolean"}});
        let cat = json!({"type": "object", "properties": {"kind": {"const": "cat"}, "lives": {"type": "integer"}},
            "required": ["kind", "lives"], "additionalProperties": false});
        let dog = json!({"type": "object", "properties": {"kind": {"const": "dog"}}, "required": ["kind"]});
        for property in [
            json!({"$ref": "#/$defs/Address"}),
            json!({"$ref": "#/$defs/Address", "description": "beside it"}),
            json!({"allOf": [{"$ref": "#/$defs/Address"}], "default": {}}),
            json!({"allOf": [{"$ref": "#/$defs/Address"}, {"type": "object", "required": ["more"]}]}),
            json!({"$ref": "#/$defs/Node"}),
            json!({"$ref": "#/$defs/Unit"}),
            json!({"$ref": "#/$defs/A~1b"}),
            json!({"type": "array", "items": {"$ref": "#/$defs/Address"}, "minItems": 2}),
            json!({"anyOf": [{"$ref": "#/$defs/Unit"}, {"type": "null"}]}),
            json!({"oneOf": [cat, dog]}),
            json!({"anyOf": [{"type": "integer", "exclusiveMinimum": 0}, {"type": "string"}]}),
            json!({"type": "integer", "exclusiveMinimum": 0, "maximum": 3}),
            json!({"type": "integer", "maximum": -5}),
            json!({"type": "integer", "exclusiveMaximum": 1}),
            json!({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}),
            json!({"type": "string", "maxLength": 3}),
            json!({"type": "string", "minLength": 40}),
            json!({"type": ["null", "string"]}),
            json!({"properties": {"x": {"type": "string"}}, "required": ["x"]}),
        ] {
            for required in [json!(["it"]), json!([])] {
                let schema = json!({"type": "object", "properties": {
                    "it": property, "tagged": {"type": "string", "pattern": "^[0-9]+$"}},
                    "required": required, "$defs": defs});
                let validator = jsonschema::validator_for(&schema).expect("a schema");
                for call in 0..3 {
                    let arguments = for_schema(&schema, "01234567.c1", call);
                    let value: Value = serde_json::from_str(&arguments).expect("JSON");
                    let result = validator.validate(&value);
                    assert!(result.is_ok(), "{arguments}: {result:?}, {property}");
                    assert!(value.get("it").is_some() || required == json!([]));
                }
            }
        }
        // The schema of all arguments may be a reference, too.
        let schema = json!({"$ref": "#/$defs/Address", "$defs": defs});
        check(&schema, r#"{"street":"01234567.c1","zip":1}"#);
    }

    #[test]
    fn references_that_lead_nowhere_or_to_themselves_have_an_end() {
        let many = vec![json!({"$ref": "#/$defs/A"}); 1000];
        for (schema, expected) in [
            (json!({"$ref": "#"}), "{}"),
            (json!({"$ref": "#/gone"}), "{}"),
            (json!({"$ref": "https://example.org/a.json"}), "{}"),
            (
                json!({"$ref": "#/$defs/A", "$defs": {"A": {"allOf": many}}}),
                "{}",
            ),
            (
                json!({"properties": {"a": {"$ref": "#/properties/a"}}, "required": ["a"]}),
                r#"{"a":"01234567.c1"}"#,
            ),
        ] {
            check(&schema, expected);
        }
        let mut properties = Map::new();
        for index in 0..20_000 {
            properties.insert(format!("p{index}"), json!({"$ref": "#"}));
        }
        let names: Vec<_> = properties.keys().cloned().collect();
        let schema = json!({"type": "object", "properties": properties, "required": names});
        let arguments = for_schema(&schema, "", 0);
        assert!(arguments.len() < 8 * BYTES_MAX, "{}", arguments.len());
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
