//! What a run will send and may cost, told before it is sent.
//!
//! The plan is deterministic, so this looks at the very turns that would be sent: the input by its
//! estimate and the output by its limit for what is expected, a token for each byte of the body and
//! the whole limit, as often as a request may be tried, for the worst case. Of a very long plan it
//! looks at the first ten thousand sessions, scales, and says "about". What cannot be priced is said
//! by name. Nothing here reads a clock or a file.
//!
//! How many turns a session has is the model's choice. It is taken to call a tool, and to write as much as it may, in
//! each turn that it may have: all counts are "up to".

use std::fmt;

use jiff::civil::Date;

use crate::billing::policy::Policy;
use crate::billing::predict::{predict, worst_case};
use crate::billing::prices::PriceTable;
use crate::billing::separate::{PlannedSize, Separability, separability};
use crate::endpoint::Endpoint;
use crate::money::{Currency, Money, RoundMode};
use crate::plan::{Follows, Plan, Planned, Unpriced};
use crate::prompt::{CacheTtl, Call};
use crate::schedule::Part;
use crate::timeline::Answer;
use crate::usage::Usage;

/// Sessions of a part of the run that are looked at, at most: 10^4.
const SESSIONS_POWER: u32 = 4;

/// Sessions that are looked at where only time will tell how many there are, or where each has several turns: 10^3.
const SAMPLE_POWER: u32 = 3;

/// Sessions whose sizes are held against each other, at most: what two causes have in common on so
/// many, they have in common.
const SIZES_MAX: u64 = 500;

/// Decimal places of the amounts that are shown.
const SHOWN_PLACES: u32 = 6;

/// What is known besides the plan and the prices.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// The UTC date of the run.
    pub date: Date,
    /// Attempts of a request, at most; at least 1.
    pub attempts_max: u32,
    /// The most that the command may spend.
    pub budget: Option<Money>,
    /// Who pays for what.
    pub policy: Policy,
    /// Share of the output that will be reasoning, as far as that is known; 0 to 1.
    pub reasoning_share: f64,
}

/// What a run will send and may cost. Its `Display` is what the commands show.
#[derive(Clone, Debug)]
pub struct Preview {
    /// Requests of the load, at all endpoints, the warm-up's included, at most; `None` where only time
    /// will tell, and then amounts are those of one session on average.
    pub requests: Option<u64>,
    /// Turns of a session, at most.
    pub turns_max: u32,
    /// Whether only time will tell how many requests the warm-up has; they are in no amount.
    pub warmup_unknown: bool,
    /// Requests before the load, one an endpoint.
    pub preflights: u64,
    /// Whether the amounts are scaled from a part of the plan.
    pub scaled: bool,
    /// Of each endpoint, in the order of reports.
    pub endpoints: Vec<(Endpoint, Cost)>,
    /// Of all endpoints.
    pub together: Cost,
    /// The most that the command may spend.
    pub budget: Option<Money>,
    /// What has no price.
    pub unpriced: Vec<Unpriced>,
    /// Which causes of a wrong bill the planned sizes can tell apart.
    pub separability: Separability,
    /// Currency of the amounts.
    pub currency: Currency,
}

/// What requests cost; `None` where a price is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// With the estimated input and as much output as the limits allow.
    pub expected: Option<Money>,
    /// With a token for each byte, and every attempt that a request may have.
    pub worst: Option<Money>,
}

impl Cost {
    const NOTHING: Self = Self {
        expected: Some(Money::ZERO),
        worst: Some(Money::ZERO),
    };

    /// The sum; unknown if a part is, or if it is beyond an amount.
    fn plus(self, other: Self) -> Self {
        let add = |a: Option<Money>, b: Option<Money>| a?.checked_add(b?).ok();
        Self {
            expected: add(self.expected, other.expected),
            worst: add(self.worst, other.worst),
        }
    }

    /// What `of` requests cost where 10^`power` cost this.
    fn scaled(self, of: u64, power: u32) -> Self {
        let scale = |sum: Option<Money>| {
            let each = sum?.round(SCALED_PLACES, RoundMode::Up);
            each.checked_shift(power).ok()?.checked_mul(of).ok()
        };
        Self {
            expected: scale(self.expected),
            worst: scale(self.worst),
        }
    }
}

/// Decimal places of a sum that is scaled: with those of the scale, what an amount can have.
const SCALED_PLACES: u32 = 20;

impl Preview {
    /// Looks at the turns of `plan`.
    pub fn new(plan: &Plan, prices: &PriceTable, terms: &Terms) -> Self {
        let forecast = plan.forecast();
        let parts = [
            (Part::Warmup, forecast.warmup_sessions),
            (Part::Measured, forecast.measured_sessions),
        ];
        let power = if forecast.turns_max > 1 {
            SAMPLE_POWER
        } else {
            SESSIONS_POWER
        };
        let mut scaled = false;
        let mut requests = Some(0_u64);
        let mut endpoints = Vec::new();
        for &endpoint in &plan.endpoints {
            let sum = |part: Part, sessions: u64| {
                let turns = (0..sessions).flat_map(|session| turns(plan, part, session, endpoint));
                turns.fold((0, Cost::NOTHING), |(count, sum), turn| {
                    (count + 1, sum.plus(cost(&turn, plan, prices, terms)))
                })
            };
            let mut total = Cost::NOTHING;
            if forecast.measured_sessions.is_some() {
                let planned = plan.preflight(endpoint);
                let preflight = Turn::alone(&planned);
                let preflight = Cost {
                    worst: worst(&planned, prices, terms.date),
                    ..cost(&preflight, plan, prices, terms)
                };
                total = total.plus(preflight);
            }
            for (part, sessions) in parts {
                let most = 10_u64.pow(power);
                let (count, sum) = match sessions {
                    Some(sessions) if sessions > most => {
                        scaled = true;
                        let (count, sum) = sum(part, most);
                        let count = u128::from(count) * u128::from(sessions);
                        let count = count.div_ceil(u128::from(most));
                        let count = u64::try_from(count).unwrap_or(u64::MAX);
                        (Some(count), sum.scaled(sessions, power))
                    }
                    Some(sessions) => {
                        let (count, sum) = sum(part, sessions);
                        (Some(count), sum)
                    }
                    None if part == Part::Measured => {
                        scaled = true;
                        let (_, sum) = sum(part, 10_u64.pow(SAMPLE_POWER));
                        (None, sum.scaled(1, SAMPLE_POWER))
                    }
                    None => (Some(0), Cost::NOTHING),
                };
                total = total.plus(sum);
                requests = requests
                    .zip(count)
                    .map(|(requests, count)| requests.saturating_add(count));
            }
            endpoints.push((endpoint, total));
        }
        Self {
            requests,
            turns_max: forecast.turns_max,
            warmup_unknown: forecast.warmup_sessions.is_none(),
            preflights: plan.endpoints.len() as u64,
            scaled,
            together: endpoints
                .iter()
                .fold(Cost::NOTHING, |sum, (_, cost)| sum.plus(*cost)),
            endpoints,
            budget: terms.budget,
            unpriced: plan.unpriced(prices, terms.date),
            separability: separability(
                prices,
                terms.policy,
                terms.date,
                sizes(plan, terms.reasoning_share),
            ),
            currency: prices.currency(),
        }
    }

    /// The causes of a wrong bill that the planned sizes could not tell apart, in at most so many lines.
    pub fn warnings(&self, lines_max: usize) -> Vec<String> {
        let mut lines = self.separability.warnings();
        if lines.len() > lines_max {
            let more = lines.len() - lines_max;
            lines.truncate(lines_max);
            lines.push(format!("{more} more: see `weighbridge check`"));
        }
        lines
    }

    /// The causes that the plan has no means to show, a line for each thing that is missing.
    pub fn blind_spots(&self) -> Vec<String> {
        let mut missing: Vec<(&str, Vec<&str>)> = Vec::new();
        for (code, why) in &self.separability.unseen {
            match missing.iter_mut().find(|(known, _)| known == why) {
                Some((_, codes)) => codes.push(code.name()),
                None => missing.push((why, vec![code.name()])),
            }
        }
        missing
            .into_iter()
            .map(|(why, codes)| format!("{} cannot be seen: {why}", codes.join(", ")))
            .collect()
    }

    /// Of both runs of one command, which spend of one budget.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        let both = self.requests.zip(other.requests);
        self.requests = both.map(|(a, b)| a.saturating_add(b));
        self.warmup_unknown |= other.warmup_unknown;
        self.preflights = self.preflights.saturating_add(other.preflights);
        self.scaled |= other.scaled;
        for (endpoint, cost) in other.endpoints {
            match self.endpoints.iter_mut().find(|(e, _)| *e == endpoint) {
                Some((_, sum)) => *sum = sum.plus(cost),
                None => self.endpoints.push((endpoint, cost)),
            }
        }
        self.together = self.together.plus(other.together);
        for unpriced in other.unpriced {
            if !self.unpriced.contains(&unpriced) {
                self.unpriced.push(unpriced);
            }
        }
        self
    }

    /// How many of how many requests the budget allows if each costs as much as it can; `None`
    /// without a budget, or where the number or a price is unknown, or the sums are beyond an amount.
    pub fn allowed(&self) -> Option<(u64, u64)> {
        let all = self.requests?.saturating_add(self.preflights);
        let (budget, worst) = (self.budget?, self.together.worst?);
        // The largest n with worst x n <= budget x all.
        let limit = budget.checked_mul(all).ok()?;
        let fits = |n: u64| worst.checked_mul(n).is_ok_and(|spent| spent <= limit);
        let (mut low, mut high) = (0, all);
        while low < high {
            let middle = high - (high - low) / 2;
            if fits(middle) {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        Some((low, all))
    }

    fn amounts(&self, cost: Cost) -> String {
        let about = if self.scaled { "about " } else { "" };
        let shown = |amount: Option<Money>, mode| match amount {
            Some(amount) => {
                let amount = amount.round(SHOWN_PLACES, mode);
                format!("{about}{}", amount.display(self.currency))
            }
            None => "unknown".to_owned(),
        };
        format!(
            "expected {}, at most {}",
            shown(cost.expected, RoundMode::HalfUp),
            shown(cost.worst, RoundMode::Up)
        )
    }
}

impl fmt::Display for Preview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let besides = match (self.requests, self.warmup_unknown) {
            (Some(_), true) => ", and the warm-up's",
            _ => "",
        };
        let turns = self.turns_max;
        let (up_to, in_turns, one) = if turns > 1 {
            let in_turns = format!(" (up to {turns} turns a session)");
            (
                "up to ",
                in_turns,
                format!("a session of up to {turns} turns at"),
            )
        } else {
            ("", String::new(), "a request to".to_owned())
        };
        match self.requests {
            Some(requests) => write!(
                f,
                "{up_to}{} requests{in_turns} and {} before the load{besides}: {}",
                grouped(requests),
                self.preflights,
                self.amounts(self.together)
            )?,
            None => write!(
                f,
                "{one} {}: {}; how many there will be, only time will tell",
                if self.endpoints.len() > 1 {
                    "each endpoint, together"
                } else {
                    "the endpoint"
                },
                self.amounts(self.together)
            )?,
        }
        if self.endpoints.len() > 1 {
            for (endpoint, cost) in &self.endpoints {
                write!(f, "\n  {:<10} {}", endpoint.name(), self.amounts(*cost))?;
            }
        }
        for unpriced in &self.unpriced {
            write!(f, "\nno price: {unpriced}")?;
        }
        if let Some(budget) = self.budget {
            write!(f, "\nbudget {}", budget.display(self.currency))?;
            match self.allowed() {
                Some((allowed, all)) if allowed < all => write!(
                    f,
                    ": it allows about {} of {} requests in the worst case",
                    grouped(allowed),
                    grouped(all)
                )?,
                Some((_, all)) => {
                    write!(
                        f,
                        ": it allows all {} requests in the worst case",
                        grouped(all)
                    )?;
                }
                None => {}
            }
        }
        Ok(())
    }
}

/// A turn that may be sent.
struct Turn {
    planned: Planned,
    /// Estimated input tokens of the turn before it in its session.
    before: Option<u64>,
}

impl Turn {
    fn alone(planned: &Planned) -> Self {
        Self {
            planned: planned.clone(),
            before: None,
        }
    }
}

/// The turns of a session of a model that always calls a tool.
fn turns(
    plan: &Plan,
    part: Part,
    session: u64,
    endpoint: Endpoint,
) -> impl Iterator<Item = Turn> + use<'_> {
    let (first, mut conversation) = plan.session(part, session, endpoint);
    let mut next = Some(Turn {
        planned: first,
        before: None,
    });
    std::iter::from_fn(move || {
        let turn = next.take()?;
        if turn.planned.follows == Follows::IfCalled
            && let Some(conversation) = &mut conversation
        {
            let (planned, _) = plan.next_turn(conversation, &longest_answer(&turn.planned));
            let before = Some(turn.planned.record.planned_input);
            next = Some(Turn { planned, before });
        }
        Some(turn)
    })
}

/// As much as a turn may be answered with: a call, and words.
fn longest_answer(planned: &Planned) -> Answer {
    let name = planned.offered.tools().first();
    let call = Call {
        id: "x".repeat(CALL_ID_BYTES),
        name: name.map(|tool| tool.name.clone()).unwrap_or_default(),
        arguments: "{}".to_owned(),
    };
    let tokens = planned.record.output_limit.unwrap_or(0);
    let words = usize::try_from(tokens).unwrap_or(0).min(WORDS_MAX);
    Answer {
        text: "words ".repeat(words),
        calls: vec![call],
    }
}

/// Bytes of a provider's id of a call.
const CALL_ID_BYTES: usize = 30;

/// Most words of an answer that is only thought of.
const WORDS_MAX: usize = 100_000;

/// What a turn costs.
fn cost(turn: &Turn, plan: &Plan, prices: &PriceTable, terms: &Terms) -> Cost {
    let attempts = u64::from(terms.attempts_max);
    Cost {
        expected: expected(turn, plan, prices, terms),
        worst: worst(&turn.planned, prices, terms.date)
            .and_then(|worst| worst.checked_mul(attempts).ok()),
    }
}

fn expected(turn: &Turn, plan: &Plan, prices: &PriceTable, terms: &Terms) -> Option<Money> {
    let record = &turn.planned.record;
    let tier = record.requested_tier.as_deref();
    let tariff = prices.tariff(&record.requested_model, tier, terms.date)?;
    let usage = usage(turn, plan, terms.reasoning_share);
    // These counts hold the cached tokens in the input, as this endpoint's do.
    let prediction = predict(&tariff, &usage, Endpoint::OpenAi).ok()?;
    Some(prediction.rounded.unwrap_or(prediction.total))
}

/// The sizes of the planned load, session by session: those of the first sessions.
fn sizes(plan: &Plan, reasoning_share: f64) -> impl Iterator<Item = PlannedSize> {
    let sessions = plan.forecast().measured_sessions;
    let most = (SIZES_MAX / u64::from(plan.workload.turns_max())).max(1);
    let sessions = sessions.map_or(most, |sessions| sessions.min(most));
    let mut written: Vec<(Endpoint, String, bool)> = Vec::new();
    let planned = (0..sessions).flat_map(move |session| {
        plan.endpoints
            .iter()
            .flat_map(move |&endpoint| turns(plan, Part::Measured, session, endpoint))
    });
    planned.map(move |turn| {
        let usage = usage(&turn, plan, reasoning_share);
        let planned = turn.planned;
        let hangs_up = planned.hang_up.is_some();
        let record = planned.record;
        let cached = usage.cache_read.unwrap_or(0);
        // The first of its kind finds nothing to read, and this endpoint bills what it writes.
        let kind = (
            record.endpoint,
            record.requested_model.clone(),
            planned.offered.is_empty(),
        );
        let first = !written.contains(&kind);
        if first {
            written.push(kind);
        }
        let (cache_read, cache_write) = match (first, record.endpoint) {
            (false, _) => (cached, 0),
            (true, Endpoint::Anthropic) => (0, cached),
            (true, Endpoint::OpenAi) => (0, 0),
        };
        PlannedSize {
            endpoint: record.endpoint,
            streaming: record.streaming,
            model: record.requested_model,
            service_tier: record.requested_tier,
            input: record.planned_input,
            output: record.output_limit.unwrap_or(0),
            cache_read,
            cache_write: cache_write + usage.cache_write.unwrap_or(0),
            reasoning: usage.reasoning.unwrap_or(0),
            hangs_up,
        }
    })
}

/// The usage that is expected of a turn: the shared prefix, and where a conversation is to be kept all of the turn
/// before, comes from a cache. The input holds the cached tokens, the output the reasoning.
fn usage(turn: &Turn, plan: &Plan, reasoning_share: f64) -> Usage {
    let record = &turn.planned.record;
    let input = record.planned_input;
    let prefix = plan.workload.prefix_tokens();
    let kept = plan
        .workload
        .cache_conversation
        .filter(|_| record.endpoint == Endpoint::Anthropic);
    let read = match kept {
        Some(_) => turn.before.unwrap_or(prefix),
        None => prefix,
    };
    let read = read.min(input);
    let written = kept.map(|_| input - read);
    let output = record.output_limit;
    Usage {
        input: Some(input),
        cache_read: Some(read).filter(|n| *n > 0),
        cache_write: written,
        cache_write_1h: written.filter(|_| kept == Some(CacheTtl::Hour)),
        output,
        reasoning: output
            .map(|output| share_of(output, reasoning_share))
            .filter(|n| *n > 0),
        ..Usage::default()
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share from 0 to 1 of a count of tokens"
)]
fn share_of(count: u64, share: f64) -> u64 {
    ((count as f64 * share).round() as u64).min(count)
}

fn worst(planned: &Planned, prices: &PriceTable, date: Date) -> Option<Money> {
    let record = &planned.record;
    let (model, tier) = (&record.requested_model, record.requested_tier.as_deref());
    prices.tariff(model, tier, date)?;
    // As it is reserved under a budget: another tier may be served than was asked for.
    let tariffs = prices.tariffs(model, date);
    worst_case(&tariffs, record.body_bytes?, record.output_limit?).ok()?
}

/// A number with commas between its thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests;
