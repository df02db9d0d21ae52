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
use super::hypothesis::{Explanation, Hypothesis, Rule};
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
    /// Other rules of rounding that explain the same attempts.
    pub beside: Vec<Rule>,
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
                       beside: &[Rule],
                       with: Option<Code>,
                       tally: Tally<Amounts>| {
            let named = by_cause.entry(causes.clone()).or_insert_with(|| Named {
                causes,
                beside: beside.to_vec(),
                with: BTreeMap::new(),
                tally: Tally::default(),
            });
            // Another rule fits only if it does wherever this one was found.
            named.beside.retain(|rule| beside.contains(rule));
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
}

/// What was chosen for some sets.
#[derive(Clone, Debug)]
struct Choice<'t> {
    /// One for each cause that explains them, the simplest of it.
    explanations: Vec<Explanation<'t>>,
    /// Rules of rounding that do so as well as the chosen one.
    beside: Vec<Rule>,
    sets: Vec<usize>,
}

/// How readily an explanation is believed where others explain as much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// One cause.
    One,
    /// Two causes, neither of which is inferred from the amount.
    Two,
    /// A percentage that is seen on one amount only: almost any amount is some percentage of another.
    PercentageOfOne,
    /// Two causes, of which one is inferred.
    TwoInferred,
}

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
        Self { sets, explains }
    }

    /// Whether all that `explanation` explains has one predicted amount.
    fn is_of_one_amount(&self, explanation: &Explanation<'t>) -> bool {
        let covered = self.explains.get(explanation).into_iter().flatten();
        let predicted = covered.map(|&n| self.sets[n].1.sums.predicted);
        predicted.fold(Distinct::None, Distinct::and) != Distinct::Several
    }

    fn rank(&self, explanation: &Explanation<'t>) -> Rank {
        let is_percentage = matches!(explanation.first, Hypothesis::MarkupUndeclared(_));
        match explanation.then {
            None if is_percentage && self.is_of_one_amount(explanation) => Rank::PercentageOfOne,
            None => Rank::One,
            Some(then) if then.is_inferred() => Rank::TwoInferred,
            Some(_) => Rank::Two,
        }
    }

    /// What explains the sets with the fewest causes, and the sets that nothing explains.
    fn chosen(&self) -> (Vec<Choice<'t>>, Vec<usize>) {
        let mut open: Vec<bool> = vec![true; self.sets.len()];
        let mut known: BTreeSet<Hypothesis<'t>> = BTreeSet::new();
        let mut chosen: Vec<Choice<'t>> = Vec::new();
        loop {
            let rest = |covered: &Vec<usize>| -> Vec<usize> {
                covered.iter().copied().filter(|&n| open[n]).collect()
            };
            let weight = |sets: &[usize]| sets.iter().map(|&n| self.sets[n].1.count).sum::<u64>();
            let news = |e: &Explanation<'t>| e.hypotheses().filter(|h| !known.contains(h)).count();
            let left = self.explains.iter().map(|(e, covered)| (e, rest(covered)));
            let left = left.filter(|(_, sets)| !sets.is_empty());
            let left: Vec<(&Explanation<'t>, Vec<usize>)> = left.collect();
            let order = |(e, sets): &&(&Explanation<'t>, Vec<usize>)| {
                (Reverse(weight(sets)), self.rank(e), news(e), **e)
            };
            let Some((best, sets)) = left.iter().min_by_key(order) else {
                break;
            };
            let rank = self.rank(best);
            let ties = left.iter().filter(|(_, theirs)| theirs == sets);
            let mut ties: Vec<Explanation<'t>> = ties
                .map(|(e, _)| **e)
                .filter(|e| self.rank(e) == rank)
                .collect();
            ties.sort_by_key(|e| (news(e), *e));
            let choice = choose(&ties, sets.clone());
            for &n in sets {
                open[n] = false;
            }
            for explanation in &choice.explanations {
                known.extend(explanation.hypotheses());
            }
            chosen.push(choice);
        }
        let doubted = self.doubted(&chosen);
        let (doubted, chosen): (Vec<_>, Vec<_>) =
            chosen.into_iter().partition(|choice| doubted(choice));
        for choice in doubted {
            for n in choice.sets {
                open[n] = true;
            }
        }
        let unexplained = (0..open.len()).filter(|&n| open[n]).collect();
        (chosen, unexplained)
    }

    /// Which choices are percentages that only one amount shows, while another shows another: amounts
    /// that are off by anything at all look like that.
    fn doubted(&self, chosen: &[Choice<'t>]) -> impl Fn(&Choice<'t>) -> bool + use<'t> {
        let mut percentages = BTreeSet::new();
        let mut certain = BTreeSet::new();
        for choice in chosen {
            for explanation in &choice.explanations {
                for hypothesis in explanation.hypotheses() {
                    if let Hypothesis::MarkupUndeclared(percent) = hypothesis {
                        percentages.insert(percent);
                        if !self.is_of_one_amount(explanation) {
                            certain.insert(percent);
                        }
                    }
                }
            }
        }
        let several = percentages.len() > 1;
        move |choice: &Choice<'t>| {
            let hypotheses = choice.explanations.iter().flat_map(Explanation::hypotheses);
            let mut found = hypotheses.filter_map(|h| match h {
                Hypothesis::MarkupUndeclared(percent) => Some(percent),
                _ => None,
            });
            several && choice.explanations.len() == 1 && found.any(|p| !certain.contains(&p))
        }
    }
}

/// Of explanations of the same sets, one for each cause; `ties` is in the order of preference.
fn choose<'t>(ties: &[Explanation<'t>], sets: Vec<usize>) -> Choice<'t> {
    let rounds = |e: &Explanation<'t>| e.hypotheses().any(|h| matches!(h, Hypothesis::Rounding(_)));
    let is_percentage = |e: &Explanation<'t>| e.codes().any(|code| code == Code::MarkupUndeclared);
    // A percentage that is rounding's own doing.
    let rounded = ties.iter().any(rounds);
    let mut explanations: Vec<Explanation<'t>> = Vec::new();
    let mut beside = Vec::new();
    for tie in ties.iter().filter(|tie| !(rounded && is_percentage(tie))) {
        let same = |e: &&Explanation<'t>| e.codes().eq(tie.codes());
        match explanations.iter().find(same) {
            None => explanations.push(*tie),
            Some(chosen) if chosen.first == tie.first || chosen.then.is_none() => {
                if let Some(Hypothesis::Rounding(rule)) = tie.hypotheses().last() {
                    beside.push(rule);
                }
            }
            Some(_) => {}
        }
    }
    Choice {
        explanations,
        beside,
        sets,
    }
}
