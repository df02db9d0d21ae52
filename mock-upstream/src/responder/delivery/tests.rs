//! Each part of a delivery on its own, and that any delivery says the same.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::config::Silence;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// An opening at 2 ms, tokens at 10, 20 ... ms, and an end with the last of them.
fn stream(tokens: u64) -> Frames {
    let mut frames = Frames::new();
    frames.push(ms(2), Content::NOTHING, b"data: open\n\n");
    for i in 0..tokens {
        let event = format!("event: t\ndata: t{i}\u{e9}\u{20ac}\u{1f600}\n\n");
        frames.push(ms(10 * (i + 1)), Content::TOKENS, event.as_bytes());
    }
    frames.push(ms(10 * tokens), Content::COST, b"data: end\n\n");
    frames
}

fn delivered(delivery: &Delivery, endpoint: Endpoint, dialect: Dialect) -> Frames {
    let draws = Draws::new(0, "n", 0);
    deliver(stream(3), delivery, endpoint, dialect, &draws)
}

/// The writes of a stream of three tokens in short: milliseconds, a star for each token event, a dollar for a cost,
/// and the data or the comment of each event.
fn writes(delivery: &Delivery, endpoint: Endpoint, dialect: Dialect) -> Vec<String> {
    let frames = delivered(delivery, endpoint, dialect);
    let short = |(frame, bytes): (crate::script::Frame, &[u8])| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let lines = text.lines().filter(|line| !line.is_empty());
        let words = lines.filter(|line| !line.starts_with("event: "));
        let word = |line: &str| {
            line.replace("data: ", "")
                .replace("\u{e9}\u{20ac}\u{1f600}", "")
        };
        let stars = "*".repeat(frame.content.token_events as usize);
        let dollar = if frame.content.has_cost { "$" } else { "" };
        let words: Vec<String> = words.map(word).collect();
        format!(
            "{}{stars}{dollar} {}",
            frame.at.as_millis(),
            words.join(",")
        )
    };
    frames.iter().map(short).collect()
}

fn silence(ms: f64, before_event: u64, share: f64) -> Silence {
    Silence {
        ms,
        before_event,
        share,
    }
}

#[test]
fn each_part_of_a_delivery_does_what_it_says() {
    let plain = Delivery::default;
    let table: [(Delivery, &[&str]); 10] = [
        (
            plain(),
            &["2 open", "10* t0", "20* t1", "30* t2", "30$ end"],
        ),
        (
            Delivery {
                silence: Some(silence(100.0, 1, 1.0)),
                ..plain()
            },
            &["2 open", "10* t0", "120* t1", "130* t2", "130$ end"],
        ),
        (
            Delivery {
                silence: Some(silence(100.0, 3, 1.0)),
                ..plain()
            },
            &["2 open", "10* t0", "20* t1", "30* t2", "30$ end"],
        ),
        (
            Delivery {
                silence: Some(silence(100.0, 0, 0.0)),
                ..plain()
            },
            &["2 open", "10* t0", "20* t1", "30* t2", "30$ end"],
        ),
        (
            Delivery {
                silence: Some(silence(40.0, 1, 1.0)),
                ping_after_ms: Some(25.0),
                ..plain()
            },
            // None at 60 ms, when the silence ends.
            &[
                "2 open",
                "10* t0",
                "35 : keep-alive",
                "60* t1",
                "70* t2",
                "70$ end",
            ],
        ),
        (
            Delivery {
                comment_every: 2,
                comment: Some("c".to_owned()),
                ..plain()
            },
            &["2 open", "10* t0", "20* t1", "20 : c", "30* t2", "30$ end"],
        ),
        (
            Delivery {
                events_per_write: 2,
                ..plain()
            },
            &["10* open,t0", "30** t1,t2", "30$ end"],
        ),
        (
            Delivery {
                events_per_write: 4,
                ..plain()
            },
            &["30*** open,t0,t1,t2", "30$ end"],
        ),
        (
            Delivery {
                events_per_write: 9,
                ..plain()
            },
            &["30***$ open,t0,t1,t2,end"],
        ),
        (
            Delivery {
                events_per_write: 2,
                comment_every: 1,
                ..plain()
            },
            &[
                "10* open,t0",
                "10 : keep-alive",
                "30** t1,: keep-alive,t2",
                "30 : keep-alive",
                "30$ end",
            ],
        ),
    ];
    for (delivery, expected) in table {
        let writes = writes(&delivery, Endpoint::OpenAi, Dialect::OpenAi);
        assert_eq!(writes, expected, "{delivery:?}");
    }
}

#[test]
fn keep_alives_are_those_of_the_api() {
    let at = |ping_after_ms, silent_ms, endpoint, dialect| {
        let delivery = Delivery {
            ping_after_ms,
            silence: Some(silence(silent_ms, 0, 1.0)),
            ..Delivery::default()
        };
        let mut writes = writes(&delivery, endpoint, dialect);
        writes.retain(|write| !write.contains(" t") && !write.contains(" end"));
        writes
    };
    let ping = r#"{"type":"ping"}"#;
    assert_eq!(
        at(Some(7.0), 10.0, Endpoint::Anthropic, Dialect::OpenRouter),
        [
            "2 open",
            &format!("9 {ping}"),
            &format!("16 {ping}"),
            &format!("27 {ping}"),
            &format!("37 {ping}")
        ]
    );
    assert_eq!(
        at(None, 1000.0, Endpoint::OpenAi, Dialect::OpenRouter),
        [
            "2 : OPENROUTER PROCESSING",
            "2 open",
            "502 : OPENROUTER PROCESSING",
            "1002 : OPENROUTER PROCESSING",
        ]
    );
    assert_eq!(
        at(Some(0.0), 1000.0, Endpoint::OpenAi, Dialect::OpenRouter),
        ["2 open"]
    );
    assert_eq!(
        at(None, 1000.0, Endpoint::Anthropic, Dialect::OpenRouter),
        ["2 open"]
    );
    assert_eq!(
        at(None, 1000.0, Endpoint::OpenAi, Dialect::Vllm),
        ["2 open"]
    );
}

#[test]
fn keep_alives_do_not_wait_for_a_write_of_several_events() {
    let delivery = Delivery {
        ping_after_ms: Some(12.0),
        events_per_write: 9,
        ..Delivery::default()
    };
    assert_eq!(
        writes(&delivery, Endpoint::OpenAi, Dialect::OpenAi),
        [
            "12 : keep-alive",
            "24 : keep-alive",
            "30***$ open,t0,t1,t2,end"
        ]
    );
}

#[test]
fn the_silence_before_the_first_frame_is_one_too() {
    let mut frames = Frames::new();
    frames.push(ms(70), Content::TOKENS, b"data: late\n\n");
    let delivery = Delivery {
        ping_after_ms: Some(30.0),
        ..Delivery::default()
    };
    let draws = Draws::new(0, "n", 0);
    let delivered = deliver(frames, &delivery, Endpoint::OpenAi, Dialect::OpenAi, &draws);
    let times: Vec<_> = delivered.iter().map(|(frame, _)| frame.at).collect();
    assert_eq!(times, [ms(30), ms(60), ms(70)]);
}

#[test]
fn writes_are_cut_within_characters_and_line_ends() {
    let delivery = Delivery {
        line_ending: LineEnding::Crlf,
        bom: true,
        split: Some(Split {
            bytes_max: 1,
            random: false,
            gap_ms: 1.0,
        }),
        ..Delivery::default()
    };
    let mut frames = Frames::new();
    frames.push(ms(5), Content::TOKENS, "\u{20ac}\n\n".as_bytes());
    frames.push(ms(7), Content::COST, b"x\n");
    let draws = Draws::new(0, "n", 0);
    let delivered = deliver(frames, &delivery, Endpoint::OpenAi, Dialect::OpenAi, &draws);
    let pieces: Vec<_> = delivered
        .iter()
        .map(|(frame, bytes)| (frame.at.as_millis(), frame.content, bytes.to_vec()))
        .collect();
    let bytes = b"\xef\xbb\xbf\xe2\x82\xac\r\n\r\nx\r\n";
    // The second event is due at 7 ms, but the first takes until 14 ms.
    let times = [5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 14, 15, 16];
    for (index, piece) in pieces.iter().enumerate() {
        let content = match index {
            9 => Content::TOKENS,
            12 => Content::COST,
            _ => Content::NOTHING,
        };
        assert_eq!(*piece, (times[index], content, vec![bytes[index]]));
    }
    assert_eq!(pieces.len(), bytes.len());
}

#[test]
fn sizes_of_writes_are_drawn_where_that_is_wanted() {
    let sizes = |random| {
        let delivery = Delivery {
            split: Some(Split {
                bytes_max: 4,
                random,
                gap_ms: 0.0,
            }),
            ..Delivery::default()
        };
        let frames = delivered(&delivery, Endpoint::OpenAi, Dialect::OpenAi);
        let mut sizes = BTreeMap::new();
        for (_, bytes) in frames.iter() {
            *sizes.entry(bytes.len()).or_insert(0) += 1;
        }
        sizes
    };
    // 12 bytes of the opening, 28 of each of three tokens, 11 of the end.
    assert_eq!(sizes(false), [(3, 1), (4, 26)].into());
    assert!(sizes(true).keys().eq(&[1, 2, 3, 4]), "{:?}", sizes(true));
    assert_eq!(sizes(true), sizes(true));
}

#[test]
fn a_slip_in_a_unit_does_not_fill_the_memory() {
    let delivery = Delivery {
        ping_after_ms: Some(1e-6),
        ..Delivery::default()
    };
    let frames = delivered(&delivery, Endpoint::OpenAi, Dialect::OpenAi);
    assert_eq!(frames.len(), KEEP_ALIVES_MAX as usize + 5);
}

fn any_delivery() -> impl Strategy<Value = Delivery> {
    let line_ending = prop_oneof![
        Just(LineEnding::Lf),
        Just(LineEnding::Crlf),
        Just(LineEnding::Cr)
    ];
    let silence = proptest::option::of((0.0..50.0, 0..6_u64, 0.0..=1.0));
    let split = proptest::option::of((1..40_u64, any::<bool>(), 0.0..3.0));
    let pings = proptest::option::of(0.0..20.0);
    (
        line_ending,
        any::<bool>(),
        0..4_u64,
        pings,
        silence,
        1..5_u64,
        split,
    )
        .prop_map(
            |(line_ending, bom, comment_every, ping_after_ms, silence, events_per_write, split)| {
                Delivery {
                    line_ending,
                    bom,
                    comment: None,
                    comment_every,
                    ping_after_ms,
                    silence: silence.map(|(ms, before_event, share)| Silence {
                        ms,
                        before_event,
                        share,
                    }),
                    events_per_write,
                    split: split.map(|(bytes_max, random, gap_ms)| Split {
                        bytes_max,
                        random,
                        gap_ms,
                    }),
                }
            },
        )
}

/// The stream as it was before it was dressed.
fn undressed(bytes: &[u8], delivery: &Delivery) -> String {
    let text = std::str::from_utf8(bytes).expect("nothing is lost of a character");
    let text = if delivery.bom {
        text.strip_prefix('\u{feff}').expect("a mark")
    } else {
        text
    };
    let text = match delivery.line_ending {
        LineEnding::Lf => text.to_owned(),
        LineEnding::Crlf => {
            assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
            text.replace("\r\n", "\n")
        }
        LineEnding::Cr => {
            assert!(!text.contains('\n'));
            text.replace('\r', "\n")
        }
    };
    let ping = std::str::from_utf8(PING).expect("UTF-8");
    let is_event = |event: &&str| !event.starts_with(':') && *event != ping;
    text.split_inclusive("\n\n").filter(is_event).collect()
}

proptest! {
    #[test]
    fn whatever_the_delivery_the_events_are_the_same(
        delivery in any_delivery(),
        tokens in 1..6_u64,
        nonce in "[0-9a-f]{4}",
        anthropic in any::<bool>(),
        dialect in prop_oneof![Just(Dialect::OpenAi), Just(Dialect::OpenRouter)],
    ) {
        let endpoint = if anthropic { Endpoint::Anthropic } else { Endpoint::OpenAi };
        let stream = stream(tokens);
        let draws = Draws::new(0, &nonce, 0);
        let delivered = deliver(stream.clone(), &delivery, endpoint, dialect, &draws);
        let original = String::from_utf8_lossy(stream.bytes());
        prop_assert_eq!(undressed(delivered.bytes(), &delivery), original);
        prop_assert_eq!(delivered.token_events(), stream.token_events());
        let costs = |frames: &Frames| frames.iter().filter(|(frame, _)| frame.content.has_cost).count();
        prop_assert_eq!(costs(&delivered), costs(&stream));
        let mut times = delivered.iter().map(|(frame, _)| frame.at);
        prop_assert!(times.by_ref().is_sorted());
        if let Some(split) = &delivery.split {
            prop_assert!(delivered.iter().all(|(_, bytes)| bytes.len() as u64 <= split.bytes_max));
        }
        prop_assert!(delivered.iter().all(|(_, bytes)| !bytes.is_empty()));
    }

    #[test]
    fn no_event_leaves_before_it_is_due(delivery in any_delivery(), tokens in 1..6_u64) {
        let stream = stream(tokens);
        let draws = Draws::new(0, "n", 0);
        let delivered = deliver(stream.clone(), &delivery, Endpoint::OpenAi, Dialect::OpenAi, &draws);
        // The moment of the nth token event's last byte, before and after.
        let moments = |frames: &Frames| {
            let events = frames.iter().flat_map(|(frame, _)| {
                std::iter::repeat_n(frame.at, frame.content.token_events as usize)
            });
            events.collect::<Vec<_>>()
        };
        let pairs = moments(&delivered).into_iter().zip(moments(&stream));
        for (after, before) in pairs {
            prop_assert!(after >= before);
        }
    }
}
