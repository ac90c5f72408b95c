//! Each shipped profile with each key type that it allows, under each kind of CA key, judged by pkilint; and each kind of
//! OCSP answer with each kind of signer's key.

#[path = "../../pki/tests/common/mod.rs"]
mod common;

use std::time::Duration;

use common::*;
use pki::certificate::{ParsedCertificate, prepare, prepare_root, validity};
use pki::ocsp::{
    CertStatus, HashAlgorithm, IssuerHashes, ResponderId, ResponseContent, SingleResponse, prepare_response,
};
use pki::{CrlReason, IssuerDescription, KeyType, Timestamp};
use tests::pkilint::{assert_clean, lint_certificate, lint_chain, lint_ocsp};

fn judge(what: &str, issuer: &[u8], certificate: &[u8]) {
    assert_clean(what, &lint_certificate(certificate));
    assert_clean(&format!("{what} and its issuer"), &lint_chain(issuer, certificate));
}

/// A root with a key of this kind.
fn root(key_type: KeyType) -> IssuerDescription {
    let (profile, key) = (profile("root-ca"), TestKey::of(key_type));
    let life = validity(profile, NOW, Duration::ZERO, Duration::ZERO, Timestamp::MAX).unwrap();
    let prepared = prepare_root(profile, &ca_fields("Example Root CA"), key.public(), serial(), life).unwrap();
    let signature = key.sign(prepared.tbs_der());
    describe("root-1", prepared.assemble(&signature, key.public()).unwrap().parsed(), false)
}

/// An issuing CA with a key of this kind, certified by `root`, whose key is of the other kind.
fn issuing(root: &IssuerDescription, key_type: KeyType) -> IssuerDescription {
    let (profile, root_key) = (profile("issuing-ca"), TestKey::of(root.public_key.key_type()));
    let (fields, key) = (ca_fields("Example Signing CA"), TestKey::of(key_type).public());
    let prepared = prepare(profile, root, &fields, key, serial(), validity_of(profile, root)).unwrap();
    let signature = root_key.sign(prepared.tbs_der());
    describe("signing-1", prepared.assemble(&signature, root_key.public()).unwrap().parsed(), true)
}

// conformance: E9
#[test]
fn cas_with_each_kind_of_key_are_clean() {
    for root_type in profile("root-ca").key_types() {
        let root = root(*root_type);
        judge(&format!("a root with {root_type}"), &root.certificate_der, &root.certificate_der);
        for key_type in profile("issuing-ca").key_types() {
            let issuing = issuing(&root, *key_type);
            let what = format!("an issuing CA with {key_type} under {root_type}");
            judge(&what, &root.certificate_der, &issuing.certificate_der);
        }
    }
}

// conformance: E9
#[test]
fn each_shipped_profile_of_a_leaf_with_each_kind_of_key_is_clean() {
    let issuing = &hierarchy().issuing;
    for profile in leaf_profiles() {
        for key_type in profile.key_types() {
            let signed = issuing.issue(profile.name(), &fields(), TestKey::of(*key_type).public());
            let what = format!("{} with {key_type}", profile.name());
            judge(&what, &issuing.description.certificate_der, signed.der());
        }
    }
}

// conformance: E9
#[test]
fn a_leaf_is_clean_whatever_the_key_of_its_ca() {
    let root = root(KeyType::P384);
    for key_type in profile("issuing-ca").key_types() {
        let (issuer, key) = (issuing(&root, *key_type), TestKey::of(*key_type));
        for name in ["card-authentication", "ocsp-signer"] {
            let leaf = TestKey::of(KeyType::P256).public();
            let life = validity_of(profile(name), &issuer);
            let prepared = prepare(profile(name), &issuer, &fields(), leaf, serial(), life).unwrap();
            let signature = key.sign(prepared.tbs_der());
            let signed = prepared.assemble(&signature, key.public()).unwrap();
            judge(&format!("{name} under {key_type}"), &issuer.certificate_der, signed.der());
        }
    }
}

// conformance: E9, E11
#[test]
fn a_profile_that_says_all_that_one_can_say_is_clean() {
    let issuing = &hierarchy().issuing;
    let issuer = &issuing.description;
    for key_type in rich_profile().key_types() {
        let life = validity_of(rich_profile(), issuer);
        let key = TestKey::of(*key_type).public();
        let prepared = prepare(rich_profile(), issuer, &fields(), key, serial(), life).unwrap();
        let signed = issuing.sign(prepared);
        judge(&format!("a site's card with {key_type}"), &issuer.certificate_der, signed.der());
    }
}

// conformance: O1, O2, O3, O4, O11, O12, O25
#[test]
fn each_kind_of_ocsp_answer_with_each_kind_of_signers_key_is_clean() {
    let issuing = &hierarchy().issuing;
    let hashes = IssuerHashes::new(&issuing.description.subject_der, &issuing.description.public_key);
    let hour = Duration::from_secs(3600);
    let revoked = |reason| CertStatus::Revoked { at: NOW.minus(hour), reason };
    let never_issued = CertStatus::Revoked { at: Timestamp::EPOCH, reason: CrlReason::CertificateHold };
    let kinds = [
        ("good", CertStatus::Good, false),
        ("revoked", revoked(CrlReason::KeyCompromise), false),
        ("revoked without a reason", revoked(CrlReason::Unspecified), false),
        ("on hold", revoked(CrlReason::CertificateHold), false),
        ("unknown", CertStatus::Unknown, false),
        ("never issued", never_issued, true),
    ];
    for key_type in profile("ocsp-signer").key_types() {
        let key = TestKey::of(*key_type);
        let delegate = issuing.issue("ocsp-signer", &ca_fields("OCSP signer of signing-1"), key.public());
        let delegate: &ParsedCertificate = delegate.parsed();
        for (what, status, extended_revoke) in kinds {
            for algorithm in [HashAlgorithm::Sha1, HashAlgorithm::Sha256] {
                let cert_id = hashes.cert_id(algorithm, serial());
                let by_key = ResponderId::ByKey(key.public().key_identifier());
                for responder_id in [by_key, ResponderId::ByName(delegate.subject_der())] {
                    let response = SingleResponse {
                        cert_id: &cert_id,
                        status,
                        this_update: NOW.minus(hour),
                        next_update: NOW.plus(hour),
                        archive_cutoff: (algorithm == HashAlgorithm::Sha256).then(|| NOW.minus(DAY)),
                    };
                    let content = ResponseContent {
                        responder_id,
                        produced_at: NOW,
                        responses: &[response],
                        nonce: None,
                        extended_revoke,
                    };
                    let prepared = prepare_response(&content, key.public().key_type().signature_algorithm()).unwrap();
                    let signature = key.sign(prepared.tbs_der());
                    let answer = prepared.assemble(&signature, Some(delegate.der())).unwrap();
                    assert_clean(&format!("{what}, signed with {key_type}"), &lint_ocsp(&answer));
                }
            }
        }
    }
}
