//! Where translating gateways break: each fault of the table, to be planted in ours. What is planted
//! changes the request, the pieces of the answer, or the events that are made of them.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::{Value, json};
use weighbridge::endpoint::Endpoint;

use crate::gateway::{Body, Heard, Said, Tokens, Told, Wire};

/// A fault, by what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// 1: the arguments of all calls become those of the first.
    CallsMerged,
    /// 2: two calls have each other's arguments.
    ArgumentsSwapped,
    /// 3: the last piece of the text comes after its block's stop, or after the reason to finish.
    DeltaAfterStop,
    /// 3: a block is closed after the next one is opened.
    BlocksOverlap,
    /// 4: the first piece of the text is lost.
    TextHeadLost,
    /// Beside the table: a piece in the middle of the text is lost.
    TextLost,
    /// Beside the table: a piece of the text comes twice.
    TextRepeated,
    /// Beside the table: two pieces of the text change places.
    TextReordered,
    /// 5: of the event with the reason to finish, all else is lost.
    FinishPayloadLost,
    /// 5: the last piece of the text is lost.
    TextTailLost,
    /// 6: calls or blocks are counted from 1.
    IndexFromOne,
    /// 7: each fragment of a call names it again.
    IdentityRepeated,
    /// 8: the reason to stop is that of a text.
    StopReasonWrong,
    /// 9: the first usage has no input.
    StartUsageZero,
    /// 10: the usage at the end is of no tokens.
    UsageZero,
    /// 10: the usage at the end is a guess.
    UsageGuessed,
    /// 10: there is no usage at the end.
    UsageLost,
    /// 11: cached tokens stand in the input and beside it.
    CacheTwice,
    /// 12: a piece of the reasoning is lost.
    ReasoningLost,
    /// 12: all reasoning is lost.
    ReasoningDropped,
    /// 12: a piece of the reasoning comes twice.
    ReasoningRepeated,
    /// 12: the signature is lost.
    SignatureLost,
    /// 13: the first piece of the text stands in the block of the reasoning.
    TextInThinking,
    /// 13: reasoning comes as text.
    ReasoningAsText,
    /// 14: comments and pings are not handed on.
    KeepAliveLost,
    /// 15: an answer that broke off ends as if it were whole.
    ErrorSwallowed,
    /// 16: ids of calls are made longer than the upstream takes them.
    IdsChanged,
    /// 16: a result is given back under an id that the upstream does not know.
    ResultIdsChanged,
    /// 17: a call without arguments has an empty text for them.
    ArgumentsEmpty,
    /// 18: an empty list of calls.
    CallsListEmpty,
    /// 18: an empty block of text.
    BlockEmpty,
    /// 18: an empty list of calls is taken for a call.
    CallInvented,
    /// 19: text after the calls is lost.
    TextAfterCallsLost,
    /// 20: everything comes at the end.
    Buffered,
    /// 21: text of the stream before comes too.
    Leak,
    /// 22: that calls may not be parallel is not handed on.
    ParallelDropped,
    /// 22: what is said of calling is not handed on.
    ChoiceDropped,
    /// 22: the tools are not handed on.
    ToolsDropped,
}

impl Plant {
    /// Changes the request that the upstream gets.
    pub fn in_request(self, asks: &mut Value, wire: Wire) {
        let members = asks.as_object_mut().expect("an object");
        match self {
            Self::ParallelDropped => {
                members.remove("parallel_tool_calls");
                if let Some(choice) = members
                    .get_mut("tool_choice")
                    .and_then(Value::as_object_mut)
                {
                    choice.remove("disable_parallel_tool_use");
                }
            }
            Self::ChoiceDropped => {
                let auto = match wire {
                    Wire::OpenAi | Wire::Mistral => json!("auto"),
                    Wire::Anthropic => json!({"type": "auto"}),
                };
                members.insert("tool_choice".to_owned(), auto);
            }
            Self::ToolsDropped => {
                members.remove("tools");
                members.remove("tool_choice");
            }
            Self::ResultIdsChanged => {
                let messages = members["messages"].as_array_mut().expect("messages");
                for message in messages {
                    rename_result(message);
                }
            }
            _ => {}
        }
    }

    /// Changes the pieces of the answer. `elsewhere` is text of another stream.
    pub fn in_answer(self, heard: &mut Vec<Heard>, elsewhere: &str) {
        self.in_text(heard, elsewhere);
        self.in_calls(heard);
        self.around(heard);
    }

    /// What is said: text and reasoning.
    fn in_text(self, heard: &mut Vec<Heard>, elsewhere: &str) {
        match self {
            Self::TextHeadLost => drop(heard.remove(nth(heard, 0, is_text))),
            Self::TextLost => drop(heard.remove(nth(heard, 2, is_text))),
            Self::TextRepeated => {
                let at = nth(heard, 2, is_text);
                heard.insert(at, heard[at].clone());
            }
            Self::TextReordered => {
                let [one, other] = [2, 3].map(|n| nth(heard, n, is_text));
                let said = heard[one].said.clone();
                heard[one].said = std::mem::replace(&mut heard[other].said, said);
            }
            Self::TextTailLost => {
                let last = heard.iter().rposition(is_text).expect("text");
                heard.remove(last);
            }
            Self::ReasoningLost => drop(heard.remove(nth(heard, 1, is_reasoning))),
            Self::ReasoningDropped => heard.retain(|piece| !is_reasoning(piece)),
            Self::ReasoningRepeated => {
                let at = nth(heard, 1, is_reasoning);
                heard.insert(at, heard[at].clone());
            }
            Self::ReasoningAsText => {
                for piece in heard {
                    if let Said::Reasoning(text) = &piece.said {
                        piece.said = Said::Text(text.clone());
                    }
                }
            }
            Self::Leak => {
                let at = nth(heard, 2, is_text);
                let piece = Heard {
                    said: Said::Text(elsewhere.to_owned()),
                    ..heard[at].clone()
                };
                heard.insert(at, piece);
            }
            _ => {}
        }
    }

    /// What is called.
    fn in_calls(self, heard: &mut Vec<Heard>) {
        match self {
            Self::CallsMerged => {
                for piece in heard.iter_mut() {
                    if let Said::Arguments(at, _) = &mut piece.said {
                        *at = 0;
                    }
                }
                let is_call = |piece: &Heard| matches!(piece.said, Said::Call(..));
                let mut calls = 0;
                heard.retain(|piece| {
                    calls += usize::from(is_call(piece));
                    !is_call(piece) || calls == 1
                });
            }
            Self::ArgumentsSwapped => swap_arguments(heard),
            Self::FinishPayloadLost => {
                let finish = |piece: &&Heard| matches!(piece.said, Said::Finish(_));
                let event = heard.iter().find(finish).expect("a reason").event;
                heard.retain(|piece| {
                    piece.event != event
                        || !matches!(
                            piece.said,
                            Said::Text(_) | Said::Call(..) | Said::Arguments(..)
                        )
                });
            }
            Self::IdsChanged => {
                for piece in heard {
                    if let Said::Call(id, _) = &mut piece.said {
                        id.insert_str(0, "call_of_the_gateway_");
                    }
                }
            }
            Self::CallInvented => {
                let at = heard.iter().rposition(is_text).expect("text") + 1;
                let (id, name) = ("call_invented".to_owned(), "get_weather".to_owned());
                let arguments = json!({"city": "Lyon", "unit": "celsius"}).to_string();
                for said in [Said::Arguments(0, arguments), Said::Call(id, name)] {
                    let piece = Heard {
                        said,
                        ..heard[at - 1].clone()
                    };
                    heard.insert(at, piece);
                }
            }
            Self::TextAfterCallsLost => {
                let mut called = false;
                heard.retain(|piece| {
                    called |= matches!(piece.said, Said::Call(..));
                    !(called && is_text(piece))
                });
            }
            _ => {}
        }
    }

    /// When it comes, how it ends, and what it used.
    fn around(self, heard: &mut Vec<Heard>) {
        match self {
            Self::UsageZero | Self::UsageGuessed | Self::CacheTwice => {
                for piece in heard {
                    if let Said::Usage(tokens) = &mut piece.said {
                        *tokens = self.usage(*tokens);
                    }
                }
            }
            Self::StopReasonWrong => {
                for piece in heard {
                    if let Said::Finish(word) = &mut piece.said {
                        "stop".clone_into(word);
                    }
                }
            }
            Self::KeepAliveLost => heard.retain(|piece| piece.said != Said::KeepAlive),
            Self::ErrorSwallowed => {
                let at = heard.last().map_or(Duration::ZERO, |last| last.at);
                heard.retain(|piece| !matches!(piece.said, Said::Error(_)));
                let output = heard.iter().filter(|piece| is_text(piece)).count();
                let usage = Tokens {
                    input: 20,
                    output: output as u64,
                    ..Tokens::default()
                };
                let said = [
                    Said::Usage(usage),
                    Said::Finish("stop".to_owned()),
                    Said::End,
                ];
                heard.extend(said.map(|said| Heard {
                    at,
                    event: u32::MAX,
                    said,
                }));
            }
            Self::Buffered => {
                let end = heard.last().map_or(Duration::ZERO, |last| last.at);
                for piece in heard {
                    piece.at = end;
                }
            }
            _ => {}
        }
    }

    fn usage(self, tokens: Tokens) -> Tokens {
        match self {
            Self::UsageZero => Tokens::default(),
            Self::UsageGuessed => Tokens {
                input: 8,
                cache_read: 0,
                cache_write: 0,
                output: tokens.output * 4,
                ..tokens
            },
            Self::CacheTwice => Tokens {
                input: tokens.input + tokens.cache_read,
                ..tokens
            },
            _ => tokens,
        }
    }

    /// Changes a stream's events.
    pub fn in_stream(self, told: &mut Vec<Told>, client: Endpoint) {
        match (self, client) {
            (Self::DeltaAfterStop, _) => delay_text(told, client),
            (Self::BlocksOverlap, Endpoint::Anthropic) => {
                let stop = position(told, |event| event["type"] == "content_block_stop");
                told.swap(stop, stop + 1);
            }
            (Self::IndexFromOne, Endpoint::OpenAi) => {
                each_call(told, |call| add_one(&mut call["index"]));
            }
            (Self::IndexFromOne, Endpoint::Anthropic) => {
                for event in told.iter_mut().filter_map(Told::json) {
                    if event["index"].is_u64() {
                        add_one(&mut event["index"]);
                    }
                }
            }
            (Self::IdentityRepeated, Endpoint::OpenAi) => {
                let mut names: Vec<(Value, Value)> = Vec::new();
                each_call(told, |call| {
                    if call["id"].is_string() {
                        names.push((call["id"].clone(), call["function"]["name"].clone()));
                    }
                    let at = call["index"].as_u64().expect("an index");
                    let (id, name) = &names[usize::try_from(at).expect("few")];
                    call["id"] = id.clone();
                    call["function"]["name"] = name.clone();
                });
            }
            (Self::StartUsageZero, Endpoint::Anthropic) => {
                let at = position(told, |event| event["type"] == "message_start");
                let event = told[at].json().expect("JSON");
                event["message"]["usage"]["input_tokens"] = 0.into();
                event["message"]["usage"]["cache_read_input_tokens"] = 0.into();
            }
            (Self::UsageLost, Endpoint::OpenAi) => {
                told.retain_mut(|event| event.json().is_none_or(|json| json["usage"].is_null()));
            }
            (Self::UsageLost, Endpoint::Anthropic) => {
                let at = position(told, |event| event["type"] == "message_delta");
                told[at].json().expect("JSON")["usage"] = Value::Null;
            }
            (Self::SignatureLost, Endpoint::Anthropic) => {
                let at = position(told, |event| event["delta"]["type"] == "signature_delta");
                told.remove(at);
            }
            (Self::TextInThinking, Endpoint::Anthropic) => {
                let at = position(told, |event| event["delta"]["type"] == "text_delta");
                let mut text = told.remove(at);
                let into = position(told, |event| event["delta"]["type"] == "signature_delta");
                text.at = told[into].at;
                text.json().expect("JSON")["index"] =
                    told[into].clone().json().expect("JSON")["index"].clone();
                told.insert(into, text);
            }
            (Self::ArgumentsEmpty, Endpoint::OpenAi) => {
                each_call(told, |call| call["function"]["arguments"] = "".into());
            }
            (Self::CallsListEmpty, Endpoint::OpenAi) => {
                let at = position(told, |event| event["choices"][0]["delta"]["content"] != "");
                let event = told[at].json().expect("JSON");
                event["choices"][0]["delta"]["tool_calls"] = json!([]);
            }
            (Self::BlockEmpty, Endpoint::Anthropic) => insert_empty_block(told),
            _ => {}
        }
    }

    /// Changes a whole body.
    pub fn in_body(self, body: &mut Value, client: Endpoint) {
        match (self, client) {
            (Self::ArgumentsEmpty, Endpoint::OpenAi) => {
                let calls = body["choices"][0]["message"]["tool_calls"].as_array_mut();
                for call in calls.into_iter().flatten() {
                    call["function"]["arguments"] = "".into();
                }
            }
            (Self::SignatureLost, Endpoint::Anthropic) => {
                body["content"][0]["signature"] = "".into();
            }
            (Self::BlockEmpty, Endpoint::Anthropic) => {
                let blocks = body["content"].as_array_mut().expect("blocks");
                blocks.insert(0, json!({"type": "text", "text": ""}));
            }
            _ => {}
        }
    }
}

/// Gives two calls each other's arguments, piece by piece.
fn swap_arguments(heard: &mut [Heard]) {
    let mut pieces = [VecDeque::new(), VecDeque::new()];
    for piece in heard.iter() {
        if let Said::Arguments(at, text) = &piece.said {
            pieces[*at].push_back(text.clone());
        }
    }
    assert_eq!(pieces[0].len(), pieces[1].len(), "calls that are cut alike");
    for piece in heard {
        if let Said::Arguments(at, text) = &mut piece.said {
            *text = pieces[1 - *at].pop_front().expect("as many pieces");
        }
    }
}

fn is_text(piece: &Heard) -> bool {
    matches!(piece.said, Said::Text(_))
}

fn is_reasoning(piece: &Heard) -> bool {
    matches!(piece.said, Said::Reasoning(_))
}

/// The place of the nth piece of a kind.
fn nth(heard: &[Heard], n: usize, is: impl Fn(&Heard) -> bool) -> usize {
    let mut places = heard.iter().enumerate().filter(|(_, piece)| is(piece));
    places.nth(n).expect("so many pieces").0
}

/// The place of the first event that is so.
fn position(told: &mut [Told], is: impl Fn(&Value) -> bool) -> usize {
    let mut events = told.iter_mut();
    let found = events.position(|event| event.json().is_some_and(|json| is(json)));
    found.expect("such an event")
}

fn add_one(number: &mut Value) {
    *number = (number.as_u64().expect("a number") + 1).into();
}

/// Every fragment of a call in a stream of chunks.
fn each_call(told: &mut [Told], mut each: impl FnMut(&mut Value)) {
    for event in told.iter_mut().filter_map(Told::json) {
        let calls = event.pointer_mut("/choices/0/delta/tool_calls");
        for call in calls.and_then(Value::as_array_mut).into_iter().flatten() {
            each(call);
        }
    }
}

/// Has the last piece of the text come after what closes it.
fn delay_text(told: &mut [Told], client: Endpoint) {
    let is_text = |event: &Told| match &event.body {
        Body::Json(json) => match client {
            Endpoint::OpenAi => {
                let text = &json["choices"][0]["delta"]["content"];
                text.as_str().is_some_and(|text| !text.is_empty())
            }
            Endpoint::Anthropic => json["delta"]["type"] == "text_delta",
        },
        Body::Done | Body::Comment => false,
    };
    let closes = |event: &Told| match &event.body {
        Body::Json(json) => {
            json["type"] == "content_block_stop" || json["choices"][0]["finish_reason"].is_string()
        }
        Body::Done | Body::Comment => false,
    };
    let last = told.iter().rposition(is_text).expect("text");
    let after = last + told[last..].iter().position(closes).expect("an end");
    told[last..=after].rotate_left(1);
}

/// Puts an empty block of text in front of the first block.
fn insert_empty_block(told: &mut Vec<Told>) {
    let first = position(told, |event| event["type"] == "content_block_start");
    for event in told[first..].iter_mut().filter_map(Told::json) {
        if event["index"].is_u64() {
            add_one(&mut event["index"]);
        }
    }
    let at = told[first].at;
    let block = json!({"type": "text", "text": ""});
    let empty = [
        json!({"type": "content_block_start", "index": 0, "content_block": block}),
        json!({"type": "content_block_stop", "index": 0}),
    ];
    let empty = empty.map(|json| Told {
        at,
        body: Body::Json(json),
    });
    drop(told.splice(first..first, empty));
}

/// Gives the first result in a message another id.
fn rename_result(message: &mut Value) {
    if message["role"] == "tool" {
        message["tool_call_id"] = "unknown00".into();
    }
    let blocks = message["content"].as_array_mut();
    for block in blocks.into_iter().flatten() {
        if block["type"] == "tool_result" {
            block["tool_use_id"] = "unknown00".into();
        }
    }
}
