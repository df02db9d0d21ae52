//! Facts -> [`Report`], as a fold: whoever holds the facts puts them in one by one.

mod conformance;
mod cost;
mod endpoint;
mod judgement;
mod latency;
mod ledger;
mod parity;
mod tools;

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Conformance, EndpointReport, Ledger, REPORT_SCHEMA, Report, Run, Spent};
use crate::billing::Attempt;
use crate::billing::bill::{Bill, EndpointBill};
use crate::billing::finding::Finding;
use crate::billing::policy::Policy;
use crate::billing::prices::PriceTable;
use crate::billing::verify::{Verification, Verifier};
use crate::conformance::Checker;
use crate::endpoint::Endpoint;
use crate::late::LedgerSummary;
use crate::manifest::Manifest;
use crate::metrics::{Counts, Distribution, EndpointSummary, Limits, Metric, Series, Summary};
use crate::money::MoneyError;
use crate::parity::Parity;
use crate::record::{CallRecord, Health, Outcome, Phase, Record, Second};
use crate::time::{Offset, Window};
use crate::truth::Truth;
use crate::verdict::{self, End, Evidence};
use conformance::{conformance, smoothness};
use cost::cost;
use endpoint::{Held, connects, endpoint_report, size_warnings};
use ledger::ledger;

/// The facts do not add up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssemblyError {
    /// An amount beyond what an amount can be.
    #[error("the bill cannot be summed up: {0}")]
    Money(#[from] MoneyError),
    /// A record of an endpoint that the manifest does not name.
    #[error("a row is of the {0} endpoint, which the run did not plan")]
    UnplannedEndpoint(Endpoint),
    /// A sum that holds of every run does not hold of this one.
    #[error(
        "the requests of the {endpoint} endpoint do not add up: {sum}; this is a bug in weighbridge, and the report would be wrong: please report it, with the run folder"
    )]
    Sum {
        /// Where.
        endpoint: Endpoint,
        /// What does not hold, in numbers.
        sum: String,
    },
}

/// A report under construction.
#[derive(Debug)]
pub struct Assembly<'a> {
    manifest: &'a Manifest,
    gates: &'a [verdict::Gate],
    limits: Option<&'a Limits>,
    prices: &'a PriceTable,
    summary: Summary,
    bill: Bill<'a>,
    verifier: Verifier,
    checker: Checker,
    /// Where there are two endpoints.
    parity: Option<Parity>,
    against_truth: BTreeMap<Endpoint, AgainstTruth>,
    answered: Answered,
    evidence: Evidence,
    series: Series,
    ledger: Option<Ledger>,
    ledger_warnings: Vec<String>,
    /// Of a ledger that could not be read: where it should have come from, and why not.
    ledger_unread: Option<(String, String)>,
    torn: bool,
}

/// Complete answers of the measured phase, while there is a truth.
#[derive(Clone, Copy, Debug, Default)]
struct Answered {
    all: u64,
    /// With an entry in the journal.
    in_journal: u64,
}

/// What is held against the truth beside token counts.
#[derive(Debug)]
struct AgainstTruth {
    ttft_error: Distribution,
    missing_calls: u64,
    extra_calls: u64,
}

impl<'a> Assembly<'a> {
    /// Nothing put in yet. `last_sent` spans the measured requests of each endpoint: where a killed
    /// run has left no window, the series begins with it. There are no rates then.
    pub fn new(
        manifest: &'a Manifest,
        gates: &'a [verdict::Gate],
        limits: Option<&'a Limits>,
        prices: &'a PriceTable,
        policy: Policy,
        last_sent: &BTreeMap<Endpoint, Window>,
    ) -> Self {
        // Where none is known there are no rates: what happened in it was counted by one, and must
        // not be divided by another.
        let none = Window {
            start_ns: Offset::MAX,
            end_ns: Offset::MAX,
            idle_ns: 0,
        };
        let windows: BTreeMap<Endpoint, Window> = manifest
            .endpoints
            .iter()
            .map(|e| (*e, *manifest.windows.get(e).unwrap_or(&none)))
            .collect();
        Self {
            manifest,
            gates,
            limits,
            prices,
            summary: Summary::new(&windows),
            bill: Bill::new(prices, policy),
            verifier: Verifier::new(),
            checker: Checker::new(),
            parity: (manifest.endpoints.len() > 1).then(Parity::new),
            against_truth: BTreeMap::new(),
            answered: Answered::default(),
            evidence: Evidence::new(manifest.budget_waits),
            series: Series::new(
                windows
                    .values()
                    .filter(|window| window.start_ns < Offset::MAX)
                    .chain(last_sent.values())
                    .map(|window| window.start_ns)
                    .min()
                    .unwrap_or(Offset::ZERO),
            ),
            ledger: None,
            ledger_warnings: Vec::new(),
            ledger_unread: None,
            torn: false,
        }
    }

    /// Says whether any entry of the journal has a digest of a text: an older journal has none at
    /// all. It goes before the records.
    pub fn journal_has_texts(&mut self, known: bool) {
        self.verifier.journal_has_texts(known);
    }

    /// A cost that a look-up does not know so long after an attempt's end is late. It goes before the
    /// records.
    pub fn late_after(&mut self, late_after: Option<Duration>) {
        self.bill.late_after(late_after);
    }

    /// Says that the run folder has the bytes of an attempt in `file`. It goes before the records.
    pub fn captured(&mut self, trace_id: &str, attempt: u32, file: &str) {
        self.checker.captured(trace_id, attempt, file);
    }

    /// Puts in what reading the gateway's ledger came to.
    pub fn ledger(&mut self, summary: &LedgerSummary) {
        let of = summary.joined + summary.duplicate + summary.ledger_only;
        for orphans in &summary.orphans {
            // A row that names no endpoint may be of any, and is found once: at the first.
            let planned = &self.manifest.endpoints;
            let at = match orphans.endpoint {
                Some(named) => planned.iter().find(|at| **at == named),
                None => planned.first(),
            };
            if let Some(endpoint) = at {
                self.bill.orphans(*endpoint, orphans, of);
            }
        }
        if let Some(error) = &summary.error {
            self.ledger_unread = Some((summary.source.clone(), error.clone()));
        }
        self.ledger = ledger(summary);
        self.ledger_warnings = crate::billing::ledger::warnings(summary);
    }

    /// Whether the journal has something to say of an attempt: one that was sent. What an answer that
    /// broke off would have been, only the journal knows.
    pub const fn wants_truth(record: &Record) -> bool {
        record.sent.is_some()
    }

    /// Puts in an attempt, and what others said of it.
    pub fn add(&mut self, attempt: &Attempt<'_>) -> Result<(), AssemblyError> {
        let record = attempt.record;
        let none = Limits::default();
        self.summary
            .endpoints
            .get_mut(&record.endpoint)
            .ok_or(AssemblyError::UnplannedEndpoint(record.endpoint))?
            .add(record, self.limits.unwrap_or(&none));
        self.series.add(record);
        let judged = self.bill.add(attempt)?;
        self.verifier.add(attempt, &judged)?;
        self.checker.add(record, attempt.truth);
        if let Some(parity) = &mut self.parity {
            parity.add(record, attempt.truth, &judged);
        }
        if let Some(truths) = attempt.truth
            && (record.outcome, record.phase) == (Outcome::Ok, Phase::Measured)
        {
            self.answered.all += 1;
            self.answered.in_journal += u64::from(!truths.is_empty());
            if let [truth] = truths {
                hold_against(&mut self.against_truth, record, truth);
            }
        }
        Ok(())
    }

    /// Puts in a tool call.
    pub fn add_call(&mut self, call: &CallRecord) {
        if let Some(summary) = self.summary.endpoints.get_mut(&call.endpoint) {
            summary.add_call(call);
        }
        self.checker.add_call(call);
    }

    /// Puts in the gaps of an interval.
    pub fn add_gaps(&mut self, endpoint: Endpoint, gaps: &hdrhistogram::Histogram<u64>) {
        if let Some(summary) = self.summary.endpoints.get_mut(&endpoint) {
            summary.add_gaps(gaps);
        }
    }

    /// Puts in a worker's second at an endpoint.
    pub fn add_second(&mut self, row: &Second) {
        self.series.add_second(row);
    }

    /// Puts in a worker's second.
    pub fn add_health(&mut self, row: &Health) {
        self.evidence.add(row);
    }

    /// A file of facts ends in the middle of a row.
    pub fn torn(&mut self) {
        self.torn = true;
    }

    /// Whether a turn that came due has no row: its task died, or its row was lost.
    fn rows_are_missing(&self) -> bool {
        let planned = &self.manifest.planned;
        let missing = planned.iter().any(|(endpoint, planned)| {
            self.summary
                .endpoints
                .get(endpoint)
                .is_none_or(|summary| summary.counts.planned < *planned)
        });
        // The row of a retry, if not of a request.
        let retry_missing =
            |summary: &EndpointSummary| summary.counts.planned < summary.counts.begun;
        missing || self.summary.endpoints.values().any(retry_missing)
    }

    /// What must hold of the facts of any run that has come to its end, whatever the target did.
    fn sums_hold(&self) -> Result<(), AssemblyError> {
        for (endpoint, summary) in &self.summary.endpoints {
            let broken = |sum| AssemblyError::Sum {
                endpoint: *endpoint,
                sum,
            };
            if let Some(sum) = summary.broken_sum() {
                return Err(broken(sum));
            }
            let Counts { planned, begun, .. } = summary.counts;
            if planned > begun && !self.is_partial() {
                return Err(broken(format!("{begun} were begun, and {planned} ended")));
            }
            if let Some(due) = self
                .manifest
                .planned
                .get(endpoint)
                .filter(|n| **n < planned)
            {
                return Err(broken(format!("{due} came due, and {planned} ended")));
            }
        }
        Ok(())
    }

    const fn is_partial(&self) -> bool {
        self.manifest.partial || self.torn
    }

    /// A ledger that was asked for and could not be read leaves every bill in doubt.
    fn note_unread(&self, bills: &mut BTreeMap<Endpoint, EndpointBill>) {
        let Some((source, error)) = &self.ledger_unread else {
            return;
        };
        for (endpoint, bill) in bills {
            let attempts = bill.sums.attempts;
            let unread = crate::billing::ledger::unread(*endpoint, attempts, source, error);
            bill.findings.push(unread);
            bill.findings.sort_by_key(|f: &Finding| f.severity);
        }
    }

    /// What was checked at an endpoint, as a gate sees it. Without a journal that was asked for, nothing
    /// was held against what the upstream wrote.
    fn looked(&self, checked: &Conformance) -> verdict::Looked {
        let mut looked = conformance::looked(checked);
        if self.manifest.truth.is_some() && self.manifest.truth_error.is_some() {
            looked.unread = looked.of;
        }
        looked
    }

    fn run(&self, end: End, warnings: Vec<String>) -> Run {
        let manifest = self.manifest;
        Run {
            id: manifest.id.clone(),
            scenario: manifest.scenario.clone(),
            started_at: manifest.started_at.clone(),
            duration_s: manifest.duration_ns.map(|ns| ns as f64 / 1e9),
            seed: manifest.seed,
            version: manifest.version.clone(),
            config_sha256: manifest.config_sha256.clone(),
            prices_sha256: self.prices.sha256(),
            partial: end != End::Complete,
            target: manifest.target.clone(),
            load: manifest.load.clone(),
            models: manifest.models.clone(),
            truth: manifest
                .truth
                .clone()
                .filter(|_| manifest.truth_error.is_none()),
            spent: Spent {
                currency: self.prices.currency().code().to_owned(),
                amount: self.bill.spent_total().amount.to_string(),
                unknown: self.bill.spent_total().unknown,
            },
            connects: connects(manifest.connects),
            warnings,
            environment: manifest.environment.clone(),
        }
    }

    /// The report, and the judgement that it shows.
    pub fn finish(self) -> Result<Report, AssemblyError> {
        self.sums_hold()?;
        let manifest = self.manifest;
        let currency = self.prices.currency();
        let mut bills: BTreeMap<Endpoint, EndpointBill> = manifest
            .endpoints
            .iter()
            .filter_map(|e| Some((*e, self.bill.endpoint(*e)?)))
            .collect();
        self.note_unread(&mut bills);
        let mut verifications: BTreeMap<Endpoint, Verification> = BTreeMap::new();
        if manifest.truth.is_some() {
            for endpoint in &manifest.endpoints {
                let verification = self.verifier.endpoint(*endpoint, currency);
                // A bill that adds up can rest on counts that are not true: a gate on findings
                // must see these too.
                if let Some(bill) = bills.get_mut(endpoint) {
                    bill.findings.extend(verification.findings.iter().cloned());
                    bill.findings.sort_by_key(|f: &Finding| f.severity);
                }
                verifications.insert(*endpoint, verification);
            }
        }
        let validity = verdict::validity(self.gates, self.limits, &self.summary, &self.evidence);
        let end = if manifest.interrupted {
            End::Interrupted
        } else if self.is_partial() || self.rows_are_missing() {
            End::Incomplete
        } else {
            End::Complete
        };
        let parity = self.parity.as_ref().map(parity::parity);
        let mut checked: BTreeMap<Endpoint, Conformance> = (manifest.endpoints.iter())
            .map(|endpoint| (*endpoint, conformance(&self.checker, *endpoint)))
            .collect();
        let found = verdict::Found {
            conformance: (checked.iter())
                .map(|(endpoint, checked)| (*endpoint, self.looked(checked)))
                .collect(),
            parity: parity.as_ref().map(parity::looked),
        };
        let judged = verdict::judge(self.gates, &self.summary, &bills, &found, &validity, end);
        let mut warnings = manifest.warnings.clone();
        warnings.extend(validity.warnings.iter().cloned());
        warnings.extend(self.ledger_warnings.iter().cloned());
        warnings.extend(journal_warning(manifest.truth.as_deref(), self.answered));
        let day = manifest
            .started_at
            .get(..10)
            .and_then(|day| day.parse().ok());
        let endpoints: BTreeMap<Endpoint, EndpointReport> = self
            .summary
            .endpoints
            .iter()
            .map(|(endpoint, summary)| {
                let report = endpoint_report(
                    summary,
                    manifest.planned.get(endpoint).copied(),
                    self.limits.is_some(),
                    cost(
                        self.prices,
                        day,
                        bills.get(endpoint),
                        verifications.get(endpoint),
                    ),
                    Held {
                        verification: verifications.get(endpoint),
                        against: self.against_truth.get(endpoint),
                        conformance: checked.remove(endpoint).expect("of every planned endpoint"),
                        smoothness: self.checker.smoothness(*endpoint).map(smoothness),
                    },
                );
                warnings.extend(size_warnings(*endpoint, &report.sizes));
                (*endpoint, report)
            })
            .collect();
        Ok(Report {
            schema: REPORT_SCHEMA.to_owned(),
            run: self.run(end, warnings),
            validity: validity.into(),
            endpoints,
            ledger: self.ledger,
            parity,
            verdict: judged.into(),
            series: self.series.points(),
        })
    }
}

fn hold_against(all: &mut BTreeMap<Endpoint, AgainstTruth>, record: &Record, truth: &Truth) {
    let against = all.entry(record.endpoint).or_insert_with(|| AgainstTruth {
        ttft_error: Distribution::of_nanos(),
        missing_calls: 0,
        extra_calls: 0,
    });
    if let (Some(measured), Some(written)) =
        (Metric::Ttft.sample(record), truth.first_token_write_ns)
    {
        // Nothing arrives before it is written; a negative difference is the clocks' grain.
        against.ttft_error.record(measured.saturating_sub(written));
    }
    let calls = u64::from(record.counts.calls);
    against.missing_calls += truth.tool_calls.saturating_sub(calls);
    against.extra_calls += calls.saturating_sub(truth.tool_calls);
}

/// Some requests that are missing in the journal are findings. All of them missing is a journal of
/// something else.
fn journal_warning(journal: Option<&str>, answered: Answered) -> Option<String> {
    let journal = journal.filter(|_| answered.all > 0 && answered.in_journal == 0)?;
    Some(format!(
        "the journal of {journal} knows none of the requests: is it the upstream behind the target?"
    ))
}

#[cfg(test)]
mod tests;
