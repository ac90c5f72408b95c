//! A CRL of a million entries: put together, hashed, signed by the token, written to a file.

use std::fs::File;
use std::io::BufWriter;
use std::time::Instant;

use hsm::Signer;
use pki::certificate::ParsedCertificate;
use pki::crl::{CrlEntry, CrlHeader, EntryReason, prepare_crl};
use pki::{CrlReason, IssuerDescription, KeyType, SerialNumber, Timestamp};
use ring::rand::{SecureRandom, SystemRandom};
use tests::Home;
use tests::deployment::Site;

use crate::cost::Watch;
use crate::report::Report;
use crate::token;

const ENTRIES: usize = 1_000_000;

fn entries() -> Vec<CrlEntry> {
    let random = SystemRandom::new();
    let entry = |number: usize| {
        let mut octets = [0; 16];
        random.fill(&mut octets).expect("random octets");
        CrlEntry {
            serial: SerialNumber::from_random(octets),
            at: Timestamp::from_unix_seconds(1_700_000_000 + number as i64),
            reason: EntryReason::Revoked(CrlReason::Superseded),
            invalidity_date: None,
        }
    };
    let mut entries: Vec<CrlEntry> = (0..ENTRIES).map(entry).collect();
    entries.sort_by_key(|entry| entry.serial);
    entries
}

/// Measures.
pub(crate) async fn run(home: &Home, site: &Site, token: &token::Bench, report: &mut Report) {
    let issuer = ParsedCertificate::from_der(&site.issuer("authentication-1")).expect("a CA certificate");
    let (key, _) = token.signed(KeyType::P256);
    let path = home.file("million.crl");
    let work = move || {
        let issuer = IssuerDescription {
            id: "authentication-1".to_owned(),
            certificate_der: Vec::new(),
            subject_der: issuer.subject_der().to_vec(),
            public_key: key.public_key().clone(),
            key_identifier: key.public_key().key_identifier().to_vec(),
            not_after: issuer.not_after(),
            ca_issuers_url: String::new(),
            ocsp_url: None,
            crl_url: String::new(),
        };
        let header = CrlHeader {
            issuer: &issuer,
            number: 1.into(),
            this_update: Timestamp::from_unix_seconds(1_800_000_000),
            next_update: Timestamp::from_unix_seconds(1_800_086_400),
            base: None,
            distribution_point: None,
            freshest_crl: None,
            expired_certs_on_crl: None,
        };
        let entries = entries();
        let mut latencies = Vec::new();
        for _ in 0..3 {
            let began = Instant::now();
            let prepared = prepare_crl(&header, &entries).expect("a CRL");
            let signature = key.sign_digest(prepared.digest()).expect("a signature");
            let mut out = BufWriter::new(File::create(&path).expect("a file"));
            let written = prepared.write(&entries, &signature, key.public_key(), &mut out).expect("a CRL");
            out.into_inner().expect("written").sync_all().expect("synced");
            assert_eq!(written.entries, ENTRIES as u64);
            latencies.push(began.elapsed());
        }
        latencies
    };
    let sample = Watch::own().threads([work]).await;
    let what = "a CRL of 1,000,000 entries on one processor: measured, linted, hashed, signed by the token (P-256), \
                verified, written and synced; the sorting of the entries is in the bench's processor time alone";
    report.delay("crl.million", &sample, what);
}
