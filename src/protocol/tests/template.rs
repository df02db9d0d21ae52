//! Events that are read by comparing them with the one before say what parsing them says.

use proptest::prelude::*;

use super::{collect, data_events};
use crate::endpoint::Endpoint;
use crate::protocol::{Decoder, Mode, Surfaces};
use crate::surface::Surface;

fn decoder(endpoint: Endpoint, surfaces: &[Surface]) -> Decoder {
    Decoder::new(endpoint, Mode::Stream, Surfaces::new(surfaces))
}

/// Decodes in both ways, and says how many events were not parsed.
#[track_caller]
fn hits(endpoint: Endpoint, surfaces: &[Surface], input: &[u8]) -> u64 {
    let mut comparing = decoder(endpoint, surfaces);
    let got = collect(&mut comparing, &[input]);
    let mut parsing = decoder(endpoint, surfaces).parsing_all();
    assert_eq!(got, collect(&mut parsing, &[input]));
    assert_eq!(parsing.template_hits(), 0);
    comparing.template_hits()
}

#[track_caller]
fn openai(expected: u64, data: &[&str]) {
    let got = hits(Endpoint::OpenAi, &Surface::defaults(), &data_events(data));
    assert_eq!(got, expected, "{data:#?}");
}

#[track_caller]
fn anthropic(expected: u64, data: &[&str]) {
    let input = super::typed_events(data);
    let got = hits(Endpoint::Anthropic, &Surface::defaults(), &input);
    assert_eq!(got, expected, "{data:#?}");
}

/// A chunk as providers write it, with this delta and these keys at the end.
fn chunk(delta: &str, more: &str) -> String {
    format!(
        r#"{{"id":"c1","object":"chat.completion.chunk","created":1790000000,"model":"m","choices":[{{"index":0,"delta":{{{delta}}},"finish_reason":null}}]{more}}}"#
    )
}

/// The chunks of these texts: the first names the response, the second is learned.
fn texts(texts: &[&str]) -> Vec<String> {
    (["", "learned"].iter().chain(texts))
        .map(|text| chunk(&format!(r#""content":"{text}""#), ""))
        .collect()
}

#[track_caller]
fn of_texts(expected: u64, said: &[&str]) {
    let chunks = texts(said);
    openai(
        expected,
        &chunks.iter().map(String::as_str).collect::<Vec<_>>(),
    );
}

#[test]
fn plain_texts_and_escapes_are_not_parsed() {
    of_texts(3, &["a", " b", "日本 🌍"]);
    of_texts(
        3,
        &[
            r#"\"so\"\\"#,
            r"\b\f\n\r\t\/",
            r"\u00e9\u65E5\ud83c\udf0d\u0000",
        ],
    );
    of_texts(2, &["\\\\", "\u{7f}"]);
    // What looks like the end of the chunk, and like a key.
    of_texts(1, &[r#"\"},\"finish_reason\":null}]}"#]);
    of_texts(2, &["cost", "5"]);
}

#[test]
fn what_is_no_text_is_parsed() {
    for text in [
        "",
        r#"""#,
        r"\",
        r"\x",
        r"\u12",
        r"\u+123",
        r"\ud83d",
        r"\ud83d\u0041",
        r"\udf0d",
        "\t",
        r#"a","content":"b"#,
        r#"a"},"finish_reason":"stop","x":{"y":"#,
    ] {
        of_texts(0, &[text]);
    }
}

#[test]
fn the_dialects_of_chunks() {
    let pairs = [
        (r#""content":"a""#, r#""content":"bc""#),
        (
            r#""role":"assistant","content":"a""#,
            r#""role":"assistant","content":"b""#,
        ),
        (r#""content":"\u00e9""#, r#""content":"b""#),
        (r#""reasoning_content":"a""#, r#""reasoning_content":"b""#),
        (
            r#""content":null,"reasoning":"a""#,
            r#""content":null,"reasoning":"b""#,
        ),
        (r#""refusal":"a""#, r#""refusal":"b""#),
        (
            r#""content":[{"type":"thinking","thinking":[{"type":"text","text":"a"}]}]"#,
            r#""content":[{"type":"thinking","thinking":[{"type":"text","text":"b"}]}]"#,
        ),
        (
            r#""tool_calls":[{"index":0,"function":{"arguments":"{\"a\""}}]"#,
            r#""tool_calls":[{"index":0,"function":{"arguments":":1}"}}]"#,
        ),
    ];
    let ends = [
        ("", ""),
        (r#","usage":null"#, r#","usage":null"#),
        (r#","obfuscation":"aB3""#, r#","obfuscation":"x""#),
        (
            r#", "x" : 17 , "y":{"z":[1,"a"]}"#,
            r#", "x" : 0 , "y":{"z":[1,"a"]}"#,
        ),
    ];
    let named = chunk(
        r#""tool_calls":[{"index":0,"id":"t","function":{"name":"f","arguments":""}}]"#,
        "",
    );
    for (first, second) in pairs {
        for (first_end, second_end) in ends {
            openai(
                2,
                &[
                    &named,
                    &chunk(first, first_end),
                    &chunk(second, second_end),
                    &chunk(second, first_end),
                ],
            );
        }
    }
}

#[test]
fn the_deltas_of_blocks() {
    for (block, first, second) in [
        (
            r#""type":"text","text":"""#,
            r#""type":"text_delta","text":"a""#,
            r#""type":"text_delta","text":"\n""#,
        ),
        (
            r#""type":"thinking""#,
            r#""type":"thinking_delta","thinking":"a""#,
            r#""type":"thinking_delta","thinking":"b""#,
        ),
        (
            r#""type":"tool_use","id":"t","name":"f""#,
            r#""type":"input_json_delta","partial_json":"{\"a\"""#,
            r#""type":"input_json_delta","partial_json":":1}""#,
        ),
    ] {
        let delta = |index: u32, delta: &str, more: &str| {
            format!(r#"{{"type":"content_block_delta","index":{index},"delta":{{{delta}}}{more}}}"#)
        };
        let start =
            format!(r#"{{"type":"content_block_start","index":0,"content_block":{{{block}}}}}"#);
        let begin = [r#"{"type":"message_start","message":{}}"#, &start];
        let rest = [
            delta(0, first, r#","p":"abc""#),
            delta(0, second, r#","p":"""#),
            delta(0, second, r#","p":"a""#),
            // Of no block.
            delta(1, second, r#","p":"a""#),
            delta(0, second, r#","p":"a""#),
            r#"{"type":"content_block_stop","index":0}"#.to_owned(),
            delta(0, second, r#","p":"a""#),
        ];
        let all: Vec<&str> = begin
            .into_iter()
            .chain(rest.iter().map(String::as_str))
            .collect();
        anthropic(2, &all);
    }
}

#[test]
fn another_service_tier_is_never_overlooked() {
    let text = |tier: &str| chunk(r#""content":"a""#, &format!(r#","service_tier":"{tier}""#));
    let tiers = ["auto", "auto", "auto", "flex", "flex", "flex"];
    let chunks = tiers.map(text);
    // Of each three: one names the tier, one is learned, one is like it.
    openai(2, &chunks.each_ref().map(String::as_str));
}

#[test]
fn what_changes_later_events_is_not_learned() {
    // The second id is one too many.
    let call = chunk(r#""content":"a","tool_calls":[{"index":0,"id":"t"}]"#, "");
    openai(0, &["{\"choices\":[]}", &call, &call, &call]);
    // A first delta drops the input that came with the block.
    let delta = r#"{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{}"}}"#;
    anthropic(
        1,
        &[
            r#"{"type":"message_start","message":{}}"#,
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","input":{"x":1}}}"#,
            delta,
            delta,
            delta,
        ],
    );
    // After the end, everything is odd.
    let text = chunk(r#""content":"a""#, "");
    openai(1, &[&text, &text, &text, "[DONE]", &text, &text]);
}

#[test]
fn a_cost_is_never_overlooked() {
    let surface = |text: &str| vec![text.parse::<Surface>().expect("a surface")];
    let input = |more: &str| data_events(&[&*chunk(r#""content":"a""#, more); 4]);
    let hits = |text, more| hits(Endpoint::OpenAi, &surface(text), &input(more));
    assert_eq!(hits("stream:/usage/cost", ""), 2);
    assert_eq!(hits("stream:/cost", r#","cost":5"#), 0);
    assert_eq!(hits("stream:/cost", r#","cost":null"#), 0);
    assert_eq!(hits("stream:/created", ""), 0);
    assert_eq!(hits("stream:/choices/0/delta/content", ""), 0);
    // Array positions and keys that can be written in several ways are looked up in each event.
    assert_eq!(hits("stream:/costs/0", ""), 0);
    assert_eq!(hits("stream:/k\u{f6}sten", ""), 0);
    // The key has an escape, which only shows once a text looks like it.
    let escaped = |text: &str| {
        let text = format!(r#""content":"{text}""#);
        chunk(&text, r#","c\u006fst":5"#)
    };
    let chunks = ["a", "b", "cost", "d"].map(escaped);
    let chunks = chunks.each_ref().map(String::as_str);
    let surfaces = surface("stream:/cost");
    assert_eq!(
        super::template::hits(Endpoint::OpenAi, &surfaces, &data_events(&chunks)),
        0
    );
}

#[test]
fn long_events_are_parsed() {
    let long = chunk(&format!(r#""content":"{}""#, "a".repeat(5000)), "");
    openai(0, &[&long, &long, &long]);
    let short = chunk(r#""content":"a""#, "");
    openai(2, &[&short, &short, &long, &short]);
}

/// Texts as they stand between quotes: plain, escaped, broken, and like what surrounds them.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[ a-z]{0,6}",
        2 => "\\PC{0,3}",
        2 => proptest::sample::select(vec![
            r"\n", r#"\""#, r"\\", r"\/", r"\u00e9", r"\uD83C\uDF0D", r"\u0000",
        ]).prop_map(str::to_owned),
        1 => proptest::sample::select(vec![
            r"\", "\"", r"\x", r"\u12", r"\ud83d", r"\udc00", "\u{1}", "\t", "cost", r#"","x":""#,
            "}", "\r", "\n",
        ]).prop_map(str::to_owned),
    ];
    proptest::collection::vec(piece, 0..4).prop_map(|pieces| pieces.concat())
}

/// Shapes of the data of events; `T` stands for a text, `N` for a number.
const OPENAI_SHAPES: [&str; 24] = [
    r#"{"id":"c","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"T"},"finish_reason":null}]}"#,
    r#"{"id":"c","created":N,"model":"m","choices":[{"index":0,"delta":{"content":"T"},"finish_reason":null}]}"#,
    r#"{"choices":[{"index":0,"delta":{"content":"T"}}],"obfuscation":"T"}"#,
    r#"{"choices":[{"index":0,"delta":{"content":"T"}}],"x":N,"y":-N,"z":N.5,"a":[N,"T"],"b":{"c":"T"}}"#,
    r#" { "model" : "m" , "choices" : [ { "delta" : { "content" : "T" } , "index" : 0 } ] , "usage" : null } "#,
    r#"{"system_fingerprint":"T","choices":[{"delta":{"role":"assistant","content":"T"},"logprobs":null,"content_filter_results":{}}],"service_tier":"T"}"#,
    r#"{"choices":[{"delta":{"reasoning_content":"T"}}]}"#,
    r#"{"choices":[{"delta":{"reasoning_content":"T","reasoning":"T","content":null}}]}"#,
    r#"{"choices":[{"delta":{"reasoning_content":"","reasoning":"T"}}]}"#,
    r#"{"choices":[{"delta":{"content":"T","content":"T"}}]}"#,
    r#"{"choices":[{"delta":{"content":"T"}}],"x":"T","x":N}"#,
    r#"{"choices":[{"delta":{"content":[{"type":"thinking","thinking":[{"type":"text","text":"T"}]}]}}]}"#,
    r#"{"choices":[{"delta":{"content":[{"type":"thinking","thinking":"T"},{"type":"text","text":"T"}]}}]}"#,
    r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"t","type":"function","function":{"name":"f","arguments":""}}]}}]}"#,
    r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"T"}}]}}]}"#,
    r#"{"choices":[{"delta":{"tool_calls":[{"index":1,"function":{"name":"g","arguments":{"x":"T"}}}]}}]}"#,
    r#"{"choices":[{"delta":{"content":"T","tool_calls":[{"index":0,"id":"t"}]}}]}"#,
    r#"{"choices":[{"delta":{"content":"T","tool_calls":[{"index":2,"function":{}}]}}]}"#,
    r#"{"choices":[{"delta":{"content":"T"}}],"usage":{"completion_tokens":N,"cost":N}}"#,
    r#"{"choices":[{"delta":{"content":"T"}}],"c\u006fst":N,"usage":{"c\u006fst":N}}"#,
    r#"{"choices":[{"delta":{"content":"T"}}],"error":"T"}"#,
    r#"{"choices":[{"delta":{"content":"T"},"finish_reason":"stop"}]}"#,
    r#"{"choices":[{"delta":{"content":N}}]}"#,
    "[DONE]",
];

const ANTHROPIC_SHAPES: [&str; 14] = [
    r#"{"type":"message_start","message":{"id":"i","model":"m","usage":{"input_tokens":N}}}"#,
    r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":"T"}}"#,
    r#"{"type":"content_block_start","index":1,"content_block":{"type":"thinking","thinking":"T"}}"#,
    r#"{"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"t","name":"f","input":{}}}"#,
    r#"{"type":"content_block_start","index":2,"content_block":{"type":"tool_use","input":{"x":"T"}}}"#,
    r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"T"}}"#,
    r#"{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "T"}, "p": "T"}"#,
    r#"{"type":"content_block_delta","index":1,"delta":{"type":"thinking_delta","thinking":"T"}}"#,
    r#"{"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"T"}}"#,
    r#"{"type":"content_block_stop","index":0}"#,
    r#"{"type":"content_block_stop","index":2}"#,
    r#"{"type":"ping"}"#,
    r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":N}}"#,
    r#"{"type":"message_stop"}"#,
];

/// An event of this shape, as the protocol has it or with the wrong type in front.
fn event(endpoint: Endpoint, shape: &str, (one, other, number): &Fill, lies: bool) -> String {
    let data = shape
        .replacen('T', one, 1)
        .replace('T', other)
        .replace('N', number);
    let kind = match (endpoint, lies) {
        (Endpoint::OpenAi, false) => None,
        (Endpoint::OpenAi, true) => Some("ping"),
        (Endpoint::Anthropic, false) => shape.split('"').nth(3),
        (Endpoint::Anthropic, true) => Some("content_block_delta"),
    };
    let line = kind.map_or_else(String::new, |kind| format!("event: {kind}\n"));
    format!("{line}data: {data}")
}

type Fill = (String, String, &'static str);

/// Events of a few shapes in runs, since only what repeats is read by comparing.
fn events(endpoint: Endpoint) -> impl Strategy<Value = Vec<u8>> {
    let shapes = match endpoint {
        Endpoint::OpenAi => OPENAI_SHAPES.as_slice(),
        Endpoint::Anthropic => ANTHROPIC_SHAPES.as_slice(),
    };
    let number = proptest::sample::select(vec!["0", "7", "1790000000", "12345678901234567890123"]);
    let run = (
        proptest::sample::select(shapes.to_vec()),
        proptest::collection::vec((text(), text(), number), 1..6),
        prop::bool::weighted(0.1),
        proptest::sample::select(vec!["\n\n", "\r\n\r\n", "\n: c\n\n"]),
    );
    proptest::collection::vec(run, 1..8).prop_map(move |runs| {
        let mut input = String::new();
        for (shape, fills, lies, end) in &runs {
            for fill in fills {
                input += &event(endpoint, shape, fill, *lies);
                input += end;
            }
        }
        input.into_bytes()
    })
}

fn any_events() -> impl Strategy<Value = (Endpoint, Vec<u8>)> {
    proptest::sample::select(Endpoint::ALL.to_vec())
        .prop_flat_map(|endpoint| events(endpoint).prop_map(move |bytes| (endpoint, bytes)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn comparing_says_what_parsing_says(
        (endpoint, mut input) in any_events(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 0..3),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
        surfaces in proptest::sample::select(vec![
            "stream:/usage/cost", "stream:/cost", "stream:/choices/0/delta/content", "stream:/x",
            "stream:/a/0",
        ]),
    ) {
        for (at, byte, kind) in damage {
            let at = at.index(input.len());
            match kind {
                0 => input[at] = byte,
                1 => input.insert(at, byte),
                2 => drop(input.remove(at)),
                _ => input.truncate(at.max(1)),
            }
        }
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
        cuts.extend([0, input.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &input[pair[0]..pair[1]]).collect();
        for surfaces in [vec![], Surface::defaults(), vec![surfaces.parse().expect("a surface")]] {
            let parsed = collect(&mut decoder(endpoint, &surfaces).parsing_all(), &[&input]);
            prop_assert_eq!(collect(&mut decoder(endpoint, &surfaces), &[&input]), parsed.clone());
            prop_assert_eq!(collect(&mut decoder(endpoint, &surfaces), &pieces), parsed);
        }
    }
}
