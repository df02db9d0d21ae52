//! Where connections come in. The door can be closed for a time: the system then refuses connections, as it does where
//! no server is.
//!
//! A request that asks for it waits until the listener is gone, so that whoever sees that request fail is refused with
//! the next one. Connections that are open stay so.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;

use super::Player;

/// Connections that wait to be accepted; what tokio's own listeners have.
const BACKLOG: u32 = 1024;

/// How long to wait where the port cannot be listened on again: another process may have taken it.
const REOPEN_PAUSE: Duration = Duration::from_millis(20);

/// What all connections know of the door.
#[derive(Debug)]
pub(crate) struct Door {
    address: SocketAddr,
    sign: watch::Sender<Sign>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Sign {
    /// Until when it has to be closed.
    closed_until: Option<Instant>,
    /// Whether there is a listener.
    is_open: bool,
}

impl Door {
    /// The door at an address that is listened on.
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            sign: watch::Sender::default(),
        }
    }

    /// Has connections refused until `moment`, from when this returns.
    pub(super) async fn close_until(&self, moment: Instant) {
        self.sign
            .send_modify(|sign| sign.closed_until = sign.closed_until.max(Some(moment)));
        // It may have been closed and open again before anybody looks: then nobody asks for that moment any more.
        let was_closed = |sign: &Sign| !sign.is_open || sign.closed_until < Some(moment);
        wait_for(&mut self.sign.subscribe(), was_closed).await;
    }
}

async fn wait_for(signs: &mut watch::Receiver<Sign>, is_so: impl FnMut(&Sign) -> bool) {
    // Fails only without the door, which the player has for as long as anybody waits.
    let _ = signs.wait_for(is_so).await;
}

/// The door from inside: the listener, while there is one.
pub(super) struct Entrance {
    player: Arc<Player>,
    listener: Option<TcpListener>,
    signs: watch::Receiver<Sign>,
}

impl Entrance {
    pub(super) fn new(player: &Arc<Player>, listener: TcpListener) -> Self {
        let sign = &player.door.sign;
        sign.send_modify(|sign| sign.is_open = true);
        Self {
            player: Arc::clone(player),
            listener: Some(listener),
            signs: sign.subscribe(),
        }
    }

    /// The next connection, as far as they are accepted. Nothing is lost if it is dropped.
    pub(super) async fn accept(&mut self) -> io::Result<TcpStream> {
        loop {
            let Some(listener) = &self.listener else {
                self.reopen().await;
                continue;
            };
            tokio::select! {
                biased;
                () = wait_for(&mut self.signs, |sign| sign.closed_until.is_some()) => self.close(),
                accepted = listener.accept() => return accepted.map(|(stream, _)| stream),
            }
        }
    }

    fn close(&mut self) {
        self.listener = None;
        let sign = &self.player.door.sign;
        sign.send_modify(|sign| sign.is_open = false);
    }

    /// Waits as long as the door has to be closed, or else tries to open it.
    async fn reopen(&mut self) {
        let closed_until = self.signs.borrow_and_update().closed_until;
        if let Some(moment) = closed_until
            && moment > Instant::now()
        {
            self.player.timer.sleep_until(moment).await;
            return;
        }
        let door = &self.player.door;
        let mut listening = Ok(None);
        // Nobody can ask for more in between, and believe that the door is closed.
        door.sign.send_modify(|sign| {
            if sign.closed_until == closed_until {
                listening = listen(door.address).map(Some);
            }
            if let Ok(Some(_)) = listening {
                *sign = Sign {
                    closed_until: None,
                    is_open: true,
                };
            }
        });
        match listening {
            Ok(listener) => self.listener = listener,
            Err(_) => {
                self.player.counters.count_listen_error();
                tokio::time::sleep(REOPEN_PAUSE).await;
            }
        }
    }
}

impl Drop for Entrance {
    fn drop(&mut self) {
        // For those who wait until connections are refused, which they are from now on.
        self.close();
    }
}

/// Listens where connections of the time before may not be over.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    #[test]
    fn whoever_closes_the_door_waits_until_the_listener_is_gone() {
        let door = Door::new(SocketAddr::from(([127, 0, 0, 1], 0)));
        door.sign.send_modify(|sign| sign.is_open = true);
        let early = Instant::now();
        let late = early + REOPEN_PAUSE;
        let mut closing = pin!(door.close_until(late));
        let mut context = Context::from_waker(Waker::noop());
        assert_eq!(closing.as_mut().poll(&mut context), Poll::Pending);
        door.sign.send_modify(|sign| sign.is_open = false);
        assert_eq!(closing.as_mut().poll(&mut context), Poll::Ready(()));
        // It is closed already, and stays so for as long as anybody asked for.
        let mut again = pin!(door.close_until(early));
        assert_eq!(again.as_mut().poll(&mut context), Poll::Ready(()));
        assert_eq!(door.sign.borrow().closed_until, Some(late));
        // Closed and open again, all before the one who waits is polled.
        door.sign.send_modify(|sign| sign.is_open = true);
        let mut short = pin!(door.close_until(early));
        assert_eq!(short.as_mut().poll(&mut context), Poll::Pending);
        door.sign.send_modify(|sign| sign.closed_until = None);
        assert_eq!(short.as_mut().poll(&mut context), Poll::Ready(()));
    }
}
