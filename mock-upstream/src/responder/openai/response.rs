//! Writing chat completions, whole and as streams.

use std::fmt::Write as _;
use std::time::Duration;

use super::usage::{running_usage, usage};
use crate::billing::Progress;
use crate::config::{Behaviour, Dialect, UsageInStream};
use crate::journal::Endpoint;
use crate::responder::ask::Ask;
use crate::responder::bill::progress;
use crate::responder::reply::{Call, Reply, Step, finish_name, quoted};
use crate::script::{Content, Frames};

/// A whole body.
pub(in crate::responder) fn whole(ask: &Ask, reply: &Reply, dialect: Dialect) -> String {
    let text = reply.text();
    let reasoning = reply.reasoning();
    let (content, reasoning_member) = match dialect {
        Dialect::Mistral if reply.reasoning_tokens > 0 => {
            let mut parts = vec![thinking_part(&reasoning)];
            if reply.text_tokens > 0 {
                parts.push(text_part(&text));
            }
            (format!("[{}]", parts.join(",")), String::new())
        }
        Dialect::OpenAi if reply.reasoning_tokens > 0 => (
            content_or_null(reply, &text),
            format!(",\"reasoning_content\":{}", quoted(&reasoning)),
        ),
        _ => (content_or_null(reply, &text), String::new()),
    };
    let calls = if reply.calls.is_empty() {
        String::new()
    } else {
        format!(
            ",\"tool_calls\":[{}]",
            join(reply.calls.iter().map(whole_call))
        )
    };
    format!(
        "{{\"id\":\"chatcmpl-{}\",\"object\":\"chat.completion\",\"created\":{},\"model\":{},\"choices\":[{{\"index\":0,\
         \"message\":{{\"role\":\"assistant\",\"content\":{content}{reasoning_member}{calls}}},\
         \"finish_reason\":\"{}\"}}],\"usage\":{}}}",
        reply.response_id,
        reply.created,
        quoted(&ask.model),
        finish_name(Endpoint::OpenAi, reply.finish),
        usage(reply, dialect),
    )
}

fn content_or_null(reply: &Reply, text: &str) -> String {
    if reply.text_tokens > 0 {
        quoted(text)
    } else {
        "null".to_owned()
    }
}

/// The frames of a stream.
pub(in crate::responder) fn stream(ask: &Ask, reply: &Reply, behaviour: &Behaviour) -> Frames {
    let dialect = behaviour.dialect;
    let shows_usage = shows_usage(ask, behaviour);
    let running = running_members(reply, behaviour);
    // OpenAI's chunks all have the member once the request asks for it.
    let no_usage = if ask.include_usage && dialect == Dialect::OpenAi {
        ",\"usage\":null"
    } else {
        ""
    };
    let mut chunks = Chunks {
        start: format!(
            "data: {{\"id\":\"chatcmpl-{}\",\"object\":\"chat.completion.chunk\",\"created\":{},\"model\":{},\"choices\":[",
            reply.response_id,
            reply.created,
            quoted(&ask.model),
        ),
        no_usage: running.first().map_or(no_usage, String::as_str),
        frames: Frames::new(),
    };
    chunks.delta(
        reply.opening,
        Content::NOTHING,
        r#"{"role":"assistant","content":""}"#,
    );
    let finish = finish_name(Endpoint::OpenAi, reply.finish);
    let mut finished = false;
    for (index, (at, step)) in reply.steps.iter().enumerate() {
        if let Some(member) = running.get(index + 1) {
            chunks.no_usage = member;
        }
        let delta = match step {
            Step::Reasoning(text) if dialect == Dialect::Mistral => {
                format!("{{\"content\":[{}]}}", thinking_part(text))
            }
            Step::Reasoning(text) => format!("{{\"reasoning_content\":{}}}", quoted(text)),
            Step::Text(text) => format!("{{\"content\":{}}}", quoted(text)),
            Step::Transition(thinking, text) => {
                format!(
                    "{{\"content\":[{},{}]}}",
                    thinking_part(thinking),
                    text_part(text)
                )
            }
            Step::Announce(index) => {
                let call = &reply.calls[*index];
                format!(
                    "{{\"tool_calls\":[{{\"index\":{index},\"id\":\"{}\",\"type\":\"function\",\
                     \"function\":{{\"name\":{},\"arguments\":\"\"}}}}]}}",
                    call.id,
                    quoted(&call.name),
                )
            }
            Step::Arguments(index, fragment) => format!(
                "{{\"tool_calls\":[{{\"index\":{index},\"function\":{{\"arguments\":{}}}}}]}}",
                quoted(fragment),
            ),
            Step::WholeCalls => {
                let calls = join(reply.calls.iter().map(whole_call));
                let delta = format!("{{\"content\":\"\",\"tool_calls\":[{calls}]}}");
                let content = match reply.usage_content() {
                    Content::COST => Content::TOKENS_AND_COST,
                    _ => Content::TOKENS,
                };
                chunks.finish(*at, content, &delta, finish, Some(&usage(reply, dialect)));
                finished = true;
                continue;
            }
        };
        chunks.delta(*at, Content::TOKENS, &delta);
    }
    let end = reply.end();
    match dialect {
        Dialect::Mistral if finished => {}
        Dialect::Mistral => {
            let usage = usage(reply, dialect);
            chunks.finish(
                end,
                reply.usage_content(),
                r#"{"content":""}"#,
                finish,
                Some(&usage),
            );
        }
        Dialect::OpenAi | Dialect::Vllm | Dialect::OpenRouter => {
            chunks.finish(end, Content::NOTHING, "{}", finish, None);
            if shows_usage {
                let chunk = format!(
                    "{}],\"usage\":{}}}\n\n",
                    chunks.start,
                    usage(reply, dialect)
                );
                chunks
                    .frames
                    .push(end, reply.usage_content(), chunk.as_bytes());
            }
        }
    }
    chunks
        .frames
        .push(end, Content::NOTHING, b"data: [DONE]\n\n");
    chunks.frames
}

/// Whether the stream ends with its usage.
fn shows_usage(ask: &Ask, behaviour: &Behaviour) -> bool {
    match behaviour.output.usage_in_stream {
        UsageInStream::Always | UsageInStream::Every => true,
        UsageInStream::Asked => ask.include_usage,
        UsageInStream::Never => false,
    }
}

/// The usage members of the chunk with the role and of each step's, if every chunk has one.
fn running_members(reply: &Reply, behaviour: &Behaviour) -> Vec<String> {
    if behaviour.output.usage_in_stream != UsageInStream::Every {
        return Vec::new();
    }
    let nothing = std::iter::once(Progress::default());
    let running = nothing.chain(progress(reply));
    running
        .map(|progress| {
            let usage = running_usage(reply, behaviour.dialect, progress);
            format!(",\"usage\":{usage}")
        })
        .collect()
}

/// Writes chunks that differ only in their choice.
struct Chunks<'a> {
    /// A chunk up to its list of choices.
    start: String,
    /// The usage member of chunks without usage.
    no_usage: &'a str,
    frames: Frames,
}

impl Chunks<'_> {
    fn delta(&mut self, at: Duration, content: Content, delta: &str) {
        let pieces = [
            self.start.as_str(),
            "{\"index\":0,\"delta\":",
            delta,
            ",\"finish_reason\":null}]",
            self.no_usage,
            "}\n\n",
        ];
        self.frames.push_pieces(at, content, &pieces);
    }

    fn finish(
        &mut self,
        at: Duration,
        content: Content,
        delta: &str,
        reason: &str,
        usage: Option<&str>,
    ) {
        let mut chunk = format!(
            "{}{{\"index\":0,\"delta\":{delta},\"finish_reason\":\"{reason}\"}}]",
            self.start,
        );
        match usage {
            Some(usage) => write!(chunk, ",\"usage\":{usage}").expect("a string takes any text"),
            None => chunk.push_str(self.no_usage),
        }
        chunk.push_str("}\n\n");
        self.frames.push(at, content, chunk.as_bytes());
    }
}

fn thinking_part(text: &str) -> String {
    format!(
        "{{\"type\":\"thinking\",\"thinking\":[{}]}}",
        text_part(text)
    )
}

fn text_part(text: &str) -> String {
    format!("{{\"type\":\"text\",\"text\":{}}}", quoted(text))
}

fn whole_call(call: &Call) -> String {
    format!(
        "{{\"id\":\"{}\",\"type\":\"function\",\"function\":{{\"name\":{},\"arguments\":{}}}}}",
        call.id,
        quoted(&call.name),
        quoted(&call.arguments),
    )
}

fn join(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(",")
}
