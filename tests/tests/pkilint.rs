//! What a running service gives out, judged by pkilint.

use std::time::Duration;

use hsm::{MemoryKey, Signer};
use pki::crl::{CrlEntry, CrlHeader, EntryReason, prepare_crl};
use pki::{CrlReason, IssuerDescription, SerialNumber, Timestamp};
use tests::openssl::openssl;
use tests::pkilint::{allowed, assert_clean, lint_certificate, lint_chain, lint_crl, lint_ocsp};
use tests::{Deployment, World, isolated};

#[test]
fn pkilint_finds_what_is_wrong() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    // A CA whose certificate says so only by accident: no key usage, and no key identifier.
    let make = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -keyout key.pem -subj /CN=x -days 1 \
                -outform DER -out x.der -addext subjectKeyIdentifier=none -addext basicConstraints=CA:TRUE";
    openssl(dir.path(), &make.split_whitespace().collect::<Vec<_>>()).expect("a certificate");
    let certificate = std::fs::read(dir.path().join("x.der")).expect("a file");
    let codes: Vec<_> = lint_certificate(&certificate).into_iter().map(|finding| finding.code).collect();
    for code in
        ["certificate_skid_ca_missing", "basic_constraints_extension_not_critical", "ca_certificate_no_ku_extension"]
    {
        assert!(codes.contains(&format!("pkix.{code}")), "{code}: {codes:?}");
    }
}

#[test]
fn each_exception_has_a_reason() {
    for one in allowed() {
        assert!(["certificate", "chain", "crl", "ocsp"].contains(&one.linter.as_str()), "{one:?}");
        assert!(one.reason.len() > 20, "{one:?}");
    }
}

#[test]
fn what_a_new_service_publishes_is_clean() {
    isolated(async |home| {
        let deployment = Deployment::start(&home).await;
        let root = deployment.root();
        assert_clean("the root", &lint_certificate(&root));
        assert_clean("the root beside itself", &lint_chain(&root, &root));
        deployment.publish_crls().await;
        for id in ["authentication-1", "signing-1", "devices-1"] {
            let issuer = deployment.issuer(id);
            assert_clean(id, &lint_certificate(&issuer));
            assert_clean(id, &lint_chain(&root, &issuer));
            assert_clean(id, &lint_crl(&deployment.crl(id).await));
        }
    });
}

// conformance: E9
#[test]
fn what_is_issued_and_what_ocsp_says_of_it_is_clean() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let card = world.card().await;
        for certificate in [&card.authentication_certificate, &card.signing_certificate] {
            let issuer = world.issuer(&world.record(certificate).id.issuer);
            assert_clean("a card's certificate", &lint_certificate(certificate));
            assert_clean("a card's certificate and its issuer", &lint_chain(&issuer, certificate));
        }
        let id = world.record(&card.authentication_certificate).id;
        let ask = async |what: &str, serial: SerialNumber| {
            for nonce in [None, Some(&[7; 32][..])] {
                assert_clean(what, &lint_ocsp(&world.ocsp_response(&id.issuer, serial, nonce).await));
            }
        };
        ask("good", id.serial).await;
        world.issuer.suspend(&card, "investigation").await;
        ask("on hold", id.serial).await;
        world.issuer.resume(&card, "investigation").await;
        ask("good again", id.serial).await;
        world.issuer.cancel(&card, "stolen").await;
        ask("revoked", id.serial).await;
        ask("never issued", SerialNumber::from_random([5; SerialNumber::RANDOM_OCTETS])).await;
    });
}

#[test]
fn each_kind_of_crl_is_clean() {
    // conformance: C1, C2, C3, C5, C7, C8, C10, C11, C14
    let key = MemoryKey::generate_p256().expect("a key");
    let now: Timestamp = "2026-11-22T15:30:00Z".parse().expect("a time");
    let hours = |hours: u64| Duration::from_secs(3600 * hours);
    let subject = "30 0f 31 0d 30 0b 06 03 55 04 03 0c 04 43 41 20 31".replace(' ', "");
    let issuer = IssuerDescription {
        id: "ca-1".into(),
        certificate_der: Vec::new(),
        subject_der: data_encoding::HEXLOWER.decode(subject.as_bytes()).expect("hex"),
        public_key: key.public_key().clone(),
        key_identifier: key.public_key().key_identifier().to_vec(),
        not_after: now.plus(hours(1_000_000)),
        ca_issuers_url: String::new(),
        ocsp_url: None,
        crl_url: String::new(),
    };
    let full = CrlHeader {
        issuer: &issuer,
        number: 1_795_361_400.into(),
        this_update: now,
        next_update: now.plus(hours(25)),
        base: None,
        distribution_point: None,
        freshest_crl: None,
        expired_certs_on_crl: None,
    };
    let with_deltas = CrlHeader {
        freshest_crl: Some("http://ca.example.test/crl/ca-1/delta.crl"),
        expired_certs_on_crl: Some(now.minus(hours(24 * 365))),
        ..full
    };
    let shard = CrlHeader { distribution_point: Some("http://ca.example.test/crl/ca-1/3.crl"), ..with_deltas };
    let delta = CrlHeader { base: Some(1_795_357_800.into()), ..full };
    let delta_of_shard = CrlHeader { base: delta.base, freshest_crl: None, ..shard };

    let entry = |last: u8, reason, invalidity_date| {
        let mut random = [0x5a; SerialNumber::RANDOM_OCTETS];
        random[SerialNumber::RANDOM_OCTETS - 1] = last;
        CrlEntry { serial: SerialNumber::from_random(random), at: now.minus(hours(3)), reason, invalidity_date }
    };
    let mut entries: Vec<_> = [0, 1, 2, 3, 4, 5, 6, 9, 10]
        .map(|code| entry(code, EntryReason::from_code(code).expect("a reason"), None))
        .to_vec();
    entries.push(entry(11, CrlReason::KeyCompromise.into(), Some(now.minus(hours(48)))));
    let released = [entry(1, CrlReason::Superseded.into(), None), entry(2, EntryReason::RemoveFromCrl, None)];
    for (what, header, entries) in [
        ("an empty CRL", full, &[][..]),
        ("a full CRL", full, &entries),
        ("a full CRL that has deltas", with_deltas, &entries),
        ("a shard", shard, &entries),
        ("an empty shard", shard, &[]),
        ("a delta", delta, &released),
        ("an empty delta", delta, &[]),
        ("a delta of a shard", delta_of_shard, &released),
    ] {
        let prepared = prepare_crl(&header, entries).expect(what);
        let signature = key.sign_digest(prepared.digest()).expect("a signature");
        let mut der = Vec::new();
        prepared.write(entries, &signature, key.public_key(), &mut der).expect(what);
        assert_clean(what, &lint_crl(&der));
    }
}
