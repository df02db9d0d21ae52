//! Turns between two arms that do the same load against two targets, block by block.
//!
//! Each arm is a run of its own, with its own facts, threads and connections, and its own id, so that
//! no cache that the first arm filled serves the second. Both run at the same time. What they share
//! is who may send: sessions are cut into blocks, and a block is done by both arms, one after the
//! other, in an order drawn from the seed. So whatever the machines and the network do in a minute,
//! they do to both, and yet neither arm ever loads them while the other is measured.
//!
//! Of two blocks in a row, the second has the order of the first turned round: each arm comes first
//! as often as the other.
//!
//! Nobody's turn comes before all users of both arms have arrived: their warm-ups are over then.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::RngExt as _;
use tokio::sync::watch;

use super::{Conduct, Pool, Stop};
use crate::client::Transport;
use crate::clock::Clock;
use crate::record::Block;
use crate::schedule::Part;
use crate::seed;
use crate::time::{Offset, Window};

/// What both arms share.
#[derive(Debug)]
pub struct Turns {
    seed: u64,
    /// Sessions of a block.
    sessions: u64,
    /// Users of each arm.
    users: u32,
    state: Mutex<State>,
    now: watch::Sender<Now>,
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Now {
    /// Nobody's: not all users have arrived.
    Gathering,
    /// Turn by turn, from 0: two a block.
    Turn(u64),
    /// Nobody's ever again.
    Closed,
}

#[derive(Debug, Default)]
struct State {
    /// Users of each arm that wait for the first turn.
    arrived: [u32; 2],
    /// Sessions that are over in this turn.
    over: u64,
    /// What each arm has done, on its own clock.
    blocks: [Vec<Block>; 2],
    /// When the turn that is on began.
    began: Option<(usize, Offset)>,
}

/// One arm's place in the turns.
#[derive(Clone, Debug)]
pub struct Seat {
    turns: Arc<Turns>,
    arm: usize,
}

/// A session that has its turn. One that is dropped without its end closes the turns: it would be
/// waited for in vain.
#[derive(Debug)]
#[must_use = "the turn goes on until the session is over"]
pub(super) struct Stay {
    seat: Seat,
    block: u64,
    is_over: bool,
}

impl Turns {
    /// The seats of two arms, each of which does blocks of `sessions` sessions with `users` users.
    ///
    /// # Panics
    /// If a block has fewer sessions than an arm has users: they could not all arrive.
    pub fn seats(seed: u64, users: u32, sessions: u64) -> [Seat; 2] {
        assert!(
            u64::from(users) <= sessions,
            "a block has a session for each user"
        );
        let turns = Arc::new(Self {
            seed,
            sessions,
            users,
            state: Mutex::default(),
            now: watch::Sender::new(Now::Gathering),
        });
        [0, 1].map(|arm| Seat {
            turns: turns.clone(),
            arm,
        })
    }

    /// The arm that does `block` first.
    fn first(&self, block: u64) -> usize {
        let drawn: bool = seed::rng(self.seed, "turns", block / 2).random();
        usize::from(drawn) ^ usize::from(block % 2 == 1)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A state is whole at any time.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Waits for the turn of the block of `session`. `None` if it will never come.
    async fn enter(&self, session: u64, clock: &Clock) -> Option<(Stay, Offset)> {
        let block = session / self.turns.sessions;
        let mine = Now::Turn(2 * block + u64::from(self.turns.first(block) != self.arm));
        let mut now = self.turns.now.subscribe();
        self.arrive();
        let found = now
            .wait_for(|now| *now == mine || *now == Now::Closed)
            .await;
        if *found.ok()? == Now::Closed {
            return None;
        }
        let stay = Stay {
            seat: self.clone(),
            block,
            is_over: false,
        };
        let mut state = self.turns.state();
        let (_, began) = *state.began.get_or_insert_with(|| (self.arm, clock.now()));
        Some((stay, began))
    }

    /// Nobody goes on before everybody has arrived, so each user is counted once.
    fn arrive(&self) {
        let turns = &self.turns;
        let mut state = turns.state();
        if *turns.now.borrow() != Now::Gathering {
            return;
        }
        state.arrived[self.arm] += 1;
        if state.arrived == [turns.users; 2] {
            turns.now.send_replace(Now::Turn(0));
        }
    }

    /// Nobody waits any longer, at either arm. Called when an arm ends before it has done its blocks.
    pub fn close(&self) {
        // The turn goes on under this lock alone, so it cannot go on past the end.
        let _state = self.turns.state();
        self.turns.now.send_replace(Now::Closed);
    }

    /// The blocks that this arm has done, by its own clock.
    pub fn blocks(&self) -> Vec<Block> {
        self.turns.state().blocks[self.arm].clone()
    }

    /// How long it was not this arm's turn in `window`, in ns.
    pub fn idle_ns(&self, window: Window) -> u64 {
        let state = self.turns.state();
        let open = state.began.filter(|(arm, _)| *arm == self.arm);
        let blocks = state.blocks[self.arm].iter();
        let turns = blocks
            .map(|block| (block.start_ns, block.end_ns))
            .chain(open.map(|(_, began)| (began, Offset::MAX)));
        let busy: u64 = turns
            .map(|(start, end)| {
                let end = end.min(window.end_ns);
                end.nanos_since(start.max(window.start_ns))
            })
            .sum();
        window
            .end_ns
            .nanos_since(window.start_ns)
            .saturating_sub(busy)
    }
}

impl Stay {
    /// The session is over, at `now`.
    pub fn over(mut self, now: Offset) {
        self.is_over = true;
        let turns = &self.seat.turns;
        let mut state = turns.state();
        state.over += 1;
        if state.over < turns.sessions {
            return;
        }
        state.over = 0;
        if let Some((arm, began)) = state.began.take() {
            state.blocks[arm].push(Block {
                block: self.block,
                first_session: self.block * turns.sessions,
                sessions: turns.sessions,
                start_ns: began,
                end_ns: now,
            });
        }
        turns.now.send_modify(|now| {
            if let Now::Turn(turn) = now {
                *turn += 1;
            }
        });
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        if !self.is_over {
            self.seat.close();
        }
    }
}

/// The run has ended before the session's turn came.
#[derive(Debug)]
pub(super) struct NoTurn;

impl<T: Transport> Conduct<T> {
    /// Waits until `session` may be sent; nothing to wait for without turns, and in the warm-up.
    pub(super) async fn turn_comes(
        &self,
        pool: &Pool,
        part: Part,
        session: u64,
    ) -> Result<Option<Stay>, NoTurn> {
        let Some(seat) = pool.seat.as_ref().filter(|_| part == Part::Measured) else {
            return Ok(None);
        };
        tokio::select! {
            biased;
            () = self.shared.no_more_arrivals() => Err(NoTurn),
            turn = seat.enter(session, &self.clock) => match turn {
                Some((stay, began)) => {
                    self.shared.begin_window(pool.endpoint, began);
                    Ok(Some(stay))
                }
                None => {
                    self.shared.warn("the other arm stopped, and so did this one");
                    self.shared.stop(Stop::Arrivals);
                    Err(NoTurn)
                }
            },
        }
    }

    /// A user has left `pool`. Where that is because the run was stopped, the other arm must hear.
    pub(super) fn leave_turns(&self, pool: &Pool) {
        if let Some(seat) = &pool.seat
            && self.shared.stopped() > Stop::No
        {
            seat.close();
        }
    }
}
