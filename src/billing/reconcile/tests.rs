//! Each status, each policy, and what is found on one attempt.

use super::super::testing::{ledger_row, money, record, usage};
use super::*;
use crate::billing::policy::OnAbort;
use crate::endpoint::Endpoint;
use crate::record::Outcome;
use crate::truth::Truth;

const TABLE: &str = "model,currency,per_tokens,input,output,round_scale,round_mode,round_stage\n\
                     m,USD,1000000,0.5,1.5,,,\n\
                     dear,USD,1000000,5,15,,,\n\
                     rounded,USD,1000000,0.5,1.5,4,half_up,request\n\
                     half,USD,1000000,,1.5,,,\n";

/// 1,000 in and 500 out of `m`, as recorded by `body:/usage/cost` in `digits`; empty for none.
fn attempt(digits: &str) -> Record {
    let costs = (!digits.is_empty()).then(|| ("body:/usage/cost".to_owned(), digits.to_owned()));
    Record {
        streaming: false,
        costs: costs.into_iter().collect(),
        ..record("m", usage(1000, 500))
    }
}

fn check(record: &Record, status: Status, delta: Option<&str>, codes: &[Code]) {
    let table = PriceTable::read("t.csv", TABLE).expect("valid");
    let judgement = judge(&table, Policy::default(), &Attempt::seen(record)).expect("small");
    let judged = judgement.judged;
    assert_eq!(judged.status, status, "{record:?}");
    assert_eq!(judged.delta, delta.map(money), "{record:?}");
    assert_eq!(judged.findings, codes, "{record:?}");
}

#[test]
fn recorded_against_predicted() {
    let of = |model: &str, digits: &str| Record {
        requested_model: model.to_owned(),
        ..attempt(digits)
    };
    let cases = vec![
        (attempt("0.00125"), Status::Matched, Some("0"), &[][..]),
        (attempt("1.250e-03"), Status::Matched, Some("0"), &[]),
        (
            attempt("0.0012500000000000002"),
            Status::Matched,
            Some("0"),
            &[Code::FloatNoise],
        ),
        (
            attempt("0.00125000000000000000000000000001"),
            Status::Matched,
            Some("0"),
            &[Code::FloatNoise],
        ),
        (
            attempt("0.001250000001"),
            Status::Mismatched,
            Some("1e-12"),
            &[Code::CostMismatch],
        ),
        (
            attempt("0.0013"),
            Status::Mismatched,
            Some("0.00005"),
            &[Code::Rounding],
        ),
        (
            attempt("0.0012"),
            Status::Mismatched,
            Some("-0.00005"),
            &[Code::Rounding],
        ),
        (
            attempt("0"),
            Status::Mismatched,
            Some("-0.00125"),
            &[Code::UnpricedZero],
        ),
        (
            attempt(""),
            Status::NotRecorded,
            None,
            &[Code::CostNotRecorded],
        ),
        (
            of("rounded", "0.0013"),
            Status::MatchedRounding,
            Some("0.00005"),
            &[Code::RoundingDeclared],
        ),
        (of("rounded", "0.00125"), Status::Matched, Some("0"), &[]),
        (
            of("rounded", "0.0012"),
            Status::Mismatched,
            Some("-0.00005"),
            &[Code::Rounding],
        ),
        (
            of("nobody", "0.1"),
            Status::Unpriced,
            None,
            &[Code::Unpriced],
        ),
        (of("half", "0.1"), Status::Unpriced, None, &[Code::Unpriced]),
    ];
    for (record, status, delta, codes) in cases {
        check(&record, status, delta, codes);
    }
}

#[test]
fn what_is_free_unknown_or_charged() {
    for outcome in Outcome::ALL {
        let with = |usage: Usage, digits: &str| Record {
            outcome,
            last_usage: usage,
            ..attempt(digits)
        };
        let free = matches!(
            outcome,
            Outcome::Dropped
                | Outcome::ConnectFailed
                | Outcome::TimeoutConnect
                | Outcome::RateLimited
                | Outcome::HttpError
        );
        let empty = Usage::default();
        if free {
            check(&with(empty, ""), Status::NoChargeExpected, None, &[]);
            check(
                &with(empty, "0.0"),
                Status::NoChargeExpected,
                Some("0"),
                &[],
            );
            check(
                &with(empty, "0.1"),
                Status::Mismatched,
                Some("0.1"),
                &[Code::ErrorBilled],
            );
        } else {
            check(
                &with(empty, ""),
                Status::NoUsage,
                None,
                &[Code::UsageMissing],
            );
            check(
                &with(empty, "0.1"),
                Status::NoUsage,
                None,
                &[Code::UsageMissing],
            );
            check(
                &with(usage(1000, 500), "0.00125"),
                Status::Matched,
                Some("0"),
                &[],
            );
            let never_sent = Record {
                sent: None,
                sent_utc: None,
                ..with(empty, "")
            };
            check(&never_sent, Status::NoChargeExpected, None, &[]);
        }
    }
}

#[test]
fn usage_that_contradicts_itself() {
    let with = |endpoint, last_usage| Record {
        endpoint,
        last_usage,
        ..attempt("0.00125")
    };
    let total = |total| Usage {
        total: Some(total),
        ..usage(1000, 500)
    };
    let cached = Usage {
        cache_read: Some(1001),
        ..usage(1000, 500)
    };
    let reasoning = Usage {
        reasoning: Some(501),
        ..usage(1000, 500)
    };
    let huge = Usage {
        total: Some(3),
        ..usage(u64::MAX, u64::MAX)
    };
    let found = &[Code::UsageInconsistent][..];
    for (endpoint, usage, status, delta, codes) in [
        (
            Endpoint::OpenAi,
            total(1500),
            Status::Matched,
            Some("0"),
            &[][..],
        ),
        (
            Endpoint::OpenAi,
            total(1501),
            Status::Matched,
            Some("0"),
            found,
        ),
        (
            Endpoint::Anthropic,
            total(1501),
            Status::Matched,
            Some("0"),
            &[],
        ),
        (Endpoint::OpenAi, cached, Status::NoUsage, None, found),
        (
            Endpoint::OpenAi,
            reasoning,
            Status::Matched,
            Some("0"),
            found,
        ),
        (Endpoint::OpenAi, huge, Status::NoUsage, None, found),
    ] {
        let mut codes = codes.to_vec();
        codes.sort_unstable();
        check(&with(endpoint, usage), status, delta, &codes);
    }
}

#[test]
fn the_requested_model_is_priced_and_another_that_answers_is_a_finding() {
    let served = |name: &str, digits| Record {
        served_model: Some(name.to_owned()),
        ..attempt(digits)
    };
    check(&served("m", "0.00125"), Status::Matched, Some("0"), &[]);
    check(
        &served("unlisted", "0.00125"),
        Status::Matched,
        Some("0"),
        &[],
    );
    check(
        &served("rounded", "0.00125"),
        Status::Matched,
        Some("0"),
        &[],
    );
    check(
        &served("dear", "0.00125"),
        Status::Matched,
        Some("0"),
        &[Code::ServedModelDiffers],
    );
    check(
        &served("dear", "0.0125"),
        Status::Mismatched,
        Some("0.01125"),
        &[Code::ModelAlias, Code::ServedModelDiffers],
    );
}

#[test]
fn the_price_is_that_of_the_day_of_sending() {
    let csv = "model,currency,per_tokens,input,output,effective_from,effective_to\n\
               m,USD,1000000,0.5,1.5,,2026-08-01\n\
               m,USD,1000000,1,3,2026-08-01,\n";
    let table = PriceTable::read("t.csv", csv).expect("valid");
    for (sent, predicted) in [
        ("2026-07-31T23:59:59.999999Z", Some("0.00125")),
        ("2026-08-01T00:00:00.000000Z", Some("0.0025")),
        ("yesterday", None),
    ] {
        let record = Record {
            sent_utc: Some(sent.to_owned()),
            ..attempt("")
        };
        let judged = judge(&table, Policy::default(), &Attempt::seen(&record)).expect("small");
        assert_eq!(judged.judged.predicted, predicted.map(money), "{sent}");
    }
}

/// 1,000 in and 500 out of `m`, of which the journal knows all and the answer nothing: it broke off
/// after 800 characters, at $0.00125 as a whole and `delivered` tokens of it were.
fn broken(digits: &str, delivered: u64) -> (Record, Truth) {
    let mut record = Record {
        outcome: Outcome::Cancelled,
        last_usage: Usage::default(),
        finish: None,
        ..attempt(digits)
    };
    record.counts.characters = 800;
    let truth = Truth {
        status: 200,
        input: Some(1_000),
        output: Some(500),
        delivered_output: Some(delivered),
        ..Truth::default()
    };
    (record, truth)
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn answers_that_broke_off_are_held_against_the_policy() {
    let table = PriceTable::read("t.csv", TABLE).expect("valid");
    // 300 tokens were delivered; 800 characters are 200 tokens to who takes four for one.
    let (whole, delivered, estimated) = ("0.00125", "0.00095", "0.0008");
    for (abort, digits, status, predicted, code) in [
        (OnAbort::Full, whole, Status::Matched, Some(whole), None),
        (
            OnAbort::Full,
            "0",
            Status::Mismatched,
            Some(whole),
            Some(Code::AbortUnbilled),
        ),
        (
            OnAbort::Full,
            estimated,
            Status::Mismatched,
            Some(whole),
            Some(Code::AbortEstimated),
        ),
        (
            OnAbort::Delivered,
            delivered,
            Status::Matched,
            Some(delivered),
            None,
        ),
        (
            OnAbort::Delivered,
            "0",
            Status::Mismatched,
            Some(delivered),
            Some(Code::AbortUnbilled),
        ),
        (
            OnAbort::Delivered,
            whole,
            Status::Mismatched,
            Some(delivered),
            Some(Code::AbortFull),
        ),
        (
            OnAbort::Delivered,
            estimated,
            Status::Mismatched,
            Some(delivered),
            Some(Code::AbortEstimated),
        ),
        (
            OnAbort::Free,
            "0",
            Status::NoChargeExpected,
            Some("0"),
            None,
        ),
        (OnAbort::Free, "", Status::NoChargeExpected, Some("0"), None),
        (
            OnAbort::Free,
            whole,
            Status::Mismatched,
            Some("0"),
            Some(Code::AbortFull),
        ),
        (
            OnAbort::Free,
            estimated,
            Status::Mismatched,
            Some("0"),
            Some(Code::AbortEstimated),
        ),
        (
            OnAbort::Free,
            "0.0123",
            Status::Mismatched,
            Some("0"),
            Some(Code::CostMismatch),
        ),
        (
            OnAbort::Reported,
            whole,
            Status::NoUsage,
            None,
            Some(Code::UsageMissing),
        ),
    ] {
        let (record, truth) = broken(digits, 300);
        let policy = Policy {
            abort,
            ..Policy::default()
        };
        let attempt = Attempt {
            truth: Some(std::slice::from_ref(&truth)),
            ..Attempt::seen(&record)
        };
        let judged = judge(&table, policy, &attempt).expect("small").judged;
        let found = (judged.status, judged.predicted, judged.findings);
        let codes: Vec<Code> = code.into_iter().collect();
        assert_eq!(
            found,
            (status, predicted.map(money), codes),
            "{abort:?} {digits}"
        );
    }
}

#[test]
fn without_a_journal_a_broken_answer_has_no_price_and_is_not_free() {
    let table = PriceTable::read("t.csv", TABLE).expect("valid");
    for abort in [OnAbort::Full, OnAbort::Delivered] {
        let policy = Policy {
            abort,
            ..Policy::default()
        };
        for (digits, code) in [
            ("0", Code::AbortUnbilled),
            ("0.00125", Code::UsageMissing),
            ("", Code::UsageMissing),
        ] {
            let (record, _) = broken(digits, 300);
            let judged = judge(&table, policy, &Attempt::seen(&record)).expect("small");
            let judged = judged.judged;
            assert_eq!((judged.status, judged.predicted), (Status::NoUsage, None));
            assert_eq!(judged.findings, [code], "{abort:?} {digits}");
        }
    }
}

#[test]
fn a_free_hit_that_is_billed_is_told_from_an_error() {
    let hit = Record {
        gateway_cache: Some("x-cache: HIT".to_owned()),
        ..attempt("0.00125")
    };
    check(
        &hit,
        Status::Mismatched,
        Some("0.00125"),
        &[Code::CacheHitBilled],
    );
    let table = PriceTable::read("t.csv", TABLE).expect("valid");
    let full = Policy {
        cache_hit: OnCacheHit::Full,
        ..Policy::default()
    };
    let judged = judge(&table, full, &Attempt::seen(&hit))
        .expect("small")
        .judged;
    assert_eq!(
        (judged.status, judged.findings),
        (Status::Matched, Vec::new())
    );
}

#[test]
fn each_attempt_at_the_upstream_is_paid_for_where_the_policy_says_so() {
    let table = PriceTable::read("t.csv", TABLE).expect("valid");
    let (_, truth) = broken("", 0);
    let entries = [truth.clone(), truth];
    for (retry, digits, code) in [
        (OnRetry::Free, "0.00125", None),
        (OnRetry::Free, "0.0025", Some(Code::RetryDouble)),
        (OnRetry::Each, "0.0025", None),
    ] {
        let policy = Policy {
            retry,
            ..Policy::default()
        };
        let record = attempt(digits);
        let attempt = Attempt {
            truth: Some(&entries),
            ..Attempt::seen(&record)
        };
        let judged = judge(&table, policy, &attempt).expect("small").judged;
        let codes: Vec<Code> = code.into_iter().collect();
        assert_eq!(judged.findings, codes, "{retry:?} {digits}");
    }
}

#[test]
fn reasoning_beside_the_output_may_exceed_it_and_is_in_the_total() {
    let text =
        "model,currency,per_tokens,input,output,reasoning_mode\nm,USD,1000000,0.5,1.5,additive\n";
    let table = PriceTable::read("t.csv", text).expect("valid");
    for (total, codes) in [(2_100, &[][..]), (1_500, &[Code::UsageInconsistent])] {
        let record = Record {
            last_usage: Usage {
                reasoning: Some(600),
                total: Some(total),
                ..usage(1000, 500)
            },
            ..attempt("0.00215")
        };
        let judgement = judge(&table, Policy::default(), &Attempt::seen(&record)).expect("small");
        assert_eq!(judgement.judged.status, Status::Matched);
        assert_eq!(judgement.judged.findings, codes, "{total}");
    }
}

#[test]
fn a_ledger_that_bills_twice_is_that_cause_and_no_other() {
    let table = PriceTable::read("t.csv", TABLE).expect("valid");
    for (cost, codes) in [
        ("0.00125", &[Code::LedgerDuplicate][..]),
        ("0.00175", &[Code::RatesSwapped, Code::LedgerDuplicate]),
    ] {
        let record = attempt("");
        let rows = [ledger_row(cost), ledger_row(cost)];
        let attempt = Attempt {
            ledger: Some(&rows),
            ..Attempt::seen(&record)
        };
        let judged = judge(&table, Policy::default(), &attempt)
            .expect("small")
            .judged;
        assert_eq!(judged.status, Status::Mismatched);
        assert_eq!(judged.findings, codes, "{cost}");
    }
}

#[test]
fn an_answer_that_was_delivered_whole_before_it_broke_off_is_paid_for_whole() {
    let table = PriceTable::read("t.csv", TABLE).expect("valid");
    let policy = Policy {
        abort: OnAbort::Delivered,
        ..Policy::default()
    };
    for (delivered, predicted, codes) in [
        (Some(500), Some("0.00125"), &[][..]),
        (Some(300), Some("0.00095"), &[Code::AbortFull]),
        (None, None, &[Code::UsageMissing]),
    ] {
        let (record, truth) = broken("0.00125", 0);
        let truth = Truth {
            delivered_output: delivered,
            ..truth
        };
        let attempt = Attempt {
            truth: Some(std::slice::from_ref(&truth)),
            ..Attempt::seen(&record)
        };
        let judged = judge(&table, policy, &attempt).expect("small").judged;
        assert_eq!(judged.predicted, predicted.map(money), "{delivered:?}");
        assert_eq!(judged.findings, codes, "{delivered:?}");
    }
}

#[test]
fn usage_that_cannot_be_is_told_though_the_arithmetic_holds() {
    let mut lost = Record {
        last_usage: usage(0, 0),
        ..attempt("0")
    };
    check(&lost, Status::Matched, Some("0"), &[]);
    lost.counts.token_events = 3;
    check(
        &lost,
        Status::Matched,
        Some("0"),
        &[Code::TranslationUsageLost],
    );
    let above = Record {
        output_limit: Some(499),
        ..attempt("0.00125")
    };
    check(
        &above,
        Status::Matched,
        Some("0"),
        &[Code::TokensImplausible],
    );
    let sent = |bytes| Record {
        body_bytes: Some(bytes),
        last_usage: usage(10_000, 500),
        ..attempt("0.00575")
    };
    check(&sent(10_000), Status::Matched, Some("0"), &[]);
    check(
        &sent(100),
        Status::Matched,
        Some("0"),
        &[Code::TokensImplausible],
    );
}
