//! Sessions: written by the harness's encoder, answered by the upstream, with or without the gateway in
//! between, and read back by the harness's decoder and timeline, as a run does it.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Method};
use mock_upstream::Config;
use mock_upstream::config::{
    Dialect, Distribution, Fault, FaultKind, MARKER_HEADER, Silence, When,
};
use mock_upstream::simulation::{Answer, Request, Simulation};
use serde_json::json;
use weighbridge::endpoint::Endpoint;
use weighbridge::prompt::{
    CacheTtl, Message, Prefix, Prompt, Tool, ToolChoice, ToolResult, Toolbox,
};
use weighbridge::protocol::{self, Surfaces};
use weighbridge::record::{CallRecord, Class, Phase, Record};
use weighbridge::seed;
use weighbridge::time::Offset;
use weighbridge::timeline::{Finished, Keep, Timeline};
use weighbridge::truth::Truth;

use crate::answer::{Asked, read, truths_of, utc};
use crate::faults::Plant;
use crate::gateway::{Gateway, Wire};

/// 2026-07-05 10:00 UTC.
const START_US: u64 = 1_783_245_600_000_000;

/// Between two sessions.
const STEP_US: u64 = 7_000;

/// The word that fires what is planted in the upstream.
const MARKER: &str = "planted";

/// What is talked about, which decides what an answer consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Talk {
    /// Text.
    Chat,
    /// Reasoning, then text.
    Reasoning,
    /// A prompt of which most is read from a cache.
    Cached,
    /// Text with a long silence in it, in which keep-alives come.
    Silent,
    /// Text before two calls.
    Calls,
    /// Two calls whose arguments come interleaved, where the protocol has that.
    Interleaved,
    /// A call of a tool without arguments.
    Bare,
    /// Two calls, and text before and after them.
    TextAfter,
    /// One call, since parallel ones are forbidden.
    Single,
    /// A call that must be.
    Required,
    /// Tools are offered, and the answer is text.
    Unused,
    /// More calls than the limit has room for.
    CutOff,
}

impl Talk {
    const fn has_tools(self) -> bool {
        matches!(
            self,
            Self::Calls
                | Self::Interleaved
                | Self::Bare
                | Self::TextAfter
                | Self::Single
                | Self::Required
                | Self::Unused
                | Self::CutOff
        )
    }
}

/// An upstream with this to say, in the dialect that `wire` is one of.
pub fn upstream(talk: Talk, wire: Wire) -> Config {
    let mut config = Config {
        seed: 11,
        ..Config::default()
    };
    let behaviour = &mut config.behaviour;
    behaviour.dialect = match wire {
        Wire::Mistral => Dialect::Mistral,
        Wire::OpenAi | Wire::Anthropic => Dialect::OpenAi,
    };
    behaviour.timing.gap_ms = Distribution::Fixed(12.0);
    match talk {
        Talk::Reasoning => behaviour.output.reasoning_share = 0.5,
        Talk::Cached => {
            behaviour.cache.enabled = true;
            behaviour.cache.min_tokens = 16;
            behaviour.cache.block_tokens = 16;
        }
        Talk::Silent => {
            behaviour.delivery.ping_after_ms = Some(200.0);
            behaviour.delivery.silence = Some(Silence {
                ms: 2_000.0,
                before_event: 3,
                share: 1.0,
            });
        }
        Talk::Calls | Talk::CutOff => behaviour.tools.text_tokens = 3,
        Talk::Interleaved => behaviour.tools.interleave = true,
        Talk::TextAfter => {
            behaviour.tools.text_tokens = 2;
            behaviour.tools.text_tokens_after = 4;
        }
        Talk::Unused => behaviour.tools.calls = 0,
        Talk::Bare => behaviour.tools.calls = 1,
        Talk::Chat | Talk::Single | Talk::Required => {}
    }
    config
}

/// The same, with a fault in every answer whose request has the marker.
pub fn failing(mut config: Config, kind: FaultKind) -> Config {
    config.behaviour.faults = vec![Fault {
        when: When {
            marker: Some(MARKER.to_owned()),
            ..When::default()
        },
        ..Fault::new(kind)
    }];
    config
}

fn tool(name: &str, schema: serde_json::Value) -> Tool {
    Tool {
        name: name.to_owned(),
        description: format!("The tool {name}."),
        schema,
    }
}

/// What each talk offers.
fn tools(talk: Talk) -> Toolbox {
    let text = || json!({"type": "string"});
    let place = json!({
        "type": "object", "properties": {"city": text(), "unit": text()}, "required": ["city", "unit"],
    });
    let now = json!({"type": "object", "properties": {}});
    let tools = match talk {
        Talk::Bare => vec![tool("get_time", now)],
        _ if talk.has_tools() => vec![
            tool("get_weather", place.clone()),
            tool("get_traffic", place),
        ],
        _ => Vec::new(),
    };
    Toolbox::new(tools).expect("sound schemas")
}

/// A client, and what it talks to.
pub struct World {
    pub talk: Talk,
    /// `None` talks to the upstream itself.
    gateway: Option<Gateway>,
    upstream: Simulation,
    tools: Arc<Toolbox>,
    prefix: Option<Prefix>,
    surfaces: Surfaces,
    run: String,
    now_us: u64,
    /// What the gateway does to sessions that have a fault.
    pub plant: Option<Plant>,
    /// Whether answers are asked for as streams.
    pub stream: bool,
    /// Whether chat completions are asked for their usage.
    pub include_usage: bool,
}

/// An attempt, and all that is known of it.
pub struct Seen {
    pub finished: Finished,
    pub truths: Vec<Truth>,
    pub planted: bool,
}

impl Seen {
    pub const fn record(&self) -> &Record {
        &self.finished.record
    }

    pub fn calls(&self) -> &[CallRecord] {
        &self.finished.calls
    }
}

impl World {
    /// One in which `config` answers. `run` names it: nonces are made of it.
    pub fn new(talk: Talk, config: Config, gateway: Option<Gateway>, run: &str) -> Self {
        let prefix = (talk == Talk::Cached).then(|| Prefix {
            text: "A long text that every prompt begins with. "
                .repeat(20)
                .into(),
            ttl: CacheTtl::FiveMinutes,
        });
        Self {
            talk,
            gateway,
            upstream: Simulation::new(config).unwrap_or_else(|error| panic!("{error}")),
            tools: Arc::new(tools(talk)),
            prefix,
            surfaces: Surfaces::new(&[]),
            run: run.to_owned(),
            now_us: START_US,
            plant: None,
            stream: true,
            include_usage: true,
        }
    }

    /// The first turn of a session.
    pub fn session(&mut self, session: u64, client: Endpoint, planted: bool) -> Seen {
        let nonce = seed::trace_id(&self.run, client.name(), session, 0);
        let messages = vec![Message::User(format!("{nonce} And what else?"))];
        self.turn([session, 0], nonce, messages, client, planted)
    }

    /// The turn after `first`, in which each call has its result.
    pub fn second_turn(&mut self, first: &Seen, client: Endpoint) -> Seen {
        let record = first.record();
        let session = record.session;
        let nonce = seed::trace_id(&self.run, client.name(), session, 1);
        let answer = first.finished.answer.clone().expect("it was kept");
        let mut results: Vec<ToolResult> = answer
            .calls
            .iter()
            .map(|call| ToolResult {
                call_id: call.id.clone(),
                name: call.name.clone(),
                content: "Sunny.".to_owned(),
                is_error: false,
            })
            .collect();
        let last = results.last_mut().expect("calls");
        last.content = format!("Sunny.\n[request {nonce}]");
        let messages = vec![
            Message::User(format!("{} And what else?", record.trace_id)),
            Message::Assistant {
                text: answer.text,
                calls: answer.calls,
            },
            Message::ToolResults(results),
        ];
        self.turn([session, 1], nonce, messages, client, first.planted)
    }

    fn turn(
        &mut self,
        [session, turn]: [u64; 2],
        nonce: String,
        messages: Vec<Message>,
        client: Endpoint,
        planted: bool,
    ) -> Seen {
        self.now_us += STEP_US;
        let tools = Arc::clone(&self.tools);
        let limit = match self.talk {
            Talk::CutOff => 12 + session % 9,
            talk if talk.has_tools() => 200,
            _ => 8 + session % 5,
        };
        let prompt = Prompt {
            model: "magistral-small-latest".to_owned(),
            prefix: self.prefix.clone(),
            cache_conversation: None,
            system: None,
            messages,
            tools: Arc::clone(&tools),
            tool_choice: if self.talk == Talk::Required {
                ToolChoice::Required
            } else {
                ToolChoice::Auto
            },
            parallel_tool_calls: match self.talk {
                Talk::Single => Some(false),
                _ => None,
            },
            max_output_tokens: Some(limit),
            temperature: None,
            stream: self.stream,
        };
        let dialect = protocol::Dialect {
            include_usage: self.include_usage,
            ..protocol::Dialect::default()
        };
        let request = protocol::encode(client, &prompt, &dialect);
        let class = if tools.is_empty() {
            Class::Chat
        } else {
            Class::Tools
        };
        let mut record = Record::new(nonce, Phase::Measured, client, class);
        record.session = session;
        record.turn = u32::try_from(turn).expect("few turns");
        record.streaming = prompt.stream;
        record.requested_model.clone_from(&prompt.model);
        record.output_limit = prompt.max_output_tokens;
        if !tools.is_empty() {
            record.tool_choice = Some(prompt.tool_choice.kind().to_owned());
            record.parallel_tool_calls = prompt.parallel_tool_calls;
        }
        let marker = planted.then_some(MARKER);
        let (answer, entry) = match &mut self.gateway {
            Some(gateway) => {
                let upstream = &mut self.upstream;
                let plant = self.plant.filter(|_| planted);
                let relayed = gateway.relay(upstream, client, &request, self.now_us, plant, marker);
                (relayed.answer, relayed.entry)
            }
            None => {
                let mut headers = request.headers.clone();
                if let Some(marker) = marker {
                    headers.insert(MARKER_HEADER, HeaderValue::from_static(marker));
                }
                let request = Request {
                    method: &Method::POST,
                    path: request.path,
                    headers: &headers,
                    body: &request.body,
                };
                let answer = self.upstream.ask(&request, self.now_us, None);
                let entry = answer.entry.clone().expect("a completion");
                (answer, entry)
            }
        };
        let finished = self.read(record, &answer, tools);
        let nonce = finished.record.trace_id.clone();
        let truths = truths_of(std::iter::once(nonce.as_str()), std::iter::once(&entry));
        Seen {
            finished,
            truths: truths.into_values().next().unwrap_or_default(),
            planted,
        }
    }

    fn read(&self, record: Record, answer: &Answer, tools: Arc<Toolbox>) -> Finished {
        let asked = Asked {
            endpoint: record.endpoint,
            streaming: record.streaming,
            usage: self.include_usage,
            surfaces: &self.surfaces,
        };
        let keep = Keep {
            trace: false,
            answer: true,
        };
        let mut timeline = Timeline::new(record, tools, keep);
        let sent = Offset::from_duration(Duration::from_micros(self.now_us - START_US));
        timeline.sent(sent, utc(self.now_us), 1);
        let (ending, error) = read(answer, &mut timeline, sent, &asked);
        let last = answer.frames.last().map_or(Duration::ZERO, |(at, _)| *at);
        timeline.finish(sent + last, ending, error)
    }
}
