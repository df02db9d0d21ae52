//! The tools that a tools workload offers unless the scenario names its own.

use serde_json::json;

use crate::prompt::{Tool, Toolbox};

/// Three realistic tools: a look-up, a search with optional filters and enums, a computation.
pub fn builtin() -> Toolbox {
    let tools = vec![
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
    ];
    Toolbox::new(tools).expect("sound schemas")
}
