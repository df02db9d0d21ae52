//! Records against what the upstream counted and wrote.

use super::super::policy::Policy;
use super::super::prices::PriceTable;
use super::super::reconcile::judge;
use super::super::testing::{record, usage};
use super::*;
use crate::record::Counts as RecordCounts;
use crate::usage::Usage;

fn truth(input: u64, output: u64) -> Truth {
    Truth {
        nonce: "0".repeat(32),
        endpoint: "openai".to_owned(),
        model: "m".to_owned(),
        stream: true,
        status: 200,
        token_events: output,
        input: Some(input),
        cache_read: Some(0),
        cache_write: Some(0),
        output: Some(output),
        reasoning: Some(0),
        cost: None,
        tool_calls: 0,
        text_sha256: None,
        reasoning_sha256: None,
        finish: Some("stop".to_owned()),
        fault: None,
        completed: true,
        ..Truth::default()
    }
}

fn answer(input: u64, output: u64) -> Record {
    record("m", usage(input, output))
}

fn verify(pairs: &[(Record, Vec<Truth>)]) -> (u64, u64, Vec<String>) {
    let table = PriceTable::builtin("builtin:keeprouter").expect("built in");
    let mut verifier = Verifier::new();
    let mut entries = pairs.iter().flat_map(|(_, entries)| entries);
    verifier.journal_has_texts(entries.any(Truth::has_text));
    for (record, entries) in pairs {
        let attempt = Attempt {
            truth: Some(entries),
            ..Attempt::seen(record)
        };
        // The list has no price of these models: only the truth says what is wrong.
        let judgement = judge(&table, Policy::default(), &attempt).expect("small");
        verifier.add(&attempt, &judgement.judged).expect("small");
    }
    let mut result = Verification::default();
    for endpoint in Endpoint::ALL {
        let here = verifier.endpoint(endpoint, Currency::USD);
        result.verified += here.verified;
        result.of += here.of;
        result.findings.extend(here.findings);
    }
    let line = |f: &Finding| format!("{} {}", f.code.name(), f.message);
    (
        result.verified,
        result.of,
        result.findings.iter().map(line).collect(),
    )
}

fn check(record: Record, entries: &[Truth], verified: u64, findings: &[&str]) {
    let (n, of, lines) = verify(&[(record, entries.to_vec())]);
    assert_eq!((n, of), (verified, 1), "{lines:?}");
    assert_eq!(lines, findings);
}

#[test]
fn true_counts_are_verified_on_either_endpoint() {
    check(answer(20, 8), &[truth(20, 8)], 1, &[]);
    let cached = Truth {
        cache_read: Some(12),
        ..truth(20, 8)
    };
    let disjoint = Usage {
        cache_read: Some(12),
        ..usage(8, 8)
    };
    let anthropic = Record {
        endpoint: Endpoint::Anthropic,
        last_usage: disjoint,
        ..answer(8, 8)
    };
    check(anthropic, &[cached], 1, &[]);
    // The Anthropic protocol has no count of reasoning: what is not reported is not wrong.
    let reasoned = Truth {
        reasoning: Some(5),
        ..truth(20, 8)
    };
    check(answer(20, 8), &[reasoned], 1, &[]);
}

#[test]
fn sums_of_what_is_not_true_are_shown() {
    let (verified, of, lines) = verify(&[
        (answer(8, 32), vec![truth(20, 8)]),
        (answer(8, 32), vec![truth(20, 8)]),
        (answer(20, 8), vec![truth(20, 8)]),
    ]);
    assert_eq!((verified, of), (1, 3));
    assert_eq!(
        lines,
        ["USAGE_NOT_TRUE reported 16 in / 64 out for 40 / 16 true, on 2 of 3 requests"]
    );
    let uncached = Truth {
        cache_read: Some(12),
        reasoning: Some(3),
        ..truth(20, 8)
    };
    let record = Record {
        last_usage: Usage {
            reasoning: Some(4),
            ..usage(20, 8)
        },
        ..answer(20, 8)
    };
    check(
        record,
        &[uncached],
        0,
        &[
            "USAGE_NOT_TRUE reported 20 in / 8 out for 20 / 8 true, 4 reasoning for 3 true, 0 cached for 12 true, on 1 of 1 requests",
        ],
    );
}

#[test]
fn without_a_count_on_both_sides_nothing_is_verified_or_wrong() {
    check(record("m", Usage::default()), &[truth(20, 8)], 0, &[]);
    let unknown = Truth {
        output: None,
        ..truth(20, 8)
    };
    check(answer(20, 8), &[unknown], 0, &[]);
    check(
        answer(20, 8),
        &[],
        0,
        &[
            "TRUTH_MISSING the upstream's journal has no entry for 1 of 1 requests: answered without it, or the nonce was lost",
        ],
    );
}

#[test]
fn retries_behind_the_gateway_are_told_from_the_harness_s_own() {
    let failed = Truth {
        status: 503,
        ..truth(0, 0)
    };
    let entries = [failed, truth(20, 8)];
    check(
        answer(20, 8),
        &entries,
        1,
        &["UPSTREAM_RETRIED the upstream was asked 2 times for 1 of 1 requests"],
    );
    let second = Record {
        attempt: 1,
        ..answer(20, 8)
    };
    check(second, &entries, 1, &[]);
}

#[test]
fn tool_calls_streams_and_costs() {
    let calls = |calls| Record {
        counts: RecordCounts {
            calls,
            ..RecordCounts::default()
        },
        ..answer(20, 8)
    };
    let made = |tool_calls| Truth {
        tool_calls,
        ..truth(20, 8)
    };
    check(calls(2), &[made(2)], 1, &[]);
    check(
        calls(1),
        &[made(2)],
        1,
        &["TOOL_CALLS_LOST 1 tool calls arrived of 2 that were made, on 1 of 1 requests"],
    );
    check(
        calls(3),
        &[made(2)],
        1,
        &["TOOL_CALLS_EXTRA 3 tool calls arrived of 2 that were made, on 1 of 1 requests"],
    );

    let whole = Truth {
        stream: false,
        ..truth(20, 8)
    };
    check(
        answer(20, 8),
        std::slice::from_ref(&whole),
        1,
        &[
            "STREAM_DOWNGRADED the upstream was asked for no stream on 1 of 1 requests that asked for one",
        ],
    );
    let unstreamed = Record {
        streaming: false,
        ..answer(20, 8)
    };
    check(unstreamed, &[whole], 1, &[]);

    let costs = |digits: &str| Record {
        costs: vec![("stream:/usage/cost".to_owned(), digits.to_owned())],
        ..answer(20, 8)
    };
    let true_cost = Truth {
        cost: Some("0.3".to_owned()),
        ..truth(20, 8)
    };
    check(
        costs("0.30000000000000004"),
        std::slice::from_ref(&true_cost),
        1,
        &[],
    );
    check(
        costs("0.4"),
        &[true_cost],
        1,
        &["COST_NOT_TRUE recorded $0.4 for $0.3 true, on 1 of 1 requests"],
    );
}

/// An answer with these digests.
fn said(text: Option<&str>, reasoning: Option<&str>) -> Record {
    Record {
        text_sha256: text.map(str::to_owned),
        reasoning_sha256: reasoning.map(str::to_owned),
        ..answer(20, 8)
    }
}

fn wrote(text: Option<&str>, reasoning: Option<&str>) -> Truth {
    Truth {
        text_sha256: text.map(str::to_owned),
        reasoning_sha256: reasoning.map(str::to_owned),
        ..truth(20, 8)
    }
}

#[test]
fn texts_are_the_ones_that_the_upstream_wrote() {
    check(
        said(Some("a"), Some("b")),
        &[wrote(Some("a"), Some("b"))],
        1,
        &[],
    );
    check(said(Some("a"), None), &[wrote(Some("a"), None)], 1, &[]);
    check(
        said(Some("x"), Some("b")),
        &[wrote(Some("a"), Some("b"))],
        1,
        &[
            "TEXT_NOT_TRUE the visible text that arrived is not what the upstream wrote, on 1 of 1 requests",
        ],
    );
    let (_, _, lines) = verify(&[
        (said(Some("a"), None), vec![wrote(Some("a"), Some("b"))]),
        (
            said(Some("a"), Some("x")),
            vec![wrote(Some("a"), Some("b"))],
        ),
        (said(Some("a"), Some("x")), vec![wrote(Some("a"), None)]),
        (said(Some("a"), None), vec![wrote(Some("a"), None)]),
        // Calls were answered, and they leaked into the text.
        (said(Some("x"), None), vec![wrote(None, None)]),
    ]);
    assert_eq!(
        lines,
        [
            "TEXT_NOT_TRUE the visible text that arrived is not what the upstream wrote, on 1 of 5 requests (it wrote none for 1)",
            "REASONING_NOT_TRUE the reasoning that arrived is not what the upstream wrote, on 3 of 5 requests (1 arrived without any, and it wrote none for 1)",
        ]
    );
}

#[test]
fn texts_that_the_journal_does_not_know_are_not_held_against_it() {
    // An older journal, which has no digests at all.
    check(said(Some("a"), Some("b")), &[truth(20, 8)], 1, &[]);
    // What the upstream did not compose, or did not write to its end; the second entry is what
    // the gateway did on its own.
    let known = (said(Some("k"), None), vec![wrote(Some("k"), None)]);
    let stub = Truth {
        finish: None,
        ..wrote(None, None)
    };
    let faulty = Truth {
        fault: Some("garbage".to_owned()),
        ..wrote(None, None)
    };
    let cut = Truth {
        completed: false,
        ..wrote(Some("a"), None)
    };
    for entry in [stub, faulty, cut.clone()] {
        let (_, _, lines) = verify(&[known.clone(), (said(Some("x"), None), vec![entry])]);
        assert_eq!(lines, [""; 0]);
    }
    let twice = "UPSTREAM_RETRIED the upstream was asked 2 times for 1 of 1 requests";
    let entries = [wrote(Some("a"), None), wrote(Some("b"), None)];
    check(said(Some("x"), None), &entries, 1, &[twice]);
    // Only one of these was whole, and it is what should have arrived.
    let entries = [cut, wrote(Some("b"), None)];
    check(said(Some("b"), None), &entries, 1, &[twice]);
    check(
        said(Some("a"), None),
        &entries,
        1,
        &[
            "TEXT_NOT_TRUE the visible text that arrived is not what the upstream wrote, on 1 of 1 requests",
            twice,
        ],
    );
}

#[test]
fn only_complete_measured_answers_are_looked_at() {
    for record in [
        Record {
            phase: Phase::Warmup,
            ..answer(1, 1)
        },
        Record {
            outcome: Outcome::Truncated,
            ..answer(1, 1)
        },
    ] {
        assert_eq!(verify(&[(record, Vec::new())]), (0, 0, Vec::new()));
    }
}
