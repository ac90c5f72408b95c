//! The clock of this crate, the only one.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use pki::Timestamp;

/// Tells the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The machine's clock.
pub fn system_clock() -> Clock {
    Arc::new(now)
}

#[expect(clippy::disallowed_methods, reason = "a relying system is at the edge, where the clock lives")]
fn now() -> Timestamp {
    // Before 1970 nothing is valid yet, so nothing passes.
    Timestamp::EPOCH.plus(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}
