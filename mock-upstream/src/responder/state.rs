//! What the answers to some requests leave behind for those to others.
//!
//! All of it is bounded: what is forgotten was not asked for longest.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lru::LruCache;

use super::Received;

/// Requests whose attempts are counted.
const ATTEMPTS_MAX: NonZeroUsize = NonZeroUsize::new(65_536).expect("more than none");

/// Prefixes of prompts that are kept.
const PREFIXES_MAX: NonZeroUsize = NonZeroUsize::new(262_144).expect("more than none");

/// What the responder remembers.
#[derive(Debug)]
pub struct State {
    memory: Mutex<Memory>,
}

#[derive(Debug)]
struct Memory {
    /// Attempts so far by the digest of a request.
    attempts: LruCache<u64, u64>,
    /// Requests so far that a rule is for, by the rule's name.
    counts: HashMap<String, u64>,
    /// When each slot in use is free again, by profile.
    slots: HashMap<String, BinaryHeap<Reverse<Duration>>>,
    /// Until when each prefix of a prompt is kept, by its digest, and for how long after its last use.
    prefixes: LruCache<u64, (Duration, Duration)>,
    /// The mark of the latest request.
    mark: String,
}

impl Default for State {
    fn default() -> Self {
        Self {
            memory: Mutex::new(Memory::new()),
        }
    }
}

impl Memory {
    fn new() -> Self {
        Self {
            attempts: LruCache::new(ATTEMPTS_MAX),
            counts: HashMap::new(),
            slots: HashMap::new(),
            prefixes: LruCache::new(PREFIXES_MAX),
            mark: String::new(),
        }
    }
}

impl State {
    /// Forgets everything.
    pub fn clear(&self) {
        *self.lock() = Memory::new();
    }

    /// Which attempt this is at the same request, from 1: the same bytes again. A request without a nonce is always
    /// the first, since many may be equal.
    pub(super) fn attempt(&self, received: &Received<'_>, nonce: &str) -> u64 {
        if nonce.is_empty() {
            return 1;
        }
        let mut hasher = DefaultHasher::new();
        // The nonce may stand in a header alone.
        (received.path, received.body, nonce).hash(&mut hasher);
        let mut memory = self.lock();
        let attempts = memory.attempts.get_or_insert_mut(hasher.finish(), || 0);
        *attempts += 1;
        *attempts
    }

    /// Which request this is that the rule called `rule` is for, from 1.
    pub(super) fn nth(&self, rule: &str) -> u64 {
        let mut memory = self.lock();
        if let Some(count) = memory.counts.get_mut(rule) {
            *count += 1;
            return *count;
        }
        memory.counts.insert(rule.to_owned(), 1);
        1
    }

    /// Takes one of `slots` for as long as `service` from the moment at which one is free; how long that is after `at`.
    pub(super) fn wait(
        &self,
        profile: &str,
        slots: u32,
        at: Duration,
        service: Duration,
    ) -> Duration {
        if slots == 0 {
            return Duration::ZERO;
        }
        let mut memory = self.lock();
        let busy = memory.slots.entry(profile.to_owned()).or_default();
        while busy.peek().is_some_and(|free| free.0 <= at) {
            busy.pop();
        }
        let mut begin = at;
        if busy.len() >= slots as usize
            && let Some(Reverse(free)) = busy.pop()
        {
            begin = free;
        }
        busy.push(Reverse(begin + service));
        begin.saturating_sub(at)
    }

    /// The tokens of the longest of some prefixes, each a digest with its tokens, that is kept at `at`; 0 if none is.
    /// It is kept on from there.
    pub(super) fn recall(
        &self,
        prefixes: impl DoubleEndedIterator<Item = (u64, u64)>,
        at: Duration,
    ) -> u64 {
        let mut memory = self.lock();
        for (digest, tokens) in prefixes.rev() {
            if let Some((until, ttl)) = memory.prefixes.get_mut(&digest)
                && *until >= at
            {
                *until = at + *ttl;
                return tokens;
            }
        }
        0
    }

    /// Keeps prefixes for a time each after `at`.
    pub(super) fn remember(&self, prefixes: impl Iterator<Item = (u64, Duration)>, at: Duration) {
        let mut memory = self.lock();
        for (digest, ttl) in prefixes {
            memory.prefixes.put(digest, (at + ttl, ttl));
        }
    }

    /// Leaves a mark, and takes up that of the request before; empty for the first.
    pub(super) fn exchange_mark(&self, mark: &str) -> String {
        std::mem::replace(&mut self.lock().mark, mark.to_owned())
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_is_the_same_request_by_the_same_name() {
        let headers = http::HeaderMap::new();
        let received = |body| Received {
            method: &http::Method::POST,
            path: "/v1/messages",
            headers: &headers,
            body,
            arrival: crate::responder::Arrival::default(),
        };
        let state = State::default();
        for (body, nonce, attempt) in [
            ("x", "a", 1),
            ("x", "a", 2),
            ("y", "a", 1),
            ("x", "b", 1),
            ("x", "", 1),
            ("x", "", 1),
            ("x", "a", 3),
        ] {
            let received = received(body.as_bytes());
            assert_eq!(state.attempt(&received, nonce), attempt, "{body} {nonce}");
        }
    }

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn requests_wait_for_the_slot_that_is_free_first() {
        let state = State::default();
        let wait = |at, service| state.wait("p", 2, ms(at), ms(service));
        assert_eq!(wait(0, 100), ms(0));
        assert_eq!(wait(10, 20), ms(0));
        // The second slot is free at 30, then at 130; the first at 100.
        assert_eq!(wait(10, 100), ms(20));
        assert_eq!(wait(20, 50), ms(80));
        assert_eq!(wait(20, 1), ms(110));
        assert_eq!(wait(1_000, 1), ms(0));
        assert_eq!(state.wait("q", 2, ms(20), ms(1)), ms(0));
        assert_eq!(state.wait("p", 0, ms(20), ms(1)), ms(0));
    }
}
