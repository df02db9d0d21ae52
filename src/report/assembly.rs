//! Facts -> [`Report`], as a fold: whoever holds the facts puts them in one by one.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{
    ClassReport, ClassRequests, Connects, Cost, EndpointReport, Gaps, Gate, Inclusive, InclusiveMs,
    Latency, Mode, Quantiles, REPORT_SCHEMA, Report, Requests, Run, ScheduleLag, Size, Sizes,
    Spent, Throughput, ToolCalls, Truth as TruthReport, Usage, Validity, Verdict, Worst,
};
use crate::billing::Attempt;
use crate::billing::bill::{Bill, EndpointBill};
use crate::billing::finding::Finding;
use crate::billing::policy::Policy;
use crate::billing::prices::PriceTable;
use crate::billing::verify::{Verification, Verifier};
use crate::endpoint::Endpoint;
use crate::late::LedgerSummary;
use crate::manifest::{ConnectTotals, Manifest};
use crate::metrics::{
    Bounds, Counts, Distribution, EndpointSummary, Kind, KindSummary, Limits, Metric, Series,
    Summary, UsageTotals,
};
use crate::money::{Currency, Money, MoneyError};
use crate::record::{CallRecord, Health, Outcome, Phase, Record, Second};
use crate::time::{Offset, Window};
use crate::truth::Truth;
use crate::verdict::{self, End, Evidence};

/// Planned and achieved sizes may differ by this share before the report warns.
const SIZE_TOLERANCE: f64 = 0.1;

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
    against_truth: BTreeMap<Endpoint, AgainstTruth>,
    answered: Answered,
    evidence: Evidence,
    series: Series,
    ledger_warnings: Vec<String>,
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
            against_truth: BTreeMap::new(),
            answered: Answered::default(),
            evidence: Evidence::default(),
            series: Series::new(
                windows
                    .values()
                    .filter(|window| window.start_ns < Offset::MAX)
                    .chain(last_sent.values())
                    .map(|window| window.start_ns)
                    .min()
                    .unwrap_or(Offset::ZERO),
            ),
            ledger_warnings: Vec::new(),
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

    /// Puts in what reading the gateway's ledger came to.
    pub fn ledger(&mut self, summary: &LedgerSummary) {
        let of = summary.joined + summary.duplicate + summary.ledger_only;
        for orphans in &summary.orphans {
            // A row that names no endpoint may be of any.
            let named = |at: &&Endpoint| orphans.endpoint.is_none_or(|named| named == **at);
            for endpoint in self.manifest.endpoints.iter().filter(named) {
                self.bill.orphans(*endpoint, orphans, of);
            }
        }
        self.ledger_warnings = ledger_warnings(summary);
    }

    /// Whether an attempt is held against the journal: a complete answer of the measured phase.
    pub fn wants_truth(record: &Record) -> bool {
        (record.outcome, record.phase) == (Outcome::Ok, Phase::Measured)
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
        self.bill.add(attempt)?;
        if let Some(truths) = attempt.truth {
            self.verifier.add(record, truths)?;
            if Self::wants_truth(record) {
                self.answered.all += 1;
                self.answered.in_journal += u64::from(!truths.is_empty());
                if let [truth] = truths {
                    hold_against(&mut self.against_truth, record, truth);
                }
            }
        }
        Ok(())
    }

    /// Puts in a tool call.
    pub fn add_call(&mut self, call: &CallRecord) {
        if let Some(summary) = self.summary.endpoints.get_mut(&call.endpoint) {
            summary.add_call(call);
        }
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
        let judged = verdict::judge(self.gates, &self.summary, &bills, &validity, end);
        let mut warnings = manifest.warnings.clone();
        warnings.extend(validity.warnings.iter().cloned());
        warnings.extend(self.ledger_warnings.iter().cloned());
        warnings.extend(journal_warning(manifest.truth.as_deref(), self.answered));
        let endpoints: BTreeMap<Endpoint, EndpointReport> = self
            .summary
            .endpoints
            .iter()
            .map(|(endpoint, summary)| {
                let report = endpoint_report(
                    summary,
                    manifest.planned.get(endpoint).copied(),
                    self.limits.is_some(),
                    currency,
                    bills.get(endpoint),
                    verifications.get(endpoint),
                    self.against_truth.get(endpoint),
                );
                warnings.extend(size_warnings(*endpoint, &report.sizes));
                (*endpoint, report)
            })
            .collect();
        Ok(Report {
            schema: REPORT_SCHEMA.to_owned(),
            run: Run {
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
                    currency: currency.code().to_owned(),
                    amount: self.bill.spent_total().amount.to_string(),
                    unknown: self.bill.spent_total().unknown,
                },
                connects: connects(manifest.connects),
                warnings,
                environment: manifest.environment.clone(),
            },
            validity: validity.into(),
            endpoints,
            parity: None,
            verdict: judged.into(),
            series: self.series.points(),
        })
    }
}

/// What a reader must know of how a ledger was joined.
fn ledger_warnings(summary: &LedgerSummary) -> Vec<String> {
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

impl From<verdict::Validity> for Validity {
    fn from(validity: verdict::Validity) -> Self {
        Self {
            valid: validity.valid,
            reasons: validity.reasons,
            schedule_lag_ms: latency(&validity.schedule_lag).map(|lag| ScheduleLag {
                p50: lag.p50,
                p99: lag.p99,
                max: lag.max,
            }),
            cpu_utilization: validity.cpu_utilization,
            cpu_utilization_max: validity.cpu_utilization_max,
            run_queue_wait: validity.run_queue_wait,
            run_queue_wait_max: validity.run_queue_wait_max,
            throttled: validity.throttled,
            stalls: validity.stalls,
            stalled_ms: ms(validity.stalled_ns as f64),
            clock_jump_ms: validity.clock_jump_ns.map(|ns| ms(ns as f64)),
            dropped: validity.dropped,
        }
    }
}

impl From<verdict::Verdict> for Verdict {
    fn from(judged: verdict::Verdict) -> Self {
        let gate = |gate: verdict::GateResult| Gate {
            expression: gate.expression,
            endpoint: gate.endpoint,
            actual: gate.actual,
            status: gate.status,
            reason: gate.reason,
        };
        Self {
            status: judged.status,
            reasons: judged.reasons,
            gates: judged.gates.into_iter().map(gate).collect(),
        }
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

fn endpoint_report(
    summary: &EndpointSummary,
    planned: Option<u64>,
    limited: bool,
    currency: Currency,
    bill: Option<&EndpointBill>,
    verification: Option<&Verification>,
    against: Option<&AgainstTruth>,
) -> EndpointReport {
    let counts = &summary.counts;
    let calls = summary.tool_calls;
    let truth = verification.map(|verification| TruthReport {
        verified: verification.verified,
        of: verification.of,
        ttft_error_ms: against.and_then(|a| latency(&a.ttft_error)),
    });
    EndpointReport {
        requests: Requests {
            planned: planned.unwrap_or(counts.planned),
            ok: counts.ok,
            failed: counts.failed,
            dropped: counts.dropped,
            cut: counts.cut,
            cancelled: counts.cancelled,
            attempts: counts.attempts,
            outcomes: outcomes(counts),
            connected: summary.connected,
            errors: summary.errors.clone(),
            oddities: summary.oddities.clone(),
        },
        latency_ms: Metric::ALL
            .into_iter()
            .map(|metric| {
                let shown = latency_of(metric, &summary.latency(metric));
                (metric.name().to_owned(), shown)
            })
            .collect(),
        throughput: Throughput {
            window_s: summary.window().seconds(),
            requests_per_s: summary.requests_per_s(),
            output_tokens_per_s: summary.output_tokens_per_s(),
            events_per_s: summary.events_per_s(),
            goodput_per_s: summary.goodput_per_s().filter(|_| limited),
            without_usage: summary.without_usage,
            drained: summary.drained,
        },
        usage: usage(summary.usage()),
        classes: classes(summary),
        sizes: Sizes {
            input: Size {
                planned: quantiles(&summary.planned_input),
                achieved: quantiles(&summary.achieved_input),
            },
            output: Size {
                planned: quantiles(&summary.planned_output),
                achieved: quantiles(&summary.achieved_output),
            },
        },
        tool_calls: ToolCalls {
            returned: calls.returned,
            valid_json: calls.valid_json,
            schema_valid: None,
            missing: against.map(|a| a.missing_calls),
            extra: against.map(|a| a.extra_calls),
            unknown_name: calls.unknown_name,
        },
        cost: cost(currency, bill),
        truth,
    }
}

/// By class, streams first.
fn classes(summary: &EndpointSummary) -> Vec<ClassReport> {
    let mut kinds: Vec<(&Kind, &KindSummary)> = summary.kinds.iter().collect();
    kinds.sort_by_key(|(kind, _)| (kind.class, !kind.streaming));
    let class = |(kind, of_kind): (&Kind, &KindSummary)| {
        let counts = &of_kind.counts;
        ClassReport {
            class: kind.class,
            mode: if kind.streaming {
                Mode::Stream
            } else {
                Mode::Whole
            },
            requests: ClassRequests {
                planned: counts.planned,
                ok: counts.ok,
                failed: counts.failed,
                dropped: counts.dropped,
                cut: counts.cut,
                cancelled: counts.cancelled,
                attempts: counts.attempts,
                outcomes: outcomes(counts),
            },
            latency_ms: Metric::ALL
                .into_iter()
                .filter_map(|metric| {
                    let shown = latency_of(metric, of_kind.latency(metric)?);
                    Some((metric.name().to_owned(), shown))
                })
                .collect(),
            gaps_ms: gaps(&of_kind.gaps),
            usage: usage(of_kind.usage),
        }
    };
    kinds.into_iter().map(class).collect()
}

fn gaps(gaps: &Distribution) -> Option<Gaps> {
    Some(Gaps {
        count: gaps.count(),
        mean: ms(gaps.mean()?),
        min: ms(gaps.min()? as f64),
        max: ms(gaps.max()? as f64),
    })
}

fn outcomes(counts: &Counts) -> BTreeMap<String, u64> {
    Outcome::ALL
        .into_iter()
        .map(|o| (o.name().to_owned(), counts.outcome(o)))
        .filter(|(_, n)| *n > 0)
        .collect()
}

fn usage(totals: UsageTotals) -> Usage {
    Usage {
        input: totals.input,
        cache_read: totals.cache_read,
        cache_write: totals.cache_write,
        output: totals.output,
        reasoning: totals.reasoning,
    }
}

fn connects(totals: ConnectTotals) -> Connects {
    let mean = totals.sum_ns as f64 / totals.count as f64;
    Connects {
        count: totals.count,
        mean_ms: (totals.count > 0).then(|| ms(mean)),
        max_ms: totals.max_ns.map(|ns| ms(ns as f64)),
    }
}

fn cost(currency: Currency, bill: Option<&EndpointBill>) -> Cost {
    let text = |amount: Option<Money>| amount.map(|a| a.to_string());
    Cost {
        currency: currency.code().to_owned(),
        predicted: text(bill.and_then(|b| b.predicted)),
        recorded: text(bill.and_then(|b| b.recorded)),
        delta: text(bill.and_then(|b| b.delta)),
        delta_abs: text(bill.and_then(|b| b.delta_abs)),
        coverage: bill
            .and_then(|b| b.coverage)
            .map(|c| c.both as f64 / c.billable as f64),
        statuses: bill
            .map(|b| {
                b.statuses
                    .iter()
                    .map(|(s, n)| (s.name().to_owned(), *n))
                    .collect()
            })
            .unwrap_or_default(),
        findings: bill.map(|b| b.findings.clone()).unwrap_or_default(),
        worst: bill
            .map(|b| {
                b.worst
                    .iter()
                    .map(|w| Worst {
                        trace_id: w.trace_id.clone(),
                        predicted: w.predicted.to_string(),
                        recorded: w.recorded.to_string(),
                        delta: w.delta.to_string(),
                    })
                    .collect()
            })
            .unwrap_or_default(),
    }
}

/// ns to ms, to the microsecond that a histogram resolves.
fn ms(nanos: f64) -> f64 {
    (nanos / 1e3).round() / 1e3
}

fn latency(times: &Distribution) -> Option<Latency> {
    let q = |q| times.quantile(q).map(|ns| ms(ns as f64));
    Some(Latency {
        count: times.count(),
        failed: times.failed(),
        inclusive: None,
        mean: ms(times.mean()?),
        min: ms(times.min()? as f64),
        max: ms(times.max()? as f64),
        p50: q(0.5)?,
        p90: q(0.9)?,
        p95: q(0.95)?,
        p99: q(0.99)?,
        p999: q(0.999)?,
    })
}

/// A latency, and what it is with the requests in it that did not succeed.
fn latency_of(metric: Metric, times: &Distribution) -> Option<Latency> {
    let latency = latency(times)?;
    // Gaps are of every stream, and the harness's own lateness of every request, as it is.
    let all = !matches!(metric, Metric::Icl | Metric::ScheduleLag);
    Some(Latency {
        inclusive: all.then(|| inclusive(times)).flatten(),
        ..latency
    })
}

fn inclusive(times: &Distribution) -> Option<Inclusive> {
    let q = |q| -> Option<InclusiveMs> {
        let Bounds { low, high } = times.inclusive_quantile(q)?;
        let known = ms(low);
        Some(if low.is_infinite() {
            InclusiveMs::Failed
        } else if ms(high) > known {
            InclusiveMs::AtLeast(known)
        } else {
            InclusiveMs::Known(known)
        })
    };
    Some(Inclusive {
        count: times.inclusive_count(),
        failed: times.failed(),
        cut: times.cut(),
        p50: q(0.5)?,
        p90: q(0.9)?,
        p95: q(0.95)?,
        p99: q(0.99)?,
        p999: q(0.999)?,
    })
}

fn quantiles(sizes: &Distribution) -> Option<Quantiles> {
    Some(Quantiles {
        mean: sizes.mean()?,
        p50: sizes.quantile(0.5)?,
        p95: sizes.quantile(0.95)?,
    })
}

/// Some requests that are missing in the journal are findings. All of them missing is a journal of
/// something else.
fn journal_warning(journal: Option<&str>, answered: Answered) -> Option<String> {
    let journal = journal.filter(|_| answered.all > 0 && answered.in_journal == 0)?;
    Some(format!(
        "the journal of {journal} knows none of the requests: is it the upstream behind the target?"
    ))
}

/// A load that was not of the planned size measured something else.
fn size_warnings(endpoint: Endpoint, sizes: &Sizes) -> Vec<String> {
    let warning = |(what, size): (&str, &Size)| {
        let (planned, achieved) = size.planned.zip(size.achieved)?;
        let off = |planned: f64, achieved: f64| achieved / planned - 1.0;
        // The mean first: it is what the rates and the bill go by.
        let (name, planned, achieved) = [
            ("on average", planned.mean, achieved.mean),
            ("at the median", planned.p50 as f64, achieved.p50 as f64),
            ("at p95", planned.p95 as f64, achieved.p95 as f64),
        ]
        .into_iter()
        .find(|(_, planned, achieved)| off(*planned, *achieved).abs() > SIZE_TOLERANCE)?;
        Some(format!(
            "{endpoint}: {what} was {achieved:.0} tokens {name} where {planned:.0} were planned ({:+.0} %)",
            off(planned, achieved) * 100.0
        ))
    };
    [("input", &sizes.input), ("output", &sizes.output)]
        .into_iter()
        .filter_map(warning)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Environment;
    use crate::record::{Class, FACTS_SCHEMA};

    fn manifest(planned: u64) -> Manifest {
        Manifest {
            schema: FACTS_SCHEMA.to_owned(),
            id: "r".to_owned(),
            scenario: "s".to_owned(),
            started_at: String::new(),
            duration_ns: Some(1),
            seed: 1,
            version: String::new(),
            target: String::new(),
            endpoints: vec![Endpoint::OpenAi],
            open_loop: true,
            load: String::new(),
            models: Vec::new(),
            slice: (0, 1),
            workers: 1,
            config_sha256: String::new(),
            prices_sha256: String::new(),
            windows: BTreeMap::new(),
            planned: BTreeMap::from([(Endpoint::OpenAi, planned)]),
            truth_error: None,
            truth: None,
            interrupted: false,
            partial: false,
            warnings: Vec::new(),
            environment: Environment::default(),
            connects: ConnectTotals::default(),
        }
    }

    /// The report of a run that planned so many requests, from attempts: (number, last, outcome).
    fn report(planned: u64, attempts: &[(u32, bool, Outcome)]) -> Result<Report, AssemblyError> {
        let prices = PriceTable::builtin("builtin:keeprouter").expect("built in");
        let manifest = manifest(planned);
        let mut assembly = Assembly::new(
            &manifest,
            &[],
            None,
            &prices,
            Policy::default(),
            &BTreeMap::new(),
        );
        for (number, last, outcome) in attempts {
            let (phase, endpoint) = (Phase::Measured, Endpoint::OpenAi);
            let mut record = Record::new(String::new(), phase, endpoint, Class::Chat);
            (record.attempt, record.last, record.outcome) = (*number, *last, *outcome);
            record.sent = Some(Offset::ZERO);
            assembly.add(&Attempt::seen(&record))?;
        }
        assembly.finish()
    }

    #[test]
    fn a_retried_request_is_one_request() {
        use Outcome::{Ok as Good, RateLimited};
        let attempts = [(0, false, RateLimited), (1, true, Good), (0, true, Good)];
        let whole = report(2, &attempts).expect("it adds up");
        let requests = &whole.endpoints[&Endpoint::OpenAi].requests;
        assert_eq!(
            (requests.planned, requests.ok, requests.attempts),
            (2, 2, 3)
        );
        assert_eq!(requests.outcomes["rate_limited"], 1);
        assert!(!whole.run.partial);
        // Without the row of the retry nobody knows how the request ended.
        let torn = report(2, &[attempts[0], attempts[2]]).expect("rows can be lost");
        assert!(torn.run.partial);
    }

    #[test]
    fn sums_that_no_run_can_have_are_an_error() {
        let ok = (0, true, Outcome::Ok);
        let error = report(1, &[ok, ok]).expect_err("one too many").to_string();
        assert!(error.contains("1 came due, and 2 ended"), "{error}");
        assert!(error.contains("bug in weighbridge"), "{error}");
        let error = report(2, &[ok, (1, true, Outcome::Ok)]).expect_err("ended twice");
        assert!(error.to_string().contains("1 were begun"), "{error}");
        assert!(report(3, &[ok]).expect("rows can be lost").run.partial);
    }
}
