//! What is recorded of a cost: mistakes, rounding, and the digits on each surface.

use std::collections::BTreeMap;

use rust_decimal::{Decimal, RoundingStrategy};

use super::mistakes::Planted;
use super::price::{Deal, Kind, Part, digits, total};
use crate::config::{Class, Cost, Rounding, RoundingMode, RoundingStage, Surface};
use crate::journal::Usage;

/// A cost as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recorded {
    pub(crate) parts: Vec<Part>,
    pub(crate) total: Decimal,
}

/// What [`Class::SurfaceDisagree`] adds everywhere but in bodies: a cent, in the unit of the price.
const DISAGREEMENT: Decimal = Decimal::from_parts(1, 0, 0, false, 2);

/// The rule of [`Class::Rounding`], which nobody declared.
const UNDECLARED: Rounding = Rounding {
    scale: 4,
    mode: RoundingMode::HalfUp,
    stage: RoundingStage::Request,
};

/// What [`Class::FloatNoise`] adds: the last digit that a double of about a thousandth has.
const NOISE: Decimal = Decimal::from_parts(2, 0, 0, false, 19);

/// Ticks to a dollar.
const TICKS: Decimal = Decimal::from_parts(1_410_065_408, 2, 0, false, 0);

impl Recorded {
    /// What is recorded of a usage; `None` without rates.
    pub(crate) fn new(deal: &Deal<'_>, usage: Usage, planted: &Planted) -> Option<Self> {
        let Some(parts) = deal.parts(usage, planted) else {
            return planted.has(Class::UnpricedZero).then(|| Self {
                parts: Vec::new(),
                total: Decimal::ZERO,
            });
        };
        let mut parts = parts.to_vec();
        let rounding = deal.cost.rounding;
        if let Some(rounding) = rounding
            && rounding.stage == RoundingStage::Component
        {
            for part in &mut parts {
                part.cost = round(part.cost, rounding);
            }
        }
        let mut total = total(&parts)?;
        if let Some(rounding) = rounding
            && rounding.stage == RoundingStage::Request
        {
            total = round(total, rounding);
        }
        if planted.has(Class::Rounding) {
            total = round(total, UNDECLARED);
        }
        if planted.has(Class::FloatNoise) {
            total = total.checked_add(NOISE)?;
        }
        Some(Self { parts, total })
    }

    /// The amount outside of the body, in headers, metadata and the ledger.
    pub(crate) fn outside(&self, planted: &Planted) -> Decimal {
        if planted.has(Class::SurfaceDisagree) {
            return self.total.saturating_add(DISAGREEMENT);
        }
        self.total
    }

    /// What kinds of tokens cost together.
    fn sum_of(&self, kinds: &[Kind]) -> Decimal {
        let of_kinds = |part: &&Part| kinds.contains(&part.kind);
        let costs = self.parts.iter().filter(of_kinds).map(|part| part.cost);
        costs.fold(Decimal::ZERO, Decimal::saturating_add)
    }

    /// What all input costs, cached or not.
    pub(crate) fn input(&self) -> Decimal {
        let kinds = [
            Kind::Input,
            Kind::CacheRead,
            Kind::CacheWrite5m,
            Kind::CacheWrite1h,
        ];
        self.sum_of(&kinds)
    }

    /// What the output costs.
    pub(crate) fn output(&self) -> Decimal {
        self.sum_of(&[Kind::Output])
    }

    /// The digits of each surface that is asked for.
    pub(crate) fn surfaces(
        &self,
        cost: &Cost,
        stream: bool,
        planted: &Planted,
    ) -> BTreeMap<Surface, String> {
        if stream && planted.has(Class::StreamCostMissing) {
            return BTreeMap::new();
        }
        let text = |surface| match surface {
            Surface::Usage | Surface::UsageObject | Surface::AfterTerminator => digits(self.total),
            Surface::UsageTicks => digits(ticks(self.total)),
            // Before the first token nothing is known, and the gateway that does this says so.
            Surface::Header if stream => "0".to_owned(),
            Surface::Header | Surface::Metadata => digits(self.outside(planted)),
        };
        let surfaces = cost.surfaces.iter();
        surfaces.map(|surface| (*surface, text(*surface))).collect()
    }
}

/// An amount in ticks, 10^10 to a dollar, half to even.
fn ticks(amount: Decimal) -> Decimal {
    amount.saturating_mul(TICKS).round()
}

fn round(amount: Decimal, rounding: Rounding) -> Decimal {
    let strategy = match rounding.mode {
        RoundingMode::HalfUp => RoundingStrategy::MidpointAwayFromZero,
        RoundingMode::HalfEven => RoundingStrategy::MidpointNearestEven,
        RoundingMode::Up => RoundingStrategy::AwayFromZero,
        RoundingMode::Down => RoundingStrategy::ToZero,
    };
    amount.round_dp_with_strategy(rounding.scale, strategy)
}
