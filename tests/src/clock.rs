//! A clock that goes as the system's does, and can be put forward.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use pki::Timestamp;
use server::clock::{Clock, SystemClock};

/// The system's clock, ahead by what the test says.
#[derive(Debug, Default)]
pub struct TestClock {
    ahead_millis: AtomicI64,
}

impl TestClock {
    /// Puts it forward.
    pub fn advance(&self, by: Duration) {
        let millis = i64::try_from(by.as_millis()).expect("a test's time");
        self.ahead_millis.fetch_add(millis, Ordering::SeqCst);
    }

    /// Puts it back.
    pub fn set_back(&self, by: Duration) {
        let millis = i64::try_from(by.as_millis()).expect("a test's time");
        self.ahead_millis.fetch_sub(millis, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        let ahead = self.ahead_millis.load(Ordering::SeqCst);
        Timestamp::from_unix_millis(SystemClock.now().unix_millis() + ahead)
    }
}

/// So many minutes.
pub const fn minutes(count: u64) -> Duration {
    Duration::from_secs(count * 60)
}

/// So many days.
pub const fn days(count: u64) -> Duration {
    Duration::from_secs(count * 86_400)
}
