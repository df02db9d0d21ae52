//! What an upstream said, in words of neither protocol.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use weighbridge::endpoint::Endpoint;

/// A piece of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// When the frame came that completed it.
    pub at: Duration,
    /// The upstream's event that it stood in: the same number, the same event.
    pub event: u32,
    pub said: Said,
}

/// What was said.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// The answer's id and model.
    Opened(String, String),
    Reasoning(String),
    Signature(String),
    Text(String),
    /// A call: its id and name. Calls are numbered in order.
    Call(String, String),
    /// Arguments of the call of this number.
    Arguments(usize, String),
    Usage(Tokens),
    /// Why it stops, in `OpenAI`'s words.
    Finish(String),
    Error(String),
    /// A comment or a ping.
    KeepAlive,
    /// The protocol's end.
    End,
}

/// Token counts; the parts of the input are disjoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    pub input: u64,
    pub cache_read: u64,
    pub cache_write: u64,
    pub output: u64,
    /// `None` where the upstream does not say.
    pub reasoning: Option<u64>,
}

/// Reads a stream.
pub fn stream(frames: &[(Duration, Bytes)], wire: Endpoint) -> Vec<Heard> {
    let mut reader = Reader {
        wire,
        at: Duration::ZERO,
        event: 0,
        opened: false,
        calls: Vec::new(),
        tokens: Tokens::default(),
        heard: Vec::new(),
    };
    let mut lines = Lines::default();
    for (at, bytes) in frames {
        reader.at = *at;
        lines.push(bytes, |event| reader.event(event));
    }
    lines.finish(|event| reader.event(event));
    reader.heard
}

/// Reads a whole body.
pub fn body(bytes: &[u8], at: Duration, wire: Endpoint) -> Vec<Heard> {
    let mut reader = Reader {
        wire,
        at,
        event: 0,
        opened: false,
        calls: Vec::new(),
        tokens: Tokens::default(),
        heard: Vec::new(),
    };
    let body: Value = serde_json::from_slice(bytes).unwrap_or(Value::Null);
    if !body["error"].is_null() || body["object"] == "error" {
        reader.say(Said::Error(refusal(bytes)));
        return reader.heard;
    }
    match wire {
        Endpoint::OpenAi if body["choices"].is_array() => {
            reader.chunk(&body, "message");
            reader.say(Said::End);
        }
        Endpoint::Anthropic if body["content"].is_array() => reader.message(&body),
        _ => {}
    }
    reader.heard
}

/// The message of an error.
pub fn refusal(bytes: &[u8]) -> String {
    let body: Value = serde_json::from_slice(bytes).unwrap_or(Value::Null);
    let message = [&body["error"]["message"], &body["message"]];
    let message = message.into_iter().find_map(Value::as_str);
    message.unwrap_or("the upstream refused").to_owned()
}

/// An event of a stream, as it is framed.
#[derive(Clone, Copy, Debug)]
enum Framed<'a> {
    Comment,
    Data(&'a str),
}

/// The lines of an event stream, whatever they end in.
#[derive(Default)]
struct Lines {
    line: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    after_cr: bool,
    begun: bool,
}

impl Lines {
    fn push(&mut self, bytes: &[u8], mut each: impl FnMut(Framed<'_>)) {
        for byte in bytes {
            let after_cr = std::mem::replace(&mut self.after_cr, *byte == b'\r');
            match byte {
                b'\n' if after_cr => {}
                b'\n' | b'\r' => self.end_line(&mut each),
                _ => self.line.push(*byte),
            }
        }
    }

    fn end_line(&mut self, each: &mut impl FnMut(Framed<'_>)) {
        let line = std::mem::take(&mut self.line);
        let mut line = line.as_slice();
        if !std::mem::replace(&mut self.begun, true) {
            line = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line);
        }
        if line.is_empty() {
            self.dispatch(each);
        } else if line.starts_with(b":") {
            each(Framed::Comment);
        } else if let Some(data) = line.strip_prefix(b"data:") {
            if std::mem::replace(&mut self.has_data, true) {
                self.data.push(b'\n');
            }
            let data = data.strip_prefix(b" ").unwrap_or(data);
            self.data.extend_from_slice(data);
        }
    }

    fn dispatch(&mut self, each: &mut impl FnMut(Framed<'_>)) {
        let data = std::mem::take(&mut self.data);
        if std::mem::take(&mut self.has_data) {
            each(Framed::Data(&String::from_utf8_lossy(&data)));
        }
    }

    fn finish(mut self, mut each: impl FnMut(Framed<'_>)) {
        if !self.line.is_empty() {
            self.end_line(&mut each);
        }
        self.dispatch(&mut each);
    }
}

/// A call by what its fragments name it: an index, or a content block.
#[derive(Debug)]
struct Known {
    key: Option<u64>,
    id: String,
}

struct Reader {
    wire: Endpoint,
    at: Duration,
    event: u32,
    opened: bool,
    calls: Vec<Known>,
    tokens: Tokens,
    heard: Vec<Heard>,
}

impl Reader {
    fn say(&mut self, said: Said) {
        self.heard.push(Heard {
            at: self.at,
            event: self.event,
            said,
        });
    }

    /// Says a text if there is one.
    fn say_text(&mut self, kind: fn(String) -> Said, text: &Value) {
        if let Some(text) = text.as_str().filter(|text| !text.is_empty()) {
            self.say(kind(text.to_owned()));
        }
    }

    fn event(&mut self, framed: Framed<'_>) {
        self.event += 1;
        match framed {
            Framed::Comment => self.say(Said::KeepAlive),
            Framed::Data("[DONE]") => self.say(Said::End),
            Framed::Data(data) => {
                let data: Value = serde_json::from_str(data).unwrap_or(Value::Null);
                match self.wire {
                    Endpoint::OpenAi => self.chunk(&data, "delta"),
                    Endpoint::Anthropic => self.block_event(&data),
                }
            }
        }
    }

    fn open(&mut self, named: &Value) {
        if !std::mem::replace(&mut self.opened, true) {
            let text = |name: &str| named[name].as_str().unwrap_or_default().to_owned();
            self.say(Said::Opened(text("id"), text("model")));
        }
    }

    /// A chunk, or a whole completion, whose message is called otherwise.
    fn chunk(&mut self, chunk: &Value, part: &str) {
        let choice = &chunk["choices"][0];
        let error = [&chunk["error"], &choice["error"]];
        if let Some(error) = error.into_iter().find(|error| !error.is_null()) {
            let message = error["message"].as_str().unwrap_or("an error");
            self.say(Said::Error(message.to_owned()));
            return;
        }
        if chunk["object"] == "error" || choice["finish_reason"] == "error" {
            self.say(Said::Error("an error".to_owned()));
            return;
        }
        self.open(chunk);
        let delta = &choice[part];
        let reasoning = [&delta["reasoning_content"], &delta["reasoning"]];
        if let Some(text) = reasoning.into_iter().find(|text| text.is_string()) {
            self.say_text(Said::Reasoning, text);
        }
        self.say_text(Said::Text, &delta["content"]);
        for part in delta["content"].as_array().into_iter().flatten() {
            self.say_text(Said::Text, &part["text"]);
            for thought in part["thinking"].as_array().into_iter().flatten() {
                self.say_text(Said::Reasoning, &thought["text"]);
            }
        }
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            self.tool_call(call);
        }
        self.count_completion(&chunk["usage"]);
        self.say_text(Said::Finish, &choice["finish_reason"]);
    }

    fn tool_call(&mut self, call: &Value) {
        let key = call["index"].as_u64();
        let id = call["id"].as_str().unwrap_or_default();
        let known = |known: &Known| match key {
            Some(key) => known.key == Some(key),
            None => known.id == id,
        };
        let at = self.calls.iter().position(known).unwrap_or_else(|| {
            self.calls.push(Known {
                key,
                id: id.to_owned(),
            });
            let name = call["function"]["name"].as_str().unwrap_or_default();
            self.say(Said::Call(id.to_owned(), name.to_owned()));
            self.calls.len() - 1
        });
        self.say_arguments(at, &call["function"]["arguments"]);
    }

    fn say_arguments(&mut self, at: usize, arguments: &Value) {
        if let Some(text) = arguments.as_str().filter(|text| !text.is_empty()) {
            self.say(Said::Arguments(at, text.to_owned()));
        }
    }

    fn count_completion(&mut self, usage: &Value) {
        let count = |value: &Value| value.as_u64().unwrap_or_default();
        if usage.is_null() {
            return;
        }
        let cached = count(&usage["prompt_tokens_details"]["cached_tokens"]);
        self.say(Said::Usage(Tokens {
            input: count(&usage["prompt_tokens"]).saturating_sub(cached),
            cache_read: cached,
            cache_write: 0,
            output: count(&usage["completion_tokens"]),
            reasoning: usage["completion_tokens_details"]["reasoning_tokens"].as_u64(),
        }));
    }

    /// Later counts take the place of earlier ones.
    fn count_message(&mut self, usage: &Value) {
        let tokens = &mut self.tokens;
        for (name, count) in [
            ("input_tokens", &mut tokens.input),
            ("cache_read_input_tokens", &mut tokens.cache_read),
            ("cache_creation_input_tokens", &mut tokens.cache_write),
            ("output_tokens", &mut tokens.output),
        ] {
            *count = usage[name].as_u64().unwrap_or(*count);
        }
        let tokens = *tokens;
        self.say(Said::Usage(tokens));
    }

    fn block_event(&mut self, event: &Value) {
        match event["type"].as_str() {
            Some("message_start") => {
                self.open(&event["message"]);
                self.count_message(&event["message"]["usage"]);
            }
            Some("content_block_start") => {
                let block = &event["content_block"];
                if block["type"] == "tool_use" {
                    self.call_block(block, event["index"].as_u64());
                }
            }
            Some("content_block_delta") => {
                let delta = &event["delta"];
                self.say_text(Said::Text, &delta["text"]);
                self.say_text(Said::Reasoning, &delta["thinking"]);
                self.say_text(Said::Signature, &delta["signature"]);
                let key = event["index"].as_u64();
                let at = self.calls.iter().position(|call| call.key == key);
                if let Some(at) = at {
                    self.say_arguments(at, &delta["partial_json"]);
                }
            }
            Some("message_delta") => {
                self.count_message(&event["usage"]);
                self.say_reason(&event["delta"]["stop_reason"]);
            }
            Some("message_stop") => self.say(Said::End),
            Some("ping") => self.say(Said::KeepAlive),
            Some("error") => {
                let message = event["error"]["message"].as_str().unwrap_or("an error");
                self.say(Said::Error(message.to_owned()));
            }
            _ => {}
        }
    }

    fn call_block(&mut self, block: &Value, key: Option<u64>) {
        let text = |name: &str| block[name].as_str().unwrap_or_default().to_owned();
        self.calls.push(Known {
            key,
            id: text("id"),
        });
        self.say(Said::Call(text("id"), text("name")));
    }

    fn say_reason(&mut self, reason: &Value) {
        let word = match reason.as_str() {
            Some("max_tokens") => "length",
            Some("tool_use") => "tool_calls",
            Some("refusal") => "content_filter",
            Some(_) => "stop",
            None => return,
        };
        self.say(Said::Finish(word.to_owned()));
    }

    /// A whole message.
    fn message(&mut self, body: &Value) {
        self.open(body);
        for block in body["content"].as_array().into_iter().flatten() {
            self.say_text(Said::Text, &block["text"]);
            self.say_text(Said::Reasoning, &block["thinking"]);
            self.say_text(Said::Signature, &block["signature"]);
            if block["type"] == "tool_use" {
                self.call_block(block, None);
                let at = self.calls.len() - 1;
                self.say(Said::Arguments(at, block["input"].to_string()));
            }
        }
        self.count_message(&body["usage"]);
        self.say_reason(&body["stop_reason"]);
        self.say(Said::End);
    }
}
