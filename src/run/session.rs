//! A session after its first turn: calls are answered, and the next turn sent, until an answer calls
//! no more, a turn fails, or the run stops.
//!
//! Each turn is a request of its own: it comes due when the tools of the one before are done, takes
//! a place, has its worst case set aside, and has rows of its own.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::attempt::{Reached, Reply};
use super::{Alive, BUDGET_USED, Conduct, NoRoom, said_to};
use crate::client::Transport;
use crate::plan::{Conversation, Planned};

impl<T: Transport> Conduct<T> {
    /// Goes on with a session whose first turn was started, once that has its reply. Says whether the last turn got as
    /// far as the target.
    pub(super) async fn go_on(
        self: &Arc<Self>,
        mut conversation: Box<Conversation>,
        reply: oneshot::Receiver<Reply>,
        alive: &Alive,
    ) -> Reached {
        let mut awaited = reply;
        loop {
            // An error is a task that panicked: its missing row makes the run incomplete.
            let Ok(mut reply) = awaited.await else {
                return Reached::Target;
            };
            let Some(answer) = reply.answer.take() else {
                return reply.reached;
            };
            let (mut turn, wait) = self.plan.next_turn(&mut conversation, &answer);
            drop(answer);
            turn.record.session_sent = reply.session_sent;
            let due = reply.at + wait;
            let is_open = self.plan.schedule.arrivals.is_open();
            turn.record.due = Some(due).filter(|_| is_open);
            let turn = Box::new(turn);
            tokio::select! {
                biased;
                () = self.shared.no_more_arrivals() => return self.stopped_before(*turn),
                () = self.clock.sleep_until(due) => {}
            }
            let (answered, next) = oneshot::channel();
            awaited = next;
            if is_open {
                self.start_due(turn, alive, said_to(answered));
                continue;
            }
            match self.reserve_waiting(&turn).await {
                Ok(reservation) => {
                    self.shared.came_due(&turn.record);
                    let alive = alive.clone();
                    self.clone()
                        .start(turn, reservation, alive, said_to(answered));
                }
                Err(NoRoom::Ever) => {
                    self.shared.came_due(&turn.record);
                    self.drop_turn(*turn, BUDGET_USED);
                    return Reached::Target;
                }
                Err(NoRoom::InTime) => return self.stopped_before(*turn),
            }
        }
    }

    /// The run was stopped before a turn that the model had asked for: it is a row, so that no session vanishes.
    fn stopped_before(&self, mut turn: Planned) -> Reached {
        // It has not come to that.
        turn.record.due = turn.record.due.filter(|due| *due <= self.clock.now());
        self.shared.came_due(&turn.record);
        self.cut_before(turn);
        Reached::Target
    }
}
