//! The load that all clients put on the upstream: the same requests at the same moments.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The one model that is asked for.
pub const MODEL: &str = "magistral-small-latest";

/// Input tokens of a prompt, by the harness's estimate.
pub const INPUT_TOKENS: u64 = 200;

/// Hexadecimal digits by which the upstream's journal knows a request.
const NONCE_DIGITS: usize = 32;

/// A load on one upstream.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Load {
    /// `127.0.0.1:port`.
    pub address: String,
    /// When requests are sent.
    pub arrivals: Arrivals,
    /// How many.
    pub requests: u64,
    /// Content events of each answer.
    pub events: u64,
}

/// When requests are sent.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub enum Arrivals {
    /// Each user sends the next request when the last one has ended.
    Closed {
        /// Requests in flight.
        users: u32,
    },
    /// At even intervals, whatever the upstream does.
    Constant {
        /// Between two requests.
        interval: Duration,
    },
}

/// A request's body but for its nonce, as large as the harness's own.
#[derive(Debug, Clone)]
pub struct Template {
    text: Vec<u8>,
    nonce_at: usize,
}

impl Load {
    /// The request's body.
    pub fn template(&self) -> Template {
        // As many characters as the harness's words have on average.
        let words = "steady ".repeat(usize::try_from(INPUT_TOKENS - 24).expect("small"));
        let head = format!(r#"{{"model":"{MODEL}","messages":[{{"role":"user","content":""#);
        let nonce = "0".repeat(NONCE_DIGITS);
        let rest = format!(
            r#" {words}Go on with this text in the same way and do not stop early."}}],"stream":true,"stream_options":{{"include_usage":true}},"max_tokens":{}}}"#,
            self.events
        );
        Template {
            nonce_at: head.len(),
            text: [head, nonce, rest].concat().into_bytes(),
        }
    }
}

impl Template {
    /// The body of request `number`.
    pub fn body(&self, number: u64) -> Vec<u8> {
        let mut text = self.text.clone();
        self.name(&mut text, number);
        text
    }

    /// Makes `text`, which ends with such a body, that of request `number`.
    pub fn name(&self, text: &mut [u8], number: u64) {
        let at = text.len() - self.text.len() + self.nonce_at;
        text[at..at + NONCE_DIGITS].copy_from_slice(nonce(number).as_bytes());
    }
}

/// The name of request `number` in the journal.
pub fn nonce(number: u64) -> String {
    // A word before the digits would still be theirs if it were hexadecimal; zeros alone are too common.
    format!("be{number:030x}")
}
