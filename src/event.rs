//! A provider-neutral stream event. `protocol` decodes bytes into these; `timeline` stamps them.
//!
//! One event of the wire (an SSE event, or a whole body) becomes any number of [`Event`]s and
//! then one [`Event::EndOfChunk`]: a Mistral chunk may hold the last reasoning and the first
//! text, and one wire event is one sample of the gap metrics, whatever it holds. Text is
//! borrowed from the decoder's buffer and lives until the sink returns.

use crate::usage::Usage;

/// One thing that a response said.
#[derive(Clone, Debug, PartialEq)]
pub enum Event<'a> {
    /// The response named itself: its id and the model that served it.
    Opened {
        /// The provider's id of the response.
        id: Option<&'a str>,
        /// The model that the response names.
        model: Option<&'a str>,
    },
    /// The service tier that the response names; a later one replaces it.
    ServiceTier(&'a str),
    /// A non-empty piece of reasoning (class R).
    Reasoning(&'a str),
    /// A non-empty piece of visible text or of a refusal (class V).
    Text(&'a str),
    /// A tool call was announced: the first non-empty name of a call (class A).
    Call {
        /// Position of the call in this response, from 0, in the order of announcement.
        index: u32,
        /// The provider's id of the call; empty if it gave none.
        id: &'a str,
        /// The tool's name.
        name: &'a str,
    },
    /// A non-empty piece of a call's arguments (class G).
    Arguments {
        /// The call, as in [`Event::Call`].
        index: u32,
        /// A fragment of JSON text.
        fragment: &'a str,
    },
    /// What came of this call's arguments so far is void: what follows takes its place
    /// (Anthropic: an input in the block's start, and deltas after it).
    ArgumentsReplaced {
        /// The call, as in [`Event::Call`].
        index: u32,
    },
    /// The protocol closed this call (Anthropic: `content_block_stop`).
    CallEnd {
        /// The call, as in [`Event::Call`].
        index: u32,
    },
    /// Token counts; a later one replaces the counts that it names.
    Usage(Usage),
    /// Why the model stopped.
    Finish {
        /// In the terms of both protocols.
        reason: FinishReason,
        /// As received.
        raw: &'a str,
    },
    /// A cost that the gateway recorded in the response.
    Cost {
        /// Index of the surface in the list that the decoder was given.
        surface: usize,
        /// The number's own digits.
        digits: &'a str,
    },
    /// The provider reported an error where an answer was due.
    Error {
        /// The provider's error type or code; empty if it gave none.
        kind: &'a str,
        /// Its message.
        message: &'a str,
    },
    /// The bytes break the protocol: not JSON, no SSE, a chunk without the parts it must have.
    Malformed(&'a str),
    /// Something odd that can be read all the same; counted.
    Oddity(Oddity),
    /// The protocol's own end: `[DONE]`, `message_stop`, or the whole body.
    Terminator,
    /// The end of one event of the wire.
    EndOfChunk,
}

/// Why a model stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// It had said everything (`stop`, `end_turn`).
    Stop,
    /// A stop sequence was met (`stop_sequence`; `OpenAI` says `stop`).
    StopSequence,
    /// The output limit (`length`, `max_tokens`) or the model's own (`model_length`,
    /// `model_context_window_exceeded`).
    Length,
    /// It calls tools (`tool_calls`, `tool_use`; the older `function_call`).
    ToolCalls,
    /// Withheld (`content_filter`, `refusal`).
    Refusal,
    /// The provider failed in the middle (`error`).
    Error,
    /// It paused and wants to be asked to go on (`pause_turn`).
    Pause,
    /// A reason that is not known here; the raw text says which.
    Other,
}

impl FinishReason {
    /// What a reason as received means. The names of both protocols are known on either endpoint: a
    /// gateway that mixes them up is read, and the raw text shows it.
    pub fn of(raw: &str) -> Self {
        match raw {
            "stop" | "end_turn" => Self::Stop,
            "stop_sequence" => Self::StopSequence,
            "length" | "max_tokens" | "model_length" | "model_context_window_exceeded" => {
                Self::Length
            }
            "tool_calls" | "tool_use" | "function_call" => Self::ToolCalls,
            "content_filter" | "refusal" => Self::Refusal,
            "error" => Self::Error,
            "pause_turn" => Self::Pause,
            _ => Self::Other,
        }
    }
}

/// Departures from the protocol that do not prevent reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Oddity {
    /// The connection ended in the middle of an SSE event, which was read all the same.
    UnterminatedEvent,
    /// `[DONE]` on the Anthropic endpoint.
    DoneOnAnthropic,
    /// An Anthropic-style event (`{"type":"ping"}` ...) on the `OpenAI` endpoint.
    ForeignEvent,
    /// An event type or delta type that is not known here.
    UnknownEvent,
    /// The `event:` line and the data's `type` differ, or one is missing.
    EventTypeMismatch,
    /// An error in a shape of the other protocol or without an envelope.
    FlatError,
    /// A tool call without `index`; its place was taken from its id or position.
    CallWithoutIndex,
    /// A tool call's id or name came more than once, or in pieces, or two calls have the same id.
    CallIdentityRepeated,
    /// Something for a content block or call that was never opened; the end of a block that is
    /// closed.
    OutOfBlock,
    /// Events without content after the terminator (some gateways put the cost there).
    AfterTerminator,
    /// The content type is not what the mode asks for.
    ContentType,
    /// Bytes that are not UTF-8 inside an event.
    InvalidUtf8,
    /// A token count that is negative, fractional or no number; it was not taken.
    UsageNotANumber,
    /// A delta for a block after its stop; content, or the begin or end of a block, after the stop
    /// reason or the terminator.
    DeltaAfterStop,
    /// A block that begins while another is open.
    BlocksOverlap,
    /// A block's index is not that of the block before and one.
    BlockIndex,
    /// A call's index is not that of the call before and one.
    CallIndex,
    /// A delta of another kind than its block: text in a thinking block.
    DeltaInWrongBlock,
    /// A stop reason that the content contradicts: calls, and not the reason of calls; or the other
    /// way round.
    StopReason,
    /// `message_start` has no count of input tokens, or says that there are none.
    StartUsageZero,
    /// The end had no usage, though it was asked for or the protocol has one.
    UsageMissing,
    /// Counts that cannot be: more cached than there are, a total that is no sum, an output that
    /// shrinks.
    UsageInconsistent,
    /// The terminator came again.
    TerminatorRepeated,
    /// A content block of text or thinking that closes without any, and that no output limit cut off.
    EmptyBlock,
    /// A list of tool calls without any.
    EmptyToolCalls,
    /// Arguments that are an empty text, where an empty object is meant.
    EmptyArguments,
    /// No stop reason.
    FinishMissing,
    /// The stop reason came again.
    FinishRepeated,
    /// A thinking block without its signature, that no output limit cut off.
    SignatureMissing,
    /// A first delta, or a whole message, without the role.
    RoleMissing,
    /// A block that was never closed.
    BlockLeftOpen,
    /// `message_start` came again, or not first, or not at all.
    MessageStart,
    /// Chunks of one stream name different responses.
    IdChanged,
    /// A call without an id.
    CallIdMissing,
}

impl Oddity {
    /// The name in facts and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnterminatedEvent => "unterminated_event",
            Self::DoneOnAnthropic => "done_on_anthropic",
            Self::ForeignEvent => "foreign_event",
            Self::UnknownEvent => "unknown_event",
            Self::EventTypeMismatch => "event_type_mismatch",
            Self::FlatError => "flat_error",
            Self::CallWithoutIndex => "call_without_index",
            Self::CallIdentityRepeated => "call_identity_repeated",
            Self::OutOfBlock => "out_of_block",
            Self::AfterTerminator => "after_terminator",
            Self::ContentType => "content_type",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::UsageNotANumber => "usage_not_a_number",
            Self::DeltaAfterStop => "delta_after_stop",
            Self::BlocksOverlap => "blocks_overlap",
            Self::BlockIndex => "block_index",
            Self::CallIndex => "call_index",
            Self::DeltaInWrongBlock => "delta_in_wrong_block",
            Self::StopReason => "stop_reason",
            Self::StartUsageZero => "start_usage_zero",
            Self::UsageMissing => "usage_missing",
            Self::UsageInconsistent => "usage_inconsistent",
            Self::TerminatorRepeated => "terminator_repeated",
            Self::EmptyBlock => "empty_block",
            Self::EmptyToolCalls => "empty_tool_calls",
            Self::EmptyArguments => "empty_arguments",
            Self::FinishMissing => "finish_missing",
            Self::FinishRepeated => "finish_repeated",
            Self::SignatureMissing => "signature_missing",
            Self::RoleMissing => "role_missing",
            Self::BlockLeftOpen => "block_left_open",
            Self::MessageStart => "message_start",
            Self::IdChanged => "id_changed",
            Self::CallIdMissing => "call_id_missing",
        }
    }
}
