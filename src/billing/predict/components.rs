//! The parts of a predicted cost.

use super::super::prices::{Rounding, Stage};
use crate::money::{Money, MoneyError};

/// The parts of a predicted cost; they add up to the total.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Components {
    /// Input that no cache had a part in.
    pub input: Money,
    /// Input read from a cache.
    pub cache_read: Money,
    /// Input written to a cache for five minutes.
    pub cache_write_5m: Money,
    /// Input written to a cache for an hour.
    pub cache_write_1h: Money,
    /// Output; without the reasoning where that is priced apart.
    pub output: Money,
    /// Reasoning, where it is priced apart or counted beside the output.
    pub reasoning: Money,
    /// The price of a request.
    pub request: Money,
    /// The markup on all of the above.
    pub markup: Money,
}

impl Components {
    /// Every component by the name that it is shown with.
    pub const fn named(&self) -> [(&'static str, Money); 8] {
        [
            ("input", self.input),
            ("cache read", self.cache_read),
            ("cache write", self.cache_write_5m),
            ("cache write 1h", self.cache_write_1h),
            ("output", self.output),
            ("reasoning", self.reasoning),
            ("request", self.request),
            ("markup", self.markup),
        ]
    }

    /// Every amount, those of the request and the markup too.
    pub fn iter(&self) -> impl Iterator<Item = Money> + use<> {
        self.named().into_iter().map(|(_, amount)| amount)
    }

    /// What they add up to.
    pub fn total(&self) -> Result<Money, MoneyError> {
        self.iter().try_fold(Money::ZERO, Money::checked_add)
    }

    /// The request's cost by `rounding`: each component rounded and added up, or the total rounded.
    /// `None` where only the sum of a bill is rounded.
    pub fn rounded(&self, rounding: Rounding) -> Result<Option<Money>, MoneyError> {
        let round = |amount: Money| amount.round(rounding.scale, rounding.mode);
        match rounding.stage {
            Stage::Component => self
                .iter()
                .map(round)
                .try_fold(Money::ZERO, Money::checked_add)
                .map(Some),
            Stage::Request => Ok(Some(round(self.total()?))),
            Stage::Total => Ok(None),
        }
    }

    /// The sums of both, kind by kind.
    pub(super) fn plus(&self, other: &Self) -> Result<Self, MoneyError> {
        Ok(Self {
            input: self.input.checked_add(other.input)?,
            cache_read: self.cache_read.checked_add(other.cache_read)?,
            cache_write_5m: self.cache_write_5m.checked_add(other.cache_write_5m)?,
            cache_write_1h: self.cache_write_1h.checked_add(other.cache_write_1h)?,
            output: self.output.checked_add(other.output)?,
            reasoning: self.reasoning.checked_add(other.reasoning)?,
            request: self.request.checked_add(other.request)?,
            markup: self.markup.checked_add(other.markup)?,
        })
    }
}
