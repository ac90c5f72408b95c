//! A door: a listening socket, the connections that came in by it, and what they may cost.
//!
//! Whatever speaks HTTP/1.1 uses it, whoever answers behind it: the service's doors and the responder's own. It knows
//! connections and their limits; what a path means is the business of the hyper service that each connection is given.
//!
//! A client may cost a place, a buffer for the head of one request, and a little time. When places are short, whoever has
//! waited longest without a complete request gives up its own, so those who only hold connections shut out nobody; nor do
//! those who ask and do not take the answer. A connection whose request is being answered is never closed for another.
//! Memory is bounded by `connections` times the buffers of one connection, since a new one comes in only after the old one
//! has gone. Who sends many requests at once has a few of them answered at a time, and then it is the others' turn.
//!
//! What a client may take its time for, in [`DoorLimits`]:
//!
//! | what | limit | then |
//! |---|---|---|
//! | a handshake; silence before and between requests | `request` each | closed |
//! | a request, from its first octet to the last of its body | `request` | 408, closed |
//! | the first line of a request | `header_bytes` | 414, closed |
//! | the head of a request | `header_bytes`, 100 fields | 431, closed |
//! | taking nothing of an answer | `unread` | closed |

mod connection;
mod counts;
mod exchange;
mod place;
mod places;
mod stream;

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::{Request, Response};
use hyper::body::Body;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower::ServiceExt;

pub use self::counts::{DoorCounts, Level};
pub use self::exchange::RequestBody;
use self::places::{Admission, Held, Places};
use crate::notice::Notice;

/// Any error of a service or of a body that it answers with: it ends the connection.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Limits of a door.
#[derive(Clone, Copy, Debug)]
pub struct DoorLimits {
    /// Connections open at one time.
    pub connections: usize,
    /// As many of them for one address (for IPv6: for one /64); 0 for no such limit, as it has to be behind a proxy.
    pub connections_per_address: usize,
    /// Octets of a request's head; at least 8192.
    pub header_bytes: usize,
    /// How long a request may take to arrive, head and body; and how long a connection may be silent before it.
    pub request: Duration,
    /// How long a client may take nothing of its answer.
    pub unread: Duration,
    /// How long what is in flight has to finish when the service stops.
    pub shutdown: Duration,
}

/// A door with a name, for logs, and its limits.
#[derive(Debug)]
pub struct Door {
    name: &'static str,
    limits: DoorLimits,
    counts: Arc<DoorCounts>,
}

impl Door {
    /// A door that lets nobody in yet.
    pub fn new(name: &'static str, limits: DoorLimits) -> Self {
        Door { name, limits, counts: Arc::default() }
    }

    /// The same door, which counts here.
    #[must_use]
    pub fn counted_by(self, counts: Arc<DoorCounts>) -> Self {
        Door { counts, ..self }
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
        let Door { name, limits, counts } = self;
        let places = Arc::new(Places::new(limits.connections, limits.connections_per_address, counts));
        let mut connections = JoinSet::new();
        let notices = Notices { name, made_room: Notice::default(), turned_away: Notice::default() };
        let accepting = async {
            loop {
                match accept().await {
                    Ok((from, ready)) => {
                        if let Some(held) = admit(&places, from, &limits, &notices).await {
                            connections.spawn(connection::serve(name, held, ready, limits));
                        }
                    }
                    Err(error) => {
                        // Out of file descriptors, mostly: somebody who waits may have one to spare.
                        tracing::warn!(door = name, %error, "a connection could not be accepted");
                        places.spare_one();
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    }
                }
                while connections.try_join_next().is_some() {}
            }
        };
        tokio::select! {
            () = accepting => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
        drop(accept);
        places.finish();
        let finished = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(limits.shutdown, finished).await.is_err() {
            tracing::warn!(door = name, "connections were still open when the time to finish was over");
            connections.shutdown().await;
        }
    }
}

/// Finds a place for somebody who comes from there, if one can be found.
async fn admit(places: &Arc<Places>, from: Option<IpAddr>, limits: &DoorLimits, notices: &Notices) -> Option<Held> {
    loop {
        match places.admit(from) {
            Admission::In(held) => return Some(held),
            Admission::Asked(place) => {
                notices.made_room.say(|times| {
                    tracing::warn!(
                        door = notices.name,
                        times,
                        connections = limits.connections,
                        connections_per_address = limits.connections_per_address,
                        "a limit of connections is reached: who waited longest makes room"
                    );
                });
                places.settled(&place).await;
            }
            Admission::Full => {
                notices.turned_away.say(|times| {
                    tracing::warn!(
                        door = notices.name,
                        times,
                        connections = limits.connections,
                        connections_per_address = limits.connections_per_address,
                        "a limit of connections is reached, and all of them are being answered: some are turned away"
                    );
                });
                places.turned_away();
                return None;
            }
        }
    }
}

/// What would fill the log in an attack, said now and then.
struct Notices {
    name: &'static str,
    made_room: Notice,
    turned_away: Notice,
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
