//! What differs between two sides, and by how much one is slower.

use super::*;
use crate::billing::reconcile::Status;
use crate::record::{Class, Outcome, Tally};
use crate::time::Offset;

fn at(ms: u64) -> Offset {
    Offset::from_nanos(ms * 1_000_000)
}

fn judged(status: Status, digits: &str) -> Judged {
    Judged {
        status,
        predicted: digits.parse().ok(),
        recorded: None,
        delta: None,
        findings: Vec::new(),
    }
}

/// A complete marked answer of 10 tokens and one call; the Anthropic endpoint is 5 ms slower.
fn answer(endpoint: Endpoint, session: u64) -> Record {
    let id = format!("{endpoint}{session}");
    let mut record = Record::new(id, Phase::Measured, endpoint, Class::Tools);
    record.session = session;
    record.outcome = Outcome::Ok;
    record.sent = Some(at(session * 100));
    let late = if endpoint == Endpoint::Anthropic {
        5
    } else {
        0
    };
    record.first_token = Some(at(session * 100 + 20 + late));
    record.terminator = Some(at(session * 100 + 60 + late + session % 3));
    record.text_sha256 = Some(format!("{endpoint}"));
    record.marks.add("text", 10);
    record.marks.add("text_next", 10);
    record.counts.calls = 1;
    record.call_names_sha256 = Some("n".to_owned());
    record.call_arguments_sha256 = Some("a".to_owned());
    let (finish, input, cache_read) = match endpoint {
        Endpoint::OpenAi => ("tool_calls", 100, 75),
        Endpoint::Anthropic => ("tool_use", 25, 75),
    };
    record.finish = Some(finish.to_owned());
    record.last_usage.input = Some(input);
    record.last_usage.cache_read = Some(cache_read);
    record.last_usage.output = Some(10);
    record
}

/// The pairs of so many sessions, of which `change` makes others; the sides come in either order.
fn pairs(sessions: u64, change: impl Fn(&mut Record)) -> Parity {
    let mut parity = Parity::new();
    for session in 0..sessions {
        let mut sides = Endpoint::ALL;
        if session % 2 == 1 {
            sides.reverse();
        }
        for endpoint in sides {
            let mut record = answer(endpoint, session);
            change(&mut record);
            parity.add(&record, None, &judged(Status::Matched, "0.5"));
        }
    }
    parity
}

fn found(parity: &Parity) -> Vec<(Code, u64)> {
    let all = parity.differences();
    all.iter().map(|d| (d.code, d.count)).collect()
}

/// What is found where every third of nine Anthropic answers is changed.
#[track_caller]
fn check(change: impl Fn(&mut Record), expected: &[Code]) {
    let parity = pairs(9, |record| {
        if record.endpoint == Endpoint::Anthropic && record.session % 3 == 0 {
            change(record);
        }
    });
    let expected: Vec<(Code, u64)> = expected.iter().map(|code| (*code, 3)).collect();
    assert_eq!(found(&parity), expected);
    for difference in parity.differences() {
        assert_eq!((difference.of, difference.examples.len()), (9, 3));
        assert_eq!(difference.examples[0].anthropic, "anthropic0");
    }
}

#[test]
fn the_same_answers_in_either_protocol_do_not_differ() {
    let parity = pairs(9, |_| {});
    assert_eq!(found(&parity), []);
    let counted = parity.pairs();
    assert_eq!(
        (counted.compared, counted.exact, counted.unpaired),
        (9, 9, 0)
    );
    let tokens = parity.tokens(Endpoint::OpenAi).expect("marked");
    assert_eq!((tokens.own, tokens.is_whole()), (90, true));
}

#[test]
fn each_difference_has_its_name() {
    check(|r| r.outcome = Outcome::Truncated, &[Code::OutcomeDiffers]);
    check(|r| r.marks.add("text_repeated", 1), &[Code::TextDiffers]);
    check(|r| r.marks.add("text", 1), &[Code::TextDiffers]);
    check(|r| r.marks.add("reasoning", 1), &[Code::ReasoningDiffers]);
    check(|r| r.counts.calls = 2, &[Code::CallsDiffer]);
    check(|r| r.call_names_sha256 = None, &[Code::CallNamesDiffer]);
    check(|r| r.call_arguments_sha256 = None, &[Code::ArgumentsDiffer]);
    check(
        |r| r.finish = Some("max_tokens".to_owned()),
        &[Code::StopReasonDiffers],
    );
    check(|r| r.last_usage.input = Some(100), &[Code::UsageDiffers]);
    // Not reported is not another count.
    check(
        |r| (r.last_usage.input, r.last_usage.cache_read) = (Some(100), None),
        &[],
    );
}

#[test]
fn a_cache_that_serves_one_of_two_is_no_difference_where_the_journal_shows_it() {
    let judge = |cold: bool| judged(Status::Matched, if cold { "0.5" } else { "0.1" });
    let side = |endpoint: Endpoint, cold: bool| {
        let mut record = answer(endpoint, 1);
        let total = record.last_usage.total_input(endpoint).expect("reported");
        let cached = if cold { 0 } else { 75 };
        record.last_usage.cache_read = Some(cached);
        record.last_usage.input = Some(match endpoint {
            Endpoint::OpenAi => total,
            Endpoint::Anthropic => total - cached,
        });
        (record, cold)
    };
    let sides = || {
        [
            side(Endpoint::OpenAi, true),
            side(Endpoint::Anthropic, false),
        ]
    };
    let truth = |cold: bool| Truth {
        status: 200,
        completed: true,
        text_tokens: Some(10),
        cache_read: Some(if cold { 0 } else { 75 }),
        ..Truth::default()
    };
    let compare = |truths: [Truth; 2]| {
        let mut parity = Parity::new();
        for ((record, cold), truth) in sides().into_iter().zip(truths) {
            parity.add(&record, Some(&[truth]), &judge(cold));
        }
        found(&parity)
    };
    assert_eq!(compare([truth(true), truth(false)]), []);
    // The upstream served both alike.
    assert_eq!(
        compare([truth(false), truth(false)]),
        [(Code::UsageDiffers, 1), (Code::PriceDiffers, 1)]
    );
}

#[test]
fn a_stop_that_was_asked_for_by_name_is_one() {
    let parity = pairs(2, |record| {
        record.tool_choice = Some("named".to_owned());
        if record.endpoint == Endpoint::OpenAi {
            record.finish = Some("stop".to_owned());
        }
    });
    assert_eq!(found(&parity), []);
}

#[test]
fn tokens_that_are_missing_at_the_end_the_journal_knows() {
    let mut parity = Parity::new();
    let truth = Truth {
        status: 200,
        completed: true,
        text_tokens: Some(12),
        ..Truth::default()
    };
    for endpoint in Endpoint::ALL {
        let mut record = answer(endpoint, 0);
        if endpoint == Endpoint::OpenAi {
            record.marks.add("text", 2);
            record.marks.add("text_next", 2);
        }
        let judged = judged(Status::Matched, "0.5");
        parity.add(&record, Some(std::slice::from_ref(&truth)), &judged);
    }
    assert_eq!(found(&parity), [(Code::TextDiffers, 1)]);
    let lost = |endpoint| parity.tokens(endpoint).expect("marked").lost;
    assert_eq!((lost(Endpoint::OpenAi), lost(Endpoint::Anthropic)), (0, 2));
    assert_eq!(
        parity.differences()[0].message,
        "in 1 of 1 pairs the visible text is not the same; the first: 12 tokens against 10 tokens, 2 lost (openai against anthropic)"
    );
}

#[test]
fn of_a_live_model_only_the_structure_is_compared() {
    let live = |record: &mut Record| record.marks = Tally::default();
    let parity = pairs(4, |record| {
        live(record);
        if record.endpoint == Endpoint::Anthropic {
            record.last_usage.output = Some(99);
            record.call_arguments_sha256 = Some("other".to_owned());
        }
    });
    assert_eq!(found(&parity), []);
    assert_eq!(parity.pairs().exact, 0);
}

#[test]
fn structure_of_a_live_model_must_lean_to_one_side() {
    type Change = fn(&mut Record);
    let drawn = |sessions: u64, is_other: fn(&Record) -> bool, change: fn(&mut Record)| {
        let parity = pairs(sessions, |record| {
            record.marks = Tally::default();
            if is_other(record) {
                change(record);
            }
        });
        found(&parity)
    };
    let one_side = |record: &Record| record.endpoint == Endpoint::Anthropic;
    // Now the one, now the other.
    let either = |record: &Record| {
        let is_even = record.session.is_multiple_of(2);
        (record.endpoint == Endpoint::Anthropic) == is_even
    };
    let changes: [(Code, Change); 5] = [
        (Code::TextDiffers, |r| r.text_sha256 = None),
        (Code::ReasoningDiffers, |r| {
            r.reasoning_sha256 = Some("r".to_owned());
        }),
        (Code::CallsDiffer, |r| r.counts.calls = 0),
        (Code::CallNamesDiffer, |r| {
            r.call_names_sha256 = Some("m".to_owned());
        }),
        (Code::StopReasonDiffers, |r| {
            r.finish = Some("length".to_owned());
        }),
    ];
    for (code, change) in changes {
        assert_eq!(drawn(17, one_side, change), [(code, 17)]);
        // 16 of 16 are 4 sigma, and no more.
        assert_eq!(drawn(16, one_side, change), []);
        assert_eq!(drawn(400, either, change), []);
    }
    // How it ended is no sample.
    let truncated = drawn(4, one_side, |r| r.outcome = Outcome::Truncated);
    assert_eq!(truncated, [(Code::OutcomeDiffers, 4)]);
}

#[test]
fn prices_are_compared_by_amount_and_by_the_list() {
    for (status, digits, count) in [
        (Status::Matched, "0.5", 0),
        (Status::MatchedRounding, "0.5", 0),
        (Status::Mismatched, "0.5", 1),
        (Status::Matched, "0.6", 1),
    ] {
        let mut parity = Parity::new();
        let openai = answer(Endpoint::OpenAi, 0);
        parity.add(&openai, None, &judged(Status::Matched, "0.5"));
        let anthropic = answer(Endpoint::Anthropic, 0);
        parity.add(&anthropic, None, &judged(status, digits));
        assert_eq!(parity.differences().len(), count, "{status:?} {digits}");
    }
}

#[test]
fn what_the_harness_did_is_no_difference_and_what_is_alone_is_counted() {
    let parity = pairs(3, |record| {
        if (record.endpoint, record.session) == (Endpoint::OpenAi, 1) {
            record.outcome = Outcome::Cut;
        }
        if (record.endpoint, record.session) == (Endpoint::Anthropic, 2) {
            record.turn = 1;
        }
    });
    assert_eq!(found(&parity), []);
    let counted = parity.pairs();
    assert_eq!(
        (counted.compared, counted.left_out, counted.unpaired),
        (1, 1, 2)
    );
    let retried = pairs(3, |record| record.last = false);
    assert_eq!(retried.pairs(), Pairs::default());
}

#[test]
fn the_slower_side_is_told_from_noise() {
    let parity = pairs(640, |_| {});
    let shift = parity.latency().ttft().expect("streams");
    assert_eq!((shift.samples, shift.median_ns), (640, 5e6));
    assert_eq!(shift.interval_ns, Some((5e6, 5e6)));
    assert_eq!(parity.latency().e2e().map(|s| s.median_ns), Some(5e6));
    let few = pairs(63, |_| {});
    assert_eq!(few.latency().ttft().and_then(|s| s.interval_ns), None);
    assert_eq!(Parity::new().latency().ttft(), None);
}
