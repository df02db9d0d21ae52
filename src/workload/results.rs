//! How the harness answers calls of tools: what each says, whether it failed, and how long it took.

use std::time::Duration;

use rand::RngExt as _;
use serde_json::Value;

use crate::prompt::{Call, ToolResult, Toolbox};
use crate::seed::{self, Wait};

/// What a call is answered that no rule is about.
const DONE: &str = "Done.";

/// How calls of a tool are answered.
#[derive(Clone, Debug, PartialEq)]
pub struct ResultRule {
    /// Calls of this tool; `None` for all.
    pub tool: Option<String>,
    /// What the result says.
    pub says: Says,
    /// Whether the tool failed.
    pub is_error: bool,
    /// Share of those calls that this is about, 0 to 1; the next rules are about the others.
    pub share: f64,
    /// How long the tool takes.
    pub delay: Wait,
}

/// What a result says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Says {
    /// Always this.
    Text(String),
    /// This, with arguments of the call in it.
    Template(Template),
}

/// A text with places for arguments: `{city}`, `{address/street}`; `{{` and `}}` are braces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// The argument's name, or the way to it, with `/` between the names.
    Argument(String),
}

/// A template is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A brace is not closed.
    #[error("`{{{0}` has no `}}`; write `{{{{` for a brace that is none of a name")]
    Open(String),
    /// A name is empty.
    #[error("`{{}}` names no argument; write `{{city}}`, or `{{{{}}}}` for two braces")]
    Empty,
}

impl std::str::FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, brace) = rest.split_at(at);
            plain.push_str(before);
            let twice = ["{{", "}}"].iter().find(|twice| brace.starts_with(**twice));
            if let Some(twice) = twice {
                plain.push_str(&twice[..1]);
                rest = &brace[2..];
                continue;
            }
            let Some(inner) = brace.strip_prefix('{') else {
                plain.push('}');
                rest = &brace[1..];
                continue;
            };
            let Some((name, behind)) = inner.split_once('}') else {
                let shown = inner.chars().take(20).collect();
                return Err(TemplateError::Open(shown));
            };
            if name.trim().is_empty() {
                return Err(TemplateError::Empty);
            }
            parts.push(Part::Text(std::mem::take(&mut plain)));
            parts.push(Part::Argument(name.trim().to_owned()));
            rest = behind;
        }
        plain.push_str(rest);
        parts.push(Part::Text(plain));
        Ok(Self { parts })
    }
}

impl Template {
    /// The text with the arguments in their places: a text as it is, another value as JSON, one that is not there
    /// as `(no city)`.
    pub fn fill(&self, arguments: &Value) -> String {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Argument(name) => match arguments.pointer(&format!("/{name}")) {
                    Some(Value::String(text)) => out.push_str(text),
                    Some(value) => out.push_str(&value.to_string()),
                    None => {
                        out.push_str("(no ");
                        out.push_str(name);
                        out.push(')');
                    }
                },
            }
        }
        out
    }
}

/// Which turn of which session calls are answered for: what draws are made from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub seed: u64,
    /// The part of the run.
    pub stream: &'a str,
    pub session: u64,
    /// The turn that called.
    pub turn: u32,
}

/// The result of call `index` of a turn, and how long its tool takes.
pub(super) fn answer(
    rules: &[ResultRule],
    offered: &Toolbox,
    call: &Call,
    index: usize,
    asked: Asked<'_>,
) -> (ToolResult, Duration) {
    let (content, is_error, wait) = said(rules, offered, call, index, asked);
    let result = ToolResult {
        call_id: call.id.clone(),
        name: call.name.clone(),
        content,
        is_error,
    };
    (result, wait)
}

fn said(
    rules: &[ResultRule],
    offered: &Toolbox,
    call: &Call,
    index: usize,
    asked: Asked<'_>,
) -> (String, bool, Duration) {
    let Asked {
        seed,
        stream,
        session,
        turn,
    } = asked;
    // As agents do: the model is told, and may try again.
    if !offered.has(&call.name) {
        let text = format!("error: there is no tool called `{}`", call.name);
        return (text, true, Duration::ZERO);
    }
    // A tool without parameters may be called without arguments.
    let arguments = match call.arguments.trim() {
        "" => Ok(Value::Object(serde_json::Map::new())),
        text => serde_json::from_str::<Value>(text),
    };
    let Some(arguments) = arguments.ok().filter(Value::is_object) else {
        let text = "error: the arguments are no JSON object".to_owned();
        return (text, true, Duration::ZERO);
    };
    let place = format!("{turn}.{index}");
    let mut rng = seed::rng(seed, &format!("{stream}.result.{place}"), session);
    for rule in rules {
        // Drawn for each rule, so that one's share does not change another's draw.
        let drawn = rng.random::<f64>();
        let is_about = rule.tool.as_ref().is_none_or(|tool| *tool == call.name);
        if !is_about || drawn >= rule.share {
            continue;
        }
        let text = match &rule.says {
            Says::Text(text) => text.clone(),
            Says::Template(template) => template.fill(&arguments),
        };
        let delay = format!("{stream}.delay.{place}");
        return (text, rule.is_error, rule.delay.draw(seed, &delay, session));
    }
    (DONE.to_owned(), false, Duration::ZERO)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::workload::builtin_tools;

    fn filled(template: &str, arguments: &Value) -> String {
        let template: Template = template.parse().expect(template);
        template.fill(arguments)
    }

    #[test]
    fn templates_have_arguments_in_their_places() {
        let arguments =
            json!({"city": "Lyon", "n": 3, "at": {"lat": 45.7}, "list": ["a", {"b": 1}]});
        for (template, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("{city}: rain", "Lyon: rain"),
            ("{ city }{n}", "Lyon3"),
            ("{at/lat} {at}", "45.7 {\"lat\":45.7}"),
            ("{list/1/b}{list/0}", "1a"),
            ("{street} in {city}", "(no street) in Lyon"),
            ("{at/lon}", "(no at/lon)"),
            (
                "{{\"city\": \"{city}\", \"sky\": {{}}}}",
                "{\"city\": \"Lyon\", \"sky\": {}}",
            ),
            ("a } b", "a } b"),
        ] {
            assert_eq!(filled(template, &arguments), expected, "{template}");
        }
        let wrong = |text: &str| text.parse::<Template>().expect_err(text).to_string();
        assert!(wrong("rain in {city").starts_with("`{city` has no `}`"));
        assert!(wrong("rain in {}").starts_with("`{}` names no argument"));
    }

    fn call(name: &str, arguments: &str) -> Call {
        Call {
            id: "id".to_owned(),
            name: name.to_owned(),
            arguments: arguments.to_owned(),
        }
    }

    fn rule(tool: Option<&str>, text: &str, share: f64) -> ResultRule {
        ResultRule {
            tool: tool.map(str::to_owned),
            says: Says::Text(text.to_owned()),
            is_error: false,
            share,
            delay: Wait::NONE,
        }
    }

    fn of(session: u64) -> Asked<'static> {
        Asked {
            seed: 1,
            stream: "measured",
            session,
            turn: 0,
        }
    }

    #[test]
    fn the_first_rule_about_a_call_answers_it() {
        let tools = builtin_tools();
        let failing = ResultRule {
            is_error: true,
            delay: Wait::Fixed(Duration::from_millis(7)),
            ..rule(Some("convert_currency"), "no rate", 1.0)
        };
        let rules = [
            rule(Some("get_weather"), "rain", 1.0),
            failing,
            rule(None, "other", 1.0),
        ];
        for (name, content, is_error, ms) in [
            ("get_weather", "rain", false, 0),
            ("convert_currency", "no rate", true, 7),
            ("search_orders", "other", false, 0),
        ] {
            let (result, wait) = answer(&rules, &tools, &call(name, "{}"), 0, of(0));
            assert_eq!(
                (result.content.as_str(), result.is_error),
                (content, is_error)
            );
            assert_eq!(wait, Duration::from_millis(ms));
            assert_eq!(
                (result.call_id.as_str(), result.name.as_str()),
                ("id", name)
            );
        }
        let (result, _) = answer(&[], &tools, &call("get_weather", ""), 0, of(0));
        assert_eq!((result.content.as_str(), result.is_error), (DONE, false));
    }

    #[test]
    fn a_share_of_the_calls_is_answered_by_a_rule_and_the_same_ones_again() {
        let tools = builtin_tools();
        let rules = [rule(None, "some", 0.25), rule(None, "rest", 1.0)];
        let some = |seed| {
            let of = |session| Asked {
                seed,
                ..of(session)
            };
            let said = |n| {
                answer(&rules, &tools, &call("get_weather", "{}"), 0, of(n))
                    .0
                    .content
            };
            (0..2_000)
                .filter(|n| said(*n) == "some")
                .collect::<Vec<u64>>()
        };
        let first = some(1);
        assert!((first.len() as f64 / 2_000.0 - 0.25).abs() < 0.05);
        assert_eq!(first, some(1));
        assert_ne!(first, some(2));
    }

    #[test]
    fn calls_that_no_agent_could_run_are_errors() {
        let tools = builtin_tools();
        let rules = [rule(None, "fine", 1.0)];
        for (name, arguments, expected) in [
            (
                "get_wether",
                "{}",
                "error: there is no tool called `get_wether`",
            ),
            (
                "get_weather",
                "{\"city\": ",
                "error: the arguments are no JSON object",
            ),
            (
                "get_weather",
                "[1]",
                "error: the arguments are no JSON object",
            ),
        ] {
            let (result, wait) = answer(&rules, &tools, &call(name, arguments), 0, of(0));
            assert_eq!((result.content.as_str(), result.is_error), (expected, true));
            assert_eq!(wait, Duration::ZERO);
        }
    }
}
