//! Sessions through the upstream: planned and encoded by the harness, answered by a simulation, and
//! read back by the harness's decoder and timeline, as a run does it.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use mock_upstream::config::MARKER_HEADER;
use mock_upstream::script::Ending as MockEnding;
use mock_upstream::simulation::{HangUp as Leaves, LedgerFormat, Request, Simulation};
use mock_upstream::{Config, JournalEntry};
use serde_json::{Value, json};
use weighbridge::billing::ledger::{Format, Index, Join, Layout, Scope};
use weighbridge::endpoint::Endpoint;
use weighbridge::late::{LedgerRow, LedgerSummary, Lookup};
use weighbridge::plan::{Plan, Planned};
use weighbridge::protocol::Surfaces;
use weighbridge::record::{Outcome, Record};
use weighbridge::scenario::Scenario;
use weighbridge::schedule::Part;
use weighbridge::slice::Slice;
use weighbridge::time::Offset;
use weighbridge::timeline::{Ending, Keep, Timeline};
use weighbridge::truth::Truth;
use weighbridge::workload::HangUp;

use crate::answer::{Asked, read, truths_of, utc};
use crate::world::{ALPHA, BETA, GAMMA};

/// 2026-07-05 10:00 UTC: no ordinary answer ends on another day.
const START_US: u64 = 1_783_245_600_000_000;

/// Between two sessions.
const STEP_US: u64 = 7_000;

/// Long after everything, but on the same day.
const END_US: u64 = START_US + 12 * 3_600 * 1_000_000;

/// What is asked of the upstream, and how.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a property of a load by itself"
)]
pub struct Load {
    /// Sessions, each of which is sent to both endpoints, in each of `modes`.
    pub sessions: u64,
    /// Whether answers are streams: some of `[false, true]`.
    pub modes: &'static [bool],
    /// Whether prompts begin with parts that others share, as caches serve them.
    pub prefixes: bool,
    /// Whether sessions ask for service tiers.
    pub tiers: bool,
    /// Every so many sessions the client hangs up half-way; 0 for never.
    pub hang_up_every: u64,
    /// Attempts of a request that is refused.
    pub attempts: u32,
    /// Whether a gateway in between asks again where it is refused, and says nothing of that.
    pub asks_again: bool,
    /// Whether each attempt's cost is looked up.
    pub looks_up: bool,
    /// Whether the ledger is read.
    pub ledger: Option<LedgerFormat>,
    /// Words that plant: each is on every fourth session, the second on the one after it, and the
    /// session after that has both.
    pub markers: Option<[&'static str; 2]>,
}

impl Load {
    /// So many sessions of all sizes, streamed and not.
    pub const fn of(sessions: u64) -> Self {
        Self {
            sessions,
            modes: &[false, true],
            prefixes: false,
            tiers: false,
            hang_up_every: 0,
            attempts: 1,
            asks_again: false,
            looks_up: false,
            ledger: None,
            markers: None,
        }
    }
}

/// An attempt, and all that was said of it.
pub struct Seen {
    pub record: Record,
    pub lookups: Vec<Lookup>,
    /// `None` where no ledger is read.
    pub ledger: Option<Vec<LedgerRow>>,
    pub truths: Vec<Truth>,
    /// The journal's entry of this attempt, for what a test may know and a report may not.
    pub entry: JournalEntry,
    /// Those of what a gateway in between asked before.
    pub before: Vec<JournalEntry>,
}

/// What came of a load.
pub struct Driven {
    pub attempts: Vec<Seen>,
    /// What reading the ledger came to; `None` where none is read.
    pub ledger: Option<LedgerSummary>,
}

/// The scenario of a load: sizes that vary, and share no factor.
pub fn scenario(more: &str) -> Scenario {
    scenario_of([37, 167], [5, 29], more)
}

/// The scenario of a load whose amounts have several digits left after four decimals.
pub fn large_scenario(more: &str) -> Scenario {
    scenario_of([1_109, 4_903], [307, 887], more)
}

fn scenario_of(input: [u64; 2], output: [u64; 2], more: &str) -> Scenario {
    let ([in_min, in_max], [out_min, out_max]) = (input, output);
    let text = format!(
        r#"
        name = "matrix"
        [target]
        base_url = "http://127.0.0.1:9"
        models = [
            {{ model = "{ALPHA}", weight = 2.0 }},
            {{ model = "{BETA}", weight = 1.0 }},
            {{ model = "{GAMMA}", weight = 1.0 }},
        ]
        [workload]
        input_tokens = {{ uniform = {{ min = {in_min}, max = {in_max} }} }}
        output_tokens = {{ uniform = {{ min = {out_min}, max = {out_max} }} }}
        [load]
        arrivals = "closed"
        concurrency = 1
        count = 1
        seed = 7
        {more}
        "#
    );
    Scenario::parse("matrix.toml", &text, &[]).unwrap_or_else(|error| panic!("{error}"))
}

fn plan(scenario: &Scenario, streaming: bool) -> Plan {
    let mut workload = scenario.workload.spec(None);
    workload.stream_share = if streaming { 1.0 } else { 0.0 };
    Plan {
        run_id: format!("matrix-{streaming}"),
        seed: scenario.seed,
        endpoints: scenario.target.endpoints.clone(),
        schedule: scenario.load.spec(None),
        workload,
        dialect: scenario.target.dialect.clone(),
        slice: Slice::WHOLE,
        begins: Offset::ZERO,
    }
}

/// Sends a load to the upstream that `config` says.
pub fn drive(config: &Config, scenario: &Scenario, load: &Load) -> Driven {
    let mut upstream = Simulation::new(config.clone()).unwrap_or_else(|error| panic!("{error}"));
    let surfaces = Surfaces::new(&scenario.pricing.surfaces);
    let mut attempts = Vec::new();
    let mut now_us = START_US;
    for streaming in load.modes {
        let plan = plan(scenario, *streaming);
        for session in 0..load.sessions {
            for endpoint in plan.endpoints.iter().copied() {
                let mut turn = plan.turn(Part::Measured, session, endpoint);
                change(&mut turn, session, load);
                for attempt in 0..load.attempts {
                    now_us += STEP_US;
                    let (mut record, mut entry) =
                        exchange(&mut upstream, &turn, attempt, now_us, &surfaces);
                    let mut before = Vec::new();
                    if load.asks_again && is_refused(&record) {
                        before.push(entry);
                        now_us += STEP_US;
                        (record, entry) =
                            exchange(&mut upstream, &turn, attempt, now_us, &surfaces);
                    }
                    let is_last = !is_refused(&record) || attempt + 1 == load.attempts;
                    record.last = is_last;
                    attempts.push(Seen {
                        record,
                        lookups: Vec::new(),
                        ledger: load.ledger.map(|_| Vec::new()),
                        truths: Vec::new(),
                        entry,
                        before,
                    });
                    if is_last {
                        break;
                    }
                }
            }
        }
    }
    assert!(now_us < END_US, "the load ends on its day");
    note_truths(&mut attempts);
    if load.looks_up {
        for seen in &mut attempts {
            seen.lookups = look_up(&upstream, seen);
        }
    }
    let ledger = load.ledger.map(|format| {
        let text = upstream.ledger(format, END_US + 86_400_000_000);
        join(&text, scenario, &mut attempts)
    });
    Driven { attempts, ledger }
}

fn is_refused(record: &Record) -> bool {
    matches!(record.outcome, Outcome::HttpError | Outcome::RateLimited)
}

/// Makes of a planned turn what the load needs: a prefix, a tier, markers, a hang-up.
fn change(turn: &mut Planned, session: u64, load: &Load) {
    let mut body: Value = serde_json::from_slice(&turn.request.body).expect("our own JSON");
    if load.prefixes {
        add_prefix(&mut body, turn.record.endpoint, session);
    }
    if load.tiers && turn.record.requested_model == ALPHA {
        let tier = [None, Some("flex"), Some("priority")][index(session, 3)];
        if let Some(tier) = tier {
            body["service_tier"] = json!(tier);
            turn.record.requested_tier = Some(tier.to_owned());
        }
    }
    if let Some([first, second]) = load.markers {
        let words = [
            String::new(),
            first.to_owned(),
            second.to_owned(),
            format!("{first} {second}"),
        ];
        let words = words[index(session, 4)].parse().expect("a header's value");
        turn.request.headers.insert(MARKER_HEADER, words);
    }
    turn.request.body = Bytes::from(serde_json::to_vec(&body).expect("JSON"));
    turn.record.body_bytes = Some(turn.request.body.len() as u64);
    if load.hang_up_every > 0 && session.is_multiple_of(load.hang_up_every) && turn.record.streaming
    {
        turn.hang_up = Some(HangUp::AfterEvents(2 + session % 5));
    }
}

/// Puts a text in front that caches keep: of some sessions the same one as of others, of others one of
/// their own, and of some none.
fn add_prefix(body: &mut Value, endpoint: Endpoint, session: u64) {
    let (name, words) = match session % 4 {
        0 => return,
        1 => (format!("own {session}"), 40 + session % 37),
        shared => (
            format!("shared {shared} {}", session % 3),
            50 + 23 * (session % 3) + shared,
        ),
    };
    let text = format!(
        "{name} {}",
        "word ".repeat(usize::try_from(words).expect("few"))
    );
    let messages = body["messages"].as_array_mut().expect("messages");
    match endpoint {
        Endpoint::OpenAi => messages.insert(0, json!({"role": "system", "content": text})),
        Endpoint::Anthropic => {
            let ttl = if session.is_multiple_of(2) {
                "5m"
            } else {
                "1h"
            };
            body["system"] = json!([{
                "type": "text", "text": text, "cache_control": {"type": "ephemeral", "ttl": ttl},
            }]);
        }
    }
}

/// One attempt, from its bytes to its row.
pub fn exchange(
    upstream: &mut Simulation,
    turn: &Planned,
    attempt: u32,
    now_us: u64,
    surfaces: &Surfaces,
) -> (Record, JournalEntry) {
    let mut identity = turn.record.clone();
    identity.attempt = attempt;
    let streaming = identity.streaming;
    let endpoint = identity.endpoint;
    let request = Request {
        method: &Method::POST,
        path: turn.request.path,
        headers: &turn.request.headers,
        body: &turn.request.body,
    };
    let leaves = turn.hang_up.map(|hang_up| match hang_up {
        HangUp::AfterEvents(events) => Leaves::AfterTokenEvents(events),
        HangUp::After(_) => unreachable!("no load here hangs up by the clock"),
    });
    let answer = upstream.ask(&request, now_us, leaves);
    let entry = answer.entry.clone().expect("a completion");
    let hung_up = leaves.is_some() && !entry.completed && answer.ending == MockEnding::Clean;

    let mut timeline = Timeline::new(identity, turn.offered.clone(), Keep::default());
    let sent = Offset::from_duration(Duration::from_micros(now_us - START_US));
    timeline.sent(sent, utc(now_us), 1);
    let last = answer.frames.last().map_or(Duration::ZERO, |(at, _)| *at);
    let asked = Asked {
        endpoint,
        streaming,
        usage: true,
        surfaces,
    };
    let (ending, error_body) = read(&answer, &mut timeline, sent, &asked);
    let ending = if hung_up {
        Ending::Broken(
            Outcome::Cancelled,
            "the workload hung up, as planned".to_owned(),
        )
    } else {
        ending
    };
    let finished = timeline.finish(sent + last, ending, error_body);
    (finished.record, entry)
}

/// Puts the journal beside the attempts.
fn note_truths(attempts: &mut [Seen]) {
    let truths = {
        let attempts = attempts.iter();
        let nonces = attempts.clone().map(|seen| seen.record.trace_id.as_str());
        truths_of(
            nonces,
            attempts.flat_map(|seen| seen.before.iter().chain([&seen.entry])),
        )
    };
    for seen in attempts {
        seen.truths = truths
            .get(&seen.record.trace_id)
            .cloned()
            .unwrap_or_default();
    }
}

/// Asks for a cost every second until it is known, or a minute and a half is over.
fn look_up(upstream: &Simulation, seen: &Seen) -> Vec<Lookup> {
    let record = &seen.record;
    let id = record
        .response_id
        .as_deref()
        .or(record.request_id.as_deref());
    let Some(id) = id else {
        return Vec::new();
    };
    let ended = record.ended.map_or(0, Offset::nanos) / 1_000 + START_US;
    let mut lookup = Lookup {
        trace_id: record.trace_id.clone(),
        attempt: record.attempt,
        surface: "lookup:{base_url}/api/v1/generation?id={response_id}#/data/total_cost".to_owned(),
        digits: None,
        unknown_ns: None,
        known_ns: None,
        tries: 0,
        error: None,
    };
    for second in 0..90 {
        lookup.tries += 1;
        let waited_ns = second * 1_000_000_000;
        let found = upstream.look_up(id, ended + second * 1_000_000);
        let pointer: weighbridge::surface::Pointer = "/data/total_cost".parse().expect("valid");
        let digits = found.as_deref().and_then(|json| pointer.digits(json));
        if let Some(digits) = digits {
            lookup.digits = Some(digits.to_owned());
            lookup.known_ns = Some(waited_ns);
            break;
        }
        lookup.unknown_ns = Some(waited_ns);
    }
    vec![lookup]
}

/// Joins the ledger's rows to the attempts, as a run does.
fn join(text: &str, scenario: &Scenario, attempts: &mut [Seen]) -> LedgerSummary {
    let mut index = Index::new(scenario.target.models.iter().cloned());
    for seen in attempts.iter() {
        index.add(&seen.record, scenario.pricing.policy);
    }
    let index = index.finish();
    let mut join = Join::new(&index, Scope::new(utc(START_US), utc(END_US)));
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let headers = reader.headers().expect("columns").clone();
    let layout = Layout::find(Format::Auto, None, &headers).expect("a known format");
    let mut rows = Vec::new();
    for (row, line) in reader.records().zip(2..) {
        let entry = layout.entry(line, &row.expect("a row"));
        rows.extend(join.take(entry).expect("small amounts"));
    }
    let (late, summary) = join.finish();
    rows.extend(late);
    let mut places = HashMap::new();
    for (place, seen) in attempts.iter().enumerate() {
        places.insert((seen.record.trace_id.clone(), seen.record.attempt), place);
    }
    for row in rows {
        let of = row.trace_id.clone().zip(row.attempt);
        if let Some(place) = of.and_then(|of| places.get(&of)) {
            attempts[*place].ledger.get_or_insert_default().push(row);
        }
    }
    summary
}

/// A number modulo `of`, as a position.
fn index(number: u64, of: u64) -> usize {
    usize::try_from(number % of).expect("a small number")
}
