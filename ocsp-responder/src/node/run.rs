//! A responder's life: opened, its doors open, the feed followed, until it is told to stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use ::http::{Request, Response};
use axum::Router;
use config::ResponderConfig;
use hyper::body::Body;
use hyper::service::Service;
use pki::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::link::blocking;
use super::replica_dir::ReplicaSteps;
use super::{Node, NodeError, link, operations, signers, upkeep};
use crate::door::{self, BoxError, Door, DoorLimits, RequestBody};
use crate::http::{Clock, HttpOptions, HttpState, OcspService};

/// The system's clock. Here, at the edge, and nowhere below, is it looked at.
#[expect(clippy::disallowed_methods, reason = "this is the edge")]
pub fn system_clock() -> Clock {
    Arc::new(|| {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Timestamp::EPOCH.plus(since)
    })
}

/// A responder whose doors are bound, and not served yet.
#[derive(Debug)]
pub struct Opened {
    node: Arc<Node>,
    public: TcpListener,
    operations: TcpListener,
}

/// Opens a responder, and binds its doors. `steps` is told of each step of writing the replica.
///
/// # Errors
/// As [`Node::open`]; [`NodeError::Listen`].
pub async fn open(config: ResponderConfig, clock: Clock, steps: Arc<dyn ReplicaSteps>) -> Result<Opened, NodeError> {
    let listen = config.listen.clone();
    let bind = async |key, address: SocketAddr| {
        TcpListener::bind(address).await.map_err(|source| NodeError::Listen { key, address, source })
    };
    let public = bind("listen.public", listen.public).await?;
    let operations = bind("listen.metrics", listen.metrics).await?;
    let node = blocking(move || Node::open(config, clock, steps)).await?;
    Ok(Opened { node, public, operations })
}

impl Opened {
    /// The responder.
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// The addresses of the doors: public, operations. They differ from the configured ones where port 0 was asked for.
    ///
    /// # Errors
    /// The operating system's.
    pub fn addresses(&self) -> std::io::Result<[SocketAddr; 2]> {
        Ok([self.public.local_addr()?, self.operations.local_addr()?])
    }

    /// Answers until `stop` is true, then finishes what is in flight.
    ///
    /// # Errors
    /// When what was written cannot be made durable at the end.
    pub async fn run(self, stop: watch::Receiver<bool>) -> Result<(), NodeError> {
        let Opened { node, public, operations } = self;
        let config = &node.config;
        let limits = DoorLimits {
            connections: config.limits.connections,
            header_bytes: config.limits.header_bytes,
            connections_per_address: config.limits.connections_per_address,
            request: config.times.request,
            unread: config.times.answer_unread,
            shutdown: config.times.shutdown,
        };
        let clock = Arc::clone(&node.clock);
        let ocsp = HttpState::new(Arc::clone(&node.responder), Arc::new(move || clock.now()), HttpOptions::default());
        let public_service = OcspService::new(ocsp, Router::new());
        let operations_service = door::by_router(operations::router(Arc::clone(&node)));
        let tasks = [
            tokio::spawn(link::run(Arc::clone(&node), stop.clone())),
            tokio::spawn(signers::run(Arc::clone(&node), stop.clone())),
            tokio::spawn(upkeep::run(Arc::clone(&node), stop.clone())),
        ];
        let addresses =
            |listener: &TcpListener| listener.local_addr().map_or_else(|e| e.to_string(), |a| a.to_string());
        tracing::info!(public = addresses(&public), metrics = addresses(&operations), "the doors are open");
        tokio::join!(
            serve_door(
                Door::new("public", limits).counted_by(Arc::clone(&node.door)),
                public,
                public_service,
                stop.clone()
            ),
            serve_door(Door::new("operations", limits), operations, operations_service, stop.clone()),
        );
        for task in tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a part of the responder ended badly");
            }
        }
        let ending = Arc::clone(&node);
        blocking(move || {
            if let Some(last) = ending.responder.last_produced_at() {
                ending.replica.note_produced_at(last)?;
            }
            Ok(ending.replica.sync()?)
        })
        .await?;
        tracing::info!("stopped");
        Ok(())
    }
}

async fn serve_door<S, B>(door: Door, listener: TcpListener, service: S, stop: watch::Receiver<bool>)
where
    S: Service<Request<RequestBody>, Response = Response<B>, Future: Send, Error: Into<BoxError>>
        + Clone
        + Send
        + 'static,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    let accept = async || {
        let (stream, from) = listener.accept().await?;
        let service = service.clone();
        Ok((Some(from.ip()), async move {
            let _ = stream.set_nodelay(true);
            Some((stream, service))
        }))
    };
    door.serve(accept, stop).await;
}

/// Runs a responder until SIGTERM or SIGINT.
///
/// # Errors
/// Whatever keeps it from starting, or from ending in order.
pub async fn serve(config: ResponderConfig, clock: Clock, steps: Arc<dyn ReplicaSteps>) -> Result<(), NodeError> {
    use tokio::signal::unix::{SignalKind, signal};
    let refuse = |error: std::io::Error| NodeError::System(format!("signals: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(refuse)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(refuse)?;
    let (stop, stopped) = watch::channel(false);
    let opened = open(config, clock, steps).await?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping: what is in flight may finish");
        let _ = stop.send(true);
    });
    opened.run(stopped).await
}
