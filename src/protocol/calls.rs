//! The tool calls of a chat completion: which call a fragment belongs to, by `index`, and where a
//! writer leaves it out (Mistral), by id or position. Indexes count from 0 in the order of the
//! calls, and id and name of a call come once.

use super::decode::{Arguments, MAX_CALLS, MAX_EVENT_BYTES, Sink};
use crate::event::{Event, Oddity};

/// The calls of a response.
#[derive(Debug, Default)]
pub(super) struct Calls {
    list: Vec<Call>,
    /// Those that were announced.
    announced: u32,
    /// Bytes that `list` holds.
    held: usize,
}

#[derive(Debug)]
struct Call {
    key: Option<Key>,
    id: String,
    /// Its index in events, once its name came.
    index: Option<u32>,
    /// Whether there was a non-empty piece of its arguments.
    has_arguments: bool,
}

/// How fragments name their call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// `tool_calls[].index`.
    Index(u64),
    /// The older `function_call`, of which there is one, and which has no id.
    Function,
}

/// What one delta says of a call; empty texts where it says nothing.
#[derive(Debug)]
pub(super) struct Piece<'a> {
    pub id: &'a str,
    pub name: &'a str,
    pub arguments: &'a str,
}

impl Calls {
    /// Bytes that are remembered.
    pub fn held(&self) -> usize {
        self.held
    }

    /// A piece of a stream.
    pub fn fragment(
        &mut self,
        index: Option<u64>,
        piece: &Piece<'_>,
        arguments: &mut Arguments,
        sink: &mut Sink<'_>,
    ) {
        let next = self.list.len() as u64;
        let (at, key) = if let Some(index) = index {
            let key = Some(Key::Index(index));
            let at = self.find(key);
            if at.is_none() && index != next {
                sink(Event::Oddity(Oddity::CallIndex));
            }
            (at, key)
        } else {
            sink(Event::Oddity(Oddity::CallWithoutIndex));
            let same_id = self
                .list
                .iter()
                .rposition(|known| !piece.id.is_empty() && known.id == piece.id);
            if same_id.is_some() || (piece.id.is_empty() && piece.name.is_empty()) {
                (same_id.or(self.list.len().checked_sub(1)), None)
            } else {
                let key = Some(Key::Index(next));
                (None, key.filter(|_| self.find(key).is_none()))
            }
        };
        self.put(at, key, piece, arguments, sink);
    }

    /// A call of a whole body, which lists whole calls: their place is their index.
    pub fn whole(
        &mut self,
        position: usize,
        index: Option<u64>,
        piece: &Piece<'_>,
        arguments: &mut Arguments,
        sink: &mut Sink<'_>,
    ) {
        if index.is_some_and(|index| index != position as u64) {
            sink(Event::Oddity(Oddity::CallIndex));
        }
        self.put(None, None, piece, arguments, sink);
        self.close_last(sink);
    }

    /// A piece of the call of this key.
    pub fn add(
        &mut self,
        key: Option<Key>,
        piece: &Piece<'_>,
        arguments: &mut Arguments,
        sink: &mut Sink<'_>,
    ) {
        self.put(self.find(key), key, piece, arguments, sink);
    }

    /// Closes the call that a whole body just gave, if that had a name.
    pub fn close_last(&self, sink: &mut Sink<'_>) {
        if let Some(index) = self.list.last().and_then(|call| call.index) {
            sink(Event::CallEnd { index });
        }
    }

    /// The answer ended: each call must have an id, and arguments, unless those `may_be_cut`.
    pub fn end(&self, may_be_cut: bool, sink: &mut Sink<'_>) {
        for call in self.list.iter().filter(|call| call.index.is_some()) {
            if call.id.is_empty() && call.key != Some(Key::Function) {
                sink(Event::Oddity(Oddity::CallIdMissing));
            }
            if !call.has_arguments && !may_be_cut {
                sink(Event::Oddity(Oddity::EmptyArguments));
            }
        }
    }

    fn find(&self, key: Option<Key>) -> Option<usize> {
        self.list.iter().rposition(|call| call.key == key)
    }

    /// Adds a piece to the call `at`, or to a new one.
    fn put(
        &mut self,
        at: Option<usize>,
        key: Option<Key>,
        piece: &Piece<'_>,
        arguments: &mut Arguments,
        sink: &mut Sink<'_>,
    ) {
        let is_new = at.is_none();
        let at = at.unwrap_or_else(|| {
            self.list.push(Call {
                key,
                id: String::new(),
                index: None,
                has_arguments: false,
            });
            self.list.len() - 1
        });
        let held = piece.id.len() + if is_new { size_of::<Call>() } else { 0 };
        if self.list.len() > MAX_CALLS || self.held + held > MAX_EVENT_BYTES {
            self.list.clear();
            self.held = 0;
            sink(Event::Malformed("more tool calls than a response may have"));
            return;
        }
        let id = piece.id;
        let has_id = |call: &Call| !id.is_empty() && call.id == id;
        let taken = self.list[..at].iter().any(has_id);
        let call = &mut self.list[at];
        // An id after the name is one in pieces: the call was announced without it.
        let late = call.index.is_some() && !(id.is_empty() && piece.name.is_empty());
        if late || taken || !(id.is_empty() || call.id.is_empty()) {
            sink(Event::Oddity(Oddity::CallIdentityRepeated));
        }
        if call.id.is_empty() {
            id.clone_into(&mut call.id);
            self.held += held;
        }
        if call.index.is_none() && !piece.name.is_empty() {
            call.index = Some(self.announced);
            sink(Event::Call {
                index: self.announced,
                id: &call.id,
                name: piece.name,
            });
            self.announced += 1;
        }
        if !piece.arguments.is_empty() {
            match call.index {
                Some(index) => {
                    call.has_arguments = true;
                    arguments.say(index, piece.arguments, sink);
                }
                None => sink(Event::Oddity(Oddity::OutOfBlock)),
            }
        }
    }
}
