//! What decoding one event of a stream costs, against the two plain ways to do it.
//!
//! `cargo bench --bench decode` reads transcripts of 64 events, made here, in three ways, in turns
//! within one run: with this crate's decoder (framing, JSON, events, the default cost surfaces),
//! with lines and `serde_json::Value`, and with lines and structs that know only the text that
//! this transcript has. The last one is the yardstick: it is the least that a reader built on
//! `serde_json` can do. Each number is the median over the turns, of nanoseconds an event.
//!
//! `burst` hands over the body as one frame, `paced` one event a frame.

#![expect(clippy::print_stdout, reason = "a bench prints its table")]
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

use std::borrow::Cow;
use std::hint::black_box;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};
use weighbridge::endpoint::Endpoint;
use weighbridge::event::Event;
use weighbridge::protocol::{Decoder, Mode, Surfaces};
use weighbridge::surface::Surface;

/// Content events of a transcript, as in the load that the harness is measured with.
const EVENTS: usize = 64;

/// Turns, of which the median counts.
const TURNS: usize = 7;

/// How long one way may take in one turn; all of them together stay below ten seconds.
const SLICE: Duration = Duration::from_millis(20);

fn main() {
    let surfaces = Surfaces::new(&Surface::defaults());
    println!(
        "{:<28} {:>6} {:>8} {:>8} {:>8} {:>8} {:>14}",
        "ns/event", "bytes", "burst", "paced", "Value", "structs", "burst/structs"
    );
    for transcript in transcripts() {
        let bytes = transcript.events.iter().map(Vec::len).sum::<usize>() / EVENTS;
        let [burst, paced, value, structs] = measure(&transcript, &surfaces);
        println!(
            "{:<28} {bytes:>6} {burst:>8.0} {paced:>8.0} {value:>8.0} {structs:>8.0} {:>14.2}",
            transcript.name,
            burst / structs,
        );
    }
}

/// A response, one item an event of the wire.
struct Transcript {
    name: &'static str,
    endpoint: Endpoint,
    events: Vec<Vec<u8>>,
}

/// The four ways, in turns: the medians in ns an event.
fn measure(transcript: &Transcript, surfaces: &Surfaces) -> [f64; 4] {
    let body = transcript.events.concat();
    let frames: Vec<&[u8]> = transcript.events.iter().map(Vec::as_slice).collect();
    let endpoint = transcript.endpoint;
    let expected = decoded(endpoint, surfaces, &[&body]);
    assert_eq!(expected, decoded(endpoint, surfaces, &frames), "paced");
    assert_eq!(expected, values(&body), "values");
    assert_eq!(expected, structs(endpoint, &body), "structs");

    let mut turns: [Vec<f64>; 4] = Default::default();
    for _ in 0..TURNS {
        turns[0].push(time(|| decoded(endpoint, surfaces, &[black_box(&body)])));
        turns[1].push(time(|| decoded(endpoint, surfaces, black_box(&frames))));
        turns[2].push(time(|| values(black_box(&body))));
        turns[3].push(time(|| structs(endpoint, black_box(&body))));
    }
    turns.map(|mut turns| {
        turns.sort_by(f64::total_cmp);
        turns[TURNS / 2]
    })
}

/// Nanoseconds an event.
fn time(mut decode: impl FnMut() -> usize) -> f64 {
    let start = Instant::now();
    let mut rounds = 0_u32;
    loop {
        for _ in 0..16 {
            black_box(decode());
        }
        rounds += 16;
        let elapsed = start.elapsed();
        if elapsed > SLICE {
            return elapsed.as_secs_f64() * 1e9 / f64::from(rounds) / EVENTS as f64;
        }
    }
}

/// Bytes of text, reasoning and arguments that the decoder finds.
fn decoded(endpoint: Endpoint, surfaces: &Surfaces, frames: &[&[u8]]) -> usize {
    let mut said = 0;
    let mut sink = |event: Event<'_>| match event {
        Event::Text(text) | Event::Reasoning(text) => said += text.len(),
        Event::Arguments { fragment, .. } => said += fragment.len(),
        _ => {}
    };
    let mut decoder = Decoder::new(endpoint, Mode::Stream, surfaces.clone());
    for frame in frames {
        decoder.push(frame, &mut sink);
    }
    decoder.finish(&mut sink);
    said
}

/// The data lines of a body whose lines end in line feeds and whose events have one each.
fn data(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    body.split(|&byte| byte == b'\n')
        .filter_map(|line| line.strip_prefix(b"data: "))
        .filter(|data| data != b"[DONE]")
}

/// The same number, found in trees.
fn values(body: &[u8]) -> usize {
    let tree = |data| serde_json::from_slice::<Value>(data).expect("JSON");
    let text = |value: &Value| match value {
        Value::String(text) => text.len(),
        Value::Array(parts) => (parts.iter())
            .flat_map(|part| part["thinking"].as_array().into_iter().flatten())
            .filter_map(|thought| thought["text"].as_str())
            .map(str::len)
            .sum(),
        _ => 0,
    };
    data(body)
        .map(tree)
        .map(|event| {
            let delta = match &event["delta"] {
                Value::Null => &event["choices"][0]["delta"],
                delta => delta,
            };
            text(&delta["content"])
                + text(&delta["text"])
                + text(&delta["thinking"])
                + text(&delta["partial_json"])
                + text(&delta["tool_calls"][0]["function"]["arguments"])
        })
        .sum()
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    choices: Vec<Choice<'a>>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow)]
    delta: ChunkDelta<'a>,
}

#[derive(Deserialize)]
struct ChunkDelta<'a> {
    #[serde(borrow, default)]
    content: Option<Content<'a>>,
    #[serde(borrow, default)]
    tool_calls: Vec<ToolCall<'a>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Content<'a> {
    Text(#[serde(borrow)] Cow<'a, str>),
    Parts(#[serde(borrow)] Vec<Part<'a>>),
}

#[derive(Deserialize)]
struct Part<'a> {
    #[serde(borrow)]
    thinking: Vec<Thought<'a>>,
}

#[derive(Deserialize)]
struct Thought<'a> {
    #[serde(borrow)]
    text: Cow<'a, str>,
}

#[derive(Deserialize)]
struct ToolCall<'a> {
    #[serde(borrow)]
    function: Function<'a>,
}

#[derive(Deserialize)]
struct Function<'a> {
    #[serde(borrow)]
    arguments: Cow<'a, str>,
}

/// Chunks whose content is a plain text: what most readers can do with.
#[derive(Deserialize)]
struct PlainChunk<'a> {
    #[serde(borrow)]
    choices: Vec<PlainChoice<'a>>,
}

#[derive(Deserialize)]
struct PlainChoice<'a> {
    #[serde(borrow)]
    delta: PlainDelta<'a>,
}

#[derive(Deserialize)]
struct PlainDelta<'a> {
    #[serde(borrow)]
    content: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct AnthropicEvent<'a> {
    #[serde(borrow)]
    delta: AnthropicDelta<'a>,
}

#[derive(Deserialize)]
struct AnthropicDelta<'a> {
    #[serde(borrow, default)]
    text: Cow<'a, str>,
    #[serde(borrow, default)]
    thinking: Cow<'a, str>,
    #[serde(borrow, default)]
    partial_json: Cow<'a, str>,
}

/// The same number, read into the structs that are the fastest for the transcript.
fn structs(endpoint: Endpoint, body: &[u8]) -> usize {
    let of_data = |data| match endpoint {
        Endpoint::OpenAi if data_is_plain(data) => {
            let chunk: PlainChunk<'_> = serde_json::from_slice(data).expect("a chunk");
            (chunk.choices.iter())
                .filter_map(|choice| choice.delta.content.as_deref())
                .map(str::len)
                .sum()
        }
        Endpoint::OpenAi => {
            let chunk: Chunk<'_> = serde_json::from_slice(data).expect("a chunk");
            chunk.choices.iter().map(said).sum()
        }
        Endpoint::Anthropic => {
            let event: AnthropicEvent<'_> = serde_json::from_slice(data).expect("an event");
            let delta = event.delta;
            delta.text.len() + delta.thinking.len() + delta.partial_json.len()
        }
    };
    data(body).map(of_data).sum::<usize>()
}

/// Where the content is a text, the delta begins with it in these transcripts.
fn data_is_plain(data: &[u8]) -> bool {
    memchr::memmem::find(data, b"\"delta\":{\"content\":\"").is_some()
}

fn said(choice: &Choice<'_>) -> usize {
    let content = match &choice.delta.content {
        None => 0,
        Some(Content::Text(text)) => text.len(),
        Some(Content::Parts(parts)) => (parts.iter().flat_map(|part| &part.thinking))
            .map(|thought| thought.text.len())
            .sum(),
    };
    let calls = &choice.delta.tool_calls;
    content + (calls.iter().map(|call| call.function.arguments.len())).sum::<usize>()
}

fn transcripts() -> Vec<Transcript> {
    let word = |n: usize| ["measure", "token", "a", "gateway", "stream "][n % 5].repeat(1 + n % 2);
    let escaped = |n: usize| ["\"so\"", "line\n\n", "naïve ", "日本", "🌍 \\"][n % 5].to_owned();
    let fragment = |n: usize| ["{\"x\":\"", "a b c", "\\n", "\",\"y\":", "12}"][n % 5].to_owned();
    let plain = |delta: Value| chunk(&delta);
    vec![
        openai("OpenAI text", |n| plain(json!({"content": word(n)}))),
        openai("OpenAI text, escapes", |n| {
            plain(json!({"content": escaped(n)}))
        }),
        openai("OpenAI text, ASCII escapes", |n| {
            // As Python's `json.dumps` writes it.
            plain(json!({"content": "TEXT"})).replace("TEXT", ["\\u65e5\\u672c", "\\u8a9e"][n % 2])
        }),
        openai("OpenAI text, obfuscation", |n| {
            let padding = format!(
                "],\"usage\":null,\"obfuscation\":\"{}\"}}",
                &"aB3dE5gH"[n % 8..]
            );
            plain(json!({"content": word(n)})).replace("]}", &padding)
        }),
        openai("OpenAI text, usage in each", |n| {
            let usage = format!(
                "],\"usage\":{{\"prompt_tokens\":20,\"completion_tokens\":{n},\"total_tokens\":{}}}}}",
                20 + n
            );
            plain(json!({"content": word(n)})).replace("]}", &usage)
        }),
        openai("Mistral reasoning", |n| {
            plain(json!({"content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": word(n)}]}
            ]}))
        }),
        openai("OpenAI arguments", |n| {
            plain(if n == 0 {
                json!({"tool_calls": [{"index": 0, "id": "call_1", "type": "function",
                    "function": {"name": "look", "arguments": ""}}]})
            } else {
                json!({"tool_calls": [{"index": 0, "function": {"arguments": fragment(n)}}]})
            })
        }),
        anthropic(
            "Anthropic text",
            &json!({"type": "text", "text": ""}),
            |n| json!({"type": "text_delta", "text": word(n)}),
        ),
        anthropic(
            "Anthropic thinking",
            &json!({"type": "thinking", "thinking": "", "signature": ""}),
            |n| json!({"type": "thinking_delta", "thinking": word(n)}),
        ),
        anthropic(
            "Anthropic arguments",
            &json!({"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}}),
            |n| json!({"type": "input_json_delta", "partial_json": fragment(n)}),
        ),
    ]
}

/// A chunk in the order of keys in which providers write it.
fn chunk(delta: &Value) -> String {
    format!(
        "{{\"id\":\"chatcmpl-9f2c1ab04d7e4c6d8e5b\",\"object\":\"chat.completion.chunk\",\
         \"created\":1790000000,\"model\":\"magistral-small-latest\",\"choices\":[{{\"index\":0,\
         \"delta\":{delta},\"finish_reason\":null}}]}}"
    )
}

fn openai(name: &'static str, data: impl Fn(usize) -> String) -> Transcript {
    let mut events: Vec<Vec<u8>> = (0..EVENTS)
        .map(|n| format!("data: {}\n\n", data(n)).into_bytes())
        .collect();
    events.push(b"data: [DONE]\n\n".to_vec());
    Transcript {
        name,
        endpoint: Endpoint::OpenAi,
        events,
    }
}

fn anthropic(name: &'static str, block: &Value, delta: impl Fn(usize) -> Value) -> Transcript {
    let event = |kind: &str, rest: String| {
        format!("event: {kind}\ndata: {{\"type\":\"{kind}\"{rest}}}\n\n").into_bytes()
    };
    // Nothing but deltas and the event that they need, so that the structs need not know others.
    let start = format!(
        "event: content_block_start\ndata: {{\"type\":\"content_block_start\",\"index\":0,\"delta\":{{}},\"content_block\":{block}}}\n\n"
    );
    let deltas = (0..EVENTS).map(|n| {
        event(
            "content_block_delta",
            format!(",\"index\":0,\"delta\":{}", delta(n)),
        )
    });
    Transcript {
        name,
        endpoint: Endpoint::Anthropic,
        events: [start.into_bytes()].into_iter().chain(deltas).collect(),
    }
}
