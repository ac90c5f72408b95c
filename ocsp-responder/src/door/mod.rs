//! A door: a listening socket, the connections that came in by it, and what they may cost.
//!
//! Whatever speaks HTTP/1.1 uses it, whoever answers behind it: the service's doors and the responder's own. It knows
//! connections and their limits; what a path means is the business of the hyper service that each connection is given.

use std::future::Future;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::{Request, Response};
use hyper::body::Body;
use hyper::server::conn::http1::Builder;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, watch};
use tower::ServiceExt;

/// The body of a request, as a door hands it on.
pub type RequestBody = hyper::body::Incoming;

/// Any error of a service or of a body that it answers with: it ends the connection.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Limits of a door.
#[derive(Clone, Copy, Debug)]
pub struct DoorLimits {
    /// Connections open at one time.
    pub connections: usize,
    /// Octets of a request's head.
    pub header_bytes: usize,
    /// How long the head of a request may take.
    pub head: Duration,
    /// How long what is in flight has to finish when the service stops.
    pub shutdown: Duration,
}

/// A door with a name, for logs, and its limits.
#[derive(Debug)]
pub struct Door {
    name: &'static str,
    limits: DoorLimits,
}

impl Door {
    /// A door that lets nobody in yet.
    pub fn new(name: &'static str, limits: DoorLimits) -> Self {
        Door { name, limits }
    }

    /// Accepts connections until `stop` says so, then lets what is in flight finish.
    ///
    /// `accept` yields where a connection comes from (`None` for a Unix socket) and a future that makes it ready (TLS), off
    /// the accepting loop, so a slow client holds up nobody. Its result is the stream and the service that answers it; `None`
    /// turns it away.
    pub async fn serve<A, F, C, S, B>(self, mut accept: A, mut stop: watch::Receiver<bool>)
    where
        A: AsyncFnMut() -> std::io::Result<(Option<IpAddr>, F)>,
        F: Future<Output = Option<(C, S)>> + Send + 'static,
        C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Service<Request<RequestBody>, Response = Response<B>, Future: Send, Error: Into<BoxError>> + Send + 'static,
        B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
    {
        let Door { name, limits } = self;
        let graceful = Arc::new(GracefulShutdown::new());
        let places = Arc::new(Semaphore::new(limits.connections));
        loop {
            let accepted = tokio::select! {
                accepted = accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            let ready = match accepted {
                Ok((_, ready)) => ready,
                Err(error) => {
                    // Out of file descriptors, mostly: leave the others time to finish.
                    tracing::warn!(door = name, %error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                tracing::warn!(
                    door = name,
                    limit = limits.connections,
                    "limits.connections is reached; one is turned away"
                );
                continue;
            };
            let watcher = graceful.watcher();
            tokio::spawn(async move {
                let _place = place;
                let Some((stream, service)) = ready.await else { return };
                // HTTP/1.1 alone: its timer runs from the first moment and between requests, so a silent connection does
                // not keep its place.
                let mut builder = Builder::new();
                builder
                    .timer(TokioTimer::new())
                    .header_read_timeout(limits.head)
                    .max_buf_size(limits.header_bytes.max(8192));
                let connection = builder.serve_connection(TokioIo::new(stream), service);
                if let Err(error) = watcher.watch(connection).await {
                    tracing::debug!(door = name, %error, "a connection ended badly");
                }
            });
        }
        drop(accept);
        let Some(graceful) = Arc::into_inner(graceful) else { return };
        let finished = pin!(graceful.shutdown());
        if tokio::time::timeout(limits.shutdown, finished).await.is_err() {
            tracing::warn!(door = name, "connections were still open when the time to finish was over");
        }
    }
}

/// The hyper service that answers by a router.
pub fn by_router(
    router: Router,
) -> impl Service<
    Request<RequestBody>,
    Response = Response<axum::body::Body>,
    Error = std::convert::Infallible,
    Future: Send,
> + Clone
+ Send {
    TowerToHyperService::new(router.map_request(|request: Request<_>| request.map(axum::body::Body::new)))
}
