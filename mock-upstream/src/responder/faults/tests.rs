//! What each fault makes of the events of a stream and of a whole body.

use super::*;

fn material() -> Material {
    Material {
        endpoint: Endpoint::OpenAi,
        error: "error;".to_owned(),
        foreign_error: "foreign error;".to_owned(),
    }
}

/// A stream of chat completions in short.
fn pieces() -> Vec<Piece> {
    let ms = Duration::from_millis;
    let mut frames = Frames::new();
    frames.push(ms(1), Content::NOTHING, b"head;");
    for i in 0..4 {
        frames.push(ms(2 + i), Content::TOKENS, format!("own.{i};").as_bytes());
    }
    frames.push(ms(5), Content::NOTHING, DONE);
    frames.pieces()
}

/// The pieces with their known events in short.
fn short(pieces: &[Piece]) -> String {
    let known: [(&[u8], &str); 4] = [
        (DONE, "end;"),
        (MESSAGE_STOP, "stop;"),
        (PING, "ping;"),
        (GARBAGE_EVENT, "garbage;"),
    ];
    let word = |piece: &Piece| {
        let known = known.iter().find(|(bytes, _)| *bytes == piece.bytes);
        let text = || String::from_utf8_lossy(&piece.bytes).into_owned();
        known.map_or_else(text, |(_, word)| (*word).to_owned())
    };
    pieces.iter().map(word).collect()
}

#[test]
fn streams_break_halfway_or_after_so_many_events() {
    use FaultKind as K;
    let whole = "head;own.0;own.1;own.2;own.3;end;";
    let table = [
        (K::Cut, None, "head;own.0;own.1;"),
        (K::Cut, Some(0), ""),
        (K::Cut, Some(1), "head;own.0;"),
        (K::Cut, Some(4), "head;own.0;own.1;own.2;own.3;"),
        (K::Stall, None, "head;own.0;own.1;"),
        (K::Reset, Some(3), "head;own.0;own.1;own.2;"),
        (K::ResetAfterHeaders, Some(3), ""),
        (K::ErrorInStream, None, "head;own.0;own.1;error;"),
        (K::ForeignError, None, "head;own.0;own.1;foreign error;"),
        (K::NoTerminator, None, "head;own.0;own.1;own.2;own.3;"),
        (
            K::DuplicateEvent,
            None,
            "head;own.0;own.1;own.2;own.2;own.3;end;",
        ),
        (
            K::DuplicateEvent,
            Some(0),
            "head;own.0;own.0;own.1;own.2;own.3;end;",
        ),
        (K::LostEvent, Some(3), "head;own.0;own.1;own.2;end;"),
        (
            K::ForeignData,
            None,
            "head;own.0;own.1;foreign.2;own.3;end;",
        ),
        (K::FakeStreaming, None, whole),
        (
            K::Garbage,
            None,
            "head;own.0;own.1;garbage;own.2;own.3;end;",
        ),
        (
            K::ForeignEvent,
            Some(0),
            "ping;head;own.0;own.1;own.2;own.3;end;",
        ),
        (
            K::ForeignTerminator,
            None,
            "head;own.0;own.1;own.2;own.3;end;stop;",
        ),
        (
            K::LateEvent,
            None,
            "head;own.0;own.1;own.2;own.3;end;own.3;",
        ),
        (
            K::UnterminatedEvent,
            None,
            "head;own.0;own.1;own.2;own.3;data: [DONE]",
        ),
    ];
    for (kind, after_events, expected) in table {
        let fault = Fault {
            after_events,
            ..Fault::new(kind)
        };
        let mut pieces = pieces();
        let marks = || ("own".to_owned(), "foreign".to_owned());
        let broken = break_stream(&fault, &mut pieces, &material(), marks);
        let case = format!("{kind:?} {after_events:?}");
        assert_eq!(
            (short(&pieces).as_str(), broken),
            (expected, Some(ending_of(kind))),
            "{case}"
        );
        assert!(pieces.is_sorted_by_key(|piece| piece.at), "{case}");
    }
}

#[test]
fn what_cannot_be_broken_is_left_whole() {
    use FaultKind as K;
    for (kind, after_events, own) in [
        (K::LostEvent, Some(4), "own"),
        (K::DuplicateEvent, Some(4), "own"),
        (K::ForeignData, Some(4), "own"),
        (K::ForeignData, None, ""),
        (K::Cut, Some(5), "own"),
        (K::Reset, Some(5), "own"),
        (K::Stall, Some(9), "own"),
        (K::ErrorInStream, Some(5), "own"),
        (K::ForeignError, Some(5), "own"),
        (K::Garbage, Some(5), "own"),
        (K::ForeignEvent, Some(u64::MAX), "own"),
    ] {
        let fault = Fault {
            after_events,
            ..Fault::new(kind)
        };
        let mut broken = pieces();
        let marks = || (own.to_owned(), "foreign".to_owned());
        let ending = break_stream(&fault, &mut broken, &material(), marks);
        assert_eq!((broken, ending), (pieces(), None), "{kind:?}");
    }
}

#[test]
fn fake_streams_leave_at_once_at_their_end() {
    let mut pieces = pieces();
    let fault = Fault::new(FaultKind::FakeStreaming);
    let marks = || unreachable!("no marks");
    break_stream(&fault, &mut pieces, &material(), marks);
    let end = Duration::from_millis(5);
    assert!(pieces.iter().all(|piece| piece.at == end));
}

#[test]
fn another_reason_to_stop_is_written_over_the_right_one() {
    let openai = Endpoint::OpenAi;
    for (endpoint, right, wrong) in [
        (
            openai,
            r#"{"finish_reason":"stop"}"#,
            r#"{"finish_reason":"length"}"#,
        ),
        (
            openai,
            r#"{"finish_reason":"tool_calls"}"#,
            r#"{"finish_reason":"stop"}"#,
        ),
        (
            openai,
            r#"{"finish_reason":null}"#,
            r#"{"finish_reason":null}"#,
        ),
        (
            Endpoint::Anthropic,
            r#"{"stop_reason":"end_turn"}"#,
            r#"{"stop_reason":"max_tokens"}"#,
        ),
        (
            Endpoint::Anthropic,
            r#"{"stop_reason":"tool_use","#,
            r#"{"stop_reason":"end_turn","#,
        ),
    ] {
        let mut bytes = right.as_bytes().to_vec();
        change_finish(&mut bytes, endpoint);
        assert_eq!(String::from_utf8_lossy(&bytes), wrong);
    }
}

#[test]
fn whole_bodies_break_in_their_middle() {
    let broken = |kind| {
        let mut frames = Frames::new();
        frames.push(Duration::ZERO, Content::COST, b"0123456789");
        let mut pieces = frames.pieces();
        let ending = break_whole(kind, &mut pieces, Endpoint::OpenAi);
        (
            short(&pieces),
            pieces.iter().any(|piece| piece.content.has_cost),
            ending,
        )
    };
    let text = |text: &str| text.to_owned();
    assert_eq!(
        broken(FaultKind::NoTerminator),
        (text("0123456789"), true, None)
    );
    assert_eq!(
        broken(FaultKind::Cut),
        (text("01234"), false, Some(Ending::Cut))
    );
    assert_eq!(
        broken(FaultKind::ResetAfterHeaders),
        (text(""), false, Some(Ending::Reset))
    );
}
