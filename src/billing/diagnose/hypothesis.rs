//! The hypotheses: what a gateway may have done differently, and what to call it.

use crate::money::{Money, RoundMode};

use super::super::finding::Code;
use super::super::prices::Rates;

/// One change in the computation of a bill. They are declared in the order in which they act, so that
/// two at once have one meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hypothesis<'t> {
    /// The usage reports of the stream are added up.
    StreamCumulativeSummed,
    /// The first usage report of the stream is billed.
    StreamPartialKept,
    /// The output is billed at nothing.
    TerminalEventMissed,
    /// The reasoning is billed at nothing.
    ReasoningDropped,
    /// The reasoning is billed twice.
    ReasoningDouble,
    /// No tokens are billed.
    TranslationUsageLost,
    /// The whole answer is billed, which broke off.
    AbortFull,
    /// The whole answer may be billed, whose size nobody knows.
    AbortMaybeFull,
    /// The input is billed, and an estimate of the output that was delivered.
    AbortEstimated(Estimate),
    /// The prices of this service tier; empty for the standard.
    ServiceTier(&'t str),
    /// The prices for prompts of more tokens than this.
    ContextTier(u64),
    /// The prices of this model.
    ModelAlias(&'t str),
    /// The prices of input and of output are swapped.
    RatesSwapped,
    /// Cached tokens at the price of another kind.
    CacheTierWrong(CacheTier),
    /// Cache reads at their own price and at that of input.
    CacheDouble,
    /// Cached tokens at nothing.
    CacheDropped(Cached),
    /// The whole amount, this many times.
    RetryDouble(u64),
    /// The amount times 1,000, or a thousandth of it.
    Unit1k1m(Unit),
    /// Nothing is billed.
    UnpricedZero,
    /// Nothing is billed for an answer that broke off.
    AbortUnbilled,
    /// This percentage on top; negative for a discount.
    MarkupUndeclared(Money),
    /// Rounded by this rule.
    Rounding(Rule),
}

/// How output tokens are estimated from characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Estimate {
    /// A token for every four characters that were delivered, rounded up.
    Four,
    /// A token for some 2 to 8 of them.
    Other,
}

/// Which cached tokens are at which other price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CacheTier {
    /// Reads at the price of input.
    ReadsAsInput,
    /// Writes for an hour at the price for five minutes.
    HourAsFiveMinutes,
    /// Both of these.
    ReadsAndHour,
    /// Writes for five minutes at the price for an hour.
    FiveMinutesAsHour,
    /// All writes at the price of input.
    WritesAsInput,
}

/// Kinds of cached tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cached {
    /// Tokens read from a cache.
    Reads,
    /// Tokens written to one.
    Writes,
    /// Both.
    Both,
}

/// Which way thousands and millions are confused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unit {
    /// A price for a million tokens is taken for a thousand.
    Thousandfold,
    /// A price for a thousand tokens is taken for a million.
    Thousandth,
}

/// A rule of rounding. The order is that in which equal rules are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    /// What is rounded.
    pub stage: Stage,
    /// Which way.
    pub way: Way,
    /// Decimal places that are kept.
    pub scale: u32,
}

/// What is rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// The total of each request.
    Request,
    /// Each part of it.
    Component,
}

/// Which way is rounded, in the order in which equal rules are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// To the nearest, ties away from zero.
    HalfUp,
    /// To the nearest, ties to the even digit.
    HalfEven,
    /// Away from zero.
    Up,
    /// Towards zero.
    Down,
}

impl Way {
    /// Every way.
    pub const ALL: [Self; 4] = [Self::HalfUp, Self::HalfEven, Self::Up, Self::Down];

    /// The mode of an amount.
    pub const fn mode(self) -> RoundMode {
        match self {
            Self::HalfUp => RoundMode::HalfUp,
            Self::HalfEven => RoundMode::HalfEven,
            Self::Up => RoundMode::Up,
            Self::Down => RoundMode::Down,
        }
    }

    /// The name, as in a price table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HalfUp => "half_up",
            Self::HalfEven => "half_even",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

impl Stage {
    /// What is rounded, in words.
    const fn words(self) -> &'static str {
        match self {
            Self::Request => "the request's total",
            Self::Component => "each component",
        }
    }
}

impl Rule {
    /// The rule in words.
    pub fn words(self) -> String {
        let (way, what) = (self.way.name(), self.stage.words());
        format!("{way} at {} decimals of {what}", self.scale)
    }

    /// The rule in words, beside another that fits as well.
    pub fn words_beside(self, named: Self) -> String {
        if self.scale == named.scale {
            format!("{} of {}", self.way.name(), self.stage.words())
        } else {
            self.words()
        }
    }
}

impl Hypothesis<'_> {
    /// The cause that it is.
    pub const fn code(self) -> Code {
        match self {
            Self::StreamCumulativeSummed => Code::StreamCumulativeSummed,
            Self::StreamPartialKept => Code::StreamPartialKept,
            Self::TerminalEventMissed => Code::TerminalEventMissed,
            Self::ReasoningDropped => Code::ReasoningDropped,
            Self::ReasoningDouble => Code::ReasoningDouble,
            Self::TranslationUsageLost => Code::TranslationUsageLost,
            Self::AbortFull | Self::AbortMaybeFull => Code::AbortFull,
            Self::AbortEstimated(_) => Code::AbortEstimated,
            Self::AbortUnbilled => Code::AbortUnbilled,
            Self::ServiceTier(_) => Code::ServiceTier,
            Self::ContextTier(_) => Code::ContextTier,
            Self::ModelAlias(_) => Code::ModelAlias,
            Self::RatesSwapped => Code::RatesSwapped,
            Self::CacheTierWrong(_) => Code::CacheTierWrong,
            Self::CacheDouble => Code::CacheDouble,
            Self::CacheDropped(_) => Code::CacheDropped,
            Self::RetryDouble(_) => Code::RetryDouble,
            Self::Unit1k1m(_) => Code::Unit1k1m,
            Self::UnpricedZero => Code::UnpricedZero,
            Self::MarkupUndeclared(_) => Code::MarkupUndeclared,
            Self::Rounding(_) => Code::Rounding,
        }
    }

    /// Whether a parameter of it is taken from the recorded cost itself, so that it fits more easily.
    pub const fn is_inferred(self) -> bool {
        matches!(
            self,
            Self::MarkupUndeclared(_)
                | Self::Rounding(_)
                | Self::AbortMaybeFull
                | Self::AbortEstimated(Estimate::Other)
        )
    }

    /// Whether it is one of many that may be tried, unless somebody names it.
    pub const fn is_guessed(self) -> bool {
        matches!(self, Self::ModelAlias(_) | Self::ServiceTier(_))
    }

    /// Whether it leaves nothing for `other` to act on, or does the same.
    pub const fn excludes(self, other: Self) -> bool {
        matches!(
            (self, other),
            (
                Self::TerminalEventMissed,
                Self::ReasoningDropped | Self::ReasoningDouble
            ) | (Self::StreamCumulativeSummed, Self::StreamPartialKept)
                | (Self::ReasoningDropped, Self::ReasoningDouble)
                | (Self::TranslationUsageLost, _)
        )
    }

    /// What exactly it is, where the name of the cause does not say it.
    pub fn detail(self) -> Option<String> {
        match self {
            Self::ServiceTier("") => Some("the standard tier".to_owned()),
            Self::ServiceTier(name) => Some(format!("the tier `{name}`")),
            Self::ContextTier(0) => Some("the prices of short prompts".to_owned()),
            Self::ContextTier(above) => Some(format!("the prices above {above} tokens")),
            Self::ModelAlias(model) => Some(format!("the prices of `{model}`")),
            Self::CacheTierWrong(tier) => Some(tier.words().to_owned()),
            Self::CacheDropped(cached) => Some(cached.words().to_owned()),
            Self::RetryDouble(times) => Some(format!("{times} times")),
            Self::Unit1k1m(Unit::Thousandfold) => Some("1,000 times the amount".to_owned()),
            Self::Unit1k1m(Unit::Thousandth) => Some("a thousandth of the amount".to_owned()),
            Self::MarkupUndeclared(percent) if percent.is_negative() => {
                Some(format!("{percent} %"))
            }
            Self::MarkupUndeclared(percent) => Some(format!("+{percent} %")),
            Self::Rounding(rule) => Some(rule.words()),
            _ => None,
        }
    }

    /// What it does to the prices of a token.
    pub(super) fn adjust(self, rates: Rates) -> Rates {
        let mut new = rates;
        match self {
            Self::RatesSwapped => {
                (new.input, new.output) = (rates.output, rates.input);
            }
            Self::CacheTierWrong(tier) => match tier {
                CacheTier::ReadsAsInput => new.cache_read = rates.input,
                CacheTier::HourAsFiveMinutes => new.cache_write_1h = rates.cache_write_5m,
                CacheTier::ReadsAndHour => {
                    new.cache_read = rates.input;
                    new.cache_write_1h = rates.cache_write_5m;
                }
                CacheTier::FiveMinutesAsHour => new.cache_write_5m = rates.cache_write_1h,
                CacheTier::WritesAsInput => {
                    (new.cache_write_5m, new.cache_write_1h) = (rates.input, rates.input);
                }
            },
            Self::CacheDouble => {
                let both = rates.cache_read.zip(rates.input);
                new.cache_read = both.and_then(|(read, input)| read.checked_add(input).ok());
            }
            Self::CacheDropped(cached) => {
                let free = Some(Money::ZERO);
                if cached != Cached::Writes {
                    new.cache_read = free;
                }
                if cached != Cached::Reads {
                    (new.cache_write_5m, new.cache_write_1h) = (free, free);
                }
            }
            _ => {}
        }
        new
    }
}

impl CacheTier {
    /// In words, to follow "are billed".
    pub const fn words(self) -> &'static str {
        match self {
            Self::ReadsAsInput => "cache_read at the input rate",
            Self::HourAsFiveMinutes => "cache_write_1h at the rate for five minutes",
            Self::ReadsAndHour => {
                "cache_read at the input rate and cache_write_1h at the rate for five minutes"
            }
            Self::FiveMinutesAsHour => "cache_write_5m at the rate for an hour",
            Self::WritesAsInput => "cache_write at the input rate",
        }
    }
}

impl Cached {
    /// In words, to follow "are billed".
    pub const fn words(self) -> &'static str {
        match self {
            Self::Reads => "nothing for cache_read",
            Self::Writes => "nothing for cache_write",
            Self::Both => "nothing for cache_read and cache_write",
        }
    }
}

/// One hypothesis, or two at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Explanation<'t> {
    /// The one that acts first.
    pub first: Hypothesis<'t>,
    /// The one that acts on what the first makes.
    pub then: Option<Hypothesis<'t>>,
}

impl<'t> Explanation<'t> {
    /// One hypothesis.
    pub const fn one(hypothesis: Hypothesis<'t>) -> Self {
        Self {
            first: hypothesis,
            then: None,
        }
    }

    /// Two, of which `first` acts first.
    pub const fn two(first: Hypothesis<'t>, then: Hypothesis<'t>) -> Self {
        Self {
            first,
            then: Some(then),
        }
    }

    /// Its hypotheses, in order.
    pub fn hypotheses(&self) -> impl Iterator<Item = Hypothesis<'t>> + use<'t> {
        [Some(self.first), self.then].into_iter().flatten()
    }

    /// The causes that it names.
    pub fn codes(&self) -> impl Iterator<Item = Code> + use<'t> {
        self.hypotheses().map(Hypothesis::code)
    }
}
