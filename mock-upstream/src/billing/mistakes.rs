//! The mistakes that can be planted: what each one needs, and what it makes of a usage and of an amount.
//!
//! What concerns rates is in [`price`](super::price), and what concerns answers that were not delivered whole in
//! [`settlement`](super::settlement). The README has the table.

use rust_decimal::Decimal;

use super::price::Deal;
use crate::config::{Class, FaultKind};
use crate::journal::Usage;

/// The mistakes that are made in one bill.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Planted(Vec<Class>);

impl Planted {
    pub(crate) fn new(mut classes: Vec<Class>) -> Self {
        classes.sort_unstable();
        classes.dedup();
        Self(classes)
    }

    pub(crate) fn has(&self, class: Class) -> bool {
        self.0.contains(&class)
    }

    pub(crate) fn classes(&self) -> &[Class] {
        &self.0
    }

    /// What each part of a price is multiplied by.
    pub(super) fn factor(&self) -> Decimal {
        let factors = [
            (Class::UnpricedZero, Decimal::ZERO),
            (Class::RetryDouble, Decimal::TWO),
            (Class::Unit1k1m, Decimal::ONE_THOUSAND),
            (Class::MarkupUndeclared, Decimal::new(105, 2)),
        ];
        let planted = factors.into_iter().filter(|(class, _)| self.has(*class));
        planted.map(|(_, factor)| factor).product()
    }

    /// What the answer says that it used.
    pub(super) fn wire(&self, usage: Usage) -> Usage {
        if self.has(Class::TranslationUsageLost) {
            return Usage::default();
        }
        let times = if self.has(Class::TokensImplausible) {
            10
        } else {
            1
        };
        Usage {
            output: usage.output.saturating_mul(times),
            ..usage
        }
    }

    /// What the recorded cost is computed from.
    pub(super) fn billed(&self, usage: Usage, reports: Option<Reports>) -> Usage {
        let mut billed = match reports {
            Some(reports) if self.has(Class::StreamCumulativeSummed) => reports.sum,
            Some(reports) if self.has(Class::StreamPartialKept) => reports.first,
            _ => usage,
        };
        if self.has(Class::TerminalEventMissed) {
            (billed.output, billed.reasoning) = (0, 0);
        }
        let reasoning = billed.reasoning;
        if self.has(Class::ReasoningDropped) {
            billed.output = billed.output.saturating_sub(reasoning);
        }
        if self.has(Class::ReasoningDouble) {
            billed.output = billed.output.saturating_add(reasoning);
        }
        self.wire(billed)
    }
}

/// What the usage reports of one stream come to, where there are several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reports {
    pub(crate) first: Usage,
    pub(crate) sum: Usage,
}

impl Reports {
    /// `None` for a single report.
    pub(crate) fn of(reports: impl IntoIterator<Item = Usage>) -> Option<Self> {
        let mut reports = reports.into_iter();
        let first = reports.next()?;
        let mut sum = first;
        let mut is_single = true;
        for report in reports {
            is_single = false;
            sum.input = sum.input.saturating_add(report.input);
            sum.cache_read = sum.cache_read.saturating_add(report.cache_read);
            sum.cache_write = sum.cache_write.saturating_add(report.cache_write);
            sum.cache_write_1h = sum.cache_write_1h.saturating_add(report.cache_write_1h);
            sum.output = sum.output.saturating_add(report.output);
            sum.reasoning = sum.reasoning.saturating_add(report.reasoning);
        }
        (!is_single).then_some(Self { first, sum })
    }
}

/// What is known of an answer when its mistakes are drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Facts<'a> {
    pub(crate) deal: Deal<'a>,
    pub(crate) stream: bool,
    pub(crate) attempt: u64,
    pub(crate) usage: Usage,
    pub(crate) reports: Option<Reports>,
    /// The fault in whose place there is no answer.
    pub(crate) error: Option<FaultKind>,
}

impl Facts<'_> {
    /// Whether there is what the mistake is made in.
    pub(crate) fn allow(&self, class: Class) -> bool {
        let rate = self.deal.rate();
        let usage = self.usage;
        if let Some(error) = self.error {
            let is_answered = matches!(
                error,
                FaultKind::Status | FaultKind::Html200 | FaultKind::ErrorIn200
            );
            return class == Class::ErrorBilled && is_answered && rate.is_some();
        }
        match class {
            Class::ErrorBilled => false,
            Class::UnpricedZero
            | Class::TranslationUsageLost
            | Class::TokensImplausible
            | Class::UsageInconsistent
            | Class::CacheHitBilled
            | Class::LedgerMissing
            | Class::LedgerDuplicate
            | Class::LedgerOrphan
            | Class::Late
            | Class::DayBoundary
            // Whether an answer is delivered is known when it is over.
            | Class::AbortUnbilled
            | Class::AbortFull
            | Class::AbortEstimated => true,
            Class::CacheDouble | Class::CacheDropped => rate.is_some() && usage.cache_read > 0,
            Class::CacheTierWrong => {
                rate.is_some() && (usage.cache_read > 0 || usage.cache_write_1h > 0)
            }
            Class::StreamCumulativeSummed | Class::StreamPartialKept => {
                rate.is_some() && self.reports.is_some()
            }
            Class::StreamCostMissing | Class::TerminalEventMissed => rate.is_some() && self.stream,
            Class::ReasoningDropped | Class::ReasoningDouble => {
                rate.is_some() && usage.reasoning > 0
            }
            Class::RetryDouble => rate.is_some() && self.attempt >= 2,
            Class::ServiceTier => {
                let tier = self.deal.service_tier;
                rate.is_some_and(|rate| {
                    rate.factor(tier) != rate.factor(self.deal.other_service_tier())
                })
            }
            Class::ContextTier => rate.is_some_and(|rate| rate.context_tier.is_some()),
            Class::ModelAlias => self.deal.other_rate().is_some(),
            Class::RatesSwapped => rate.is_some_and(|rate| rate.input != rate.output),
            Class::Unit1k1m
            | Class::MarkupUndeclared
            | Class::FloatNoise
            | Class::Rounding
            | Class::SurfaceDisagree => rate.is_some(),
        }
    }
}
