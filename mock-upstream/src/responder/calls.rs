//! Which tools an answer calls, with what arguments, and how much of that its limit leaves.

use rand::{Rng, RngExt};

use super::ask::{Ask, Choice, Tool};
use super::{Exchange, arguments};
use crate::config::{Arguments, Dialect};
use crate::journal::Endpoint;
use crate::tokens;

/// A call of a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) id: String,
    pub(super) name: String,
    /// JSON, unless something is wrong with it on purpose, or because of the limit.
    pub(super) arguments: String,
}

impl Call {
    pub(super) fn tokens(&self) -> u64 {
        tokens::of_call(&self.name, &self.arguments)
    }
}

/// What a call's object has in Mistral's streams, which differ in that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CallForm {
    pub(super) has_index: bool,
    pub(super) has_type: bool,
}

/// The calls of an answer.
pub(super) struct Calls {
    pub(super) list: Vec<Call>,
    /// Whether the last one breaks off, or more would have come.
    pub(super) is_cut: bool,
}

impl Calls {
    /// Decides on them: none where the request offers no tools, forbids them, or has had its turns.
    pub(super) fn make(ask: &Ask, mark: &str, exchange: &Exchange<'_>) -> Self {
        let config = &exchange.behaviour.tools;
        let mut tools: Vec<&Tool> = ask.tools.iter().collect();
        match &ask.choice {
            Choice::Any => {}
            Choice::None => tools.clear(),
            Choice::Named(name) => {
                tools.retain(|tool| tool.name == *name);
                tools.truncate(1);
            }
        }
        let is_over = ask.history.turns >= config.turns;
        let count = match &ask.choice {
            _ if tools.is_empty() || is_over => 0,
            Choice::Named(_) => config.calls.min(1),
            _ if !ask.parallel => config.calls.min(1),
            _ => config.calls,
        };
        let mut ids = exchange.draws.stream("call ids");
        let mut list: Vec<Call> = (0..count as usize)
            .map(|index| {
                let tool = tools[index % tools.len()];
                // The first turn's is short, and each other turn's its own.
                let marker = match exchange.answers {
                    0 => format!("{mark}.c{index}"),
                    turn => format!("{mark}.t{turn}.c{index}"),
                };
                let arguments = arguments::for_schema(&tool.schema, &marker, index);
                Call {
                    id: exchange.call_id(&mut ids, index),
                    name: tool.name.clone(),
                    arguments: match config.arguments {
                        Arguments::Empty if arguments == arguments::NONE => String::new(),
                        _ => arguments,
                    },
                }
            })
            .collect();
        let mut is_cut = false;
        if let Some(last) = list.last_mut() {
            match config.arguments {
                Arguments::Valid | Arguments::Empty => {}
                Arguments::Truncated => {
                    let half = last.arguments.len() / 2;
                    arguments::truncate(&mut last.arguments, half);
                    is_cut = true;
                }
                Arguments::Invalid => arguments::break_syntax(&mut last.arguments),
            }
        }
        Self { list, is_cut }
    }

    /// Cuts what is more than `tokens`: the arguments of the call that does not fit, and all calls after it. A call
    /// whose name does not fit is none.
    pub(super) fn limit(&mut self, tokens: u64) {
        let mut rest = tokens;
        let fits = |call: &mut Call| {
            let needed = call.tokens();
            if needed <= rest {
                rest -= needed;
                return true;
            }
            let bytes = rest.saturating_mul(tokens::BYTES_PER_TOKEN as u64);
            let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
            let Some(left) = bytes.checked_sub(call.name.len()) else {
                rest = 0;
                return false;
            };
            rest = 0;
            arguments::truncate(&mut call.arguments, left);
            self.is_cut = true;
            true
        };
        let kept = self
            .list
            .iter_mut()
            .map(fits)
            .take_while(|fits| *fits)
            .count();
        if kept < self.list.len() {
            self.list.truncate(kept);
            self.is_cut = true;
        }
    }
}

impl Exchange<'_> {
    /// An id in the form of the API.
    fn call_id(&self, rng: &mut impl Rng, index: usize) -> String {
        match (self.endpoint, self.behaviour.dialect) {
            (Endpoint::Anthropic, _) => format!("toolu_{:016x}{index:08x}", rng.next_u64()),
            (Endpoint::OpenAi, Dialect::Mistral) => nine_characters(rng),
            (Endpoint::OpenAi, _) => format!("call_{:016x}{index:08x}", rng.next_u64()),
        }
    }

    /// The form of the answer's calls, by draw.
    pub(super) fn call_form(&self) -> CallForm {
        CallForm {
            has_index: self.draws.happens("index of calls", 0.5),
            has_type: self.draws.happens("type of calls", 0.5),
        }
    }
}

/// An id as Mistral demands them: `[A-Za-z0-9]{9}`.
fn nine_characters(rng: &mut impl Rng) -> String {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    (0..9)
        .map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_cuts_the_call_that_does_not_fit_and_those_after_it() {
        // 5 + 12 bytes are 5 tokens, 3 + 2 are 2.
        let calls = || Calls {
            list: [("fours", "{\"a\":\"éé\"}"), ("now", "{}")]
                .map(|(name, arguments)| Call {
                    id: "id".to_owned(),
                    name: name.to_owned(),
                    arguments: arguments.to_owned(),
                })
                .into(),
            is_cut: false,
        };
        for (tokens, expected, is_cut, written) in [
            (u64::MAX, &["{\"a\":\"éé\"}", "{}"][..], false, 7),
            (7, &["{\"a\":\"éé\"}", "{}"], false, 7),
            (6, &["{\"a\":\"éé\"}", "{"], true, 6),
            (5, &["{\"a\":\"éé\"}"], true, 5),
            (4, &["{\"a\":\"éé\""], true, 4),
            // Seven bytes would end within a character.
            (3, &["{\"a\":\""], true, 3),
            (2, &["{\"a"], true, 2),
            (1, &[], true, 0),
        ] {
            let mut calls = calls();
            calls.limit(tokens);
            let left: Vec<_> = calls
                .list
                .iter()
                .map(|call| call.arguments.as_str())
                .collect();
            assert_eq!(
                (left.as_slice(), calls.is_cut),
                (expected, is_cut),
                "{tokens}"
            );
            let sum: u64 = calls.list.iter().map(Call::tokens).sum();
            assert_eq!(sum, written, "{tokens}");
        }
    }
}
