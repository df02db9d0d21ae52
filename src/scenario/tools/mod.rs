//! The checks of `[workload.tools]`: every name is one of the tools that there are.

pub(super) mod file;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde_json::Value;

use super::check::Check;
use super::file::Workload;
use crate::prompt::{Tool, ToolChoice, Toolbox};
use crate::seed;
use crate::suggest;
use crate::workload::{self, Kind, ResultRule, Says, Tools};

/// Most turns of a session: beyond what any agent's loop has, and a bound on its conversation.
const TURNS_MAX: u32 = 1_000;

/// Most characters of a tool's name, on both endpoints.
const NAME_CHARACTERS_MAX: usize = 64;

/// What a session of other tools than the built-in ones asks for.
const OWN_TASK: &str = "Use the tools that you need.";

impl Check<'_> {
    /// What sessions with tools do. Where the tools stand in a file that has not been read, all but names is checked,
    /// and nothing is built.
    pub(super) fn tools(&mut self, workload: &Workload) -> Tools {
        let file = &workload.tools;
        if !file.is_default() && workload.tools_share == 0.0 {
            self.say("workload.tools_share", "is 0, so that no session offers tools and `[workload.tools]` does nothing; set it above 0, 1 for all sessions");
        }
        if !(1..=TURNS_MAX).contains(&file.turns_max) {
            let message = format!("must be from 1 to {TURNS_MAX}, not {}", file.turns_max);
            self.say("workload.tools.turns_max", message);
        }
        if file.turns_max == 1 && !file.results.is_empty() {
            self.say("workload.tools.results", "are never sent, since sessions have one turn; set `workload.tools.turns_max` above 1");
        }
        if file.file.is_some() && !file.define.is_empty() {
            self.say(
                "workload.tools.define",
                "and `workload.tools.file` exclude each other; keep one",
            );
        }
        let known = self.known(file);
        let results = self.results(&file.results, known.as_deref());
        let kinds = self.kinds(workload, known.as_deref());
        Tools {
            share: workload.tools_share,
            kinds,
            turns_max: file.turns_max,
            results,
        }
    }

    /// The tools that there are; `None` if they stand in a file that has not been read.
    fn known(&mut self, file: &file::Tools) -> Option<Vec<Tool>> {
        let (tools, place): (Vec<Tool>, _) = if let Some(name) = &file.file {
            (self.tools?.to_vec(), Place::File(name))
        } else if file.define.is_empty() {
            return Some(workload::tool_catalog());
        } else {
            let tool = |tool: &file::Definition| Tool {
                name: tool.name.clone(),
                description: tool.description.clone(),
                schema: tool.schema.clone(),
            };
            (file.define.iter().map(tool).collect(), Place::Here)
        };
        if tools.is_empty() {
            self.say("workload.tools.file", "has no tools in it; it is a list of objects with `name`, `description` and `schema`");
            // Every name would be unknown.
            return None;
        }
        for (n, tool) in tools.iter().enumerate() {
            let is_repeated = tools[..n].iter().any(|before| before.name == tool.name);
            let fault = if is_repeated {
                let message = "there are two tools of this name; each call must be of one";
                Some(("name", message.to_owned()))
            } else {
                fault_of(tool)
            };
            if let Some((field, message)) = fault {
                self.say(&place.key(n, field), place.message(n, tool, &message));
            }
        }
        Some(tools)
    }

    fn kinds(&mut self, workload: &Workload, known: Option<&[Tool]>) -> Vec<Kind> {
        let file = &workload.tools;
        let choice = &workload.tool_choice;
        let Some(known) = known else {
            return vec![Kind::default()];
        };
        let is_own = file.file.is_some() || !file.define.is_empty();
        let all: Vec<Tool> = if is_own {
            known.to_vec()
        } else {
            workload::builtin_tools().tools().to_vec()
        };
        if file.mix.is_empty() {
            let task = if is_own {
                OWN_TASK
            } else {
                workload::TOOLS_TASK
            };
            return vec![Kind {
                weight: 1.0,
                choice: self.choice("workload.tool_choice", choice, &all, known),
                offered: boxed(all),
                parallel: file.parallel,
                task: task.to_owned(),
            }];
        }
        if choice != "auto" {
            self.say(
                "workload.tool_choice",
                "does nothing beside `[[workload.tools.mix]]`, whose entries have a `choice` each",
            );
        }
        let mut kinds = Vec::new();
        for (n, kind) in file.mix.iter().enumerate() {
            let key = |field: &str| format!("workload.tools.mix[{n}].{field}");
            if kind.name.trim().is_empty() {
                self.say(&key("name"), "must not be empty");
            }
            if file.mix[..n].iter().any(|before| before.name == kind.name) {
                self.say(
                    &key("name"),
                    format!("there are two kinds called `{}`", kind.name),
                );
            }
            if !kind.weight.is_finite() || kind.weight <= 0.0 {
                let message = format!("must be above zero, not {}", kind.weight);
                self.say(&key("weight"), message);
            }
            if kind
                .task
                .as_ref()
                .is_some_and(|task| task.trim().is_empty())
            {
                self.say(
                    &key("task"),
                    "must not be empty; to have the usual one, leave it out",
                );
            }
            let offered = if kind.offer.is_empty() {
                all.clone()
            } else {
                self.offered(&key("offer"), &kind.offer, known)
            };
            let choice = self.choice(&key("choice"), &kind.choice, &offered, known);
            kinds.push(Kind {
                weight: kind.weight,
                task: kind
                    .task
                    .clone()
                    .unwrap_or_else(|| task(&choice, &offered, is_own)),
                choice,
                offered: boxed(offered),
                parallel: kind.parallel.or(file.parallel),
            });
        }
        kinds
    }

    /// The tools of these names.
    fn offered(&mut self, key: &str, names: &[String], known: &[Tool]) -> Vec<Tool> {
        let mut offered: Vec<Tool> = Vec::new();
        for name in names {
            match known.iter().find(|tool| tool.name == *name) {
                Some(_) if offered.iter().any(|tool| tool.name == *name) => {
                    self.say(key, format!("names `{name}` twice"));
                }
                Some(tool) => offered.push(tool.clone()),
                None => self.say(key, unknown_tool(name, known)),
            }
        }
        offered
    }

    fn choice(&mut self, key: &str, text: &str, offered: &[Tool], known: &[Tool]) -> ToolChoice {
        let has = |tools: &[Tool]| tools.iter().any(|tool| tool.name == text);
        match text {
            "auto" => ToolChoice::Auto,
            "required" => ToolChoice::Required,
            "none" => ToolChoice::None,
            name if has(offered) => ToolChoice::Named(name.to_owned()),
            name if has(known) => {
                self.say(key, format!("`{name}` is not offered here, so it cannot be called; name it in `offer` of an entry of `[[workload.tools.mix]]`"));
                ToolChoice::Auto
            }
            name => {
                let names = offered.iter().map(|tool| tool.name.as_str());
                let choices: Vec<&str> = ["auto", "required", "none"]
                    .into_iter()
                    .chain(names)
                    .collect();
                let hint = suggest::clause(name, choices.iter().copied());
                let list = choices.join(", ");
                self.say(
                    key,
                    format!("unknown choice `{name}`{hint}; known are {list}"),
                );
                ToolChoice::Auto
            }
        }
    }

    fn results(&mut self, rules: &[file::ResultRule], known: Option<&[Tool]>) -> Vec<ResultRule> {
        let mut list = Vec::new();
        for (n, rule) in rules.iter().enumerate() {
            let table = format!("workload.tools.results[{n}]");
            let key = |field: &str| format!("{table}.{field}");
            if let (Some(name), Some(known)) = (&rule.tool, known)
                && !known.iter().any(|tool| tool.name == *name)
            {
                self.say(&key("tool"), unknown_tool(name, known));
            }
            self.share(&key("share"), rule.share);
            let says = match (&rule.text, &rule.template) {
                (Some(text), None) => Some(Says::Text(text.clone())),
                (None, Some(template)) => match template.parse() {
                    Ok(template) => Some(Says::Template(template)),
                    Err(error) => {
                        self.say(&key("template"), error.to_string());
                        None
                    }
                },
                (Some(_), Some(_)) => {
                    self.say(&key("template"), "and `text` exclude each other; keep one");
                    None
                }
                (None, None) => {
                    self.say(&table, "needs `text`, or `template` for one with arguments in it: what the tool says");
                    None
                }
            };
            let delay = match &rule.delay {
                Some(delay) => self.wait(&key("delay"), delay),
                None => Some(seed::Wait::NONE),
            };
            if let (Some(says), Some(delay)) = (says, delay) {
                list.push(ResultRule {
                    tool: rule.tool.clone(),
                    says,
                    is_error: rule.error,
                    share: rule.share,
                    delay,
                });
            }
        }
        list
    }
}

/// Where a tool is defined.
enum Place<'a> {
    File(&'a str),
    Here,
}

impl Place<'_> {
    fn key(&self, n: usize, field: &str) -> String {
        match self {
            Self::File(_) => "workload.tools.file".to_owned(),
            Self::Here => format!("workload.tools.define[{n}].{field}"),
        }
    }

    fn message(&self, n: usize, tool: &Tool, message: &str) -> String {
        match self {
            Self::File(name) => format!("{name}: tool {} (`{}`): {message}", n + 1, tool.name),
            Self::Here => format!("the tool `{}`: {message}", tool.name),
        }
    }
}

/// The field of a tool that is wrong, and how.
fn fault_of(tool: &Tool) -> Option<(&'static str, String)> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let length = tool.name.len();
    if !(1..=NAME_CHARACTERS_MAX).contains(&length) || !tool.name.chars().all(is_plain) {
        let message = format!("a name is 1 to {NAME_CHARACTERS_MAX} letters, digits, `_` and `-`");
        return Some(("name", message));
    }
    if tool.schema.get("type").and_then(Value::as_str) != Some("object") {
        let message = "its schema must be an object with `type` = `object`, since arguments are one; without parameters, add `properties` = {}";
        return Some(("schema", message.to_owned()));
    }
    let error = Toolbox::new(vec![tool.clone()]).err()?;
    Some((
        "schema",
        format!("its schema is no JSON Schema: {}", error.why),
    ))
}

fn boxed(tools: Vec<Tool>) -> Arc<Toolbox> {
    // Whatever is wrong with them has been said.
    Arc::new(Toolbox::new(tools).unwrap_or_default())
}

fn unknown_tool(name: &str, known: &[Tool]) -> String {
    let names = || known.iter().map(|tool| tool.name.as_str());
    let hint = suggest::clause(name, names());
    let list: Vec<&str> = names().collect();
    format!(
        "there is no tool `{name}`{hint}; there are {}",
        list.join(", ")
    )
}

/// What a kind of session asks for that does not say it.
fn task(choice: &ToolChoice, offered: &[Tool], is_own: bool) -> String {
    let has_weather = offered.iter().any(|tool| tool.name == "get_weather");
    match choice {
        ToolChoice::Named(name) => format!("Use the tool {name}."),
        ToolChoice::None => "Answer without tools.".to_owned(),
        _ if has_weather && !is_own => workload::TOOLS_TASK.to_owned(),
        _ => OWN_TASK.to_owned(),
    }
}
