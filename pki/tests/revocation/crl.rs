//! Rows C of conformance.md, as far as they belong to the building and reading of one list.

use std::time::Duration;

use der::{Decode, Encode, Tag, Tagged};
use pki::crl::{CrlEntry, CrlError, CrlHeader, CrlNumber, ParsedCrl, prepare_crl};
use pki::{CrlReason, Timestamp};
use proptest::prelude::*;
use x509_cert::crl::CertificateList;
use x509_cert::time::Time;

use crate::ca::{Ca, NOW, openssl, serial, text_of};

pub(crate) const DAY: Duration = Duration::from_secs(86_400);
pub(crate) const MAX_BYTES: usize = 1 << 20;

pub(crate) fn entry(last: u8, reason: CrlReason) -> CrlEntry {
    CrlEntry { serial: serial(last), at: NOW.minus(DAY), reason: reason.into(), invalidity_date: None }
}

/// The header of a full CRL, for a day.
pub(crate) fn header(ca: &Ca, number: u64) -> CrlHeader<'_> {
    CrlHeader {
        issuer: &ca.description,
        number: number.into(),
        this_update: NOW,
        next_update: NOW.plus(DAY),
        base: None,
        distribution_point: None,
        freshest_crl: None,
        expired_certs_on_crl: None,
    }
}

/// The list with this header and these entries, in order.
pub(crate) fn signed_with(ca: &Ca, header: &CrlHeader<'_>, entries: &[CrlEntry]) -> Vec<u8> {
    let prepared = prepare_crl(header, entries).unwrap();
    let signature = ca.sign_digest(prepared.digest());
    let mut der = Vec::new();
    let summary = prepared.write(entries, &signature, &ca.description.public_key, &mut der).unwrap();
    assert_eq!((summary.octets, summary.entries), (der.len() as u64, entries.len() as u64));
    der
}

fn signed(ca: &Ca, number: u64, mut entries: Vec<CrlEntry>) -> Vec<u8> {
    entries.sort_by_key(|entry| entry.serial);
    signed_with(ca, &header(ca, number), &entries)
}

fn extension(list: &CertificateList, oid: &str) -> Option<(bool, Vec<u8>)> {
    let oid = oid.parse().unwrap();
    let mut all = list.tbs_cert_list.crl_extensions.iter().flatten();
    all.find(|extension| extension.extn_id == oid).map(|found| (found.critical, found.extn_value.as_bytes().to_vec()))
}

#[test]
fn a_list_is_v2_with_the_cas_own_name_times_number_and_key_identifier() {
    // conformance: C1, C2, C5
    let ca = Ca::new("Authentication");
    let der = signed(&ca, 7, vec![entry(2, CrlReason::Superseded)]);
    let list = CertificateList::from_der(&der).unwrap();
    assert_eq!(list.to_der().unwrap(), der);
    assert_eq!(list.tbs_cert_list.version, x509_cert::Version::V2);
    assert_eq!(list.tbs_cert_list.issuer.to_der().unwrap(), ca.description.subject_der);
    assert_eq!(list.tbs_cert_list.signature, list.signature_algorithm);
    assert!(list.tbs_cert_list.next_update.is_some());
    let (critical, aki) = extension(&list, "2.5.29.35").unwrap();
    assert!(!critical);
    assert_eq!(aki[4..], ca.description.key_identifier);
    assert_eq!(extension(&list, "2.5.29.20").unwrap(), (false, vec![2, 1, 7]));

    let parsed = ParsedCrl::from_der(&der, MAX_BYTES).unwrap();
    parsed.verify_signed_by(&ca.description.public_key).unwrap();
    let read = parsed.description();
    assert_eq!(read.issuer_der, ca.description.subject_der);
    assert_eq!(read.number, 7.into());
    assert_eq!((read.this_update, read.next_update), (NOW, NOW.plus(DAY)));
    assert_eq!(read.authority_key_identifier.as_ref(), Some(&ca.description.key_identifier));
    assert!(read.is_complete());
}

#[test]
fn a_list_without_entries_has_no_revoked_certificates() {
    // conformance: C3
    let der = signed(&Ca::new("Authentication"), 1, vec![]);
    assert!(CertificateList::from_der(&der).unwrap().tbs_cert_list.revoked_certificates.is_none());
    assert!(ParsedCrl::from_der(&der, MAX_BYTES).unwrap().is_empty());
}

#[test]
fn entries_are_sorted_by_serial_number_and_none_is_there_twice() {
    // conformance: C4
    let ca = Ca::new("Authentication");
    let short = pki::SerialNumber::from_der_content(&[0x7f]).unwrap();
    let padded = pki::SerialNumber::from_der_content(&[0x00, 0x80]).unwrap();
    let mut entries = vec![entry(9, CrlReason::Superseded), entry(2, CrlReason::KeyCompromise)];
    entries.push(CrlEntry { serial: padded, ..entries[0] });
    entries.push(CrlEntry { serial: short, ..entries[0] });
    let list = CertificateList::from_der(&signed(&ca, 1, entries.clone())).unwrap();
    let serials: Vec<_> = list.tbs_cert_list.revoked_certificates.unwrap();
    let serials: Vec<_> = serials.iter().map(|entry| entry.serial_number.as_bytes().to_vec()).collect();
    assert_eq!(serials, [vec![0x7f], vec![0x00, 0x80], vec![0x41, 2], vec![0x41, 9]]);

    entries.sort_by_key(|entry| entry.serial);
    entries.insert(3, entries[2]);
    assert_eq!(prepare_crl(&header(&ca, 1), &entries).unwrap_err(), CrlError::Duplicate(serial(2)));
    entries.swap(0, 4);
    let unordered = prepare_crl(&header(&ca, 1), &entries).unwrap_err();
    assert_eq!(unordered, CrlError::Order { serial: padded, after: serial(9) });
}

#[test]
fn reasons_are_not_critical_and_unspecified_is_left_out() {
    // conformance: C10
    let reasons = (0..=10).filter_map(CrlReason::from_code);
    let entries: Vec<_> = reasons.map(|reason| entry(reason.code(), reason)).collect();
    let der = signed(&Ca::new("Authentication"), 1, entries.clone());
    let list = CertificateList::from_der(&der).unwrap();
    for revoked in list.tbs_cert_list.revoked_certificates.unwrap() {
        let code = revoked.serial_number.as_bytes()[1];
        match revoked.crl_entry_extensions {
            None => assert_eq!(code, 0),
            Some(extensions) => {
                assert_eq!(extensions.len(), 1);
                assert!(!extensions[0].critical);
                assert_eq!(extensions[0].extn_value.as_bytes(), [0x0a, 1, code]);
            }
        }
    }
    let parsed = ParsedCrl::from_der(&der, MAX_BYTES).unwrap();
    assert_eq!(parsed.len(), entries.len());
    for entry in entries {
        assert_eq!(parsed.entry(&entry.serial), Some(&entry));
    }
}

#[test]
fn a_released_hold_is_gone_from_the_next_list() {
    // conformance: C8 (full lists)
    let ca = Ca::new("Authentication");
    let held = entry(3, CrlReason::CertificateHold);
    let before = ParsedCrl::from_der(&signed(&ca, 1, vec![held]), MAX_BYTES).unwrap();
    let after = ParsedCrl::from_der(&signed(&ca, 2, vec![]), MAX_BYTES).unwrap();
    assert_eq!(before.entry(&held.serial).unwrap().reason, CrlReason::CertificateHold);
    assert_eq!(after.entry(&held.serial), None);
}

#[test]
fn the_invalidity_date_is_generalized_time_and_never_after_the_revocation() {
    // conformance: C14
    let mut early = entry(1, CrlReason::KeyCompromise);
    early.invalidity_date = Some(early.at.minus(DAY));
    let mut late = entry(2, CrlReason::KeyCompromise);
    late.invalidity_date = Some(late.at.plus(DAY));
    let der = signed(&Ca::new("Authentication"), 1, vec![early, late]);
    let list = CertificateList::from_der(&der).unwrap();
    for revoked in list.tbs_cert_list.revoked_certificates.unwrap() {
        let extensions = revoked.crl_entry_extensions.unwrap();
        let date = extensions.iter().find(|one| one.extn_id.to_string() == "2.5.29.24").unwrap();
        assert!(!date.critical);
        assert_eq!(der::asn1::AnyRef::from_der(date.extn_value.as_bytes()).unwrap().tag(), Tag::GeneralizedTime);
    }
    let parsed = ParsedCrl::from_der(&der, MAX_BYTES).unwrap();
    assert_eq!(parsed.entry(&early.serial), Some(&early));
    assert_eq!(parsed.entry(&late.serial).unwrap().invalidity_date, Some(late.at));
}

#[test]
fn times_are_utc_time_until_2049_and_generalized_time_from_2050_on() {
    let ca = Ca::new("Authentication");
    let last: Timestamp = "2049-12-31T23:59:59.999Z".parse().unwrap();
    let next: Timestamp = "2050-01-01T00:00:00Z".parse().unwrap();
    let times = CrlHeader { this_update: last, next_update: next, ..header(&ca, 1) };
    let der = signed_with(&ca, &times, &[entry(1, CrlReason::Superseded)]);
    let list = CertificateList::from_der(&der).unwrap();
    assert!(matches!(list.tbs_cert_list.this_update, Time::UtcTime(_)));
    assert!(matches!(list.tbs_cert_list.next_update, Some(Time::GeneralTime(_))));
    let parsed = ParsedCrl::from_der(&der, MAX_BYTES).unwrap();
    let read = parsed.description();
    assert_eq!((read.this_update, read.next_update), (last.whole_seconds(), next));
    let backwards = CrlHeader { this_update: next, next_update: last, ..header(&ca, 1) };
    assert!(matches!(prepare_crl(&backwards, &[]).unwrap_err(), CrlError::Times { .. }));
}

#[test]
fn a_signature_of_another_key_is_refused_on_assembly_and_on_reading() {
    // conformance: C15
    let (ca, other) = (Ca::new("Authentication"), Ca::new("Authentication"));
    let prepared = prepare_crl(&header(&ca, 1), &[]).unwrap();
    let signature = other.sign_digest(prepared.digest());
    let mut der = Vec::new();
    let refused = prepared.write(&[], &signature, &ca.description.public_key, &mut der).unwrap_err();
    assert_eq!((refused, der), (CrlError::Signature, vec![]));
    let parsed = ParsedCrl::from_der(&signed(&ca, 1, vec![]), MAX_BYTES).unwrap();
    assert_eq!(parsed.verify_signed_by(&other.description.public_key), Err(CrlError::Signature));
}

#[test]
fn what_is_no_full_list_is_refused() {
    let ca = Ca::new("Authentication");
    let der = signed(&ca, 1, vec![entry(1, CrlReason::Superseded)]);
    assert!(matches!(ParsedCrl::from_der(&der, der.len() - 1), Err(CrlError::TooLong { .. })));
    let trailing = [&der[..], &[0]].concat();
    assert!(matches!(ParsedCrl::from_der(&trailing, MAX_BYTES), Err(CrlError::Malformed { .. })));

    let mut list = CertificateList::from_der(&der).unwrap();
    for (oid, critical, refused) in [("2.5.29.19", true, true), ("1.2.3.4", true, true), ("1.2.3.4", false, false)] {
        let mut extended = list.clone();
        let extensions = extended.tbs_cert_list.crl_extensions.as_mut().unwrap();
        let (extn_id, extn_value) = (oid.parse().unwrap(), der::asn1::OctetString::new([5, 0]).unwrap());
        extensions.push(x509_cert::ext::Extension { extn_id, critical, extn_value });
        let read = ParsedCrl::from_der(&extended.to_der().unwrap(), MAX_BYTES);
        assert_eq!(matches!(read, Err(CrlError::CriticalExtension(found)) if found == extn_id), refused, "{oid}");
    }
    list.tbs_cert_list.next_update = None;
    let read = ParsedCrl::from_der(&list.to_der().unwrap(), MAX_BYTES);
    assert_eq!(read.unwrap_err(), CrlError::NextUpdateMissing);
}

#[test]
fn numbers_are_ordered_as_numbers_and_have_at_most_20_octets() {
    let contents: [&[u8]; 5] = [&[0], &[0x7f], &[0, 0x80], &[1, 0], &[0x7f; 20]];
    let numbers = contents.map(|content| CrlNumber::from_der_content(content).unwrap());
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]));
    for (number, content) in [(0_u64, &contents[0]), (0x7f, &contents[1]), (0x80, &contents[2]), (0x100, &contents[3])]
    {
        assert_eq!(CrlNumber::from(number).as_bytes(), *content);
    }
    assert_eq!(CrlNumber::from(u64::MAX).as_bytes(), [&[0][..], &[0xff; 8]].concat());
    for content in [&[][..], &[0x80], &[0, 1], &[1; 21]] {
        assert_eq!(CrlNumber::from_der_content(content), Err(CrlError::Number), "{content:?}");
    }
    assert_eq!(numbers[2].to_string(), "0x80");
}

#[test]
fn openssl_verifies_a_list_and_finds_what_is_in_it() {
    // conformance: C1, C10, C14
    let ca = Ca::new("Authentication");
    let directory = tempfile::tempdir().unwrap();
    let mut compromised = entry(5, CrlReason::KeyCompromise);
    compromised.invalidity_date = Some(compromised.at.minus(DAY));
    let entries = vec![compromised, entry(6, CrlReason::CertificateHold), entry(7, CrlReason::Unspecified)];
    std::fs::write(directory.path().join("list.crl"), signed(&ca, 12, entries)).unwrap();
    std::fs::write(directory.path().join("ca.der"), &ca.description.certificate_der).unwrap();
    openssl(&["x509", "-inform", "DER", "-in", "ca.der", "-out", "ca.pem"], directory.path());
    let arguments = ["crl", "-inform", "DER", "-in", "list.crl", "-CAfile", "ca.pem", "-noout", "-verify", "-text"];
    let output = openssl(&arguments, directory.path());
    let text = text_of(&output);
    assert!(output.status.success() && text.contains("verify OK"), "{text}");
    for words in ["Version 2", "4105", "Key Compromise", "Invalidity Date", "Certificate Hold", "CRL Number", "4107"] {
        assert!(text.contains(words), "{words} is not in {text}");
    }
}

#[test]
fn a_list_of_a_hundred_thousand_is_built_and_read() {
    let ca = Ca::new("Authentication");
    let entries = (0..100_000_u32).map(|number| {
        let mut random = [0; 16];
        random[12..].copy_from_slice(&number.wrapping_mul(2_654_435_761).to_be_bytes());
        CrlEntry {
            serial: pki::SerialNumber::from_random(random),
            at: NOW,
            reason: CrlReason::Superseded.into(),
            invalidity_date: None,
        }
    });
    let der = signed(&ca, 1, entries.collect());
    let parsed = ParsedCrl::from_der(&der, 16 << 20).unwrap();
    parsed.verify_signed_by(&ca.description.public_key).unwrap();
    assert_eq!(parsed.len(), 100_000);
}

proptest! {
    #[test]
    fn mutated_lists_make_nothing_panic(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        thread_local!(static LIST: Vec<u8> = {
            let entries = vec![entry(1, CrlReason::KeyCompromise), entry(2, CrlReason::CertificateHold)];
            signed(&Ca::new("Authentication"), 1, entries)
        });
        let mut der = LIST.with(Vec::clone);
        for (index, value) in changes {
            let place = index.index(der.len());
            der[place] = value;
        }
        let _ = ParsedCrl::from_der(&der, MAX_BYTES);
    }
}

#[test]
fn an_invalidity_date_that_cannot_be_written_does_not_keep_a_crl_from_being_made() {
    let mut odd = entry(1, CrlReason::KeyCompromise);
    odd.invalidity_date = Some(Timestamp::from_unix_seconds(-315_619_200));
    let der = signed(&Ca::new("Authentication"), 1, vec![odd]);
    let parsed = ParsedCrl::from_der(&der, MAX_BYTES).unwrap();
    let found = parsed.entry(&odd.serial).unwrap();
    assert_eq!((found.reason, found.invalidity_date), (CrlReason::KeyCompromise.into(), None));
}
