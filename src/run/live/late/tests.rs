//! When what is asked again, in virtual time.

use std::future::pending;
use std::sync::{Arc, Mutex};

use super::*;

const MS: u64 = 1_000_000;

fn limits(late_after_ms: Option<u64>) -> Limits {
    Limits {
        timeout: Duration::from_secs(2),
        late_after: late_after_ms.map(Duration::from_millis),
        begun: Offset::ZERO,
    }
}

/// Attempt `n`, which ended when the asking begins.
fn ask(n: u64, once: bool) -> Ask {
    Ask {
        lookup: 0,
        url: n.to_string(),
        path: "/",
        ended: Offset::ZERO,
        once,
        wait: WAIT_FIRST,
        so_far: Lookup {
            trace_id: n.to_string(),
            attempt: 0,
            surface: "s".to_owned(),
            digits: None,
            unknown_ns: None,
            known_ns: None,
            tries: 0,
            error: None,
        },
    }
}

/// What `asks` come to where `answer` says what is answered to a URL at a time in ms, and the asking is
/// interrupted at `stop` ms. Beside it: whether it was not, and each question: (ms, URL).
fn run(
    asks: Vec<Ask>,
    limits: Limits,
    answer: impl Fn(&str, u64) -> Answer + Send + Sync + 'static,
    stop: Option<u64>,
) -> (Vec<Lookup>, bool, Vec<(u64, String)>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let clock = Clock::virtual_time();
        let (queue, mut asked) = mpsc::channel(16);
        let filling = tokio::spawn(async move {
            for ask in asks {
                // The test may have interrupted the asking.
                let _ = queue.send(ask).await;
            }
        });
        let questions = Arc::new(Mutex::new(Vec::new()));
        let answer = Arc::new(answer);
        let told = |ask: &Ask| {
            let ms = clock.now().nanos() / MS;
            questions.lock().expect("whole").push((ms, ask.url.clone()));
            let (answer, url) = (answer.clone(), ask.url.clone());
            let clock = clock.clone();
            async move {
                let said = answer(&url, ms);
                // An answer takes 10 ms.
                clock
                    .coarse_sleep_until(Offset::from_nanos((ms + 10) * MS))
                    .await;
                said
            }
        };
        let mut over = Vec::new();
        let put = |lookup: &Lookup| {
            over.push(lookup.clone());
            Ok(())
        };
        let stopped = async {
            match stop {
                Some(ms) => clock.coarse_sleep_until(Offset::from_nanos(ms * MS)).await,
                None => pending().await,
            }
        };
        let stopped = std::pin::pin!(stopped);
        let whole = ask_all(&mut asked, limits, &clock, told, put, stopped).await;
        drop(asked);
        filling.await.expect("filled");
        let questions = questions.lock().expect("whole").clone();
        (over, whole.expect("kept"), questions)
    })
}

fn known_from(ms: u64) -> impl Fn(&str, u64) -> Answer + Send + Sync + 'static {
    move |_, at| {
        if at >= ms {
            Answer::Known("0.1".to_owned())
        } else {
            Answer::Unknown(None)
        }
    }
}

fn times(questions: &[(u64, String)]) -> Vec<u64> {
    questions.iter().map(|(ms, _)| *ms).collect()
}

#[test]
fn it_is_asked_with_longer_and_longer_waits_until_it_is_known() {
    let (over, whole, questions) = run(vec![ask(1, false)], limits(None), known_from(700), None);
    assert!(whole);
    assert_eq!(times(&questions), [0, 260, 770]);
    assert_eq!(over[0].digits.as_deref(), Some("0.1"));
    assert_eq!(over[0].unknown_ns, Some(260 * MS));
    assert_eq!(over[0].known_ns, Some(780 * MS));
    assert_eq!((over[0].tries, &over[0].error), (3, &None));
}

#[test]
fn what_is_known_at_once_was_never_unknown() {
    let (over, _, _) = run(vec![ask(1, false)], limits(None), known_from(0), None);
    assert_eq!((over[0].unknown_ns, over[0].tries), (None, 1));
}

#[test]
fn it_is_asked_at_the_moments_that_decide() {
    let (over, _, questions) = run(
        vec![ask(1, false)],
        limits(Some(600)),
        known_from(10_000),
        None,
    );
    assert_eq!(times(&questions), [0, 260, 600, 1610, 2000]);
    assert_eq!((&over[0].digits, over[0].known_ns), (&None, None));
    assert_eq!(over[0].unknown_ns, Some(2000 * MS));
    assert_eq!(over[0].error, None);
}

#[test]
fn an_error_proves_nothing_and_is_noted() {
    let failing = |_: &str, at: u64| {
        if at < 1_000 {
            Answer::Unknown(None)
        } else {
            Answer::Failed("status 500".to_owned())
        }
    };
    let (over, _, questions) = run(vec![ask(1, false)], limits(None), failing, None);
    assert_eq!(times(&questions), [0, 260, 770, 1780, 2000]);
    assert_eq!(over[0].unknown_ns, Some(770 * MS));
    assert_eq!(over[0].error.as_deref(), Some("status 500"));
}

#[test]
fn an_attempt_that_ended_long_ago_is_asked_for_once() {
    let begun = Limits {
        timeout: Duration::ZERO,
        ..limits(None)
    };
    let (over, _, questions) = run(vec![ask(1, false)], begun, known_from(10_000), None);
    assert_eq!((over.len(), questions.len()), (1, 1));
}

#[test]
fn what_should_be_free_is_asked_for_once_and_last() {
    let asks = vec![ask(1, false), ask(2, false), ask(8, true), ask(9, true)];
    let (over, _, questions) = run(asks, limits(None), known_from(700), None);
    let order: Vec<&str> = over.iter().map(|l| l.trace_id.as_str()).collect();
    assert_eq!(order, ["1", "2", "8", "9"]);
    let last: Vec<u64> = questions[6..].iter().map(|(ms, _)| *ms).collect();
    assert_eq!(last, [780, 780]);
    let (over, _, questions) = run(vec![ask(8, true)], limits(None), known_from(700), None);
    assert_eq!((over.len(), questions.len()), (1, 1));
    assert_eq!((over[0].tries, &over[0].digits), (1, &None));
}

#[test]
fn no_more_than_so_many_are_asked_for_at_once() {
    let asks = (0..40).map(|n| ask(n, false)).collect();
    let (over, _, questions) = run(asks, limits(None), known_from(0), None);
    assert_eq!(over.len(), 40);
    for ms in [0, 10, 20, 30, 40] {
        let now = questions.iter().filter(|(at, _)| *at == ms).count();
        assert_eq!(now, ASKED_AT_ONCE, "{ms}");
    }
}

#[test]
fn what_was_asked_for_is_kept_when_that_is_interrupted() {
    let answer = |url: &str, _: u64| match url {
        "1" => Answer::Known("0.1".to_owned()),
        _ => Answer::Unknown(None),
    };
    let asks = vec![ask(1, false), ask(2, false), ask(9, true)];
    let (over, whole, _) = run(asks, limits(None), answer, Some(1_000));
    assert!(!whole);
    let seen: Vec<(&str, u32)> = over
        .iter()
        .map(|l| (l.trace_id.as_str(), l.tries))
        .collect();
    assert_eq!(seen, [("1", 1), ("2", 3)]);
    assert_eq!(over[1].unknown_ns, Some(770 * MS));
}

#[test]
fn nothing_to_ask_for_is_over_at_once() {
    let never = |_: &str, _: u64| -> Answer { panic!("nobody is asked for") };
    let (over, whole, _) = run(Vec::new(), limits(None), never, None);
    assert!(whole && over.is_empty());
}
