//! What the attempts of a group have in common: the cause by its name.
//!
//! One amount often fits several explanations; the attempts of a group together fit fewer. For each
//! group and each set of explanations that fit an attempt equally there is one tally, so memory does not
//! grow with the run. In the end the explanation is taken that explains the most attempts, then the one
//! that explains the most of the rest, and so on. Explanations that explain exactly the same attempts are
//! ambiguous, and all of them are named; only what is inferred from the amounts themselves (a percentage, a
//! rule of rounding) gives way to what is not.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::money::{Money, MoneyError};
use crate::record::Record;

use super::super::finding::{Code, Scope, Sums, Tally};
use super::super::words::{Amounts, Off};
use super::features::Features;
use super::hypothesis::{Estimate, Explanation, Hypothesis};
use super::search::Fits;

/// How many sets of explanations a group tells apart. Beyond, an attempt is counted for that of its
/// explanations that is known to fit the most others.
const SETS_MAX: usize = 256;

/// Every group of a bill.
#[derive(Clone, Debug, Default)]
pub(in crate::billing) struct Groups<'t>(BTreeMap<Scope, Group<'t>>);

/// What is known of the attempts of one group.
#[derive(Clone, Debug, Default)]
struct Group<'t> {
    features: Features,
    /// Attempts that are off, by the set of explanations that fit; an empty set fits none.
    sets: BTreeMap<Vec<Explanation<'t>>, Tally<Evidence>>,
    /// Other tariffs that requests or answers of the group themselves name.
    said: BTreeSet<Hypothesis<'t>>,
    /// How many attempts each explanation of these sets explains.
    explained: BTreeMap<Explanation<'t>, u64>,
}

/// What attempts with the same explanations sum up.
#[derive(Clone, Debug, Default)]
struct Evidence {
    amounts: Amounts,
    /// For each explanation of the set, what its first hypothesis and what its second is off by.
    parts: Vec<(Off, Off)>,
    /// Whether any recorded amount is not zero.
    is_nonzero: bool,
    predicted: Distinct,
}

/// Whether there is more than one of something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Distinct {
    #[default]
    None,
    One(Money),
    Several,
}

impl Distinct {
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::None, other) | (other, Self::None) => other,
            (Self::One(a), Self::One(b)) if a == b => self,
            _ => Self::Several,
        }
    }
}

impl Sums for Evidence {
    fn merge(&mut self, other: &Self) -> Result<(), MoneyError> {
        self.amounts.merge(&other.amounts)?;
        self.parts
            .resize(other.parts.len(), <(Off, Off)>::default());
        for (sum, part) in self.parts.iter_mut().zip(&other.parts) {
            sum.0.add(&part.0)?;
            sum.1.add(&part.1)?;
        }
        self.is_nonzero |= other.is_nonzero;
        self.predicted = self.predicted.and(other.predicted);
        Ok(())
    }
}

/// A cause with all attempts of the group that it was found on.
#[derive(Clone, Debug)]
pub(in crate::billing) struct Named<'t> {
    /// What it is; several where they explain the same attempts, and none where nothing does.
    pub causes: Vec<Hypothesis<'t>>,
    /// The same cause with another parameter that explains the same attempts: other rules of rounding, other
    /// tariffs of the same prices.
    pub beside: Vec<Hypothesis<'t>>,
    /// Other causes on the same attempts, and on how many.
    pub with: BTreeMap<Code, u64>,
    /// The attempts, and what the cause is off by on them.
    pub tally: Tally<Amounts>,
}

impl<'t> Groups<'t> {
    /// Counts an attempt whose predicted and recorded costs can be compared.
    pub fn saw(&mut self, scope: &Scope, features: &Features) {
        if let Some(group) = self.0.get_mut(scope) {
            group.features.add(features);
        } else {
            let group = Group {
                features: *features,
                ..Group::default()
            };
            self.0.insert(scope.clone(), group);
        }
    }

    /// Takes up an attempt whose recorded cost is off, and what explains it.
    pub fn found(
        &mut self,
        record: &Record,
        fits: &Fits<'t>,
        amounts: &Amounts,
    ) -> Result<(), MoneyError> {
        let group = self.0.entry(Scope::of(record)).or_default();
        group.take(record, fits, amounts)
    }

    /// The causes in each group, the most frequent first.
    pub fn named(&self) -> impl Iterator<Item = (&Scope, &Features, Vec<Named<'t>>)> {
        let groups = self.0.iter();
        groups.map(|(scope, group)| (scope, &group.features, group.named()))
    }
}

impl<'t> Group<'t> {
    fn take(
        &mut self,
        record: &Record,
        fits: &Fits<'t>,
        amounts: &Amounts,
    ) -> Result<(), MoneyError> {
        let all = fits
            .explanations
            .iter()
            .map(|(e, _)| *e)
            .collect::<Vec<_>>();
        let kept = if self.sets.contains_key(&all) || self.sets.len() < SETS_MAX {
            all
        } else {
            // Whatever fits is true of the attempt, so leaving the rest out says nothing wrong of it.
            let known = all.iter().filter_map(|e| Some((self.explained.get(e)?, e)));
            let best = known.max_by_key(|(count, e)| (**count, Reverse(**e)));
            best.map(|(_, e)| *e).into_iter().collect()
        };
        self.said.extend(&fits.said);
        for explanation in &kept {
            *self.explained.entry(*explanation).or_default() += 1;
        }
        let (predicted, recorded) = (amounts.predicted(), amounts.recorded());
        let step = |explanation: &Explanation<'t>| {
            let of = |(e, step): &(Explanation<'t>, Money)| (e == explanation).then_some(*step);
            fits.explanations.iter().find_map(of)
        };
        let mut parts = Vec::with_capacity(kept.len());
        for explanation in &kept {
            let between = step(explanation).unwrap_or(recorded);
            parts.push((
                Off::of(between.checked_sub(predicted)?),
                Off::of(recorded.checked_sub(between)?),
            ));
        }
        let evidence = Evidence {
            amounts: amounts.clone(),
            parts,
            is_nonzero: !recorded.is_zero(),
            predicted: Distinct::One(predicted),
        };
        let one = Tally::of(record, &evidence, None);
        self.sets.entry(kept).or_default().merge(&one)
    }

    /// The causes, the most frequent first.
    fn named(&self) -> Vec<Named<'t>> {
        let cover = Cover::of(self);
        let (chosen, unexplained) = cover.chosen();
        let mut by_cause: BTreeMap<Vec<Hypothesis<'t>>, Named<'t>> = BTreeMap::new();
        let mut add = |causes: Vec<Hypothesis<'t>>,
                       beside: &[Hypothesis<'t>],
                       with: Option<Code>,
                       tally: Tally<Amounts>| {
            let named = by_cause.entry(causes.clone()).or_insert_with(|| Named {
                causes,
                beside: beside.to_vec(),
                with: BTreeMap::new(),
                tally: Tally::default(),
            });
            // Another fits only if it does wherever this one was found.
            named.beside.retain(|other| beside.contains(other));
            if let Some(code) = with {
                *named.with.entry(code).or_default() += tally.count;
            }
            // Sums that were taken one by one without an overflow were so together.
            let _ = named.tally.merge(&tally);
        };
        for choice in &chosen {
            for &set in &choice.sets {
                let (explanations, tally) = cover.sets[set];
                let whole = || tally.with(tally.sums.amounts.clone());
                let [only] = &choice.explanations[..] else {
                    let causes = choice.explanations.iter().flat_map(Explanation::hypotheses);
                    let causes: BTreeSet<Hypothesis<'t>> = causes.collect();
                    add(causes.into_iter().collect(), &[], None, whole());
                    continue;
                };
                let Some(then) = only.then else {
                    add(vec![only.first], &choice.beside, None, whole());
                    continue;
                };
                let at = explanations.iter().position(|e| e == only);
                let (first_off, then_off) = at
                    .and_then(|at| tally.sums.parts.get(at))
                    .copied()
                    .unwrap_or_default();
                let off = |off| tally.with(tally.sums.amounts.with_off(off));
                add(vec![only.first], &[], Some(then.code()), off(first_off));
                let beside = &choice.beside;
                add(vec![then], beside, Some(only.first.code()), off(then_off));
            }
        }
        for set in unexplained {
            let (_, tally) = cover.sets[set];
            let sums = tally.sums.amounts.clone();
            add(Vec::new(), &[], None, tally.with(sums));
        }
        let mut named: Vec<Named<'t>> = by_cause.into_values().collect();
        named.sort_by(|a, b| {
            (Reverse(a.tally.count), &a.causes).cmp(&(Reverse(b.tally.count), &b.causes))
        });
        named
    }
}

/// The sets of a group, and which of them each explanation explains.
struct Cover<'g, 't> {
    sets: Vec<(&'g Vec<Explanation<'t>>, &'g Tally<Evidence>)>,
    explains: BTreeMap<Explanation<'t>, Vec<usize>>,
    said: &'g BTreeSet<Hypothesis<'t>>,
}

/// What was chosen for some sets.
#[derive(Clone, Debug)]
struct Choice<'t> {
    /// One for each cause that explains them, the simplest of it.
    explanations: Vec<Explanation<'t>>,
    /// What else has the same name and explains as much as the chosen one.
    beside: Vec<Hypothesis<'t>>,
    sets: Vec<usize>,
}

/// How readily an explanation is believed where others explain as much. What has a parameter that is taken
/// from the amounts fits more easily, and so does what was picked out of many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// One cause, with no parameter but of the price list.
    One,
    /// An estimate of some number of characters.
    Estimate,
    /// A rule of rounding.
    Rule,
    /// A percentage.
    Percentage,
    /// Two causes, neither of which has a free parameter.
    Two,
    /// Two causes, of which one has.
    TwoFree,
    /// A percentage that is seen on one amount only: almost any amount is some percentage of another.
    PercentageOfOne,
}

/// An explanation of so many attempts of a group is doubted where this many times as many have none: what
/// fits so few of them may do so by chance.
const UNEXPLAINED_PER_EXPLAINED_MAX: u64 = 8;

impl<'g, 't> Cover<'g, 't> {
    fn of(group: &'g Group<'t>) -> Self {
        let sets: Vec<_> = group.sets.iter().collect();
        let mut explains: BTreeMap<Explanation<'t>, Vec<usize>> = BTreeMap::new();
        for (n, (explanations, _)) in sets.iter().enumerate() {
            for explanation in *explanations {
                explains.entry(*explanation).or_default().push(n);
            }
        }
        let is_nonzero = |covered: &[usize]| covered.iter().any(|&n| sets[n].1.sums.is_nonzero);
        // Any rule makes nothing of a small amount.
        explains.retain(|e, covered| {
            !e.hypotheses().any(|h| matches!(h, Hypothesis::Rounding(_))) || is_nonzero(covered)
        });
        Self {
            sets,
            explains,
            said: &group.said,
        }
    }

    /// Whether all that `explanation` explains has one predicted amount.
    fn is_of_one_amount(&self, explanation: &Explanation<'t>) -> bool {
        let covered = self.explains.get(explanation).into_iter().flatten();
        let predicted = covered.map(|&n| self.sets[n].1.sums.predicted);
        predicted.fold(Distinct::None, Distinct::and) != Distinct::Several
    }

    /// Whether a parameter of `hypothesis` may be what fits, and not the cause.
    fn is_free(&self, hypothesis: Hypothesis<'t>) -> bool {
        hypothesis.is_inferred() || hypothesis.is_guessed() && !self.said.contains(&hypothesis)
    }

    fn rank(&self, explanation: &Explanation<'t>) -> Rank {
        let mut parts = explanation.hypotheses();
        match (explanation.first, explanation.then) {
            (_, Some(_)) if parts.any(|part| self.is_free(part)) => Rank::TwoFree,
            (_, Some(_)) => Rank::Two,
            (Hypothesis::MarkupUndeclared(_), _) if self.is_of_one_amount(explanation) => {
                Rank::PercentageOfOne
            }
            (Hypothesis::MarkupUndeclared(_), _) => Rank::Percentage,
            (Hypothesis::Rounding(_), _) => Rank::Rule,
            (Hypothesis::AbortEstimated(Estimate::Other) | Hypothesis::AbortMaybeFull, _) => {
                Rank::Estimate
            }
            _ => Rank::One,
        }
    }

    fn weight(&self, sets: &[usize]) -> u64 {
        sets.iter().map(|&n| self.sets[n].1.count).sum()
    }

    /// What explains the sets with the fewest causes, and the sets that nothing explains. What is in doubt
    /// once everything is chosen gives way to what is left, until nothing is.
    fn chosen(&self) -> (Vec<Choice<'t>>, Vec<usize>) {
        let mut doubted: BTreeSet<Explanation<'t>> = BTreeSet::new();
        loop {
            let (chosen, unexplained) = self.cover(&doubted);
            let before = doubted.len();
            self.doubt(&chosen, &unexplained, &mut doubted);
            if doubted.len() == before {
                return (chosen, unexplained);
            }
        }
    }

    /// The greedy cover without what is `doubted`: causes that stand alone, then two at once.
    fn cover(&self, doubted: &BTreeSet<Explanation<'t>>) -> (Vec<Choice<'t>>, Vec<usize>) {
        let mut open: Vec<bool> = vec![true; self.sets.len()];
        let mut known: BTreeSet<Hypothesis<'t>> = BTreeSet::new();
        let mut chosen: Vec<Choice<'t>> = Vec::new();
        let explains = self.explains.iter().filter(|(e, _)| !doubted.contains(e));
        let ranked = explains.map(|(e, covered)| (e, self.rank(e), covered));
        let ranked: Vec<_> = ranked.collect();
        for alone in [true, false] {
            loop {
                let rest = |covered: &Vec<usize>| -> Vec<usize> {
                    covered.iter().copied().filter(|&n| open[n]).collect()
                };
                // How many of its causes are found on nothing else.
                let news =
                    |e: &Explanation<'t>| e.hypotheses().filter(|h| !known.contains(h)).count();
                let left = ranked
                    .iter()
                    .filter(|(_, rank, _)| (*rank < Rank::Two) == alone);
                let left = left.map(|(e, rank, covered)| (**e, *rank, news(e), rest(covered)));
                let left: Vec<_> = left.filter(|(.., sets)| !sets.is_empty()).collect();
                let best = left.iter().min_by_key(|(e, rank, news, sets)| {
                    (*news > 0, Reverse(self.weight(sets)), *rank, *news, *e)
                });
                let Some((_, rank, news, sets)) = best else {
                    break;
                };
                let ties = left
                    .iter()
                    .filter(|(_, r, n, theirs)| (r, n, theirs) == (rank, news, sets));
                let ties: Vec<Explanation<'t>> = ties.map(|(e, ..)| *e).collect();
                let choice = choose(&ties, sets.clone());
                for &n in sets {
                    open[n] = false;
                }
                for explanation in &choice.explanations {
                    known.extend(explanation.hypotheses());
                }
                chosen.push(choice);
            }
        }
        let unexplained = (0..open.len()).filter(|&n| open[n]).collect();
        (chosen, unexplained)
    }

    /// Adds to `doubted` what may fit by chance.
    fn doubt(
        &self,
        chosen: &[Choice<'t>],
        unexplained: &[usize],
        doubted: &mut BTreeSet<Explanation<'t>>,
    ) {
        let singles = chosen
            .iter()
            .filter(|choice| choice.explanations.len() == 1);
        let singles = singles.filter_map(|choice| choice.explanations.first());
        let named: BTreeSet<Hypothesis<'t>> = singles
            .filter(|e| e.then.is_none())
            .map(|e| e.first)
            .collect();
        // Every percentage of an attempt that nothing better explains.
        let of_one = |choice: &&Choice<'t>| {
            let mut ranks = choice.explanations.iter().map(|e| self.rank(e));
            ranks.any(|rank| rank == Rank::PercentageOfOne)
        };
        let sets = chosen.iter().filter(of_one).flat_map(|choice| &choice.sets);
        let percentages: BTreeSet<Money> = sets
            .chain(unexplained)
            .flat_map(|&n| self.sets[n].0)
            .filter(|e| e.then.is_none())
            .filter_map(|e| percentage_of(e.first))
            .collect();
        let unexplained = self.weight(unexplained);
        for choice in chosen {
            let is_one = choice.explanations.len() == 1;
            for explanation in &choice.explanations {
                let covered = self
                    .explains
                    .get(explanation)
                    .map_or(&[][..], Vec::as_slice);
                let few = self
                    .weight(covered)
                    .saturating_mul(UNEXPLAINED_PER_EXPLAINED_MAX);
                let is_doubted = few < unexplained
                    || match self.rank(explanation) {
                        Rank::TwoFree => {
                            let is_known = explanation.hypotheses().any(|h| named.contains(&h));
                            let is_rare = self.weight(covered) < unexplained;
                            !is_one || !is_known && (is_rare || self.is_of_one_amount(explanation))
                        }
                        Rank::PercentageOfOne => {
                            let is_whole = percentage_of(explanation.first)
                                .is_some_and(|percent| percent.places() == 0);
                            // Two causes that nobody may name are nothing else.
                            let is_only = |n: &usize| {
                                let others = self.sets[*n].0.iter().filter(|e| *e != explanation);
                                others
                                    .map(|e| self.rank(e))
                                    .all(|rank| rank == Rank::TwoFree)
                            };
                            !is_one
                                || !is_whole
                                || percentages.len() > 1
                                || !covered.iter().all(is_only)
                        }
                        // Two percentages that rounding makes the same.
                        Rank::Percentage => !is_one && has_several_percentages(choice),
                        _ => false,
                    };
                if is_doubted {
                    doubted.insert(*explanation);
                }
            }
        }
    }
}

fn percentage_of(hypothesis: Hypothesis<'_>) -> Option<Money> {
    match hypothesis {
        Hypothesis::MarkupUndeclared(percent) => Some(percent),
        _ => None,
    }
}

fn has_several_percentages(choice: &Choice<'_>) -> bool {
    let all = choice.explanations.iter().flat_map(Explanation::hypotheses);
    all.filter_map(percentage_of).collect::<BTreeSet<_>>().len() > 1
}

/// Of explanations of the same sets, one for each cause; `ties` is in the order of preference. Two
/// percentages are two causes.
fn choose<'t>(ties: &[Explanation<'t>], sets: Vec<usize>) -> Choice<'t> {
    let percentages =
        |e: &Explanation<'t>| -> Vec<Money> { e.hypotheses().filter_map(percentage_of).collect() };
    let mut explanations: Vec<Explanation<'t>> = Vec::new();
    let mut beside = Vec::new();
    for tie in ties {
        let same =
            |e: &&Explanation<'t>| e.codes().eq(tie.codes()) && percentages(e) == percentages(tie);
        let Some(chosen) = explanations.iter().find(same) else {
            explanations.push(*tie);
            continue;
        };
        let (ours, theirs) = (
            chosen.then.unwrap_or(chosen.first),
            tie.then.unwrap_or(tie.first),
        );
        let is_like = chosen.then.is_none() || chosen.first == tie.first;
        if is_like
            && (theirs.is_guessed() || matches!(theirs, Hypothesis::Rounding(_)))
            && ours != theirs
        {
            beside.push(theirs);
        }
    }
    Choice {
        explanations,
        beside,
        sets,
    }
}
