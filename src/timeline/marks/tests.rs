use proptest::prelude::*;
use serde_json::json;

use super::*;

const TRACE: &str = "0123abcd0000000000000000000000ff";

/// Feeds these pieces and gives the tally as `name count` pairs, in order of names.
fn tally(pieces: &[(Place, &str)]) -> Vec<(String, u64)> {
    let mut marks = Marks::new(TRACE);
    for (place, text) in pieces {
        match place {
            Place::Calls => marks.call(),
            _ => marks.push(*place, text),
        }
    }
    pairs(&marks.finish(true))
}

fn pairs(tally: &Tally) -> Vec<(String, u64)> {
    tally.iter().map(|(n, c)| (n.clone(), *c)).collect()
}

#[track_caller]
fn check(pieces: &[(Place, &str)], expected: &[(&str, u64)]) {
    // `M` stands for the own mark.
    let pieces: Vec<(Place, String)> = pieces
        .iter()
        .map(|(place, text)| (*place, text.replace('M', "0123abcd")))
        .collect();
    let pieces: Vec<(Place, &str)> = pieces.iter().map(|(p, t)| (*p, t.as_str())).collect();
    let expected: Vec<(String, u64)> = expected
        .iter()
        .map(|(name, count)| ((*name).to_owned(), *count))
        .collect();
    assert_eq!(tally(&pieces), expected);
    let bytes = pieces.iter().flat_map(|(place, text)| {
        let cut = |(at, c): (usize, char)| (*place, &text[at..at + c.len_utf8()]);
        let whole = (*place == Place::Calls).then_some((Place::Calls, ""));
        whole.into_iter().chain(text.char_indices().map(cut))
    });
    assert_eq!(tally(&bytes.collect::<Vec<_>>()), expected, "by character");
}

use Place::{Calls, Reasoning, Text};

#[test]
fn a_faithful_answer_counts_its_tokens() {
    check(
        &[
            (Reasoning, "M.r0 M.r1 "),
            (Text, "M.0 M.1 M.2 "),
            (Calls, ""),
        ],
        &[
            ("reasoning", 2),
            ("reasoning_next", 2),
            ("text", 3),
            ("text_next", 3),
        ],
    );
    check(
        &[(Text, "M.0é漢🦀 M.1é漢🦀")],
        &[("text", 2), ("text_next", 2)],
    );
}

#[test]
fn what_has_no_marks_has_no_tally() {
    check(
        &[(Text, "Hello there, 0123abcd0000 and deadbeef.7 too")],
        &[],
    );
    check(&[], &[]);
    let words = "word ".repeat(20) + "M.0 ";
    check(&[(Text, &words)], &[]);
    assert!(Marks::new("short").finish(true).is_empty());
}

#[test]
fn numbers_that_are_skipped_are_lost() {
    check(
        &[(Text, "M.0 M.3 M.4 ")],
        &[("text", 3), ("text_lost", 2), ("text_next", 5)],
    );
    // At the begin, and after a change.
    check(
        &[
            (Reasoning, "M.r0 "),
            (Text, "M.2 "),
            (Calls, ""),
            (Text, "M.4 M.6 "),
        ],
        &[
            ("reasoning", 1),
            ("reasoning_next", 1),
            ("text", 3),
            ("text_head_lost", 3),
            ("text_lost", 1),
            ("text_next", 7),
        ],
    );
}

#[test]
fn a_number_that_comes_late_was_not_lost() {
    check(
        &[(Text, "M.0 M.4 M.2 M.5 M.1 M.2 ")],
        &[
            ("text", 5),
            ("text_lost", 1),
            ("text_next", 6),
            ("text_reordered", 2),
            ("text_repeated", 1),
        ],
    );
}

#[test]
fn what_stands_in_the_wrong_place_is_not_lost() {
    check(
        &[
            (Reasoning, "M.r0 M.0 "),
            (Text, "M.1 M.r1 M.r0 {\"a\":\"M.c0\"} "),
        ],
        &[
            ("call_in_text", 1),
            ("reasoning", 1),
            ("reasoning_in_text", 1),
            ("reasoning_next", 2),
            ("reasoning_repeated", 1),
            ("text", 1),
            ("text_in_reasoning", 1),
            ("text_next", 2),
        ],
    );
}

#[test]
fn other_marks_and_other_pieces_are_counted() {
    check(
        &[(Text, "M.0 deadbeef.1 M.1 M.01 M.x M.2\u{fffd} so M.2 ")],
        &[
            ("text", 3),
            ("text_foreign", 1),
            ("text_next", 3),
            ("text_unmarked", 4),
        ],
    );
    // A whole answer to another request.
    check(&[(Text, "deadbeef.0 deadbeef.1 ")], &[("text_foreign", 2)]);
    // In front of the first token.
    check(
        &[(Text, "<think> M.r0 </think> M.0 ")],
        &[
            ("reasoning_in_text", 1),
            ("reasoning_next", 1),
            ("text", 1),
            ("text_next", 1),
            ("text_unmarked", 2),
        ],
    );
    let leap = format!("M.0 M.{} M.18446744073709551616 ", u64::MAX);
    check(
        &[(Text, &leap)],
        &[("text", 1), ("text_next", 1), ("text_unmarked", 2)],
    );
    let long = format!("M.0 {} M.1 ", "x".repeat(5000));
    check(
        &[(Text, &long)],
        &[("text", 2), ("text_next", 2), ("text_unmarked", 1)],
    );
}

#[test]
fn a_token_that_was_cut_off_is_none() {
    let mut marks = Marks::new(TRACE);
    marks.push(Text, "0123abcd.0 0123abcd.1");
    let expected = [("text".to_owned(), 1), ("text_next".to_owned(), 1)];
    assert_eq!(pairs(&marks.finish(false)), expected);
}

#[test]
fn memory_is_bounded() {
    let mut marks = Marks::new(TRACE);
    for number in (0..100_000).step_by(2) {
        marks.push(Text, &format!("0123abcd.{number} "));
    }
    assert_eq!(marks.text.numbers.gaps.len(), GAPS_MAX);
    assert_eq!(marks.finish(true).get("text_lost"), 49_999);
}

#[track_caller]
fn call_marks(call: u32, arguments: &str, expected: &[(&str, u64)], canonical: Option<&str>) {
    let value: Option<serde_json::Value> = serde_json::from_str(arguments).ok();
    let marks = CallMarks::new(TRACE, call);
    let expected: Vec<(String, u64)> = expected
        .iter()
        .map(|(name, count)| ((*name).to_owned(), *count))
        .collect();
    let got = pairs(&marks.tally(arguments, value.as_ref()));
    assert_eq!(got, expected, "{arguments}");
    let got = value.map(|value| marks.canonical(&value));
    assert_eq!(got.as_deref(), canonical, "{arguments}");
}

#[test]
fn marks_of_calls() {
    call_marks(
        1,
        r#"{"b":"0123abcd.c1","a":["0123abcd.c0",{"x":"deadbeef.c1"}],"n":1.0,"m":1.5,"t":true}"#,
        &[("foreign", 1), ("other_call", 1), ("own", 1)],
        Some(r#"{"a":["mark.c0",{"x":"deadbeef.c1"}],"b":"mark.c1","m":1.5,"n":1,"t":true}"#),
    );
    // A later turn; a longer text; one that is cut off; one in the middle of another.
    call_marks(
        2,
        r#"{"a":"0123abcd.t3.c2","b":"0123abcd.c20123abcd.c20123","c":"0123abcd.","d":"0123abc","e":"see 0123abcd.c2!","f":"0123abcd0000000000000000000000ff"}"#,
        &[("own", 3)],
        Some(
            r#"{"a":"mark.c2","b":"mark.c2 and 15 bytes","c":"mark.","d":"7 digits of the mark","e":"see mark.c2!","f":"nonce"}"#,
        ),
    );
    call_marks(
        12,
        r#"["0123abcd.c12","0123abcd.c1"]"#,
        &[("other_call", 1), ("own", 1)],
        Some(r#"["mark.c12","mark.c1"]"#),
    );
    call_marks(
        0,
        r#"{"a":"0123abcd.c00123abcd.c0"}"#,
        &[("own", 1)],
        Some(r#"{"a":"mark.c0 and 11 bytes"}"#),
    );
    // Two objects in one are no JSON.
    call_marks(
        0,
        r#"{"a":"0123abcd.c0"}{"a":"0123abcd.c1"}"#,
        &[("other_call", 1), ("own", 1)],
        None,
    );
    call_marks(
        0,
        r#"{"a":"plain","n":12345678901234567890}"#,
        &[],
        Some(r#"{"a":"plain","n":12345678901234567890}"#),
    );
}

#[test]
fn equal_arguments_are_equal_whatever_their_mark() {
    let one = json!({"a": "0123abcd.c0", "b": {"d": 1, "c": 2}});
    let other = json!({"b": {"c": 2.0, "d": 1}, "a": "99999999.c0"});
    let first = CallMarks::new(TRACE, 0).canonical(&one);
    let nonce = "99999999000000000000000000000000";
    assert_eq!(CallMarks::new(nonce, 0).canonical(&other), first);
    assert_ne!(CallMarks::new(TRACE, 0).canonical(&other), first);
}

/// What happens to one token on its way.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Kept,
    Lost,
    Twice,
    /// After the token that follows.
    Late,
    Foreign,
}

fn fates() -> impl Strategy<Value = Vec<Fate>> {
    let fate = prop_oneof![
        12 => Just(Fate::Kept),
        1 => Just(Fate::Lost),
        1 => Just(Fate::Twice),
        1 => Just(Fate::Late),
        1 => Just(Fate::Foreign),
    ];
    proptest::collection::vec(fate, 0..60)
}

proptest! {
    #[test]
    fn what_is_planted_is_counted_however_it_is_cut(
        fates in fates(),
        unicode in any::<bool>(),
        reasoning in any::<bool>(),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let (name, letter) = if reasoning { ("reasoning", "r") } else { ("text", "") };
        let place = if reasoning { Reasoning } else { Text };
        let end = if unicode { "é漢🦀" } else { "" };
        let token = |mark: &str, i: usize| format!("{mark}.{letter}{i}{end} ");
        // The first and the last are kept, and so is what follows one that is late, so that each
        // departure stands alone.
        let mut expected = Tally::default();
        let mut text = token("0123abcd", 0);
        let mut number = 1;
        let mut seen = 1;
        for fate in fates {
            let own = token("0123abcd", number);
            match fate {
                Fate::Kept => (text, seen) = (text + &own, seen + 1),
                Fate::Lost => {
                    expected.add(&format!("{name}_lost"), 1);
                    text += &token("0123abcd", number + 1);
                    (number, seen) = (number + 1, seen + 1);
                }
                Fate::Twice => {
                    expected.add(&format!("{name}_repeated"), 1);
                    (text, seen) = (text + &own + &own, seen + 1);
                }
                Fate::Late => {
                    expected.add(&format!("{name}_reordered"), 1);
                    text += &(token("0123abcd", number + 1) + &own);
                    (number, seen) = (number + 1, seen + 2);
                }
                Fate::Foreign => {
                    expected.add(&format!("{name}_foreign"), 1);
                    (text, seen) = (text + &token("deadbeef", number) + &own, seen + 1);
                }
            }
            number += 1;
        }
        expected.add(name, seen);
        expected.add(&format!("{name}_next"), number as u64);
        let mut cuts: Vec<usize> = cuts
            .iter()
            .map(|cut| cut.index(text.len() + 1))
            .filter(|cut| text.is_char_boundary(*cut))
            .collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let pieces: Vec<(Place, &str)> = cuts
            .windows(2)
            .map(|pair| (place, &text[pair[0]..pair[1]]))
            .collect();
        prop_assert_eq!(tally(&pieces), pairs(&expected));
    }

    #[test]
    fn no_cut_of_any_text_matters(
        pieces in proptest::collection::vec(
            (prop::bool::ANY, prop_oneof!["0123abcd\\.r?[0-9]{1,2} ", "deadbeef\\.[0-9] ", "[a-z. ]{0,9}", "\\PC{0,3}"]),
            0..30,
        ),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let place = |is_text: bool| if is_text { Text } else { Reasoning };
        let whole: Vec<(Place, &str)> = pieces.iter().map(|(p, t)| (place(*p), t.as_str())).collect();
        let cut: Vec<(Place, &str)> = pieces
            .iter()
            .flat_map(|(p, text)| {
                let mut ends: Vec<usize> = cuts
                    .iter()
                    .map(|cut| cut.index(text.len() + 1))
                    .filter(|cut| text.is_char_boundary(*cut))
                    .collect();
                ends.extend([0, text.len()]);
                ends.sort_unstable();
                ends.windows(2)
                    .map(|pair| (place(*p), &text[pair[0]..pair[1]]))
                    .collect::<Vec<_>>()
            })
            .collect();
        prop_assert_eq!(tally(&cut), tally(&whole));
    }
}
