//! The tools that a request offers, with their schemas ready to be held against calls.

use std::fmt;

use jsonschema::Validator;
use serde_json::Value;

use super::Tool;
use crate::tokens;

/// Tools that requests offer together. It is made once, and shared by all requests that offer it.
pub struct Toolbox {
    tools: Vec<Tool>,
    /// In the order of the tools.
    validators: Vec<Validator>,
    /// By estimate.
    tokens: u64,
}

/// A tool's schema is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the schema of the tool `{tool}` is no JSON Schema: {why}")]
pub struct SchemaError {
    /// The tool's name.
    pub tool: String,
    /// What is wrong with its schema.
    pub why: String,
}

impl Toolbox {
    /// Takes tools, in the order in which they are offered.
    pub fn new(tools: Vec<Tool>) -> Result<Self, SchemaError> {
        let validators = tools.iter().map(|tool| {
            jsonschema::validator_for(&tool.schema).map_err(|error| SchemaError {
                tool: tool.name.clone(),
                why: error.to_string(),
            })
        });
        Ok(Self {
            validators: validators.collect::<Result<_, _>>()?,
            tokens: tools.iter().map(tokens_of).sum(),
            tools,
        })
    }

    /// The tools themselves.
    pub fn tools(&self) -> &[Tool] {
        &self.tools
    }

    /// The estimated tokens of their definitions: compact JSON.
    pub const fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Whether none is offered.
    pub fn is_empty(&self) -> bool {
        self.tools.is_empty()
    }

    /// Whether one is called so.
    pub fn has(&self, name: &str) -> bool {
        self.tools.iter().any(|tool| tool.name == name)
    }

    /// Whether `arguments` fit the schema of the tool of this name; not if there is no such tool.
    pub fn fits(&self, name: &str, arguments: &Value) -> bool {
        let at = self.tools.iter().position(|tool| tool.name == name);
        at.is_some_and(|at| self.validators[at].is_valid(arguments))
    }
}

fn tokens_of(tool: &Tool) -> u64 {
    let json = serde_json::json!({
        "name": tool.name, "description": tool.description, "schema": tool.schema,
    });
    (json.to_string().len() as u64).div_ceil(tokens::JSON_BYTES_PER_TOKEN)
}

impl Default for Toolbox {
    /// No tools.
    fn default() -> Self {
        Self {
            tools: Vec::new(),
            validators: Vec::new(),
            tokens: 0,
        }
    }
}

impl PartialEq for Toolbox {
    fn eq(&self, other: &Self) -> bool {
        self.tools == other.tools
    }
}

impl fmt::Debug for Toolbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.tools).finish()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn tool(schema: Value) -> Tool {
        Tool {
            name: "look".to_owned(),
            description: String::new(),
            schema,
        }
    }

    #[test]
    fn arguments_are_held_against_the_schema_of_their_tool() {
        let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
        let toolbox = Toolbox::new(vec![tool(schema)]).expect("a sound schema");
        assert!(toolbox.fits("look", &json!({"city": "Lyon"})));
        assert!(!toolbox.fits("look", &json!({"city": 1})));
        assert!(!toolbox.fits("look", &json!({})));
        assert!(!toolbox.fits("other", &json!({"city": "Lyon"})));
        assert!(toolbox.has("look") && !toolbox.has("other"));
    }

    #[test]
    fn a_schema_that_is_none_is_named() {
        let error = Toolbox::new(vec![tool(json!({"type": "objekt"}))]).expect_err("no such type");
        assert!(error.to_string().contains("`look`"), "{error}");
    }
}
