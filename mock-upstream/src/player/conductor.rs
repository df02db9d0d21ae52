//! The order in which lines have to write, and the one task that makes them.
//!
//! A heap holds one entry for each stream with a frame to come. The task sleeps until the earliest, lets everything
//! that is due be written, one clock reading and one system call a frame, and wakes no other task for it: waking a
//! task for each frame and going through hyper costs 3 to 4 microseconds more, a third of what a frame may take where
//! one core writes 80,000 a second.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use precise_timer::Timer;
use tokio::sync::Notify;

use super::line::Line;

/// Frames written before other tasks get a turn, so that a request is stamped within about 0.1 ms of its arrival
/// however many frames are due.
const FRAMES_A_TURN: usize = 16;

/// How near a moment has to be for the task to stay awake until then, giving other tasks turns meanwhile. Arming the
/// timer, sleeping and waking cost 10 to 15 microseconds of CPU, so staying awake for as long costs no more, and the
/// frame leaves without the wake-up's delay.
const NEAR: Duration = Duration::from_micros(15);

/// How long the task sleeps while there is nothing to write; anything that comes wakes it.
const IDLE: Duration = Duration::from_secs(3600);

/// Has the frames of all lines written in the order in which they are due.
#[derive(Debug, Default)]
pub(super) struct Conductor {
    score: Mutex<Score>,
    /// Something is due before the moment that the task sleeps for.
    earlier: Notify,
}

#[derive(Debug, Default)]
struct Score {
    entries: BinaryHeap<Reverse<Entry>>,
    /// The moment that the task sleeps for; `None` while it is awake, since it looks before it sleeps.
    awaited: Option<Instant>,
}

/// A line with something to write. It does not keep the connection open for that.
#[derive(Debug)]
struct Entry {
    due: Instant,
    /// The request whose answer is meant: the line may have gone on to the next.
    seq: u64,
    line: Weak<Line>,
}

/// What a turn leaves.
enum Turn {
    /// Perhaps more that is due, or as good as due.
    Unfinished,
    /// Nothing that is due before this moment.
    Until(Instant),
}

impl Conductor {
    /// Has `line` go on with the answer to request `seq` at `due`.
    pub(super) fn schedule(&self, due: Instant, seq: u64, line: Weak<Line>) {
        let mut score = self.lock();
        score.entries.push(Reverse(Entry { due, seq, line }));
        if score.awaited.is_some_and(|awaited| due < awaited) {
            score.awaited = Some(due);
            self.earlier.notify_one();
        }
    }

    /// Runs until aborted.
    pub(super) async fn conduct(self: Arc<Self>, timer: Timer) {
        loop {
            match self.turn() {
                // tokio looks at its sockets before this task goes on.
                Turn::Unfinished => tokio::task::yield_now().await,
                Turn::Until(moment) => {
                    tokio::select! {
                        () = timer.sleep_until(moment) => {}
                        () = self.earlier.notified() => {}
                    }
                    self.lock().awaited = None;
                }
            }
        }
    }

    fn turn(&self) -> Turn {
        for _ in 0..FRAMES_A_TURN {
            let now = Instant::now();
            let entry = {
                let mut score = self.lock();
                let next = score.entries.peek().map(|first| first.0.due);
                let moment = next.unwrap_or(now + IDLE);
                if moment > now + NEAR {
                    score.awaited = Some(moment);
                    return Turn::Until(moment);
                }
                if moment > now {
                    return Turn::Unfinished;
                }
                score.entries.pop()
            };
            let Some(Reverse(Entry { seq, line, .. })) = entry else {
                continue;
            };
            if let Some(due) = line.upgrade().and_then(|line| line.play(seq, now)) {
                self.lock().entries.push(Reverse(Entry { due, seq, line }));
            }
        }
        Turn::Unfinished
    }

    fn lock(&self) -> MutexGuard<'_, Score> {
        self.score.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.due, self.seq).cmp(&(other.due, other.seq))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Entry {}
