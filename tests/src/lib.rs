//! What the end-to-end tests have in common: a whole deployment in one test's process, on a SoftHSM of its own, with a
//! clock that the test sets and steps that it can stop at; stations, operators and cards to work with it.
//!
//! Everything here panics when it does not get what it asked for: that is the test's failure.

pub mod card;
pub mod clock;
pub mod deployment;
pub mod desk;
pub mod follower;
pub mod gate;
pub mod home;
pub mod http;
pub mod openssl;
pub mod pkilint;
pub mod program;
pub mod published;
pub mod request;
pub mod responder;
pub mod rotations;
pub mod strangers;

pub use card::PaperCard;
pub use clock::TestClock;
pub use deployment::{Deployment, Options};
pub use desk::{Operator, RaSession, Station, World};
pub use follower::Follower;
pub use gate::Gate;
pub use home::{Home, at_home, isolated};
pub use http::{Ask, Door, Reply};
pub use responder::RemoteResponder;

use std::future::Future;
use std::time::{Duration, Instant};

/// How long anything is waited for that has to come.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Looks again and again until `look` finds something: for what another thread or process does in its own time.
///
/// # Panics
/// When it does not come within [`PATIENCE`].
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
