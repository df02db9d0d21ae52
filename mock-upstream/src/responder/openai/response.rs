//! Writing chat completions, whole and as streams.

use std::fmt::Write as _;
use std::time::Duration;

use super::usage::usage;
use crate::config::{Behaviour, Dialect, UsageInStream};
use crate::journal::Endpoint;
use crate::responder::ask::Ask;
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
    let shows_usage =
        ask.include_usage || behaviour.output.usage_in_stream == UsageInStream::Always;
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
        no_usage,
        frames: Frames::new(),
    };
    chunks.delta(
        reply.opening,
        Content::NOTHING,
        r#"{"role":"assistant","content":""}"#,
    );
    let finish = finish_name(Endpoint::OpenAi, reply.finish);
    let mut finished = false;
    for (at, step) in &reply.steps {
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

/// Writes chunks that differ only in their choice.
struct Chunks {
    /// A chunk up to its list of choices.
    start: String,
    /// The usage member of chunks without usage.
    no_usage: &'static str,
    frames: Frames,
}

impl Chunks {
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
