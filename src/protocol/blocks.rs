//! The content blocks of an Anthropic message: indexes count from 0, one block is open at a time,
//! each delta fits its block, and a block that closes has what its kind must have.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use super::decode::{MAX_CALLS, MAX_EVENT_BYTES, Sink};
use crate::event::{Event, Oddity};

/// What a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Thinking,
    Tool,
    Other,
}

impl Kind {
    /// The kind of a block type; `None` for types that are not known here.
    pub fn of(block_type: &str) -> Option<Self> {
        Some(match block_type {
            "text" => Self::Text,
            "thinking" => Self::Thinking,
            // Calls that the server itself makes come with arguments too, but nobody waits for
            // them: no call is announced.
            "tool_use" | "server_tool_use" | "mcp_tool_use" => Self::Tool,
            "redacted_thinking" | "container_upload" | "compaction" => Self::Other,
            other if other.ends_with("_tool_result") => Self::Other,
            _ => return None,
        })
    }
}

/// What a block has had so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Given {
    /// Any text, or any thinking.
    pub content: bool,
    pub signature: bool,
    /// The call that a `tool_use` block is.
    pub call: Option<u32>,
    /// Whether the arguments that were reported are those of the block's start, which deltas
    /// replace.
    pub input: bool,
}

/// What a block lacks that closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    Content,
    Signature,
}

impl Missing {
    /// A signature alone is thinking that is not shown.
    pub fn of(kind: Kind, has_content: bool, has_signature: bool) -> Option<Self> {
        match kind {
            Kind::Text if !has_content => Some(Self::Content),
            Kind::Thinking if has_signature => None,
            Kind::Thinking if has_content => Some(Self::Signature),
            Kind::Thinking => Some(Self::Content),
            Kind::Text | Kind::Tool | Kind::Other => None,
        }
    }
}

impl From<Missing> for Oddity {
    fn from(missing: Missing) -> Self {
        match missing {
            Missing::Content => Self::EmptyBlock,
            Missing::Signature => Self::SignatureMissing,
        }
    }
}

/// A block that has begun.
#[derive(Debug)]
pub(super) struct Block {
    index: Option<u64>,
    kind: Kind,
    given: Given,
}

/// The blocks of a message.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    /// One, if the writer keeps to the protocol.
    open: Vec<Block>,
    /// The index that the next block must have.
    next: u64,
    closed: Closed,
    /// What the block lacks that closed last. The output limit may have cut it off, and only the
    /// stop reason says so.
    lack: Option<Missing>,
    /// Calls that were announced.
    calls: u32,
    /// Digests of their ids.
    ids: HashSet<u64>,
}

impl Blocks {
    /// Bytes that the open blocks hold.
    pub fn held(&self) -> usize {
        self.open.len() * size_of::<Block>()
    }

    /// A block begins; it is not yet among the open ones.
    pub fn open(&mut self, index: Option<u64>, kind: Kind, sink: &mut Sink<'_>) -> Block {
        self.settle(false, sink);
        if !self.open.is_empty() {
            sink(Event::Oddity(Oddity::BlocksOverlap));
        }
        if index != Some(self.next) {
            sink(Event::Oddity(Oddity::BlockIndex));
        }
        self.next = index.unwrap_or(self.next).saturating_add(1);
        Block {
            index,
            kind,
            given: Given::default(),
        }
    }

    /// A block is open, with what its start had.
    pub fn push(&mut self, mut block: Block, given: Given, sink: &mut Sink<'_>) {
        if self.open.len() == MAX_CALLS || self.held() + size_of::<Block>() > MAX_EVENT_BYTES {
            self.open.clear();
            sink(Event::Malformed(
                "more open blocks than a response may have",
            ));
            return;
        }
        block.given = given;
        self.open.push(block);
    }

    /// A call begins: its index.
    pub fn call(&mut self, id: &str, sink: &mut Sink<'_>) -> u32 {
        if id.is_empty() {
            sink(Event::Oddity(Oddity::CallIdMissing));
        } else if self.ids.len() < MAX_CALLS {
            let mut digest = DefaultHasher::new();
            id.hash(&mut digest);
            if !self.ids.insert(digest.finish()) {
                sink(Event::Oddity(Oddity::CallIdentityRepeated));
            }
        }
        let index = self.calls;
        self.calls = self.calls.saturating_add(1);
        index
    }

    /// How a delta for a block of this kind departs, if it does.
    pub fn misfit(&self, index: Option<u64>, kind: Kind) -> Option<Oddity> {
        match self.find(index) {
            Some(at) if self.open[at].kind == kind => None,
            Some(_) => Some(Oddity::DeltaInWrongBlock),
            None if self.closed.has(index) => Some(Oddity::DeltaAfterStop),
            None => Some(Oddity::OutOfBlock),
        }
    }

    /// What the open block of this index has had, if it is of this kind.
    pub fn given(&mut self, index: Option<u64>, kind: Kind) -> Option<&mut Given> {
        let at = self.find(index)?;
        let block = &mut self.open[at];
        (block.kind == kind).then_some(&mut block.given)
    }

    /// Closes a block: what it has had. What it lacks is said once it is settled. `None` if no such block
    /// is open.
    pub fn close(&mut self, index: Option<u64>, sink: &mut Sink<'_>) -> Option<Given> {
        let block = self.open.remove(self.find(index)?);
        self.closed.add(block.index);
        let given = block.given;
        self.lacks(
            Missing::of(block.kind, given.content, given.signature),
            sink,
        );
        Some(given)
    }

    /// A block closed, and lacks this. The one before it was not the last: no limit cut it off.
    pub fn lacks(&mut self, missing: Option<Missing>, sink: &mut Sink<'_>) {
        self.settle(false, sink);
        self.lack = missing;
    }

    /// Says what the block lacks that closed last, unless it may be cut off.
    pub fn settle(&mut self, may_be_cut: bool, sink: &mut Sink<'_>) {
        if let Some(missing) = self.lack.take().filter(|_| !may_be_cut) {
            sink(Event::Oddity(missing.into()));
        }
    }

    /// Closes all that are open: the call of each.
    pub fn close_all(&mut self) -> impl Iterator<Item = Option<u32>> + use<> {
        std::mem::take(&mut self.open)
            .into_iter()
            .map(|block| block.given.call)
    }

    fn find(&self, index: Option<u64>) -> Option<usize> {
        self.open.iter().rposition(|block| block.index == index)
    }
}

/// The indexes of closed blocks.
#[derive(Debug, Default)]
struct Closed {
    /// All below this one.
    below: u64,
    /// Others, as many as may be remembered.
    others: Vec<u64>,
}

impl Closed {
    fn add(&mut self, index: Option<u64>) {
        match index {
            Some(index) if index == self.below => self.below += 1,
            Some(index) if self.others.len() < MAX_CALLS => self.others.push(index),
            _ => {}
        }
    }

    fn has(&self, index: Option<u64>) -> bool {
        index.is_some_and(|index| index < self.below || self.others.contains(&index))
    }
}
