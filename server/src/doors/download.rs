//! Files over HTTP: caching, conditional requests and ranges (RFC 9110 13 and 14, RFC 9111).

use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use pki::Timestamp;
use time::OffsetDateTime;
use time::format_description::FormatItem;
use time::macros::format_description;

/// RFC 9110 5.6.7: IMF-fixdate.
const IMF_FIXDATE: &[FormatItem<'_>] =
    format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");

/// How much of a file is read at once.
const CHUNK: usize = 64 << 10;

/// What is sent: read piece by piece, off the async threads.
pub(crate) trait Content: Send + Sync + 'static {
    /// How long it is, in octets.
    fn octets(&self) -> u64;
    /// All of it, if it is in memory.
    fn in_memory(&self) -> Option<Bytes>;
    /// Some of it, from `at`; at most `most` octets, and at least one unless `at` is its end. Blocks.
    fn read(&self, at: u64, most: usize) -> io::Result<Bytes>;
}

impl Content for Bytes {
    fn octets(&self) -> u64 {
        self.len() as u64
    }

    fn in_memory(&self) -> Option<Bytes> {
        Some(self.clone())
    }

    fn read(&self, at: u64, most: usize) -> io::Result<Bytes> {
        let start = usize::try_from(at).unwrap_or(usize::MAX).min(self.len());
        Ok(self.slice(start..self.len().min(start.saturating_add(most))))
    }
}

/// What a cache is told.
#[derive(Clone, Debug)]
pub(crate) struct Caching {
    pub(crate) content_type: &'static str,
    /// A strong entity tag, in its quotes.
    pub(crate) etag: String,
    pub(crate) last_modified: Timestamp,
    pub(crate) expires: Timestamp,
    /// Seconds.
    pub(crate) max_age: i64,
}

/// A time as HTTP writes it.
fn http_date(time: Timestamp) -> Option<HeaderValue> {
    let time: OffsetDateTime = time.to_offset_date_time();
    HeaderValue::from_str(&time.format(IMF_FIXDATE).ok()?).ok()
}

/// A time in any of the three forms that a recipient has to read (RFC 9110 5.6.7).
fn read_date(value: &HeaderValue) -> Option<Timestamp> {
    let time = httpdate::parse_http_date(value.to_str().ok()?).ok()?;
    time.duration_since(std::time::UNIX_EPOCH).ok().map(|since| Timestamp::EPOCH.plus(since))
}

/// One `If-None-Match` list against a tag, by the weak comparison that it asks for (RFC 9110 13.1.2).
fn names(list: &str, etag: &str) -> bool {
    list.split(',').map(str::trim).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// One `If-Match` list against a strong tag, by the strong comparison: a weak one names nothing (RFC 9110 13.1.1).
fn names_strongly(list: &str, etag: &str) -> bool {
    list.split(',').map(str::trim).any(|tag| tag == "*" || tag == etag)
}

impl Caching {
    /// Whether the client wants another version only: `If-Match` counts before `If-Unmodified-Since` (RFC 9110 13.2.2).
    fn is_another(&self, request: &HeaderMap) -> bool {
        let mut tags = request.get_all(header::IF_MATCH).iter().peekable();
        if tags.peek().is_some() {
            return !tags.any(|value| value.to_str().is_ok_and(|list| names_strongly(list, &self.etag)));
        }
        let since = request.get(header::IF_UNMODIFIED_SINCE).and_then(read_date);
        since.is_some_and(|since| self.last_modified.whole_seconds() > since)
    }

    /// Whether the client has it already (RFC 9110 13.2.2).
    fn is_unchanged(&self, request: &HeaderMap) -> bool {
        let mut tags = request.get_all(header::IF_NONE_MATCH).iter().peekable();
        if tags.peek().is_some() {
            return tags.any(|value| value.to_str().is_ok_and(|list| names(list, &self.etag)));
        }
        let since = request.get(header::IF_MODIFIED_SINCE).and_then(read_date);
        since.is_some_and(|since| self.last_modified.whole_seconds() <= since)
    }

    /// Whether a range may be answered: `If-Range` is absent, or names this very version (RFC 9110 13.1.5).
    fn permits_range(&self, request: &HeaderMap) -> bool {
        match request.get(header::IF_RANGE).map(HeaderValue::to_str) {
            None => true,
            Some(Ok(tag)) if tag.starts_with('"') => tag == self.etag,
            // A date tells versions apart by the second only, and two CRLs may be made in one: the whole is sent.
            Some(_) => false,
        }
    }

    /// Answers GET and HEAD.
    pub(crate) fn reply(&self, method: &Method, request: &HeaderMap, content: Arc<dyn Content>) -> Response {
        let octets = content.octets();
        let (status, from, to) = if self.is_another(request) {
            (StatusCode::PRECONDITION_FAILED, 0, 0)
        } else if self.is_unchanged(request) {
            (StatusCode::NOT_MODIFIED, 0, 0)
        } else if method == Method::GET && self.permits_range(request) {
            match range(request, octets) {
                Range::None => (StatusCode::OK, 0, octets),
                Range::Octets(from, to) => (StatusCode::PARTIAL_CONTENT, from, to),
                Range::NotSatisfiable => (StatusCode::RANGE_NOT_SATISFIABLE, 0, 0),
            }
        } else {
            (StatusCode::OK, 0, octets)
        };
        let has_content = matches!(status, StatusCode::OK | StatusCode::PARTIAL_CONTENT);
        let body = if has_content && method == Method::GET { body(content, from, to) } else { Body::empty() };
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        let mut set = |name: HeaderName, value: Option<HeaderValue>| {
            if let Some(value) = value {
                headers.insert(name, value);
            }
        };
        let text = |text: String| HeaderValue::from_str(&text).ok();
        if has_content {
            set(header::CONTENT_TYPE, Some(HeaderValue::from_static(self.content_type)));
            set(header::CONTENT_LENGTH, Some(HeaderValue::from(to - from)));
        }
        match status {
            StatusCode::PARTIAL_CONTENT => {
                set(header::CONTENT_RANGE, text(format!("bytes {from}-{}/{octets}", to - 1)));
            }
            StatusCode::RANGE_NOT_SATISFIABLE => set(header::CONTENT_RANGE, text(format!("bytes */{octets}"))),
            _ => {}
        }
        set(header::ACCEPT_RANGES, Some(HeaderValue::from_static("bytes")));
        set(header::ETAG, text(self.etag.clone()));
        set(header::LAST_MODIFIED, http_date(self.last_modified));
        set(header::EXPIRES, http_date(self.expires));
        set(header::CACHE_CONTROL, text(format!("max-age={}, public, no-transform, must-revalidate", self.max_age)));
        response
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Range {
    /// All is to be sent.
    None,
    /// From the first octet to before the second number.
    Octets(u64, u64),
    NotSatisfiable,
}

/// The range that is asked for. Several at once, other units and what is no range are passed over, which RFC 9110 14.2
/// permits: then all is sent.
fn range(request: &HeaderMap, octets: u64) -> Range {
    let mut values = request.get_all(header::RANGE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Range::None };
    let parse = || {
        let (first, last) = value.to_str().ok()?.strip_prefix("bytes=")?.trim().split_once('-')?;
        let number = |text: &str| {
            let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            // A number too large to hold is larger than any file.
            is_number.then(|| text.parse().unwrap_or(u64::MAX))
        };
        Some(match (first, last) {
            ("", suffix) => match number(suffix)? {
                0 => Range::NotSatisfiable,
                _ if octets == 0 => Range::NotSatisfiable,
                suffix => Range::Octets(octets.saturating_sub(suffix), octets),
            },
            (first, last) => {
                let first = number(first)?;
                let last = if last.is_empty() { u64::MAX } else { number(last)? };
                if last < first {
                    return None;
                }
                if first >= octets {
                    Range::NotSatisfiable
                } else {
                    Range::Octets(first, last.saturating_add(1).min(octets))
                }
            }
        })
    };
    parse().unwrap_or(Range::None)
}

/// The octets from `from` to before `to`.
pub(crate) fn body(content: Arc<dyn Content>, from: u64, to: u64) -> Body {
    if let Some(bytes) = content.in_memory() {
        let index = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
        return Body::from(bytes.slice(index(from)..index(to)));
    }
    Body::from_stream(stream::try_unfold((content, from), move |(content, at)| async move {
        let most = usize::try_from(to - at).unwrap_or(usize::MAX).min(CHUNK);
        if most == 0 {
            return Ok(None);
        }
        let read = tokio::task::spawn_blocking(move || content.read(at, most).map(|bytes| (bytes, content))).await;
        let (bytes, content) = read.map_err(io::Error::other)??;
        if bytes.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file is shorter than it was"));
        }
        let next = at + bytes.len() as u64;
        Ok::<_, io::Error>(Some((bytes, (content, next))))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(value: &str) -> Range {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, value.parse().unwrap());
        range(&headers, 100)
    }

    #[test]
    fn a_single_range_is_understood_and_anything_else_is_passed_over() {
        for (value, expected) in [
            ("bytes=0-0", Range::Octets(0, 1)),
            ("bytes=10-19", Range::Octets(10, 20)),
            ("bytes=90-", Range::Octets(90, 100)),
            ("bytes=90-1000", Range::Octets(90, 100)),
            ("bytes=-5", Range::Octets(95, 100)),
            ("bytes=-500", Range::Octets(0, 100)),
            ("bytes=-0", Range::NotSatisfiable),
            ("bytes=100-", Range::NotSatisfiable),
            ("bytes=99999999999999999999999-", Range::NotSatisfiable),
            ("bytes=5-99999999999999999999999", Range::Octets(5, 100)),
            ("bytes=20-10", Range::None),
            ("bytes=0-1,5-6", Range::None),
            ("bytes=+1-2", Range::None),
            ("bytes=--2", Range::None),
            ("lines=0-1", Range::None),
            ("bytes", Range::None),
        ] {
            assert_eq!(asked(value), expected, "{value}");
        }
        assert_eq!(range(&HeaderMap::new(), 100), Range::None);
    }

    #[test]
    fn a_tag_counts_before_a_date_and_a_weak_one_for_no_range() {
        let time = Timestamp::from_unix_seconds(1_800_000_000);
        let caching =
            Caching { content_type: "a/b", etag: "\"x\"".into(), last_modified: time, expires: time, max_age: 0 };
        let with = |pairs: &[(HeaderName, &str)]| -> HeaderMap {
            pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
        };
        let date = http_date(time).unwrap();
        let date = date.to_str().unwrap();
        assert_eq!(date, "Fri, 15 Jan 2027 08:00:00 GMT");
        assert!(caching.is_unchanged(&with(&[(header::IF_MODIFIED_SINCE, date)])));
        assert!(!caching.is_unchanged(&with(&[(header::IF_MODIFIED_SINCE, "Fri, 15 Jan 2027 07:59:59 GMT")])));
        assert!(caching.is_unchanged(&with(&[(header::IF_NONE_MATCH, "\"y\", W/\"x\"")])));
        assert!(!caching.is_unchanged(&with(&[(header::IF_NONE_MATCH, "\"y\""), (header::IF_MODIFIED_SINCE, date)])));
        for obsolete in ["Friday, 15-Jan-27 08:00:00 GMT", "Fri Jan 15 08:00:00 2027"] {
            assert!(caching.is_unchanged(&with(&[(header::IF_MODIFIED_SINCE, obsolete)])), "{obsolete}");
        }
        assert!(!caching.is_unchanged(&with(&[(header::IF_MODIFIED_SINCE, "soon")])));
        assert!(caching.permits_range(&with(&[(header::IF_RANGE, "\"x\"")])));
        for other in ["\"y\"", "W/\"x\"", date] {
            assert!(!caching.permits_range(&with(&[(header::IF_RANGE, other)])), "{other}");
        }
    }

    #[test]
    fn who_wants_another_version_only_gets_none() {
        let time = Timestamp::from_unix_seconds(1_800_000_000);
        let caching =
            Caching { content_type: "a/b", etag: "\"x\"".into(), last_modified: time, expires: time, max_age: 0 };
        let (same, before) = ("Fri, 15 Jan 2027 08:00:00 GMT", "Fri, 15 Jan 2027 07:59:59 GMT");
        for (conditions, expected) in [
            (vec![(header::IF_MATCH, "\"x\"")], 200),
            (vec![(header::IF_MATCH, "\"y\", \"x\"")], 200),
            (vec![(header::IF_MATCH, "*")], 200),
            (vec![(header::IF_MATCH, "\"y\"")], 412),
            (vec![(header::IF_MATCH, "W/\"x\"")], 412),
            (vec![(header::IF_UNMODIFIED_SINCE, same)], 200),
            (vec![(header::IF_UNMODIFIED_SINCE, before)], 412),
            (vec![(header::IF_UNMODIFIED_SINCE, "Friday, 15-Jan-27 07:59:59 GMT")], 412),
            (vec![(header::IF_UNMODIFIED_SINCE, "soon")], 200),
            (vec![(header::IF_MATCH, "\"x\""), (header::IF_UNMODIFIED_SINCE, before)], 200),
            (vec![(header::IF_MATCH, "\"x\""), (header::IF_NONE_MATCH, "\"x\"")], 304),
            (vec![(header::IF_MATCH, "\"y\""), (header::IF_NONE_MATCH, "\"x\"")], 412),
            (vec![(header::IF_MATCH, "\"x\""), (header::RANGE, "bytes=0-0")], 206),
            (vec![(header::IF_MATCH, "\"y\""), (header::RANGE, "bytes=0-0")], 412),
        ] {
            let request: HeaderMap =
                conditions.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
            let reply = caching.reply(&Method::GET, &request, Arc::new(Bytes::from_static(b"content")));
            assert_eq!(reply.status(), expected, "{conditions:?}");
        }
    }
}
