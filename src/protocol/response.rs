//! The id of a response, which every event that names one repeats.

/// A longer id is cut: what providers give is a quarter of it.
const MAX_ID_CHARS: usize = 256;

/// The id that a response last named.
#[derive(Debug, Default)]
pub(super) struct ResponseId(String);

/// What the id of an event says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// Nothing: it is empty, or the one that is known.
    AsBefore,
    /// The response is named.
    First,
    /// It has another name than before.
    Otherwise,
}

impl ResponseId {
    /// Takes the id of an event; an empty one is none.
    pub fn take(&mut self, id: &str) -> Named {
        if id.is_empty() || id == self.0 {
            return Named::AsBefore;
        }
        let cut = id.char_indices().nth(MAX_ID_CHARS);
        let id = &id[..cut.map_or(id.len(), |(at, _)| at)];
        if id == self.0 {
            return Named::AsBefore;
        }
        let named = if self.0.is_empty() {
            Named::First
        } else {
            Named::Otherwise
        };
        id.clone_into(&mut self.0);
        named
    }
}
