//! DER of an answer, written from front to back into one piece of memory.
//!
//! All lengths are known before the first octet is written, so that nothing is encoded twice or copied. That it is what
//! x509-ocsp would have written is shown by a test over all kinds of answers.

use der::asn1::AnyRef;
use der::{Decode, Tag};

use super::response::{CertStatus, SingleResponse};
use crate::{CrlReason, Timestamp};

const SEQUENCE: u8 = 0x30;
const OCTET_STRING: u8 = 0x04;
const GENERALIZED_TIME: u8 = 0x18;
const ENUMERATED: u8 = 0x0a;

/// `[number] EXPLICIT`, or a constructed type under `[number] IMPLICIT`.
const fn constructed(number: u8) -> u8 {
    0xa0 | number
}

/// id-pkix-ocsp with a last arc, as an element (RFC 6960 4.4).
const fn id_pkix_ocsp(arc: u8) -> [u8; 11] {
    [0x06, 0x09, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, arc]
}

const BASIC: [u8; 11] = id_pkix_ocsp(1);
const NONCE: [u8; 11] = id_pkix_ocsp(2);
const ARCHIVE_CUTOFF: [u8; 11] = id_pkix_ocsp(6);

/// The extension that says extended-revoke, whole (RFC 6960 4.4.8).
const EXTENDED_REVOKE: [u8; 17] =
    [0x30, 0x0f, 0x06, 0x09, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x09, 0x04, 0x02, 0x05, 0x00];

/// A GeneralizedTime in whole seconds, as an element.
const TIME_OCTETS: usize = 17;

/// `[1] EXPLICIT Extensions` with nothing but archiveCutoff.
const ARCHIVE_CUTOFF_OCTETS: usize = 36;

/// How many octets tag and length take before so much content.
pub(super) const fn header_len(content: usize) -> usize {
    match content {
        0..=0x7f => 2,
        0x80..=0xff => 3,
        0x100..=0xffff => 4,
        _ => 5,
    }
}

/// How many octets an element has with so much content.
pub(super) const fn element_len(content: usize) -> usize {
    header_len(content) + content
}

/// Writes tag and length. Answers are far shorter than the 16 MB that can be expressed here.
pub(super) fn header(out: &mut Vec<u8>, tag: u8, content: usize) {
    let [.., third, second, first] = content.to_be_bytes();
    match header_len(content) {
        2 => out.extend_from_slice(&[tag, first]),
        3 => out.extend_from_slice(&[tag, 0x81, first]),
        4 => out.extend_from_slice(&[tag, 0x82, second, first]),
        _ => out.extend_from_slice(&[tag, 0x83, third, second, first]),
    }
}

/// Everything of a `ResponseData` but who signs.
pub(super) struct DataContent<'a> {
    pub(super) produced_at: Timestamp,
    pub(super) responses: &'a [SingleResponse<'a>],
    /// The content of the nonce's `extnValue`.
    pub(super) nonce: Option<&'a [u8]>,
    pub(super) extended_revoke: bool,
}

impl DataContent<'_> {
    fn responses_len(&self) -> usize {
        self.responses.iter().map(|response| element_len(single_len(response))).sum()
    }

    fn extensions_len(&self) -> usize {
        let nonce = self.nonce.map_or(0, |value| element_len(NONCE.len() + element_len(value.len())));
        nonce + if self.extended_revoke { EXTENDED_REVOKE.len() } else { 0 }
    }

    /// How long the content of the `ResponseData` is, with so much to say who signs.
    fn content_len(&self, responder_id: usize) -> usize {
        let extensions = match self.extensions_len() {
            0 => 0,
            extensions => element_len(element_len(extensions)),
        };
        responder_id + TIME_OCTETS + element_len(self.responses_len()) + extensions
    }

    /// How long the whole `ResponseData` is.
    pub(super) fn len(&self, responder_id: &[u8]) -> usize {
        element_len(self.content_len(responder_id.len()))
    }

    /// Writes the `ResponseData`; who signs is DER already.
    ///
    /// # Errors
    /// When a time cannot be expressed, or a `CertID` is no DER.
    pub(super) fn write(&self, out: &mut Vec<u8>, responder_id: &[u8]) -> Result<(), der::Error> {
        header(out, SEQUENCE, self.content_len(responder_id.len()));
        out.extend_from_slice(responder_id);
        time(out, self.produced_at)?;
        header(out, SEQUENCE, self.responses_len());
        self.responses.iter().try_for_each(|response| single(out, response))?;
        let extensions = self.extensions_len();
        if extensions > 0 {
            header(out, constructed(1), element_len(extensions));
            header(out, SEQUENCE, extensions);
        }
        if let Some(value) = self.nonce {
            header(out, SEQUENCE, NONCE.len() + element_len(value.len()));
            out.extend_from_slice(&NONCE);
            header(out, OCTET_STRING, value.len());
            out.extend_from_slice(value);
        }
        if self.extended_revoke {
            out.extend_from_slice(&EXTENDED_REVOKE);
        }
        Ok(())
    }
}

fn single_len(response: &SingleResponse<'_>) -> usize {
    let archive_cutoff = if response.archive_cutoff.is_some() { ARCHIVE_CUTOFF_OCTETS } else { 0 };
    let next_update = element_len(TIME_OCTETS);
    response.cert_id.len() + element_len(status_len(response.status)) + TIME_OCTETS + next_update + archive_cutoff
}

fn single(out: &mut Vec<u8>, response: &SingleResponse<'_>) -> Result<(), der::Error> {
    // It is repeated as it stands: it must be one element.
    AnyRef::from_der(response.cert_id)?;
    header(out, SEQUENCE, single_len(response));
    out.extend_from_slice(response.cert_id);
    status(out, response.status)?;
    time(out, response.this_update)?;
    header(out, constructed(0), TIME_OCTETS);
    time(out, response.next_update)?;
    if let Some(cutoff) = response.archive_cutoff {
        let extension = ARCHIVE_CUTOFF.len() + element_len(TIME_OCTETS);
        header(out, constructed(1), element_len(element_len(extension)));
        header(out, SEQUENCE, element_len(extension));
        header(out, SEQUENCE, extension);
        out.extend_from_slice(&ARCHIVE_CUTOFF);
        header(out, OCTET_STRING, TIME_OCTETS);
        time(out, cutoff)?;
    }
    Ok(())
}

/// Without tag and length.
fn status_len(status: CertStatus) -> usize {
    match status {
        CertStatus::Good | CertStatus::Unknown => 0,
        CertStatus::Revoked { reason: CrlReason::Unspecified, .. } => TIME_OCTETS,
        CertStatus::Revoked { .. } => TIME_OCTETS + 5,
    }
}

/// ```text
/// CertStatus ::= CHOICE {
///     good        [0] IMPLICIT NULL,
///     revoked     [1] IMPLICIT RevokedInfo,
///     unknown     [2] IMPLICIT NULL }
/// RevokedInfo ::= SEQUENCE {
///     revocationTime              GeneralizedTime,
///     revocationReason    [0]     EXPLICIT CRLReason OPTIONAL }
/// ```
fn status(out: &mut Vec<u8>, status: CertStatus) -> Result<(), der::Error> {
    match status {
        CertStatus::Good => out.extend_from_slice(&[0x80, 0]),
        CertStatus::Unknown => out.extend_from_slice(&[0x82, 0]),
        CertStatus::Revoked { at, reason } => {
            header(out, constructed(1), status_len(status));
            time(out, at)?;
            if reason != CrlReason::Unspecified {
                out.extend_from_slice(&[constructed(0), 3, ENUMERATED, 1, reason.code()]);
            }
        }
    }
    Ok(())
}

/// A GeneralizedTime, `YYYYMMDDHHMMSSZ` (RFC 5280 4.1.2.5.2).
pub(super) fn time(out: &mut Vec<u8>, time: Timestamp) -> Result<(), der::Error> {
    let seconds = time.unix_seconds();
    if !(0..=Timestamp::MAX.unix_seconds()).contains(&seconds) {
        return Err(der::ErrorKind::DateTime.into());
    }
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let digits = |value: i64| [b'0' + (value / 10 % 10) as u8, b'0' + (value % 10) as u8];
    out.extend_from_slice(&[GENERALIZED_TIME, 15]);
    for pair in [year / 100, year % 100, month, day, second / 3600, second / 60 % 60, second % 60] {
        out.extend_from_slice(&digits(pair));
    }
    out.push(b'Z');
    Ok(())
}

/// The date of a day since 1970-01-01, in the Gregorian calendar, by the eras of 400 years and years that begin in March.
fn date(days: i64) -> (i64, i64, i64) {
    const ERA: i64 = 146_097;
    let since_march_0000 = days + 719_468;
    let (era, day_of_era) = (since_march_0000 / ERA, since_march_0000 % ERA);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// What comes before the `ResponseData` in an `OCSPResponse`, and how long the content of the `BasicOCSPResponse` is.
pub(super) struct Front {
    /// Of the `BasicOCSPResponse`.
    basic: usize,
}

impl Front {
    /// Before a `BasicOCSPResponse` whose content is so long.
    pub(super) fn before(basic: usize) -> Self {
        Front { basic }
    }

    fn response_bytes(&self) -> usize {
        BASIC.len() + element_len(element_len(self.basic))
    }

    fn response(&self) -> usize {
        3 + element_len(element_len(self.response_bytes()))
    }

    /// How long the whole `OCSPResponse` is.
    pub(super) fn whole_len(&self) -> usize {
        element_len(self.response())
    }

    /// How long it is itself.
    pub(super) fn len(&self) -> usize {
        self.whole_len() - self.basic
    }

    /// Writes it.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        header(out, SEQUENCE, self.response());
        out.extend_from_slice(&[ENUMERATED, 1, 0]);
        header(out, constructed(0), element_len(self.response_bytes()));
        header(out, SEQUENCE, self.response_bytes());
        out.extend_from_slice(&BASIC);
        header(out, OCTET_STRING, element_len(self.basic));
        header(out, SEQUENCE, self.basic);
    }
}

/// How long a BIT STRING without unused bits is.
pub(super) const fn bits_len(octets: usize) -> usize {
    element_len(octets + 1)
}

/// Writes a BIT STRING without unused bits.
pub(super) fn bits(out: &mut Vec<u8>, octets: &[u8]) {
    header(out, 0x03, octets.len() + 1);
    out.push(0);
    out.extend_from_slice(octets);
}

/// `certs [0] EXPLICIT SEQUENCE OF Certificate` with one certificate.
///
/// # Errors
/// When the certificate is no DER.
pub(super) fn certificates(certificate_der: &[u8]) -> Result<Vec<u8>, der::Error> {
    use der::Tagged;
    AnyRef::from_der(certificate_der)?.tag().assert_eq(Tag::Sequence)?;
    let mut out = Vec::with_capacity(certificate_der.len() + 8);
    header(&mut out, constructed(0), element_len(certificate_der.len()));
    header(&mut out, SEQUENCE, certificate_der.len());
    out.extend_from_slice(certificate_der);
    Ok(out)
}

/// `ResponderID ::= CHOICE { byName [1] Name, byKey [2] KeyHash }`, both EXPLICIT (RFC 6960 4.2.1).
pub(super) fn responder_id(number: u8, tag: Option<u8>, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + 8);
    let inner = if tag.is_some() { element_len(content.len()) } else { content.len() };
    header(&mut out, constructed(number), inner);
    if let Some(tag) = tag {
        header(&mut out, tag, content.len());
    }
    out.extend_from_slice(content);
    out
}

#[cfg(test)]
mod tests {
    use der::Encode;
    use der::asn1::GeneralizedTime;
    use proptest::prelude::*;

    use super::*;

    fn assert_time(seconds: i64) {
        let mut ours = Vec::new();
        time(&mut ours, Timestamp::from_unix_seconds(seconds)).unwrap();
        let theirs = GeneralizedTime::from_unix_duration(std::time::Duration::from_secs(seconds as u64)).unwrap();
        assert_eq!(ours, theirs.to_der().unwrap(), "{seconds}");
        assert_eq!(ours.len(), TIME_OCTETS);
    }

    #[test]
    fn every_day_is_written_as_der_writes_it() {
        for day in 0..=Timestamp::MAX.unix_seconds() / 86_400 {
            assert_time(day * 86_400 + day % 86_400);
        }
        assert_time(Timestamp::MAX.unix_seconds());
        for out_of_range in [-1, Timestamp::MAX.unix_seconds() + 1] {
            assert!(time(&mut Vec::new(), Timestamp::from_unix_seconds(out_of_range)).is_err());
        }
    }

    proptest! {
        #[test]
        fn every_second_is_written_as_der_writes_it(seconds in 0..=Timestamp::MAX.unix_seconds()) {
            assert_time(seconds);
        }

        #[test]
        fn every_length_is_written_as_der_writes_it(length in 0_usize..70_000) {
            let content = vec![0; length];
            let mut ours = Vec::new();
            header(&mut ours, OCTET_STRING, length);
            prop_assert_eq!(ours.len(), header_len(length));
            ours.extend_from_slice(&content);
            prop_assert_eq!(ours, der::asn1::OctetStringRef::new(&content).unwrap().to_der().unwrap());
        }
    }
}
