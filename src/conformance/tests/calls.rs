//! Tool calls: what is named of them, and of which attempts.

use super::*;

/// What is found on an answer with `arrived` of two calls.
fn of_two(arrived: &[CallRecord], is_limited: bool) -> Vec<(Code, u64, u64)> {
    let mut checker = Checker::new();
    let (mut record, mut truth) = with_calls(1, 2);
    let count = |calls: usize| u32::try_from(calls).expect("few");
    record.counts.calls = count(arrived.len());
    record.counts.calls_valid = count(arrived.iter().filter(|call| call.valid_json).count());
    if is_limited {
        record.finish = Some("max_tokens".to_owned());
        truth.finish = Some("length".to_owned());
    }
    checker.add(&record, Some(&[truth]));
    for call in arrived {
        checker.add_call(call);
    }
    found(&checker)
}

#[test]
fn calls_that_went_astray_are_named_once() {
    let whole = |index| call(1, index);
    let marked = |index, marks: &[(&str, u64)]| CallRecord {
        marks: tally(marks),
        ..call(1, index)
    };
    let broken = |call| CallRecord {
        valid_json: false,
        schema_valid: Some(false),
        ..call
    };
    let two = marked(0, &[("own", 1), ("other_call", 1)]);
    assert_eq!(of_two(&[whole(0), whole(1)], false), []);
    assert_eq!(of_two(&[broken(two)], false), [(Code::CallsMerged, 1, 1)]);
    assert_eq!(
        of_two(&[broken(marked(0, &[]))], false),
        [(Code::CallsMerged, 1, 1)]
    );
    assert_eq!(of_two(&[whole(0)], false), [(Code::CallsLost, 1, 1)]);
    assert_eq!(of_two(&[], false), [(Code::CallsLost, 2, 1)]);
    // The first is lost, and the second has its place.
    assert_eq!(
        of_two(&[marked(0, &[("other_call", 1)])], false),
        [(Code::CallsLost, 1, 1)]
    );
    assert_eq!(
        of_two(&[whole(0), whole(1), marked(2, &[])], false),
        [(Code::CallsExtra, 1, 1)]
    );
    let swapped = |index| CallRecord {
        schema_valid: Some(false),
        ..marked(index, &[("other_call", 2)])
    };
    assert_eq!(
        of_two(&[swapped(0), swapped(1)], false),
        [(Code::ArgumentsMisplaced, 4, 1)]
    );
    assert_eq!(
        of_two(&[whole(0), broken(whole(1))], false),
        [(Code::JsonInvalid, 1, 1)]
    );
    assert_eq!(of_two(&[whole(0), broken(whole(1))], true), []);
    let unfit = CallRecord {
        schema_valid: Some(false),
        ..whole(1)
    };
    assert_eq!(
        of_two(&[whole(0), unfit], false),
        [(Code::SchemaInvalid, 1, 1)]
    );
    let unknown = CallRecord {
        offered: false,
        schema_valid: Some(false),
        ..whole(1)
    };
    assert_eq!(
        of_two(&[whole(0), unknown], false),
        [(Code::NameWrong, 1, 1)]
    );
}

#[test]
fn attempts_make_room_once_their_calls_are_over_and_each_unread_one_is_counted() {
    // One call of two arrived, and it is both.
    let merged = |checker: &mut Checker, session: u64| {
        let (mut record, truth) = with_calls(session, 2);
        record.counts.calls = 1;
        checker.add(&record, Some(&[truth]));
    };
    let its_call = |session| CallRecord {
        marks: tally(&[("own", 1), ("other_call", 1)]),
        ..call(session, 0)
    };
    let mut checker = Checker::with_room_for(2);
    for session in 0..5 {
        merged(&mut checker, session);
        checker.add_call(&its_call(session));
    }
    assert_eq!(found(&checker), [(Code::CallsMerged, 5, 5)]);
    assert_eq!(checker.unread(Endpoint::Anthropic), 0);

    let mut checker = Checker::with_room_for(2);
    for session in 0..3 {
        merged(&mut checker, session);
    }
    let (record, truth) = with_calls(3, 2);
    checker.add(&record, Some(&[truth]));
    assert_eq!(checker.unread(Endpoint::Anthropic), 1);
    for session in 0..3 {
        checker.add_call(&its_call(session));
    }
    for index in 0..2 {
        checker.add_call(&call(3, index));
    }
    assert_eq!(
        found(&checker),
        [(Code::CallsMerged, 2, 2), (Code::CallsLost, 1, 1)]
    );
    // The one without room, and the sound one that could not be told from it.
    assert_eq!(checker.unread(Endpoint::Anthropic), 2);
}

#[test]
fn foreign_data_in_text_and_calls_is_of_one_attempt() {
    let mut checker = Checker::new();
    let (mut record, truth) = with_calls(1, 2);
    record.marks.add("text_foreign", 2);
    checker.add(&record, Some(&[truth]));
    let foreign = |index| CallRecord {
        marks: tally(&[("foreign", 1)]),
        ..call(1, index)
    };
    checker.add_call(&foreign(0));
    checker.add_call(&foreign(1));
    assert_eq!(found(&checker), [(Code::ForeignData, 4, 1)]);
    let (record, truth) = with_calls(2, 2);
    checker.add(&record, Some(&[truth]));
    for index in 0..2 {
        checker.add_call(&CallRecord {
            trace_id: id(2),
            ..foreign(index)
        });
    }
    assert_eq!(found(&checker), [(Code::ForeignData, 6, 2)]);
}

#[test]
fn calls_are_of_the_answers_that_could_show_them() {
    let mut checker = Checker::new();
    for session in 0..4 {
        let (mut record, mut truth) = with_calls(session, 1);
        let mut broken = CallRecord {
            offered: false,
            valid_json: false,
            ..call(session, 0)
        };
        match session {
            0 => (record.outcome, broken.outcome) = (Outcome::Truncated, Outcome::Truncated),
            1 => {
                record.finish = Some("max_tokens".to_owned());
                truth.finish = Some("length".to_owned());
                record.counts.calls_valid = 0;
            }
            _ => {}
        }
        checker.add(&record, Some(&[truth]));
        checker.add_call(&broken);
    }
    let findings = checker.findings(Endpoint::Anthropic);
    let counted: Vec<_> = findings
        .iter()
        .map(|f| (f.code, f.attempts, f.of))
        .collect();
    assert_eq!(
        counted,
        [(Code::JsonInvalid, 2, 2), (Code::NameWrong, 4, 4)]
    );
}
