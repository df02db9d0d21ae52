//! Bodies that are made from the journal: read, searched and written on threads of their own.
//!
//! A journal may have millions of entries. To parse them between two frames of a stream would have every stream wait,
//! by seconds for a ledger; so each piece is made by a thread that paces nothing.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::journal::Pieces;

/// Pieces as a body.
pub(crate) struct Reading<P>(Stage<P>);

enum Stage<P> {
    /// Nothing is under way.
    Resting(P),
    /// A thread makes the next piece.
    Working(JoinHandle<(P, io::Result<Option<Vec<u8>>>)>),
    /// There is nothing more.
    Over,
}

impl<P: Pieces> Reading<P> {
    pub(crate) fn new(pieces: P) -> Self {
        Self(Stage::Resting(pieces))
    }

    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Option<Vec<u8>>>> {
        loop {
            match std::mem::replace(&mut self.0, Stage::Over) {
                Stage::Resting(mut pieces) => {
                    self.0 = Stage::Working(spawn_blocking(move || {
                        let piece = pieces.next_piece();
                        (pieces, piece)
                    }));
                }
                Stage::Working(mut thread) => {
                    let Poll::Ready(done) = Pin::new(&mut thread).poll(context) else {
                        self.0 = Stage::Working(thread);
                        return Poll::Pending;
                    };
                    let (mut pieces, piece) = done.map_err(io::Error::other)?;
                    match piece? {
                        Some(piece) if piece.is_empty() => self.0 = Stage::Resting(pieces),
                        Some(piece) => {
                            self.0 = Stage::Resting(pieces);
                            return Poll::Ready(Ok(Some(piece)));
                        }
                        None => match pieces.poll_more(context) {
                            Poll::Pending => {
                                // It looks again when it is woken: at worst for nothing.
                                self.0 = Stage::Resting(pieces);
                                return Poll::Pending;
                            }
                            Poll::Ready(more) => {
                                if !more? {
                                    return Poll::Ready(Ok(None));
                                }
                                self.0 = Stage::Resting(pieces);
                            }
                        },
                    }
                }
                Stage::Over => return Poll::Ready(Ok(None)),
            }
        }
    }
}

impl<P> fmt::Debug for Reading<P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Reading").finish_non_exhaustive()
    }
}

impl<P: Pieces> Body for Reading<P> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let piece = ready!(self.poll_piece(context)).transpose();
        Poll::Ready(piece.map(|piece| piece.map(|bytes| Frame::data(bytes.into()))))
    }
}

#[cfg(test)]
mod tests {
    use std::thread::{self, ThreadId};

    use http_body_util::BodyExt as _;

    use super::*;

    /// Two pieces with an empty one between, made by anybody but `pacing`.
    struct Slow {
        pacing: ThreadId,
        left: u8,
    }

    impl Pieces for Slow {
        fn next_piece(&mut self) -> io::Result<Option<Vec<u8>>> {
            assert_ne!(thread::current().id(), self.pacing);
            let Some(left) = self.left.checked_sub(1) else {
                return Ok(None);
            };
            self.left = left;
            Ok(Some(if left == 1 { Vec::new() } else { vec![b'x'] }))
        }
    }

    #[tokio::test]
    async fn pieces_are_made_by_a_thread_that_paces_nothing() {
        let pieces = Slow {
            pacing: thread::current().id(),
            left: 3,
        };
        let body = Reading::new(pieces).collect().await.expect("readable");
        assert_eq!(body.to_bytes(), "xx");
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_an_error_of_the_body() {
        struct Broken;
        impl Pieces for Broken {
            fn next_piece(&mut self) -> io::Result<Option<Vec<u8>>> {
                Err(io::Error::other("gone"))
            }
        }
        let error = Reading::new(Broken).collect().await.expect_err("gone");
        assert_eq!(error.to_string(), "gone");
    }
}
