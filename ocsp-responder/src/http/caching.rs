//! What an HTTP reply says about the keeping of an answer (RFC 9919 5, RFC 9111; conformance: H9).

use std::cell::RefCell;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::HeaderValue;
use pki::Timestamp;
use sha2::{Digest, Sha256};

/// The values that stay the same for as long as an answer is kept.
#[derive(Clone, Debug)]
pub(crate) struct CachingHeaders {
    pub(super) etag: HeaderValue,
    pub(super) last_modified: HeaderValue,
    pub(super) expires: HeaderValue,
    pub(super) content_length: HeaderValue,
}

impl CachingHeaders {
    /// Of an answer with these times.
    pub(crate) fn new(der: &[u8], this_update: Timestamp, next_update: Timestamp) -> Self {
        let tag = data_encoding::BASE64URL_NOPAD.encode(&Sha256::digest(der));
        let parts =
            [format!("\"{tag}\""), fmt_http_date(this_update), fmt_http_date(next_update), der.len().to_string()];
        // One piece of memory for all of them: there may be many of these.
        let text = Bytes::from(parts.concat());
        let mut at = 0;
        let [etag, last_modified, expires, content_length] = parts.each_ref().map(|part| {
            let value = HeaderValue::from_maybe_shared(text.slice(at..at + part.len()));
            at += part.len();
            value.unwrap_or(HeaderValue::from_static(""))
        });
        CachingHeaders { etag, last_modified, expires, content_length }
    }

    /// The entity tag, with the quotes.
    pub(crate) fn etag(&self) -> &str {
        self.etag.to_str().unwrap_or_default()
    }

    /// How many octets they take beside their own size.
    pub(crate) fn octets(&self) -> usize {
        let values = [&self.etag, &self.last_modified, &self.expires, &self.content_length];
        values.iter().map(|value| value.len()).sum()
    }
}

/// Whose last value is needed again, most of the time.
struct Last<K>(RefCell<Option<(K, HeaderValue)>>);

impl<K: PartialEq> Last<K> {
    fn or(&self, key: K, make: impl FnOnce() -> HeaderValue) -> HeaderValue {
        let mut last = self.0.borrow_mut();
        match &*last {
            Some((known, value)) if *known == key => value.clone(),
            _ => last.insert((key, make())).1.clone(),
        }
    }
}

thread_local! {
    static DATE: Last<i64> = const { Last(RefCell::new(None)) };
    static CACHE_CONTROL: Last<u64> = const { Last(RefCell::new(None)) };
}

/// An IMF-fixdate (RFC 9110 5.6.7; conformance: H10).
pub(super) fn http_date(time: Timestamp) -> HeaderValue {
    DATE.with(|last| {
        last.or(time.unix_seconds(), || {
            let text = fmt_http_date(time);
            HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"))
        })
    })
}

/// What caches may do with an answer that may be kept for so long.
pub(super) fn cache_control(max_age: Duration) -> HeaderValue {
    let seconds = max_age.as_secs();
    CACHE_CONTROL.with(|last| {
        last.or(seconds, || {
            let text = format!("max-age={seconds}, public, no-transform, must-revalidate");
            HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("no-store"))
        })
    })
}

fn fmt_http_date(time: Timestamp) -> String {
    let since_1970 = Duration::from_secs(u64::try_from(time.unix_seconds()).unwrap_or(0));
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + since_1970)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_is_remembered_is_the_one_that_is_asked_for() {
        let at = Timestamp::from_unix_seconds;
        for _ in 0..2 {
            assert_eq!(http_date(at(0)), "Thu, 01 Jan 1970 00:00:00 GMT");
            assert_eq!(http_date(at(1)), "Thu, 01 Jan 1970 00:00:01 GMT");
            assert_eq!(cache_control(Duration::from_secs(5)), "max-age=5, public, no-transform, must-revalidate");
            assert_eq!(cache_control(Duration::ZERO), "max-age=0, public, no-transform, must-revalidate");
        }
    }

    #[test]
    fn the_values_of_an_answer_are_its_own() {
        let at = Timestamp::from_unix_seconds;
        let headers = CachingHeaders::new(b"answer", at(1), at(2));
        assert_eq!(headers.etag().len(), 45);
        assert!(headers.etag().starts_with('"') && headers.etag().ends_with('"'));
        assert_eq!(headers.last_modified, "Thu, 01 Jan 1970 00:00:01 GMT");
        assert_eq!(headers.expires, "Thu, 01 Jan 1970 00:00:02 GMT");
        assert_eq!(headers.content_length, "6");
        assert_ne!(CachingHeaders::new(b"another", at(1), at(2)).etag(), headers.etag());
    }
}
