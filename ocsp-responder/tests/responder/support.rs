//! A CA, its delegates and a responder for tests. Certificates are made by another implementation.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use der::{Decode, Encode};
use hsm::Signer;
use ocsp_responder::{Answer, IssuerPolicy, IssuerSigner, Responder, ResponderIssuer, ResponderOptions};
use pki::feed::{FeedPosition, PublishedStatus, StatusEntry};
use pki::ocsp::{
    CertStatus, ErrorStatus, Expected, HashAlgorithm, IssuerHashes, ResponseError, VerifiedStatus, build_request,
    verify_response,
};
use pki::{CrlReason, IssuerDescription, PublicKey, SerialNumber, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SigningKey,
};
use x509_ocsp::{BasicOcspResponse, OcspResponse};

/// The time at which most tests begin: 2026-11-22T15:30:00.400Z, inside of a second.
pub(crate) const NOW: Timestamp = Timestamp::from_unix_millis(1_795_361_400_400);

pub(crate) const AUTHENTICATION: &str = "authentication-1";

pub(crate) fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// A key that signs, and can be told to fail or to let something happen meanwhile.
pub(crate) struct TestSigner {
    key: KeyPair,
    public_key: PublicKey,
    pub(crate) signatures: AtomicUsize,
    behaviour: Mutex<Behaviour>,
}

#[derive(Default)]
pub(crate) enum Behaviour {
    #[default]
    Sign,
    Busy,
    /// The token is gone.
    Gone,
    WrongSignature,
    /// Called once, after the content was fixed and before it is signed.
    Meanwhile(Box<dyn FnOnce() + Send>),
    /// Called at each signature.
    Wait(Arc<dyn Fn() + Send + Sync>),
}

impl TestSigner {
    pub(crate) fn new(algorithm: &'static rcgen::SignatureAlgorithm) -> Arc<Self> {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let public_key = PublicKey::from_spki_der(&key.subject_public_key_info()).unwrap();
        Arc::new(TestSigner { key, public_key, signatures: AtomicUsize::new(0), behaviour: Mutex::default() })
    }

    pub(crate) fn behave(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    pub(crate) fn signatures(&self) -> usize {
        self.signatures.load(Ordering::SeqCst)
    }
}

impl Signer for TestSigner {
    fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, hsm::Error> {
        self.signatures.fetch_add(1, Ordering::SeqCst);
        let mut behaviour = self.behaviour.lock().unwrap();
        match std::mem::take(&mut *behaviour) {
            Behaviour::Sign => {}
            Behaviour::Busy => {
                *behaviour = Behaviour::Busy;
                return Err(hsm::Error::Busy { token: "test".into(), queue: 1 });
            }
            Behaviour::Gone => {
                *behaviour = Behaviour::Gone;
                return Err(hsm::Error::Closed { token: "test".into() });
            }
            Behaviour::WrongSignature => {
                *behaviour = Behaviour::WrongSignature;
                return Ok(SigningKey::sign(&self.key, b"something else").unwrap());
            }
            Behaviour::Meanwhile(act) => {
                drop(behaviour);
                act();
            }
            Behaviour::Wait(wait) => {
                *behaviour = Behaviour::Wait(wait.clone());
                drop(behaviour);
                wait();
            }
        }
        Ok(SigningKey::sign(&self.key, message).unwrap())
    }

    fn sign_digest(&self, _digest: &[u8]) -> Result<Vec<u8>, hsm::Error> {
        Err(hsm::Error::Closed { token: "test".into() })
    }
}

/// A CA.
pub(crate) struct Ca {
    pub(crate) key: Arc<TestSigner>,
    pub(crate) description: IssuerDescription,
    pub(crate) hashes: IssuerHashes,
    issuer: Issuer<'static, KeyPair>,
    now: Timestamp,
}

fn params(common_name: &str, serial: &[u8], now: Timestamp) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::OrganizationName, "Cardinal Test");
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.serial_number = Some(serial.to_vec().into());
    params.not_before = now.minus(seconds(3600)).to_offset_date_time();
    params.not_after = now.plus(seconds(86_400)).to_offset_date_time();
    params.use_authority_key_identifier_extension = true;
    params
}

impl Ca {
    pub(crate) fn new(name: &str, id: &str, now: Timestamp) -> Ca {
        let mut params = params(name, &[0x41], now);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = TestSigner::new(&rcgen::PKCS_ECDSA_P256_SHA256);
        let certificate_der = params.self_signed(&key.key).unwrap().der().to_vec();
        let parsed = pki_subject(&certificate_der);
        let description = IssuerDescription {
            id: id.into(),
            subject_der: parsed,
            certificate_der,
            key_identifier: params.key_identifier(&key.key),
            public_key: key.public_key.clone(),
            not_after: now.plus(seconds(86_400)).whole_seconds(),
            ca_issuers_url: "http://ca.example.test/ca.cer".into(),
            ocsp_url: Some("http://ca.example.test/ocsp".into()),
            crl_url: "http://ca.example.test/ca.crl".into(),
        };
        let hashes = IssuerHashes::new(&description.subject_der, &description.public_key);
        let issuer = Issuer::new(params, KeyPair::try_from(key.key.serialize_der()).unwrap());
        Ca { key, description, hashes, issuer, now }
    }

    /// A leaf certificate in PEM.
    pub(crate) fn leaf_pem(&self, serial: &SerialNumber) -> String {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        params("leaf", serial.as_bytes(), self.now).signed_by(&key, &self.issuer).unwrap().pem()
    }

    /// A delegate's certificate, valid until `not_after`, changed by `change`.
    pub(crate) fn delegate_with(
        &self,
        signer: &TestSigner,
        not_after: Timestamp,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Vec<u8> {
        let mut params = params("OCSP signer", &[0x42], self.now);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::OcspSigning];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let nocheck = CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 48, 1, 5], vec![5, 0]);
        params.custom_extensions = vec![nocheck];
        params.not_after = not_after.to_offset_date_time();
        change(&mut params);
        params.signed_by(&signer.key, &self.issuer).unwrap().der().to_vec()
    }

    pub(crate) fn delegate(&self, signer: &Arc<TestSigner>, not_after: Timestamp, blocking: bool) -> IssuerSigner {
        let certificate = self.delegate_with(signer, not_after, |_| ());
        IssuerSigner::delegate(signer.clone(), certificate, &self.description, blocking).unwrap()
    }

    pub(crate) fn cert_id(&self, number: u8) -> Vec<u8> {
        self.hashes.cert_id(HashAlgorithm::Sha1, serial(number))
    }
}

fn pki_subject(certificate_der: &[u8]) -> Vec<u8> {
    // Certificate → tbsCertificate → [0] version, serialNumber, signature, issuer, validity, subject.
    use der::{Reader, SliceReader, asn1::AnyRef};
    let outer = AnyRef::from_der(certificate_der).unwrap();
    let tbs = SliceReader::new(outer.value()).unwrap().decode::<AnyRef<'_>>().unwrap();
    let mut fields = SliceReader::new(tbs.value()).unwrap();
    for _ in 0..5 {
        fields.tlv_bytes().unwrap();
    }
    fields.tlv_bytes().unwrap().to_vec()
}

pub(crate) fn serial(number: u8) -> SerialNumber {
    SerialNumber::from_der_content(&[0x41, 0x42, 0x43, number]).unwrap()
}

/// A responder for one CA with one delegate that ends in a day.
pub(crate) struct Scene {
    pub(crate) ca: Ca,
    pub(crate) signer: Arc<TestSigner>,
    pub(crate) responder: Arc<Responder>,
    /// The CA's first time.
    pub(crate) start: Timestamp,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Scene::with(ResponderOptions::default(), IssuerPolicy::AUTHENTICATION, NOW)
    }

    pub(crate) fn with(options: ResponderOptions, policy: IssuerPolicy, start: Timestamp) -> Self {
        let ca = Ca::new("Authentication", AUTHENTICATION, start);
        let signer = TestSigner::new(&rcgen::PKCS_ECDSA_P256_SHA256);
        let responder = Arc::new(Responder::new(options));
        responder.set_issuers(vec![ResponderIssuer { description: ca.description.clone(), policy }]).unwrap();
        let delegate = ca.delegate(&signer, start.plus(seconds(86_000)), false);
        responder.set_signers(AUTHENTICATION, vec![delegate]).unwrap();
        let scene = Scene { ca, signer, responder, start };
        scene.heartbeat(start);
        scene
    }

    pub(crate) fn heartbeat(&self, as_of: Timestamp) {
        self.responder.heartbeat(self.responder.replica().position(), as_of, as_of).unwrap();
    }

    /// The next entry of the feed.
    pub(crate) fn publish(&self, number: u8, status: PublishedStatus) {
        publish(&self.responder, AUTHENTICATION, number, status, self.start);
    }

    pub(crate) fn good(&self, number: u8) {
        self.publish(number, PublishedStatus::Good { since: self.start.minus(seconds(600)) });
    }

    pub(crate) fn request(&self, number: u8) -> Vec<u8> {
        build_request(&[&self.ca.cert_id(number)], None).unwrap()
    }

    pub(crate) fn ask(&self, number: u8, now: Timestamp) -> Answer {
        self.responder.answer(&self.request(number), now)
    }

    /// The status of a certificate, by an answer that was verified.
    pub(crate) fn status(&self, number: u8, now: Timestamp) -> Result<VerifiedStatus, ErrorStatus> {
        self.verify(&self.ask(number, now).der, &self.ca.cert_id(number), now)
    }

    pub(crate) fn said(&self, number: u8, now: Timestamp) -> CertStatus {
        self.status(number, now).unwrap().status
    }

    pub(crate) fn verify(&self, der: &[u8], cert_id: &[u8], now: Timestamp) -> Result<VerifiedStatus, ErrorStatus> {
        let expected = Expected {
            cert_id,
            issuer_subject_der: &self.ca.description.subject_der,
            issuer_key: &self.ca.description.public_key,
            nonce: None,
            now,
            max_clock_skew: Duration::ZERO,
        };
        match verify_response(der, &expected) {
            Ok(status) => Ok(status),
            Err(ResponseError::Status(status)) => Err(status),
            Err(error) => panic!("{error}"),
        }
    }
}

pub(crate) fn publish(responder: &Responder, issuer: &str, number: u8, status: PublishedStatus, start: Timestamp) {
    let FeedPosition { sequence, .. } = responder.replica().position();
    let entry = StatusEntry {
        issuer: issuer.into(),
        serial: serial(number),
        status,
        not_after: start.plus(seconds(80_000)),
        shard: None,
    };
    responder.apply(sequence + 1, &entry).unwrap();
}

pub(crate) fn revoked(at: Timestamp, reason: CrlReason) -> PublishedStatus {
    PublishedStatus::Revoked { at, reason, invalidity_date: None }
}

/// An answer as x509-ocsp reads it.
pub(crate) fn basic(answer: &Answer) -> BasicOcspResponse {
    let outer = OcspResponse::from_der(&answer.der).unwrap();
    assert_eq!(outer.to_der().unwrap(), answer.der);
    BasicOcspResponse::from_der(outer.response_bytes.unwrap().response.as_bytes()).unwrap()
}

pub(crate) fn error_of(answer: &Answer) -> Option<ErrorStatus> {
    match answer.kind {
        ocsp_responder::AnswerKind::Error(status) => {
            // conformance: O27
            assert_eq!(answer.der.as_ref(), status.response_der());
            assert!(answer.cacheability.is_none());
            Some(status)
        }
        _ => None,
    }
}
