//! What was reported and what arrived, held against what the upstream counted and wrote.
//!
//! Reconciling shows that the recorded cost is usage times price, and takes the gateway's word for
//! the usage. Where the upstream keeps a journal there is an independent count, and there are digests
//! of the answer that was paid for. In: the journal's entries, and measured records of complete
//! answers. Out: how many counts were verified, and what is not true. Tokens, costs, tool calls and
//! texts only: times are another module's. A text is held against the truth as a whole: that it
//! differs shows, and where it does not.

use std::collections::BTreeMap;

use crate::endpoint::Endpoint;
use crate::money::{Currency, Money, MoneyError};
use crate::record::{Outcome, Phase, Record};
use crate::truth::Truth;

use super::Attempt;
use super::finding::{Code, Finding, Findings, Scope, Sums, Tally};
use super::reconcile::{Judged, Status};
use super::recorded::same_but_for_noise;

/// How much of the usage was verified, and what is not true.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// Complete answers whose reported token counts are the true ones.
    pub verified: u64,
    /// Complete answers of the measured phase.
    pub of: u64,
    /// What was found, the gravest first.
    pub findings: Vec<Finding>,
}

/// What of a bill holds, and on whose word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verified {
    /// Nothing: no attempt has both a predicted and a recorded cost.
    Nothing,
    /// Recorded costs were held against usage times price; the usage is the gateway's own.
    Arithmetic,
    /// And the usage of every complete answer is what the upstream counted itself.
    TokenCounts,
}

impl Verified {
    /// What holds of an endpoint of whose attempts `compared` have both costs; `verification` is what its
    /// usage was held against, if there is a truth.
    pub fn of(compared: u64, verification: Option<&Verification>) -> Self {
        if compared == 0 {
            return Self::Nothing;
        }
        match verification {
            Some(held) if held.of > 0 && held.verified == held.of => Self::TokenCounts,
            _ => Self::Arithmetic,
        }
    }

    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Arithmetic => "arithmetic",
            Self::TokenCounts => "token_counts",
        }
    }
}

/// A verification as a fold over records and the journal's entries.
#[derive(Clone, Debug, Default)]
pub struct Verifier {
    /// Whether the journal has digests of texts: an older one has none at all.
    texts_known: bool,
    counts: BTreeMap<Endpoint, (u64, u64)>,
    findings: Findings<Counts>,
}

/// What a finding against the truth sums up.
#[derive(Clone, Debug, Default)]
struct Counts {
    reported: Tokens,
    truth: Tokens,
    calls: u64,
    true_calls: u64,
    entries: u64,
    recorded: Money,
    true_cost: Money,
    text: Astray,
    reasoning: Astray,
}

/// Answers whose text is not only another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Astray {
    /// Some was written and none arrived.
    lost: u64,
    /// None was written and some arrived.
    made_up: u64,
}

/// Token counts in the inclusive accounting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tokens {
    input: u64,
    output: u64,
    reasoning: u64,
    cache_read: u64,
}

impl Verifier {
    /// Nothing verified yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says whether any entry of the journal has a digest of a text: where none has, the journal is
    /// an older one, and says nothing of texts. It goes before the records.
    pub fn journal_has_texts(&mut self, known: bool) {
        self.texts_known |= known;
    }

    /// Holds `attempt` against the journal's entries of its nonce, if there is a journal. Only complete
    /// answers of the measured phase are looked at. `judged` is what its bill says: where that finds the
    /// recorded cost wrong, the truth is no second finding. The error is a sum beyond what an amount can
    /// be.
    pub fn add(&mut self, attempt: &Attempt<'_>, judged: &Judged) -> Result<(), MoneyError> {
        let record = attempt.record;
        let Some(entries) = attempt.truth else {
            return Ok(());
        };
        if record.phase != Phase::Measured || record.outcome != Outcome::Ok {
            return Ok(());
        }
        self.findings.saw(&Scope::of(record));
        let count = self.counts.entry(record.endpoint).or_default();
        count.1 += 1;
        let mut sums = Counts {
            entries: u64::try_from(entries.len()).unwrap_or(u64::MAX),
            calls: u64::from(record.counts.calls),
            ..Counts::default()
        };
        // The answer comes from the last entry that was answered well.
        let answered = entries.iter().rev().find(|t| t.status < 400);
        let Some(truth) = answered.or(entries.last()) else {
            return self.findings.found(Code::TruthMissing, record, &sums, None);
        };
        sums.true_calls = truth.tool_calls;
        let mut codes = Vec::new();

        // The harness's own earlier attempts share the nonce.
        if sums.entries > u64::from(record.attempt) + 1 {
            codes.push(Code::UpstreamRetried);
        }
        if record.streaming && !truth.stream {
            codes.push(Code::StreamDowngraded);
        }
        match sums.calls.cmp(&sums.true_calls) {
            std::cmp::Ordering::Less => codes.push(Code::ToolCallsLost),
            std::cmp::Ordering::Equal => {}
            std::cmp::Ordering::Greater => codes.push(Code::ToolCallsExtra),
        }
        if let Some((reported, counted)) = tokens(record, truth) {
            if reported == counted {
                count.0 += 1;
            } else {
                (sums.reported, sums.truth) = (reported, counted);
                codes.push(Code::UsageNotTrue);
            }
        }
        if let Some((billed, true_cost)) = costs(attempt, judged, truth) {
            (sums.recorded, sums.true_cost) = (billed, true_cost);
            codes.push(Code::CostNotTrue);
        }
        if let Some(written) = whole(entries).filter(|_| self.texts_known) {
            if let Some(astray) =
                Astray::of(record.text_sha256.as_ref(), written.text_sha256.as_ref())
            {
                sums.text = astray;
                codes.push(Code::TextNotTrue);
            }
            if let Some(astray) = Astray::of(
                record.reasoning_sha256.as_ref(),
                written.reasoning_sha256.as_ref(),
            ) {
                sums.reasoning = astray;
                codes.push(Code::ReasoningNotTrue);
            }
        }
        for code in codes {
            self.findings.found(code, record, &sums, None)?;
        }
        Ok(())
    }

    /// The verification at `endpoint`; amounts are shown in `currency`.
    pub fn endpoint(&self, endpoint: Endpoint, currency: Currency) -> Verification {
        let (verified, of) = self.counts.get(&endpoint).copied().unwrap_or_default();
        let words = |code, _: &Scope, tally: &Tally<Counts>, of| message(currency, code, tally, of);
        Verification {
            verified,
            of,
            findings: self.findings.at(endpoint, words),
        }
    }
}

impl Sums for Counts {
    fn merge(&mut self, other: &Self) -> Result<(), MoneyError> {
        self.reported.add(other.reported);
        self.truth.add(other.truth);
        self.calls += other.calls;
        self.true_calls += other.true_calls;
        self.entries += other.entries;
        self.recorded = self.recorded.checked_add(other.recorded)?;
        self.true_cost = self.true_cost.checked_add(other.true_cost)?;
        self.text.add(other.text);
        self.reasoning.add(other.reasoning);
        Ok(())
    }
}

impl Astray {
    /// Holds a digest against the true one; `None` if it is the same.
    fn of(arrived: Option<&String>, written: Option<&String>) -> Option<Self> {
        (arrived != written).then(|| Self {
            lost: u64::from(arrived.is_none()),
            made_up: u64::from(written.is_none()),
        })
    }

    fn add(&mut self, other: Self) {
        self.lost += other.lost;
        self.made_up += other.made_up;
    }

    /// In words, to follow a number of requests.
    fn words(self) -> String {
        match (self.lost, self.made_up) {
            (0, 0) => String::new(),
            (lost, 0) => format!(" ({lost} arrived without any)"),
            (0, made_up) => format!(" (it wrote none for {made_up})"),
            (lost, made_up) => {
                format!(" ({lost} arrived without any, and it wrote none for {made_up})")
            }
        }
    }
}

impl Tokens {
    /// Counts come from outside and may be nonsense; their sums are only shown.
    fn add(&mut self, other: Self) {
        for (sum, n) in [
            (&mut self.input, other.input),
            (&mut self.output, other.output),
            (&mut self.reasoning, other.reasoning),
            (&mut self.cache_read, other.cache_read),
        ] {
            *sum = sum.saturating_add(n);
        }
    }
}

/// What is billed and what is true, where that is another amount and the bill itself finds nothing wrong. A
/// declared rounding is taken off. Whether each attempt at the upstream is paid for, the policy says: then
/// as many true costs are due.
fn costs(attempt: &Attempt<'_>, judged: &Judged, truth: &Truth) -> Option<(Money, Money)> {
    let recorded = judged.recorded.as_ref()?.amount;
    let billed = match judged.status {
        Status::Mismatched | Status::NoChargeExpected => return None,
        Status::MatchedRounding => judged.predicted?,
        _ => recorded,
    };
    let true_cost = Money::read(truth.cost.as_deref()?).ok()?.amount;
    let own = usize::try_from(attempt.record.attempt).unwrap_or(usize::MAX);
    let asked = attempt.truth?.len().saturating_sub(own).max(1);
    let asked = u64::try_from(asked).unwrap_or(u64::MAX);
    let all = true_cost.checked_mul(asked);
    let is_true = same_but_for_noise(billed, true_cost)
        || all.is_ok_and(|all| same_but_for_noise(billed, all));
    (!is_true).then_some((recorded, true_cost))
}

/// The one entry of an answer that was written to its end. A request that was answered more than
/// once has none: nobody knows which answer arrived. An entry without a stop reason is of an answer
/// that the upstream itself did not compose, and does not know; of one with a planted fault it knows
/// the text that there should be, or none.
fn whole(entries: &[Truth]) -> Option<&Truth> {
    let mut answered = entries.iter().filter(|t| t.status < 400 && t.completed);
    let only = answered.next().filter(|_| answered.next().is_none())?;
    let is_known = only.fault.is_none() || only.has_text();
    (only.finish.is_some() && is_known).then_some(only)
}

/// The reported and the true counts, side by side; `None` unless input and output are known on both
/// sides. What only one side knows of the rest is taken from that side, except that cached tokens
/// that are not reported are reported as none: they would be charged in full.
fn tokens(record: &Record, truth: &Truth) -> Option<(Tokens, Tokens)> {
    let usage = &record.final_usage();
    let counted = Tokens {
        input: truth.input?,
        output: truth.output?,
        reasoning: truth.reasoning.or(usage.reasoning).unwrap_or(0),
        cache_read: truth.cache_read.or(usage.cache_read).unwrap_or(0),
    };
    let reported = Tokens {
        input: usage.total_input(record.endpoint)?,
        output: usage.output?,
        reasoning: usage.reasoning.unwrap_or(counted.reasoning),
        cache_read: usage.cache_read.unwrap_or(0),
    };
    Some((reported, counted))
}

fn message(currency: Currency, code: Code, tally: &Tally<Counts>, of: u64) -> String {
    let sums = &tally.sums;
    let on = format!("{} of {of} requests", tally.count);
    match code {
        Code::UsageNotTrue => {
            let (r, t) = (sums.reported, sums.truth);
            let counts = format!(
                "reported {} in / {} out for {} / {} true",
                r.input, r.output, t.input, t.output
            );
            let also = |name, reported, counted| {
                if reported == counted {
                    String::new()
                } else {
                    format!(", {reported} {name} for {counted} true")
                }
            };
            let reasoning = also("reasoning", r.reasoning, t.reasoning);
            let cached = also("cached", r.cache_read, t.cache_read);
            format!("{counts}{reasoning}{cached}, on {on}")
        }
        Code::CostNotTrue => format!(
            "recorded {} for {} true, on {on}",
            sums.recorded.display(currency),
            sums.true_cost.display(currency)
        ),
        Code::ToolCallsLost | Code::ToolCallsExtra => format!(
            "{} tool calls arrived of {} that were made, on {on}",
            sums.calls, sums.true_calls
        ),
        Code::TextNotTrue => format!(
            "the visible text that arrived is not what the upstream wrote, on {on}{}",
            sums.text.words()
        ),
        Code::ReasoningNotTrue => format!(
            "the reasoning that arrived is not what the upstream wrote, on {on}{}",
            sums.reasoning.words()
        ),
        Code::TruthMissing => format!(
            "the upstream's journal has no entry for {on}: answered without it, or the nonce was lost"
        ),
        Code::UpstreamRetried => format!("the upstream was asked {} times for {on}", sums.entries),
        Code::StreamDowngraded => {
            format!("the upstream was asked for no stream on {on} that asked for one")
        }
        other => unreachable!("{} is not found against the truth", other.name()),
    }
}

#[cfg(test)]
mod tests;
