//! How the bytes of a stream arrive, and what the journal says of them.

use mock_upstream::config::{
    Delivery, Dialect, Distribution, Fault, FaultKind, LineEnding, Silence, Split,
};
use mock_upstream::{Config, JournalEntry};

use crate::faults::with_fault;
use crate::observer::{End, Seen, observe};
use crate::{CHAT_COMPLETIONS, MESSAGES, on_each_runtime, prompt, quick, run, start};

/// A stream of five tokens, and its entry.
async fn received(config: Config, path: &str) -> (Seen, JournalEntry) {
    let mock = start(Config {
        journal_frames: true,
        ..config
    })
    .await;
    let seen = observe(mock.address(), path, "", &prompt(1, true), |_| false).await;
    mock.idle().await;
    let entry = mock.journal().expect("readable").remove(0);
    mock.shutdown().await;
    (seen, entry)
}

fn with(delivery: Delivery) -> Config {
    let mut config = quick();
    config.behaviour.delivery = delivery;
    config
}

/// Everything at once.
fn dressed(line_ending: LineEnding) -> Delivery {
    Delivery {
        line_ending,
        bom: true,
        comment_every: 2,
        events_per_write: 2,
        split: Some(Split {
            bytes_max: 7,
            random: true,
            gap_ms: 0.0,
        }),
        ..Delivery::default()
    }
}

#[test]
fn dressed_streams_arrive_in_small_writes_and_say_the_same() {
    on_each_runtime(|| async {
        for (path, terminator) in [
            (CHAT_COMPLETIONS, "data: [DONE]"),
            (MESSAGES, "message_stop\"}"),
        ] {
            let (_, plain) = received(quick(), path).await;
            for (line_ending, end) in [
                (LineEnding::Lf, "\n"),
                (LineEnding::Crlf, "\r\n"),
                (LineEnding::Cr, "\r"),
            ] {
                let (seen, entry) = received(with(dressed(line_ending)), path).await;
                assert_eq!(seen.end, End::Whole);
                assert!(seen.chunks.iter().all(|chunk| chunk.len() <= 7), "{seen:?}");
                let text = seen.text();
                assert!(text.starts_with('\u{feff}'), "{text}");
                assert!(text.ends_with(&format!("{terminator}{end}{end}")), "{text}");
                assert_eq!(
                    text.matches(&format!("{end}: keep-alive{end}{end}"))
                        .count(),
                    2
                );
                let line_ends = text.matches(['\r', '\n']).count();
                assert_eq!(line_ends, text.matches(end).count() * end.len());
                assert_eq!(seen.tokens("00000000"), "0 1 2 3 4");
                assert_eq!(entry.frames, seen.chunks.len() as u64);
                assert_eq!((entry.token_events, entry.completed), (5, true));
                assert_eq!(entry.text_sha256, plain.text_sha256);
                assert_eq!(entry.usage, plain.usage);
            }
        }
    });
}

#[test]
fn silences_are_filled_with_the_keep_alives_of_the_api() {
    run(async {
        let delivery = |ping_after_ms| Delivery {
            silence: Some(Silence {
                ms: 10.0,
                before_event: 2,
                share: 1.0,
            }),
            ping_after_ms,
            ..Delivery::default()
        };
        for (path, keep_alive) in [
            (CHAT_COMPLETIONS, ": keep-alive\n\n"),
            (MESSAGES, "event: ping\n"),
        ] {
            let (seen, entry) = received(with(delivery(None)), path).await;
            let of_its_own = seen.text().matches(keep_alive).count();
            let planned =
                |entry: &JournalEntry| entry.frame_times.clone().expect("asked for").planned_ns;
            // Tokens at 4, 5, 16, 17 and 18 ms.
            let gap = planned(&entry)
                .windows(2)
                .map(|pair| pair[1] - pair[0])
                .max();
            assert_eq!(gap, Some(11_000_000));
            let (seen, entry) = received(with(delivery(Some(4.0))), path).await;
            let text = seen.text();
            assert_eq!(text.matches(keep_alive).count(), of_its_own + 2);
            let (before, after) = text.split_once("00000000.2 ").expect("a token");
            assert_eq!(before.matches(keep_alive).count(), of_its_own + 2);
            assert!(!after.contains(keep_alive));
            let gap = planned(&entry)
                .windows(2)
                .map(|pair| pair[1] - pair[0])
                .max();
            assert_eq!(gap, Some(4_000_000));
            assert_eq!((entry.token_events, entry.completed), (5, true));
        }
    });
}

#[test]
fn the_head_leaves_with_the_first_keep_alive() {
    run(async {
        let mut config = with(Delivery {
            ping_after_ms: Some(1.0),
            ..Delivery::default()
        });
        config.behaviour.timing.ttft_ms = Distribution::Fixed(3_600_000.0);
        let mock = start(config).await;
        let enough = |text: &str| text.contains(": keep-alive\n\n");
        let seen = observe(
            mock.address(),
            CHAT_COMPLETIONS,
            "",
            &prompt(1, true),
            enough,
        )
        .await;
        assert_eq!((seen.status(), seen.end), (Some(200), End::HungUp));
        mock.idle().await;
        let entry = mock.journal().expect("readable").remove(0);
        assert_eq!((entry.completed, entry.first_token_write_ns), (false, None));
    });
}

#[test]
fn openrouter_says_at_once_that_it_is_processing() {
    run(async {
        let mut config = quick();
        config.behaviour.dialect = Dialect::OpenRouter;
        let (seen, entry) = received(config.clone(), CHAT_COMPLETIONS).await;
        assert_eq!(seen.chunks[0], b": OPENROUTER PROCESSING\n\n");
        assert_eq!(
            (
                seen.text().matches(": OPENROUTER").count(),
                entry.token_events
            ),
            (1, 5)
        );
        let (seen, _) = received(config, MESSAGES).await;
        assert!(!seen.text().contains("OPENROUTER"));
    });
}

#[test]
fn a_token_counts_once_its_last_byte_is_written() {
    on_each_runtime(|| async {
        let split = |bytes_max, gap_ms| Delivery {
            split: Some(Split {
                bytes_max,
                random: false,
                gap_ms,
            }),
            ..Delivery::default()
        };
        let mut config = quick();
        config.behaviour.output.tokens_per_event = 5;
        // The event with all five tokens is longer than the first one, which has only the role.
        let (plain, _) = received(config.clone(), CHAT_COMPLETIONS).await;
        config.behaviour.delivery = split(plain.chunks[0].len() as u64, 3_600_000.0);
        let mock = start(config).await;
        let enough = |text: &str| text.contains("00000000.0 ");
        observe(
            mock.address(),
            CHAT_COMPLETIONS,
            "",
            &prompt(1, true),
            enough,
        )
        .await;
        mock.idle().await;
        let entry = mock.journal().expect("readable").remove(0);
        assert_eq!((entry.frames_written, entry.token_events), (2, 0));
        mock.shutdown().await;
        // What a fault leaves is split, too.
        let mut config = with_fault(Fault::new(FaultKind::Cut));
        config.behaviour.delivery = split(100, 0.1);
        let (seen, entry) = received(config, CHAT_COMPLETIONS).await;
        assert_eq!((seen.end, entry.token_events), (End::Early, 3));
        assert_eq!(entry.frames_written, seen.chunks.len() as u64);
        assert!(seen.chunks.iter().all(|chunk| chunk.len() <= 100));
        assert_eq!(seen.tokens("00000000"), "0 1 2");
    });
}
