//! From a request to a script: a plain function of the request, the configuration and the seed.
//!
//! In goes a [`Received`] request and the [`Config`]; out comes a [`Script`]. Reading the two APIs into one
//! `Ask`, and writing one `Reply` back in their shapes, is left to the modules `openai` and `anthropic`. Nothing here
//! waits, touches a socket or reads a clock, so benches may call it without wiremock.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::Value;

use crate::config::{Behaviour, Config, FaultKind, PROFILE_HEADER};
use crate::draw::Draws;
use crate::journal::Endpoint;
use crate::script::{Ending, Script};

mod anthropic;
mod arguments;
mod ask;
mod bill;
mod cache;
mod calls;
mod delivery;
mod faults;
mod identity;
mod models;
mod openai;
mod place;
mod refusal;
mod reply;
mod state;
#[cfg(test)]
mod tests;

pub use identity::identify;
pub(crate) use identity::is_request_id;
pub(crate) use openai::id_prefix;
pub(crate) use refusal::refuse_as;
pub(crate) use reply::quoted;
pub use state::State;

use anthropic::Limit;
use ask::{Ask, Choice};
use delivery::deliver;
use identity::{endpoint_of, standard_headers, truth_of};
use models::model_in;
use refusal::{Refusal, refuse};
use reply::{Reply, compose, finish_name};

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
    /// When it came.
    pub arrival: Arrival,
}

/// When a request came, and as which one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Arrival {
    /// Its place in the order of receipt, from 0.
    pub seq: u64,
    /// The moment by the wall clock, in microseconds since 1970.
    pub unix_us: u64,
    /// The moment on the monotonic clock, since the upstream's start.
    pub at: Duration,
}

/// A completion request, and all that decides how it is answered.
struct Exchange<'a> {
    received: &'a Received<'a>,
    endpoint: Endpoint,
    /// The nonce, which may be empty.
    nonce: &'a str,
    model: &'a str,
    stream: bool,
    /// The name of the profile, empty without one.
    profile: &'a str,
    behaviour: &'a Behaviour,
    service_tier: Option<&'a str>,
    /// From 1.
    attempt: u64,
    draws: Draws<'a>,
    /// Messages of the model in the request.
    answers: u64,
    state: &'a State,
}

const CHAT_COMPLETIONS: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";
const COUNT_TOKENS: &str = "/v1/messages/count_tokens";
const MODELS: &str = "/v1/models";

/// Decides the whole answer to a request.
pub fn respond(received: &Received<'_>, config: &Config, state: &State) -> Script {
    let (_, asked) = asked_for(received.headers, config);
    let allowed = match received.path {
        CHAT_COMPLETIONS | MESSAGES | COUNT_TOKENS => Method::POST,
        MODELS => Method::GET,
        path if model_in(path).is_some() => Method::GET,
        path => {
            let message =
                format!("unknown path {path}, expected {CHAT_COMPLETIONS}, {MESSAGES} or {MODELS}");
            let refusal = Refusal::new(StatusCode::NOT_FOUND, message).coded("unknown_url");
            return refuse(received, asked, &refusal, None);
        }
    };
    if *received.method != allowed {
        let message = format!(
            "{} does not take {}, use {allowed}",
            received.path, received.method
        );
        let refusal =
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, message).coded("method_not_allowed");
        let mut script = refuse(received, asked, &refusal, None);
        let allow = HeaderValue::from_str(allowed.as_str()).expect("a method is a header value");
        script.headers.insert(header::ALLOW, allow);
        return script;
    }
    if let Err(refusal) = authorise(received.headers, config) {
        return refuse_early(received, config, &refusal);
    }
    match received.path {
        MODELS => models::list(received, config),
        COUNT_TOKENS => models::count_tokens(received, config),
        path if model_in(path).is_some() => models::retrieve(received, config),
        _ => complete(received, config, state),
    }
}

/// Whether a request has the key, if one is demanded.
pub(crate) fn is_authorised(headers: &HeaderMap, config: &Config) -> bool {
    authorise(headers, config).is_ok()
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
    let refusal = Refusal::new(StatusCode::UNAUTHORIZED, "missing or wrong API key");
    Err(refusal.coded("invalid_api_key"))
}

fn complete(received: &Received<'_>, config: &Config, state: &State) -> Script {
    let endpoint = endpoint_of(received).expect("a completion's path and method were matched");
    let body = match parse(received.body) {
        Ok(body) => body,
        Err(refusal) => {
            return refuse_early(received, config, &refusal);
        }
    };
    let mut truth = truth_of(received, endpoint, &body);
    truth.attempt = state.attempt(received, &truth.nonce);
    truth.body = config.journal_bodies.then(|| body.clone());
    let (profile, behaviour) = match choose(received.headers, &truth.model, config) {
        Ok(chosen) => chosen,
        Err(refusal) => return refuse(received, &config.behaviour, &refusal, Some(truth)),
    };
    truth.profile = named(profile);
    let ask = match endpoint {
        Endpoint::OpenAi => openai::read(&body, behaviour),
        Endpoint::Anthropic => anthropic::read(&body, received.headers, behaviour, Limit::Needed),
    };
    let mut ask = match ask.and_then(|ask| check_names(ask, config)) {
        Ok(ask) => ask,
        Err(refusal) => return refuse(received, behaviour, &refusal, Some(truth)),
    };
    truth.turn = ask.history.turns;
    truth.tool_results = ask.history.tool_results;
    let service_tier = body["service_tier"].as_str().map(str::to_owned);
    let nonce = truth.nonce.clone();
    let model = ask.model.clone();
    let exchange = Exchange {
        received,
        endpoint,
        nonce: &nonce,
        model: &model,
        stream: ask.stream,
        profile,
        behaviour,
        service_tier: service_tier.as_deref(),
        attempt: truth.attempt,
        draws: Draws::new(config.seed, &nonce, received.arrival.seq).of_turn(answers_in(&body)),
        answers: answers_in(&body),
        state,
    };
    let fault = exchange.fault();
    if let Some(fault) = fault
        && let Some(mut script) = exchange.replace_answer(fault, &truth)
    {
        exchange.bill_error(&ask, fault.kind, &mut script);
        return script;
    }
    let mut reply = compose(&ask, exchange.look_up(&body), &exchange);
    truth.response_id = Some(reply.response_id.clone());
    truth.queue = reply.queue;
    truth.usage = reply.bill.usage;
    truth.cost = reply.bill.cost(&behaviour.cost);
    if let Some(served) = &reply.bill.served_model {
        ask.model.clone_from(served);
    }
    truth.tool_calls = u32::try_from(reply.calls.len()).unwrap_or(u32::MAX);
    truth.finish = Some(finish_name(endpoint, reply.finish).to_owned());

    let mut script = render(&ask, &reply, &exchange);
    let mut bill = std::mem::take(&mut reply.bill);
    if let Some(fault) = fault
        && exchange.break_answer(fault, &mut script)
    {
        truth.fault = Some(fault.kind);
        bill::note_fault(&mut bill, fault);
    }
    bill::write_event_after(&mut bill, endpoint, truth.fault, &mut script);
    truth.bill = Some(Box::new(bill));
    if exchange.stream {
        let (dialect, draws) = (behaviour.dialect, &exchange.draws);
        script.frames = deliver(script.frames, &behaviour.delivery, endpoint, dialect, draws);
    }
    if truth.fault.is_none_or(FaultKind::keeps_text) {
        (truth.text_sha256, truth.reasoning_sha256) = reply.digests();
        truth.text_tokens = Some(reply.text_tokens);
        truth.text_tokens_after = Some(reply.text_tokens_after);
        truth.reasoning_tokens = Some(reply.reasoning_tokens);
    }
    script.truth = Some(truth);
    script
}

/// An answer in its API's shape, before anything breaks or dresses it.
fn render(ask: &Ask, reply: &Reply, exchange: &Exchange<'_>) -> Script {
    let (endpoint, behaviour) = (exchange.endpoint, exchange.behaviour);
    let mut headers = standard_headers(&reply.request_id);
    exchange.add_headers(&mut headers, reply);
    bill::write_headers(&reply.bill, &behaviour.cost, &mut headers);
    let frames = match (endpoint, ask.stream) {
        (Endpoint::OpenAi, true) => openai::stream(ask, reply, behaviour),
        (Endpoint::Anthropic, true) => anthropic::stream(ask, reply),
        (Endpoint::OpenAi, false) => reply.whole(&openai::whole(ask, reply, behaviour)),
        (Endpoint::Anthropic, false) => reply.whole(&anthropic::whole(ask, reply)),
    };
    let media_type = if ask.stream {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        "text/event-stream; charset=utf-8"
    } else {
        headers.insert(header::CONTENT_LENGTH, frames.bytes().len().into());
        "application/json"
    };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    Script {
        status: StatusCode::OK,
        headers,
        frames,
        ending: Ending::Clean,
        truth: None,
    }
}

/// Messages of the model that the request has behind it, in either API.
fn answers_in(body: &Value) -> u64 {
    let messages = body["messages"].as_array().into_iter().flatten();
    messages
        .filter(|message| message["role"] == "assistant")
        .count() as u64
}

/// How deep a body may be nested. Readers of JSON take 128 levels at most, and an answer or the journal may repeat a part
/// of the body some levels down.
const DEPTH_MAX: usize = 100;

fn parse(body: &[u8]) -> Result<Value, Refusal> {
    let refusal = |reason| Refusal::bad_request(format!("the body is not valid JSON: {reason}"));
    let body = serde_json::from_slice(body).map_err(|error| refusal(error.to_string()))?;
    if is_flat(&body, DEPTH_MAX) {
        return Ok(body);
    }
    Err(refusal(format!("more than {DEPTH_MAX} levels")))
}

/// Whether a value has at most so many levels.
fn is_flat(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(list) => levels > 0 && list.iter().all(|value| is_flat(value, levels - 1)),
        Value::Object(members) => {
            levels > 0 && members.values().all(|value| is_flat(value, levels - 1))
        }
        _ => true,
    }
}

/// The profile that the request asks for or that its model has, by name, and how it is answered.
fn choose<'a>(
    headers: &HeaderMap,
    model: &str,
    config: &'a Config,
) -> Result<(&'a str, &'a Behaviour), Refusal> {
    let Some(wanted) = headers.get(PROFILE_HEADER) else {
        return Ok(config.profile_for(model).unwrap_or(("", &config.behaviour)));
    };
    let found = wanted
        .to_str()
        .ok()
        .and_then(|name| config.profiles.get_key_value(name));
    found
        .map(|(name, profile)| (name.as_str(), &profile.behaviour))
        .ok_or_else(|| {
            let names: Vec<_> = config.profiles.keys().map(String::as_str).collect();
            let known = match names.as_slice() {
                [] => "the configuration has none".to_owned(),
                names => format!("expected one of {}", names.join(", ")),
            };
            let message = format!("{PROFILE_HEADER}: no profile is called {wanted:?}, {known}");
            Refusal::bad_request(message)
        })
}

/// The profile that the request asks for by its header, and how it is answered: for what is wrong before the model is
/// known, or without one. A name that there is not is refused later.
fn asked_for<'a>(headers: &HeaderMap, config: &'a Config) -> (&'a str, &'a Behaviour) {
    let common = ("", &config.behaviour);
    if !headers.contains_key(PROFILE_HEADER) {
        return common;
    }
    choose(headers, "", config).unwrap_or(common)
}

/// A profile's name for the journal.
fn named(profile: &str) -> Option<String> {
    (!profile.is_empty()).then(|| profile.to_owned())
}

/// Refuses what may be a completion, before it is read.
fn refuse_early(received: &Received<'_>, config: &Config, refusal: &Refusal) -> Script {
    let (profile, asked) = asked_for(received.headers, config);
    let mut truth = identify(received);
    if let Some(truth) = &mut truth {
        truth.profile = named(profile);
    }
    refuse(received, asked, refusal, truth)
}

/// Checks what the request names against what there is.
fn check_names(ask: Ask, config: &Config) -> Result<Ask, Refusal> {
    models::check(&ask.model, config)?;
    if let Choice::Named(name) = &ask.choice
        && !ask.tools.iter().any(|tool| tool.name == *name)
        && !ask.other_tools.contains(name)
    {
        return Err(Refusal::bad_request(format!(
            "tool_choice names `{name}`, which is no offered tool"
        ))
        .at("tool_choice"));
    }
    Ok(ask)
}
