//! How a responder stands: what keeps it from answering, and what a person must see to before it does.

use std::time::Duration;

use pki::Timestamp;
use serde::Serialize;

use super::Node;
use crate::Freshness;

/// A client certificate that ends so soon should have been renewed long ago.
const CLIENT_CERTIFICATE_SOON: Duration = Duration::from_secs(14 * 24 * 3600);
/// Clocks that are further apart than this are worth a word, in milliseconds.
const CLOCK_DIFFERENCE_MS: i64 = 2_000;

/// How a responder stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// Whether everything is answered.
    pub ready: bool,
    /// What keeps it from answering: for which issuer, and why.
    pub problems: Vec<String>,
    /// What a person must see to before it becomes a problem.
    pub warnings: Vec<String>,
}

impl Node {
    /// How it stands at `now`.
    pub fn readiness(&self, now: Timestamp) -> Readiness {
        let (mut problems, mut warnings) = (Vec::new(), Vec::new());
        let age = match self.responder.replica().as_of() {
            // What a snapshot says before its first heartbeat counts as of no time.
            Some(as_of) if as_of > Timestamp::EPOCH => {
                format!("the last heartbeat was {} s ago", now.since(as_of).as_secs())
            }
            _ => "there was no heartbeat yet".to_owned(),
        };
        let expelled = self.expulsion.reason();
        if let Some(reason) = &expelled {
            problems.push(format!(
                "expelled: all answers are withheld: {reason}. Stop this responder, or enrol it again and restart it"
            ));
        }
        let states = self.responder.state(now);
        if states.is_empty() {
            problems.push("issuers: whom to answer for is not known yet".to_owned());
        }
        // The one reason says it for all.
        for state in states.iter().filter(|_| expelled.is_none()) {
            match state.freshness {
                Freshness::Withheld => problems.push(format!("{}: withheld: {age}", state.id)),
                Freshness::Stale => warnings.push(format!("{}: stale: {age}", state.id)),
                Freshness::Fresh => {}
            }
            if state.signer_fails {
                problems
                    .push(format!("{}: its signer's key could not sign; look at the token, and at the log", state.id));
            }
            if state.signer_not_after.is_none() {
                problems
                    .push(format!("{}: no signer: the CA has certified none yet, or its certificate ended", state.id));
            }
        }
        if self.responder.is_clock_behind(now) {
            problems.push("clock: it is behind the last answer that was given; set it right".to_owned());
        }
        let view = self.feed.view();
        if expelled.is_some() {
            return Readiness { ready: false, problems, warnings };
        }
        if !view.connected {
            let why = view.last_error.as_deref().unwrap_or("it is being connected");
            warnings.push(format!("feed: not followed: {why}"));
        } else if view.clock_ahead_ms.abs() > CLOCK_DIFFERENCE_MS {
            let (ms, way) = (view.clock_ahead_ms.abs(), if view.clock_ahead_ms > 0 { "ahead of" } else { "behind" });
            warnings.push(format!("clock: it is {ms} ms {way} the CA's; set one of the two right"));
        }
        if !self.replica.is_kept() {
            warnings
                .push("replica: none is kept on disk: a restart needs the CA; look at the log and the disk".to_owned());
        }
        let (_, end) = self.identity.validity();
        if end <= now {
            warnings.push("certificate: this responder's client certificate has ended; enrol it again".to_owned());
        } else if end <= now.plus(CLIENT_CERTIFICATE_SOON) {
            warnings
                .push(format!("certificate: this responder's client certificate ends at {end}, and was not renewed"));
        }
        Readiness { ready: problems.is_empty(), problems, warnings }
    }
}
