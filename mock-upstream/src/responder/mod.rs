//! From a request to a script: a plain function of the request, the configuration and the seed.
//!
//! In goes a [`Received`] request and the [`Config`]; out comes a [`Script`]. Reading the two APIs into one
//! `Ask`, and writing one `Reply` back in their shapes, is left to the modules `openai` and `anthropic`. Nothing here
//! waits, touches a socket or reads a clock, so benches may call it without wiremock.

use std::fmt::Write as _;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use rand::{Rng, RngExt};
use rust_decimal::Decimal;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::config::{Config, Dialect, FaultKind, Surface};
use crate::draw::{Draws, Pace};
use crate::journal::{Endpoint, Usage};
use crate::script::{Content, Ending, Frames, Script, Truth};
use crate::tokens;

mod anthropic;
mod arguments;
mod openai;
#[cfg(test)]
mod tests;

/// The header on whole bodies that records their cost, if the configuration asks for it.
pub const COST_HEADER: &str = "x-mock-response-cost";

/// A request as it was received.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// The request's method.
    pub method: &'a Method,
    /// The path, without the query, which is ignored.
    pub path: &'a str,
    /// The request's headers.
    pub headers: &'a HeaderMap,
    /// The whole body.
    pub body: &'a [u8],
    /// The request's place in the order of receipt, from 0.
    pub seq: u64,
    /// When it was received, in microseconds since 1970.
    pub unix_us: u64,
}

/// What a completion request asks for, in either API.
#[derive(Debug, Clone, PartialEq)]
struct Ask {
    model: String,
    stream: bool,
    include_usage: bool,
    limit: Option<u64>,
    tools: Vec<Tool>,
    choice: Choice,
    parallel: bool,
    input_tokens: u64,
}

#[derive(Debug, Clone, PartialEq)]
struct Tool {
    name: String,
    schema: Value,
}

#[derive(Debug, Clone, PartialEq)]
enum Choice {
    /// The model decides; this one always calls.
    Any,
    None,
    Named(String),
}

/// What is answered, in either API.
struct Reply {
    request_id: String,
    response_id: String,
    created: u64,
    /// The first characters of the nonce, which every token repeats.
    mark: String,
    reasoning_tokens: u64,
    text_tokens: u64,
    calls: Vec<Call>,
    usage: Usage,
    cost: Option<String>,
    /// The cost as far as it is written into the usage.
    usage_cost: Option<String>,
    finish: Finish,
    opening: Duration,
    steps: Vec<(Duration, Step)>,
}

struct Call {
    id: String,
    name: String,
    arguments: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Finish {
    Stop,
    Length,
    Tools,
}

/// One token event.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Reasoning(String),
    Text(String),
    /// Mistral's chunk with the last thinking and the first text.
    Transition(String, String),
    Announce(usize),
    Arguments(usize, String),
    /// Mistral's chunk with all calls.
    WholeCalls,
}

/// A request that is refused.
struct Refusal {
    status: StatusCode,
    message: String,
    code: Option<&'static str>,
}

impl Refusal {
    fn bad_request(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            message: message.into(),
            code: None,
        }
    }
}

const CHAT_COMPLETIONS: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";
const COUNT_TOKENS: &str = "/v1/messages/count_tokens";
const MODELS: &str = "/v1/models";

/// Decides the whole answer to a request.
pub fn respond(received: &Received<'_>, config: &Config) -> Script {
    let allowed = match received.path {
        CHAT_COMPLETIONS | MESSAGES | COUNT_TOKENS => Method::POST,
        MODELS => Method::GET,
        path => {
            let refusal = Refusal {
                status: StatusCode::NOT_FOUND,
                message: format!(
                    "unknown path {path}, expected {CHAT_COMPLETIONS}, {MESSAGES} or {MODELS}"
                ),
                code: Some("unknown_url"),
            };
            return refuse(received, config, &refusal, None);
        }
    };
    if *received.method != allowed {
        let refusal = Refusal {
            status: StatusCode::METHOD_NOT_ALLOWED,
            message: format!(
                "{} does not take {}, use {allowed}",
                received.path, received.method
            ),
            code: Some("method_not_allowed"),
        };
        let mut script = refuse(received, config, &refusal, None);
        let allow = HeaderValue::from_str(allowed.as_str()).expect("a method is a header value");
        script.headers.insert(header::ALLOW, allow);
        return script;
    }
    if let Err(refusal) = authorise(received.headers, config) {
        return refuse(received, config, &refusal, identify(received));
    }
    match received.path {
        MODELS => list_models(received, config),
        COUNT_TOKENS => count_tokens(received, config),
        _ => complete(received, config),
    }
}

/// What the journal can say of a completion request whatever the answer; `None` for other requests.
pub fn identify(received: &Received<'_>) -> Option<Truth> {
    let endpoint = endpoint_of(received)?;
    let body = serde_json::from_slice(received.body).unwrap_or(Value::Null);
    Some(truth_of(received, endpoint, &body))
}

/// An error in the shape of the API whose path was called, for what goes wrong outside of the responder.
pub(crate) fn refuse_as(
    received: &Received<'_>,
    config: &Config,
    status: StatusCode,
    message: &str,
) -> Script {
    let refusal = Refusal {
        status,
        message: message.to_owned(),
        code: None,
    };
    refuse(received, config, &refusal, identify(received))
}

fn endpoint_of(received: &Received<'_>) -> Option<Endpoint> {
    if received.method != Method::POST {
        return None;
    }
    match received.path {
        CHAT_COMPLETIONS => Some(Endpoint::OpenAi),
        MESSAGES => Some(Endpoint::Anthropic),
        _ => None,
    }
}

fn truth_of(received: &Received<'_>, endpoint: Endpoint, body: &Value) -> Truth {
    let trace_id = trace_id(received.headers);
    let nonce = match endpoint {
        Endpoint::OpenAi => openai::find_nonce(body),
        Endpoint::Anthropic => anthropic::find_nonce(body),
    };
    Truth {
        endpoint,
        path: received.path.to_owned(),
        nonce: nonce.or_else(|| trace_id.clone()).unwrap_or_default(),
        trace_id,
        model: body["model"].as_str().unwrap_or_default().to_owned(),
        stream: body["stream"].as_bool().unwrap_or(false),
        body_bytes: received.body.len() as u64,
        usage: Usage::default(),
        cost: None,
        header_cost: None,
        tool_calls: 0,
        text_sha256: None,
        reasoning_sha256: None,
        finish: None,
        fault: None,
    }
}

fn authorise(headers: &HeaderMap, config: &Config) -> Result<(), Refusal> {
    let Some(expected) = &config.api_key else {
        return Ok(());
    };
    let bearer = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    let key = headers
        .get("x-api-key")
        .and_then(|value| value.to_str().ok());
    if [bearer, key].contains(&Some(expected.as_str())) {
        return Ok(());
    }
    Err(Refusal {
        status: StatusCode::UNAUTHORIZED,
        message: "missing or wrong API key".to_owned(),
        code: Some("invalid_api_key"),
    })
}

fn complete(received: &Received<'_>, config: &Config) -> Script {
    let endpoint = endpoint_of(received).expect("a completion's path and method were matched");
    let body: Value = match serde_json::from_slice(received.body) {
        Ok(body) => body,
        Err(error) => {
            let refusal = Refusal::bad_request(format!("the body is not valid JSON: {error}"));
            return refuse(received, config, &refusal, identify(received));
        }
    };
    let mut truth = truth_of(received, endpoint, &body);
    let ask = match endpoint {
        Endpoint::OpenAi => openai::read(&body),
        Endpoint::Anthropic => anthropic::read(&body),
    };
    let ask = match ask.and_then(|ask| check_names(ask, config)) {
        Ok(ask) => ask,
        Err(refusal) => return refuse(received, config, &refusal, Some(truth)),
    };
    let nonce = truth.nonce.clone();
    let draws = Draws::new(config.seed, &nonce, received.seq);
    let fault = config
        .fault
        .as_ref()
        .filter(|fault| draws.happens("fault", fault.share));
    if let Some(fault) = fault
        && let Some(script) = replace_answer(received, config, &truth, fault, &draws)
    {
        return script;
    }
    let reply = compose(&ask, received, &truth, config, &draws);
    truth.usage = reply.usage;
    truth.cost.clone_from(&reply.cost);
    truth.tool_calls = u32::try_from(reply.calls.len()).unwrap_or(u32::MAX);
    truth.finish = Some(finish_name(endpoint, reply.finish).to_owned());

    let mut headers = standard_headers(&reply.request_id);
    if config.cost.surfaces.contains(&Surface::Header)
        && let Some(cost) = &reply.cost
    {
        let stated = if ask.stream { "0" } else { cost };
        let value = HeaderValue::from_str(stated).expect("a decimal is a header value");
        headers.insert(HeaderName::from_static(COST_HEADER), value);
        truth.header_cost = Some(stated.to_owned());
    }
    let frames = match (endpoint, ask.stream) {
        (Endpoint::OpenAi, true) => openai::stream(&ask, &reply, config),
        (Endpoint::Anthropic, true) => anthropic::stream(&ask, &reply),
        (Endpoint::OpenAi, false) => reply.whole(&openai::whole(&ask, &reply, config.dialect)),
        (Endpoint::Anthropic, false) => reply.whole(&anthropic::whole(&ask, &reply)),
    };
    let media_type = if ask.stream {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        "text/event-stream; charset=utf-8"
    } else {
        headers.insert(header::CONTENT_LENGTH, frames.bytes().len().into());
        "application/json"
    };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    let mut script = Script {
        status: StatusCode::OK,
        headers,
        frames,
        ending: Ending::Clean,
        truth: None,
    };
    if let Some(fault) = fault {
        let broken = if ask.stream {
            script.break_stream(fault.kind, &error_event(endpoint, config.dialect));
            true
        } else {
            script.break_whole(fault.kind)
        };
        truth.fault = broken.then_some(fault.kind);
    }
    if truth.fault.is_none() {
        (truth.text_sha256, truth.reasoning_sha256) = reply.digests();
    }
    script.truth = Some(truth);
    script
}

/// Checks what the request names against what there is.
fn check_names(ask: Ask, config: &Config) -> Result<Ask, Refusal> {
    if config
        .models
        .as_ref()
        .is_some_and(|models| !models.contains(&ask.model))
    {
        return Err(Refusal {
            status: StatusCode::NOT_FOUND,
            message: format!("the model `{}` does not exist", ask.model),
            code: Some("model_not_found"),
        });
    }
    if let Choice::Named(name) = &ask.choice
        && !ask.tools.iter().any(|tool| tool.name == *name)
    {
        return Err(Refusal::bad_request(format!(
            "tool_choice names `{name}`, which is no offered tool"
        )));
    }
    Ok(ask)
}

/// The script of a fault that leaves nothing of the answer.
fn replace_answer(
    received: &Received<'_>,
    config: &Config,
    truth: &Truth,
    fault: &crate::config::Fault,
    draws: &Draws<'_>,
) -> Option<Script> {
    let mut truth = truth.clone();
    truth.fault = Some(fault.kind);
    let status = StatusCode::from_u16(fault.status).expect("the configuration was checked");
    let ttft = Pace::new(&config.timing, draws).next_event();
    let refusal = Refusal {
        status,
        message: "a planted fault".to_owned(),
        code: None,
    };
    match fault.kind {
        FaultKind::Status => {
            let mut script = refuse(received, config, &refusal, Some(truth));
            if matches!(status.as_u16(), 429 | 503 | 529) {
                script
                    .headers
                    .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            }
            Some(script)
        }
        FaultKind::ErrorIn200 => {
            let refusal = Refusal {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                ..refusal
            };
            let mut script = refuse_at(ttft, received, config, &refusal, Some(truth));
            script.status = StatusCode::OK;
            Some(script)
        }
        FaultKind::Html200 => Some(body_at(
            ttft,
            StatusCode::OK,
            standard_headers(&request_id(received.seq)),
            "text/html; charset=utf-8",
            "<!doctype html><title>A page</title><h1>This is no API.</h1>\n",
            Some(truth),
        )),
        _ => None,
    }
}

/// Decides what is answered and when, but not its shape.
fn compose(
    ask: &Ask,
    received: &Received<'_>,
    truth: &Truth,
    config: &Config,
    draws: &Draws<'_>,
) -> Reply {
    let mistral = truth.endpoint == Endpoint::OpenAi && config.dialect == Dialect::Mistral;
    let mark: String = truth.nonce.chars().take(8).collect();
    let calls = make_calls(ask, truth.endpoint, mistral, &mark, config, draws);
    let planned = ask
        .limit
        .filter(|_| config.output.obey_limit)
        .unwrap_or(config.output.tokens)
        .min(config.output.max_tokens);
    let reasoning_tokens = share_of(planned, config.output.reasoning_share);
    let text_tokens = if calls.is_empty() {
        planned - reasoning_tokens
    } else {
        0
    };
    let call_tokens: u64 = calls
        .iter()
        .map(|call| tokens::of_call(&call.name, &call.arguments))
        .sum();
    let usage = Usage {
        input: ask.input_tokens,
        cache_read: 0,
        cache_write: 0,
        output: reasoning_tokens + text_tokens + call_tokens,
        reasoning: reasoning_tokens,
    };
    let finish = if !calls.is_empty() {
        Finish::Tools
    } else if ask.limit == Some(usage.output) {
        Finish::Length
    } else {
        Finish::Stop
    };
    let cost = cost_of(&ask.model, usage, config);
    let usage_cost = cost
        .clone()
        .filter(|_| config.cost.surfaces.contains(&Surface::Usage));
    let mut pace = Pace::new(&config.timing, draws);
    let mut reply = Reply {
        request_id: request_id(received.seq),
        response_id: format!("{:016x}{:08x}", draws.stream("id").next_u64(), received.seq),
        created: received.unix_us / 1_000_000,
        mark,
        reasoning_tokens,
        text_tokens,
        calls,
        usage,
        cost,
        usage_cost,
        finish,
        opening: pace.opening(),
        steps: Vec::new(),
    };
    reply.steps = reply
        .plan(mistral, config.output.tokens_per_event)
        .into_iter()
        .map(|step| (pace.next_event(), step))
        .collect();
    reply
}

fn make_calls(
    ask: &Ask,
    endpoint: Endpoint,
    mistral: bool,
    mark: &str,
    config: &Config,
    draws: &Draws<'_>,
) -> Vec<Call> {
    let tools: Vec<&Tool> = match &ask.choice {
        Choice::None => Vec::new(),
        Choice::Any => ask.tools.iter().collect(),
        Choice::Named(name) => ask
            .tools
            .iter()
            .filter(|tool| tool.name == *name)
            .take(1)
            .collect(),
    };
    if tools.is_empty() || config.output.tool_calls == 0 {
        return Vec::new();
    }
    let count = if matches!(ask.choice, Choice::Named(_)) || !ask.parallel {
        1
    } else {
        config.output.tool_calls as usize
    };
    let mut rng = draws.stream("call ids");
    (0..count)
        .map(|index| {
            let tool = tools[index % tools.len()];
            let id = match endpoint {
                Endpoint::Anthropic => format!("toolu_{:016x}{index:08x}", rng.next_u64()),
                Endpoint::OpenAi if mistral => nine_characters(&mut rng),
                Endpoint::OpenAi => format!("call_{:016x}{index:08x}", rng.next_u64()),
            };
            Call {
                id,
                name: tool.name.clone(),
                arguments: arguments::for_schema(&tool.schema, &format!("{mark}.c{index}"), index),
            }
        })
        .collect()
}

/// An id as Mistral demands them: `[A-Za-z0-9]{9}`.
fn nine_characters(rng: &mut impl Rng) -> String {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    (0..9)
        .map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())]))
        .collect()
}

/// The share of a count, rounded half up.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the share is within 0 and 1 and the count below a million"
)]
fn share_of(count: u64, share: f64) -> u64 {
    ((count as f64 * share + 0.5) as u64).min(count)
}

/// The exact cost, without trailing zeros or exponent.
fn cost_of(model: &str, usage: Usage, config: &Config) -> Option<String> {
    let rate = config.cost.rates.get(model)?;
    let input = Decimal::from(usage.input).checked_mul(rate.input)?;
    let output = Decimal::from(usage.output).checked_mul(rate.output)?;
    let total = input.checked_add(output)?;
    let cost = total.checked_div(Decimal::from(config.cost.per_tokens))?;
    Some(cost.normalize().to_string())
}

/// Bytes of arguments that count as one token, and so the size of a fragment of one-token events.
const FRAGMENT_BYTES_PER_TOKEN: u64 = 4;

impl Reply {
    /// The token events in order.
    fn plan(&self, mistral: bool, tokens_per_event: u64) -> Vec<Step> {
        let mut steps: Vec<Step> = self
            .runs(self.reasoning_tokens, tokens_per_event, "r")
            .map(Step::Reasoning)
            .collect();
        let mut texts = self.runs(self.text_tokens, tokens_per_event, "");
        if mistral && let Some(first) = texts.next() {
            let step = match steps.pop() {
                Some(Step::Reasoning(last)) => Step::Transition(last, first),
                _ => Step::Text(first),
            };
            steps.push(step);
        }
        steps.extend(texts.map(Step::Text));
        if mistral {
            if !self.calls.is_empty() {
                steps.push(Step::WholeCalls);
            }
            return steps;
        }
        let fragment_bytes =
            usize::try_from(FRAGMENT_BYTES_PER_TOKEN.saturating_mul(tokens_per_event))
                .unwrap_or(usize::MAX);
        for (index, call) in self.calls.iter().enumerate() {
            steps.push(Step::Announce(index));
            let fragments = fragments(&call.arguments, fragment_bytes);
            steps.extend(
                fragments
                    .into_iter()
                    .map(|fragment| Step::Arguments(index, fragment)),
            );
        }
        steps
    }

    /// Tokens 0 to `count`, some to an event; token `i` is `"{mark}.{prefix}{i} "`.
    fn runs(
        &self,
        count: u64,
        tokens_per_event: u64,
        prefix: &'static str,
    ) -> impl Iterator<Item = String> {
        let starts = (0..count).step_by(usize::try_from(tokens_per_event).unwrap_or(usize::MAX));
        starts.map(move |start| {
            self.run(
                start..count.min(start.saturating_add(tokens_per_event)),
                prefix,
            )
        })
    }

    fn run(&self, range: std::ops::Range<u64>, prefix: &str) -> String {
        range.fold(String::new(), |mut text, i| {
            write!(text, "{}.{prefix}{i} ", self.mark).expect("a string takes any text");
            text
        })
    }

    fn text(&self) -> String {
        self.run(0..self.text_tokens, "")
    }

    fn reasoning(&self) -> String {
        self.run(0..self.reasoning_tokens, "r")
    }

    /// Digests of the visible text and of the reasoning that the token events carry. They are the same for a whole
    /// body, and cost nothing while frames are due.
    fn digests(&self) -> (Option<String>, Option<String>) {
        let (mut text, mut reasoning) = (Sha256::new(), Sha256::new());
        for (_, step) in &self.steps {
            match step {
                Step::Reasoning(piece) => reasoning.update(piece),
                Step::Text(piece) => text.update(piece),
                Step::Transition(last, first) => {
                    reasoning.update(last);
                    text.update(first);
                }
                Step::Announce(_) | Step::Arguments(..) | Step::WholeCalls => {}
            }
        }
        (
            (self.text_tokens > 0).then(|| first_digits(text)),
            (self.reasoning_tokens > 0).then(|| first_digits(reasoning)),
        )
    }

    /// When the last token event leaves, and with it what closes the answer.
    fn end(&self) -> Duration {
        self.steps.last().map_or(self.opening, |(at, _)| *at)
    }

    /// What the frame with the usage is for the journal.
    fn usage_content(&self) -> Content {
        if self.usage_cost.is_some() {
            Content::Cost
        } else {
            Content::Frame
        }
    }

    /// `,"cost":…` for the end of a usage object, if it is recorded there.
    fn cost_member(&self) -> String {
        self.usage_cost
            .as_ref()
            .map(|cost| format!(",\"cost\":{cost}"))
            .unwrap_or_default()
    }

    /// A whole body, answered when a stream would have ended.
    fn whole(&self, body: &str) -> Frames {
        let mut frames = Frames::new();
        frames.push(self.end(), self.usage_content(), body.as_bytes());
        frames
    }
}

/// The first 16 hexadecimal digits of a digest.
fn first_digits(hash: Sha256) -> String {
    let digest: [u8; 32] = hash.finalize().into();
    let first = digest.first_chunk().expect("8 of 32 bytes");
    format!("{:016x}", u64::from_be_bytes(*first))
}

/// Cuts arguments into at least two pieces, as far as there are bytes, of about `size` bytes.
fn fragments(arguments: &str, size: usize) -> Vec<String> {
    let size = size.min(arguments.len().div_ceil(2)).max(1);
    let mut pieces = vec![String::new()];
    for character in arguments.chars() {
        if pieces.last().is_some_and(|piece| piece.len() >= size) {
            pieces.push(String::new());
        }
        if let Some(piece) = pieces.last_mut() {
            piece.push(character);
        }
    }
    pieces
}

fn finish_name(endpoint: Endpoint, finish: Finish) -> &'static str {
    match (endpoint, finish) {
        (Endpoint::OpenAi, Finish::Stop) => "stop",
        (Endpoint::OpenAi, Finish::Length) => "length",
        (Endpoint::OpenAi, Finish::Tools) => "tool_calls",
        (Endpoint::Anthropic, Finish::Stop) => "end_turn",
        (Endpoint::Anthropic, Finish::Length) => "max_tokens",
        (Endpoint::Anthropic, Finish::Tools) => "tool_use",
    }
}

fn list_models(received: &Received<'_>, config: &Config) -> Script {
    let priced = || config.cost.rates.keys().cloned().collect();
    let models: Vec<String> = config.models.clone().unwrap_or_else(priced);
    // Both APIs' members at once, since both have this path.
    let data: Vec<Value> = models
        .iter()
        .map(|model| {
            json!({
                "id": model, "object": "model", "created": 0, "owned_by": "mock-upstream",
                "type": "model", "display_name": model, "created_at": "1970-01-01T00:00:00Z",
            })
        })
        .collect();
    let body = json!({
        "object": "list", "data": data, "has_more": false,
        "first_id": models.first(), "last_id": models.last(),
    });
    json_now(received, StatusCode::OK, &body.to_string(), None)
}

fn count_tokens(received: &Received<'_>, config: &Config) -> Script {
    let counted = serde_json::from_slice(received.body)
        .map_err(|error| Refusal::bad_request(format!("the body is not valid JSON: {error}")))
        .and_then(|body| anthropic::count(&body));
    match counted {
        Ok(count) => {
            let body = json!({ "input_tokens": count }).to_string();
            json_now(received, StatusCode::OK, &body, None)
        }
        Err(refusal) => refuse(received, config, &refusal, None),
    }
}

fn refuse(
    received: &Received<'_>,
    config: &Config,
    refusal: &Refusal,
    truth: Option<Truth>,
) -> Script {
    refuse_at(Duration::ZERO, received, config, refusal, truth)
}

fn refuse_at(
    at: Duration,
    received: &Received<'_>,
    config: &Config,
    refusal: &Refusal,
    truth: Option<Truth>,
) -> Script {
    let request_id = request_id(received.seq);
    let body = if received.path.starts_with(MESSAGES) {
        anthropic::error_body(refusal, Some(&request_id))
    } else {
        openai::error_body(refusal, config.dialect)
    };
    let headers = standard_headers(&request_id);
    body_at(
        at,
        refusal.status,
        headers,
        "application/json",
        &body,
        truth,
    )
}

/// The API's error as an event of a stream.
fn error_event(endpoint: Endpoint, dialect: Dialect) -> String {
    let refusal = Refusal {
        status: StatusCode::INTERNAL_SERVER_ERROR,
        message: "a planted fault".to_owned(),
        code: None,
    };
    match endpoint {
        Endpoint::OpenAi => format!("data: {}\n\n", openai::error_body(&refusal, dialect)),
        Endpoint::Anthropic => {
            format!(
                "event: error\ndata: {}\n\n",
                anthropic::error_body(&refusal, None)
            )
        }
    }
}

fn json_now(
    received: &Received<'_>,
    status: StatusCode,
    body: &str,
    truth: Option<Truth>,
) -> Script {
    let headers = standard_headers(&request_id(received.seq));
    body_at(
        Duration::ZERO,
        status,
        headers,
        "application/json",
        body,
        truth,
    )
}

fn body_at(
    at: Duration,
    status: StatusCode,
    mut headers: HeaderMap,
    media_type: &'static str,
    body: &str,
    truth: Option<Truth>,
) -> Script {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CONTENT_LENGTH, body.len().into());
    let mut frames = Frames::new();
    frames.push(at, Content::Frame, body.as_bytes());
    Script {
        status,
        headers,
        frames,
        ending: Ending::Clean,
        truth,
    }
}

fn request_id(seq: u64) -> String {
    format!("req_{seq:016x}")
}

fn standard_headers(request_id: &str) -> HeaderMap {
    let id = HeaderValue::from_str(request_id).expect("hexadecimal digits are a header value");
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert("x-request-id", id.clone());
    headers.insert("request-id", id);
    headers
}

/// The trace id of a W3C `traceparent` header.
fn trace_id(headers: &HeaderMap) -> Option<String> {
    let value = headers.get("traceparent")?.to_str().ok()?;
    let id = value.split('-').nth(1)?;
    (id.len() == NONCE_DIGITS && id.bytes().all(is_lower_hex)).then(|| id.to_owned())
}

const NONCE_DIGITS: usize = 32;

/// The first run of exactly 32 lower-case hexadecimal digits.
fn nonce_in(text: &str) -> Option<String> {
    let mut rest = text;
    while let Some(start) = rest.bytes().position(is_lower_hex) {
        let run = &rest[start..];
        let length = run
            .bytes()
            .position(|byte| !is_lower_hex(byte))
            .unwrap_or(run.len());
        if length == NONCE_DIGITS {
            return Some(run[..length].to_owned());
        }
        rest = &run[length..];
    }
    None
}

fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// A text as a JSON string, with its quotes.
pub(crate) fn quoted(text: &str) -> String {
    let is_plain = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
    if text.bytes().all(is_plain) {
        // Every token passes here, and none has anything to escape.
        return ["\"", text, "\""].concat();
    }
    Value::from(text).to_string()
}

/// The model's name, which both APIs demand.
fn read_model(body: &Value) -> Result<String, Refusal> {
    match body["model"].as_str() {
        Some(model) if !model.is_empty() => Ok(model.to_owned()),
        _ => Err(Refusal::bad_request("model: field required")),
    }
}

/// The messages, of which both APIs demand at least one.
fn read_messages(body: &Value) -> Result<&Vec<Value>, Refusal> {
    match body["messages"].as_array() {
        Some(messages) if !messages.is_empty() => Ok(messages),
        _ => Err(Refusal::bad_request(
            "messages: field required, a list of at least one message",
        )),
    }
}

/// An output limit under `key`, if the request sets it.
fn read_limit(body: &Value, key: &str) -> Result<Option<u64>, Refusal> {
    match &body[key] {
        Value::Null => Ok(None),
        value => match value.as_u64() {
            Some(limit) if limit > 0 => Ok(Some(limit)),
            _ => Err(Refusal::bad_request(format!(
                "{key}: must be an integer of at least 1"
            ))),
        },
    }
}
