//! What was checked of answers, and how streams travelled, as a report shows them.

use crate::conformance::{Checker, Smoothness as Travelled};
use crate::endpoint::Endpoint;
use crate::metrics::Distribution;
use crate::report::{Conformance, Share, Smoothness};
use crate::verdict::Looked;

pub(super) fn conformance(checker: &Checker, endpoint: Endpoint) -> Conformance {
    let looked_at = checker.checked(endpoint);
    Conformance {
        findings: checker.findings(endpoint),
        checked: looked_at.answers,
        checked_by_marks: looked_at.marked,
        checked_by_journal: looked_at.written,
        unread: checker.unread(endpoint),
        sampled: false,
    }
}

/// The same as a gate sees it.
pub(super) fn looked(conformance: &Conformance) -> Looked {
    Looked {
        findings: conformance.findings.len() as u64,
        // A refusal can be a finding, and is no answer.
        of: conformance.checked.max(conformance.findings.len() as u64),
        unread: conformance.unread,
    }
}

pub(super) fn smoothness(travelled: &Travelled) -> Smoothness {
    Smoothness {
        streams: travelled.streams,
        judged: travelled.judged,
        fake: travelled.fake,
        buffered: travelled.buffered,
        span_ratio: share(&travelled.span_permille),
        events_per_batch: share(&travelled.events_per_batch_permille),
        events_per_write: share(&travelled.events_per_write_permille),
    }
}

fn share(permille: &Distribution) -> Option<Share> {
    let q = |q| permille.quantile(q).map(|n| n as f64 / 1e3);
    Some(Share {
        mean: (permille.mean()? / 10.0).round() / 100.0,
        p5: q(0.05)?,
        p50: q(0.5)?,
        p95: q(0.95)?,
    })
}
