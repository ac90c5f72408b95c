//! What would fill the log if it were said each time: said now and then, with how often it happened.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The least time between two lines in the log about the same.
const QUIET: Duration = Duration::from_secs(10);

/// One thing that may happen often.
#[derive(Debug, Default)]
pub(crate) struct Notice(Mutex<Since>);

#[derive(Debug, Default)]
struct Since {
    times: u64,
    said: Option<Instant>,
}

impl Notice {
    /// It happened: says it if it was not said for a while, with how often it has happened since.
    pub(crate) fn say(&self, say: impl FnOnce(u64)) {
        if let Some(times) = self.happened(Instant::now()) {
            say(times);
        }
    }

    fn happened(&self, now: Instant) -> Option<u64> {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        since.times += 1;
        if since.said.is_some_and(|said| now.duration_since(said) < QUIET) {
            return None;
        }
        since.said = Some(now);
        Some(std::mem::take(&mut since.times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_often_is_said_once_in_a_while_with_how_often_it_happened() {
        let (notice, first) = (Notice::default(), Instant::now());
        assert_eq!(notice.happened(first), Some(1));
        for millis in 0..1000 {
            assert_eq!(notice.happened(first + Duration::from_millis(millis)), None);
        }
        assert_eq!(notice.happened(first + QUIET), Some(1001));
        assert_eq!(notice.happened(first + QUIET), None);
        assert_eq!(notice.happened(first + 5 * QUIET), Some(2));
    }
}
