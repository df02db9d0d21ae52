//! The messages of a chat completion, and the order in which `OpenAI` wants calls and their results.

use crate::responder::ask::History;
use crate::responder::place::{Kind, Place, Problem};
use crate::responder::refusal::Refusal;

const ROLES: &[&str] = &[
    "system",
    "assistant",
    "user",
    "function",
    "tool",
    "developer",
];

/// Types of the parts of a content.
const PARTS: &[&str] = &[
    "text",
    "image_url",
    "input_audio",
    "refusal",
    "audio",
    "file",
];

/// Calls that a message may have.
const CALLS_MAX: usize = 128;

/// Checks all messages. Roles and parts that `OpenAI` does not have are refused if only those are `known`.
pub(super) fn check(messages: &Place<'_>, known: bool) -> Result<History, Refusal> {
    let mut history = History::default();
    let mut order = Order::default();
    for message in messages.items() {
        let role = read_role(&message, known.then_some(ROLES))?;
        check_content(&message, role, known.then_some(PARTS))?;
        let calls = read_calls(&message, role)?;
        order.take(&message, role, &calls)?;
        history = history.after(
            role == "user",
            !calls.is_empty(),
            usize::from(role == "tool"),
        );
    }
    order.end()?;
    Ok(history)
}

/// The role of a message, which is one of `known`, if that is a list.
pub(super) fn read_role<'a>(
    message: &Place<'a>,
    known: Option<&'static [&'static str]>,
) -> Result<&'a str, Refusal> {
    message.required(Kind::Object)?;
    let place = message.field("role");
    let role = place.text()?;
    match known {
        Some(known) if !known.contains(&role) => Err(place.refuse(Problem::NoneOf(known))),
        _ => Ok(role),
    }
}

/// Checks a content, which only a message of the model may do without. Parts are of one of the `known` types, if that
/// is a list.
pub(super) fn check_content(
    message: &Place<'_>,
    role: &str,
    known: Option<&'static [&'static str]>,
) -> Result<(), Refusal> {
    let content = message.field("content");
    let instead = ["tool_calls", "function_call", "refusal", "audio"];
    let has_other = instead.iter().any(|name| !message.value[*name].is_null());
    if role != "assistant" || !has_other {
        content.required(Kind::TextOrList)?;
    }
    content.optional(Kind::TextOrList)?;
    for part in content.items() {
        part.required(Kind::Object)?;
        let kind = part.field("type");
        let name = kind.text()?;
        if let Some(known) = known
            && !known.contains(&name)
        {
            return Err(kind.refuse(Problem::NoTypeOf(known)));
        }
        match name {
            "text" => drop(part.field("text").text()?),
            // Others take an address alone.
            "image_url" if known.is_some() => drop(part.field(name).required(Kind::Object)?),
            _ => {}
        }
    }
    Ok(())
}

/// The ids of a message's calls.
pub(super) fn read_calls<'a>(message: &Place<'a>, role: &str) -> Result<Vec<&'a str>, Refusal> {
    if role != "assistant" {
        return Ok(Vec::new());
    }
    let calls = message.field("tool_calls");
    calls.optional(Kind::List)?;
    if calls.items().nth(CALLS_MAX).is_some() {
        return Err(calls.refuse(Problem::MoreThan(CALLS_MAX)));
    }
    let read = |call: Place<'a>| {
        call.required(Kind::Object)?;
        let id = call.field("id").text()?;
        let function = call.field("function");
        function.required(Kind::Object)?;
        function.field("name").text()?;
        if !function.value["arguments"].is_object() {
            function.field("arguments").text()?;
        }
        Ok(id)
    };
    calls.items().map(read).collect()
}

/// Which results are still to come.
#[derive(Default)]
struct Order<'a> {
    /// The calls that the messages before have, until one that is no result.
    calls: Vec<&'a str>,
    /// Those without a result.
    open: Vec<&'a str>,
    /// The latest message that is no result, with calls.
    caller: Option<Place<'a>>,
}

impl<'a> Order<'a> {
    fn take(&mut self, message: &Place<'a>, role: &str, calls: &[&'a str]) -> Result<(), Refusal> {
        if role == "tool" {
            return self.answer(message);
        }
        self.end()?;
        self.calls = calls.to_vec();
        self.open = calls.to_vec();
        self.caller = Some(message.clone());
        Ok(())
    }

    fn answer(&mut self, message: &Place<'a>) -> Result<(), Refusal> {
        if self.calls.is_empty() {
            return Err(out_of_order(
                &message.field("role"),
                "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with \
                 'tool_calls'.",
            ));
        }
        let place = message.field("tool_call_id");
        let id = place.text()?;
        if !self.calls.contains(&id) {
            let message = format!(
                "Invalid parameter: 'tool_call_id' of '{id}' not found in 'tool_calls' of previous message."
            );
            return Err(out_of_order(&place, &message));
        }
        self.open.retain(|open| *open != id);
        Ok(())
    }

    /// Refuses calls without results.
    fn end(&self) -> Result<(), Refusal> {
        let Some(caller) = self.caller.as_ref().filter(|_| !self.open.is_empty()) else {
            return Ok(());
        };
        let message = format!(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each \
             'tool_call_id'. The following tool_call_ids did not have response messages: {}",
            self.open.join(", ")
        );
        Err(out_of_order(&caller.field("role"), &message))
    }
}

/// Here `OpenAI` writes the place with a dot more: `messages.[1].role`.
fn out_of_order(place: &Place<'_>, message: &str) -> Refusal {
    place
        .say(message)
        .at(place.openai_path().replace('[', ".["))
}
