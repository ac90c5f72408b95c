//! What HTTP says about a CRL: for caches, for who has it already, and for who was cut off in the middle (RFC 9110, 9111).

use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, EXPIRES, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    IF_RANGE, LAST_MODIFIED, RANGE,
};
use http::{HeaderName, Method, StatusCode};
use pki::Timestamp;
use pki::crl::CrlDescription;

use super::fetch::{Fetched, HEAD};
use crate::Error;
use crate::probe::exchange::{Answer, Target, ask};
use crate::probe::headers::{age, date, directive, max_age, text};
use crate::probe::{Checks, MAX_CLOCK_SKEW, words};

/// The answer itself.
pub(super) fn answer(checks: &mut Checks, fetched: &Fetched) {
    if fetched.status != StatusCode::OK {
        checks.failed("http", format!("HTTP status {}", fetched.status));
        return;
    }
    match text(&fetched.headers, CONTENT_TYPE) {
        // RFC 5280 4.2.1.13, RFC 2585 4.2
        Some("application/pkix-crl") => checks.passed("http", "200, application/pkix-crl"),
        other => {
            let found = other.unwrap_or("none");
            checks.warning("http", format!("the content type is {found}, and ought to be application/pkix-crl"));
        }
    }
}

/// What caches are told.
pub(super) fn caching(checks: &mut Checks, fetched: &Fetched, crl: &CrlDescription, now: Timestamp) {
    let headers = &fetched.headers;
    let mut wrong = Vec::new();
    let left = crl.next_update.since(now).as_secs();
    let (max_age, age) = (max_age(headers), age(headers));
    match (max_age, date(headers, EXPIRES)) {
        (Some(max_age), _) if max_age.saturating_sub(age) > left + MAX_CLOCK_SKEW.as_secs() => {
            let text = format!(
                "a cache may keep it for {max_age} s, and it ends in {left} s: relying systems would be served a CRL \
                 that is over"
            );
            checks.failed("caching", text);
            return;
        }
        (None, Some(expires)) if expires > crl.next_update.plus(MAX_CLOCK_SKEW) => {
            checks.failed("caching", format!("Expires {expires} is after nextUpdate {}", crl.next_update));
            return;
        }
        (None, None) => wrong.push("neither max-age nor Expires: caches guess".to_owned()),
        _ => {}
    }
    if directive(headers, "no-store").is_some() {
        wrong.push("no-store: no cache helps to carry the load".to_owned());
    }
    match text(headers, ETAG) {
        None => wrong.push("no ETag: who has it already fetches it again".to_owned()),
        Some(tag) if tag.starts_with("W/") => wrong.push("the ETag is weak: no download can be taken up".to_owned()),
        Some(_) => {}
    }
    match date(headers, LAST_MODIFIED) {
        None => wrong.push("no Last-Modified".to_owned()),
        Some(time) if time != crl.this_update => {
            wrong.push(format!("Last-Modified {time} is not thisUpdate {}", crl.this_update));
        }
        Some(_) => {}
    }
    if wrong.is_empty() {
        let kept = max_age.map(|age| words(std::time::Duration::from_secs(age))).unwrap_or_default();
        checks.passed("caching", format!("caches may keep it for {kept}, which ends before the CRL does"));
    } else {
        checks.warning("caching", wrong.join("; "));
    }
}

/// Asks for what is small, or of no interest.
async fn small(target: &Target, method: Method, conditions: &[(HeaderName, String)]) -> Result<Answer, Error> {
    ask(target, method, conditions, Bytes::new(), HEAD).await
}

/// Whether it can be asked for again at little cost, and taken up in the middle.
pub(super) async fn conditions(checks: &mut Checks, target: &Target, fetched: &Fetched) -> Result<(), Error> {
    let tag = text(&fetched.headers, ETAG).map(str::to_owned);
    let modified = text(&fetched.headers, LAST_MODIFIED).map(str::to_owned);
    let mut asked = Vec::new();
    let mut wrong = Vec::new();
    for (name, value, condition) in [(ETAG, &tag, IF_NONE_MATCH), (LAST_MODIFIED, &modified, IF_MODIFIED_SINCE)] {
        let Some(value) = value else { continue };
        let again = small(target, Method::GET, &[(condition.clone(), value.clone())]).await?;
        match again.status {
            StatusCode::NOT_MODIFIED => asked.push(condition.to_string()),
            // It was published anew in between.
            StatusCode::OK if text(&again.headers, name) != Some(value) => asked.push(format!("{condition} (new)")),
            status => wrong.push(format!("{condition} is answered with {status} instead of 304")),
        }
    }
    match (asked.is_empty(), wrong.is_empty()) {
        (_, false) => checks.warning("not_modified", wrong.join("; ")),
        (false, true) => checks.passed("not_modified", format!("304 by {}", asked.join(" and "))),
        (true, true) => checks.skipped("not_modified", "neither ETag nor Last-Modified to ask by"),
    }
    head(checks, target, fetched, tag.as_deref()).await?;
    range(checks, target, fetched, tag.as_deref()).await
}

async fn head(checks: &mut Checks, target: &Target, fetched: &Fetched, tag: Option<&str>) -> Result<(), Error> {
    let answer = small(target, Method::HEAD, &[]).await?;
    let same = |name: HeaderName| text(&answer.headers, name.clone()) == text(&fetched.headers, name);
    if answer.status != StatusCode::OK {
        checks.warning("head", format!("HEAD is answered with {}", answer.status));
    } else if text(&answer.headers, ETAG) == tag && !same(CONTENT_LENGTH) {
        checks.warning("head", "HEAD gives another Content-Length than GET");
    } else {
        checks.passed("head", "HEAD is answered as GET is, without the CRL");
    }
    Ok(())
}

async fn range(checks: &mut Checks, target: &Target, fetched: &Fetched, tag: Option<&str>) -> Result<(), Error> {
    let length = fetched.head.len().min(HEAD / 2);
    let wanted = format!("bytes=0-{}", length.saturating_sub(1));
    let condition = tag.filter(|tag| !tag.starts_with("W/")).map(|tag| (IF_RANGE, tag.to_owned()));
    let headers: Vec<_> = std::iter::once((RANGE, wanted)).chain(condition).collect();
    let answer = small(target, Method::GET, &headers).await?;
    let renewed = text(&answer.headers, ETAG) != tag;
    let right = answer.body.as_deref() == fetched.head.get(..length);
    match answer.status {
        StatusCode::PARTIAL_CONTENT if right && answer.headers.contains_key(CONTENT_RANGE) => {
            checks.passed("ranges", "a download that was cut off can be taken up");
        }
        StatusCode::PARTIAL_CONTENT if renewed => checks.skipped("ranges", "it was published anew meanwhile"),
        StatusCode::PARTIAL_CONTENT => {
            checks.failed("ranges", "a range has other octets than the whole: a download taken up comes out wrong");
        }
        StatusCode::OK => {
            let offered = text(&fetched.headers, ACCEPT_RANGES) == Some("bytes");
            let text = if offered { "offered by Accept-Ranges, and not served" } else { "not offered" };
            checks.warning("ranges", format!("{text}: who is cut off begins anew"));
        }
        status => checks.warning("ranges", format!("a range is answered with {status}")),
    }
    Ok(())
}
