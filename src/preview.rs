//! What a run will send and may cost, told before it is sent.
//!
//! The plan is deterministic, so this looks at the very turns that would be sent: the input by its
//! estimate and the output by its limit for what is expected, a token for each byte of the body and
//! the whole limit, as often as a request may be tried, for the worst case. Of a very long plan it
//! looks at the first ten thousand sessions, scales, and says "about". What cannot be priced is said
//! by name. Nothing here reads a clock or a file.

use std::fmt;

use jiff::civil::Date;

use crate::billing::policy::Policy;
use crate::billing::predict::{predict, worst_case};
use crate::billing::prices::PriceTable;
use crate::billing::separate::{PlannedSize, Separability, separability};
use crate::endpoint::Endpoint;
use crate::money::{Currency, Money, RoundMode};
use crate::plan::{Plan, Planned, Unpriced};
use crate::schedule::Part;
use crate::usage::Usage;

/// Sessions of a part of the run that are looked at, at most: 10^4.
const SESSIONS_POWER: u32 = 4;

/// Sessions that are looked at where only time will tell how many there are: 10^3.
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
    /// Requests of the load, at all endpoints, the warm-up's included; `None` where only time will
    /// tell, and then amounts are those of one request on average.
    pub requests: Option<u64>,
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
        let mut scaled = false;
        let mut endpoints = Vec::new();
        for &endpoint in &plan.endpoints {
            let cost = |planned: &Planned| cost(planned, plan, prices, terms);
            let sum = |part: Part, sessions: u64| {
                (0..sessions)
                    .map(|session| cost(&plan.turn(part, session, endpoint)))
                    .fold(Cost::NOTHING, Cost::plus)
            };
            let mut total = Cost::NOTHING;
            if forecast.measured_sessions.is_some() {
                let preflight = Cost {
                    worst: worst(&plan.preflight(endpoint), prices, terms.date),
                    ..cost(&plan.preflight(endpoint))
                };
                total = total.plus(preflight);
            }
            for (part, sessions) in parts {
                let most = 10_u64.pow(SESSIONS_POWER);
                total = total.plus(match sessions {
                    Some(sessions) if sessions > most => {
                        scaled = true;
                        sum(part, most).scaled(sessions, SESSIONS_POWER)
                    }
                    Some(sessions) => sum(part, sessions),
                    None if part == Part::Measured => {
                        scaled = true;
                        sum(part, 10_u64.pow(SAMPLE_POWER)).scaled(1, SAMPLE_POWER)
                    }
                    None => Cost::NOTHING,
                });
            }
            endpoints.push((endpoint, total));
        }
        let each = plan.endpoints.len() as u64;
        let sessions = forecast.measured_sessions;
        Self {
            requests: sessions.map(|n| {
                n.saturating_add(forecast.warmup_sessions.unwrap_or(0))
                    .saturating_mul(each)
            }),
            warmup_unknown: forecast.warmup_sessions.is_none(),
            preflights: each,
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
        let add = |a: Option<u64>, b: Option<u64>| Some(a?.saturating_add(b?));
        self.requests = add(self.requests, other.requests);
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
        match self.requests {
            Some(requests) => write!(
                f,
                "{} requests and {} before the load{besides}: {}",
                grouped(requests),
                self.preflights,
                self.amounts(self.together)
            )?,
            None => write!(
                f,
                "a request to {}: {}; how many there will be, only time will tell",
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

/// What a planned request costs.
fn cost(planned: &Planned, plan: &Plan, prices: &PriceTable, terms: &Terms) -> Cost {
    let attempts = u64::from(terms.attempts_max);
    Cost {
        expected: expected(planned, plan, prices, terms),
        worst: worst(planned, prices, terms.date)
            .and_then(|worst| worst.checked_mul(attempts).ok()),
    }
}

fn expected(planned: &Planned, plan: &Plan, prices: &PriceTable, terms: &Terms) -> Option<Money> {
    let record = &planned.record;
    let tier = record.requested_tier.as_deref();
    let tariff = prices.tariff(&record.requested_model, tier, terms.date)?;
    let usage = usage(planned, plan, terms.reasoning_share);
    // These counts hold the cached tokens in the input, as this endpoint's do.
    let prediction = predict(&tariff, &usage, Endpoint::OpenAi).ok()?;
    Some(prediction.rounded.unwrap_or(prediction.total))
}

/// The sizes of the planned load, session by session: those of the first sessions.
fn sizes(plan: &Plan, reasoning_share: f64) -> impl Iterator<Item = PlannedSize> {
    let sessions = plan.forecast().measured_sessions;
    let sessions = sessions.map_or(SIZES_MAX, |sessions| sessions.min(SIZES_MAX));
    let mut written: Vec<(Endpoint, String, bool)> = Vec::new();
    let planned = (0..sessions).flat_map(move |session| {
        plan.endpoints
            .iter()
            .map(move |&endpoint| plan.turn(Part::Measured, session, endpoint))
    });
    planned.map(move |planned| {
        let usage = usage(&planned, plan, reasoning_share);
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
            cache_write,
            reasoning: usage.reasoning.unwrap_or(0),
            hangs_up,
        }
    })
}

/// The usage that is expected of a planned request: the shared prefix comes from a cache. The input
/// holds the cached tokens, the output the reasoning.
fn usage(planned: &Planned, plan: &Plan, reasoning_share: f64) -> Usage {
    let record = &planned.record;
    let cached = plan.workload.prefix_tokens();
    let output = record.output_limit;
    Usage {
        input: Some(record.planned_input),
        cache_read: Some(cached.min(record.planned_input)).filter(|n| *n > 0),
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
mod tests {
    use super::*;
    use crate::money::Money;
    use crate::scenario::Scenario;
    use crate::slice::Slice;
    use crate::time::Offset;

    const TABLE: &str = "model,currency,per_tokens,input,output,cache_read\n\
                         m,USD,1,0.001,0.01,0.0001\n\
                         n,USD,1,0.002,0.02,\n";

    fn day() -> Date {
        "2026-08-01".parse().expect("a date")
    }

    fn plan(more: &str) -> Plan {
        let text = format!(
            "name = \"t\"\n[workload]\ninput_tokens = {{ fixed = 100 }}\noutput_tokens = {{ fixed = 10 }}\n{more}"
        );
        let scenario = Scenario::parse("t.toml", &text, &[]).expect(&text);
        Plan {
            run_id: "run".to_owned(),
            seed: scenario.seed,
            endpoints: scenario.target.endpoints.clone(),
            schedule: scenario.load.spec(None),
            workload: scenario.workload.spec(None),
            dialect: scenario.target.dialect.clone(),
            slice: Slice::WHOLE,
            begins: Offset::ZERO,
        }
    }

    fn terms() -> Terms {
        Terms {
            date: day(),
            attempts_max: 1,
            budget: None,
            policy: Policy::default(),
            reasoning_share: 0.0,
        }
    }

    fn preview(plan: &Plan, terms: &Terms) -> Preview {
        let table = PriceTable::read("t.csv", TABLE).expect("valid");
        Preview::new(plan, &table, terms)
    }

    fn money(text: &str) -> Money {
        text.parse().expect(text)
    }

    const LOAD: &str = "[load]\nconcurrency = 2\ncount = 20\n[target]\nmodel = \"m\"\n";

    #[test]
    fn it_is_the_sum_of_the_turns_that_will_be_sent() {
        let plan = plan(LOAD);
        let preview = preview(&plan, &terms());
        assert_eq!((preview.requests, preview.preflights), (Some(40), 2));
        // 21 requests to each: 100 x 0.001 + 10 x 0.01.
        assert_eq!(preview.together.expected, Some(money("8.4")));
        let worst = plan.endpoints.iter().flat_map(|&endpoint| {
            let load = (0..20)
                .map(|n| plan.turn(Part::Measured, n, endpoint))
                .collect::<Vec<_>>();
            load.into_iter().chain([plan.preflight(endpoint)])
        });
        let bytes: u64 = worst.map(|turn| turn.request.body.len() as u64).sum();
        let expected = money("0.001").checked_mul(bytes).expect("in range");
        let expected = expected.checked_add(money("4.2")).expect("in range");
        assert_eq!(preview.together.worst, Some(expected));
        assert!(
            preview
                .to_string()
                .contains("40 requests and 2 before the load: expected $8.4, at most $")
        );
    }

    #[test]
    fn every_attempt_of_the_load_counts_in_the_worst_case() {
        let plan = plan(&format!("{LOAD}endpoint = \"openai\"\n"));
        let once = preview(&plan, &terms());
        let thrice = preview(
            &plan,
            &Terms {
                attempts_max: 3,
                ..terms()
            },
        );
        assert_eq!(once.together.expected, thrice.together.expected);
        let table = PriceTable::read("t.csv", TABLE).expect("valid");
        let preflight = worst(&plan.preflight(Endpoint::OpenAi), &table, day()).expect("priced");
        let load = |preview: &Preview| {
            let worst = preview.together.worst.expect("priced");
            worst.checked_sub(preflight).expect("in range")
        };
        assert_eq!(load(&once).checked_mul(3), Ok(load(&thrice)));
    }

    #[test]
    fn a_budget_allows_as_many_as_fit_at_their_worst() {
        let plan = plan(LOAD);
        let with = |budget: &str| {
            let terms = Terms {
                budget: Some(money(budget)),
                ..terms()
            };
            preview(&plan, &terms)
        };
        let worst = with("1").together.worst.expect("priced");
        let exact = with(&worst.to_string());
        assert_eq!(exact.allowed(), Some((42, 42)));
        assert!(exact.to_string().contains("it allows all 42 requests"));
        assert_eq!(with("0.0001").allowed(), Some((0, 42)));
        let (some, all) = with("5").allowed().expect("a budget");
        assert!(0 < some && some < all);
        let at = |n| worst.checked_mul(n).expect("in range");
        let limit = money("5").checked_mul(all).expect("in range");
        assert!(at(some) <= limit && at(some + 1) > limit);
    }

    #[test]
    fn long_plans_are_scaled_and_say_about() {
        let load = "[load]\nconcurrency = 2\ncount = 12345\n[target]\nmodel = \"m\"\nendpoint = \"openai\"\n";
        let preview = preview(&plan(load), &terms());
        assert_eq!(preview.together.expected, Some(money("2469.2")));
        assert!(
            preview
                .to_string()
                .contains("expected about $2469.2, at most about $")
        );

        let load = "[load]\nconcurrency = 2\nduration = \"9s\"\n[target]\nmodel = \"m\"\nendpoint = \"openai\"\n";
        let preview = self::preview(&plan(load), &terms());
        assert_eq!((preview.requests, preview.allowed()), (None, None));
        assert_eq!(preview.together.expected, Some(money("0.2")), "of one");
        assert!(preview.to_string().contains("only time will tell"));
    }

    #[test]
    fn a_count_beyond_all_numbers_is_no_panic() {
        let load =
            "[load]\nconcurrency = 2\ncount = 9223372036854775807\n[target]\nmodel = \"m\"\n";
        let budget = Terms {
            budget: Some(money("5")),
            ..terms()
        };
        let preview = preview(&plan(load), &budget);
        assert!(preview.scaled);
        assert_eq!(preview.requests, Some(u64::MAX - 1));
        assert_eq!(preview.allowed(), None, "beyond an amount");
    }

    #[test]
    fn a_prefix_is_expected_from_the_cache_and_reasoning_is_output() {
        let load = "cached_prefix = { tokens = 1000 }\n[load]\nconcurrency = 2\ncount = 9\n[target]\nmodel = \"m\"\nendpoint = \"openai\"\n";
        let half = Terms {
            reasoning_share: 0.5,
            ..terms()
        };
        let preview = preview(&plan(load), &half);
        // The prefix has 1000 tokens and those of its message.
        assert_eq!(preview.together.expected, Some(money("3.004")));
        assert_eq!(preview.unpriced, []);
    }

    #[test]
    fn what_has_no_price_is_said_and_makes_no_amount() {
        let load = "cached_prefix = { tokens = 1000, ttl = \"1h\" }\n[load]\nconcurrency = 2\ncount = 9\n[target]\nmodels = [{ model = \"n\", weight = 1.0 }, { model = \"x\", weight = 1.0 }]\n";
        let preview = preview(&plan(load), &terms());
        assert_eq!(
            preview.together,
            Cost {
                expected: None,
                worst: None
            }
        );
        let said = preview.to_string();
        for expected in [
            "expected unknown, at most unknown",
            "no price: t.csv:3: cache_read: the price of tokens read from a cache of `n` is unknown; fill it in",
            "no price: t.csv:3: cache_write_1h: ",
            "no price: t.csv: no row for `x` holds on 2026-08-01; add one",
        ] {
            assert!(said.contains(expected), "{expected} in {said}");
        }
        assert!(!said.contains("cache_write_5m"), "{said}");
    }

    #[test]
    fn what_the_sizes_cannot_show_is_said() {
        let fixed = preview(&plan(LOAD), &terms());
        let all = fixed.warnings(usize::MAX);
        assert!(
            all.iter()
                .any(|line| line.contains("RETRY_DOUBLE cannot be told from MODEL_ALIAS")),
            "{all:?}"
        );
        assert_eq!(
            fixed.warnings(0),
            [format!("{} more: see `weighbridge check`", all.len())]
        );
        let unseen = fixed.blind_spots();
        assert!(
            unseen.contains(
                &"CACHE_DOUBLE, CACHE_DROPPED, CACHE_TIER_WRONG cannot be seen: no cached tokens are planned"
                    .to_owned()
            ),
            "{unseen:?}"
        );
    }

    #[test]
    fn numbers_are_grouped() {
        for (number, expected) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(grouped(number), expected);
        }
    }
}
