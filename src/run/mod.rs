//! Conducts a run: plan x transport -> facts.
//!
//! A worker is a [`Conduct`] on a runtime of one thread, with its slice of the plan and a
//! transport of its own. What the workers of a process share is in [`Shared`]. Nothing here judges:
//! a 429, a timeout or a cut stream is a record.

mod attempt;
mod capture;
mod health;
mod interrupt;
pub mod live;
mod machine;
mod meter;
mod progress;
mod redact;
mod retry;
mod session;
mod shared;
mod spend;
mod turns;

use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::billing::budget::{Exhausted, Reservation};
use crate::client::Transport;
use crate::clock::Clock;
use crate::endpoint::Endpoint;
use crate::money::Money;
use crate::plan::{Plan, Planned};
use crate::protocol::Surfaces;
use crate::record::Record;
use crate::scenario::{Retries, Timeouts};
use crate::schedule::{Arrivals, Part, Tickets, Users};
use crate::time::Offset;

pub use meter::Meter;
pub use progress::Progress;
pub use shared::{Shared, Stop};
pub use spend::Spend;
pub use turns::{Seat, Turns};

use attempt::{Reached, Reply, Ticket};

/// One worker of a run.
pub struct Conduct<T> {
    /// What to send, and when.
    pub plan: Plan,
    /// How.
    pub transport: T,
    /// The clock of this worker's thread.
    pub clock: Clock,
    /// What it shares with the others.
    pub shared: Arc<Shared>,
    /// The sessions that a closed loop's users draw from, those of all workers; empty for an open
    /// loop.
    pub pools: Arc<[Pool]>,
    /// What it counts and times.
    pub meter: Arc<Meter>,
    /// Where costs are recorded.
    pub surfaces: Surfaces,
    /// Limits of waiting.
    pub timeouts: Timeouts,
    /// Whether refused requests are tried again.
    pub retries: Option<Retries>,
    /// Whether each event's stamp is kept.
    pub trace: bool,
    /// How long requests in flight may take after the last one started.
    pub grace: std::time::Duration,
    /// Keys, so that they can be taken out of what a gateway says.
    pub secrets: Vec<String>,
}

/// Keeps the worker waiting as long as it is held.
type Alive = mpsc::Sender<()>;

impl<T: Transport> Conduct<T> {
    /// Sends the one request to `endpoint` that goes before the load, and waits for its end.
    pub async fn preflight(self: Arc<Self>, endpoint: Endpoint) -> Arc<Record> {
        let planned = self.plan.preflight(endpoint);
        let place = self
            .shared
            .enter(endpoint)
            .expect("nothing is in flight before the load");
        match self.reserve(&planned) {
            Ok(reservation) => {
                let ticket = Ticket { place, reservation };
                self.request(Box::new(planned), ticket, |_| {}).await
            }
            Err(_) => self.drop_turn(planned, BUDGET_USED),
        }
    }

    /// Does this worker's share of the load, until everything that it sent is over.
    pub async fn drive(self: Arc<Self>) {
        // Every task holds a sender; when all are gone, all tasks are over.
        let (alive, mut all_over) = mpsc::channel(1);
        let sending = async {
            self.clock.sleep_until(self.plan.begins).await;
            match &self.plan.schedule.arrivals {
                Arrivals::Closed(users) => {
                    self.clone().closed_loop(users, alive).await;
                }
                Arrivals::Open { .. } | Arrivals::Replay(_) => {
                    self.clone().open_loop(alive).await;
                    self.shared.source_ended();
                }
            }
            all_over.recv().await;
        };
        let grace = async {
            tokio::select! {
                () = self.shared.all_started() => {}
                () = self.shared.no_more_arrivals() => {}
                () = self.arrivals_end() => {}
            }
            self.clock
                .coarse_sleep_until(self.clock.now() + self.grace)
                .await;
            self.shared.stop(Stop::Everything);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = sending => {}
            () = grace => {}
        }
    }

    /// Waits until the schedule's duration is over, if it has one.
    async fn arrivals_end(&self) {
        match self.plan.ends(Part::Measured) {
            Some(end) => self.clock.coarse_sleep_until(end).await,
            None => std::future::pending().await,
        }
    }

    /// Sends each arrival when it is due, whatever the upstream does.
    async fn open_loop(self: Arc<Self>, alive: Alive) {
        for part in [Part::Warmup, Part::Measured] {
            for (session, due) in self.plan.arrivals(part) {
                // The bytes are ready before the moment comes.
                let turns: Vec<_> = self
                    .plan
                    .order(part, session)
                    .map(|endpoint| self.plan.session(part, session, endpoint))
                    .collect();
                tokio::select! {
                    biased;
                    () = self.shared.no_more_arrivals() => {
                        self.end_windows();
                        return;
                    }
                    () = self.clock.sleep_until(due) => {}
                }
                for (mut turn, conversation) in turns {
                    turn.record.due = Some(due);
                    let turn = Box::new(turn);
                    match conversation {
                        None => self.start_due(turn, &alive, |_| {}),
                        Some(conversation) => {
                            let (answered, reply) = oneshot::channel();
                            self.start_due(turn, &alive, said_to(answered));
                            let (conduct, alive) = (self.clone(), alive.clone());
                            tokio::spawn(async move {
                                conduct.go_on(conversation, reply, &alive).await;
                            });
                        }
                    }
                }
            }
        }
    }

    /// Starts a turn of an open loop that has come due, or drops it for want of money or of a place.
    fn start_due(
        self: &Arc<Self>,
        turn: Box<Planned>,
        alive: &Alive,
        answered: impl FnOnce(Reply) + Send + 'static,
    ) {
        self.shared.came_due(&turn.record);
        match self.reserve(&turn) {
            Ok(reservation) => self
                .clone()
                .start(turn, reservation, alive.clone(), answered),
            Err(exhausted) => {
                if is_hopeless(&exhausted) {
                    self.budget_ends_the_run(&exhausted);
                }
                self.drop_turn(*turn, BUDGET_USED);
                answered(Reply::unsent(self.clock.now()));
            }
        }
    }

    /// Starts a turn that has come due, or drops it for want of a place. `answered` is called when
    /// a user may go on.
    fn start(
        self: Arc<Self>,
        turn: Box<Planned>,
        reservation: Option<Reservation>,
        alive: Alive,
        answered: impl FnOnce(Reply) + Send + 'static,
    ) {
        let Some(place) = self.shared.enter(turn.record.endpoint) else {
            // Nothing was sent, so nothing was spent.
            if let Some(reservation) = reservation {
                reservation.settle(Some(Money::ZERO));
            }
            self.drop_turn(*turn, "load.max_in_flight was reached");
            return answered(Reply::unsent(self.clock.now()));
        };
        let ticket = Ticket { place, reservation };
        tokio::spawn(async move {
            self.request(turn, ticket, answered).await;
            drop(alive);
        });
    }

    fn reserve(&self, turn: &Planned) -> Result<Option<Reservation>, Exhausted> {
        match &self.shared.spend {
            Some(spend) => spend.reserve(
                &turn.record,
                turn.request.body.len(),
                self.date(self.clock.now()),
            ),
            None => Ok(None),
        }
    }

    fn budget_ends_the_run(&self, exhausted: &Exhausted) {
        // The first one says it; others find the same a moment later.
        if self.shared.stopped() > Stop::No {
            return;
        }
        let spend = self.shared.spend.as_ref();
        let shown = |amount: Money| match spend {
            Some(spend) => amount.display(spend.currency()).to_string(),
            None => amount.to_string(),
        };
        self.shared.warn(format!(
            "the budget of {} ended the run: {} is spent or set aside for costs that are unknown, and the next request might cost {}",
            shown(exhausted.limit),
            shown(exhausted.spent),
            shown(exhausted.worst)
        ));
        self.shared.stop(Stop::Arrivals);
    }

    /// Each endpoint has its own users; each user starts its next session when the last one is
    /// over and its think time is too.
    async fn closed_loop(self: Arc<Self>, config: &Users, alive: Alive) {
        let config = Arc::new(config.clone());
        let mut users = tokio::task::JoinSet::new();
        let mine = self.plan.slice.count(u64::from(config.concurrency));
        for pool in 0..self.pools.len() {
            for number in (0..mine).map(|n| self.plan.slice.session(n)) {
                let user = self.clone();
                users.spawn(user.user(config.clone(), number, pool, alive.clone()));
            }
        }
        drop(alive);
        while let Some(user) = users.join_next().await {
            user.expect("a user does not panic");
        }
    }

    /// User `number` of the whole load, at the pool with this place among the pools.
    async fn user(self: Arc<Self>, config: Arc<Users>, number: u64, pool: usize, alive: Alive) {
        let pool = &self.pools[pool];
        let mut measured = false;
        // When it starts its next session; `None` once it has left for good.
        let mut next = self.plan.at_work(&config, number, self.plan.begins);
        while let Some(at) = next
            && self.goes_on_at(at, pool).await
        {
            let since_begin = Offset::from_nanos(self.clock.now().nanos_since(self.plan.begins));
            let Some((part, session, last)) = pool.take(since_begin) else {
                break;
            };
            if last {
                pool.emptied.cancel();
            }
            let Ok(stay) = self.turn_comes(pool, part, session).await else {
                break;
            };
            if last {
                self.shared.source_ended();
            }
            measured |= part == Part::Measured;
            let (turn, conversation) = self.plan.session(part, session, pool.endpoint);
            let turn = Box::new(turn);
            let Ok(reservation) = self.reserve_waiting(&turn).await else {
                break;
            };
            self.shared.came_due(&turn.record);
            let (answered, reply) = oneshot::channel();
            self.clone()
                .start(turn, reservation, alive.clone(), said_to(answered));
            let reached = match conversation {
                // An error is a task that panicked: its missing row makes the run incomplete.
                None => reply.await.map_or(Reached::Target, |reply| reply.reached),
                // A box: few users need it, and it is much.
                Some(conversation) => Box::pin(self.go_on(conversation, reply, &alive)).await,
            };
            if let Some(stay) = stay {
                stay.over(self.clock.now());
            }
            let think = config.think(part, self.plan.seed, session);
            let free = self.clock.now()
                + match reached {
                    // Nobody is there to be loaded: without a pause, users would spin.
                    Reached::Nobody => think.max(REFUSED_PAUSE),
                    Reached::Target => think,
                };
            next = self.plan.at_work(&config, number, free);
        }
        self.leave_turns(pool);
        // The first user that worked and finds nothing more to start ends the window: from the
        // moment it would have started on, there are fewer users than the scenario says.
        if measured && let Some(at) = next {
            let now = self.clock.now();
            let end = match self.shared.stopped() {
                Stop::No => at.max(now),
                Stop::Arrivals | Stop::Everything => now,
            };
            self.shared.end_window(pool.endpoint, end);
        }
    }

    /// A user waits until `at`. Whether there may be a session for it then: it waits no longer than
    /// the load lasts, nor when the run is stopped or nothing is left to start.
    async fn goes_on_at(&self, at: Offset, pool: &Pool) -> bool {
        if self.shared.stopped() > Stop::No {
            return false;
        }
        if at <= self.clock.now() {
            return true;
        }
        // To the end, and not less: whoever thinks beyond it is a user until then.
        let end = self.plan.ends(Part::Measured);
        let until = end.map_or(at, |end| end.min(at));
        tokio::select! {
            biased;
            () = self.shared.no_more_arrivals() => false,
            () = pool.emptied.cancelled() => false,
            () = self.clock.sleep_until(until) => until == at,
        }
    }

    /// A user waits until the budget has room for its next request.
    async fn reserve_waiting(&self, turn: &Planned) -> Result<Option<Reservation>, NoRoom> {
        let mut waited = false;
        loop {
            let mut settled = std::pin::pin!(self.shared.settled.notified());
            // What settles from here on is heard.
            settled.as_mut().enable();
            match self.reserve(turn) {
                Ok(reservation) => {
                    // Whoever waits in vain does not load anybody late.
                    if waited {
                        self.shared.waits_for_budget();
                    }
                    return Ok(reservation);
                }
                Err(exhausted) if is_hopeless(&exhausted) => {
                    self.budget_ends_the_run(&exhausted);
                    return Err(NoRoom::Ever);
                }
                Err(_) => {
                    waited = true;
                    tokio::select! {
                        () = settled => {}
                        () = self.shared.no_more_arrivals() => return Err(NoRoom::InTime),
                        () = self.others_settle() => {}
                    }
                }
            }
        }
    }

    /// Another run of the command may hold what this one waits for, and tells nobody here.
    async fn others_settle(&self) {
        if self.pools.iter().any(|pool| pool.seat.is_some()) {
            let later = self.clock.now() + OTHERS_SETTLE;
            self.clock.coarse_sleep_until(later).await;
        } else {
            std::future::pending::<()>().await;
        }
    }

    fn end_windows(&self) {
        for &endpoint in &self.plan.endpoints {
            self.shared.end_window(endpoint, self.clock.now());
        }
    }

    /// The UTC date at `offset`, which prices are looked up at.
    fn date(&self, offset: Offset) -> jiff::civil::Date {
        self.clock
            .utc(offset)
            .to_zoned(jiff::tz::TimeZone::UTC)
            .date()
    }
}

/// How long a user of a closed loop waits after a refused connection.
const REFUSED_PAUSE: std::time::Duration = std::time::Duration::from_millis(100);

/// How often a user that waits for room in a budget looks whether another run gave some back.
const OTHERS_SETTLE: std::time::Duration = std::time::Duration::from_millis(100);

/// Why a turn got no money.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NoRoom {
    /// The budget will not have enough any more.
    Ever,
    /// The run was stopped before it had enough.
    InTime,
}

/// Hands a reply over; a user that was stopped meanwhile no longer listens.
fn said_to(answered: oneshot::Sender<Reply>) -> impl FnOnce(Reply) + Send {
    move |reply| {
        let _ = answered.send(reply);
    }
}

/// Why a turn was dropped; one text, so that they are counted as one.
const BUDGET_USED: &str = "the budget has no room for another request";

/// Whether nothing in flight can give back enough for a request like this one.
fn is_hopeless(exhausted: &Exhausted) -> bool {
    exhausted
        .spent
        .checked_add(exhausted.worst)
        .map_or(true, |least| least > exhausted.limit)
}

/// The sessions that the users of one endpoint draw from: those of all workers, so that whoever is
/// free takes the next one, whichever core its user is on.
#[derive(Debug)]
pub struct Pool {
    endpoint: Endpoint,
    tickets: Mutex<[(Part, Tickets); 2]>,
    /// Told when the last session is taken: nobody needs to wait any longer.
    emptied: CancellationToken,
    /// Where two arms take turns.
    seat: Option<Seat>,
}

impl Pool {
    /// The pools of `plan`, whose slice is that of all workers together; none for an open loop.
    pub fn all(plan: &Plan) -> Arc<[Self]> {
        let endpoints = plan.endpoints.iter();
        endpoints
            .filter(|_| !plan.schedule.arrivals.is_open())
            .map(|&endpoint| Self {
                endpoint,
                tickets: Mutex::new(
                    [Part::Warmup, Part::Measured]
                        .map(|part| (part, plan.schedule.tickets(part, plan.slice))),
                ),
                emptied: CancellationToken::new(),
                seat: None,
            })
            .collect()
    }

    /// The pool of an arm that takes turns with another. The window of `shared` begins with the arm's
    /// first turn.
    ///
    /// # Panics
    /// If `plan` is no closed loop on one endpoint.
    pub fn in_turns(plan: &Plan, seat: &Seat, shared: &Shared) -> Arc<[Self]> {
        let mut pools = Self::all(plan);
        let [pool] = Arc::get_mut(&mut pools).expect("nobody else has them yet") else {
            panic!("turns are taken by the users of one endpoint");
        };
        pool.seat = Some(seat.clone());
        shared.hold_window(pool.endpoint);
        pools
    }

    /// The next session, its part of the run, and whether it is the last one.
    fn take(&self, since_begin: Offset) -> Option<(Part, u64, bool)> {
        let mut tickets = self.tickets.lock().expect("taking a ticket does not panic");
        let (part, session) = tickets
            .iter_mut()
            .find_map(|(part, tickets)| Some((*part, tickets.take(since_begin)?)))?;
        let last = part == Part::Measured && tickets[1].1.is_empty();
        Some((part, session, last))
    }
}
