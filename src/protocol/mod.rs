//! The wire: a [`Prompt`](crate::prompt::Prompt) becomes an HTTP request of either endpoint, and
//! the bytes of its response become [`Event`](crate::event::Event)s.
//!
//! In: values. Out: values. Nothing here connects, waits, retries, reads a clock or judges: a
//! response that departs from its protocol is read as far as it can be, and what was odd about it
//! is said ([`Oddity`](crate::event::Oddity)), because a measuring tool that stops at the first
//! oddity measures nothing. Which departures are failures is decided by who sees the whole.
//!
//! - [`encode`] writes a request, [`credential`] the header that pays for it;
//! - [`mode_of`] says how to read the body of an answer, [`Decoder`] reads it;
//! - [`error_body`] reads the body of an HTTP error.

mod anthropic;
mod blocks;
mod calls;
mod decode;
mod encode;
mod failure;
mod lenient;
mod openai;
mod response;
mod sse;
mod template;
mod usage;

#[cfg(test)]
mod tests;

pub use decode::{Decoder, MAX_EVENT_BYTES, Mode, Surfaces, mode_of};
pub use encode::{CredentialError, Dialect, Encoded, OutputLimitField, credential, encode};
pub use failure::error_body;
