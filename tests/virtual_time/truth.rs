//! What the report says when an upstream's journal is known.

use weighbridge::billing::finding::Code;
use weighbridge::endpoint::Endpoint;
use weighbridge::record::Record;
use weighbridge::truth::Truth;
use weighbridge::verdict::GateStatus;

use super::harness::{always, answer, refusal, run};

/// The entry of an upstream that wrote exactly what arrived.
fn entry(record: &Record) -> Truth {
    Truth {
        nonce: record.trace_id.clone(),
        endpoint: "openai".to_owned(),
        model: record.requested_model.clone(),
        stream: true,
        status: 200,
        first_write_ns: None,
        first_token_write_ns: None,
        last_write_ns: None,
        token_events: 8,
        input: Some(40),
        cache_read: Some(0),
        cache_write: Some(0),
        output: Some(8),
        reasoning: Some(0),
        cost: None,
        tool_calls: 0,
        text_sha256: record.text_sha256.clone(),
        reasoning_sha256: None,
        finish: Some("stop".to_owned()),
        fault: None,
        completed: true,
        ..Truth::default()
    }
}

#[test]
fn lost_reasoning_is_a_finding_and_fails_the_gate() {
    let ran = run(&[("gates", "[\"cost.findings == 0\"]")], &always(answer()));
    let mut truths: Vec<Truth> = ran.records.iter().map(entry).collect();
    let report = ran.report_against(Some(&truths));
    assert_eq!(report.endpoints[&Endpoint::OpenAi].cost.findings, []);
    assert_eq!(report.verdict.gates[0].status, GateStatus::Passed);

    truths[3].reasoning_sha256 = Some("0123456789abcdef".to_owned());
    let report = ran.report_against(Some(&truths));
    let [finding] = &report.endpoints[&Endpoint::OpenAi].cost.findings[..] else {
        panic!("one finding");
    };
    assert_eq!(
        (finding.code, finding.count, finding.of),
        (Code::ReasoningNotTrue, 1, 20)
    );
    assert_eq!(report.verdict.gates[0].status, GateStatus::Failed);
}

#[test]
fn a_journal_that_knows_none_of_the_requests_is_warned_about() {
    let warned = |ran: &super::harness::Ran, truths: Option<&[Truth]>| {
        let warnings = ran.report_against(truths).run.warnings;
        warnings.iter().any(|w| {
            w == "the journal of http://upstream/journal knows none of the requests: is it the upstream behind the target?"
        })
    };
    let ran = run(&[], &always(answer()));
    let truths: Vec<Truth> = ran.measured().into_iter().map(entry).collect();
    assert!(warned(&ran, Some(&[])));
    assert!(!warned(&ran, Some(&truths[..1])));
    assert!(!warned(&ran, None));
    // Where nothing was answered, nothing had to reach the upstream.
    let refused = run(&[], &always(refusal(503, "{}")));
    assert!(!warned(&refused, Some(&[])));
}
