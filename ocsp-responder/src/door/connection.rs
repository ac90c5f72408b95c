//! One connection from its place to its end.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use hyper::body::Body;
use hyper::server::conn::http1::Builder;
use hyper::service::Service;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, Sleep};

use super::exchange::{RequestBody, WatchedService};
use super::place::{Doing, Order};
use super::places::Held;
use super::stream::Watched;
use super::{BoxError, DoorLimits};

/// How long, and for how many octets, a client is listened to after the last answer, so that it gets to read it: were the
/// connection closed over octets that nobody read, TCP would reset it, and the answer might be lost.
const LINGER: (Duration, u64) = (Duration::from_secs(1), 256 * 1024);

/// Why a connection ends before it ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Another needs its place.
    MadeRoom,
    /// A request took too long to arrive.
    TooSlow,
    /// Nothing came.
    Silent,
    /// Its client takes nothing of the answer.
    Unread,
    /// The service stops, and there is nothing to finish.
    Stopped,
}

/// Serves one connection.
pub(super) async fn serve<F, C, S, B>(name: &'static str, held: Held, ready: F, limits: DoorLimits)
where
    F: Future<Output = Option<(C, S)>> + Send,
    C: AsyncRead + AsyncWrite + Unpin + Send,
    S: Service<Request<RequestBody>, Response = Response<B>, Future: Send, Error: Into<BoxError>> + Send,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    let end = connection(name, &held, ready, limits).await;
    match end {
        Some(End::MadeRoom) => held.counts().made_room.add_one(),
        Some(End::TooSlow | End::Silent) => held.counts().too_slow.add_one(),
        Some(End::Unread) => held.counts().unread.add_one(),
        Some(End::Stopped) | None => {}
    }
}

async fn connection<F, C, S, B>(name: &'static str, held: &Held, ready: F, limits: DoorLimits) -> Option<End>
where
    F: Future<Output = Option<(C, S)>>,
    C: AsyncRead + AsyncWrite + Unpin,
    S: Service<Request<RequestBody>, Response = Response<B>, Error: Into<BoxError>>,
    B: Body<Error: Into<BoxError>> + 'static,
{
    let mut watch = Watch { held, limits, timer: pin!(tokio::time::sleep(limits.request)), is_finishing: false };
    let (stream, service) = match watch.unless_ended(ready).await {
        Ok(ready) => ready?,
        Err(end) => return Some(end),
    };
    let place = held.place();
    // The handshake had its time; the first request has its own.
    place.wait();
    let buffer = limits.header_bytes.max(8192);
    let stream = TokioIo::new(Watched::new(stream, Arc::clone(place), buffer));
    let service = WatchedService { service, place: Arc::clone(place) };
    // HTTP/1.1 alone, without hyper's timer, which is made anew for each request: the watch has one for the connection.
    let mut connection =
        Builder::new().max_buf_size(buffer).writev(false).header_read_timeout(None).serve_connection(stream, service);
    let ended = poll_fn(|cx| {
        place.begin_turn();
        loop {
            // First what is there to be done: a request that has arrived keeps the place.
            if let Poll::Ready(result) = Pin::new(&mut connection).poll(cx) {
                return Poll::Ready(Ok(result));
            }
            match watch.poll(cx) {
                Poll::Ready(Told::End(end)) => return Poll::Ready(Err(end)),
                Poll::Ready(Told::Finish) => Pin::new(&mut connection).graceful_shutdown(),
                Poll::Pending => return Poll::Pending,
            }
        }
    });
    let ended = ended.await;
    let mut stream = connection.into_parts().io.into_inner();
    let end = match ended {
        Ok(Ok(())) => None,
        Ok(Err(error)) => {
            tracing::debug!(door = name, %error, "a connection ended badly");
            None
        }
        Err(End::TooSlow) => Some(End::TooSlow),
        Err(end) => return Some(end),
    };
    let refusal = match end {
        Some(_) => Some(StatusCode::REQUEST_TIMEOUT),
        None => stream.is_line_too_long.then_some(StatusCode::URI_TOO_LONG),
    };
    place.wait();
    watch.is_finishing = false;
    let _ = watch.unless_ended(part(&mut stream, refusal)).await;
    end
}

/// Says the last, if there is something to be said, and listens until the client had time to read it.
async fn part<C: AsyncRead + AsyncWrite + Unpin>(stream: &mut Watched<C>, refusal: Option<StatusCode>) {
    let (time, octets) = LINGER;
    let parting = async {
        if let Some(status) = refusal {
            let reason = status.canonical_reason().unwrap_or_default();
            let head =
                format!("HTTP/1.1 {} {reason}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", status.as_u16());
            stream.stream.write_all(head.as_bytes()).await?;
        }
        stream.stream.shutdown().await?;
        if !stream.is_ended {
            tokio::io::copy(&mut (&mut stream.stream).take(octets), &mut tokio::io::sink()).await?;
        }
        std::io::Result::Ok(())
    };
    let _ = tokio::time::timeout(time, parting).await;
}

/// What a connection is told by its watch.
enum Told {
    End(End),
    Finish,
}

/// Watches over one connection's time, and listens to the door.
struct Watch<'a> {
    held: &'a Held,
    limits: DoorLimits,
    /// Goes off now and then, and is set to when something could be over: no request sets it.
    timer: Pin<&'a mut Sleep>,
    is_finishing: bool,
}

impl Watch<'_> {
    /// Waits for what comes before the first request or after the last answer.
    async fn unless_ended<F: Future>(&mut self, future: F) -> Result<F::Output, End> {
        let mut future = pin!(future);
        poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            match self.poll(cx) {
                Poll::Ready(Told::End(end)) => Poll::Ready(Err(end)),
                Poll::Ready(Told::Finish) => Poll::Ready(Err(End::Stopped)),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Told> {
        let place = self.held.place();
        match place.order(cx.waker()) {
            Order::GiveUp if place.idle_since().is_some() => return Poll::Ready(Told::End(End::MadeRoom)),
            Order::GiveUp => self.held.decline(),
            Order::Finish if !self.is_finishing => {
                self.is_finishing = true;
                return Poll::Ready(match place.doing() {
                    Doing::Waiting { begun: false, .. } if place.unread_since().is_none() => Told::End(End::Stopped),
                    _ => Told::Finish,
                });
            }
            Order::Finish | Order::None | Order::Gone => {}
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            let (over, end) = self.over();
            if Instant::now() >= over {
                return Poll::Ready(Told::End(end));
            }
            self.timer.as_mut().reset(over);
        }
        Poll::Pending
    }

    /// When the connection's time is over as things are, or when it is to be looked at again; and how it ends then.
    fn over(&self) -> (Instant, End) {
        let place = self.held.place();
        let (request, unread) = (self.limits.request, self.limits.unread);
        if let Some(since) = place.unread_since() {
            return (place.at(since) + unread, End::Unread);
        }
        match place.doing() {
            Doing::Waiting { since, begun: true } => (place.at(since) + request, End::TooSlow),
            Doing::Waiting { since, begun: false } => (place.at(since) + request, End::Silent),
            // Nothing ends an answer that is being made, so this is no end.
            Doing::Answering => (Instant::now() + request.min(unread).max(Duration::from_millis(1)), End::Unread),
        }
    }
}
