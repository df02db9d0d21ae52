//! The parser against the rules, and against a reader of whole texts that has no states.

use proptest::prelude::*;

use crate::protocol::sse::{Frame, Parser};

type Owned = (Vec<u8>, Vec<u8>, bool);

fn parse(pieces: &[&[u8]]) -> (Vec<Owned>, u64, u64) {
    let mut parser = Parser::new(1 << 20);
    let mut frames = Vec::new();
    let mut sink = |frame: Frame<'_>| {
        frames.push((frame.event.to_vec(), frame.data.to_vec(), frame.terminated));
    };
    for piece in pieces {
        parser.push(piece, &mut sink).expect("short enough");
    }
    parser.finish(&mut sink);
    (frames, parser.comments(), parser.foreign_lines())
}

/// The events of a whole text, line by line.
fn oracle(input: &[u8]) -> (Vec<Owned>, u64, u64) {
    let input = input.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(input);
    // One character a byte, so that text functions serve.
    let text: String = input.iter().map(|&b| char::from(b)).collect();
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let latin1 = |text: &str| -> Vec<u8> {
        text.chars()
            .map(|c| u8::try_from(c).expect("came from a byte"))
            .collect()
    };
    let (mut frames, mut comments, mut foreign) = (Vec::new(), 0, 0);
    let (mut event, mut data) = (String::new(), Vec::<&str>::new());
    let mut lines: Vec<&str> = text.split('\n').collect();
    // What follows the last line end is no blank line: the text ends there.
    if lines.last() == Some(&"") {
        lines.pop();
    }
    for line in lines {
        if line.is_empty() {
            if !data.is_empty() {
                frames.push((latin1(&event), latin1(&data.join("\n")), true));
            }
            event.clear();
            data.clear();
        } else if line.starts_with(':') {
            comments += 1;
        } else {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match name {
                "data" => data.push(value),
                "event" => value.clone_into(&mut event),
                "id" | "retry" => {}
                _ => foreign += 1,
            }
        }
    }
    if !data.is_empty() {
        frames.push((latin1(&event), latin1(&data.join("\n")), false));
    }
    (frames, comments, foreign)
}

#[track_caller]
fn check(input: &[u8], expected: &[(&str, &str)]) {
    let expected: Vec<Owned> = expected
        .iter()
        .map(|(event, data)| (event.as_bytes().to_vec(), data.as_bytes().to_vec(), true))
        .collect();
    let whole = parse(&[input]);
    assert_eq!(whole.0, expected);
    assert_eq!(whole, oracle(input), "the oracle agrees");
    for at in 0..=input.len() {
        let (left, right) = input.split_at(at);
        assert_eq!(parse(&[left, right]), whole, "cut at byte {at}");
    }
    assert_eq!(
        parse(&input.chunks(1).collect::<Vec<_>>()),
        whole,
        "byte by byte"
    );
}

#[test]
fn the_standards_examples() {
    check(
        b"data: YHOO\ndata: +2\ndata: 10\n\n",
        &[("", "YHOO\n+2\n10")],
    );
    check(
        b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
        &[("", "first event"), ("", "second event"), ("", " third event")],
    );
    check(b"data\n\ndata\ndata\n\n", &[("", ""), ("", "\n")]);
    check(
        b"data:test\n\ndata: test\n\n",
        &[("", "test"), ("", "test")],
    );
}

#[test]
fn line_ends() {
    check(
        b"event: a\r\ndata: 1\r\n\r\ndata: 2\r\n\r\n",
        &[("a", "1"), ("", "2")],
    );
    check(
        b"event: a\rdata: 1\r\rdata: 2\r\r",
        &[("a", "1"), ("", "2")],
    );
    check(b"data: 1\r\n\ndata: 2\n\r\n\r\r\n", &[("", "1"), ("", "2")]);
}

#[test]
fn byte_order_marks() {
    check(b"\xEF\xBB\xBFdata: 1\n\n", &[("", "1")]);
    check(
        b"\xEF\xBB\xBF\xEF\xBB\xBFdata: 1\n\ndata: 2\n\n",
        &[("", "2")],
    );
    check(b"\xEF\xBBdata: 1\n\ndata: 2\n\n", &[("", "2")]);
    check(b"data: 1\n\n\xEF\xBB\xBFdata: 2\n\n", &[("", "1")]);
}

#[test]
fn event_types() {
    check(b"event: a\n\ndata: 1\n\n", &[("", "1")]);
    check(
        b"data: 1\nevent: a\nevent: b\ndata: 2\n\n",
        &[("b", "1\n2")],
    );
    check(b"event: a\nevent\ndata: 1\n\n", &[("", "1")]);
}

#[test]
fn data_keeps_everything_but_one_space() {
    check("data:  é: \u{2028}\n\n".as_bytes(), &[("", " é: \u{2028}")]);
    check(b" data: 1\n\nDATA: 2\n\n", &[]);
}

#[test]
fn the_end_hands_on_what_it_cuts_off() {
    assert_eq!(
        parse(&[b"event: a\ndata: 1\ndata: 2"]).0,
        [(b"a".to_vec(), b"1\n2".to_vec(), false)]
    );
    assert_eq!(parse(&[b"data: 1\n"]).0, [(vec![], b"1".to_vec(), false)]);
    assert_eq!(parse(&[b"event: a"]).0, []);
}

proptest! {
    #[test]
    fn agrees_with_the_oracle(
        pieces in proptest::collection::vec(
            proptest::sample::select(vec![
                "data", "event", "id", "x", ":", ": ", " ", "\n", "\r", "\r\n", "é", "\u{feff}",
            ]),
            0..60,
        ),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let input = pieces.concat().into_bytes();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
        cuts.extend([0, input.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &input[pair[0]..pair[1]]).collect();
        prop_assert_eq!(parse(&pieces), oracle(&input));
    }
}
