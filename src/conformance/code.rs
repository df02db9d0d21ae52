//! The names of what can be wrong with an answer, and which fault shows as which.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($seen_on:ident { $($(#[doc = $doc:literal])+ $code:ident = $name:literal, $words:literal,)+ })+) => {
        /// A departure: of a stream from its protocol, of an answer from what the upstream wrote, or
        /// of the upstream's request from the client's.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
            JsonSchema,
        )]
        pub enum Code {
            $($($(#[doc = $doc])+ #[serde(rename = $name)] $code,)+)+
        }

        impl Code {
            /// Every code, the gravest first.
            pub const ALL: &[Self] = &[$($(Self::$code,)+)+];

            /// The name in reports.
            pub const fn name(self) -> &'static str {
                match self {
                    $($(Self::$code => $name,)+)+
                }
            }

            /// What it says of an answer, to stand behind "in 3 of 100 answers".
            pub const fn words(self) -> &'static str {
                match self {
                    $($(Self::$code => $words,)+)+
                }
            }

            /// Which attempts can show it.
            pub const fn seen_on(self) -> SeenOn {
                match self {
                    $($(Self::$code)|+ => SeenOn::$seen_on,)+
                }
            }
        }
    };
}

/// The attempts that can show a departure: what a finding is "of".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SeenOn {
    /// Answers: a body with status 2xx began.
    Answers,
    /// Those of them that were asked for as streams.
    Streams,
    /// Answers whose text or reasoning has marks of its own.
    Marked,
    /// Answers with tool calls.
    Calls,
    /// Complete answers with tool calls that no limit ended.
    WholeCalls,
    /// Complete answers of which the upstream's journal has the whole.
    Written,
    /// The streams among them whose silences the journal knows.
    Timed,
    /// Complete answers that the journal has an entry of.
    Answered,
    /// Requests with tools that the journal says what it got of.
    Asked,
    /// Requests of a turn after the first.
    LaterTurns,
    /// Answers with an error in them, under a good status.
    Errors,
}

impl SeenOn {
    /// The attempts in a word or two.
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Answers | Self::Written | Self::Answered => "answers",
            Self::Streams | Self::Timed => "streams",
            Self::Marked => "answers whose tokens are numbered",
            Self::Calls => "answers with tool calls",
            Self::WholeCalls => "complete answers with tool calls",
            Self::Asked => "requests with tools",
            Self::LaterTurns => "later turns",
            Self::Errors => "answers with an error in them",
        }
    }
}

codes! {
    Answers {
        /// Text, reasoning or arguments of another answer: one stream's data in another.
        ForeignData = "FOREIGN_DATA",
            "data of another answer arrived",
    }
    Answered {
        /// A success, where no answer of the upstream came to a good end.
        ErrorSwallowed = "ERROR_SWALLOWED",
            "the answer ended as a success, though the upstream's broke off or failed",
    }
    Marked {
        /// Tokens are missing in the middle of the visible text.
        TextLost = "TEXT_LOST",
            "tokens of the visible text are missing in its middle",
        /// Tokens are missing where text begins, or begins again after reasoning or a call.
        TextHeadLost = "TEXT_HEAD_LOST",
            "the first tokens of a block of visible text are missing",
        /// Tokens of the visible text came again.
        TextRepeated = "TEXT_REPEATED",
            "tokens of the visible text came more than once",
        /// Tokens of the visible text came out of their order.
        TextReordered = "TEXT_REORDERED",
            "tokens of the visible text came out of order",
        /// The visible text holds pieces that the upstream did not write.
        TextUnmarked = "TEXT_MADE_UP",
            "the visible text holds pieces that the upstream did not write",
        /// Reasoning came as visible text.
        ReasoningInText = "REASONING_IN_TEXT",
            "reasoning came as visible text",
        /// Visible text came as reasoning.
        TextInReasoning = "TEXT_IN_REASONING",
            "visible text came as reasoning",
        /// Arguments of a call came as visible text.
        CallInText = "CALL_IN_TEXT",
            "arguments of a tool call came as visible text",
        /// Tokens of the reasoning came again.
        ReasoningRepeated = "REASONING_REPEATED",
            "tokens of the reasoning came more than once",
        /// Tokens of the reasoning came out of their order.
        ReasoningReordered = "REASONING_REORDERED",
            "tokens of the reasoning came out of order",
        /// The reasoning holds pieces that the upstream did not write.
        ReasoningUnmarked = "REASONING_MADE_UP",
            "the reasoning holds pieces that the upstream did not write",
    }
    Written {
        /// Tokens are missing at the end of the visible text.
        TextTailLost = "TEXT_TAIL_LOST",
            "the last tokens of the visible text are missing",
        /// Visible text that the upstream wrote after a tool call is missing.
        TextAfterCallLost = "TEXT_AFTER_CALL_LOST",
            "visible text after a tool call is missing",
        /// Reasoning is missing: in its middle, at its begin or end, or all of it.
        ReasoningLost = "REASONING_LOST",
            "tokens of the reasoning are missing",
        /// Several calls of the upstream came as one.
        CallsMerged = "CALLS_MERGED",
            "several tool calls came as one",
        /// Calls of the upstream are missing.
        CallsLost = "CALLS_LOST",
            "tool calls of the upstream are missing",
        /// More calls than the upstream made.
        CallsExtra = "CALLS_EXTRA",
            "there are tool calls that the upstream did not make",
        /// The input counts cached tokens twice.
        CacheCountedTwice = "CACHE_COUNTED_TWICE",
            "the reported input counts cached tokens twice",
        /// The reported usage is not what the upstream counted: none, or an estimate.
        UsageWrong = "USAGE_WRONG",
            "the reported usage is not the upstream's",
    }
    Calls {
        /// A call holds arguments of another call of the same answer.
        ArgumentsMisplaced = "ARGUMENTS_MISPLACED",
            "a tool call holds arguments of another call",
    }
    WholeCalls {
        /// Arguments that are no JSON object, of an answer that was not ended by its limit.
        JsonInvalid = "JSON_INVALID",
            "the arguments of a tool call are not one JSON object",
    }
    Calls {
        /// A call of a tool that was not offered.
        NameWrong = "NAME_WRONG",
            "a tool was called that was not offered",
    }
    WholeCalls {
        /// Arguments that do not fit the tool's schema.
        SchemaInvalid = "SCHEMA_INVALID",
            "the arguments of a tool call do not fit the tool's schema",
    }
    Asked {
        /// The upstream did not get the tools.
        ToolsDropped = "TOOLS_DROPPED",
            "the upstream was offered no tools",
        /// The upstream was told something else of calling tools.
        ChoiceChanged = "CHOICE_CHANGED",
            "the upstream got another tool choice",
        /// The upstream was not told that calls must not be parallel.
        ParallelRestrictionDropped = "PARALLEL_RESTRICTION_DROPPED",
            "the upstream was not told that only one tool call may come at a time",
    }
    LaterTurns {
        /// A later turn was refused: what the turn before returned cannot be given back.
        TurnRejected = "TURN_REJECTED",
            "the request was refused, with what the turn before returned in it: ids or history may not have survived",
    }
    Timed {
        /// The stream came all at once, or in lumps, where the upstream wrote it bit by bit.
        Buffered = "BUFFERED",
            "the stream came in lumps where the upstream wrote it bit by bit",
        /// A silence without keep-alives, where the upstream was never silent for so long.
        KeepaliveLost = "KEEPALIVE_LOST",
            "the stream was silent for far longer than the upstream was",
    }
    Answers {
        /// A stop reason that the content contradicts.
        StopReasonWrong = "STOP_REASON_WRONG",
            "the stop reason contradicts the content",
        /// No stop reason.
        FinishMissing = "FINISH_MISSING",
            "there is no stop reason",
        /// The usage was asked for, or belongs to the protocol, and is not there.
        UsageMissing = "USAGE_MISSING",
            "the usage is missing",
        /// Token counts that contradict each other.
        UsageInconsistent = "USAGE_INCONSISTENT",
            "token counts contradict each other",
        /// A token count that is negative, fractional or no number.
        UsageNotANumber = "USAGE_NOT_A_NUMBER",
            "a token count is not a whole number",
        /// A call's id or name came more than once.
        CallIdentityRepeated = "CALL_IDENTITY_REPEATED",
            "a tool call's id or name came more than once",
        /// A first delta, or a whole message, without the role.
        RoleMissing = "ROLE_MISSING",
            "the first delta, or the message, has no role",
        /// A tool call without an id.
        CallIdMissing = "CALL_ID_MISSING",
            "a tool call has no id",
        /// Arguments that are an empty text, where an empty object is meant.
        EmptyArguments = "EMPTY_ARGUMENTS",
            "the arguments of a tool call are an empty text, not `{}`",
        /// A thinking block without its signature.
        SignatureLost = "SIGNATURE_LOST",
            "a thinking block has no signature",
        /// A content block without content.
        EmptyBlock = "EMPTY_BLOCK",
            "a content block is empty",
        /// The content type is not what was asked for.
        ContentTypeWrong = "CONTENT_TYPE_WRONG",
            "the content type is not that of the answer",
        /// Bytes that are not UTF-8.
        InvalidUtf8 = "INVALID_UTF8",
            "there are bytes that are not UTF-8",
    }
    Streams {
        /// A block that begins while another is open.
        BlocksOverlap = "BLOCKS_OVERLAP",
            "a content block began while another was open",
        /// A delta after its block's stop, or after the stop reason.
        DeltaAfterStop = "DELTA_AFTER_STOP",
            "a delta came after its block's stop or after the stop reason",
        /// A delta of another kind than its block.
        DeltaInWrongBlock = "DELTA_IN_WRONG_BLOCK",
            "a delta came in a block of another kind",
        /// Something for a block or call that was never opened, or out of its turn.
        OutOfBlock = "OUT_OF_BLOCK",
            "an event is about a block or call that is not open",
        /// A block's index is not that of the block before and one.
        BlockIndexWrong = "BLOCK_INDEX_WRONG",
            "the indexes of content blocks are not contiguous from 0",
        /// A call's index is not that of the call before and one.
        CallIndexWrong = "CALL_INDEX_WRONG",
            "the indexes of tool calls are not contiguous from 0",
        /// A block that was never closed.
        BlockLeftOpen = "BLOCK_LEFT_OPEN",
            "a content block was never closed",
        /// `message_start` came again, or not first.
        MessageStartWrong = "MESSAGE_START_WRONG",
            "`message_start` came again or not first",
        /// `message_start` has no count of input tokens, or says that there are none.
        StartUsageZero = "START_USAGE_ZERO",
            "`message_start` counts no input tokens",
        /// The stop reason came again.
        FinishRepeated = "FINISH_REPEATED",
            "the stop reason came more than once",
        /// The terminator came again.
        TerminatorRepeated = "TERMINATOR_REPEATED",
            "the terminator came more than once",
        /// Events after the terminator, none of which is a cost.
        AfterTerminator = "AFTER_TERMINATOR",
            "events came after the terminator",
        /// Chunks of one stream name different responses.
        IdChanged = "ID_CHANGED",
            "the response's id changed within the stream",
        /// A list of tool calls without any.
        EmptyToolCalls = "EMPTY_TOOL_CALLS",
            "a delta has an empty list of tool calls",
        /// An event of the other endpoint's protocol.
        ForeignEvent = "FOREIGN_EVENT",
            "an event of the other protocol came",
        /// `[DONE]` on the Anthropic endpoint.
        DoneOnAnthropic = "DONE_ON_ANTHROPIC",
            "`[DONE]` came, which this protocol does not have",
        /// The `event:` line and the data's `type` differ, or one is missing.
        EventTypeMismatch = "EVENT_TYPE_MISMATCH",
            "the `event:` line is not the data's `type`, or one is missing",
        /// The stream ended in the middle of an event.
        UnterminatedEvent = "UNTERMINATED_EVENT",
            "the stream ended in the middle of an event",
    }
    Errors {
        /// An error in the shape of another protocol, or without an envelope.
        FlatError = "FLAT_ERROR",
            "the error has not the protocol's shape",
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Code {
    /// The departure that an oddity is, by the oddity's name in the facts; `None` for what real APIs
    /// do, and for what only some attempts make one.
    pub fn of_oddity(name: &str) -> Option<Self> {
        Some(match name {
            "unterminated_event" => Self::UnterminatedEvent,
            "done_on_anthropic" => Self::DoneOnAnthropic,
            "foreign_event" => Self::ForeignEvent,
            "event_type_mismatch" => Self::EventTypeMismatch,
            "flat_error" => Self::FlatError,
            "call_identity_repeated" => Self::CallIdentityRepeated,
            "out_of_block" => Self::OutOfBlock,
            "after_terminator" => Self::AfterTerminator,
            "content_type" => Self::ContentTypeWrong,
            "invalid_utf8" => Self::InvalidUtf8,
            "usage_not_a_number" => Self::UsageNotANumber,
            "delta_after_stop" => Self::DeltaAfterStop,
            "blocks_overlap" => Self::BlocksOverlap,
            "block_index" => Self::BlockIndexWrong,
            "call_index" => Self::CallIndexWrong,
            "delta_in_wrong_block" => Self::DeltaInWrongBlock,
            "stop_reason" => Self::StopReasonWrong,
            "start_usage_zero" => Self::StartUsageZero,
            "usage_missing" => Self::UsageMissing,
            "usage_inconsistent" => Self::UsageInconsistent,
            "terminator_repeated" => Self::TerminatorRepeated,
            "empty_block" => Self::EmptyBlock,
            "empty_tool_calls" => Self::EmptyToolCalls,
            "empty_arguments" => Self::EmptyArguments,
            "finish_missing" => Self::FinishMissing,
            "finish_repeated" => Self::FinishRepeated,
            "signature_missing" => Self::SignatureLost,
            "role_missing" => Self::RoleMissing,
            "block_left_open" => Self::BlockLeftOpen,
            "message_start" => Self::MessageStartWrong,
            "id_changed" => Self::IdChanged,
            "call_id_missing" => Self::CallIdMissing,
            // `unknown_event`: APIs grow, and clients have to read over what they do not know.
            // `call_without_index`: Mistral's whole calls have none.
            _ => return None,
        })
    }
}

/// The ways in which translating gateways are known to break, and the codes that name each: any of
/// them, by what exactly happens.
pub const FAULTS: [(&str, &[Code]); 22] = [
    (
        "parallel calls in one chunk merged",
        &[Code::CallsMerged, Code::CallsLost],
    ),
    (
        "interleaved arguments in the wrong block",
        &[Code::ArgumentsMisplaced],
    ),
    (
        "a delta after its block's stop, or overlapping blocks",
        &[Code::DeltaAfterStop, Code::BlocksOverlap],
    ),
    (
        "the first delta of a new block lost",
        &[Code::TextHeadLost, Code::ReasoningLost],
    ),
    (
        "the finish chunk's payload lost",
        &[Code::TextTailLost, Code::CallsLost],
    ),
    (
        "a wrong index",
        &[Code::CallIndexWrong, Code::BlockIndexWrong],
    ),
    ("an id or name repeated", &[Code::CallIdentityRepeated]),
    ("a wrong stop reason", &[Code::StopReasonWrong]),
    ("no input in `message_start`", &[Code::StartUsageZero]),
    (
        "a final usage of zero, or an estimate",
        &[Code::UsageWrong, Code::UsageMissing],
    ),
    ("cached tokens counted twice", &[Code::CacheCountedTwice]),
    (
        "thinking lost or repeated, or its signature lost",
        &[
            Code::ReasoningLost,
            Code::ReasoningRepeated,
            Code::SignatureLost,
        ],
    ),
    (
        "a delta of text in a thinking block",
        &[
            Code::DeltaInWrongBlock,
            Code::TextInReasoning,
            Code::ReasoningInText,
        ],
    ),
    ("no keep-alives in a silence", &[Code::KeepaliveLost]),
    (
        "an error in the stream swallowed into a clean end",
        &[Code::ErrorSwallowed],
    ),
    ("ids changed or unusable", &[Code::TurnRejected]),
    (
        "empty arguments in place of an empty object",
        &[Code::EmptyArguments],
    ),
    (
        "an empty list taken for a call, or an empty block",
        &[Code::EmptyToolCalls, Code::EmptyBlock, Code::CallsExtra],
    ),
    ("text after a call dropped", &[Code::TextAfterCallLost]),
    ("buffered or fake streaming", &[Code::Buffered]),
    ("one stream's data in another", &[Code::ForeignData]),
    (
        "a restriction dropped on the way to the upstream",
        &[
            Code::ParallelRestrictionDropped,
            Code::ChoiceChanged,
            Code::ToolsDropped,
        ],
    ),
];
