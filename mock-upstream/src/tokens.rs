//! The mock's own rule for counting tokens, exact and simple enough to be applied by hand.
//!
//! * Text is split at Unicode whitespace; a word of `c` characters costs `ceil(c / 6)` tokens.
//! * Each message costs [`MESSAGE_TOKENS`] more. A system prompt is a message on both endpoints, and so is every
//!   tool result, though Anthropic packs several into one user message.
//! * Arguments of earlier tool calls count as text, in canonical JSON.
//! * A tool costs a quarter of the bytes of its canonical JSON `{"name":…,"description":…,"schema":…}`, rounded
//!   up; a missing description is `""`, a missing schema `{}`.
//! * A returned tool call costs a quarter of the bytes of its name and arguments, rounded up.
//!
//! Canonical JSON is compact with keys in byte order, so the same prompt counts the same on both endpoints.

use serde_json::Value;

/// What a message costs beside its text.
pub const MESSAGE_TOKENS: u64 = 4;

const WORD_CHARS_PER_TOKEN: usize = 6;
/// Bytes of a tool, or of a returned call, that cost a token.
pub(crate) const BYTES_PER_TOKEN: usize = 4;

/// Tokens of a text.
///
/// ```
/// assert_eq!(mock_upstream::tokens::of_text("a seventh  wördchen"), 1 + 2 + 2);
/// ```
pub fn of_text(text: &str) -> u64 {
    text.split_whitespace()
        .map(|word| word.chars().count().div_ceil(WORD_CHARS_PER_TOKEN) as u64)
        .sum()
}

/// Tokens of a tool that a request offers.
pub fn of_tool(name: &str, description: &str, schema: &Value) -> u64 {
    let mut json = String::from("{\"name\":");
    push_string(&mut json, name);
    json.push_str(",\"description\":");
    push_string(&mut json, description);
    json.push_str(",\"schema\":");
    push_canonical(&mut json, schema);
    json.push('}');
    json.len().div_ceil(BYTES_PER_TOKEN) as u64
}

/// Tokens of a tool call that an answer returns; `arguments` is its JSON text.
pub fn of_call(name: &str, arguments: &str) -> u64 {
    of_call_bytes(name.len() + arguments.len())
}

/// Tokens of a tool call of which so many bytes are known.
pub(crate) fn of_call_bytes(bytes: usize) -> u64 {
    bytes.div_ceil(BYTES_PER_TOKEN) as u64
}

/// Compact JSON with the keys of every object in byte order.
pub fn canonical(value: &Value) -> String {
    let mut json = String::new();
    push_canonical(&mut json, value);
    json
}

fn push_canonical(json: &mut String, value: &Value) {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(name, _)| name.as_str());
            json.push('{');
            for (i, (name, member)) in members.into_iter().enumerate() {
                if i > 0 {
                    json.push(',');
                }
                push_string(json, name);
                json.push(':');
                push_canonical(json, member);
            }
            json.push('}');
        }
        Value::Array(elements) => {
            json.push('[');
            for (i, element) in elements.iter().enumerate() {
                if i > 0 {
                    json.push(',');
                }
                push_canonical(json, element);
            }
            json.push(']');
        }
        Value::String(text) => push_string(json, text),
        scalar => json.push_str(&scalar.to_string()),
    }
}

fn push_string(json: &mut String, text: &str) {
    json.push_str(&crate::responder::quoted(text));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn words_cost_a_token_for_each_six_characters() {
        for (text, expected) in [
            ("", 0),
            (" \n\t", 0),
            ("a", 1),
            ("sixsix", 1),
            ("sevense", 2),
            ("0123456789ab", 2),
            ("0123456789abc", 3),
            ("one two\u{3000}three", 3),
            ("äöüäöü", 1),
        ] {
            assert_eq!(of_text(text), expected, "{text:?}");
        }
    }

    #[test]
    fn tools_cost_a_quarter_of_their_canonical_bytes() {
        let json = r#"{"name":"f","description":"d","schema":{"a":1,"b":[true]}}"#;
        let schema = json!({"b": [true], "a": 1});
        assert_eq!(of_tool("f", "d", &schema), json.len().div_ceil(4) as u64);
    }

    #[test]
    fn calls_cost_a_quarter_of_their_bytes() {
        assert_eq!(of_call("f", "{}"), 1);
        assert_eq!(of_call("get", "{}"), 2);
    }

    #[test]
    fn canonical_json_does_not_depend_on_key_order() {
        let one: Value =
            serde_json::from_str(r#"{"b": {"d": 1, "c": "x y"}, "a": null}"#).expect("JSON");
        assert_eq!(canonical(&one), r#"{"a":null,"b":{"c":"x y","d":1}}"#);
    }
}
