//! What the answer itself says (RFC 6960 3.2 and 4.2.2).

use std::time::Duration;

use http::HeaderMap;
use pki::Timestamp;
use pki::ocsp::{CertStatus, VerifiedStatus};

use super::ask::Question;
use super::{SeenWithin, Status};
use crate::probe::headers::{age, directive, max_age};
use crate::probe::{Checks, name_of, words};

/// Who signed, and until when they may.
// conformance: O12, O13
pub(super) fn signer(checks: &mut Checks, said: &VerifiedStatus, question: &Question<'_>, warn: Duration) {
    let (name, until, key) = match &said.delegate {
        Some(delegate) => (name_of(delegate.subject_der()), delegate.not_after(), delegate.public_key()),
        None => (name_of(question.issuer.subject_der()), question.issuer.not_after(), question.issuer.public_key()),
    };
    let as_whom = if said.delegate.is_some() { "a delegate of the CA" } else { "the CA itself" };
    checks.passed("signature", format!("by {as_whom}, {name}, with {}", key.key_type()));
    let mut wrong = Vec::new();
    if let Some(Err(deviation)) = said.delegate.as_ref().map(|delegate| delegate.check_own()) {
        wrong.push(format!("{deviation} (rule O12): some clients ask for the signer's own status, or refuse it"));
    }
    if said.next_update > until {
        wrong.push(format!(
            "the answer is good until {}, and its signer only until {until} (rule O13)",
            said.next_update
        ));
    }
    let left = until.since(question.now);
    if left < warn {
        wrong.push(format!("its certificate ends in {}, at {until}: why has nobody replaced it?", words(left)));
    }
    if wrong.is_empty() {
        checks.passed("signer", format!("its certificate ends in {}, at {until}", words(left)));
    } else {
        checks.warning("signer", wrong.join("; "));
    }
}

/// thisUpdate and nextUpdate. An answer out of its time was refused before it came here.
// conformance: O23
pub(super) fn times(checks: &mut Checks, said: &VerifiedStatus, now: Timestamp) {
    checks.passed("times", format!("from {} until {}", said.this_update, said.next_update));
    let (life, left) = (said.next_update.since(said.this_update), said.next_update.since(now));
    let text = format!("{} left of {}", words(left), words(life));
    // Whoever makes them anew halfway never shows one that is this old.
    if left < life / 4 {
        let cause = "the responder hears nothing new from its CA, or a cache keeps answers too long";
        checks.warning("margin", format!("{text}: {cause}"));
    } else {
        checks.passed("margin", text);
    }
}

/// What it says of the certificate.
pub(super) fn status(checks: &mut Checks, said: &VerifiedStatus, expected: Option<Status>) {
    let status = Status::from(said.status);
    let text = match said.status {
        CertStatus::Revoked { at, reason } => format!("revoked at {at}, {reason}"),
        other => Status::from(other).to_string(),
    };
    match expected {
        Some(expected) if expected != status => {
            checks.failed("status", format!("{text}, and {expected} was expected"));
        }
        None if status == Status::Unknown => {
            let cause = "this CA signed it: is it the right responder, and does it have all that was issued?";
            checks.failed("status", format!("{text}, though {cause}"));
        }
        _ => checks.passed("status", text),
    }
}

/// Whether GET, which caches may answer, and POST, which they may not, say the same.
pub(super) fn agreement(checks: &mut Checks, got: &VerifiedStatus, posted: &VerifiedStatus, headers: &HeaderMap) {
    if got.status == posted.status {
        checks.passed("agreement", "GET and POST say the same");
        return;
    }
    let (one, other) = (Status::from(got.status), Status::from(posted.status));
    let older = posted.produced_at.since(got.produced_at).as_secs();
    let text = format!("GET says {one} (signed at {}), POST says {other} ({})", got.produced_at, posted.produced_at);
    match max_age(headers) {
        Some(max_age) if older > 0 && older <= max_age => {
            checks.warning("agreement", format!("{text}: a cache has the old answer, for {max_age} s at most"));
        }
        _ => checks.failed("agreement", format!("{text}: who asks by GET is told what holds no longer")),
    }
}

/// How late a revocation can be seen by who keeps this answer.
pub(super) fn visibility(checks: &mut Checks, said: &VerifiedStatus, headers: &HeaderMap) -> SeenWithin {
    let next_update = said.next_update.since(said.this_update).as_secs();
    let kept = match (directive(headers, "no-store"), max_age(headers)) {
        (Some(_), _) => Some(0),
        // What a cache on the way had already counts against what it may be kept.
        (None, max_age) => max_age.map(|max_age| max_age.max(age(headers))),
    };
    let by_http = match kept {
        Some(0) => "HTTP lets nobody keep it".to_owned(),
        Some(seconds) => format!("at most {} by who keeps it as HTTP says", words(Duration::from_secs(seconds))),
        None => "HTTP does not say how long it may be kept".to_owned(),
    };
    let to_the_end = words(Duration::from_secs(next_update));
    let text = format!(
        "a revocation is seen after at most {to_the_end} by who keeps the answer to its nextUpdate; {by_http}; with the \
         next question by who keeps none"
    );
    checks.passed("visibility", text);
    SeenWithin { next_update, max_age: kept }
}

/// Whether relying systems find this responder.
pub(super) fn address(checks: &mut Checks, question: &Question<'_>, url: &str) {
    let named = question.certificate.ocsp_urls();
    if named.iter().any(|one| one.trim_end_matches('/') == url.trim_end_matches('/')) {
        checks.passed("address", "the certificate names it");
    } else if named.is_empty() {
        checks.passed("address", "the certificate names no responder: relying systems have this one configured");
    } else {
        let text = format!("the certificate names {}: relying systems ask there", named.join(", "));
        checks.warning("address", text);
    }
}
