//! The messages of a request, and the order in which the API wants calls and their results.

use std::collections::HashSet;

use serde_json::Value;

use crate::responder::ask::History;
use crate::responder::place::{Kind, Place, Problem};
use crate::responder::refusal::Refusal;

const ROLES: &[&str] = &["user", "assistant"];

/// The types of blocks. Those of results that the API's own tools have are more, and end alike.
const BLOCKS: &[&str] = &[
    "compaction",
    "container_upload",
    "document",
    "image",
    "mcp_tool_use",
    "redacted_thinking",
    "search_result",
    "server_tool_use",
    "text",
    "thinking",
    "tool_result",
    "tool_use",
];
const RESULT_ENDING: &str = "_tool_result";

/// What the API says of a text block without text, wherever it is.
pub(super) const EMPTY_TEXT: &str = "text content blocks must be non-empty";

/// Checks all messages.
pub(super) fn check(messages: &Place<'_>) -> Result<History, Refusal> {
    let mut history = History::default();
    // The calls of the message before.
    let mut calls: Vec<&str> = Vec::new();
    let mut last = messages.clone();
    for (index, message) in messages.items().enumerate() {
        message.required(Kind::Object)?;
        let role = message.field("role");
        let is_user = match role.text()? {
            "user" => true,
            "assistant" => false,
            _ => return Err(role.refuse(Problem::NoneOf(ROLES))),
        };
        if index == 0 && !is_user {
            return Err(Refusal::bad_request(
                "messages: first message must use the \"user\" role",
            ));
        }
        let read = Blocks::read(&message)?;
        if is_user && is_empty(message.field("content").value) {
            return Err(message.say(
                "all messages must have non-empty content except for the optional final assistant message",
            ));
        }
        read.check_results(&message, &calls)?;
        history = history.after(
            is_user && read.speaks,
            !read.calls.is_empty(),
            read.results.len(),
        );
        calls = read.calls;
        last = message;
    }
    if calls.is_empty() {
        return Ok(history);
    }
    Err(unanswered(&last, &calls))
}

/// Whether a content is a text without characters or a list without blocks.
fn is_empty(content: &Value) -> bool {
    content.as_str().is_some_and(str::is_empty) || content.as_array().is_some_and(Vec::is_empty)
}

/// What the content of a message has.
#[derive(Default)]
struct Blocks<'a> {
    /// Whether there is anything but results and calls.
    speaks: bool,
    /// The ids of calls.
    calls: Vec<&'a str>,
    /// The results with their places.
    results: Vec<(Place<'a>, &'a str)>,
    /// How many results stand before anything else.
    results_first: usize,
}

impl<'a> Blocks<'a> {
    fn read(message: &Place<'a>) -> Result<Self, Refusal> {
        let content = message.field("content");
        content.required(Kind::TextOrList)?;
        let mut read = Self {
            speaks: content.value.is_string(),
            ..Self::default()
        };
        for (index, block) in content.items().enumerate() {
            block.required(Kind::Object)?;
            let kind = block.field("type").text()?;
            let inner = block.named(kind);
            match kind {
                "tool_use" => {
                    inner.field("name").text()?;
                    inner.field("input").required(Kind::Object)?;
                    read.calls.push(inner.field("id").text()?);
                }
                "tool_result" => {
                    inner.field("content").optional(Kind::TextOrList)?;
                    let id = inner.field("tool_use_id").text()?;
                    if read.results.len() == index {
                        read.results_first += 1;
                    }
                    read.results.push((block, id));
                }
                "text" => {
                    if inner.field("text").text()?.is_empty() {
                        return Err(Refusal::bad_request(format!("messages: {EMPTY_TEXT}")));
                    }
                    read.speaks = true;
                }
                _ if BLOCKS.contains(&kind) || kind.ends_with(RESULT_ENDING) => read.speaks = true,
                _ => {
                    return Err(block
                        .with(&block.value["type"])
                        .refuse(Problem::NoTypeOf(BLOCKS)));
                }
            }
        }
        Ok(read)
    }

    /// Checks that all results, which stand first, are of the calls of the message before, and of all of them.
    fn check_results(&self, message: &Place<'_>, calls: &[&str]) -> Result<(), Refusal> {
        let calls_before: HashSet<_> = calls.iter().copied().collect();
        let mut seen = HashSet::new();
        for (place, id) in &self.results {
            if !calls_before.contains(id) {
                return Err(place.say(&format!(
                    "unexpected `tool_use_id` found in `tool_result` blocks: {id}. Each `tool_result` block must have a \
                     corresponding `tool_use` block in the previous message."
                )));
            }
            if !seen.insert(*id) {
                return Err(place.say(&format!(
                    "each tool_use must have a single result. Found multiple `tool_result` blocks with id: {id}"
                )));
            }
        }
        let first: HashSet<_> = self.results[..self.results_first]
            .iter()
            .map(|(_, id)| *id)
            .collect();
        let open: Vec<_> = calls
            .iter()
            .copied()
            .filter(|id| !first.contains(id))
            .collect();
        if open.is_empty() {
            return Ok(());
        }
        Err(unanswered(message, &open))
    }
}

/// Refuses calls without results at the place where they should be.
fn unanswered(place: &Place<'_>, open: &[&str]) -> Refusal {
    place.say(&format!(
        "`tool_use` ids were found without `tool_result` blocks immediately after: {}. Each `tool_use` block must have \
         a corresponding `tool_result` block in the next message.",
        open.join(", ")
    ))
}
