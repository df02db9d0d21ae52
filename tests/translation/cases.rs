//! The ways in which gateways break, and what each is named: a row is a fault on some ways between a
//! client and an upstream, and its codes.

use mock_upstream::config::FaultKind;
use weighbridge::endpoint::Endpoint;

use crate::drive::Talk;
use crate::faults::Plant;
use crate::gateway::Wire;

/// A fault, where it is planted, and what has to be said of it.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Its number in the table of faults; 0 for what is not in it.
    pub number: u8,
    /// What the gateway does, if it does it.
    pub plant: Option<Plant>,
    /// What the upstream does, if it does it.
    pub fails: Option<FaultKind>,
    pub talk: Talk,
    pub client: Endpoint,
    /// What the upstream behind the gateway speaks; `None` without a gateway.
    pub wire: Option<Wire>,
    pub stream: bool,
    /// The codes, each with how often it is found in an answer; 0 for any number from 1.
    pub codes: &'static [(&'static str, u64)],
}

const O: Endpoint = Endpoint::OpenAi;
const A: Endpoint = Endpoint::Anthropic;

/// A fault of the gateway, in streams, from each of these upstreams to each of these clients.
fn of_gateway(
    number: u8,
    plant: Plant,
    talk: Talk,
    ways: &[(Endpoint, Wire)],
    codes: &'static [(&'static str, u64)],
) -> Vec<Case> {
    let case = |(client, wire): &(Endpoint, Wire)| Case {
        number,
        plant: Some(plant),
        fails: None,
        talk,
        client: *client,
        wire: Some(*wire),
        stream: true,
        codes,
    };
    ways.iter().map(case).collect()
}

/// The same in whole bodies.
fn in_bodies(cases: Vec<Case>) -> Vec<Case> {
    let whole = |case| Case {
        stream: false,
        ..case
    };
    cases.into_iter().map(whole).collect()
}

/// A fault of the upstream itself, seen without a gateway on both endpoints.
fn of_upstream(
    number: u8,
    fails: FaultKind,
    talk: Talk,
    codes: &'static [(&'static str, u64)],
) -> Vec<Case> {
    let case = |client| Case {
        number,
        plant: None,
        fails: Some(fails),
        talk,
        client,
        wire: None,
        stream: true,
        codes,
    };
    Endpoint::ALL.map(case).to_vec()
}

/// A fault of the upstream that the gateway makes worse.
fn of_both(
    number: u8,
    plant: Plant,
    fails: FaultKind,
    ways: &[(Endpoint, Wire)],
    codes: &'static [(&'static str, u64)],
) -> Vec<Case> {
    let cases = of_gateway(number, plant, Talk::Chat, ways, codes);
    let failing = |case| Case {
        fails: Some(fails),
        ..case
    };
    cases.into_iter().map(failing).collect()
}

/// Every case: fault -> codes.
#[rustfmt::skip]
pub fn cases() -> Vec<Case> {
    use Plant as P;
    use Talk as T;
    use Wire::{Anthropic, Mistral, OpenAi};
    let all = [(A, OpenAi), (A, Mistral), (A, Anthropic), (O, OpenAi), (O, Mistral), (O, Anthropic)];
    let (to_messages, to_chat) = all.split_at(3);
    let across = [(A, OpenAi), (O, Anthropic)];
    let of_mistral = [(A, Mistral), (O, Mistral)];
    // Mistral's chunk has all calls and the end in it, and no pieces that could be interleaved.
    let in_pieces = [(A, OpenAi), (A, Anthropic), (O, OpenAi), (O, Anthropic)];
    let caching = [(A, OpenAi), (A, Anthropic), (O, OpenAi)];
    [
        of_gateway(1, P::CallsMerged, T::Calls, &all, &[("CALLS_MERGED", 1)]),
        in_bodies(of_gateway(1, P::CallsMerged, T::Calls, to_chat, &[("CALLS_MERGED", 1)])),
        of_gateway(2, P::ArgumentsSwapped, T::Calls, &all, &[("ARGUMENTS_MISPLACED", 4)]),
        of_gateway(2, P::ArgumentsSwapped, T::Interleaved, &in_pieces, &[("ARGUMENTS_MISPLACED", 4)]),
        in_bodies(of_gateway(2, P::ArgumentsSwapped, T::Calls, &across, &[("ARGUMENTS_MISPLACED", 4)])),
        of_gateway(3, P::DeltaAfterStop, T::Chat, &all, &[("DELTA_AFTER_STOP", 1)]),
        of_gateway(3, P::BlocksOverlap, T::Calls, to_messages, &[("BLOCKS_OVERLAP", 1)]),
        of_gateway(4, P::TextHeadLost, T::Chat, &all, &[("TEXT_HEAD_LOST", 1)]),
        of_gateway(4, P::TextHeadLost, T::Reasoning, &all, &[("TEXT_HEAD_LOST", 1)]),
        of_gateway(5, P::FinishPayloadLost, T::Calls, &of_mistral, &[("CALLS_LOST", 2)]),
        of_gateway(5, P::TextTailLost, T::Chat, &all, &[("TEXT_TAIL_LOST", 1)]),
        of_gateway(6, P::IndexFromOne, T::Calls, to_chat, &[("CALL_INDEX_WRONG", 0)]),
        of_gateway(6, P::IndexFromOne, T::Calls, to_messages, &[("BLOCK_INDEX_WRONG", 0)]),
        of_gateway(7, P::IdentityRepeated, T::Calls, to_chat, &[("CALL_IDENTITY_REPEATED", 0)]),
        of_gateway(8, P::StopReasonWrong, T::Calls, &all, &[("STOP_REASON_WRONG", 1)]),
        in_bodies(of_gateway(8, P::StopReasonWrong, T::Calls, &across, &[("STOP_REASON_WRONG", 1)])),
        of_upstream(8, FaultKind::WrongFinish, T::Calls, &[("STOP_REASON_WRONG", 1)]),
        of_gateway(9, P::StartUsageZero, T::Chat, to_messages, &[("START_USAGE_ZERO", 1)]),
        of_gateway(10, P::UsageZero, T::Chat, &across, &[("USAGE_WRONG", 1)]),
        of_gateway(10, P::UsageGuessed, T::Chat, &all, &[("USAGE_WRONG", 1)]),
        in_bodies(of_gateway(10, P::UsageGuessed, T::Chat, &across, &[("USAGE_WRONG", 1)])),
        of_gateway(10, P::UsageLost, T::Chat, &all, &[("USAGE_MISSING", 1)]),
        of_gateway(11, P::CacheTwice, T::Cached, &caching, &[("CACHE_COUNTED_TWICE", 1)]),
        in_bodies(of_gateway(11, P::CacheTwice, T::Cached, &caching, &[("CACHE_COUNTED_TWICE", 1)])),
        of_gateway(12, P::ReasoningLost, T::Reasoning, &all, &[("REASONING_LOST", 1)]),
        of_gateway(12, P::ReasoningDropped, T::Reasoning, &all, &[("REASONING_LOST", 0)]),
        of_gateway(12, P::ReasoningRepeated, T::Reasoning, &all, &[("REASONING_REPEATED", 1)]),
        of_gateway(12, P::SignatureLost, T::Reasoning, to_messages, &[("SIGNATURE_LOST", 1)]),
        in_bodies(of_gateway(12, P::SignatureLost, T::Reasoning, to_messages, &[("SIGNATURE_LOST", 1)])),
        of_gateway(13, P::TextInThinking, T::Reasoning, to_messages, &[("DELTA_IN_WRONG_BLOCK", 1)]),
        of_gateway(13, P::ReasoningAsText, T::Reasoning, &all, &[("REASONING_IN_TEXT", 0)]),
        of_gateway(14, P::KeepAliveLost, T::Silent, &all, &[("KEEPALIVE_LOST", 1)]),
        of_both(15, P::ErrorSwallowed, FaultKind::ErrorInStream, &all, &[("ERROR_SWALLOWED", 1)]),
        of_both(15, P::ErrorSwallowed, FaultKind::Cut, &all, &[("ERROR_SWALLOWED", 1)]),
        of_gateway(16, P::IdsChanged, T::Calls, &of_mistral, &[("TURN_REJECTED", 1)]),
        of_gateway(16, P::ResultIdsChanged, T::Calls, &all, &[("TURN_REJECTED", 1)]),
        of_gateway(17, P::ArgumentsEmpty, T::Bare, to_chat, &[("EMPTY_ARGUMENTS", 1)]),
        in_bodies(of_gateway(17, P::ArgumentsEmpty, T::Bare, to_chat, &[("EMPTY_ARGUMENTS", 1)])),
        of_gateway(18, P::CallsListEmpty, T::Chat, to_chat, &[("EMPTY_TOOL_CALLS", 1)]),
        of_gateway(18, P::BlockEmpty, T::Chat, to_messages, &[("EMPTY_BLOCK", 1)]),
        of_gateway(18, P::CallInvented, T::Unused, &all, &[("CALLS_EXTRA", 1)]),
        of_gateway(19, P::TextAfterCallsLost, T::TextAfter, &all, &[("TEXT_AFTER_CALL_LOST", 4)]),
        of_gateway(20, P::Buffered, T::Chat, &all, &[("BUFFERED", 1)]),
        of_gateway(21, P::Leak, T::Chat, &all, &[("FOREIGN_DATA", 1)]),
        of_gateway(22, P::ParallelDropped, T::Single, &all, &[("PARALLEL_RESTRICTION_DROPPED", 1)]),
        of_gateway(22, P::ChoiceDropped, T::Required, &all, &[("CHOICE_CHANGED", 1)]),
        of_gateway(22, P::ToolsDropped, T::Calls, &all, &[("TOOLS_DROPPED", 1)]),
        of_gateway(0, P::TextLost, T::Chat, &all, &[("TEXT_LOST", 1)]),
        of_gateway(0, P::TextRepeated, T::Chat, &all, &[("TEXT_REPEATED", 1)]),
        of_gateway(0, P::TextReordered, T::Chat, &all, &[("TEXT_REORDERED", 1)]),
        of_upstream(0, FaultKind::LostEvent, T::Chat, &[("TEXT_LOST", 1)]),
        of_upstream(0, FaultKind::DuplicateEvent, T::Chat, &[("TEXT_REPEATED", 1)]),
        of_upstream(0, FaultKind::ForeignData, T::Chat, &[("FOREIGN_DATA", 1), ("TEXT_LOST", 1)]),
        of_upstream(0, FaultKind::UnterminatedEvent, T::Chat, &[("UNTERMINATED_EVENT", 1)]),
    ]
    .concat()
}
