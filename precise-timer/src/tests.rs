//! Behaviour, not precision: order, cancelling, re-arming, and that nobody hangs.

use std::sync::mpsc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use super::*;

const LIMIT: Duration = Duration::from_secs(20);
const FAR: Duration = Duration::from_secs(3600);

fn runtime() -> Runtime {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}

/// Runs `test` with each kind of timer.
fn with_each_timer<F: Future>(test: impl Fn(Timer) -> F) {
    for portable in [false, true] {
        runtime().block_on(async {
            let timer = if portable {
                Timer::portable()
            } else {
                Timer::new().expect("a timer")
            };
            tokio::time::timeout(LIMIT, test(timer))
                .await
                .expect("no sleeper hangs");
        });
    }
}

#[test]
fn linux_has_the_precise_timer() {
    runtime().block_on(async {
        assert_eq!(
            Timer::new().expect("a timer").is_precise(),
            cfg!(target_os = "linux")
        );
        assert!(!Timer::portable().is_precise());
    });
}

#[test]
fn outside_a_runtime_is_an_error() {
    assert!(Timer::new().is_err());
}

#[test]
fn never_wakes_before_the_deadline() {
    with_each_timer(|timer| async move {
        for micros in [0, 1, 10, 100, 1_000, 5_000] {
            let deadline = Instant::now() + Duration::from_micros(micros);
            timer.sleep_until(deadline).await;
            assert!(Instant::now() >= deadline);
        }
    });
}

#[test]
fn a_past_deadline_is_ready_at_once() {
    with_each_timer(|timer| async move {
        let past = Instant::now();
        timer.sleep_until(past).await;
        assert_eq!(timer.waiting(), 0);
    });
}

#[test]
fn wakes_in_the_order_of_deadlines_whatever_the_order_of_registration() {
    with_each_timer(|timer| async move {
        let start = Instant::now() + Duration::from_millis(5);
        let (sender, receiver) = mpsc::channel();
        let tasks: Vec<_> = [4_u64, 1, 3, 0, 2]
            .into_iter()
            .map(|rank| {
                let sleep = timer.sleep_until(start + Duration::from_millis(3 * rank));
                let sender = sender.clone();
                tokio::spawn(async move {
                    sleep.await;
                    sender.send(rank).expect("the receiver waits");
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("no panic");
        }
        drop(sender);
        assert_eq!(receiver.iter().collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    });
}

#[test]
fn an_earlier_deadline_registered_later_is_not_held_up() {
    with_each_timer(|timer| async move {
        let far = tokio::spawn(timer.sleep_until(Instant::now() + FAR));
        tokio::task::yield_now().await;
        timer
            .sleep_until(Instant::now() + Duration::from_millis(2))
            .await;
        assert!(!far.is_finished());
        far.abort();
        assert!(far.await.is_err_and(|error| error.is_cancelled()));
    });
}

#[test]
fn many_sleepers_all_wake() {
    with_each_timer(|timer| async move {
        let start = Instant::now();
        let tasks: Vec<_> = (0..5_000_u64)
            .map(|i| tokio::spawn(timer.sleep_until(start + Duration::from_micros(i * 7 % 20_000))))
            .collect();
        for task in tasks {
            task.await.expect("no panic");
        }
        assert_eq!(timer.waiting(), 0);
    });
}

#[cfg(target_os = "linux")]
#[test]
fn cancelled_sleeps_leave_nothing_behind() {
    with_each_timer(|timer| async move {
        let precise = usize::from(timer.is_precise());
        for _ in 0..1_000 {
            let mut sleep = Box::pin(timer.sleep_until(Instant::now() + FAR));
            std::future::poll_fn(|context| {
                assert!(sleep.as_mut().poll(context).is_pending());
                Poll::Ready(())
            })
            .await;
            assert_eq!(timer.waiting(), precise);
        }
        assert_eq!(timer.waiting(), 0);
        // The descriptor is still armed for the cancelled ones; a new sleep must not mind.
        timer
            .sleep_until(Instant::now() + Duration::from_millis(1))
            .await;
    });
}

#[test]
fn a_sleep_may_move_to_another_task_between_polls() {
    with_each_timer(|timer| async move {
        let mut sleep = Box::pin(timer.sleep_until(Instant::now() + Duration::from_millis(5)));
        std::future::poll_fn(|context| {
            let _ = sleep.as_mut().poll(context);
            Poll::Ready(())
        })
        .await;
        tokio::spawn(sleep).await.expect("the new task is woken");
    });
}

#[test]
fn sleeps_outlive_the_runtime_that_drove_them() {
    let first = runtime();
    let timer = first.block_on(async { Timer::new().expect("a timer") });
    runtime().block_on(async {
        let mut sleep = Box::pin(timer.sleep_until(Instant::now() + Duration::from_millis(5)));
        std::future::poll_fn(|context| {
            let _ = sleep.as_mut().poll(context);
            Poll::Ready(())
        })
        .await;
        first.shutdown_background();
        assert!(!timer.is_precise());
        tokio::time::timeout(LIMIT, async {
            sleep.await;
            timer
                .sleep_until(Instant::now() + Duration::from_millis(1))
                .await;
        })
        .await
        .expect("tokio's own sleeps take over");
    });
}

#[test]
fn the_last_clone_and_sleep_stop_the_task() {
    runtime().block_on(async {
        let timer = Timer::new().expect("a timer");
        let metrics = tokio::runtime::Handle::current().metrics();
        let sleep = timer.clone().sleep_until(Instant::now() + FAR);
        drop(timer);
        tokio::task::yield_now().await;
        assert_eq!(
            metrics.num_alive_tasks(),
            usize::from(cfg!(target_os = "linux"))
        );
        drop(sleep);
        tokio::task::yield_now().await;
        assert_eq!(metrics.num_alive_tasks(), 0);
    });
}
