//! The street in front of a door: clients that come from any address, on a clock that stands until everybody waits.

use std::convert::Infallible;
use std::future::{Future, pending};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use ocsp_responder::door::{Door, DoorCounts, DoorLimits, RequestBody};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::{Mutex, Notify, mpsc, watch};
use tokio::task::JoinHandle;

/// The limits of these tests, each to be varied by one of them.
pub(crate) const LIMITS: DoorLimits = DoorLimits {
    connections: 3,
    connections_per_address: 0,
    header_bytes: 8192,
    request: Duration::from_secs(10),
    unread: Duration::from_secs(30),
    shutdown: Duration::from_secs(10),
};

/// Octets of a big answer: more than all buffers between the service and its client.
pub(crate) const BIG: usize = 1 << 20;

/// A connection's octets that are on their way, in each direction.
const WIRE: usize = 16 * 1024;

type Arrival = (Option<IpAddr>, DuplexStream);

/// A door that is open, and what goes on behind it.
pub(crate) struct Street {
    arrivals: mpsc::UnboundedSender<Arrival>,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
    pub(crate) counts: Arc<DoorCounts>,
    pub(crate) behind: Arc<Behind>,
}

/// What goes on behind the door.
#[derive(Default)]
pub(crate) struct Behind {
    /// Holds back the answers to `/gate`; one goes with each notification.
    pub(crate) gate: Notify,
    /// The paths that were asked for, in their order.
    pub(crate) asked: std::sync::Mutex<Vec<String>>,
    /// Requests that wait there.
    pub(crate) at_gate: AtomicUsize,
    /// Connections that are served, and the most that ever were at one time.
    served: AtomicUsize,
    pub(crate) most_served: AtomicUsize,
}

/// The service of one connection.
struct Desk(Arc<Behind>);

impl Desk {
    fn new(behind: Arc<Behind>) -> Self {
        let served = behind.served.fetch_add(1, Ordering::SeqCst) + 1;
        behind.most_served.fetch_max(served, Ordering::SeqCst);
        Desk(behind)
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.0.served.fetch_sub(1, Ordering::SeqCst);
    }
}

impl hyper::service::Service<Request<RequestBody>> for Desk {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<RequestBody>) -> Self::Future {
        let behind = Arc::clone(&self.0);
        behind.asked.lock().unwrap().push(request.uri().path().to_owned());
        Box::pin(async move {
            let body = match request.uri().path() {
                "/gate" => {
                    behind.at_gate.fetch_add(1, Ordering::SeqCst);
                    behind.gate.notified().await;
                    Bytes::from_static(b"through the gate")
                }
                "/big" => Bytes::from(vec![b'x'; BIG]),
                "/body" => match request.into_body().collect().await {
                    Ok(body) => Bytes::from(format!("{} octets", body.to_bytes().len())),
                    Err(_) => Bytes::new(),
                },
                "/refused" => {
                    let mut response = Response::new(Full::default());
                    *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
                    return Ok(response);
                }
                _ => Bytes::from_static(b"answered"),
            };
            Ok(Response::new(Full::new(body)))
        })
    }
}

impl Street {
    /// Opens a door.
    pub(crate) fn open(limits: DoorLimits) -> Self {
        let (arrivals, arriving) = mpsc::unbounded_channel::<Arrival>();
        let arriving = Arc::new(Mutex::new(arriving));
        let (stop, stopped) = watch::channel(false);
        let counts = Arc::new(DoorCounts::default());
        let behind = Arc::new(Behind::default());
        let door = Door::new("test", limits).counted_by(Arc::clone(&counts));
        let service = Arc::clone(&behind);
        let serving = tokio::spawn(async move {
            let accept = move || {
                let (arriving, service) = (Arc::clone(&arriving), Arc::clone(&service));
                async move {
                    let Some((from, stream)) = arriving.lock().await.recv().await else { return pending().await };
                    Ok((from, async move { Some((stream, Desk::new(service))) }))
                }
            };
            door.serve(accept, stopped).await;
        });
        Street { arrivals, stop, serving, counts, behind }
    }

    /// Somebody comes from an address, and everything happens that does not take time.
    pub(crate) async fn come(&self, from: &str) -> Client {
        let (ours, theirs) = tokio::io::duplex(WIRE);
        self.arrivals.send((Some(from.parse().unwrap()), theirs)).unwrap();
        settle().await;
        Client(ours)
    }

    /// The service is told to stop.
    pub(crate) async fn stop(&self) {
        self.stop.send(true).unwrap();
        settle().await;
    }

    /// Waits until the door is closed.
    pub(crate) async fn closed(self) {
        self.serving.await.unwrap();
    }

    /// How many connections were closed to make room.
    pub(crate) fn made_room(&self) -> u64 {
        self.counts.made_room.get()
    }
}

/// Lets everything happen that does not take time: on this clock it only passes when nobody has anything to do.
pub(crate) async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// Somebody at the other end of a connection.
pub(crate) struct Client(pub(crate) DuplexStream);

impl Client {
    /// Says something; whether somebody is there who could hear it.
    pub(crate) async fn say(&mut self, words: &str) -> bool {
        let said = self.0.write_all(words.as_bytes()).await.is_ok();
        settle().await;
        said
    }

    /// Asks for a path, and leaves the connection open.
    pub(crate) async fn ask(&mut self, path: &str) -> bool {
        self.say(&format!("GET {path} HTTP/1.1\r\nhost: door\r\n\r\n")).await
    }

    /// What has been said to it so far.
    pub(crate) async fn hear(&mut self) -> String {
        let mut heard = vec![0; WIRE];
        let read = tokio::time::timeout(Duration::from_millis(1), self.0.read(&mut heard)).await;
        heard.truncate(read.map_or(0, |read| read.unwrap_or(0)));
        String::from_utf8(heard).unwrap()
    }

    /// What it hears until the connection ends.
    pub(crate) async fn hear_all(&mut self) -> String {
        let mut heard = Vec::new();
        let _ = self.0.read_to_end(&mut heard).await;
        String::from_utf8(heard).unwrap()
    }

    /// Whether the connection has ended, without a word.
    pub(crate) async fn is_closed(&mut self) -> bool {
        let read = tokio::time::timeout(Duration::from_millis(1), self.0.read_u8()).await;
        matches!(read, Ok(Err(_)))
    }

    /// Whether it is answered.
    pub(crate) async fn is_answered(&mut self) -> bool {
        self.ask("/").await && self.hear().await.ends_with("answered")
    }
}
