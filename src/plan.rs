//! The plan of a run: schedule x workload x seed x slice.
//!
//! It says which turns there are, in what order a session goes to the endpoints, and what each
//! turn sends; it sends nothing and reads no clock.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::civil::Date;
use rand::RngExt as _;

use crate::billing::predict::TokenKind;
use crate::billing::prices::{PriceRow, PriceTable};
use crate::endpoint::Endpoint;
use crate::money::Money;
use crate::prompt::{CacheTtl, Prompt, Toolbox};
use crate::protocol::{self, Encoded};
use crate::record::{Class, Phase, Record};
use crate::schedule::{self, Part, Users};
use crate::seed;
use crate::slice::Slice;
use crate::time::Offset;
use crate::timeline::Answer;
use crate::workload::{self, HangUp};

/// Output limit of the preflight request, in tokens: it asks whether the target answers, not what.
const PREFLIGHT_OUTPUT_MAX: u64 = 16;

/// Everything that is known of a run before it starts.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Unique to the run: nonces are made from it.
    pub run_id: String,
    /// Seed of every draw.
    pub seed: u64,
    /// Where every session goes.
    pub endpoints: Vec<Endpoint>,
    /// When to send.
    pub schedule: schedule::Spec,
    /// What to send.
    pub workload: workload::Spec,
    /// Choices of the wire.
    pub dialect: protocol::Dialect,
    /// The sessions of this worker.
    pub slice: Slice,
    /// When the schedule begins, on the run's clock: after the preflight.
    pub begins: Offset,
}

/// A turn that is ready to be sent.
#[derive(Clone, Debug)]
pub struct Planned {
    /// Its identity.
    pub record: Record,
    /// Its bytes.
    pub request: Encoded,
    /// The tools that it offers.
    pub offered: Arc<Toolbox>,
    /// When it is hung up on, if it is.
    pub hang_up: Option<HangUp>,
    /// What comes after it in its session.
    pub follows: Follows,
}

/// What comes after a turn in its session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Follows {
    /// Nothing: sessions of its kind have one turn.
    #[default]
    Never,
    /// Another turn, if its answer calls tools.
    IfCalled,
    /// Nothing any more, whatever its answer calls: it is the last turn that a session may have.
    NoMore,
}

/// A session that may go on after its first turn: what its next turn is made of.
#[derive(Clone, Debug)]
pub struct Conversation {
    part: Part,
    endpoint: Endpoint,
    session: u64,
    class: Class,
    turns_max: u32,
    /// The turn that `prompt` is of.
    turn: u32,
    prompt: Prompt,
}

impl Plan {
    /// When `part` begins, on the run's clock.
    pub fn begins(&self, part: Part) -> Offset {
        self.begins + self.schedule.begins(part).since_start()
    }

    /// When `part` ends by duration, on the run's clock.
    pub fn ends(&self, part: Part) -> Option<Offset> {
        self.schedule
            .ends(part)
            .map(|end| self.begins + end.since_start())
    }

    /// The measured window as far as it is known before the run: an open loop's to the last due
    /// time, a closed loop's to the end of its duration, if it has one.
    pub fn window(&self) -> (Offset, Option<Offset>) {
        let end = if self.schedule.arrivals.is_open() {
            let last = self
                .schedule
                .due_times(Part::Measured, self.seed, Slice::WHOLE)
                .last();
            last.map(|(_, due)| self.begins + due.since_start())
        } else {
            self.ends(Part::Measured)
        };
        (self.begins(Part::Measured), end)
    }

    /// When user `number` of a closed loop may start a session, from `from` on; `None` if never
    /// again. Both are on the run's clock.
    pub fn at_work(&self, users: &Users, number: u64, from: Offset) -> Option<Offset> {
        let from = Offset::from_nanos(from.nanos_since(self.begins));
        let at = users.at_work(number, from, self.schedule.begins(Part::Measured))?;
        Some(self.begins + at.since_start())
    }

    /// The arrivals of an open loop's `part` in this slice, on the run's clock.
    pub fn arrivals(&self, part: Part) -> impl Iterator<Item = (u64, Offset)> + use<> {
        let begins = self.begins;
        self.schedule
            .due_times(part, self.seed, self.slice)
            .map(move |(session, due)| (session, begins + due.since_start()))
    }

    /// The endpoints in the order in which `session` goes to them; drawn, so that neither is
    /// always the first.
    pub fn order(&self, part: Part, session: u64) -> impl Iterator<Item = Endpoint> + use<> {
        let mut order = self.endpoints.clone();
        let stream = format!("{}.order", part.stream());
        if order.len() == 2 && seed::rng(self.seed, &stream, session).random::<bool>() {
            order.reverse();
        }
        order.into_iter()
    }

    /// The first turn of `session` at `endpoint`.
    pub fn turn(&self, part: Part, session: u64, endpoint: Endpoint) -> Planned {
        self.first(phase_of(part), part.stream(), session, endpoint)
            .0
    }

    /// The same, and what the next turn is made of, where the session may have one.
    pub fn session(
        &self,
        part: Part,
        session: u64,
        endpoint: Endpoint,
    ) -> (Planned, Option<Box<Conversation>>) {
        let (planned, turn) = self.first(phase_of(part), part.stream(), session, endpoint);
        let conversation = (planned.follows == Follows::IfCalled).then(|| {
            Box::new(Conversation {
                part,
                endpoint,
                session,
                class: turn.class,
                turns_max: turn.turns_max,
                turn: 0,
                prompt: turn.prompt,
            })
        });
        (planned, conversation)
    }

    /// The next turn of a session whose last one was answered so, and how long its tools take.
    pub fn next_turn(
        &self,
        conversation: &mut Conversation,
        answer: &Answer,
    ) -> (Planned, Duration) {
        let Conversation {
            part,
            endpoint,
            session,
            ..
        } = *conversation;
        conversation.turn += 1;
        let number = conversation.turn;
        let stream = part.stream();
        let trace_id = self.trace_id(stream, session, endpoint, number);
        let answered = workload::Answered {
            text: &answer.text,
            calls: &answer.calls,
        };
        let prompt = &mut conversation.prompt;
        let place = (self.seed, stream, session, number);
        let next = self.workload.next(place, &trace_id, prompt, answered);
        let mut record = Record::new(trace_id, phase_of(part), endpoint, conversation.class);
        record.session = session;
        record.turn = number;
        record.planned_input = next.planned_input;
        let mut planned = self.planned(record, &conversation.prompt);
        planned.hang_up = next.hang_up;
        planned.follows = follows(number, conversation.turns_max);
        (planned, next.wait)
    }

    /// The one request to `endpoint` before the load.
    pub fn preflight(&self, endpoint: Endpoint) -> Planned {
        let planned = self.first(Phase::Preflight, "preflight", 0, endpoint).0;
        Planned {
            hang_up: None,
            follows: Follows::Never,
            ..planned
        }
    }

    fn first(
        &self,
        phase: Phase,
        stream: &str,
        session: u64,
        endpoint: Endpoint,
    ) -> (Planned, workload::Turn) {
        let trace_id = self.trace_id(stream, session, endpoint, 0);
        let mut turn = self.workload.turn(self.seed, stream, session, &trace_id);
        if phase == Phase::Preflight {
            let limit = turn.prompt.max_output_tokens.unwrap_or(u64::MAX);
            turn.prompt.max_output_tokens = Some(limit.min(PREFLIGHT_OUTPUT_MAX));
        }
        let mut record = Record::new(trace_id, phase, endpoint, turn.class);
        record.session = session;
        record.planned_input = turn.planned_input;
        let mut planned = self.planned(record, &turn.prompt);
        planned.hang_up = turn.hang_up;
        planned.follows = follows(0, turn.turns_max);
        (planned, turn)
    }

    fn trace_id(&self, stream: &str, session: u64, endpoint: Endpoint, turn: u32) -> String {
        let arm = format!("{stream}.{endpoint}");
        seed::trace_id(&self.run_id, &arm, session, turn)
    }

    /// A turn with what `prompt` says.
    fn planned(&self, mut record: Record, prompt: &Prompt) -> Planned {
        record.streaming = prompt.stream;
        record.requested_model.clone_from(&prompt.model);
        record.output_limit = prompt.max_output_tokens;
        record.requested_tier.clone_from(&self.dialect.service_tier);
        if !prompt.tools.is_empty() {
            record.tool_choice = Some(prompt.tool_choice.kind().to_owned());
            record.parallel_tool_calls = prompt.parallel_tool_calls;
        }
        let request = protocol::encode(record.endpoint, prompt, &self.dialect);
        record.body_bytes = Some(request.body.len() as u64);
        Planned {
            record,
            request,
            offered: prompt.tools.clone(),
            hang_up: None,
            follows: Follows::Never,
        }
    }

    /// What the turns will be billed for and `prices` has no price of on `date`, UTC.
    pub fn unpriced(&self, prices: &PriceTable, date: Date) -> Vec<Unpriced> {
        let tier = self.dialect.service_tier.as_deref();
        let mut unpriced = Vec::new();
        for (model, _) in &self.workload.models {
            let unknown = |why| Unpriced {
                model: model.clone(),
                tier: tier.map(str::to_owned),
                table: prices.name().to_owned(),
                why,
            };
            let Some(tariff) = prices.tariff(model, tier, date) else {
                unpriced.push(unknown(Missing::Row(date)));
                continue;
            };
            let prefix = self.workload.prefix.as_ref().map(|prefix| prefix.ttl);
            let conversation = self.workload.cache_conversation;
            let is_cached = prefix.or(conversation).is_some();
            // Only this endpoint says what it wrote, and bills it.
            let is_written = self.endpoints.contains(&Endpoint::Anthropic);
            let kept = |ttl| is_written && [prefix, conversation].contains(&Some(ttl));
            let needed = [
                (true, TokenKind::Input),
                (true, TokenKind::Output),
                (is_cached, TokenKind::CacheRead),
                (kept(CacheTtl::FiveMinutes), TokenKind::CacheWrite5m),
                (kept(CacheTtl::Hour), TokenKind::CacheWrite1h),
            ];
            for row in tariff.rows() {
                for (needed, kind) in needed {
                    if needed && price_of(row, kind).is_none() {
                        unpriced.push(unknown(Missing::Price(row.line, kind)));
                    }
                }
            }
        }
        unpriced
    }

    /// What the run will do, for people and for checks before it starts.
    pub fn forecast(&self) -> Forecast {
        let sessions = |part| self.schedule.sessions(part, self.seed);
        let in_flight = match &self.schedule.arrivals {
            schedule::Arrivals::Closed(users) => users.concurrency,
            schedule::Arrivals::Open { .. } | schedule::Arrivals::Replay(_) => {
                self.schedule.max_in_flight
            }
        };
        Forecast {
            warmup_sessions: sessions(Part::Warmup),
            measured_sessions: sessions(Part::Measured),
            duration: self.schedule.length().map(|d| d + self.schedule.warmup),
            in_flight_max: u64::from(in_flight) * self.endpoints.len() as u64,
            input_tokens_mean: self.workload.input_mean(),
            output_tokens_mean: self.workload.output_mean(),
            input_tokens_max: self.workload.input_max(),
            output_tokens_max: self.workload.output_max(),
            turns_max: self.workload.turns_max(),
        }
    }
}

const fn phase_of(part: Part) -> Phase {
    match part {
        Part::Warmup => Phase::Warmup,
        Part::Measured => Phase::Measured,
    }
}

fn follows(turn: u32, turns_max: u32) -> Follows {
    match turns_max {
        0 | 1 => Follows::Never,
        _ if turn + 1 < turns_max => Follows::IfCalled,
        _ => Follows::NoMore,
    }
}

fn price_of(row: &PriceRow, kind: TokenKind) -> Option<Money> {
    let rates = &row.rates;
    match kind {
        TokenKind::Input => rates.input,
        TokenKind::CacheRead => rates.cache_read,
        TokenKind::CacheWrite5m => rates.cache_write_5m,
        TokenKind::CacheWrite1h => rates.cache_write_1h,
        TokenKind::Output => rates.output,
    }
}

/// What has no price, though requests will be billed for it. Its `Display` says where, and the fix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unpriced {
    /// The model that is asked for.
    pub model: String,
    /// The service tier that is asked for.
    pub tier: Option<String>,
    /// The price table's name.
    pub table: String,
    /// What it lacks.
    pub why: Missing,
}

/// What a price table lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// A row that holds on this day, UTC.
    Row(Date),
    /// The price of this kind of tokens in the row on this line.
    Price(u64, TokenKind),
}

impl fmt::Display for Unpriced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            model, tier, table, ..
        } = self;
        let tier = tier
            .as_ref()
            .map(|tier| format!(" in the service tier `{tier}`"));
        let tier = tier.unwrap_or_default();
        match self.why {
            Missing::Row(date) => write!(
                f,
                "{table}: no row for `{model}`{tier} holds on {date}; add one"
            ),
            Missing::Price(line, kind) => write!(
                f,
                "{table}:{line}: {}: the price of {} of `{model}`{tier} is unknown; fill it in, `0` if they are free",
                kind.column(),
                kind.name()
            ),
        }
    }
}

/// What a run will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forecast {
    /// Sessions of the warm-up, per endpoint; `None` where only time will tell.
    pub warmup_sessions: Option<u64>,
    /// Measured sessions, per endpoint; `None` where only time will tell.
    pub measured_sessions: Option<u64>,
    /// Of the arrivals; `None` where only the count ends them.
    pub duration: Option<Duration>,
    /// Requests in flight over all endpoints, at most.
    pub in_flight_max: u64,
    /// Of the first request of a session on average, by estimate.
    pub input_tokens_mean: u64,
    /// The output limit of a request on average.
    pub output_tokens_mean: u64,
    /// Of the first request of a session, by estimate.
    pub input_tokens_max: u64,
    /// Of one request.
    pub output_tokens_max: u64,
    /// Turns of a session, at most.
    pub turns_max: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{Cache, Size, Source};

    fn plan() -> Plan {
        Plan {
            run_id: "run".to_owned(),
            seed: 1,
            endpoints: Endpoint::ALL.to_vec(),
            schedule: schedule::Spec {
                arrivals: schedule::Arrivals::Open {
                    process: schedule::Process::Constant,
                    profile: schedule::Profile::Flat { rate: 10.0 },
                },
                warmup: Duration::from_secs(1),
                count: Some(20),
                duration: None,
                max_in_flight: 7,
            },
            workload: workload::Spec {
                models: vec![("m".to_owned(), 1.0)],
                source: Source::Generated(Size::Fixed(60)),
                output_tokens: Size::Fixed(9),
                tools: workload::Tools::none(),
                stream_share: 1.0,
                cache: Cache::Unique,
                prefix: None,
                cache_conversation: None,
                temperature: None,
                hang_up: None,
            },
            dialect: protocol::Dialect::default(),
            slice: Slice::WHOLE,
            begins: Offset::from_nanos(500),
        }
    }

    #[test]
    fn both_endpoints_get_the_same_session_under_their_own_name() {
        let plan = plan();
        let [a, b] = Endpoint::ALL.map(|e| plan.turn(Part::Measured, 4, e).record);
        assert_ne!(a.trace_id, b.trace_id);
        assert_eq!(
            (a.session, a.planned_input, a.output_limit),
            (b.session, b.planned_input, b.output_limit)
        );
        assert_ne!(
            a.trace_id,
            plan.turn(Part::Warmup, 4, Endpoint::OpenAi).record.trace_id
        );
        assert_ne!(a.trace_id, plan.preflight(Endpoint::OpenAi).record.trace_id);
    }

    #[test]
    fn the_order_of_the_endpoints_is_drawn() {
        let first: Vec<_> = (0..100)
            .filter_map(|k| plan().order(Part::Measured, k).next())
            .collect();
        let openai = first.iter().filter(|e| **e == Endpoint::OpenAi).count();
        assert!((30..70).contains(&openai), "{openai}");
    }

    #[test]
    fn the_schedule_begins_where_the_preflight_ended() {
        let plan = plan();
        let second = 1_000_000_000;
        assert_eq!(
            plan.arrivals(Part::Measured).next(),
            Some((0, Offset::from_nanos(second + 500)))
        );
        let (start, end) = plan.window();
        assert_eq!(start, Offset::from_nanos(second + 500));
        assert_eq!(
            end,
            Some(Offset::from_nanos(2 * second + 900_000_000 + 500))
        );
    }

    #[test]
    fn the_forecast_counts_the_plan() {
        let forecast = plan().forecast();
        assert_eq!(
            (forecast.warmup_sessions, forecast.measured_sessions),
            (Some(10), Some(20))
        );
        assert_eq!(forecast.in_flight_max, 14);
        assert_eq!(
            (forecast.input_tokens_max, forecast.output_tokens_max),
            (60, 9)
        );
    }
}
