//! The Linux half: deadlines in order, a timerfd armed for the earliest, and the task that wakes the sleepers.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

/// Orders sleepers by deadline, and those of one deadline by who came first.
type Key = (Instant, u64);

/// One timerfd with its sleepers; stops its task when dropped.
#[derive(Debug)]
pub(crate) struct Driver {
    shared: Arc<Shared>,
    task: AbortHandle,
}

#[derive(Debug)]
struct Shared {
    /// Also held by the task, whose registration with the runtime must not outlive the descriptor.
    fd: Arc<OwnedFd>,
    queue: Mutex<Queue>,
}

#[derive(Debug)]
struct Queue {
    sleepers: BTreeMap<Key, Waker>,
    next_id: u64,
    /// The deadline that the timerfd is set for; `None` while it is idle.
    armed: Option<Instant>,
    /// False once the task has ended, after which nobody would wake a new sleeper.
    running: bool,
}

impl Driver {
    pub(crate) fn start(runtime: &Handle) -> io::Result<Self> {
        let fd = Arc::new(timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )?);
        let wakeups = watch(Arc::clone(&fd))?;
        let shared = Arc::new(Shared {
            fd,
            queue: Mutex::new(Queue {
                sleepers: BTreeMap::new(),
                next_id: 0,
                armed: None,
                running: true,
            }),
        });
        let guard = StopGuard(Arc::clone(&shared));
        let task = runtime.spawn(drive(wakeups, guard)).abort_handle();
        Ok(Self { shared, task })
    }

    pub(crate) fn is_running(&self) -> bool {
        self.shared.lock().running
    }

    pub(crate) fn waiting(&self) -> usize {
        self.shared.lock().sleepers.len()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Registers the timerfd with the current runtime.
///
/// tokio 1.54 deprecates the safe constructors, since a type's `AsRawFd` could name a descriptor that it does not
/// keep open, in favour of `unsafe` ones. `Arc<OwnedFd>` keeps it open and always names the same one, which is all
/// the new contract asks for, and this workspace forbids unsafe code.
#[expect(
    deprecated,
    reason = "the safe constructor is sound for an owned descriptor; its replacement is an unsafe function"
)]
fn watch(fd: Arc<OwnedFd>) -> io::Result<AsyncFd<Arc<OwnedFd>>> {
    AsyncFd::with_interest(fd, Interest::READABLE)
}

/// Waits for the timerfd, wakes whoever is due, arms it for the next; until aborted.
async fn drive(wakeups: AsyncFd<Arc<OwnedFd>>, guard: StopGuard) {
    let mut due = Vec::new();
    // An error means that the runtime's I/O driver is shutting down: the guard then hands the sleepers over.
    while let Ok(mut ready) = wakeups.readable().await {
        // Cleared before re-arming, so that an expiry in between is a new event. The fd need not be read: epoll
        // is edge-triggered here, and setting the timer resets its expiry count.
        ready.clear_ready();
        guard.0.take_due(&mut due);
        for waker in due.drain(..) {
            waker.wake();
        }
    }
}

/// Runs when the task ends for whatever reason, so that no sleeper waits for a wake-up that cannot come.
struct StopGuard(Arc<Shared>);

impl Drop for StopGuard {
    fn drop(&mut self) {
        let sleepers = {
            let mut queue = self.0.lock();
            queue.running = false;
            std::mem::take(&mut queue.sleepers)
        };
        for waker in sleepers.into_values() {
            waker.wake();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // No code that holds the lock can leave the queue half changed.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_due(&self, due: &mut Vec<Waker>) {
        let mut queue = self.lock();
        queue.armed = None;
        let now = Instant::now();
        while let Some(first) = queue.sleepers.first_entry() {
            if first.key().0 > now {
                break;
            }
            due.push(first.remove());
        }
        self.arm(&mut queue, due);
    }

    /// Sets the timerfd for the earliest deadline, if it is not set for that or an earlier one.
    ///
    /// An earlier setting is left alone: its expiry finds nobody due and comes back here, which is cheaper than a
    /// system call for each cancelled sleep. Where the kernel refuses the setting, everybody is woken instead
    /// and polls again: busy, but not stuck.
    fn arm(&self, queue: &mut Queue, refused: &mut Vec<Waker>) {
        let Some(earliest) = queue.sleepers.keys().next().map(|key| key.0) else {
            return;
        };
        if queue.armed.is_some_and(|armed| armed <= earliest) {
            return;
        }
        let wait = earliest.saturating_duration_since(Instant::now());
        match timerfd_settime(&self.fd, TimerfdTimerFlags::empty(), &once_after(wait)) {
            Ok(_) => queue.armed = Some(earliest),
            Err(_) => refused.extend(std::mem::take(&mut queue.sleepers).into_values()),
        }
    }
}

/// A single expiry after `wait`. Zero would disarm the timer, so it is at least a nanosecond.
fn once_after(wait: Duration) -> Itimerspec {
    let wait = wait.max(Duration::from_nanos(1));
    Itimerspec {
        it_interval: Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        },
        it_value: Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: wait.subsec_nanos().into(),
        },
    }
}

/// One sleeper's place among the deadlines; leaves it when dropped.
#[derive(Debug)]
pub(crate) struct Entry {
    driver: Arc<Driver>,
    deadline: Instant,
    id: Option<u64>,
}

impl Entry {
    pub(crate) fn new(driver: Arc<Driver>, deadline: Instant) -> Self {
        Self {
            driver,
            deadline,
            id: None,
        }
    }

    /// Asks for `waker` to be woken at the deadline. False if nobody is left to do that.
    pub(crate) fn register(&mut self, waker: &Waker) -> bool {
        let shared = &self.driver.shared;
        let mut refused = Vec::new();
        {
            let mut queue = shared.lock();
            if !queue.running {
                return false;
            }
            let id = *self.id.get_or_insert_with(|| {
                queue.next_id += 1;
                queue.next_id
            });
            queue
                .sleepers
                .entry((self.deadline, id))
                .and_modify(|known| known.clone_from(waker))
                .or_insert_with(|| waker.clone());
            shared.arm(&mut queue, &mut refused);
        }
        for waker in refused {
            waker.wake();
        }
        true
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            let waker = self
                .driver
                .shared
                .lock()
                .sleepers
                .remove(&(self.deadline, id));
            // Dropped outside the lock: a waker may own the task that owns other sleeps.
            drop(waker);
        }
    }
}
