//! What reading a gateway's ledger came to, as a report shows it.

use crate::late::LedgerSummary;
use crate::report::Ledger;

/// `None` if it could not be read.
pub(super) fn ledger(summary: &LedgerSummary) -> Option<Ledger> {
    summary.error.is_none().then(|| Ledger {
        source: summary.source.clone(),
        joined: summary.joined,
        ledger_only: summary.ledger_only,
        duplicate: summary.duplicate,
        out_of_scope: summary.out_of_scope,
    })
}

/// What a reader must know of how a ledger was joined.
pub(super) fn ledger_warnings(summary: &LedgerSummary) -> Vec<String> {
    let source = &summary.source;
    if let Some(error) = &summary.error {
        return vec![format!(
            "the ledger {source} could not be read, so no bill is held against it: {error}"
        )];
    }
    let mut warnings = Vec::new();
    let mut warn = |count: u64, words: &str| {
        if count > 0 {
            warnings.push(format!("the ledger {source}: {count} {words}"));
        }
    };
    warn(
        summary.ambiguous,
        "rows carry ids that several attempts share; they are joined to none",
    );
    warn(
        summary.conflicting,
        "rows carry ids of different attempts; the strongest id counts",
    );
    warn(
        summary.shared_ids,
        "ids of the run are of several attempts, so that nothing is joined by them",
    );
    if summary.joined == 0 {
        warnings.push(format!(
            "the ledger {source} knows none of the attempts ({} rows): is it of this run's account and time?",
            summary.rows
        ));
    }
    warnings
}
