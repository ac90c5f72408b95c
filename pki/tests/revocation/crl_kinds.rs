//! Deltas, shards and lists of any length: rows C7, C8 and C11 of conformance.md, and what is refused.

use std::cell::Cell;
use std::io::{self, Read, Write};

use der::{Decode, Encode};
use pki::crl::{
    CrlEntries, CrlEntry, CrlError, CrlHeader, CrlLimits, CrlNumber, CrlReader, EntryReason, ParsedCrl, prepare_crl,
};
use pki::{CrlReason, SerialNumber, Timestamp};
use proptest::prelude::*;
use x509_cert::crl::CertificateList;

use crate::ca::{Ca, NOW, openssl, serial, text_of};
use crate::crl::{DAY, MAX_BYTES, entry, header, signed_with};

const SHARD: &str = "http://ca.example.test/crl/authentication-1/3.crl";
const DELTA: &str = "http://ca.example.test/crl/authentication-1/delta.crl";

fn removed(last: u8) -> CrlEntry {
    CrlEntry { reason: EntryReason::RemoveFromCrl, ..entry(last, CrlReason::CertificateHold) }
}

/// A directory where `openssl verify` finds the CA and lists.
struct Verifier<'a> {
    ca: &'a Ca,
    dir: tempfile::TempDir,
}

impl<'a> Verifier<'a> {
    fn new(ca: &'a Ca) -> Self {
        let verifier = Verifier { ca, dir: tempfile::tempdir().unwrap() };
        verifier.pem("x509", "ca", &ca.description.certificate_der);
        verifier
    }

    fn pem(&self, command: &str, name: &str, der: &[u8]) {
        std::fs::write(self.dir.path().join("in.der"), der).unwrap();
        let out = format!("{name}.pem");
        let output = openssl(&[command, "-inform", "DER", "-in", "in.der", "-out", &out], self.dir.path());
        assert!(output.status.success(), "{}", text_of(&output));
    }

    /// What OpenSSL says of the certificate with this serial number and distribution point.
    fn verdict(&self, last: u8, crl_url: &str, lists: &[&[u8]]) -> String {
        self.pem("x509", "leaf", &self.ca.leaf(last, crl_url));
        let time = NOW.unix_seconds().to_string();
        let mut arguments = vec!["verify", "-crl_check", "-extended_crl", "-use_deltas", "-attime", &time];
        arguments.extend(["-CAfile", "ca.pem"]);
        let names: Vec<_> = (0..lists.len()).map(|index| format!("list{index}")).collect();
        let files: Vec<_> = names.iter().map(|name| format!("{name}.pem")).collect();
        for ((list, name), file) in lists.iter().zip(&names).zip(&files) {
            self.pem("crl", name, list);
            arguments.extend(["-CRLfile", file]);
        }
        arguments.push("leaf.pem");
        let output = openssl(&arguments, self.dir.path());
        text_of(&output)
    }
}

#[test]
fn openssl_takes_a_delta_with_its_base() {
    // conformance: C7, C8
    let ca = Ca::new("Authentication");
    let verifier = Verifier::new(&ca);
    let full = CrlHeader { freshest_crl: Some(DELTA), ..header(&ca, 7) };
    let base = signed_with(&ca, &full, &[entry(3, CrlReason::CertificateHold), entry(5, CrlReason::Superseded)]);
    let changes = CrlHeader { base: Some(7.into()), ..header(&ca, 9) };
    let delta = signed_with(&ca, &changes, &[removed(3), entry(4, CrlReason::KeyCompromise)]);
    let url = &ca.description.crl_url;
    for (last, alone, with_delta) in [(3, "revoked", "OK"), (4, "OK", "revoked"), (5, "revoked", "revoked")] {
        let said = verifier.verdict(last, url, &[&base]);
        assert!(said.contains(alone), "{last} by the base alone: {said}");
        let said = verifier.verdict(last, url, &[&base, &delta]);
        assert!(said.contains(with_delta), "{last} by base and delta: {said}");
    }
    let alone = verifier.verdict(4, url, &[&delta]);
    assert!(alone.contains("unable to get certificate CRL"), "a delta alone is no CRL: {alone}");

    let parsed = ParsedCrl::from_der(&delta, MAX_BYTES).unwrap();
    let description = parsed.description();
    assert_eq!((description.number, description.base), (9.into(), Some(7.into())));
    assert!(!description.is_complete() && description.freshest_crls.is_empty());
    assert_eq!(parsed.entry(&serial(3)).unwrap().reason, EntryReason::RemoveFromCrl);
    assert_eq!(ParsedCrl::from_der(&base, MAX_BYTES).unwrap().description().freshest_crls, [DELTA]);
}

#[test]
fn openssl_takes_a_shard_for_the_certificates_that_name_it_and_no_others() {
    // conformance: C11
    let ca = Ca::new("Authentication");
    let verifier = Verifier::new(&ca);
    let part = CrlHeader { distribution_point: Some(SHARD), freshest_crl: Some(DELTA), ..header(&ca, 7) };
    let shard = signed_with(&ca, &part, &[entry(3, CrlReason::CertificateHold)]);
    assert!(verifier.verdict(3, SHARD, &[&shard]).contains("revoked"));
    assert!(verifier.verdict(4, SHARD, &[&shard]).contains("OK"));
    let other = verifier.verdict(4, "http://ca.example.test/crl/authentication-1/4.crl", &[&shard]);
    assert!(other.contains("different CRL scope"), "{other}");
    // A shard's delta has the shard's own place, and is taken with it.
    let changes = CrlHeader { distribution_point: Some(SHARD), base: Some(7.into()), ..header(&ca, 9) };
    let delta = signed_with(&ca, &changes, &[removed(3), entry(4, CrlReason::KeyCompromise)]);
    assert!(verifier.verdict(3, SHARD, &[&shard, &delta]).contains("OK"));
    assert!(verifier.verdict(4, SHARD, &[&shard, &delta]).contains("revoked"));

    let parsed = ParsedCrl::from_der(&shard, MAX_BYTES).unwrap();
    assert_eq!(parsed.description().distribution_point.as_ref().unwrap().uris, [SHARD]);
    assert!(!parsed.description().is_complete());
}

#[test]
fn delta_indicator_and_distribution_point_are_critical_and_nothing_else_is() {
    // conformance: C5, C7, C11, C13
    let ca = Ca::new("Authentication");
    let since = NOW.minus(DAY * 30);
    let full = CrlHeader { freshest_crl: Some(DELTA), expired_certs_on_crl: Some(since), ..header(&ca, 7) };
    let shard = CrlHeader { distribution_point: Some(SHARD), ..full };
    let delta = CrlHeader { base: Some(6.into()), freshest_crl: None, ..shard };
    for (header, oids) in [
        (full, vec!["2.5.29.35", "2.5.29.20", "2.5.29.46", "2.5.29.60"]),
        (shard, vec!["2.5.29.35", "2.5.29.20", "2.5.29.28", "2.5.29.46", "2.5.29.60"]),
        (delta, vec!["2.5.29.35", "2.5.29.20", "2.5.29.27", "2.5.29.28", "2.5.29.60"]),
    ] {
        let der = signed_with(&ca, &header, &[]);
        let list = CertificateList::from_der(&der).unwrap();
        assert_eq!(list.to_der().unwrap(), der);
        let found = list.tbs_cert_list.crl_extensions.unwrap();
        let found: Vec<_> = found.iter().map(|one| (one.extn_id.to_string(), one.critical)).collect();
        let critical = |oid: &str| ["2.5.29.27", "2.5.29.28"].contains(&oid);
        let expected: Vec<_> = oids.into_iter().map(|oid| (oid.to_owned(), critical(oid))).collect();
        assert_eq!(found, expected);
        let parsed = ParsedCrl::from_der(&der, MAX_BYTES).unwrap();
        assert_eq!(parsed.description().expired_certs_on_crl, Some(since));
    }
}

#[test]
fn headers_that_contradict_themselves_are_refused() {
    let ca = Ca::new("Authentication");
    let plain = header(&ca, 7);
    let refused = |header: CrlHeader<'_>| prepare_crl(&header, &[]).unwrap_err();
    for base in [7_u64, 8] {
        let error = refused(CrlHeader { base: Some(base.into()), ..plain });
        assert_eq!(error, CrlError::Base { number: 7.into(), base: base.into() });
    }
    let both = CrlHeader { base: Some(6.into()), freshest_crl: Some(DELTA), ..plain };
    assert_eq!(refused(both), CrlError::FreshestInDelta);
    let later = CrlHeader { expired_certs_on_crl: Some(NOW.plus(DAY)), ..plain };
    assert!(matches!(refused(later), CrlError::ExpiredSince { .. }));
    for url in ["https://ca.example.test/1.crl", "ldap://ca.example.test/1", "http:///1.crl", "http://ca.test/ä.crl"] {
        let error = refused(CrlHeader { distribution_point: Some(url), ..plain });
        assert!(matches!(&error, CrlError::Url { url: found, .. } if found == url), "{url}: {error}");
        let error = refused(CrlHeader { freshest_crl: Some(url), ..plain });
        assert!(matches!(error, CrlError::Url { .. }), "{url}");
    }
    // An issuer whose description is not its certificate's is noticed by the linter, or cannot be encoded.
    let mut broken = ca.description.clone();
    broken.subject_der = vec![0x30, 0x80, 0, 0];
    let error = refused(CrlHeader { issuer: &broken, ..plain });
    assert!(error.to_string().contains("C1"), "{error}");
}

#[test]
fn remove_from_crl_has_no_place_in_a_full_list() {
    // conformance: C8
    let ca = Ca::new("Authentication");
    assert_eq!(prepare_crl(&header(&ca, 7), &[removed(1)]).unwrap_err(), CrlError::Reason(8));
    // One that another CA made.
    let delta = CrlHeader { base: Some(6.into()), ..header(&ca, 7) };
    let mut list = CertificateList::from_der(&signed_with(&ca, &delta, &[removed(1)])).unwrap();
    let extensions = list.tbs_cert_list.crl_extensions.as_mut().unwrap();
    extensions.retain(|extension| extension.extn_id.to_string() != "2.5.29.27");
    assert_eq!(ParsedCrl::from_der(&list.to_der().unwrap(), MAX_BYTES).unwrap_err(), CrlError::Reason(8));
}

/// Other entries each time they are asked for.
struct Fickle {
    asked: Cell<usize>,
    said: Vec<Vec<CrlEntry>>,
}

impl CrlEntries for Fickle {
    fn for_each(&self, take: &mut dyn FnMut(&CrlEntry) -> Result<(), CrlError>) -> Result<(), CrlError> {
        let now = self.asked.replace(self.asked.get() + 1);
        self.said[now].iter().try_for_each(take)
    }
}

#[test]
fn entries_that_change_between_signing_and_writing_are_refused() {
    let ca = Ca::new("Authentication");
    let (one, two) = (entry(1, CrlReason::Superseded), entry(2, CrlReason::Superseded));
    let other = CrlEntry { reason: CrlReason::KeyCompromise.into(), ..two };
    for last in [vec![one], vec![one, other], vec![one, two, entry(3, CrlReason::Superseded)], vec![]] {
        let said = vec![vec![one, two], vec![one, two], last];
        let fickle = Fickle { asked: Cell::new(0), said };
        let prepared = prepare_crl(&header(&ca, 7), &fickle).unwrap();
        let signature = ca.sign_digest(prepared.digest());
        let mut der = Vec::new();
        let refused = prepared.write(&fickle, &signature, &ca.description.public_key, &mut der);
        assert_eq!(refused.unwrap_err(), CrlError::Changed);
    }
    let fickle = Fickle { asked: Cell::new(0), said: vec![vec![one, two], vec![one]] };
    assert_eq!(prepare_crl(&header(&ca, 7), &fickle).unwrap_err(), CrlError::Changed);
}

struct Full(usize);

impl Write for Full {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        if self.0 < octets.len() {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        self.0 -= octets.len();
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_an_error_at_whatever_octet_it_is_full() {
    let ca = Ca::new("Authentication");
    let entries = [entry(1, CrlReason::Superseded)];
    let length = signed_with(&ca, &header(&ca, 7), &entries).len();
    for room in [0, 1, 10, length / 2, length - 80] {
        let prepared = prepare_crl(&header(&ca, 7), &entries).unwrap();
        let signature = ca.sign_digest(prepared.digest());
        let written = prepared.write(&entries, &signature, &ca.description.public_key, &mut Full(room));
        assert!(matches!(written, Err(CrlError::Write(_))), "{room}: {written:?}");
    }
}

#[test]
fn a_source_of_entries_that_fails_makes_no_list() {
    struct Failing;
    impl CrlEntries for Failing {
        fn for_each(&self, _: &mut dyn FnMut(&CrlEntry) -> Result<(), CrlError>) -> Result<(), CrlError> {
            Err(CrlError::entries("the index is gone"))
        }
    }
    let ca = Ca::new("Authentication");
    let error = prepare_crl(&header(&ca, 7), &Failing).unwrap_err();
    assert!(error.to_string().contains("the index is gone"), "{error}");
}

/// One octet at a time, as a slow network gives them.
struct Slow<'a>(&'a [u8]);

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = buffer.len().min(1);
        self.0.read(&mut buffer[..count])
    }
}

#[test]
fn a_stream_is_read_in_pieces_of_any_size_and_never_beyond_its_limits() {
    let ca = Ca::new("Authentication");
    let entries: Vec<_> = (1..=200).map(|last| entry(last, CrlReason::Superseded)).collect();
    let der = signed_with(&ca, &header(&ca, 7), &entries);
    let mut reader = CrlReader::new(Slow(&der), CrlLimits::octets(der.len() as u64)).unwrap();
    let read: Vec<_> = reader.by_ref().map(Result::unwrap).collect();
    assert_eq!(read, entries);
    let description = reader.finish().unwrap();
    description.verify_signed_by(&ca.description.public_key).unwrap();
    assert_eq!((description.entries, description.octets), (200, der.len() as u64));
    assert!(description.in_order);
    assert_eq!(description.fingerprint(), ParsedCrl::from_der(&der, MAX_BYTES).unwrap().description().fingerprint());

    let limits = CrlLimits { max_entries: 199, ..CrlLimits::octets(1 << 20) };
    let refused = CrlReader::new(der.as_slice(), limits).unwrap().finish();
    assert_eq!(refused.unwrap_err(), CrlError::TooMany { limit: 199 });
    let short = CrlReader::new(der.as_slice(), CrlLimits::octets(der.len() as u64 - 1));
    assert_eq!(short.unwrap_err(), CrlError::TooLong { limit: der.len() as u64 - 1 });
    for length in 0..der.len() {
        let read = CrlReader::new(&der[..length], CrlLimits::octets(1 << 20)).and_then(CrlReader::finish);
        assert!(matches!(read, Err(CrlError::Malformed { .. })), "{length} octets: {read:?}");
    }
    let longer = [&der[..], &[0]].concat();
    for limit in [longer.len() as u64, 1 << 20] {
        let read = CrlReader::new(longer.as_slice(), CrlLimits::octets(limit)).and_then(CrlReader::finish);
        assert!(matches!(read, Err(CrlError::Malformed { rule: "something follows it", .. })), "{read:?}");
    }
}

#[test]
fn a_reader_that_met_a_broken_entry_gives_nothing_more() {
    let ca = Ca::new("Authentication");
    let entries = [entry(1, CrlReason::Superseded), entry(2, CrlReason::Superseded)];
    let mut der = signed_with(&ca, &header(&ca, 7), &entries);
    let reason = [0x55, 0x1d, 0x15, 0x04, 0x03, 0x0a, 0x01, 0x04];
    let at = der.windows(reason.len()).position(|window| window == reason).unwrap();
    der[at + 7] = 7;
    let mut reader = CrlReader::new(der.as_slice(), CrlLimits::octets(1 << 20)).unwrap();
    assert_eq!(reader.next(), Some(Err(CrlError::Reason(7))));
    assert_eq!(reader.next(), None);
    assert!(reader.finish().is_err());
}

#[test]
fn a_list_out_of_order_is_read_and_said_to_be_so() {
    // conformance: C4
    let ca = Ca::new("Authentication");
    let entries = [entry(1, CrlReason::Superseded), entry(2, CrlReason::Superseded), entry(3, CrlReason::Superseded)];
    let mut list = CertificateList::from_der(&signed_with(&ca, &header(&ca, 7), &entries)).unwrap();
    list.tbs_cert_list.revoked_certificates.as_mut().unwrap().reverse();
    let der = list.to_der().unwrap();
    let parsed = ParsedCrl::from_der(&der, MAX_BYTES).unwrap();
    assert!(!parsed.description().in_order);
    assert_eq!(parsed.verify_signed_by(&ca.description.public_key), Err(CrlError::Signature));
    let first = list.tbs_cert_list.revoked_certificates.as_ref().unwrap()[0].clone();
    list.tbs_cert_list.revoked_certificates.as_mut().unwrap().push(first);
    let twice = ParsedCrl::from_der(&list.to_der().unwrap(), MAX_BYTES);
    assert_eq!(twice.unwrap_err(), CrlError::Duplicate(serial(3)));
}

#[test]
fn lists_whose_scope_is_not_known_are_refused() {
    let ca = Ca::new("Authentication");
    let part = CrlHeader { distribution_point: Some(SHARD), ..header(&ca, 7) };
    let list = CertificateList::from_der(&signed_with(&ca, &part, &[])).unwrap();
    // onlyContainsUserCerts is known; onlySomeReasons, indirectCRL, onlyContainsAttributeCerts are not.
    for (value, known) in [
        (&[0x30, 3, 0x81, 1, 0xff][..], true),
        (&[0x30, 4, 0x83, 2, 1, 0x40], false),
        (&[0x30, 3, 0x84, 1, 0xff], false),
        (&[0x30, 3, 0x85, 1, 0xff], false),
        (&[0x30, 6, 0x81, 1, 0xff, 0x82, 1, 0xff], false),
    ] {
        let mut other = list.clone();
        let extensions = other.tbs_cert_list.crl_extensions.as_mut().unwrap();
        let point = extensions.iter_mut().find(|one| one.extn_id.to_string() == "2.5.29.28").unwrap();
        point.extn_value = der::asn1::OctetString::new(value).unwrap();
        match ParsedCrl::from_der(&other.to_der().unwrap(), MAX_BYTES) {
            Ok(parsed) => assert!(known && parsed.description().distribution_point.is_some(), "{value:02x?}"),
            Err(error) => assert!(!known && matches!(error, CrlError::Scope(_)), "{value:02x?}: {error}"),
        }
    }
}

fn any_entry() -> impl Strategy<Value = CrlEntry> {
    let serial = (1_usize..=20).prop_flat_map(|length| proptest::collection::vec(any::<u8>(), length));
    // 1970 to 9999, with 2049/2050 near at hand.
    let time = prop_oneof![0..253_402_300_800_i64, 2_524_607_000..2_524_609_000_i64];
    let codes = prop::sample::select(vec![0_u8, 1, 2, 3, 4, 5, 6, 9, 10]);
    (serial, time.clone(), codes, proptest::option::of(time)).prop_map(|(mut octets, at, code, invalidity)| {
        octets[0] = (octets[0] & 0x7f).max(1);
        CrlEntry {
            serial: SerialNumber::from_der_content(&octets).unwrap(),
            at: Timestamp::from_unix_seconds(at),
            reason: EntryReason::from_code(code).unwrap(),
            invalidity_date: invalidity.map(|date| Timestamp::from_unix_seconds(date.min(at))),
        }
    })
}

proptest! {
    #[test]
    fn what_is_written_by_hand_is_what_x509_cert_writes(mut entries in proptest::collection::vec(any_entry(), 0..40), number: u64) {
        thread_local!(static CA: Ca = Ca::new("Authentication"));
        entries.sort_by_key(|entry| entry.serial);
        entries.dedup_by_key(|entry| entry.serial);
        CA.with(|ca| {
            let der = signed_with(ca, &CrlHeader { number: CrlNumber::from(number), ..header(ca, 1) }, &entries);
            let list = CertificateList::from_der(&der).unwrap();
            assert_eq!(list.to_der().unwrap(), der);
            assert_eq!(list.tbs_cert_list.revoked_certificates.map_or(0, |list| list.len()), entries.len());
            let reader = CrlReader::new(der.as_slice(), CrlLimits::octets(1 << 20)).unwrap();
            let read: Result<Vec<_>, _> = reader.collect();
            assert_eq!(read.unwrap(), entries);
        });
    }
}
