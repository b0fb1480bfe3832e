//! Bodies of answers, on their way out.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep_until};

use super::rope::Rope;
use super::shape::Pace;

/// A body that leaves at the network's pace.
#[derive(Debug, Default)]
pub(crate) struct Leaving {
    rope: Rope,
    left: u64,
    pace: Option<Pace>,
    /// The piece that is on its way, and when it will have arrived.
    under_way: Option<(Bytes, Pin<Box<Sleep>>)>,
}

impl Leaving {
    /// Makes a body of a rope.
    pub(crate) fn new(rope: Rope) -> Self {
        Self { left: rope.len(), rope, pace: None, under_way: None }
    }

    /// Sets the pace; without one the body leaves at once.
    pub(crate) fn paced(self, pace: Pace) -> Self {
        Self { pace: Some(pace), ..self }
    }
}

impl Body for Leaving {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.under_way.is_none() {
            let step = self.pace.as_ref().map_or(usize::MAX, Pace::step);
            let Some(piece) = self.rope.pop(step) else { return Poll::Ready(None) };
            self.left -= piece.len() as u64;
            match self.pace.as_mut().and_then(|pace| pace.pass(piece.len())) {
                None => return Poll::Ready(Some(Ok(Frame::data(piece)))),
                Some(due) => self.under_way = Some((piece, Box::pin(sleep_until(due)))),
            }
        }
        if let Some((_, arrival)) = &mut self.under_way {
            ready!(arrival.as_mut().poll(context));
        }
        Poll::Ready(self.under_way.take().map(|(piece, _)| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.size_hint().exact() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        let under_way = self.under_way.as_ref().map_or(0, |(piece, _)| piece.len() as u64);
        SizeHint::with_exact(self.left + under_way)
    }
}
