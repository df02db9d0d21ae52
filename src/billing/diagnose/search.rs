//! Which explanations give exactly the recorded cost of one attempt.

use crate::money::Money;

use super::super::predict::Prediction;
use super::super::recorded::{FLOAT_NOISE_BELOW, Recorded, same_but_for_noise};
use super::case::Case;
use super::hypothesis::{Explanation, Hypothesis, Rule, Stage, Way};
use super::quotient::quotient;

/// How many other models' prices are tried together with a second hypothesis.
const ALIASES_IN_PAIRS_MAX: usize = 8;
/// The places of an amount whose float noise is taken off: noise is below 10^-12.
const PLACES_WITHOUT_NOISE: u32 = 11;
/// Millionths of an amount that a percentage of four decimals is counted in.
const MILLION: u64 = 1_000_000;

/// What explains the recorded cost of one attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fits<'t> {
    /// Every explanation that fits, sorted, each with the amount that its first hypothesis makes.
    pub explanations: Vec<(Explanation<'t>, Money)>,
    /// Whether they fit only but for a float's noise.
    pub noise: bool,
}

/// How close is close enough.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Precision {
    Exact,
    ButForNoise,
}

/// The explanations of `recorded`, which is not what `case` should cost.
pub fn explain<'t>(case: &Case<'_, 't>, recorded: &Recorded) -> Fits<'t> {
    let Some(base) = case.base() else {
        return Fits::default();
    };
    let candidates = case.candidates();
    let mut plain: Vec<(Hypothesis<'t>, Prediction)> = Vec::with_capacity(candidates.len());
    let mut estimates = false;
    for hypothesis in candidates {
        if hypothesis == Hypothesis::AbortEstimated {
            estimates = true;
        } else if let Some(priced) = case.price(&[hypothesis])
            && priced.total != base.total
        {
            plain.push((hypothesis, priced));
        }
    }

    let mut markup = Fits::default();
    for precision in [Precision::Exact, Precision::ButForNoise] {
        let mut found = Vec::new();
        let fitting = plain.iter().filter(|(_, p)| fits(recorded, p, precision));
        found.extend(fitting.map(|(h, _)| (Explanation::one(*h), recorded.amount)));
        if estimates && found.is_empty() && is_estimate(case, recorded, precision) {
            let estimate = Explanation::one(Hypothesis::AbortEstimated);
            found.push((estimate, recorded.amount));
        }
        // Nobody was asked twice, so this is the last thing to think of.
        if case.retried.is_none() && found.len() > 1 {
            found.retain(|(e, _)| !matches!(e.first, Hypothesis::RetryDouble(_)));
        }
        let one = |h| (Explanation::one(h), recorded.amount);
        if !case.free {
            found.extend(roundings(&base, recorded, precision).map(one));
        }
        let is_explained = !found.is_empty();
        found.extend(percentage(base.total, recorded, precision).map(one));
        if is_explained {
            return Fits::new(found, precision);
        }
        if markup.explanations.is_empty() {
            markup = Fits::new(found, precision);
        }
    }
    if case.free {
        return Fits::default();
    }
    pairs(case, &base, &plain, recorded, markup)
}

/// The pairs that fit; with `markup`, what a percentage alone makes of it. Two hypotheses are no
/// better an explanation than a percentage, unless they hold for more attempts: so both are kept.
fn pairs<'t>(
    case: &Case<'_, 't>,
    base: &Prediction,
    plain: &[(Hypothesis<'t>, Prediction)],
    recorded: &Recorded,
    markup: Fits<'t>,
) -> Fits<'t> {
    let is_alias = |h: &Hypothesis<'t>| matches!(h, Hypothesis::ModelAlias(_));
    let mut aliases = 0;
    let plain: Vec<_> = plain
        .iter()
        .filter(|(h, p)| {
            aliases += usize::from(is_alias(h));
            !p.total.is_zero() && (!is_alias(h) || aliases <= ALIASES_IN_PAIRS_MAX)
        })
        .collect();
    for precision in [Precision::Exact, Precision::ButForNoise] {
        let mut found = Vec::new();
        for (i, (first, priced)) in plain.iter().enumerate() {
            for (then, alone) in &plain[i + 1..] {
                if first.code() == then.code() {
                    continue;
                }
                let explanation = Explanation::two(*first, *then);
                let both = case.explained(&explanation);
                let both =
                    both.filter(|p| ![priced.total, alone.total, base.total].contains(&p.total));
                if both.is_some_and(|p| fits(recorded, &p, precision)) {
                    found.push((explanation, priced.total));
                }
            }
        }
        let beside_markup = !markup.explanations.is_empty();
        for (first, priced) in &plain {
            let two = |then| (Explanation::two(*first, then), priced.total);
            found.extend(roundings(priced, recorded, precision).map(two));
            if found.is_empty() && !beside_markup {
                let simple = percentage(priced.total, recorded, precision);
                let simple = simple.filter(|h| is_simple(*h));
                found.extend(simple.map(two));
            }
        }
        if !found.is_empty() {
            found.extend(markup.explanations);
            return Fits::new(found, precision);
        }
    }
    markup
}

impl<'t> Fits<'t> {
    fn new(mut explanations: Vec<(Explanation<'t>, Money)>, precision: Precision) -> Self {
        explanations.sort_unstable();
        Self {
            explanations,
            noise: precision == Precision::ButForNoise,
        }
    }
}

/// Whether `recorded` is `priced`, before or after the rounding that is declared.
fn fits(recorded: &Recorded, priced: &Prediction, precision: Precision) -> bool {
    let is = |amount| match precision {
        Precision::Exact => recorded.amount == amount && !recorded.beyond_28_places,
        Precision::ButForNoise => same_but_for_noise(recorded.amount, amount),
    };
    is(priced.total) || priced.rounded.is_some_and(is)
}

/// The rules after which `priced` is `recorded`. An amount that has all its places was not rounded.
fn roundings<'t>(
    priced: &Prediction,
    recorded: &Recorded,
    precision: Precision,
) -> impl Iterator<Item = Hypothesis<'t>> {
    let exact = recorded.amount;
    let amount = match precision {
        Precision::Exact => (!recorded.beyond_28_places).then_some(exact),
        Precision::ButForNoise => Some(Way::HalfEven)
            .map(|way| exact.round(PLACES_WITHOUT_NOISE, way.mode()))
            .filter(|near| same_but_for_noise(*near, exact)),
    };
    // A rule that nobody declared acts instead of the declared one, or after it.
    let total = priced.total;
    let declared = priced.rounded.filter(|rounded| *rounded != total);
    let parts = priced.components;
    let scales = amount.map_or(0..0, |amount| amount.places()..total.places());
    let off = amount.and_then(|amount| amount.checked_sub(total).ok());
    scales
        // Each part is off by less than a unit.
        .take_while(move |scale| {
            let unit = Money::new(8, *scale).unwrap_or_default();
            off.is_some_and(|off| off.abs() < unit)
        })
        .flat_map(|scale| {
            let stages = [Stage::Request, Stage::Component].into_iter();
            stages.flat_map(move |stage| Way::ALL.map(|way| Rule { stage, way, scale }))
        })
        .filter(move |rule| {
            let round = |part: Money| part.round(rule.scale, rule.way.mode());
            let is = |from: Money| Some(round(from)) == amount && round(from) != from;
            match rule.stage {
                Stage::Request => is(total) || declared.is_some_and(is),
                Stage::Component => {
                    let mut parts = parts.iter();
                    let add = |sum: Money, part| sum.checked_add(round(part)).ok();
                    let sum = parts.try_fold(Money::ZERO, add);
                    sum.is_some() && sum == amount && sum != Some(total)
                }
            }
        })
        .map(Hypothesis::Rounding)
}

/// The percentage that makes `recorded` of `amount`, if it is below 100 either way and has at most four
/// decimals.
fn percentage<'t>(
    amount: Money,
    recorded: &Recorded,
    precision: Precision,
) -> Option<Hypothesis<'t>> {
    if amount.is_zero()
        || amount.is_negative()
        || recorded.beyond_28_places && precision == Precision::Exact
    {
        return None;
    }
    let off = recorded.amount.checked_sub(amount).ok()?;
    let millionths = off.abs().checked_mul(MILLION).ok()?;
    let low = quotient(millionths, amount, MILLION)?;
    let is = |count: u64| {
        let product = amount.checked_mul(count).ok()?;
        let rest = millionths.checked_sub(product).ok()?.abs();
        let limit = FLOAT_NOISE_BELOW.checked_mul(MILLION).ok()?;
        // Where noise is not far below a step, any amount would do.
        let is = match precision {
            Precision::Exact => rest.is_zero(),
            Precision::ButForNoise => {
                rest < limit && limit.checked_mul(100).is_ok_and(|l| l < amount)
            }
        };
        (is && count > 0 && count < MILLION).then_some(count)
    };
    let count = is(low).or_else(|| is(low + 1))?;
    let signed = if off.is_negative() {
        -i128::from(count)
    } else {
        i128::from(count)
    };
    Money::new(signed, 4).map(Hypothesis::MarkupUndeclared)
}

/// Whether a percentage is one that people agree on: at most two decimals.
fn is_simple(hypothesis: Hypothesis<'_>) -> bool {
    matches!(hypothesis, Hypothesis::MarkupUndeclared(percent) if percent.places() <= 2)
}

/// Whether `recorded` is the cost of the input and of a number of output tokens that somebody may have
/// estimated from the characters that arrived: one for 2 to 8 of them.
fn is_estimate(case: &Case<'_, '_>, recorded: &Recorded, precision: Precision) -> bool {
    let Some(characters) = case.abort.map(|abort| abort.characters) else {
        return false;
    };
    let (mut low, mut high) = (characters.div_ceil(8), characters.div_ceil(2));
    let reaches = |output: u64| {
        let priced = case.with_output(output)?;
        let total = priced.total;
        Some(total >= recorded.amount || fits(recorded, &priced, precision))
    };
    // The smallest number that reaches it.
    while low < high {
        let middle = u64::midpoint(low, high);
        match reaches(middle) {
            Some(true) => high = middle,
            Some(false) => low = middle + 1,
            None => return false,
        }
    }
    let is = |output| {
        case.with_output(output)
            .is_some_and(|p| fits(recorded, &p, precision))
    };
    is(low) || is(characters.div_ceil(4))
}
