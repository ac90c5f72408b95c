//! The doors: listening sockets, and what each lets in.

pub mod admin;
pub mod api;
mod download;
mod keys;
pub mod operations;
pub mod public;
mod rotations;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::server::conn::http1::Builder;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, watch};
use tower::ServiceExt;

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

/// Accepts connections until `stop` says so, then lets what is in flight finish.
///
/// `accept` yields a connection that is not ready yet: its own future makes it ready (TLS), off the accepting loop, so a
/// slow client holds up nobody.
pub(crate) async fn serve<A, F, C, S>(
    name: &'static str,
    mut accept: A,
    limits: DoorLimits,
    mut stop: watch::Receiver<bool>,
) where
    A: AsyncFnMut() -> std::io::Result<F>,
    F: Future<Output = Option<(C, S)>> + Send + 'static,
    C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Into<Router> + Send + 'static,
{
    let graceful = Arc::new(GracefulShutdown::new());
    let places = Arc::new(Semaphore::new(limits.connections));
    loop {
        let accepted = tokio::select! {
            accepted = accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let ready = match accepted {
            Ok(ready) => ready,
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
            let Some((stream, router)) = ready.await else { return };
            let router: Router = router.into();
            let service =
                TowerToHyperService::new(router.map_request(|request: http::Request<_>| request.map(Body::new)));
            // HTTP/1.1 alone: its timer runs from the first moment and between requests, so a silent connection does not
            // keep its place.
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
