//! A connection's octets, watched on their way: when a request begins, how long its first line is, whether its client
//! reads.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::place::{Doing, Place};

/// A stream whose place is told what goes on.
#[derive(Debug)]
pub(super) struct Watched<C> {
    pub(super) stream: C,
    place: Arc<Place>,
    /// How long a request's first line may be.
    most: usize,
    /// Octets of the request that is arriving, as far as its first line was not at its end.
    line: Option<usize>,
    /// The first line is longer than it may be.
    pub(super) is_line_too_long: bool,
    /// The client sends no more.
    pub(super) is_ended: bool,
    is_blocked: bool,
}

impl<C> Watched<C> {
    /// Watches `stream`, on which a request's first line has up to `most` octets.
    pub(super) fn new(stream: C, place: Arc<Place>, most: usize) -> Self {
        Watched { stream, place, most, line: None, is_line_too_long: false, is_ended: false, is_blocked: false }
    }

    fn arrived(&mut self, octets: &[u8]) -> io::Result<()> {
        let Doing::Waiting { begun, .. } = self.place.doing() else { return Ok(()) };
        if !begun {
            self.place.begin();
            self.line = Some(0);
        }
        let Some(line) = self.line else { return Ok(()) };
        self.line = (!octets.contains(&b'\n')).then_some(line + octets.len());
        if self.line.is_some_and(|line| line >= self.most) {
            self.is_line_too_long = true;
            return Err(io::Error::other("the request's first line is too long"));
        }
        Ok(())
    }

    fn written<T>(&mut self, written: &Poll<io::Result<T>>) {
        match (written, self.is_blocked) {
            (Poll::Pending, false) => {
                self.is_blocked = true;
                self.place.block();
            }
            (Poll::Ready(_), true) => {
                self.is_blocked = false;
                self.place.unblock();
            }
            (Poll::Pending, true) | (Poll::Ready(_), false) => {}
        }
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for Watched<C> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let room = buf.remaining();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        match &buf.filled()[before..] {
            [] => self.is_ended |= room > 0,
            octets => self.arrived(octets)?,
        }
        Poll::Ready(Ok(()))
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Watched<C> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.written(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.written(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.written(&flushed);
        flushed
    }

    /// Leaves it open: whoever serves the connection ends it, and has something to say or to read before.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}
