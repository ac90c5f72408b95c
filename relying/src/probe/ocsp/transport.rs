//! What HTTP says about an answer: for caches, and for who has it already (RFC 9919 5, RFC 9110, RFC 9111).

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, DATE, ETAG, EXPIRES, IF_NONE_MATCH, LAST_MODIFIED};
use http::{HeaderMap, Method, StatusCode};
use pki::Timestamp;
use pki::ocsp::VerifiedStatus;
use pki::ocsp::client::MAX_RESPONSE_BYTES;

use super::ask::{Asked, Got, Question, Spelling};
use crate::Error;
use crate::probe::headers::{age, date, directive, is_imf_fixdate, max_age, text};
use crate::probe::{Checks, MAX_CLOCK_SKEW, exchange, words};

/// The exchange itself, and whether its answer can be relied on.
// conformance: H8
pub(super) fn answer(checks: &mut Checks, name: &'static str, got: Result<&Got, &Error>) {
    let got = match got {
        Ok(got) => got,
        Err(error) => return checks.failed(name, error.to_string()),
    };
    if let Err(reason) = &got.said {
        return checks.failed(name, format!("no answer to rely on: {reason}"));
    }
    let length = got.answer.body.as_ref().map_or(0, Bytes::len);
    match text(&got.answer.headers, CONTENT_TYPE) {
        // RFC 6960 A.2
        Some("application/ocsp-response") => {
            let text = format!("200, application/ocsp-response, {length} octets in {} ms", got.milliseconds);
            checks.passed(name, text);
        }
        other => {
            let found = other.unwrap_or("none");
            checks.warning(name, format!("the content type is {found}, and ought to be application/ocsp-response"));
        }
    }
}

/// The responder's clock, or that of the cache before it, against ours.
pub(super) fn clock(checks: &mut Checks, got: &Got, now: Timestamp) {
    let Some(there) = date(&got.answer.headers, DATE) else {
        checks.warning("clock", "no Date in the answer (rule H9): caches cannot tell its age");
        return;
    };
    // A cache hands out the Date of when the answer was made.
    let there = there.plus(std::time::Duration::from_secs(age(&got.answer.headers)));
    let difference = if there > now { there.since(now) } else { now.since(there) };
    if difference > MAX_CLOCK_SKEW {
        let which = if there > now { "ahead" } else { "behind" };
        let text =
            format!("it is {} {which} of the one here ({there} there, {now} here): which is wrong?", words(difference));
        checks.warning("clock", text);
    } else {
        checks.passed("clock", format!("within {} s of the one here", MAX_CLOCK_SKEW.as_secs()));
    }
}

/// Whether a shared cache may keep the answer.
pub(super) fn may_be_kept(headers: &HeaderMap) -> bool {
    let forbidden = ["no-store", "private", "no-cache"].iter().any(|name| directive(headers, name).is_some());
    !forbidden && (max_age(headers).is_some_and(|seconds| seconds > 0) || headers.contains_key(EXPIRES))
}

/// What caches are told about the answer to a GET (RFC 9919 5.2).
// conformance: H9
pub(super) fn caching(checks: &mut Checks, headers: &HeaderMap, said: &VerifiedStatus, now: Timestamp) {
    let left = said.next_update.since(now).as_secs();
    let kept = max_age(headers);
    match (kept, date(headers, EXPIRES)) {
        (Some(kept), _) if kept.saturating_sub(age(headers)) > left => {
            let text = format!(
                "a cache may keep it for {kept} s, and it ends in {left} s: relying systems would be served an answer \
                 that is over"
            );
            return checks.failed("caching", text);
        }
        (None, Some(expires)) if expires > said.next_update => {
            let text = format!("Expires {expires} is after nextUpdate {}", said.next_update);
            return checks.failed("caching", text);
        }
        _ => {}
    }
    let mut wrong = Vec::new();
    if directive(headers, "no-store").is_some() {
        wrong.push("no-store: no cache helps to carry the load".to_owned());
    } else if kept.is_none() && !headers.contains_key(EXPIRES) {
        wrong.push("no Cache-Control with max-age, and no Expires: caches guess, or do not help".to_owned());
    } else {
        for name in ["public", "no-transform", "must-revalidate"] {
            if directive(headers, name).is_none() {
                wrong.push(format!("{CACHE_CONTROL} lacks {name}"));
            }
        }
        match date(headers, LAST_MODIFIED) {
            Some(time) if time == said.this_update => {}
            Some(time) => wrong.push(format!("Last-Modified {time} is not thisUpdate {}", said.this_update)),
            None => wrong.push("no Last-Modified".to_owned()),
        }
        match date(headers, EXPIRES) {
            Some(time) if time == said.next_update => {}
            Some(time) => wrong.push(format!("Expires {time} is not nextUpdate {}", said.next_update)),
            None => wrong.push("no Expires".to_owned()),
        }
        if !headers.contains_key(ETAG) {
            wrong.push("no ETag: who has it already fetches it again".to_owned());
        }
    }
    if wrong.is_empty() {
        let kept = words(std::time::Duration::from_secs(kept.unwrap_or_default()));
        checks.passed("caching", format!("caches may keep it for {kept}, which ends before the answer does"));
    } else {
        checks.warning("caching", wrong.join("; "));
    }
}

/// The form of HTTP's dates.
// conformance: H10
pub(super) fn dates(checks: &mut Checks, headers: &HeaderMap) {
    let other = |name| text(headers, name).filter(|value| !is_imf_fixdate(value));
    let found = [(DATE, "Date"), (LAST_MODIFIED, "Last-Modified"), (EXPIRES, "Expires")];
    let wrong: Vec<_> =
        found.into_iter().filter_map(|(name, shown)| other(name).map(|value| format!("{shown}: {value}"))).collect();
    if wrong.is_empty() {
        checks.passed("dates", "IMF-fixdate, in GMT");
    } else {
        checks.warning("dates", format!("not of the form of RFC 9110 5.6.7: {}", wrong.join("; ")));
    }
}

/// Whether who has the answer already can ask at little cost, and what HEAD says.
// conformance: H7, H11
pub(super) async fn conditions(checks: &mut Checks, question: &Question<'_>, asked: &Asked, got: &Got) {
    let target = question.target.below(&asked.path(Spelling::Escaped));
    let ask =
        async |method, headers: &[_]| exchange::ask(&target, method, headers, Bytes::new(), MAX_RESPONSE_BYTES).await;
    match text(&got.answer.headers, ETAG) {
        None => checks.skipped("not_modified", "there is no ETag to ask by"),
        Some(tag) => match ask(Method::GET, &[(IF_NONE_MATCH, tag.to_owned())]).await {
            Err(error) => checks.warning("not_modified", error.to_string()),
            Ok(again) if again.status == StatusCode::NOT_MODIFIED => {
                checks.passed("not_modified", "304 by If-None-Match")
            }
            Ok(again) if again.status == StatusCode::OK && text(&again.headers, ETAG) != Some(tag) => {
                checks.skipped("not_modified", "it was signed anew meanwhile");
            }
            Ok(again) => {
                let text = format!("If-None-Match is answered with {} instead of 304 (rule H11)", again.status);
                checks.warning("not_modified", text);
            }
        },
    }
    match ask(Method::HEAD, &[]).await {
        Err(error) => checks.warning("head", error.to_string()),
        Ok(head) if head.status != StatusCode::OK => {
            checks.warning("head", format!("HEAD is answered with {} (rule H7)", head.status));
        }
        Ok(_) => checks.passed("head", "HEAD is answered as GET is, without the answer"),
    }
}
