//! Ledgers as text, and attempts as records: which row is about whom, and what is wrong with it.

use std::time::Duration;

use csv::StringRecord;
use jiff::Timestamp;

use super::super::Attempt;
use super::super::bill::Bill;
use super::super::policy::Policy;
use super::super::prices::PriceTable;
use super::super::testing::{ledger_row, lookup, money, record, usage};
use super::{Columns, Format, Index, Join, Layout, LayoutError, Scope, warnings};
use crate::endpoint::Endpoint;
use crate::late::{LedgerRow, LedgerSummary, Lookup};
use crate::record::{Outcome, Record};
use crate::time::Offset;

const MODEL: &str = "magistral-small-latest";

fn trace(n: u64) -> String {
    format!("{n:032x}")
}

/// Request `n`, sent at noon: 1,000 in and 500 out, $0.00125, with ids of its own.
fn attempt(n: u64) -> Record {
    Record {
        trace_id: trace(n),
        session: n,
        response_id: Some(format!("resp-{n}")),
        request_id: Some(format!("req-{n}")),
        call_id: Some(format!("call-{n}")),
        ..record(MODEL, usage(1000, 500))
    }
}

fn index(records: &[Record]) -> Index {
    let mut index = Index::new([MODEL.to_owned()]);
    for record in records {
        index.add(record, Policy::default());
    }
    index.finish()
}

fn scope() -> Scope {
    let at = |text: &str| text.parse::<Timestamp>().expect(text);
    Scope::new(at("2026-08-01T12:00:00Z"), at("2026-08-01T12:10:00Z"))
}

/// What `ledger` comes to against `records`.
fn join(
    records: &[Record],
    format: Format,
    columns: Option<&Columns>,
    ledger: &str,
) -> (Vec<LedgerRow>, LedgerSummary) {
    let index = index(records);
    let mut rows = csv::Reader::from_reader(ledger.as_bytes());
    let layout = Layout::find(format, columns, rows.headers().expect("names")).expect("a layout");
    let mut join = Join::new(&index, scope());
    let mut kept = Vec::new();
    let mut row = StringRecord::new();
    while rows.read_record(&mut row).expect("a row") {
        let line = row.position().map_or(0, csv::Position::line);
        kept.extend(join.take(layout.entry(line, &row)).expect("small"));
    }
    let (rest, summary) = join.finish();
    kept.extend(rest);
    let statuses = summary.joined + summary.ledger_only + summary.duplicate + summary.out_of_scope;
    assert_eq!(statuses, summary.rows, "every row has one status");
    let by: u64 = summary.joined_by.values().sum();
    assert_eq!(by, summary.joined + summary.duplicate, "each by one column");
    (kept, summary)
}

/// (joined, `ledger_only`, duplicate, `out_of_scope`).
fn counts(summary: &LedgerSummary) -> [u64; 4] {
    [
        summary.joined,
        summary.ledger_only,
        summary.duplicate,
        summary.out_of_scope,
    ]
}

/// (line, session, attempt, column) of the rows that are joined, by line.
fn joined(rows: &[LedgerRow]) -> Vec<(u64, u64, u32, &str)> {
    let mut found: Vec<_> = rows
        .iter()
        .filter_map(|row| {
            let session = u64::from_str_radix(row.trace_id.as_deref()?, 16).expect("hex");
            Some((row.line, session, row.attempt?, row.joined_by.as_deref()?))
        })
        .collect();
    found.sort_unstable();
    found
}

const LITELLM: &str = "request_id,call_type,spend,prompt_tokens,completion_tokens,startTime,model,model_group,user,metadata\n";

fn litellm(id: &str, time: &str, model: &str, nonce: &str) -> String {
    let metadata = format!(
        r#"{{""status"":""success"",""spend_logs_metadata"":{{""nonce"":""{nonce}"",""trace_id"":null}}}}"#
    );
    format!("{id},acompletion,0.00125,1000,500,{time},{model},{MODEL},,\"{metadata}\"\n")
}

const NOON: &str = "2026-08-01 12:00:01.250";

#[test]
fn a_row_is_joined_by_the_strongest_id_that_it_has() {
    let records: Vec<Record> = (1..=5).map(attempt).collect();
    let ledger = [
        LITELLM.to_owned(),
        litellm("whatever", NOON, "m", &trace(1)),
        litellm("call-2", NOON, "m", ""),
        litellm("resp-3", NOON, "m", ""),
        litellm("req-4", NOON, "m", ""),
        // The harness's own id is stronger than the gateway's.
        litellm("resp-1", NOON, "m", &trace(5)),
    ];
    let (rows, summary) = join(&records, Format::Auto, None, &ledger.concat());
    assert_eq!(
        joined(&rows),
        [
            (2, 1, 0, "metadata"),
            (3, 2, 0, "request_id"),
            (4, 3, 0, "request_id"),
            (5, 4, 0, "request_id"),
            (6, 5, 0, "metadata"),
        ]
    );
    assert_eq!(counts(&summary), [5, 0, 0, 0]);
    assert_eq!(summary.conflicting, 1);
    let row = &rows[0];
    assert_eq!(row.cost.as_deref(), Some("0.00125"));
    assert_eq!(row.started_utc.as_deref(), Some("2026-08-01T12:00:01.25Z"));
    assert_eq!((row.input, row.output), (Some(1000), Some(500)));
    assert_eq!(row.endpoint, Some(Endpoint::OpenAi));
    assert_eq!(row.model.as_deref(), Some(MODEL));
}

#[test]
fn what_joins_nothing_is_an_orphan_or_none_of_our_business() {
    let records = [attempt(1)];
    let other = |id: &str, time: &str, model: &str| {
        litellm(id, time, model, "").replace(&format!(",{MODEL},,"), ",elsewhere,,")
    };
    let ledger = [
        LITELLM.to_owned(),
        litellm("resp-1", NOON, "m", ""),
        litellm("resp-1", NOON, "m", ""),
        litellm("x-1", NOON, "m", ""),
        litellm("x-2", "2026-08-01 11:55:00", "m", ""),
        litellm("x-3", "2026-08-02T12:10:00Z", "m", ""),
        litellm("too-early", "2026-08-01 11:54:59.999", "m", ""),
        litellm("too-late", "2026-08-02T12:10:00.001Z", "m", ""),
        litellm("no-time", "", "m", ""),
        other("other-model", NOON, "gpt-x"),
        other("own-model", NOON, "mistral/magistral-small-latest"),
    ];
    let (rows, summary) = join(&records, Format::LiteLlm, None, &ledger.concat());
    assert_eq!(counts(&summary), [1, 4, 1, 4]);
    let orphans: Vec<&str> = rows
        .iter()
        .filter(|row| row.trace_id.is_none())
        .map(|row| row.id.as_str())
        .collect();
    assert_eq!(orphans, ["x-1", "x-2", "x-3", "own-model"]);
    let sums: Vec<_> = summary.orphans.iter().map(|o| (o.count, o.cost)).collect();
    assert_eq!(
        sums,
        [(1, Some(money("0.00125"))), (3, Some(money("0.00375")))],
        "{:?}",
        summary.orphans
    );
    assert_eq!(summary.orphans[1].ids, ["x-1", "x-2", "x-3"]);
    assert!(warnings(&summary).is_empty());
}

#[test]
fn attempts_of_one_request_are_told_apart_by_id_or_by_order() {
    let of = |n: u32, outcome: Outcome, id: Option<&str>| Record {
        attempt: n,
        outcome,
        response_id: id.map(str::to_owned),
        request_id: None,
        call_id: None,
        ..attempt(1)
    };
    let retried = [
        of(0, Outcome::RateLimited, None),
        of(1, Outcome::Truncated, Some("resp-a")),
        of(2, Outcome::Ok, Some("resp-b")),
    ];
    let check = |rows: &[String], expected: &[(u64, u64, u32, &str)], sums: [u64; 4]| {
        let ledger = [LITELLM.to_owned(), rows.concat()].concat();
        let (rows, summary) = join(&retried, Format::Auto, None, &ledger);
        assert_eq!(joined(&rows), expected);
        assert_eq!(counts(&summary), sums);
    };
    let nameless = |time: &str| litellm("z", time, "m", &trace(1));
    let by = "metadata";
    check(
        &[
            litellm("resp-b", NOON, "m", &trace(1)),
            litellm("resp-a", NOON, "m", ""),
        ],
        &[(2, 1, 2, by), (3, 1, 1, "request_id")],
        [2, 0, 0, 0],
    );
    // By the order of their begin, to those that may be charged.
    check(
        &[nameless("2026-08-01 12:00:03"), nameless(NOON)],
        &[(2, 1, 2, by), (3, 1, 1, by)],
        [2, 0, 0, 0],
    );
    // What an id has taken is not given again.
    check(
        &[nameless(NOON), litellm("resp-a", NOON, "m", "")],
        &[(2, 1, 2, by), (3, 1, 1, "request_id")],
        [2, 0, 0, 0],
    );
    // More rows than may be charged: the refused one is billed too.
    check(
        &[nameless(NOON), nameless(NOON), nameless(NOON)],
        &[(2, 1, 0, by), (3, 1, 1, by), (4, 1, 2, by)],
        [3, 0, 0, 0],
    );
    // More rows than attempts.
    check(
        &[
            nameless(NOON),
            nameless(NOON),
            nameless(NOON),
            nameless(NOON),
        ],
        &[(2, 1, 0, by), (3, 1, 1, by), (4, 1, 2, by), (5, 1, 2, by)],
        [3, 0, 1, 0],
    );
}

#[test]
fn an_id_of_several_requests_joins_nothing_and_is_said() {
    let same = |n: u64| Record {
        response_id: Some("cached".to_owned()),
        ..attempt(n)
    };
    let records = [same(1), same(2)];
    let ledger = [
        LITELLM.to_owned(),
        litellm("cached", NOON, "m", ""),
        litellm("cached", NOON, "m", &trace(2)),
        // A conversation that quotes another.
        litellm("call-1", NOON, "m", &format!("{} {}", trace(1), trace(2))),
    ];
    let (rows, summary) = join(&records, Format::Auto, None, &ledger.concat());
    assert_eq!(joined(&rows), [(3, 2, 0, "metadata")]);
    assert_eq!(counts(&summary), [1, 2, 0, 0]);
    assert_eq!((summary.ambiguous, summary.shared_ids), (2, 1));
    assert_eq!(warnings(&summary).len(), 2);
}

#[test]
fn other_formats_are_read_by_their_columns() {
    let records = [attempt(1), attempt(2)];
    let openrouter = "generation_id,created_at,cost_total,tokens_prompt,tokens_completion,model_permaslug,user\n\
                      resp-1,2026-08-01 12:00:01,0.00125,1000,500,mistralai/x,\n\
                      gen-9,2026-08-01 12:00:01,5e-07,1000,500,mistralai/x,00000000000000000000000000000002\n";
    let (rows, summary) = join(&records, Format::Auto, None, openrouter);
    assert_eq!(
        joined(&rows),
        [(2, 1, 0, "generation_id"), (3, 2, 0, "user")]
    );
    assert_eq!(rows[1].cost.as_deref(), Some("5e-07"));
    assert_eq!(summary.joined_by["user"], 1);

    let columns = Columns {
        id: vec!["a".to_owned(), "b".to_owned()],
        cost: "usd".to_owned(),
        started: Some("at".to_owned()),
        ..Columns::default()
    };
    let csv = "a,usd,b,at,note\n\
               ,0.1,req-1,1785585601,\n\
               n,0.2,,1785585601000,see 00000000000000000000000000000002\n\
               n,0.3,o,1785585601000000,0000000000000000000000000000000002\n";
    let (rows, summary) = join(&records, Format::Auto, Some(&columns), csv);
    assert_eq!(joined(&rows), [(2, 1, 0, "b"), (3, 2, 0, "note")]);
    assert_eq!(counts(&summary), [2, 1, 0, 0]);
    for row in &rows {
        assert_eq!(row.started_utc.as_deref(), Some("2026-08-01T12:00:01Z"));
    }
}

#[test]
fn columns_that_do_not_say_what_is_needed_are_named() {
    let find = |format, columns: Option<&Columns>, names: &str| {
        let headers: StringRecord = names.split(',').collect();
        Layout::find(format, columns, &headers).expect_err(names)
    };
    let columns = Columns {
        id: vec!["requst".to_owned()],
        cost: "c".to_owned(),
        ..Columns::default()
    };
    let error = find(Format::Csv, Some(&columns), "request,c").to_string();
    assert!(error.contains("did you mean `request`?"), "{error}");
    assert_eq!(
        find(Format::Auto, None, "BilledCost,x"),
        LayoutError::Aggregated
    );
    let error = find(Format::Auto, None, "a,b").to_string();
    assert!(error.contains("`a`, `b`"), "{error}");
    assert_eq!(find(Format::Csv, None, "a"), LayoutError::ColumnsNeeded);
    let error = find(Format::LiteLlm, Some(&columns), "a");
    assert_eq!(error, LayoutError::ColumnsNotWanted);
    let error = find(Format::OpenRouter, None, "generation_id").to_string();
    assert!(error.contains("`cost_total`"), "{error}");
}

/// The findings on costs that were said after the fact, as `CODE words`.
fn found(late_after: Option<Duration>, attempts: &[Attempt<'_>]) -> Vec<String> {
    let table = PriceTable::builtin("builtin:keeprouter").expect("built in");
    let mut bill = Bill::new(&table, Policy::default());
    bill.late_after(late_after);
    for attempt in attempts {
        bill.add(attempt).expect("small");
    }
    let bill = bill.endpoint(Endpoint::OpenAi).expect("measured");
    let line = |f: &crate::billing::finding::Finding| format!("{} {}", f.code, f.message);
    bill.findings.iter().map(line).collect()
}

/// Attempt 1, recorded rightly.
fn paid() -> Record {
    Record {
        costs: vec![("stream:/usage/cost".to_owned(), "0.00125".to_owned())],
        ..attempt(1)
    }
}

#[test]
fn rows_that_are_missing_twice_or_on_another_day() {
    let right = ledger_row("0.00125");
    let on = |time: &str| LedgerRow {
        started_utc: Some(time.to_owned()),
        ..right.clone()
    };
    let free = LedgerRow {
        cost: Some("0".to_owned()),
        ..right.clone()
    };
    let refused = Record {
        outcome: Outcome::RateLimited,
        ..attempt(1)
    };
    // Sent a second before midnight, and two seconds long.
    let midnight = Record {
        sent_utc: Some("2026-08-01T23:59:59.000000Z".to_owned()),
        sent: Some(Offset::from_nanos(5)),
        ended: Some(Offset::from_nanos(2_000_000_005)),
        ..paid()
    };
    let check = |record: &Record, rows: Option<&[LedgerRow]>, expected: &[&str]| {
        let attempt = Attempt {
            ledger: rows,
            ..Attempt::seen(record)
        };
        assert_eq!(found(None, &[attempt]), expected, "{rows:?}");
    };
    let paid = paid();
    check(&paid, None, &[]);
    check(&paid, Some(std::slice::from_ref(&right)), &[]);
    check(&refused, Some(&[]), &[]);
    check(
        &paid,
        Some(&[]),
        &[
            "LEDGER_MISSING no row in the ledger for 1 of 1 attempts, for which $0.00125 is predicted",
        ],
    );
    check(
        &paid,
        Some(&[right.clone(), right.clone()]),
        &[
            "LEDGER_DUPLICATE billed more than once in the ledger: 1 of 1 attempts, $0.00125 too much; first on its lines 2, 2",
        ],
    );
    check(&paid, Some(&[right.clone(), free]), &[]);
    // Only the ledger knows the cost, and its rows add up to what is predicted.
    let half = ledger_row("0.000625");
    check(&attempt(1), Some(&[half.clone(), half]), &[]);
    check(
        &paid,
        Some(&[on("2026-08-02T00:00:00Z")]),
        &[
            "DAY_BOUNDARY billed on another day (UTC) than that of the request: 1 of 1 attempts; line 2 bills on 2026-08-02 what was sent on 2026-08-01",
        ],
    );
    check(&midnight, Some(&[on("2026-08-02T00:00:00Z")]), &[]);
    check(&midnight, Some(&[on("2026-08-01T23:59:59Z")]), &[]);
    let [early] = &found(
        None,
        &[Attempt {
            ledger: Some(&[on("2026-07-31T23:59:59Z")]),
            ..Attempt::seen(&midnight)
        }],
    )[..] else {
        panic!("one finding");
    };
    assert!(early.starts_with("DAY_BOUNDARY"), "{early}");
}

#[test]
fn costs_that_are_late_or_never_known() {
    let asked = |digits: Option<&str>, unknown_ms: Option<u64>, error: Option<&str>| Lookup {
        unknown_ns: unknown_ms.map(|ms| ms * 1_000_000),
        known_ns: digits.map(|_| 12_500_000_000),
        error: error.map(str::to_owned),
        ..lookup(digits)
    };
    let late_after = Some(Duration::from_secs(10));
    let nothing = attempt(1);
    let check = |record: &Record, lookup: Lookup, expected: &[&str]| {
        let lookups = [lookup];
        let attempt = Attempt {
            lookups: &lookups,
            ..Attempt::seen(record)
        };
        assert_eq!(found(late_after, &[attempt]), expected, "{lookups:?}");
    };
    check(&nothing, asked(Some("0.00125"), None, None), &[]);
    check(&nothing, asked(Some("0.00125"), Some(9_999), None), &[]);
    check(
        &nothing,
        asked(Some("0.00125"), Some(10_000), None),
        &[
            "LATE the cost was not known 10s after the end of 1 of 1 attempts; the first was known after 12s 500ms",
        ],
    );
    check(
        &nothing,
        asked(None, Some(9_000), None),
        &[
            "COST_PENDING the cost of 1 of 1 attempts was not known when the asking for it ended: `lookup:u#/c` did not know it 9s after its end",
        ],
    );
    check(
        &nothing,
        asked(None, Some(60_000), Some("status 401")),
        &[
            "LATE the cost was not known 10s after the end of 1 of 1 attempts; the first was not known after 1m",
            "COST_PENDING the cost of 1 of 1 attempts was not known when the asking for it ended: `lookup:u#/c`: status 401",
        ],
    );
    // A row that is not there yet is late, and not missing: the look-up does not know it either.
    let without_row = |lookup: Lookup| {
        let (record, lookups) = (paid(), [lookup]);
        let attempt = Attempt {
            lookups: &lookups,
            ledger: Some(&[]),
            ..Attempt::seen(&record)
        };
        found(None, &[attempt])
    };
    assert_eq!(
        without_row(asked(None, Some(9_000), None)),
        [
            "COST_PENDING the cost of 1 of 1 attempts was not known when the asking for it ended: `lookup:u#/c` did not know it 9s after its end",
        ]
    );
    for missing in [
        asked(Some("0.00125"), Some(1), None),
        asked(None, Some(9_000), Some("status 401")),
    ] {
        let [finding] = &without_row(missing)[..] else {
            panic!("one finding");
        };
        assert!(finding.starts_with("LEDGER_MISSING"), "{finding}");
    }
    // What the answer says is known, whatever the look-up says.
    check(&paid(), asked(None, Some(1), None), &[]);
    // A refused request has no cost to be late.
    let refused = Record {
        outcome: Outcome::RateLimited,
        ..attempt(1)
    };
    check(&refused, asked(None, Some(60_000), None), &[]);
}

#[test]
fn rows_of_nobody_are_findings_with_their_amount() {
    let records = [attempt(1)];
    let ledger = [
        LITELLM.to_owned(),
        litellm("resp-1", NOON, "m", ""),
        litellm("x-1", NOON, "m", ""),
        litellm("x-2", NOON, "m", ""),
    ];
    let (_, summary) = join(&records, Format::Auto, None, &ledger.concat());
    let table = PriceTable::builtin("builtin:keeprouter").expect("built in");
    let mut bill = Bill::new(&table, Policy::default());
    bill.add(&Attempt::seen(&paid())).expect("small");
    bill.orphans(Endpoint::OpenAi, &summary.orphans[0], 3);
    let bill = bill.endpoint(Endpoint::OpenAi).expect("measured");
    let [finding] = &bill.findings[..] else {
        panic!("one finding: {:?}", bill.findings);
    };
    assert_eq!(
        finding.message,
        "2 of 3 rows of the ledger join no attempt: $0.0025 billed; the first: `x-1`, `x-2`"
    );
    assert_eq!((finding.count, finding.of), (2, 3));
    assert_eq!(finding.examples, ["x-1", "x-2"]);
}
