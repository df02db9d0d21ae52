//! What differs between the two sides of a pair.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::side::{Side, Tokens};
use crate::billing::reconcile::Status;
use crate::event::FinishReason;

/// Pairs that stand beside a difference.
const EXAMPLES_MAX: usize = 3;

/// How many standard deviations a lean to one side must have to be no chance, squared.
const LEAN_SIGMA_SQUARED: u128 = 16;

/// In what the two sides of a pair differ.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    /// How it ended.
    OutcomeDiffers,
    /// The visible text; of a live model, whether there is any.
    TextDiffers,
    /// The reasoning; of a live model, whether there is any.
    ReasoningDiffers,
    /// The number of tool calls; of a live model, whether there are any.
    CallsDiffer,
    /// The names of the tools called, in order.
    CallNamesDiffer,
    /// The arguments, as JSON values.
    ArgumentsDiffer,
    /// The stop reason.
    StopReasonDiffers,
    /// The reported input, output or cached tokens.
    UsageDiffers,
    /// The cost, or whether it is what the price list says.
    PriceDiffers,
}

impl Code {
    /// The name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OutcomeDiffers => "OUTCOME_DIFFERS",
            Self::TextDiffers => "TEXT_DIFFERS",
            Self::ReasoningDiffers => "REASONING_DIFFERS",
            Self::CallsDiffer => "CALLS_DIFFER",
            Self::CallNamesDiffer => "CALL_NAMES_DIFFER",
            Self::ArgumentsDiffer => "ARGUMENTS_DIFFER",
            Self::StopReasonDiffers => "STOP_REASON_DIFFERS",
            Self::UsageDiffers => "USAGE_DIFFERS",
            Self::PriceDiffers => "PRICE_DIFFERS",
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::OutcomeDiffers => "the requests ended in different ways",
            Self::TextDiffers => "the visible text is not the same",
            Self::ReasoningDiffers => "the reasoning is not the same",
            Self::CallsDiffer => "the tool calls are not as many",
            Self::CallNamesDiffer => "other tools were called",
            Self::ArgumentsDiffer => "the arguments of the tool calls are not the same",
            Self::StopReasonDiffers => "the stop reasons mean different things",
            Self::UsageDiffers => "the reported token counts are not the same",
            Self::PriceDiffers => "the cost, or what the price list says of it, is not the same",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A kind of difference, over all pairs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Difference {
    /// In what.
    pub code: Code,
    /// Pairs that differ.
    pub count: u64,
    /// Pairs that could.
    pub of: u64,
    /// In a sentence.
    pub message: String,
    /// A few of the pairs.
    pub examples: Vec<Pair>,
}

/// The trace ids of a pair.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Pair {
    /// The request to the `OpenAI` endpoint.
    pub openai: String,
    /// The request to the Anthropic endpoint.
    pub anthropic: String,
}

/// Differences in the making.
#[derive(Clone, Debug, Default)]
pub(super) struct Differences {
    tallies: BTreeMap<Code, Tally>,
    /// What a live model may say differently each time.
    sampled: BTreeMap<Code, Sampled>,
    /// Pairs of which both sides succeeded.
    both_ok: u64,
    /// Those of them that are compared exactly.
    both_exact: u64,
    all: u64,
}

#[derive(Clone, Debug, Default)]
struct Tally {
    count: u64,
    /// The first few, each with its words.
    examples: BTreeMap<Pair, String>,
}

/// Differences of what is drawn anew on each side. They are a finding if they lean to one side: two
/// equal samplers differ as often one way as the other.
#[derive(Clone, Debug, Default)]
struct Sampled {
    tally: Tally,
    /// Pairs whose `OpenAI` side is the lesser, in any order that is always the same.
    less: u64,
    /// Pairs whose `OpenAI` side is the greater.
    greater: u64,
}

impl Sampled {
    /// Whether they lean further than chance would.
    fn leans(&self) -> bool {
        let lean = u128::from(self.less.abs_diff(self.greater));
        let all = u128::from(self.less) + u128::from(self.greater);
        lean * lean > LEAN_SIGMA_SQUARED * all
    }
}

impl Tally {
    fn add(&mut self, pair: Pair, words: String) {
        self.count += 1;
        self.examples.insert(pair, words);
        if self.examples.len() > EXAMPLES_MAX {
            self.examples.pop_last();
        }
    }
}

impl Differences {
    /// Holds the sides of a pair against each other.
    pub fn compare(&mut self, openai: &Side, anthropic: &Side, is_exact: bool) {
        self.all += 1;
        let pair = || Pair {
            openai: openai.trace_id.to_string(),
            anthropic: anthropic.trace_id.to_string(),
        };
        if openai.outcome != anthropic.outcome {
            let words = format!("{} against {}", openai.outcome, anthropic.outcome);
            self.found(Code::OutcomeDiffers, pair(), words);
        }
        if !(openai.is_ok() && anthropic.is_ok()) {
            return;
        }
        self.both_ok += 1;
        self.both_exact += u64::from(is_exact);
        let sides = [openai, anthropic];
        let structure = [
            text(sides, is_exact),
            calls(sides, is_exact),
            stop_reason(sides),
        ];
        let numbers = [usage(sides).filter(|_| is_exact), price(sides, is_exact)];
        let reasoning = reasoning(sides, is_exact);
        for (code, words) in structure
            .into_iter()
            .chain(numbers)
            .chain([reasoning])
            .flatten()
        {
            match order(code, sides).filter(|_| !is_exact) {
                Some(order) => self.sampled(code, order, pair(), words),
                None => self.found(code, pair(), words),
            }
        }
    }

    fn sampled(&mut self, code: Code, order: Ordering, pair: Pair, words: String) {
        let sampled = self.sampled.entry(code).or_default();
        sampled.less += u64::from(order == Ordering::Less);
        sampled.greater += u64::from(order == Ordering::Greater);
        sampled.tally.add(pair, words);
    }

    fn found(&mut self, code: Code, pair: Pair, words: String) {
        self.tallies.entry(code).or_default().add(pair, words);
    }

    /// As they are reported.
    pub fn list(&self) -> Vec<Difference> {
        let mut tallies = self.tallies.clone();
        for (code, sampled) in self.sampled.iter().filter(|(_, sampled)| sampled.leans()) {
            let tally = tallies.entry(*code).or_default();
            tally.count += sampled.tally.count;
            tally.examples.extend(sampled.tally.examples.clone());
            while tally.examples.len() > EXAMPLES_MAX {
                tally.examples.pop_last();
            }
        }
        let difference = |(code, tally): (&Code, &Tally)| {
            let of = match code {
                Code::OutcomeDiffers => self.all,
                Code::UsageDiffers => self.both_exact,
                _ => self.both_ok,
            };
            let first = tally.examples.values().next().map_or("", String::as_str);
            Difference {
                code: *code,
                count: tally.count,
                of,
                message: format!(
                    "in {} of {of} pairs {}; the first: {first} (openai against anthropic)",
                    tally.count,
                    code.words()
                ),
                examples: tally.examples.keys().cloned().collect(),
            }
        };
        tallies.iter().map(difference).collect()
    }
}

type Found = Option<(Code, String)>;

/// Which way the structure of two sides differs; `None` of what is not structure.
fn order(code: Code, [a, b]: [&Side; 2]) -> Option<Ordering> {
    Some(match code {
        Code::TextDiffers => a.has_text.cmp(&b.has_text),
        Code::ReasoningDiffers => a.has_reasoning.cmp(&b.has_reasoning),
        Code::CallsDiffer => a.calls.cmp(&b.calls),
        Code::CallNamesDiffer => a.call_names.cmp(&b.call_names),
        Code::StopReasonDiffers => finish_name(a).cmp(finish_name(b)),
        Code::OutcomeDiffers | Code::ArgumentsDiffer | Code::UsageDiffers | Code::PriceDiffers => {
            return None;
        }
    })
}

fn text([a, b]: [&Side; 2], is_exact: bool) -> Found {
    differs(
        Code::TextDiffers,
        [a.text, b.text],
        [a.has_text, b.has_text],
        is_exact,
    )
}

fn reasoning([a, b]: [&Side; 2], is_exact: bool) -> Found {
    let there = [a.has_reasoning, b.has_reasoning];
    differs(
        Code::ReasoningDiffers,
        [a.reasoning, b.reasoning],
        there,
        is_exact,
    )
}

fn differs(code: Code, tokens: [Tokens; 2], there: [bool; 2], is_exact: bool) -> Found {
    if !is_exact {
        let words = there.map(|there| if there { "some" } else { "none" });
        return (there[0] != there[1]).then(|| (code, words.join(" against ")));
    }
    let is_same = tokens[0].own == tokens[1].own && tokens.iter().all(Tokens::is_whole);
    (!is_same).then(|| (code, tokens.map(describe).join(" against ")))
}

fn describe(tokens: Tokens) -> String {
    let parts = [
        (tokens.lost, "lost"),
        (tokens.repeated, "repeated"),
        (tokens.reordered, "out of order"),
        (tokens.foreign, "foreign"),
    ];
    let parts = parts.into_iter().filter(|(count, _)| *count > 0);
    let parts: Vec<String> = parts
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    if parts.is_empty() {
        format!("{} tokens", tokens.own)
    } else {
        format!("{} tokens, {}", tokens.own, parts.join(", "))
    }
}

fn calls([a, b]: [&Side; 2], is_exact: bool) -> Found {
    let is_same = if is_exact {
        a.calls == b.calls
    } else {
        (a.calls > 0) == (b.calls > 0)
    };
    if !is_same {
        return Some((
            Code::CallsDiffer,
            format!("{} against {}", a.calls, b.calls),
        ));
    }
    if a.calls == b.calls && a.call_names != b.call_names {
        let words = "other names, or in another order".to_owned();
        return Some((Code::CallNamesDiffer, words));
    }
    (is_exact && a.call_arguments != b.call_arguments)
        .then(|| (Code::ArgumentsDiffer, "other values".to_owned()))
}

fn stop_reason([a, b]: [&Side; 2]) -> Found {
    (a.finish != b.finish).then(|| {
        (
            Code::StopReasonDiffers,
            format!("{} against {}", finish_name(a), finish_name(b)),
        )
    })
}

const fn finish_name(side: &Side) -> &'static str {
    match side.finish {
        None => "none",
        Some(FinishReason::Stop | FinishReason::StopSequence) => "stop",
        Some(FinishReason::Length) => "length",
        Some(FinishReason::ToolCalls) => "tool calls",
        Some(FinishReason::Refusal) => "refusal",
        Some(FinishReason::Error) => "error",
        Some(FinishReason::Pause) => "pause",
        Some(FinishReason::Other) => "another",
    }
}

fn usage([a, b]: [&Side; 2]) -> Found {
    // A count that one side does not report is no other count, but for the sums.
    let differ = |a: Option<u64>, b: Option<u64>| a != b;
    let cached = |a: Option<u64>, b: Option<u64>| a.zip(b).is_some_and(|(a, b)| a != b);
    let is_other = differ(a.input, b.input)
        || differ(a.output, b.output)
        || cached(a.cache_read, b.cache_read) && !were_cached_apart([a, b]);
    let count = |n: Option<u64>| n.map_or_else(|| "?".to_owned(), |n| n.to_string());
    let words = |s: &Side| {
        format!(
            "{} in, {} of it cached, {} out",
            count(s.input),
            count(s.cache_read),
            count(s.output)
        )
    };
    is_other.then(|| {
        (
            Code::UsageDiffers,
            format!("{} against {}", words(a), words(b)),
        )
    })
}

/// Whether the upstream's own cache served the two differently: who comes first finds nothing in it,
/// and that is no gateway's doing.
fn were_cached_apart([a, b]: [&Side; 2]) -> bool {
    a.cached.zip(b.cached).is_some_and(|(a, b)| a != b)
}

fn price([a, b]: [&Side; 2], is_exact: bool) -> Found {
    // A declared rounding is a match.
    let matched = |status: Status| match status {
        Status::MatchedRounding => Status::Matched,
        other => other,
    };
    let by_list = matched(a.status) != matched(b.status);
    // What is as predicted on both sides is the same but for a float's noise.
    let as_predicted = [a, b].map(|side| matched(side.status) == Status::Matched) == [true; 2];
    let recorded = a.recorded != b.recorded && !as_predicted;
    let amounts =
        is_exact && !were_cached_apart([a, b]) && (recorded || a.predicted != b.predicted);
    let words = |s: &Side| {
        let amount = |m: Option<crate::money::Money>| {
            m.map_or_else(|| "nothing".to_owned(), |m| m.to_string())
        };
        let (recorded, predicted) = (amount(s.recorded), amount(s.predicted));
        format!(
            "{recorded} recorded and {predicted} predicted, {}",
            s.status.name()
        )
    };
    (by_list || amounts).then(|| {
        (
            Code::PriceDiffers,
            format!("{} against {}", words(a), words(b)),
        )
    })
}
