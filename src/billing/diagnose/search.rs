//! Which explanations give exactly the recorded cost of one attempt.

use std::collections::BTreeMap;

use crate::money::Money;

use super::super::predict::Prediction;
use super::super::recorded::{FLOAT_NOISE_BELOW, Recorded, same_but_for_noise};
use super::case::Case;
use super::hypothesis::{Estimate, Explanation, Hypothesis, Rule, Stage, Way};
use super::quotient::quotient;

/// How many other models' prices are tried together with a second hypothesis.
const ALIASES_IN_PAIRS_MAX: usize = 8;
/// The places of an amount whose float noise is taken off: noise is below 10^-12.
const PLACES_WITHOUT_NOISE: u32 = 11;
/// Whole percentages that are tried to either side of the nearest.
const WHOLE_PERCENTAGES_AROUND: i128 = 4;
/// Whole percentages that may fit an amount that is rounded; where more do, it says nothing of them.
const FITTING_PERCENTAGES_MAX: usize = 4;
/// Millionths of an amount that a percentage of four decimals is counted in.
const MILLION: u64 = 1_000_000;

/// What explains the recorded cost of one attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fits<'t> {
    /// Every explanation that fits, sorted, each with the amount that its first hypothesis makes.
    pub explanations: Vec<(Explanation<'t>, Money)>,
    /// Whether they fit only but for a float's noise.
    pub noise: bool,
    /// Other tariffs that the request or the answer itself names.
    pub said: Vec<Hypothesis<'t>>,
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
    let said = case.said();
    // Paid for once where each attempt at the upstream is to be: no cause has that name.
    let all_times = recorded.amount.checked_mul(case.times);
    if case.times > 1 && all_times.is_ok_and(|amount| amount == base.total) {
        return Fits::default();
    }
    let candidates = case.candidates();
    let mut plain: Vec<(Hypothesis<'t>, Prediction)> = Vec::with_capacity(candidates.len());
    let mut estimates = false;
    for hypothesis in candidates {
        if matches!(hypothesis, Hypothesis::AbortEstimated(_)) {
            estimates = true;
        } else if let Some(priced) = case.price(&[hypothesis])
            && priced.total != base.total
        {
            plain.push((hypothesis, priced));
        }
    }

    let mut markups = Fits::default();
    for precision in [Precision::Exact, Precision::ButForNoise] {
        let fitting = plain.iter().filter(|(_, p)| fits(recorded, p, precision));
        let mut found: Vec<Hypothesis<'t>> = fitting.map(|(h, _)| *h).collect();
        if estimates {
            found.extend(estimated(case, recorded, precision));
        }
        // Nobody was asked twice, so this is the last thing to think of.
        if case.retried.is_none() && found.len() > 1 {
            found.retain(|h| !matches!(h, Hypothesis::RetryDouble(_)));
        }
        if !case.free {
            found.extend(roundings(&base, recorded, precision));
        }
        let is_explained = !found.is_empty();
        if !case.free {
            found.extend(percentages(case, &base, recorded, precision));
        }
        let one = |h| (Explanation::one(h), recorded.amount);
        let found = Fits::new(found.into_iter().map(one).collect(), precision, &said);
        if is_explained {
            return found;
        }
        if markups.explanations.is_empty() {
            markups = found;
        }
    }
    if case.free {
        return Fits::default();
    }
    pairs(case, &base, &plain, recorded, markups)
}

/// The pairs that fit; with `markups`, the percentages that alone make it. Two hypotheses are no better
/// an explanation than a percentage, unless they hold for more attempts: so both are kept.
fn pairs<'t>(
    case: &Case<'_, 't>,
    base: &Prediction,
    plain: &[(Hypothesis<'t>, Prediction)],
    recorded: &Recorded,
    markups: Fits<'t>,
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
    let mut both: Vec<(Explanation<'t>, Money, Prediction)> = Vec::new();
    for (i, (first, priced)) in plain.iter().enumerate() {
        for (then, alone) in &plain[i + 1..] {
            if first.code() == then.code() || first.excludes(*then) {
                continue;
            }
            let explanation = Explanation::two(*first, *then);
            if let Some(p) = case.explained(&explanation)
                && ![priced.total, alone.total, base.total].contains(&p.total)
            {
                both.push((explanation, priced.total, p));
            }
        }
    }
    for precision in [Precision::Exact, Precision::ButForNoise] {
        let fitting = both.iter().filter(|(_, _, p)| fits(recorded, p, precision));
        let mut found: Vec<_> = fitting.map(|(e, first, _)| (*e, *first)).collect();
        for (first, priced) in &plain {
            let two = |then| (Explanation::two(*first, then), priced.total);
            found.extend(roundings(priced, recorded, precision).map(two));
            let percents = percentages(case, priced, recorded, precision).into_iter();
            found.extend(percents.filter(|h| is_simple(*h)).map(two));
        }
        found.extend(rounded_percentages(case, base, recorded, precision));
        if !found.is_empty() {
            found.extend(markups.explanations);
            return Fits::new(found, precision, &markups.said);
        }
    }
    markups
}

impl<'t> Fits<'t> {
    fn new(
        mut explanations: Vec<(Explanation<'t>, Money)>,
        precision: Precision,
        said: &[Hypothesis<'t>],
    ) -> Self {
        explanations.sort_unstable();
        Self {
            noise: precision == Precision::ButForNoise && !explanations.is_empty(),
            explanations,
            said: said.to_vec(),
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

/// The percentages that make `recorded` of `priced`: the exact one, or whole ones before the rounding
/// that is declared.
fn percentages<'t>(
    case: &Case<'_, 't>,
    priced: &Prediction,
    recorded: &Recorded,
    precision: Precision,
) -> Vec<Hypothesis<'t>> {
    let exact = percentage(priced.total, recorded, precision);
    if priced.rounded.is_none() || exact.is_some() {
        return exact.into_iter().collect();
    }
    let whole = whole_percentages(case, priced, recorded);
    let fitting = whole.iter().filter(|(_, p)| fits(recorded, p, precision));
    let fitting: Vec<_> = fitting
        .map(|(percent, _)| Hypothesis::MarkupUndeclared(*percent))
        .collect();
    if fitting.len() > FITTING_PERCENTAGES_MAX {
        return Vec::new();
    }
    fitting
}

/// Whole percentages and rules of rounding that make `recorded` of `base` together; no rule that does so
/// with so many of them that the amount says nothing.
fn rounded_percentages<'t>(
    case: &Case<'_, 't>,
    base: &Prediction,
    recorded: &Recorded,
    precision: Precision,
) -> Vec<(Explanation<'t>, Money)> {
    let mut found = Vec::new();
    for (percent, priced) in whole_percentages(case, base, recorded) {
        let first = Hypothesis::MarkupUndeclared(percent);
        let two = |then| (Explanation::two(first, then), priced.total);
        found.extend(roundings(&priced, recorded, precision).map(two));
    }
    let mut counts: BTreeMap<Option<Hypothesis<'t>>, usize> = BTreeMap::new();
    for (explanation, _) in &found {
        *counts.entry(explanation.then).or_default() += 1;
    }
    found.retain(|(e, _)| counts[&e.then] <= FITTING_PERCENTAGES_MAX);
    found
}

/// The whole percentages below 100 either way around the nearest that makes `recorded` of `priced`, and
/// what each comes to.
fn whole_percentages(
    case: &Case<'_, '_>,
    priced: &Prediction,
    recorded: &Recorded,
) -> Vec<(Money, Prediction)> {
    let off = recorded.amount.checked_sub(priced.total).ok();
    let nearest = off.and_then(|off| off.percent_of(priced.total, 0));
    let hundred = Money::new(100, 0).unwrap_or_default();
    let steps = -WHOLE_PERCENTAGES_AROUND..=WHOLE_PERCENTAGES_AROUND;
    let percents = steps.filter_map(|step| nearest?.checked_add(Money::new(step, 0)?).ok());
    let percents = percents.filter(|percent| !percent.is_zero() && percent.abs() < hundred);
    let with = percents.filter_map(|percent| Some((percent, case.with_percent(priced, percent)?)));
    with.filter(|(_, p)| p.total != priced.total).collect()
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
    // Next to noise, one of so many would fit anything.
    if precision == Precision::ButForNoise && count % 100 != 0 {
        return None;
    }
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

/// What an answer that broke off may be billed by if `recorded` is the cost of the input and of a number
/// of output tokens that somebody may have estimated from the characters that arrived: one for 2 to 8
/// of them. Where nobody knows the whole answer, it may be that as well.
fn estimated<'t>(
    case: &Case<'_, 't>,
    recorded: &Recorded,
    precision: Precision,
) -> Vec<Hypothesis<'t>> {
    let Some(abort) = case.abort else {
        return Vec::new();
    };
    let characters = abort.characters;
    let is = |output| {
        case.with_output(output)
            .is_some_and(|p| fits(recorded, &p, precision))
    };
    let is_four = is(characters.div_ceil(4));
    if !is_four && !reached(case, recorded, precision, characters).is_some_and(is) {
        return Vec::new();
    }
    let other = Hypothesis::AbortEstimated(Estimate::Other);
    if abort.whole.is_none() {
        return vec![Hypothesis::AbortMaybeFull, other];
    }
    let four = is_four.then_some(Hypothesis::AbortEstimated(Estimate::Four));
    four.into_iter().chain([other]).collect()
}

/// The smallest number of output tokens, of those that so many characters may be estimated at, whose cost
/// reaches `recorded`.
fn reached(
    case: &Case<'_, '_>,
    recorded: &Recorded,
    precision: Precision,
    characters: u64,
) -> Option<u64> {
    let (mut low, mut high) = (characters.div_ceil(8), characters.div_ceil(2));
    while low < high {
        let middle = u64::midpoint(low, high);
        let priced = case.with_output(middle)?;
        if priced.total >= recorded.amount || fits(recorded, &priced, precision) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Some(low)
}
