//! A small gateway that translates: sans-IO, and of one mind about each protocol. It shares no code
//! with the harness or the upstream, so that the three cannot be wrong alike.
//!
//! A request is translated (`ask`), the upstream's answer is read into neutral pieces (`hear`), and
//! these are written as the client's protocol has them (`tell`). What is planted changes one of the
//! three. Each frame that the client gets has the time of the upstream's frame that caused it.

mod ask;
mod hear;
mod tell;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use mock_upstream::JournalEntry;
use mock_upstream::script::Ending;
use mock_upstream::simulation::{Answer, Request, Simulation};
use serde_json::{Value, json};
use weighbridge::endpoint::Endpoint;
use weighbridge::protocol::Encoded;

pub use hear::{Heard, Said, Tokens};
pub use tell::{Body, Told};

use crate::faults::Plant;

/// What an upstream speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// Chat completions, in any dialect but Mistral's.
    OpenAi,
    /// Mistral's, which demands more of a request.
    Mistral,
    /// Messages.
    Anthropic,
}

impl Wire {
    const fn path(self) -> &'static str {
        match self {
            Self::OpenAi | Self::Mistral => "/v1/chat/completions",
            Self::Anthropic => "/v1/messages",
        }
    }

    const fn endpoint(self) -> Endpoint {
        match self {
            Self::OpenAi | Self::Mistral => Endpoint::OpenAi,
            Self::Anthropic => Endpoint::Anthropic,
        }
    }
}

/// What the client gets, and what is true.
pub struct Relayed {
    pub answer: Answer,
    pub entry: JournalEntry,
}

/// What is known of a request when its answer is written.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Whether the client wants a stream.
    pub stream: bool,
    /// Whether it wants to know the usage of a stream.
    pub wants_usage: bool,
    /// Input tokens, by guess, for whoever has to say a number before the upstream does.
    pub guess: u64,
}

/// The gateway between a client and an upstream.
pub struct Gateway {
    wire: Wire,
    /// The latest text of another stream, for a plant that mixes streams up.
    elsewhere: String,
}

impl Gateway {
    /// In front of an upstream that speaks `wire`.
    pub const fn new(wire: Wire) -> Self {
        Self {
            wire,
            elsewhere: String::new(),
        }
    }

    /// Hands a client's request on, and the answer back. `marker` goes with it, for what is planted in
    /// the upstream.
    pub fn relay(
        &mut self,
        upstream: &mut Simulation,
        client: Endpoint,
        request: &Encoded,
        now_us: u64,
        plant: Option<Plant>,
        marker: Option<&str>,
    ) -> Relayed {
        let body: Value = serde_json::from_slice(&request.body).expect("a client's JSON");
        let asked = Asked {
            stream: body["stream"] == true,
            wants_usage: body["stream_options"]["include_usage"] == true,
            guess: request.body.len() as u64 / 4,
        };
        let mut asks = ask::translate(&body, client, self.wire);
        if let Some(plant) = plant {
            plant.in_request(&mut asks, self.wire);
        }
        let mut headers = HeaderMap::new();
        if let Some(marker) = marker {
            let marker = HeaderValue::from_str(marker).expect("a word");
            headers.insert(mock_upstream::config::MARKER_HEADER, marker);
        }
        let asks = serde_json::to_vec(&asks).expect("JSON");
        let answer = upstream.ask(
            &Request {
                method: &Method::POST,
                path: self.wire.path(),
                headers: &headers,
                body: &asks,
            },
            now_us,
            None,
        );
        let entry = answer.entry.clone().expect("a completion");
        let answer = self.translate(&answer, client, &asked, plant);
        Relayed { answer, entry }
    }

    fn translate(
        &mut self,
        answer: &Answer,
        client: Endpoint,
        asked: &Asked,
        plant: Option<Plant>,
    ) -> Answer {
        let end = answer.frames.last().map_or(Duration::ZERO, |(at, _)| *at);
        let status = answer.status.unwrap_or(StatusCode::BAD_GATEWAY);
        if !status.is_success() {
            let message = hear::refusal(&answer.body());
            return whole(status, end, &tell::error(client, &message));
        }
        let mut heard = if asked.stream {
            hear::stream(&answer.frames, self.wire.endpoint())
        } else {
            hear::body(&answer.body(), end, self.wire.endpoint())
        };
        let broke =
            answer.ending != Ending::Clean || !heard.iter().any(|piece| piece.said == Said::End);
        if broke
            && !heard
                .iter()
                .any(|piece| matches!(piece.said, Said::Error(_)))
        {
            heard.push(Heard {
                at: end,
                event: u32::MAX,
                said: Said::Error("the upstream broke off".to_owned()),
            });
        }
        let others = heard.iter().find_map(|piece| match &piece.said {
            Said::Text(text) => Some(text.clone()),
            _ => None,
        });
        if let Some(plant) = plant {
            plant.in_answer(&mut heard, &self.elsewhere);
        }
        self.elsewhere = others.unwrap_or_default();
        if !asked.stream {
            let mut body = tell::whole(&heard, client);
            if let Some(plant) = plant {
                plant.in_body(&mut body, client);
            }
            return whole(StatusCode::OK, end, &body);
        }
        let mut told = tell::stream(&heard, client, asked);
        if let Some(plant) = plant {
            plant.in_stream(&mut told, client);
        }
        let frames = told.iter().map(|told| (told.at, told.bytes())).collect();
        framed(StatusCode::OK, "text/event-stream", frames)
    }
}

fn whole(status: StatusCode, at: Duration, body: &Value) -> Answer {
    let bytes = Bytes::from(serde_json::to_vec(body).expect("JSON"));
    framed(status, "application/json", vec![(at, bytes)])
}

fn framed(status: StatusCode, media_type: &'static str, frames: Vec<(Duration, Bytes)>) -> Answer {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static(media_type));
    Answer {
        status: Some(status),
        headers,
        frames,
        ending: Ending::Clean,
        entry: None,
    }
}

/// An error in the client's shape.
fn error_of(client: Endpoint, message: &str) -> Value {
    match client {
        Endpoint::OpenAi => json!({
            "error": {"message": message, "type": "api_error", "param": null, "code": null}
        }),
        Endpoint::Anthropic => json!({
            "type": "error", "error": {"type": "api_error", "message": message}
        }),
    }
}
