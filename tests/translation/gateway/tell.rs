//! Pieces of an answer as one protocol has them.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use weighbridge::endpoint::Endpoint;

use super::{Asked, Heard, Said, Tokens, error_of};

/// An event on its way to the client.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    pub at: Duration,
    pub body: Body,
}

/// What is in it.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// JSON; of messages, its type is the event's name as well.
    Json(Value),
    /// `[DONE]`.
    Done,
    Comment,
}

impl Told {
    /// As it is framed.
    pub fn bytes(&self) -> Bytes {
        let text = match &self.body {
            Body::Json(json) => match json["type"].as_str() {
                Some(name) => format!("event: {name}\ndata: {json}\n\n"),
                None => format!("data: {json}\n\n"),
            },
            Body::Done => "data: [DONE]\n\n".to_owned(),
            Body::Comment => ": waiting\n\n".to_owned(),
        };
        text.into()
    }

    /// Its JSON, if it is any.
    pub fn json(&mut self) -> Option<&mut Value> {
        match &mut self.body {
            Body::Json(json) => Some(json),
            Body::Done | Body::Comment => None,
        }
    }
}

/// An error with a status of its own.
pub fn error(client: Endpoint, message: &str) -> Value {
    error_of(client, message)
}

/// A stream.
pub fn stream(heard: &[Heard], client: Endpoint, asked: &Asked) -> Vec<Told> {
    match client {
        Endpoint::OpenAi => completion_chunks(heard, asked),
        Endpoint::Anthropic => message_events(heard, asked),
    }
}

/// A whole body.
pub fn whole(heard: &[Heard], client: Endpoint) -> Value {
    let error = heard.iter().find_map(|piece| match &piece.said {
        Said::Error(message) => Some(message),
        _ => None,
    });
    if let Some(message) = error {
        return error_of(client, message);
    }
    let answer = Answer::of(heard);
    match client {
        Endpoint::OpenAi => answer.completion(),
        Endpoint::Anthropic => answer.message(),
    }
}

/// The same in a message's words.
fn stop_reason(finish: &str) -> &'static str {
    match finish {
        "length" => "max_tokens",
        "tool_calls" => "tool_use",
        "content_filter" => "refusal",
        _ => "end_turn",
    }
}

fn completion_usage(tokens: Tokens) -> Value {
    let prompt = tokens.input + tokens.cache_read + tokens.cache_write;
    let mut usage = json!({
        "prompt_tokens": prompt, "completion_tokens": tokens.output,
        "total_tokens": prompt + tokens.output,
        "prompt_tokens_details": {"cached_tokens": tokens.cache_read},
    });
    if let Some(reasoning) = tokens.reasoning {
        usage["completion_tokens_details"] = json!({"reasoning_tokens": reasoning});
    }
    usage
}

fn message_usage(tokens: Tokens) -> Value {
    json!({
        "input_tokens": tokens.input, "cache_creation_input_tokens": tokens.cache_write,
        "cache_read_input_tokens": tokens.cache_read, "output_tokens": tokens.output,
    })
}

/// Arguments are an object, also where the upstream has none.
fn object(arguments: &str) -> &str {
    if arguments.is_empty() {
        "{}"
    } else {
        arguments
    }
}

/// An answer put together.
#[derive(Default)]
struct Answer<'a> {
    id: &'a str,
    model: &'a str,
    reasoning: String,
    text: String,
    /// Id, name and arguments.
    calls: Vec<(&'a str, &'a str, String)>,
    signature: Option<&'a str>,
    tokens: Tokens,
    finish: &'a str,
}

impl<'a> Answer<'a> {
    fn of(heard: &'a [Heard]) -> Self {
        let mut answer = Self::default();
        for piece in heard {
            match &piece.said {
                Said::Opened(id, model) => (answer.id, answer.model) = (id, model),
                Said::Reasoning(text) => answer.reasoning.push_str(text),
                Said::Signature(text) => answer.signature = Some(text),
                Said::Text(text) => answer.text.push_str(text),
                Said::Call(id, name) => answer.calls.push((id, name, String::new())),
                Said::Arguments(at, text) => answer.calls[*at].2.push_str(text),
                Said::Usage(tokens) => answer.tokens = *tokens,
                Said::Finish(finish) => answer.finish = finish,
                Said::Error(_) | Said::KeepAlive | Said::End => {}
            }
        }
        answer
    }

    fn completion(&self) -> Value {
        let content = if self.text.is_empty() {
            Value::Null
        } else {
            self.text.as_str().into()
        };
        let mut message = json!({"role": "assistant", "content": content});
        if !self.reasoning.is_empty() {
            message["reasoning_content"] = self.reasoning.as_str().into();
        }
        let calls = self.calls.iter().map(|(id, name, arguments)| {
            json!({
                "id": id, "type": "function",
                "function": {"name": name, "arguments": object(arguments)},
            })
        });
        if !self.calls.is_empty() {
            message["tool_calls"] = calls.collect();
        }
        json!({
            "id": self.id, "object": "chat.completion", "created": 1, "model": self.model,
            "choices": [{"index": 0, "message": message, "finish_reason": self.finish}],
            "usage": completion_usage(self.tokens),
        })
    }

    fn message(&self) -> Value {
        let mut blocks = Vec::new();
        if !self.reasoning.is_empty() {
            let signature = self.signature.unwrap_or("signed");
            blocks.push(json!({
                "type": "thinking", "thinking": self.reasoning, "signature": signature,
            }));
        }
        if !self.text.is_empty() {
            blocks.push(json!({"type": "text", "text": self.text}));
        }
        for (id, name, arguments) in &self.calls {
            let invalid = |_| json!({"INVALID_JSON": arguments});
            let input: Value = serde_json::from_str(object(arguments)).unwrap_or_else(invalid);
            blocks.push(json!({"type": "tool_use", "id": id, "name": name, "input": input}));
        }
        json!({
            "id": self.id, "type": "message", "role": "assistant", "model": self.model,
            "content": blocks, "stop_reason": stop_reason(self.finish), "stop_sequence": null,
            "usage": message_usage(self.tokens),
        })
    }
}

fn completion_chunks(heard: &[Heard], asked: &Asked) -> Vec<Told> {
    let (mut id, mut model) = ("", "");
    let mut told = Vec::new();
    let mut tokens = None;
    // The calls so far, and whether each has arguments.
    let mut calls: Vec<bool> = Vec::new();
    for piece in heard {
        let at = piece.at;
        let chunk = |delta: Value, finish: Value| Told {
            at,
            body: Body::Json(json!({
                "id": id, "object": "chat.completion.chunk", "created": 1, "model": model,
                "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
            })),
        };
        let fragment = |index: usize, text: &str| {
            let call = json!({"index": index, "function": {"arguments": text}});
            chunk(json!({"tool_calls": [call]}), Value::Null)
        };
        match &piece.said {
            Said::Opened(its_id, its_model) => {
                (id, model) = (its_id, its_model);
                told.push(Told {
                    at,
                    body: Body::Json(json!({
                        "id": id, "object": "chat.completion.chunk", "created": 1, "model": model,
                        "choices": [{
                            "index": 0, "delta": {"role": "assistant", "content": ""},
                            "finish_reason": null,
                        }],
                    })),
                });
            }
            Said::Reasoning(text) => {
                told.push(chunk(json!({"reasoning_content": text}), Value::Null));
            }
            Said::Text(text) => told.push(chunk(json!({"content": text}), Value::Null)),
            Said::Call(call_id, name) => {
                let call = json!({
                    "index": calls.len(), "id": call_id, "type": "function",
                    "function": {"name": name, "arguments": ""},
                });
                told.push(chunk(json!({"tool_calls": [call]}), Value::Null));
                calls.push(false);
            }
            Said::Arguments(index, text) => {
                told.push(fragment(*index, text));
                calls[*index] = true;
            }
            Said::Usage(so_far) => tokens = Some(*so_far),
            Said::Finish(finish) => {
                let without = calls.iter().enumerate().filter(|(_, has_any)| !**has_any);
                told.extend(without.map(|(index, _)| fragment(index, "{}")));
                told.push(chunk(json!({}), finish.as_str().into()));
            }
            Said::Error(message) => {
                let body = Body::Json(error_of(Endpoint::OpenAi, message));
                told.push(Told { at, body });
                return told;
            }
            Said::KeepAlive => told.push(Told {
                at,
                body: Body::Comment,
            }),
            Said::Signature(_) => {}
            Said::End => {
                if let Some(tokens) = tokens.filter(|_| asked.wants_usage) {
                    told.push(Told {
                        at,
                        body: Body::Json(json!({
                            "id": id, "object": "chat.completion.chunk", "created": 1,
                            "model": model, "choices": [], "usage": completion_usage(tokens),
                        })),
                    });
                }
                told.push(Told {
                    at,
                    body: Body::Done,
                });
            }
        }
    }
    told
}

/// A call whose block is not closed yet.
#[derive(Debug)]
struct Pending<'a> {
    id: &'a str,
    name: &'a str,
    arguments: String,
    /// How much of them the client has.
    told: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    Thinking,
    Text,
    Tool(usize),
}

/// Writes blocks one after the other, also where calls come interleaved: those after the open one wait.
struct Blocks<'a> {
    at: Duration,
    told: Vec<Told>,
    open: Option<Block>,
    /// Blocks that were opened.
    count: usize,
    calls: Vec<Pending<'a>>,
    /// The first call that was not opened.
    next: usize,
    signature: Option<&'a str>,
}

fn message_events(heard: &[Heard], asked: &Asked) -> Vec<Told> {
    let mut blocks = Blocks {
        at: Duration::ZERO,
        told: Vec::new(),
        open: None,
        count: 0,
        calls: Vec::new(),
        next: 0,
        signature: None,
    };
    let mut start = Tokens {
        input: asked.guess,
        ..Tokens::default()
    };
    // What the upstream says before it begins, if it does, is no guess.
    let early = heard.iter().take(3).find_map(|piece| match piece.said {
        Said::Usage(tokens) if tokens.input + tokens.cache_read + tokens.cache_write > 0 => {
            Some(tokens)
        }
        _ => None,
    });
    if let Some(tokens) = early {
        start = tokens;
    }
    let (mut tokens, mut finish) = (start, "");
    for piece in heard {
        blocks.at = piece.at;
        match &piece.said {
            Said::Opened(id, model) => {
                let mut usage = message_usage(start);
                usage["output_tokens"] = 1.into();
                blocks.tell(json!({
                    "type": "message_start", "message": {
                        "id": id, "type": "message", "role": "assistant", "model": model,
                        "content": [], "stop_reason": null, "stop_sequence": null, "usage": usage,
                    },
                }));
            }
            Said::Reasoning(text) => {
                blocks.enter(Block::Thinking);
                blocks.delta(&json!({"type": "thinking_delta", "thinking": text}));
            }
            Said::Signature(text) => blocks.signature = Some(text),
            Said::Text(text) => {
                blocks.flush();
                blocks.enter(Block::Text);
                blocks.delta(&json!({"type": "text_delta", "text": text}));
            }
            Said::Call(id, name) => {
                blocks.calls.push(Pending {
                    id,
                    name,
                    arguments: String::new(),
                    told: 0,
                });
                blocks.advance();
            }
            Said::Arguments(index, text) => {
                blocks.calls[*index].arguments.push_str(text);
                blocks.advance();
            }
            Said::Usage(so_far) => tokens = *so_far,
            Said::Finish(word) => finish = word,
            Said::Error(message) => {
                blocks.tell(error_of(Endpoint::Anthropic, message));
                return blocks.told;
            }
            Said::KeepAlive => blocks.tell(json!({"type": "ping"})),
            Said::End => {
                blocks.flush();
                blocks.close();
                blocks.tell(json!({
                    "type": "message_delta", "usage": message_usage(tokens),
                    "delta": {"stop_reason": stop_reason(finish), "stop_sequence": null},
                }));
                blocks.tell(json!({"type": "message_stop"}));
            }
        }
    }
    blocks.told
}

impl Blocks<'_> {
    fn tell(&mut self, event: Value) {
        self.told.push(Told {
            at: self.at,
            body: Body::Json(event),
        });
    }

    /// Sees to it that this block is the open one.
    fn enter(&mut self, block: Block) {
        if self.open == Some(block) {
            return;
        }
        self.close();
        let content = match block {
            Block::Thinking => json!({"type": "thinking", "thinking": "", "signature": ""}),
            Block::Text => json!({"type": "text", "text": ""}),
            Block::Tool(index) => {
                let call = &self.calls[index];
                json!({"type": "tool_use", "id": call.id, "name": call.name, "input": {}})
            }
        };
        let index = self.count;
        self.tell(json!({"type": "content_block_start", "index": index, "content_block": content}));
        self.count += 1;
        self.open = Some(block);
    }

    fn delta(&mut self, delta: &Value) {
        let index = self.count - 1;
        self.tell(json!({"type": "content_block_delta", "index": index, "delta": delta}));
    }

    fn close(&mut self) {
        let Some(open) = self.open.take() else {
            return;
        };
        if open == Block::Thinking {
            let signature = self.signature.take().unwrap_or("signed");
            self.delta(&json!({"type": "signature_delta", "signature": signature}));
        }
        let index = self.count - 1;
        self.tell(json!({"type": "content_block_stop", "index": index}));
    }

    /// Tells what there is of the open call, and of the next ones as soon as it is whole.
    fn advance(&mut self) {
        loop {
            if let Some(Block::Tool(index)) = self.open {
                self.tell_arguments(index);
                let arguments = &self.calls[index].arguments;
                let is_whole = serde_json::from_str::<Value>(arguments).is_ok();
                if !is_whole {
                    return;
                }
            }
            if self.next == self.calls.len() {
                return;
            }
            self.open_next();
        }
    }

    /// Tells all calls that wait: no more arguments come.
    fn flush(&mut self) {
        if let Some(Block::Tool(index)) = self.open {
            self.tell_arguments(index);
        }
        while self.next < self.calls.len() {
            self.open_next();
            self.tell_arguments(self.next - 1);
        }
    }

    fn open_next(&mut self) {
        self.enter(Block::Tool(self.next));
        self.next += 1;
    }

    fn tell_arguments(&mut self, index: usize) {
        let call = &mut self.calls[index];
        let rest = call.arguments[call.told..].to_owned();
        call.told = call.arguments.len();
        if !rest.is_empty() {
            self.delta(&json!({"type": "input_json_delta", "partial_json": rest}));
        }
    }
}
