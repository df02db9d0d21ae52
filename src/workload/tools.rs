//! Which tools sessions offer, what they ask for, and the tools that are there unless the scenario
//! names its own.

use std::sync::Arc;

use rand::RngExt as _;
use serde_json::json;

use super::ResultRule;
use crate::prompt::{Tool, ToolChoice, Toolbox};
use crate::tokens;

/// What sessions with tools offer, and how their calls are answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Tools {
    /// Share of the sessions that offer tools.
    pub share: f64,
    /// The kinds of such sessions; not empty, weights above zero.
    pub kinds: Vec<Kind>,
    /// Turns of a session, at most; at least 1, which leaves calls unanswered.
    pub turns_max: u32,
    /// How calls are answered: by the first that is about a call.
    pub results: Vec<ResultRule>,
}

/// A kind of session that offers tools.
#[derive(Clone, Debug, PartialEq)]
pub struct Kind {
    /// Its weight among all kinds; above zero.
    pub weight: f64,
    /// What it offers.
    pub offered: Arc<Toolbox>,
    /// Which tool its first turn must call. Later ones are free to call or not: a model that must call never ends.
    pub choice: ToolChoice,
    /// Whether several calls may come in one answer; `None` leaves it open.
    pub parallel: Option<bool>,
    /// The last words of the user's text.
    pub task: String,
}

/// Two calls of one turn, of the built-in tools.
pub const TASK: &str = "Use the tools: get the weather in Lyon and in Oslo, both at once.";

impl Tools {
    /// No session offers any.
    pub fn none() -> Self {
        Self {
            share: 0.0,
            kinds: vec![Kind::default()],
            turns_max: 1,
            results: Vec::new(),
        }
    }

    /// A kind, by weight.
    pub(super) fn draw(&self, rng: &mut impl rand::Rng) -> &Kind {
        let total: f64 = self.kinds.iter().map(|kind| kind.weight).sum();
        let mut at = rng.random::<f64>() * total;
        let drawn = self.kinds.iter().find(|kind| {
            at -= kind.weight;
            at < 0.0
        });
        let last = || self.kinds.last().expect("there is at least one kind");
        drawn.unwrap_or_else(last)
    }

    /// Turns of a session of this kind, at most.
    pub fn turns_of(&self, kind: &Kind) -> u32 {
        match kind.choice {
            // Nothing may be called, so nothing is answered.
            ToolChoice::None => 1,
            _ => self.turns_max,
        }
    }
}

impl Kind {
    /// The estimated tokens of what it offers and of its task.
    pub(super) fn tokens(&self) -> u64 {
        tokens::estimate(&self.task) + self.offered.tokens()
    }
}

impl Default for Kind {
    /// The first built-in tools, to be called as the model likes.
    fn default() -> Self {
        Self {
            weight: 1.0,
            offered: Arc::new(builtin()),
            choice: ToolChoice::Auto,
            parallel: None,
            task: TASK.to_owned(),
        }
    }
}

/// The built-in tools that are offered unless others are named: a look-up, a search with optional filters and enums,
/// a computation.
pub fn builtin() -> Toolbox {
    let mut tools = catalog();
    tools.retain(|tool| tool.name != NOT_OFFERED);
    Toolbox::new(tools).expect("sound schemas")
}

/// The built-in tool that is offered only where it is named.
const NOT_OFFERED: &str = "current_time";

/// Every built-in tool: those that are offered, and one without parameters.
pub fn catalog() -> Vec<Tool> {
    vec![
        Tool {
            name: "get_weather".to_owned(),
            description: "Current weather of a city: temperature, wind and sky.".to_owned(),
            schema: json!({
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "City, as in `Lyon`"},
                    "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}
                },
                "required": ["city"],
                "additionalProperties": false
            }),
        },
        Tool {
            name: "search_orders".to_owned(),
            description: "Searches a customer's orders, newest first.".to_owned(),
            schema: json!({
                "type": "object",
                "properties": {
                    "customer_id": {"type": "string", "description": "Id, as in `C-10442`"},
                    "status": {"type": "string", "enum": ["open", "shipped", "returned"]},
                    "limit": {"type": "integer", "minimum": 1, "maximum": 50}
                },
                "required": ["customer_id"],
                "additionalProperties": false
            }),
        },
        Tool {
            name: "convert_currency".to_owned(),
            description: "Converts an amount of money at today's rate.".to_owned(),
            schema: json!({
                "type": "object",
                "properties": {
                    "amount": {"type": "number"},
                    "from": {"type": "string", "description": "ISO 4217 code"},
                    "to": {"type": "string", "description": "ISO 4217 code"}
                },
                "required": ["amount", "from", "to"],
                "additionalProperties": false
            }),
        },
        Tool {
            name: NOT_OFFERED.to_owned(),
            description: "The time of day and the date, UTC.".to_owned(),
            schema: json!({"type": "object", "properties": {}, "additionalProperties": false}),
        },
    ]
}
