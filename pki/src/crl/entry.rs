//! One entry of a CRL: written by hand, since there may be a million, and read.

use const_oid::db::rfc5280::{ID_CE_CRL_REASONS, ID_CE_INVALIDITY_DATE};
use der::asn1::{AnyRef, GeneralizedTime};
use der::{Decode, Tag, Tagged};
use time::OffsetDateTime;
use x509_cert::time::Time;

use super::CrlError;
use super::wire::{ExtensionRef, timestamp};
use crate::strict::{self, Element};
use crate::{CrlReason, SerialNumber, Timestamp};

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// `Extension ::= { cRLReasons, OCTET STRING { ENUMERATED` up to the code itself.
const REASON: [u8; 11] = [0x30, 0x0a, 0x06, 0x03, 0x55, 0x1d, 0x15, 0x04, 0x03, 0x0a, 0x01];

/// `Extension ::= { invalidityDate, OCTET STRING {` up to the GeneralizedTime.
const INVALIDITY_DATE: [u8; 9] = [0x30, 0x18, 0x06, 0x03, 0x55, 0x1d, 0x18, 0x04, 0x11];

/// More extensions than any entry has.
const MAX_EXTENSIONS: usize = 16;

/// removeFromCRL (RFC 5280 5.3.1).
const REMOVE_FROM_CRL: u8 = 8;

/// One revoked certificate (RFC 5280 5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrlEntry {
    /// Its serial number.
    pub serial: SerialNumber,
    /// revocationDate, in whole seconds.
    pub at: Timestamp,
    /// reasonCode.
    pub reason: EntryReason,
    /// Since when the key is thought to have been in other hands. One after the revocation says nothing that the
    /// revocation does not, and is written as the revocation's date (conformance: C14).
    pub invalidity_date: Option<Timestamp>,
}

/// reasonCode: why a certificate is on the list, or that it is to be taken off it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EntryReason {
    /// It is revoked or on hold; [`CrlReason::Unspecified`] is left out (conformance: C10).
    Revoked(CrlReason),
    /// removeFromCRL: it was on the base CRL and is valid again, or has expired since; in delta CRLs only
    /// (conformance: C8).
    RemoveFromCrl,
}

impl EntryReason {
    /// The code of the ENUMERATED (RFC 5280 5.3.1).
    pub const fn code(self) -> u8 {
        match self {
            EntryReason::Revoked(reason) => reason.code(),
            EntryReason::RemoveFromCrl => REMOVE_FROM_CRL,
        }
    }

    /// The reason with this code, if there is one.
    pub const fn from_code(code: u8) -> Option<Self> {
        if code == REMOVE_FROM_CRL {
            return Some(EntryReason::RemoveFromCrl);
        }
        match CrlReason::from_code(code) {
            Some(reason) => Some(EntryReason::Revoked(reason)),
            None => None,
        }
    }
}

impl From<CrlReason> for EntryReason {
    fn from(reason: CrlReason) -> Self {
        EntryReason::Revoked(reason)
    }
}

impl PartialEq<CrlReason> for EntryReason {
    fn eq(&self, other: &CrlReason) -> bool {
        *self == EntryReason::Revoked(*other)
    }
}

impl PartialEq<EntryReason> for CrlReason {
    fn eq(&self, other: &EntryReason) -> bool {
        other == self
    }
}

impl std::fmt::Display for EntryReason {
    /// The name as RFC 5280 spells it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            EntryReason::Revoked(reason) => reason.fmt(f),
            EntryReason::RemoveFromCrl => f.write_str("removeFromCRL"),
        }
    }
}

/// Writes `SEQUENCE { userCertificate, revocationDate, crlEntryExtensions OPTIONAL }` to the end of `out`. Every length
/// in it is below 128: 22 octets of serial number, 17 of date, 40 of extensions at the most.
///
/// # Errors
/// [`CrlError::Date`] when the revocation date cannot be expressed.
// conformance: C4, C10, C14
pub(super) fn encode(entry: &CrlEntry, out: &mut Vec<u8>) -> Result<(), CrlError> {
    let start = out.len();
    let serial = entry.serial.as_bytes();
    out.extend_from_slice(&[SEQUENCE, 0, INTEGER, serial.len() as u8]);
    out.extend_from_slice(serial);
    let at = date_time(entry.at).ok_or(CrlError::Date(entry.serial))?;
    if at.year() < 2050 {
        out.extend_from_slice(&[UTC_TIME, 13]);
        digits(out, at.year() % 100);
    } else {
        put_year(out, at);
    }
    put_rest(out, at);
    let extensions = out.len();
    out.extend_from_slice(&[SEQUENCE, 0]);
    if entry.reason != CrlReason::Unspecified {
        out.extend_from_slice(&REASON);
        out.push(entry.reason.code());
    }
    // A date that cannot be written is left out: one entry must not keep a CRL from being made.
    if let Some(date) = entry.invalidity_date.and_then(|date| date_time(date.min(entry.at))) {
        out.extend_from_slice(&INVALIDITY_DATE);
        put_year(out, date);
        put_rest(out, date);
    }
    match out.len() - extensions - 2 {
        0 => out.truncate(extensions),
        length => out[extensions + 1] = length as u8,
    }
    out[start + 1] = (out.len() - start - 2) as u8;
    Ok(())
}

/// A date from 1970 to 9999.
fn date_time(time: Timestamp) -> Option<OffsetDateTime> {
    let seconds = time.unix_seconds();
    if !(0..=Timestamp::MAX.unix_seconds()).contains(&seconds) {
        return None;
    }
    OffsetDateTime::from_unix_timestamp(seconds).ok()
}

fn put_year(out: &mut Vec<u8>, date: OffsetDateTime) {
    out.extend_from_slice(&[GENERALIZED_TIME, 15]);
    digits(out, date.year() / 100);
    digits(out, date.year() % 100);
}

fn put_rest(out: &mut Vec<u8>, date: OffsetDateTime) {
    let (hour, minute, second) = date.to_hms();
    for part in [u8::from(date.month()), date.day(), hour, minute, second] {
        digits(out, i32::from(part));
    }
    out.push(b'Z');
}

fn digits(out: &mut Vec<u8>, number: i32) {
    out.extend_from_slice(&[b'0' + (number / 10) as u8, b'0' + (number % 10) as u8]);
}

/// An entry as it was read, with what its extensions looked like.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadEntry {
    pub(super) entry: CrlEntry,
    /// Whether one of its extensions is critical.
    pub(super) critical: bool,
    /// Whether it has a reasonCode that says `unspecified`.
    pub(super) says_unspecified: bool,
    /// Whether the revocation date is in the form that its year calls for.
    pub(super) right_form: bool,
}

/// Reads an entry; `Err` says what is wrong with it.
pub(super) fn read(raw: &[u8]) -> Result<ReadEntry, EntryFault> {
    let entry = strict::check(raw)?;
    if entry.tag != SEQUENCE {
        return Err("an entry is no SEQUENCE".into());
    }
    let (serial, rest) = strict::split(entry.content)?;
    let serial = (serial.tag == INTEGER).then(|| SerialNumber::from_der_content(serial.content).ok()).flatten();
    let serial = serial.ok_or(EntryFault::Error(CrlError::Serial))?;
    let (date, rest) = strict::split(rest)?;
    let at = read_time(date)?;
    let right_form = (date.tag == UTC_TIME) == at.is_utc_time;
    let mut entry = CrlEntry { serial, at: at.time, reason: CrlReason::Unspecified.into(), invalidity_date: None };
    let (mut critical, mut says_unspecified) = (false, false);
    if !rest.is_empty() {
        let (extensions, after) = strict::split(rest)?;
        if extensions.tag != SEQUENCE || !after.is_empty() {
            return Err("an entry has something else than extensions after its date".into());
        }
        each_extension(extensions.content, MAX_EXTENSIONS, |extension| {
            critical |= extension.critical;
            match extension.extn_id {
                ID_CE_CRL_REASONS => {
                    let value = AnyRef::from_der(extension.extn_value).map_err(|_| "a reasonCode is no ENUMERATED")?;
                    let (Tag::Enumerated, &[code]) = (value.tag(), value.value()) else {
                        return Err("a reasonCode is no ENUMERATED of one octet".into());
                    };
                    entry.reason = EntryReason::from_code(code).ok_or(EntryFault::Error(CrlError::Reason(code)))?;
                    says_unspecified = code == CrlReason::Unspecified.code();
                }
                ID_CE_INVALIDITY_DATE => {
                    let date = GeneralizedTime::from_der(extension.extn_value)
                        .map_err(|_| "an invalidityDate is no GeneralizedTime in whole seconds")?;
                    entry.invalidity_date = Some(timestamp(date.to_unix_duration()));
                }
                oid if extension.critical => return Err(EntryFault::Error(CrlError::CriticalExtension(oid))),
                _ => {}
            }
            Ok(())
        })?;
    }
    Ok(ReadEntry { entry, critical, says_unspecified, right_form })
}

/// What is wrong with an entry or an extension: a rule of DER, whose place its reader knows, or an error of its own.
#[derive(Debug)]
pub(super) enum EntryFault {
    Rule(&'static str),
    Error(CrlError),
}

impl From<&'static str> for EntryFault {
    fn from(rule: &'static str) -> Self {
        EntryFault::Rule(rule)
    }
}

impl EntryFault {
    /// As an error about what stands at octet `at`.
    pub(super) fn at(self, at: u64) -> CrlError {
        match self {
            EntryFault::Rule(rule) => CrlError::Malformed { at, rule },
            EntryFault::Error(error) => error,
        }
    }
}

/// Walks over the content of `Extensions`, which was checked to be DER.
pub(super) fn each_extension<'a>(
    content: &'a [u8],
    limit: usize,
    mut take: impl FnMut(ExtensionRef<'a>) -> Result<(), EntryFault>,
) -> Result<(), EntryFault> {
    let mut rest = content;
    let mut seen = [None; 32];
    let mut count = 0;
    while !rest.is_empty() {
        let (element, after) = strict::split(rest)?;
        let extension = ExtensionRef::from_der(element.raw).map_err(|_| "an extension is malformed")?;
        if count == limit.min(seen.len()) {
            return Err("there are too many extensions".into());
        }
        if seen[..count].contains(&Some(extension.extn_id)) {
            return Err("an extension stands twice".into());
        }
        seen[count] = Some(extension.extn_id);
        count += 1;
        take(extension)?;
        rest = after;
    }
    if count == 0 { Err("a list of extensions is empty".into()) } else { Ok(()) }
}

/// A `Time`, and whether its year is one for UTCTime (RFC 5280 5.1.2.4).
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadTime {
    pub(super) time: Timestamp,
    pub(super) is_utc_time: bool,
}

pub(super) fn read_time(element: Element<'_>) -> Result<ReadTime, EntryFault> {
    let time = Time::from_der(element.raw).map_err(|_| "a date is no UTCTime or GeneralizedTime in whole seconds")?;
    let time = timestamp(time.to_unix_duration());
    // 2050-01-01T00:00:00Z.
    Ok(ReadTime { time, is_utc_time: time.unix_seconds() < 2_524_608_000 })
}
