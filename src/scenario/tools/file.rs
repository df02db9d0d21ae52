//! `[workload.tools]` as it is written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::scenario::wait::Wait;

/// The tools of sessions that offer some, the kinds of such sessions, and how calls are answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Tools {
    /// JSON file with the tools, relative to the scenario file: a list of objects with `name`, `description` and
    /// `schema`. Without it and without `define`, there are `get_weather`, `search_orders` and `convert_currency`, and,
    /// where a mix offers it by name, `current_time`, which has no parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The tools, instead of a file.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub define: Vec<Definition>,
    /// Whether several calls may come in one answer (`parallel_tool_calls`, `disable_parallel_tool_use`); left out if
    /// absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parallel: Option<bool>,
    /// Turns of a session, at most: it goes on, with the results of its calls, until an answer calls nothing or it has
    /// had so many. 1 leaves calls unanswered.
    pub turns_max: u32,
    /// Kinds of sessions, drawn by weight. Without any, all offer all tools with `workload.tool_choice`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mix: Vec<Kind>,
    /// How calls are answered: by the first entry that is about a call, or else with `Done.`. A call of a tool that is
    /// not offered, or whose arguments are no JSON object, is answered with an error whatever stands here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub results: Vec<ResultRule>,
}

impl Default for Tools {
    fn default() -> Self {
        Self {
            file: None,
            define: Vec::new(),
            parallel: None,
            turns_max: 1,
            mix: Vec::new(),
            results: Vec::new(),
        }
    }
}

impl Tools {
    /// Whether nothing is said.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// Its name: 1 to 64 letters, digits, `_` and `-`.
    pub name: String,
    /// What it does, for the model.
    #[serde(default)]
    pub description: String,
    /// JSON Schema of its arguments, which are an object.
    pub schema: Value,
}

/// A kind of session that offers tools.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Kind {
    /// What it is called.
    pub name: String,
    /// Its weight among all; above zero.
    #[serde(default = "one")]
    pub weight: f64,
    /// Whether the model must call a tool in the first turn: `auto`, `required`, `none`, or the name of one. In later
    /// turns it is free to.
    #[serde(default = "auto")]
    pub choice: String,
    /// As `workload.tools.parallel`, which stands where this is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel: Option<bool>,
    /// The names of the tools that it offers; all if absent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub offer: Vec<String>,
    /// The last words of the user's text in generated prompts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
}

/// How calls are answered. One of `text` and `template`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResultRule {
    /// Calls of this tool; of all if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// What the result says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The same with arguments of the call in it: `{city}`, or `{address/street}` within an object; `{{` and `}}` are
    /// braces. An argument that is not there becomes `(no city)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// Whether the tool failed (`is_error` on the `anthropic` endpoint).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub error: bool,
    /// Share of those calls that this is about, 0 to 1; the entries below are about the others.
    #[serde(default = "one")]
    pub share: f64,
    /// How long the tool takes: a time such as `2s`, or a distribution as in `load.think_time`; nothing if absent. Tools
    /// of one turn run side by side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Wait>,
}

const fn one() -> f64 {
    1.0
}

fn auto() -> String {
    "auto".to_owned()
}
