//! What ends an attempt's wait for its next frame: the run's cut, and the nearest limit.
//!
//! A frame is waited for thousands of times an attempt, and neither of the two comes more than
//! once. So they are asked only when one of them has called, by a waker of their own.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use tokio_util::sync::WaitForCancellationFuture;

use super::Shared;
use crate::clock::{Alarm, Clock};
use crate::time::Offset;

/// What ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interrupted {
    /// The run is cut.
    Cut,
    /// The limit has come.
    Limit,
}

/// The two things that end a wait.
pub(super) struct Interrupts<'a> {
    cut: Pin<Box<WaitForCancellationFuture<'a>>>,
    alarm: Alarm,
    /// Told by either, and the limit that was asked for then.
    asked: Option<(Arc<Call>, Offset)>,
}

/// Notes that it was called, and wakes the task.
struct Call {
    made: AtomicBool,
    task: Waker,
}

impl Wake for Call {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.made.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

impl<'a> Interrupts<'a> {
    pub fn new(shared: &'a Shared, clock: &Clock) -> Self {
        Self {
            cut: Box::pin(shared.cut()),
            alarm: clock.alarm(),
            asked: None,
        }
    }

    /// Ready once the run is cut or `limit` has come.
    pub fn poll(&mut self, cx: &mut Context<'_>, limit: Offset) -> Poll<Interrupted> {
        let call = match &self.asked {
            Some((call, asked)) if call.task.will_wake(cx.waker()) => {
                // A limit that moved to later is asked for when the earlier one has come.
                if *asked <= limit && !call.made.load(Ordering::Acquire) {
                    return Poll::Pending;
                }
                call.made.store(false, Ordering::Release);
                call.clone()
            }
            _ => Arc::new(Call {
                made: AtomicBool::new(false),
                task: cx.waker().clone(),
            }),
        };
        let waker = Waker::from(call.clone());
        let cx = &mut Context::from_waker(&waker);
        self.asked = Some((call, limit));
        if self.cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Interrupted::Cut);
        }
        self.alarm.poll(cx, limit).map(|()| Interrupted::Limit)
    }
}
