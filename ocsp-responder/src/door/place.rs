//! One connection as the door sees it: what it is doing, since when, and what the door wants of it.
//!
//! The connection writes, the door reads. A request costs two stores and a look at the clock, and no timer.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::Waker;
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::time::Instant;

/// How many requests of one connection are answered before the others have their turn. A client may send thousands at once.
const TURN: u8 = 4;

/// Whose share a connection takes: an IPv4 address, or the /64 of an IPv6 address, since one host has all of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Origin(IpAddr);

impl From<IpAddr> for Origin {
    fn from(address: IpAddr) -> Self {
        Origin(match address.to_canonical() {
            IpAddr::V6(address) => IpAddr::from((u128::from(address) & !u128::from(u64::MAX)).to_be_bytes()),
            address => address,
        })
    }
}

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    /// A complete request is being answered.
    Answering,
    /// There is no complete request yet.
    Waiting {
        /// Since when, in microseconds of the door's time.
        since: u64,
        /// Whether a part of a request is there.
        begun: bool,
    },
}

/// What the door wants of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Order {
    /// Nothing.
    None = 0,
    /// Its place, unless a request is being answered.
    GiveUp = 1,
    /// To end when its request is answered: the service stops.
    Finish = 2,
    /// Nothing more: it is gone.
    Gone = 3,
}

/// A connection's place at the door.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) id: u64,
    pub(super) origin: Option<Origin>,
    opened: Instant,
    doing: AtomicU64,
    /// When the client last took something of its answer, plus one; 0 if it takes whatever it is given.
    unread: AtomicU64,
    order: AtomicU8,
    /// Requests taken in this turn.
    taken: AtomicU8,
    waker: AtomicWaker,
}

const ANSWERING: u64 = 0;
const WAITING: u64 = 1;
const BEGUN: u64 = 2;

impl Place {
    /// A place of a door that opened at `opened`.
    pub(super) fn new(id: u64, origin: Option<Origin>, opened: Instant) -> Self {
        let place = Place {
            id,
            origin,
            opened,
            doing: AtomicU64::new(ANSWERING),
            unread: AtomicU64::new(0),
            order: AtomicU8::new(Order::None as u8),
            taken: AtomicU8::new(0),
            waker: AtomicWaker::new(),
        };
        place.wait();
        place
    }

    /// Microseconds since the door opened.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_micros()).unwrap_or(u64::MAX >> 2)
    }

    /// The moment that is so many microseconds after the door opened.
    pub(super) fn at(&self, micros: u64) -> Instant {
        self.opened + Duration::from_micros(micros)
    }

    /// What it is doing.
    pub(super) fn doing(&self) -> Doing {
        match self.doing.load(Ordering::Relaxed) {
            ANSWERING => Doing::Answering,
            waiting => Doing::Waiting { since: waiting >> 2, begun: waiting & BEGUN != 0 },
        }
    }

    /// A request is complete.
    pub(super) fn answer(&self) {
        self.doing.store(ANSWERING, Ordering::Relaxed);
    }

    /// A request is answered, or there was none yet.
    pub(super) fn wait(&self) {
        self.doing.store(self.now() << 2 | WAITING, Ordering::Relaxed);
    }

    /// The first octets of a request are there.
    pub(super) fn begin(&self) {
        self.doing.store(self.now() << 2 | BEGUN | WAITING, Ordering::Relaxed);
    }

    /// It is this connection's turn: the others wait.
    pub(super) fn begin_turn(&self) {
        self.taken.store(0, Ordering::Relaxed);
    }

    /// One more request is taken in this turn; whether it is more than belongs into one.
    pub(super) fn ends_turn(&self) -> bool {
        let before = self.taken.load(Ordering::Relaxed);
        self.taken.store(before.saturating_add(1), Ordering::Relaxed);
        before >= TURN
    }

    /// Since when the client has taken nothing, in microseconds; `None` if it takes what it is given.
    pub(super) fn unread_since(&self) -> Option<u64> {
        self.unread.load(Ordering::Relaxed).checked_sub(1)
    }

    /// The client does not take what it is given. To be said again only after it has taken something.
    pub(super) fn block(&self) {
        self.unread.store(self.now() + 1, Ordering::Relaxed);
    }

    /// The client took something.
    pub(super) fn unblock(&self) {
        self.unread.store(0, Ordering::Relaxed);
        // Its answer was complete before it could be sent: the time of the next request begins now.
        if let Doing::Waiting { begun: false, .. } = self.doing() {
            self.wait();
        }
    }

    /// Since when it has waited for its client, who may have to send a request or to take an answer, in microseconds; `None`
    /// if it is the client that waits.
    pub(super) fn idle_since(&self) -> Option<u64> {
        self.unread_since().or(match self.doing() {
            Doing::Answering => None,
            Doing::Waiting { since, .. } => Some(since),
        })
    }

    /// Tells it what is wanted. Whoever is told to finish is not asked for its place as well.
    pub(super) fn tell(&self, order: Order) {
        if self.order.fetch_max(order as u8, Ordering::AcqRel) < order as u8 {
            self.waker.wake();
        }
    }

    /// What is wanted of it; `waker` is woken when that changes.
    pub(super) fn order(&self, waker: &Waker) -> Order {
        self.waker.register(waker);
        match self.order.load(Ordering::Acquire) {
            0 => Order::None,
            1 => Order::GiveUp,
            2 => Order::Finish,
            _ => Order::Gone,
        }
    }

    /// Keeps its place: its request came meanwhile.
    pub(super) fn decline(&self) {
        let (asked, none) = (Order::GiveUp as u8, Order::None as u8);
        let _ = self.order.compare_exchange(asked, none, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Whether it has yet to give up its place, or to decline.
    pub(super) fn is_asked(&self) -> bool {
        self.order.load(Ordering::Acquire) == Order::GiveUp as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(address: &str) -> Origin {
        Origin::from(address.parse::<IpAddr>().unwrap())
    }

    #[test]
    fn a_host_is_one_ipv4_address_or_64_bits_of_ipv6() {
        assert_eq!(origin("192.0.2.1"), origin("::ffff:192.0.2.1"));
        assert_ne!(origin("192.0.2.1"), origin("192.0.2.2"));
        assert_eq!(origin("2001:db8:0:1::1"), origin("2001:db8:0:1:ffff:ffff:ffff:ffff"));
        assert_ne!(origin("2001:db8:0:1::1"), origin("2001:db8:0:2::1"));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_longest_is_spared_first_and_who_is_answered_never() {
        let opened = Instant::now();
        let place = |id| Place::new(id, None, opened);
        let first = place(1);
        tokio::time::advance(Duration::from_secs(1)).await;
        let second = place(2);
        assert!(first.idle_since() < second.idle_since(), "the one that came first");
        tokio::time::advance(Duration::from_secs(1)).await;
        first.begin();
        assert!(second.idle_since() < first.idle_since(), "a request that began has its time from there");
        first.answer();
        assert_eq!(first.idle_since(), None);
        tokio::time::advance(Duration::from_secs(1)).await;
        // One that takes nothing of its answer is waited for, too.
        first.block();
        assert!(second.idle_since() < first.idle_since());
        first.unblock();
        assert_eq!(first.idle_since(), None, "it is still being answered");
        first.wait();
        assert!(second.idle_since() < first.idle_since());
    }

    #[test]
    fn an_order_to_finish_is_not_taken_back() {
        let place = Place::new(1, None, Instant::now());
        let order = || place.order(Waker::noop());
        assert_eq!(order(), Order::None);
        place.tell(Order::GiveUp);
        assert!(place.is_asked() && order() == Order::GiveUp);
        place.decline();
        assert_eq!(order(), Order::None);
        place.tell(Order::Finish);
        place.tell(Order::GiveUp);
        place.decline();
        assert_eq!(order(), Order::Finish);
        assert!(!place.is_asked());
    }
}
