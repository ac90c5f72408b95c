//! One request and its answer, watched: when the request is complete, and when the answer is handed over.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::service::Service;
use pin_project_lite::pin_project;

use super::place::Place;

/// The body of a request, as a door hands it on.
#[derive(Debug)]
pub struct RequestBody {
    incoming: Incoming,
    /// Told when all of it is there.
    place: Option<Arc<Place>>,
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.incoming).poll_frame(cx));
        if (frame.is_none() || self.incoming.is_end_stream())
            && let Some(place) = self.place.take()
        {
            place.answer();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// A service whose place is told what goes on.
#[derive(Debug)]
pub(super) struct WatchedService<S> {
    pub(super) service: S,
    pub(super) place: Arc<Place>,
}

impl<S, B> Service<Request<Incoming>> for WatchedService<S>
where
    S: Service<Request<RequestBody>, Response = Response<B>>,
{
    type Response = Response<AnswerBody<B>>;
    type Error = S::Error;
    type Future = Answering<S::Future>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let place = Arc::clone(&self.place);
        let request = request.map(|incoming| {
            // A body that is still on its way can be as slow as a head.
            let is_complete = incoming.is_end_stream();
            if is_complete {
                place.answer();
            }
            RequestBody { place: (!is_complete).then(|| Arc::clone(&place)), incoming }
        });
        let waits = place.ends_turn();
        Answering { future: self.service.call(request), place: Some(place), waits }
    }
}

pin_project! {
    /// The answer of a [`WatchedService`].
    #[derive(Debug)]
    pub(super) struct Answering<F> {
        #[pin]
        future: F,
        place: Option<Arc<Place>>,
        // For the turns of the other connections.
        waits: bool,
    }
}

impl<F, B, E> Future for Answering<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<AnswerBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if std::mem::take(this.waits) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let response = ready!(this.future.poll(cx))?;
        let until = this.place.take().map(|place| {
            // Also when the answer came before the whole of the request: it is refused, say.
            place.answer();
            UntilDropped(place)
        });
        Poll::Ready(Ok(response.map(|body| AnswerBody { body, _until: until })))
    }
}

/// Its place is waiting again when this is dropped.
#[derive(Debug)]
struct UntilDropped(Arc<Place>);

impl Drop for UntilDropped {
    fn drop(&mut self) {
        self.0.wait();
    }
}

pin_project! {
    /// The body of an answer; the next request is waited for when it is dropped, having been handed over.
    #[derive(Debug)]
    pub(super) struct AnswerBody<B> {
        #[pin]
        body: B,
        _until: Option<UntilDropped>,
    }
}

impl<B: Body> Body for AnswerBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.project().body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
