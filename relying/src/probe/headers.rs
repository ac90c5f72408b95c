//! Reading of HTTP's headers (RFC 9110, 9111).

use std::time::UNIX_EPOCH;

use http::header::{AGE, CACHE_CONTROL};
use http::{HeaderMap, HeaderName};
use pki::Timestamp;

/// A header's value.
pub(super) fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// A header's value as a date, in any of the forms that RFC 9110 5.6.7 has.
pub(super) fn date(headers: &HeaderMap, name: HeaderName) -> Option<Timestamp> {
    let time = httpdate::parse_http_date(text(headers, name)?).ok()?;
    time.duration_since(UNIX_EPOCH).ok().map(|since| Timestamp::EPOCH.plus(since))
}

/// Whether it is an IMF-fixdate, the one form that is to be sent (RFC 9110 5.6.7).
pub(super) fn is_imf_fixdate(value: &str) -> bool {
    httpdate::parse_http_date(value).is_ok_and(|time| httpdate::fmt_http_date(time) == value)
}

/// The value of a directive of Cache-Control, empty where it has none.
pub(super) fn directive<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let control = text(headers, CACHE_CONTROL)?;
    let mut directives = control.split(',').map(|one| one.split_once('=').unwrap_or((one, "")));
    let found = directives.find(|(known, _)| known.trim().eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.trim().trim_matches('"'))
}

/// For how many seconds a shared cache may keep it (RFC 9111 5.2.2).
pub(super) fn max_age(headers: &HeaderMap) -> Option<u64> {
    directive(headers, "s-maxage").or_else(|| directive(headers, "max-age")).and_then(seconds)
}

/// For how many seconds a cache kept it already; 0 where none did.
pub(super) fn age(headers: &HeaderMap) -> u64 {
    text(headers, AGE).and_then(seconds).unwrap_or(0)
}

/// RFC 9111 1.2.2: more seconds than can be held are as good as for ever.
fn seconds(value: &str) -> Option<u64> {
    let is_number = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| value.parse::<u64>().unwrap_or(u64::MAX))
}
