//! A prompt cache by prefix: which part of a prompt was sent before, and which part is kept for later.
//!
//! A prompt is a row of [`Segment`]s in the order in which models read them: tools, system, messages. A prefix is known
//! by the digest of everything up to its end, so a nonce at a prompt's begin keeps it out of every cache.
//! * `/v1/chat/completions` caches by itself, in multiples of `block_tokens`; nothing is charged for the writing.
//! * `/v1/messages` reads and writes up to blocks that are marked with `cache_control`. What is before the last mark and
//!   in no cache yet is written, if it is long enough. A read finds any prefix that ends with a block at or before
//!   the last mark and was written earlier.
//!
//! A prefix is known from the receipt of the request that wrote it, also where the answer is still under way.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Duration;

use serde_json::Value;

use super::Exchange;
use crate::config::Cache;
use crate::journal::Endpoint;
use crate::tokens;

/// How many times longer a prefix with the TTL `1h` is kept than one with `5m`.
const HOUR_FACTOR: u32 = 12;

/// Input tokens that came from the cache or went into it. The rest of the input is neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Cached {
    /// Read from the cache.
    pub(super) read: u64,
    /// Written to it, whatever the TTL.
    pub(super) written: u64,
    /// Those that were written with the TTL `1h`.
    pub(super) written_1h: u64,
}

/// A part of a prompt.
struct Segment {
    text: String,
    tokens: u64,
    /// Whether the tokens are those of its words, so that it can be cut between two.
    has_words: bool,
    mark: Option<Ttl>,
}

/// How long a marked prefix is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ttl {
    FiveMinutes,
    Hour,
}

/// The end of a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Prefix {
    /// The tokens that count as cached with it.
    tokens: u64,
    digest: u64,
    mark: Option<Ttl>,
}

impl Exchange<'_> {
    /// Looks the prompt up, and keeps its prefixes.
    pub(super) fn look_up(&self, body: &Value) -> Cached {
        let config = &self.behaviour.cache;
        if !config.enabled {
            return Cached::default();
        }
        let mut digest = DefaultHasher::new();
        (self.profile, body["model"].as_str()).hash(&mut digest);
        let at = self.received.arrival.at;
        match self.endpoint {
            Endpoint::OpenAi => {
                let prefixes = blocks(digest, &chat_segments(body), config);
                let read = self.state.recall(prefixes.iter().map(known), at);
                let ttl = Duration::from_secs_f64(config.ttl_s);
                let digests = prefixes.iter().map(|prefix| (prefix.digest, ttl));
                self.state.remember(digests, at);
                Cached {
                    read,
                    ..Cached::default()
                }
            }
            Endpoint::Anthropic => {
                let prefixes = marked(digest, &message_segments(body), config);
                let read = self.state.recall(prefixes.iter().map(known), at);
                let marks = prefixes
                    .iter()
                    .filter_map(|prefix| Some((prefix, prefix.mark?)));
                let digests = marks.clone().map(|(prefix, ttl)| {
                    let factor = if ttl == Ttl::Hour { HOUR_FACTOR } else { 1 };
                    let kept = Duration::from_secs_f64(config.ttl_s) * factor;
                    (prefix.digest, kept)
                });
                self.state.remember(digests, at);
                let end = |marks: &mut dyn Iterator<Item = u64>| {
                    let last = marks.last().unwrap_or(0);
                    last.saturating_sub(read)
                };
                let of_hour = |(_, ttl): &(&Prefix, Ttl)| *ttl == Ttl::Hour;
                Cached {
                    read,
                    written: end(&mut marks.clone().map(|(prefix, _)| prefix.tokens)),
                    written_1h: end(&mut marks.filter(of_hour).map(|(prefix, _)| prefix.tokens)),
                }
            }
        }
    }
}

fn known(prefix: &Prefix) -> (u64, u64) {
    (prefix.digest, prefix.tokens)
}

/// The prefixes of a prompt in multiples of a block, cut between words.
fn blocks(mut digest: DefaultHasher, segments: &[Segment], config: &Cache) -> Vec<Prefix> {
    let mut prefixes = Vec::new();
    let mut total = 0;
    let mut add = |piece: &str, tokens: u64| {
        piece.hash(&mut digest);
        let before = total / config.block_tokens;
        total += tokens;
        let whole = total / config.block_tokens * config.block_tokens;
        if total / config.block_tokens > before && whole >= config.min_tokens {
            prefixes.push(Prefix {
                tokens: whole,
                digest: digest.finish(),
                mark: None,
            });
        }
    };
    for segment in segments {
        if segment.has_words {
            for word in segment.text.split_inclusive(char::is_whitespace) {
                add(word, tokens::of_text(word));
            }
        } else {
            add(&segment.text, segment.tokens);
        }
    }
    prefixes
}

/// The prefixes of a prompt that end with a block, up to the last mark.
fn marked(mut digest: DefaultHasher, segments: &[Segment], config: &Cache) -> Vec<Prefix> {
    let last = segments.iter().rposition(|segment| segment.mark.is_some());
    let segments = last.map_or(&segments[..0], |last| &segments[..=last]);
    let mut total = 0;
    let prefixes = segments.iter().map(|segment| {
        segment.text.hash(&mut digest);
        total += segment.tokens;
        Prefix {
            tokens: total,
            digest: digest.finish(),
            mark: segment.mark,
        }
    });
    prefixes
        .filter(|prefix| prefix.tokens >= config.min_tokens)
        .collect()
}

fn elements(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

fn chat_segments(body: &Value) -> Vec<Segment> {
    let tools = elements(&body["tools"]).map(|tool| {
        let function = &tool["function"];
        tool_segment(function, "parameters", None)
    });
    let messages = elements(&body["messages"]).flat_map(|message| {
        let role = message["role"].as_str().unwrap_or_default();
        let begin = Segment {
            text: format!("\n{role}\n"),
            tokens: tokens::MESSAGE_TOKENS,
            has_words: false,
            mark: None,
        };
        let texts = texts(&message["content"]).map(|text| text_segment(text, None));
        let calls = elements(&message["tool_calls"]).map(|call| {
            let arguments = call["function"]["arguments"].as_str().unwrap_or_default();
            match serde_json::from_str(arguments) {
                Ok(value) => text_segment(&tokens::canonical(&value), None),
                Err(_) => text_segment(arguments, None),
            }
        });
        std::iter::once(begin)
            .chain(texts)
            .chain(calls)
            .collect::<Vec<_>>()
    });
    tools.chain(messages).collect()
}

fn message_segments(body: &Value) -> Vec<Segment> {
    let tools =
        elements(&body["tools"]).map(|tool| tool_segment(tool, "input_schema", ttl_of(tool)));
    let mut segments: Vec<Segment> = tools.collect();
    content_segments(&body["system"], "system", &mut segments);
    for message in elements(&body["messages"]) {
        let role = message["role"].as_str().unwrap_or_default();
        content_segments(&message["content"], role, &mut segments);
    }
    if let Some(last) = segments.last_mut() {
        last.mark = last.mark.or(ttl_of(body));
    }
    segments
}

/// The blocks of a content. What a message costs beside its text counts with the first of them; each tool result is a
/// message of its own.
fn content_segments(content: &Value, role: &str, segments: &mut Vec<Segment>) {
    let mut begun = false;
    let mut push = |mut segment: Segment, is_result: bool| {
        if is_result || !begun {
            segment.tokens += tokens::MESSAGE_TOKENS;
            segment.has_words = false;
        }
        begun |= !is_result;
        segment.text.insert_str(0, &format!("\n{role}\n"));
        segments.push(segment);
    };
    if let Some(text) = content.as_str() {
        push(text_segment(text, None), false);
    }
    for block in elements(content) {
        let mark = ttl_of(block);
        match block["type"].as_str() {
            Some("tool_use") => {
                push(
                    text_segment(&tokens::canonical(&block["input"]), mark),
                    false,
                );
            }
            Some("tool_result") => {
                let text: Vec<&str> = texts(&block["content"]).collect();
                push(text_segment(&text.join("\n"), mark), true);
            }
            _ => {
                let text = block["text"].as_str().unwrap_or_default();
                push(text_segment(text, mark), false);
            }
        }
    }
}

fn tool_segment(tool: &Value, schema: &str, mark: Option<Ttl>) -> Segment {
    let no_schema = Value::Object(serde_json::Map::new());
    let schema = tool.get(schema).unwrap_or(&no_schema);
    let name = tool["name"].as_str().unwrap_or_default();
    let description = tool["description"].as_str().unwrap_or_default();
    Segment {
        text: tokens::canonical(tool),
        tokens: tokens::of_tool(name, description, schema),
        has_words: false,
        mark,
    }
}

fn text_segment(text: &str, mark: Option<Ttl>) -> Segment {
    Segment {
        text: text.to_owned(),
        tokens: tokens::of_text(text),
        has_words: true,
        mark,
    }
}

fn texts(content: &Value) -> impl Iterator<Item = &str> {
    let parts = elements(content).filter_map(|part| part["text"].as_str());
    content.as_str().into_iter().chain(parts)
}

/// What `cache_control` says of a block.
fn ttl_of(block: &Value) -> Option<Ttl> {
    let control = block
        .get("cache_control")
        .filter(|control| control.is_object())?;
    Some(match control["ttl"].as_str() {
        Some("1h") => Ttl::Hour,
        _ => Ttl::FiveMinutes,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::responder::{anthropic, openai};

    fn total(segments: &[Segment]) -> u64 {
        segments.iter().map(|segment| segment.tokens).sum()
    }

    #[test]
    fn segments_have_all_of_the_tokens() {
        let lenient = crate::config::Behaviour {
            dialect: crate::config::Dialect::Vllm,
            ..Default::default()
        };
        let chat = json!({
            "model": "m",
            "messages": [
                {"role": "system", "content": "be so kind"},
                {"role": "user", "content": [{"type": "text", "text": "what is the weather"}]},
                {"role": "assistant", "content": null, "tool_calls": [
                    {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"city\": \"Reykjavik on Iceland\"}"}},
                    {"id": "b", "type": "function", "function": {"name": "f", "arguments": "no JSON"}},
                ]},
                {"role": "tool", "tool_call_id": "a", "content": "rain"},
                {"role": "tool", "tool_call_id": "b", "content": "and wind"},
            ],
            "tools": [
                {"type": "function", "function": {"name": "f", "parameters": {"a": 1}}},
                {"type": "function", "function": {"name": "g"}},
            ],
        });
        let counted = openai::read(&chat, &lenient).expect("valid").input_tokens;
        assert_eq!(total(&chat_segments(&chat)), counted);
        let message = json!({
            "model": "m",
            "max_tokens": 1,
            "system": "be so kind",
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "what is the weather"}]},
                {"role": "assistant", "content": [
                    {"type": "text", "text": "let me see"},
                    {"type": "tool_use", "id": "a", "name": "f", "input": {"city": "Reykjavik on Iceland"}},
                    {"type": "tool_use", "id": "b", "name": "f", "input": {}},
                ]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "a", "content": "rain"},
                    {"type": "tool_result", "tool_use_id": "b", "content": [{"type": "text", "text": "and wind"}]},
                    {"type": "text", "text": "so"},
                ]},
            ],
            "tools": [{"name": "f", "input_schema": {"a": 1}}, {"name": "g"}],
        });
        assert_eq!(
            total(&message_segments(&message)),
            anthropic::count(&message).expect("valid")
        );
    }
}
