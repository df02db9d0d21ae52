//! What an answer costs once it is over, and what the ledger says of it.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use super::mistakes::{Planted, Reports};
use super::price::{Deal, digits};
use super::recorded::Recorded;
use crate::config::{Aborts, Class, Cost, Surface};
use crate::journal::Usage;

/// How much later than it should [`Class::Late`] has a cost recorded.
const LATE_US: u64 = 60_000_000;

/// Characters that [`Class::AbortEstimated`] takes for a token.
const ESTIMATED_CHARACTERS_PER_TOKEN: u64 = 4;

/// What is recorded of one answer, and all that is needed to settle it when it is over.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Bill {
    /// The requested model, whose rates hold.
    pub(crate) model: String,
    /// The model that answers, where it is another.
    pub(crate) served_model: Option<String>,
    pub(crate) service_tier: Option<String>,
    /// The true usage.
    pub(crate) usage: Usage,
    pub(crate) reports: Option<Reports>,
    /// The tokens that an error is billed for.
    pub(crate) billed_error: Option<Usage>,
    pub(crate) planted: Planted,
    /// What the surfaces of the answer say. The event after a terminator counts only with `has_event_after`.
    pub(crate) surfaces: BTreeMap<Surface, String>,
    /// What is recorded of the input, cached or not, as a number in text.
    pub(crate) input_cost: String,
    /// What is recorded of the output, as a number in text.
    pub(crate) output_cost: String,
    pub(crate) has_event_after: bool,
    pub(crate) stream: bool,
    /// What is delivered with each token event; a whole body has none, and neither has an answer for which no bill depends
    /// on it.
    pub(crate) progress: Vec<Progress>,
    /// Whether a planted fault leaves out the rest of an answer, even if it ends as HTTP demands.
    pub(crate) is_cut: bool,
}

/// What of an answer has been delivered up to one of its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Progress {
    /// Output tokens, reasoning among them.
    pub(crate) tokens: u64,
    pub(crate) reasoning: u64,
    /// Characters of text, of reasoning, of tool names and of arguments.
    pub(crate) characters: u64,
}

/// How an answer went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Delivery {
    /// Whether the head was handed out.
    pub(crate) started: bool,
    /// Whether the frame with the usage was written.
    pub(crate) cost_written: bool,
    /// Whether all of it was written.
    pub(crate) completed: bool,
    pub(crate) token_events: u64,
    /// When it was over: microseconds since 1970.
    pub(crate) ended_unix_us: u64,
}

/// What the journal says of a bill.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Settlement {
    pub(crate) charged: Option<String>,
    pub(crate) delivered_output: Option<u64>,
    pub(crate) recorded: BTreeMap<String, String>,
    pub(crate) billing_faults: Vec<Class>,
    pub(crate) wire_usage: Option<Usage>,
    pub(crate) billed_usage: Option<Usage>,
    pub(crate) ledger_rows: u32,
    pub(crate) recorded_unix_us: Option<u64>,
}

impl Settlement {
    /// Of what has no bill: an error costs nothing, and of a stub's answer nothing is known.
    pub(crate) fn without_bill(is_error: bool) -> Self {
        Self {
            charged: is_error.then(|| "0".to_owned()),
            ..Self::default()
        }
    }

    /// The cost as it was written: in the answer's body, else in its header.
    pub(crate) fn recorded_in_answer(&self) -> Option<String> {
        let surfaces = [
            Surface::Usage,
            Surface::UsageObject,
            Surface::UsageTicks,
            Surface::Metadata,
            Surface::AfterTerminator,
            Surface::Header,
        ];
        let mut amounts = surfaces
            .iter()
            .filter_map(|surface| self.recorded.get(surface.name()));
        amounts.next().cloned()
    }
}

impl Bill {
    pub(crate) fn deal<'a>(&'a self, cost: &'a Cost) -> Deal<'a> {
        Deal {
            cost,
            model: &self.model,
            service_tier: self.service_tier.as_deref(),
        }
    }

    /// The settlement of the answer, which is over.
    pub(crate) fn settle(&self, cost: &Cost, delivery: Delivery) -> Settlement {
        let deal = self.deal(cost);
        let is_aborted = self.billed_error.is_none() && (!delivery.completed || self.is_cut);
        let planted = self.made(cost, is_aborted);
        let is_free = self.billed_error.is_some() || planted.has(Class::CacheHitBilled);
        let charged = if is_free {
            Some(Decimal::ZERO)
        } else {
            match self.due(cost, is_aborted, delivery) {
                Some(usage) => deal.exact(usage),
                None => deal.rate().map(|_| Decimal::ZERO),
            }
        };
        let billed = self.billed(cost, is_aborted, delivery, &planted);
        let outside = match billed {
            Some(usage) => {
                Recorded::new(&deal, usage, &planted).map(|recorded| recorded.outside(&planted))
            }
            None => deal.rate().map(|_| Decimal::ZERO),
        };
        let mut recorded = self.written(delivery);
        if let Some(amount) = outside {
            recorded.insert("lookup".to_owned(), digits(amount));
            recorded.insert("ledger".to_owned(), digits(amount));
        }
        let extra = [Class::LedgerDuplicate, Class::LedgerOrphan];
        let extra = extra.iter().filter(|class| planted.has(**class)).count();
        let ledger_rows = if planted.has(Class::LedgerMissing) {
            recorded.remove("ledger");
            0
        } else {
            1 + u32::try_from(extra).unwrap_or(0)
        };
        let late = if planted.has(Class::Late) { LATE_US } else { 0 };
        let wire = self.planted.wire(self.usage);
        let billed = billed.unwrap_or_default();
        Settlement {
            charged: charged.map(digits),
            delivered_output: self.delivered_output(is_aborted, delivery),
            recorded,
            wire_usage: (wire != self.usage).then_some(wire),
            billed_usage: (billed != self.usage).then_some(billed),
            billing_faults: planted.classes().to_vec(),
            ledger_rows,
            recorded_unix_us: Some(
                delivery
                    .ended_unix_us
                    .saturating_add(microseconds(cost.recorded_after_ms))
                    .saturating_add(late),
            ),
        }
    }

    /// The mistakes that are made: of those about aborts, the ones that the answer's end allows, and that the policy is
    /// not itself.
    fn made(&self, cost: &Cost, is_aborted: bool) -> Planted {
        let is_made = |class: &Class| match class {
            Class::AbortUnbilled => is_aborted && cost.aborts != Aborts::Free,
            Class::AbortFull => is_aborted && cost.aborts != Aborts::Full,
            Class::AbortEstimated => is_aborted,
            _ => true,
        };
        let made = self.planted.classes().iter().copied().filter(is_made);
        Planted::new(made.collect())
    }

    /// What has truly to be paid for; `None` is nothing at all, not even the request.
    fn due(&self, cost: &Cost, is_aborted: bool, delivery: Delivery) -> Option<Usage> {
        match cost.aborts {
            _ if !is_aborted => Some(self.usage),
            Aborts::Full => Some(self.usage),
            Aborts::Delivered => Some(self.delivered(delivery)),
            Aborts::Free => None,
        }
    }

    /// What the ledger's amount is computed from.
    fn billed(
        &self,
        cost: &Cost,
        is_aborted: bool,
        delivery: Delivery,
        planted: &Planted,
    ) -> Option<Usage> {
        if self.billed_error.is_some() {
            return self.billed_error;
        }
        let usage = if planted.has(Class::AbortUnbilled) {
            return None;
        } else if planted.has(Class::AbortFull) {
            self.usage
        } else if planted.has(Class::AbortEstimated) {
            let characters = self.progress(delivery).characters;
            Usage {
                output: characters.div_ceil(ESTIMATED_CHARACTERS_PER_TOKEN),
                reasoning: 0,
                ..self.usage
            }
        } else {
            self.due(cost, is_aborted, delivery)?
        };
        // A stream that broke off had none of its last reports.
        let reports = self.reports.filter(|_| usage == self.usage);
        Some(planted.billed(usage, reports))
    }

    /// The output tokens that were delivered. `None` where nobody counted them event by event, and for an error.
    fn delivered_output(&self, is_aborted: bool, delivery: Delivery) -> Option<u64> {
        if self.billed_error.is_some() {
            return None;
        }
        if !is_aborted {
            return Some(self.usage.output);
        }
        let is_counted = !self.stream || delivery.token_events == 0 || !self.progress.is_empty();
        is_counted.then(|| self.delivered(delivery).output)
    }

    fn delivered(&self, delivery: Delivery) -> Usage {
        let progress = self.progress(delivery);
        Usage {
            output: progress.tokens.min(self.usage.output),
            reasoning: progress.reasoning,
            ..self.usage
        }
    }

    /// How far the answer came. A body that is not whole is no answer, so nothing of it counts.
    fn progress(&self, delivery: Delivery) -> Progress {
        let events = usize::try_from(delivery.token_events).unwrap_or(usize::MAX);
        let latest = events.min(self.progress.len()).checked_sub(1);
        latest.map_or_else(Progress::default, |index| self.progress[index])
    }

    /// What was written, by surface.
    fn written(&self, delivery: Delivery) -> BTreeMap<String, String> {
        let is_written = |surface: Surface| match surface {
            Surface::Header => delivery.started,
            Surface::AfterTerminator if self.stream => self.has_event_after && delivery.completed,
            _ => delivery.cost_written,
        };
        self.surfaces
            .iter()
            .filter(|(surface, _)| is_written(**surface))
            .map(|(surface, amount)| (surface.name().to_owned(), amount.clone()))
            .collect()
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the configuration allows up to an hour"
)]
fn microseconds(ms: f64) -> u64 {
    (ms * 1_000.0) as u64
}
