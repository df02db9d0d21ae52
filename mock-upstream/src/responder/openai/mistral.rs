//! What Mistral's API checks, which is more than the others do: every field, nine characters of an id, and the order of
//! all messages.

use super::conversation::{check_content, read_calls, read_role};
use crate::responder::ask::History;
use crate::responder::place::{Kind, Place};
use crate::responder::refusal::Refusal;

/// The fields of a request. There is no `max_completion_tokens`. `stream_options` is taken, since clients that speak to
/// any chat completion API send it.
pub(super) const FIELDS: [(&str, Kind); 24] = [
    ("frequency_penalty", Kind::Number),
    ("guardrails", Kind::List),
    ("max_tokens", Kind::Integer),
    ("messages", Kind::List),
    ("metadata", Kind::Object),
    ("model", Kind::Text),
    ("n", Kind::Integer),
    ("parallel_tool_calls", Kind::Flag),
    ("prediction", Kind::Object),
    ("presence_penalty", Kind::Number),
    ("prompt_cache_key", Kind::Text),
    ("prompt_mode", Kind::Text),
    ("random_seed", Kind::Integer),
    ("reasoning_effort", Kind::Text),
    ("response_format", Kind::Object),
    ("safe_prompt", Kind::Flag),
    ("service_tier", Kind::Text),
    ("stop", Kind::TextOrList),
    ("stream", Kind::Flag),
    ("stream_options", Kind::Object),
    ("temperature", Kind::Number),
    ("tool_choice", Kind::TextOrObject),
    ("tools", Kind::List),
    ("top_p", Kind::Number),
];

const ROLES: &[&str] = &["system", "user", "assistant", "tool"];

/// The fields of a message with a role.
fn fields_of(role: &str) -> &'static [(&'static str, Kind)] {
    match role {
        "assistant" => &[
            ("role", Kind::Text),
            ("content", Kind::TextOrList),
            ("tool_calls", Kind::List),
            ("prefix", Kind::Flag),
        ],
        "tool" => &[
            ("role", Kind::Text),
            ("content", Kind::TextOrList),
            ("tool_call_id", Kind::Text),
            ("name", Kind::Text),
        ],
        _ => &[("role", Kind::Text), ("content", Kind::TextOrList)],
    }
}

/// Checks all messages; unknown fields of theirs only if it is `strict`.
pub(super) fn check(messages: &Place<'_>, strict: bool) -> Result<History, Refusal> {
    let mut history = History::default();
    let mut order = Order::default();
    for message in messages.items() {
        let role = read_role(&message, Some(ROLES))?;
        message.named(role).fields(fields_of(role), strict)?;
        check_content(&message, role, None)?;
        let calls = read_calls(&message, role)?;
        history = history.after(
            role == "user",
            !calls.is_empty(),
            usize::from(role == "tool"),
        );
        order.take(&message, role, calls)?;
    }
    order.end()?;
    Ok(history)
}

/// The message before, and which results it leaves open.
#[derive(Default)]
struct Order<'a> {
    role: &'a str,
    is_prefix: bool,
    /// The calls of the latest message of the model.
    calls: Vec<&'a str>,
    /// Results since then.
    results: usize,
}

impl<'a> Order<'a> {
    fn take(
        &mut self,
        message: &Place<'a>,
        role: &'a str,
        calls: Vec<&'a str>,
    ) -> Result<(), Refusal> {
        for id in &calls {
            check_id(id)?;
        }
        let may_follow: &[&str] = match self.role {
            "assistant" => &["assistant", "user", "tool"],
            "tool" => &["assistant", "tool"],
            // Before the first message, or after one of the system or the user.
            _ => &["system", "user", "assistant"],
        };
        if !may_follow.contains(&role) {
            return Err(out_of_order(&match self.role {
                "" => format!("Unexpected role '{role}'"),
                before => format!("Unexpected role '{role}' after role '{before}'"),
            }));
        }
        if role == "tool" {
            let id = message.field("tool_call_id").text()?;
            check_id(id)?;
            if self.results < self.calls.len() && !self.calls.contains(&id) {
                return Err(out_of_order(&format!(
                    "Unexpected tool call id {id} in tool results"
                )));
            }
            self.results += 1;
        } else {
            self.count()?;
            self.calls = calls;
            self.results = 0;
        }
        self.role = role;
        self.is_prefix = message.value["prefix"].as_bool().unwrap_or(false);
        Ok(())
    }

    /// Refuses another number of results than of calls.
    fn count(&self) -> Result<(), Refusal> {
        if self.calls.len() == self.results {
            return Ok(());
        }
        Err(out_of_order(
            "Not the same number of function calls and responses",
        ))
    }

    fn end(&self) -> Result<(), Refusal> {
        if matches!(self.role, "user" | "tool") || self.role == "assistant" && self.is_prefix {
            return self.count();
        }
        Err(out_of_order(&format!(
            "Expected last role User or Tool (or Assistant with prefix True) for serving but got {}",
            self.role
        )))
    }
}

fn out_of_order(message: &str) -> Refusal {
    Refusal::bad_request(message)
        .of_kind("invalid_request_message_order")
        .coded("3230")
}

fn check_id(id: &str) -> Result<(), Refusal> {
    if id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Ok(());
    }
    let message = format!("Tool call id was {id} but must be a-z, A-Z, 0-9, with a length of 9.");
    Err(Refusal::bad_request(message)
        .of_kind("invalid_function_call")
        .coded("3280"))
}
