//! Writing chat completions, whole and as streams.

use std::time::Duration;

use super::usage::{running_usage, usage};
use super::{PROVIDER, id_prefix};
use crate::billing::Progress;
use crate::config::{Behaviour, Dialect, UsageInStream};
use crate::journal::Endpoint;
use crate::responder::ask::Ask;
use crate::responder::bill::progress;
use crate::responder::calls::{Call, CallForm};
use crate::responder::reply::{Reply, Step, finish_name, quoted};
use crate::script::{Content, Frames};

/// A whole body.
pub(in crate::responder) fn whole(ask: &Ask, reply: &Reply, behaviour: &Behaviour) -> String {
    let dialect = behaviour.dialect;
    let message = message(reply, dialect);
    let finish = finish_name(Endpoint::OpenAi, reply.finish);
    let (tail, after) = match dialect {
        Dialect::OpenAi => (
            String::new(),
            openai_members(reply, behaviour),
        ),
        Dialect::Mistral => (String::new(), String::new()),
        Dialect::Vllm => (
            ",\"stop_reason\":null,\"token_ids\":null".to_owned(),
            ",\"service_tier\":null,\"system_fingerprint\":null,\"prompt_logprobs\":null,\"prompt_token_ids\":null,\
             \"kv_transfer_params\":null"
                .to_owned(),
        ),
        Dialect::OpenRouter => (
            format!(",\"native_finish_reason\":\"{finish}\""),
            String::new(),
        ),
    };
    let logprobs = match dialect {
        Dialect::Mistral => "",
        Dialect::OpenAi | Dialect::Vllm | Dialect::OpenRouter => ",\"logprobs\":null",
    };
    format!(
        "{},\"choices\":[{{\"index\":0,\"message\":{{\"role\":\"assistant\",{message}}}{logprobs},\
         \"finish_reason\":\"{finish}\"{tail}}}],\"usage\":{}{after}}}",
        head(ask, reply, dialect, "chat.completion"),
        usage(reply, dialect),
    )
}

/// What only `OpenAI` has beside the choices, with a comma before.
fn openai_members(reply: &Reply, behaviour: &Behaviour) -> String {
    let deal = reply.bill.deal(&behaviour.cost);
    let tier = quoted(deal.billed_service_tier());
    format!(",\"service_tier\":{tier},\"system_fingerprint\":\"fp_mock\"")
}

/// The members of a whole message after its role.
fn message(reply: &Reply, dialect: Dialect) -> String {
    let text = reply.text();
    let reasoning = reply.reasoning();
    let reasons = reply.reasoning_tokens > 0;
    let content = match dialect {
        Dialect::Mistral if reasons => {
            let mut parts = vec![thinking_part(&reasoning)];
            if reply.text_tokens > 0 {
                parts.push(text_part(&text));
            }
            format!("[{}]", parts.join(","))
        }
        Dialect::Mistral => quoted(&text),
        _ if reply.text_tokens > 0 => quoted(&text),
        _ => "null".to_owned(),
    };
    let form = CallForm {
        has_index: dialect == Dialect::Mistral,
        has_type: true,
    };
    let calls = match dialect {
        Dialect::Mistral if reply.calls.is_empty() => ",\"tool_calls\":null".to_owned(),
        // An empty list of them, too.
        Dialect::Vllm => format!(",\"tool_calls\":[{}]", whole_calls(reply, form)),
        _ if reply.calls.is_empty() => String::new(),
        _ => format!(",\"tool_calls\":[{}]", whole_calls(reply, form)),
    };
    let others = match dialect {
        Dialect::Mistral => String::new(),
        Dialect::OpenAi if reasons => format!(
            ",\"refusal\":null,\"annotations\":[],\"reasoning_content\":{}",
            quoted(&reasoning)
        ),
        Dialect::OpenAi => ",\"refusal\":null,\"annotations\":[]".to_owned(),
        Dialect::Vllm => format!(
            ",\"refusal\":null,\"annotations\":null,\"audio\":null,\"function_call\":null,\"reasoning_content\":{}",
            if reasons {
                quoted(&reasoning)
            } else {
                "null".to_owned()
            }
        ),
        Dialect::OpenRouter if reasons => {
            format!(",\"refusal\":null,{}", reasoning_members(&reasoning))
        }
        Dialect::OpenRouter => ",\"refusal\":null,\"reasoning\":null".to_owned(),
    };
    format!("\"content\":{content}{calls}{others}")
}

/// A body or chunk up to its choices.
fn head(ask: &Ask, reply: &Reply, dialect: Dialect, object: &str) -> String {
    let provider = match dialect {
        Dialect::OpenRouter => format!("\"provider\":\"{PROVIDER}\","),
        Dialect::OpenAi | Dialect::Mistral | Dialect::Vllm => String::new(),
    };
    format!(
        "{{\"id\":\"{}{}\",{provider}\"object\":\"{object}\",\"created\":{},\"model\":{}",
        id_prefix(dialect),
        reply.response_id,
        reply.created,
        quoted(&ask.model),
    )
}

/// The frames of a stream.
pub(in crate::responder) fn stream(ask: &Ask, reply: &Reply, behaviour: &Behaviour) -> Frames {
    let dialect = behaviour.dialect;
    let wanted = behaviour.output.usage_in_stream;
    let shows_usage = match wanted {
        UsageInStream::Always | UsageInStream::Every => true,
        UsageInStream::Asked => {
            ask.include_usage || matches!(dialect, Dialect::Mistral | Dialect::OpenRouter)
        }
        UsageInStream::Never => false,
    };
    let mut running = if wanted == UsageInStream::Every {
        progress(reply).into_iter()
    } else {
        Vec::new().into_iter()
    };
    let mut chunks = Chunks::new(ask, reply, behaviour);
    // OpenAI's chunks all have the member once the request asks for it.
    if shows_usage && ask.include_usage && dialect == Dialect::OpenAi {
        ",\"usage\":null".clone_into(&mut chunks.usage);
    }
    if wanted == UsageInStream::Every {
        chunks.count(Progress::default());
    }
    let role = match dialect {
        Dialect::OpenAi => r#"{"role":"assistant","content":"","refusal":null}"#,
        _ => r#"{"role":"assistant","content":""}"#,
    };
    chunks.push(reply.opening, Content::NOTHING, role, None);
    let finish = finish_name(Endpoint::OpenAi, reply.finish);
    // Mistral's usage, and the content of the chunk that it is in.
    let whole_usage = || format!(",\"usage\":{}", usage(reply, dialect));
    let usage_content = if shows_usage {
        reply.usage_content()
    } else {
        Content::NOTHING
    };
    let mut finished = false;
    for (index, (at, step)) in reply.steps.iter().enumerate() {
        if let Some(so_far) = running.next() {
            chunks.count(so_far);
        }
        let delta = delta(step, reply, dialect);
        if *step == Step::WholeCalls && index + 1 == reply.steps.len() {
            if shows_usage {
                chunks.usage = whole_usage();
            }
            let content = Content {
                has_cost: usage_content.has_cost,
                keep_alives: 0,
                ..Content::TOKENS
            };
            chunks.push(*at, content, &delta, Some(finish));
            finished = true;
            continue;
        }
        chunks.push(*at, Content::TOKENS, &delta, None);
    }
    let end = reply.end();
    match dialect {
        Dialect::Mistral if finished => {}
        Dialect::Mistral => {
            if shows_usage {
                chunks.usage = whole_usage();
            }
            chunks.push(end, usage_content, r#"{"content":""}"#, Some(finish));
        }
        Dialect::OpenAi => chunks.push(end, Content::NOTHING, "{}", Some(finish)),
        Dialect::Vllm | Dialect::OpenRouter => {
            chunks.push(end, Content::NOTHING, r#"{"content":""}"#, Some(finish));
        }
    }
    if shows_usage && dialect != Dialect::Mistral {
        chunks.usage = whole_usage();
        match dialect {
            // Not an empty list.
            Dialect::OpenRouter => chunks.push(end, usage_content, r#"{"content":""}"#, None),
            _ => chunks.push_without_choice(end, usage_content),
        }
    }
    chunks
        .frames
        .push(end, Content::NOTHING, b"data: [DONE]\n\n");
    chunks.frames
}

fn delta(step: &Step, reply: &Reply, dialect: Dialect) -> String {
    match step {
        Step::Reasoning(text) => match dialect {
            Dialect::Mistral => format!("{{\"content\":[{}]}}", thinking_part(text)),
            Dialect::OpenRouter => format!("{{\"content\":\"\",{}}}", reasoning_members(text)),
            Dialect::OpenAi | Dialect::Vllm => {
                format!("{{\"reasoning_content\":{}}}", quoted(text))
            }
        },
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
            let calls = whole_calls(reply, reply.call_form);
            format!("{{\"content\":\"\",\"tool_calls\":[{calls}]}}")
        }
    }
}

/// Writes chunks that differ only in their choice and their usage.
struct Chunks<'a> {
    reply: &'a Reply,
    dialect: Dialect,
    /// A chunk up to its list of choices.
    start: String,
    /// What stands in a choice before its reason to finish, and after it where there is none yet.
    before_finish: &'static str,
    unfinished: &'static str,
    /// The usage member with a comma before, or nothing.
    usage: String,
    frames: Frames,
}

impl<'a> Chunks<'a> {
    fn new(ask: &Ask, reply: &'a Reply, behaviour: &Behaviour) -> Self {
        let dialect = behaviour.dialect;
        let head = head(ask, reply, dialect, "chat.completion.chunk");
        let tier = match dialect {
            Dialect::OpenAi => openai_members(reply, behaviour),
            Dialect::Mistral | Dialect::Vllm | Dialect::OpenRouter => String::new(),
        };
        let (before_finish, unfinished) = match dialect {
            Dialect::OpenAi => (",\"logprobs\":null", ""),
            Dialect::Vllm => (",\"logprobs\":null", ",\"token_ids\":null"),
            Dialect::OpenRouter => ("", ",\"native_finish_reason\":null,\"logprobs\":null"),
            Dialect::Mistral => ("", ""),
        };
        Self {
            reply,
            dialect,
            start: format!("data: {head}{tier},\"choices\":["),
            before_finish,
            unfinished,
            usage: String::new(),
            frames: Frames::new(),
        }
    }

    /// Has the next chunks say what was used so far.
    fn count(&mut self, so_far: Progress) {
        let usage = running_usage(self.reply, self.dialect, so_far);
        self.usage = format!(",\"usage\":{usage}");
    }

    fn push(&mut self, at: Duration, content: Content, delta: &str, finish: Option<&str>) {
        let finished = finish.map(|finish| self.finished(finish));
        let (reason, rest) = match &finished {
            None => ("null", self.unfinished),
            Some((reason, rest)) => (reason.as_str(), rest.as_str()),
        };
        let pieces = [
            self.start.as_str(),
            "{\"index\":0,\"delta\":",
            delta,
            self.before_finish,
            ",\"finish_reason\":",
            reason,
            rest,
            "}]",
            &self.usage,
            "}\n\n",
        ];
        self.frames.push_pieces(at, content, &pieces);
    }

    /// A reason to finish in quotes, and what stands in the choice after it.
    fn finished(&self, finish: &str) -> (String, String) {
        let reason = ["\"", finish, "\""].concat();
        let rest = match self.dialect {
            Dialect::Vllm => ",\"stop_reason\":null,\"token_ids\":null".to_owned(),
            Dialect::OpenRouter => {
                format!(",\"native_finish_reason\":{reason},\"logprobs\":null")
            }
            Dialect::OpenAi | Dialect::Mistral => String::new(),
        };
        (reason, rest)
    }

    fn push_without_choice(&mut self, at: Duration, content: Content) {
        let pieces = [self.start.as_str(), "]", &self.usage, "}\n\n"];
        self.frames.push_pieces(at, content, &pieces);
    }
}

/// `OpenRouter`'s members for reasoning, without braces.
fn reasoning_members(text: &str) -> String {
    let text = quoted(text);
    format!(
        "\"reasoning\":{text},\"reasoning_details\":[{{\"type\":\"reasoning.text\",\"text\":{text},\
         \"format\":\"unknown\",\"index\":0}}]"
    )
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

/// All calls, with commas between.
fn whole_calls(reply: &Reply, form: CallForm) -> String {
    let whole = |(index, call): (usize, &Call)| {
        let index = if form.has_index {
            format!(",\"index\":{index}")
        } else {
            String::new()
        };
        let kind = if form.has_type {
            ",\"type\":\"function\""
        } else {
            ""
        };
        format!(
            "{{\"id\":\"{}\"{kind},\"function\":{{\"name\":{},\"arguments\":{}}}{index}}}",
            call.id,
            quoted(&call.name),
            quoted(&call.arguments),
        )
    };
    let calls: Vec<_> = reply.calls.iter().enumerate().map(whole).collect();
    calls.join(",")
}
