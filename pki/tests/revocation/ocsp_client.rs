//! Building of OCSP answers, compared with x509-ocsp, and what a relying system makes of them.

use std::time::Duration;

use der::asn1::{Null, OctetString};
use der::{Decode, Encode};
use pki::ocsp::{
    CertStatus, DelegateError, ErrorStatus, Expected, HashAlgorithm, IssuerHashes, Nonce, ResponderId, ResponseContent,
    ResponseError, SingleResponse, VerifiedStatus, prepare_response, verify_response,
};
use pki::{CrlReason, SignatureAlgorithm, Timestamp};
use proptest::prelude::*;
use rcgen::{KeyPair, SigningKey};
use x509_ocsp::{BasicOcspResponse, OcspResponse};

use crate::ca::{Ca, DelegateFlaws, NOW, key, openssl, public_key, serial, text_of};

const MINUTE: Duration = Duration::from_secs(60);

struct Scene {
    ca: Ca,
    cert_id: Vec<u8>,
    delegate: KeyPair,
}

impl Scene {
    fn new() -> Self {
        let ca = Ca::new("Authentication");
        let hashes = IssuerHashes::new(&ca.description.subject_der, &ca.description.public_key);
        Scene { cert_id: hashes.cert_id(HashAlgorithm::Sha256, serial(2)), ca, delegate: key() }
    }

    fn single(&self, status: CertStatus) -> SingleResponse<'_> {
        SingleResponse {
            cert_id: &self.cert_id,
            status,
            this_update: NOW.minus(MINUTE),
            next_update: NOW.plus(MINUTE),
            archive_cutoff: None,
        }
    }

    fn content<'a>(&self, responses: &'a [SingleResponse<'a>]) -> ResponseContent<'a> {
        ResponseContent {
            responder_id: ResponderId::ByKey(public_key(&self.delegate).key_identifier()),
            produced_at: NOW,
            responses,
            nonce: None,
            extended_revoke: false,
        }
    }

    fn signed(&self, content: &ResponseContent<'_>, flaws: DelegateFlaws) -> Vec<u8> {
        let prepared = prepare_response(content, SignatureAlgorithm::EcdsaP256Sha256).unwrap();
        let signature = self.delegate.sign(prepared.tbs_der()).unwrap();
        prepared.assemble(&signature, Some(&self.ca.delegate(&self.delegate, flaws))).unwrap()
    }

    fn answer(&self, status: CertStatus) -> Vec<u8> {
        self.signed(&self.content(&[self.single(status)]), DelegateFlaws::default())
    }

    fn expected(&self) -> Expected<'_> {
        Expected {
            cert_id: &self.cert_id,
            issuer_subject_der: &self.ca.description.subject_der,
            issuer_key: &self.ca.description.public_key,
            nonce: None,
            now: NOW,
            max_clock_skew: MINUTE,
        }
    }

    fn verify(&self, der: &[u8]) -> Result<VerifiedStatus, ResponseError> {
        verify_response(der, &self.expected())
    }
}

const REVOKED: CertStatus =
    CertStatus::Revoked { at: Timestamp::from_unix_seconds(1_795_000_000), reason: CrlReason::KeyCompromise };

#[test]
fn every_status_comes_back_as_it_was_said() {
    // conformance: O1, O2, O23
    let scene = Scene::new();
    let unspecified = CertStatus::Revoked { at: NOW, reason: CrlReason::Unspecified };
    for status in [CertStatus::Good, CertStatus::Unknown, REVOKED, unspecified] {
        let read = scene.verify(&scene.answer(status)).unwrap();
        assert_eq!(read.status, status);
        assert_eq!((read.this_update, read.next_update), (NOW.minus(MINUTE), NOW.plus(MINUTE)));
        assert_eq!(read.produced_at, NOW);
        assert_eq!(read.delegate.unwrap().public_key(), &public_key(&scene.delegate));
    }
}

#[test]
fn the_bytes_are_those_that_x509_ocsp_writes() {
    // conformance: O1, O2, O17, O25
    let scene = Scene::new();
    let nonce = OctetString::new([7; 32]).unwrap().to_der().unwrap();
    for status in [CertStatus::Good, CertStatus::Unknown, REVOKED] {
        let mut single = scene.single(status);
        single.archive_cutoff = Some(NOW.minus(MINUTE));
        let responses = [single, scene.single(CertStatus::Good)];
        let mut content = scene.content(&responses);
        content.nonce = Some(Nonce::from_extension_value(&nonce).unwrap());
        content.extended_revoke = true;
        let der = scene.signed(&content, DelegateFlaws::default());

        let outer = OcspResponse::from_der(&der).unwrap();
        assert_eq!(outer.to_der().unwrap(), der);
        let bytes = outer.response_bytes.unwrap();
        let basic = BasicOcspResponse::from_der(bytes.response.as_bytes()).unwrap();
        assert_eq!(basic.to_der().unwrap(), bytes.response.as_bytes());
        let prepared = prepare_response(&content, SignatureAlgorithm::EcdsaP256Sha256).unwrap();
        assert_eq!(basic.tbs_response_data.to_der().unwrap(), prepared.tbs_der());
        assert_eq!(basic.nonce().unwrap().0.as_bytes(), [7; 32]);
        let extensions = basic.tbs_response_data.response_extensions.unwrap();
        assert_eq!(extensions[1].extn_id.to_string(), "1.3.6.1.5.5.7.48.1.9");
        assert_eq!(extensions[1].extn_value.as_bytes(), Null.to_der().unwrap());
        assert_eq!(basic.tbs_response_data.responses[0].cert_id.to_der().unwrap(), scene.cert_id);
        assert!(basic.tbs_response_data.responses[0].single_extensions.is_some());
        assert!(basic.tbs_response_data.responses[1].single_extensions.is_none());
    }
}

#[test]
fn error_answers_carry_no_response_bytes() {
    // conformance: O27
    let scene = Scene::new();
    for (status, code) in [
        (ErrorStatus::MalformedRequest, 1),
        (ErrorStatus::InternalError, 2),
        (ErrorStatus::TryLater, 3),
        (ErrorStatus::SigRequired, 5),
        (ErrorStatus::Unauthorized, 6),
    ] {
        let read = OcspResponse::from_der(&status.response_der()).unwrap();
        assert_eq!(read.response_status as u8, code);
        assert!(read.response_bytes.is_none());
        assert_eq!(scene.verify(&status.response_der()), Err(ResponseError::Status(status)));
    }
}

#[test]
fn an_answer_by_the_ca_itself_and_by_name_is_taken() {
    // conformance: O11
    let scene = Scene::new();
    let responses = [scene.single(CertStatus::Good)];
    for by_name in [true, false] {
        let mut content = scene.content(&responses);
        content.responder_id = match by_name {
            true => ResponderId::ByName(&scene.ca.description.subject_der),
            false => ResponderId::ByKey(scene.ca.description.public_key.key_identifier()),
        };
        let prepared = prepare_response(&content, SignatureAlgorithm::EcdsaP256Sha256).unwrap();
        let der = prepared.assemble(&scene.ca.sign(prepared.tbs_der()), None).unwrap();
        let read = scene.verify(&der).unwrap();
        assert_eq!((read.status, read.delegate), (CertStatus::Good, None));
    }
    let certificate = scene.ca.delegate(&scene.delegate, DelegateFlaws::default());
    let name = x509_cert::Certificate::from_der(&certificate).unwrap().tbs_certificate.subject.to_der().unwrap();
    let content = ResponseContent { responder_id: ResponderId::ByName(&name), ..scene.content(&responses) };
    assert!(scene.verify(&scene.signed(&content, DelegateFlaws::default())).unwrap().delegate.is_some());
}

#[test]
fn delegates_that_are_none_are_refused() {
    // conformance: O10, O12
    let scene = Scene::new();
    let with = |flaws| {
        let responses = [scene.single(CertStatus::Good)];
        scene.verify(&scene.signed(&scene.content(&responses), flaws))
    };
    let none = DelegateFlaws::default();
    let refusal = |flaws| match with(flaws) {
        Err(ResponseError::Delegate(cause)) => cause,
        other => panic!("{other:?}"),
    };
    assert_eq!(refusal(DelegateFlaws { no_purpose: true, ..none }), DelegateError::ExtendedKeyUsage);
    assert_eq!(refusal(DelegateFlaws { no_digital_signature: true, ..none }), DelegateError::KeyUsage);
    assert!(matches!(refusal(DelegateFlaws { expired: true, ..none }), DelegateError::Validity { .. }));

    // A relying system may take these from others; our own delegates keep to them.
    for flaws in [DelegateFlaws { no_nocheck: true, ..none }, DelegateFlaws { crl_distribution_point: true, ..none }] {
        assert!(with(flaws).unwrap().delegate.unwrap().check_own().is_err());
    }
    with(none).unwrap().delegate.unwrap().check_own().unwrap();

    let (other_key, other_name) = (Ca::new("Authentication"), Ca::new("Signing"));
    let der = scene.answer(CertStatus::Good);
    for ca in [&other_key, &other_name] {
        let expected = Expected {
            issuer_key: &ca.description.public_key,
            issuer_subject_der: &ca.description.subject_der,
            ..scene.expected()
        };
        let refused = verify_response(&der, &expected);
        assert_eq!(refused, Err(ResponseError::Delegate(DelegateError::Issuer)));
    }
}

#[test]
fn an_answer_to_another_question_is_refused() {
    let scene = Scene::new();
    let der = scene.answer(CertStatus::Good);
    let hashes = IssuerHashes::new(&scene.ca.description.subject_der, &scene.ca.description.public_key);
    let other = hashes.cert_id(HashAlgorithm::Sha256, serial(3));
    let refused = verify_response(&der, &Expected { cert_id: &other, ..scene.expected() });
    assert_eq!(refused, Err(ResponseError::OtherCertificate));
    let refused = verify_response(&der, &Expected { nonce: Some(&[1; 16]), ..scene.expected() });
    assert_eq!(refused, Err(ResponseError::Nonce));
}

#[test]
fn the_nonce_must_be_the_one_that_was_sent() {
    // conformance: O17
    let scene = Scene::new();
    let nonce = OctetString::new([1; 16]).unwrap().to_der().unwrap();
    let responses = [scene.single(CertStatus::Good)];
    let content =
        ResponseContent { nonce: Some(Nonce::from_extension_value(&nonce).unwrap()), ..scene.content(&responses) };
    let der = scene.signed(&content, DelegateFlaws::default());
    assert!(verify_response(&der, &Expected { nonce: Some(&[1; 16]), ..scene.expected() }).is_ok());
    let refused = verify_response(&der, &Expected { nonce: Some(&[2; 16]), ..scene.expected() });
    assert_eq!(refused, Err(ResponseError::Nonce));
}

#[test]
fn an_answer_out_of_its_time_is_refused() {
    // conformance: O23
    let scene = Scene::new();
    let der = scene.answer(CertStatus::Good);
    let at = |now| verify_response(&der, &Expected { now, max_clock_skew: Duration::ZERO, ..scene.expected() });
    assert!(at(NOW).is_ok());
    assert!(matches!(at(NOW.plus(MINUTE)), Err(ResponseError::Times { .. })));
    assert!(matches!(at(NOW.minus(Duration::from_secs(1))), Err(ResponseError::Times { .. })));
}

#[test]
fn a_changed_answer_is_refused() {
    let scene = Scene::new();
    let der = scene.answer(REVOKED);
    for place in 0..der.len() {
        let mut changed = der.clone();
        changed[place] ^= 1;
        if let Ok(read) = scene.verify(&changed) {
            assert_eq!(read.status, REVOKED, "octet {place}");
        }
    }
    let trailing = [&der[..], &[0]].concat();
    assert!(matches!(scene.verify(&trailing), Err(ResponseError::Malformed(_))));
}

#[test]
fn openssl_reads_an_answer() {
    let scene = Scene::new();
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("answer.der"), scene.answer(REVOKED)).unwrap();
    let output = openssl(&["ocsp", "-respin", "answer.der", "-resp_text", "-noverify"], directory.path());
    let text = text_of(&output);
    for words in ["successful (0x0)", "Cert Status: revoked", "keyCompromise (0x1)", "Next Update", "OCSP Signing"] {
        assert!(text.contains(words), "{words} is not in {text}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn mutated_answers_make_nothing_panic(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
    ) {
        thread_local!(static ANSWER: (Scene, Vec<u8>) = {
            let scene = Scene::new();
            let der = scene.answer(CertStatus::Good);
            (scene, der)
        });
        ANSWER.with(|(scene, der)| {
            let mut der = der.clone();
            for (index, value) in &changes {
                let place = index.index(der.len());
                der[place] = *value;
            }
            let _ = scene.verify(&der);
        });
    }
}
