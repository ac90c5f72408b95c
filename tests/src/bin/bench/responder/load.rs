//! Requests by a timetable, or as fast as they are answered, from a thread of its own.
//!
//! Between two requests the thread looks for answers without sleeping, so that a request leaves when it is due and not a
//! millisecond later. An answer's time counts from when its request was due: a service that falls behind does not slow
//! down those who ask.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, oneshot};

use crate::cost::{Sample, Watch};
use crate::wire::{Answer, Connection};

/// Nobody waits longer for an answer; what is not answered counts as this.
const LONGEST: Duration = Duration::from_secs(5);
/// Until the first request, so that all connections are open.
const LEAD: Duration = Duration::from_millis(100);
/// Nearer than this the clock is looked at again and again; a timer is not exact enough.
const NEAR: Duration = Duration::from_millis(3);

/// What is asked, by number.
pub(crate) trait Asks: Send + Sync + 'static {
    /// Writes the request of this number.
    fn write(&self, number: usize, request: &mut Vec<u8>);

    /// Whether this is an answer to it.
    fn is_right(&self, number: usize, answer: &Answer<'_>) -> bool;
}

/// When something is asked.
#[derive(Clone, Debug)]
pub(crate) enum Pace {
    /// At these times after the beginning.
    Timetable(Vec<Duration>),
    /// As soon as the one before is answered, for so long.
    Closed(Duration),
}

impl Pace {
    /// So many a second, for so long, at even distances.
    pub(crate) fn even(rate: f64, length: Duration) -> Self {
        let count = (rate * length.as_secs_f64()) as u32;
        Pace::Timetable((0..count).map(|number| Duration::from_secs_f64(f64::from(number) / rate)).collect())
    }

    /// The same, at random: as those come who know nothing of each other (a Poisson process).
    pub(crate) fn random(rate: f64, length: Duration) -> Self {
        let (mut at, mut state, mut times) = (0.0, 1_u64, Vec::new());
        while at < length.as_secs_f64() {
            times.push(Duration::from_secs_f64(at));
            state = mixed(state);
            let part = (state >> 11) as f64 / (1_u64 << 53) as f64;
            at -= (1.0 - part).ln() / rate;
        }
        Pace::Timetable(times)
    }
}

/// A number that has nothing to do with its neighbours' (SplitMix64).
pub(crate) fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Who asks, whom, and how.
#[derive(Clone)]
pub(crate) struct Load {
    /// Whom.
    pub(crate) address: SocketAddr,
    /// From where; `None` leaves it to the system.
    pub(crate) from: Option<IpAddr>,
    /// How many connections there are.
    pub(crate) connections: usize,
    /// Whether each request has a connection of its own.
    pub(crate) each_anew: bool,
    /// When.
    pub(crate) pace: Pace,
    /// What, from the number `first` on.
    pub(crate) asks: Arc<dyn Asks>,
    /// The number of the first request.
    pub(crate) first: usize,
    /// Ends it early once this is true.
    pub(crate) enough: Arc<AtomicBool>,
}

impl Load {
    /// One by sixteen connections that are kept.
    pub(crate) fn new(address: SocketAddr, asks: Arc<dyn Asks>, pace: Pace) -> Self {
        let enough = Arc::default();
        Load { address, from: None, connections: 16, each_anew: false, pace, asks, first: 0, enough }
    }
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    /// Requests that were not answered: the connection was refused, cut or silent. Each counts as one that took at least
    /// five seconds.
    pub(crate) unanswered: usize,
    /// Answers that are no answers to what was asked.
    pub(crate) wrong: usize,
}

/// One that waits to be asked; `None` sends a connection home.
type Job = Option<(usize, Instant)>;

struct Shared {
    load: Load,
    jobs: Mutex<VecDeque<Job>>,
    ready: Semaphore,
}

impl Shared {
    fn push(&self, job: Job) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).push_back(job);
        self.ready.add_permits(1);
    }

    async fn next(&self) -> Job {
        self.ready.acquire().await.expect("it is never closed").forget();
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).pop_front().flatten()
    }

    /// One request; `None` when it is not answered.
    async fn ask(&self, connection: &mut Option<Connection>, number: usize, request: &mut Vec<u8>) -> Option<bool> {
        let load = &self.load;
        request.clear();
        load.asks.write(number, request);
        let asked = tokio::time::timeout(LONGEST, async {
            let open = match connection.take() {
                Some(open) if !load.each_anew => open,
                _ => Connection::try_open(load.from, load.address).await?,
            };
            let open = connection.insert(open);
            let answer = open.try_exchange(request).await?;
            std::io::Result::Ok((load.asks.is_right(number, &answer), answer.closes))
        });
        match asked.await {
            Ok(Ok((is_right, closes))) => {
                if closes || load.each_anew {
                    *connection = None;
                }
                Some(is_right)
            }
            Ok(Err(_)) | Err(_) => {
                *connection = None;
                None
            }
        }
    }

    async fn connection(self: Arc<Self>) -> (Asked, Vec<Duration>) {
        let (mut asked, mut latencies, mut request) = (Asked::default(), Vec::new(), Vec::new());
        let mut connection = match self.load.each_anew {
            true => None,
            false => Connection::try_open(self.load.from, self.load.address).await.ok(),
        };
        while let Some((number, due)) = self.next().await {
            match self.ask(&mut connection, number, &mut request).await {
                Some(true) => latencies.push(due.elapsed()),
                Some(false) => asked.wrong += 1,
                None => {
                    asked.unanswered += 1;
                    latencies.push(due.elapsed().max(LONGEST));
                }
            }
        }
        (asked, latencies)
    }

    async fn go(self: Arc<Self>) -> (Asked, Vec<Duration>) {
        let connections: Vec<_> =
            (0..self.load.connections).map(|_| tokio::spawn(Arc::clone(&self).connection())).collect();
        let begin = Instant::now() + LEAD;
        match &self.load.pace {
            Pace::Timetable(times) => {
                for (number, time) in times.iter().enumerate() {
                    if self.load.enough.load(Ordering::Relaxed) {
                        break;
                    }
                    wait_until(begin + *time).await;
                    self.push(Some((self.load.first + number, begin + *time)));
                }
            }
            Pace::Closed(length) => {
                wait_until(begin).await;
                let mut number = self.load.first;
                // One more than there are connections waits at any time, so that none is ever idle.
                while begin.elapsed() < *length {
                    while self.ready.available_permits() <= 1 {
                        self.push(Some((number, Instant::now())));
                        number += 1;
                    }
                    tokio::task::yield_now().await;
                }
            }
        }
        connections.iter().for_each(|_| self.push(None));
        let (mut sum, mut latencies) = (Asked::default(), Vec::new());
        for connection in connections {
            let (asked, its) = connection.await.expect("no connection panics");
            sum.unanswered += asked.unanswered;
            sum.wrong += asked.wrong;
            latencies.extend(its);
        }
        (sum, latencies)
    }
}

async fn wait_until(due: Instant) {
    while let Some(left) = due.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        if left > NEAR { tokio::time::sleep(left - NEAR).await } else { tokio::task::yield_now().await }
    }
}

/// Asks, and gives what came of it beside how long each answer took.
pub(crate) async fn run(load: Load) -> (Asked, Vec<Duration>) {
    let (tell, told) = oneshot::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let shared = Arc::new(Shared { load, jobs: Mutex::default(), ready: Semaphore::new(0) });
        let _ = tell.send(runtime.block_on(shared.go()));
    });
    told.await.expect("the thread that asks does not panic")
}

/// The same, with what it cost.
pub(crate) async fn measure(watch: &Watch, load: Load) -> (Asked, Sample) {
    let (asked, sample) = watch.all([run(load)]).await;
    (asked.into_iter().next().unwrap_or_default(), sample)
}
