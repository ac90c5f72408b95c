//! Reading of OCSP requests: rows O7, O8, O14, O16 to O22.

use der::asn1::{Any, AnyRef, BitString, Ia5String, Null, ObjectIdentifier, OctetString};
use der::{Decode, Encode, Tag};
use pki::SignatureAlgorithm;
use pki::ocsp::{
    CertIdHash, HashAlgorithm, IssuerHashes, IssuerMatch, OcspLimits, OcspRequest, RequestError, build_request,
};
use proptest::prelude::*;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::name::GeneralName;
use x509_ocsp::{Request, TbsRequest};

use crate::ca::{Ca, openssl, serial, text_of};

const NONCE: &str = "1.3.6.1.5.5.7.48.1.2";

fn read(der: &[u8]) -> Result<OcspRequest<'_>, RequestError> {
    OcspRequest::from_der(der, &OcspLimits::default())
}

fn cert_id(ca: &Ca, number: u8) -> Vec<u8> {
    IssuerHashes::new(&ca.description.subject_der, &ca.description.public_key)
        .cert_id(HashAlgorithm::Sha1, serial(number))
}

/// A request by x509-ocsp, to be bent by the test.
fn plain(ca: &Ca) -> x509_ocsp::OcspRequest {
    let req_cert = x509_ocsp::CertId::from_der(&cert_id(ca, 2)).unwrap();
    let tbs_request = TbsRequest { request_list: vec![Request::new(req_cert)], ..TbsRequest::default() };
    x509_ocsp::OcspRequest { tbs_request, optional_signature: None }
}

fn extension(oid: &str, critical: bool, value: &[u8]) -> Extension {
    Extension { extn_id: oid.parse().unwrap(), critical, extn_value: OctetString::new(value).unwrap() }
}

fn with_extension(ca: &Ca, extension: Extension) -> Vec<u8> {
    let mut request = plain(ca);
    request.tbs_request.request_extensions = Some(vec![extension]);
    request.to_der().unwrap()
}

#[test]
fn cert_ids_in_every_hash_and_spelling_are_read_and_keep_their_bytes() {
    // conformance: O1, O7, O8
    let ca = Ca::new("Authentication");
    let hashes = IssuerHashes::new(&ca.description.subject_der, &ca.description.public_key);
    for algorithm in HashAlgorithm::ALL {
        for null_parameters in [true, false] {
            let hash = CertIdHash { algorithm, null_parameters };
            let id = hashes.cert_id_spelled(hash, serial(2));
            let der = build_request(&[&id], None).unwrap();
            assert_eq!(x509_ocsp::OcspRequest::from_der(&der).unwrap().to_der().unwrap(), der);
            let request = read(&der).unwrap();
            let [asked] = request.cert_ids() else { panic!("one was asked about") };
            assert_eq!((asked.der(), asked.hash(), asked.serial()), (&id[..], Some(hash), Some(serial(2))));
            assert_eq!(hashes.matches(asked), IssuerMatch::Issuer);
        }
    }
}

#[test]
fn x509_ocsp_computes_the_same_cert_id() {
    // conformance: O7
    let ca = Ca::new("Authentication");
    let issuer = x509_cert::Certificate::from_der(&ca.description.certificate_der).unwrap();
    let serial_number = x509_cert::serial_number::SerialNumber::new(serial(2).as_bytes()).unwrap();
    let theirs = x509_ocsp::CertId::from_issuer::<sha1::Sha1>(&issuer, serial_number.clone()).unwrap();
    assert_eq!(theirs.to_der().unwrap(), cert_id(&ca, 2));
    let theirs = x509_ocsp::CertId::from_issuer::<sha2::Sha512>(&issuer, serial_number).unwrap();
    let der = theirs.to_der().unwrap();
    let hashes = IssuerHashes::new(&ca.description.subject_der, &ca.description.public_key);
    assert_eq!(hashes.matches(&pki::ocsp::CertId::from_der(&der).unwrap()), IssuerMatch::Issuer);
}

#[test]
fn another_key_under_the_same_name_is_told_apart() {
    // conformance: O9, O10
    let (ca, rolled) = (Ca::new("Authentication"), Ca::new("Authentication"));
    let other = Ca::new("Signing");
    let id = cert_id(&ca, 2);
    let asked = pki::ocsp::CertId::from_der(&id).unwrap();
    let matches = |ca: &Ca| IssuerHashes::new(&ca.description.subject_der, &ca.description.public_key).matches(&asked);
    assert_eq!(matches(&ca), IssuerMatch::Issuer);
    assert_eq!(matches(&rolled), IssuerMatch::NameOnly);
    assert_eq!(matches(&other), IssuerMatch::None);
}

#[test]
fn several_certificates_may_be_asked_about_up_to_the_cap() {
    // conformance: O14
    let ca = Ca::new("Authentication");
    let ids: Vec<_> = (1..=5).map(|number| cert_id(&ca, number)).collect();
    let ids: Vec<_> = ids.iter().map(Vec::as_slice).collect();
    let der = build_request(&ids, None).unwrap();
    let asked: Vec<_> = read(&der).unwrap().cert_ids().iter().map(|id| id.der()).collect();
    assert_eq!(asked, ids);
    let limits = OcspLimits { max_requests: 4, ..OcspLimits::default() };
    assert_eq!(OcspRequest::from_der(&der, &limits), Err(RequestError::TooMany { limit: 4 }));
    let limits = OcspLimits { max_request_bytes: der.len() - 1, ..OcspLimits::default() };
    assert!(matches!(OcspRequest::from_der(&der, &limits), Err(RequestError::TooLong { .. })));
}

#[test]
fn what_is_no_request_is_malformed() {
    // conformance: O16
    let ca = Ca::new("Authentication");
    let der = plain(&ca).to_der().unwrap();
    let mut empty = plain(&ca);
    empty.tbs_request.request_list.clear();
    assert_eq!(read(&empty.to_der().unwrap()), Err(RequestError::Empty));
    for bad in [vec![], vec![0x30], vec![0x30, 0], [&der[..], &[0]].concat(), der[..der.len() - 1].to_vec()] {
        assert!(matches!(read(&bad), Err(RequestError::Malformed(_))), "{bad:02x?}");
    }
    // BER: an indefinite length.
    let indefinite = [&[0x30, 0x80], &der[2..], &[0, 0]].concat();
    assert!(matches!(read(&indefinite), Err(RequestError::Malformed(_))));
}

#[test]
fn version_1_may_be_spelled_out_and_others_are_refused() {
    // conformance: O16
    let ca = Ca::new("Authentication");
    let list = AnyRef::from_der(&plain(&ca).tbs_request.to_der().unwrap()).unwrap().value().to_vec();
    for (version, accepted) in [(0, true), (1, false), (2, false)] {
        let tbs = [&[0xa0, 3, 2, 1, version][..], &list].concat();
        let tbs = Any::new(Tag::Sequence, tbs).unwrap().to_der().unwrap();
        let der = Any::new(Tag::Sequence, tbs).unwrap().to_der().unwrap();
        let read = read(&der);
        assert_eq!(read.is_ok(), accepted, "{read:?}");
        assert!(accepted || read == Err(RequestError::Version));
    }
}

#[test]
fn a_nonce_of_1_to_128_octets_is_read_as_it_came() {
    // conformance: O17, O18
    let ca = Ca::new("Authentication");
    for length in [1, 16, 32, 127, 128] {
        let value = OctetString::new(vec![7; length]).unwrap().to_der().unwrap();
        let der = with_extension(&ca, extension(NONCE, false, &value));
        assert_eq!(read(&der).unwrap().nonce().unwrap().extension_value(), value);
        assert_eq!(build_request(&[&cert_id(&ca, 2)], Some(&vec![7; length])).unwrap(), der);
    }
    for length in [0, 129, 1000] {
        let value = OctetString::new(vec![7; length]).unwrap().to_der().unwrap();
        let der = with_extension(&ca, extension(NONCE, false, &value));
        assert_eq!(read(&der), Err(RequestError::Nonce { octets: length }));
        let built = build_request(&[&cert_id(&ca, 2)], Some(&vec![7; length]));
        assert_eq!(built, Err(RequestError::Nonce { octets: length }));
    }
}

#[test]
fn a_bare_nonce_is_taken_and_one_for_a_single_certificate_is_ignored() {
    // conformance: O19
    let ca = Ca::new("Authentication");
    let der = with_extension(&ca, extension(NONCE, false, &[0xde, 0xad, 0xbe, 0xef]));
    assert_eq!(read(&der).unwrap().nonce().unwrap().extension_value(), [0xde, 0xad, 0xbe, 0xef]);
    let der = with_extension(&ca, extension(NONCE, false, &[]));
    assert_eq!(read(&der), Err(RequestError::Nonce { octets: 0 }));

    let mut single = plain(&ca);
    single.tbs_request.request_list[0].single_request_extensions = Some(vec![extension(NONCE, false, &[4, 1, 7])]);
    let der = single.to_der().unwrap();
    assert_eq!(read(&der).unwrap().nonce(), None);
}

#[test]
fn unknown_extensions_are_ignored_unless_critical() {
    // conformance: O20
    let ca = Ca::new("Authentication");
    let oid: ObjectIdentifier = "1.2.3.4".parse().unwrap();
    assert!(read(&with_extension(&ca, extension("1.2.3.4", false, &[5, 0]))).is_ok());
    let der = with_extension(&ca, extension("1.2.3.4", true, &[5, 0]));
    assert_eq!(read(&der), Err(RequestError::CriticalExtension(oid)));
    for critical in [false, true] {
        let mut single = plain(&ca);
        let extensions = vec![extension("1.2.3.4", critical, &[5, 0])];
        single.tbs_request.request_list[0].single_request_extensions = Some(extensions);
        assert_eq!(read(&single.to_der().unwrap()).is_err(), critical);
    }
    let mut twice = plain(&ca);
    twice.tbs_request.request_extensions = Some(vec![extension("1.2.3.4", false, &[5, 0]); 2]);
    assert_eq!(read(&twice.to_der().unwrap()), Err(RequestError::DuplicateExtension(oid)));
}

#[test]
fn signatures_and_requestor_names_are_ignored() {
    // conformance: O21
    let ca = Ca::new("Authentication");
    let mut signed = plain(&ca);
    let uri = Ia5String::new("http://relying.example.test").unwrap();
    signed.tbs_request.requestor_name = Some(GeneralName::UniformResourceIdentifier(uri));
    signed.optional_signature = Some(x509_ocsp::Signature {
        signature_algorithm: spki::AlgorithmIdentifierOwned { oid: "1.2.3.4".parse().unwrap(), parameters: None },
        signature: BitString::from_bytes(&[1, 2, 3]).unwrap(),
        certs: Some(vec![x509_cert::Certificate::from_der(&ca.description.certificate_der).unwrap()]),
    });
    let der = signed.to_der().unwrap();
    assert_eq!(read(&der).unwrap().cert_ids().len(), 1);
}

#[test]
fn preferred_algorithms_are_read_without_the_weak_ones() {
    // conformance: O22
    let ca = Ca::new("Authentication");
    let preferred = |oid: &str, null: bool| x509_ocsp::ext::PreferredSignatureAlgorithm {
        sig_identifier: spki::AlgorithmIdentifierOwned {
            oid: oid.parse().unwrap(),
            parameters: null.then(|| Null.into()),
        },
        cert_identifier: None,
    };
    let list = vec![
        preferred("1.2.840.113549.1.1.5", true),
        preferred("1.2.840.10045.4.3.3", false),
        preferred("1.2.840.113549.1.1.11", true),
    ];
    let der = with_extension(&ca, extension("1.3.6.1.5.5.7.48.1.8", false, &list.to_der().unwrap()));
    let expected = [SignatureAlgorithm::EcdsaP384Sha384, SignatureAlgorithm::RsaPkcs1Sha256];
    assert_eq!(read(&der).unwrap().preferred_algorithms(), expected);
}

#[test]
fn a_request_that_accepts_no_basic_answer_is_refused() {
    let ca = Ca::new("Authentication");
    let accept = |oid: &str| {
        let types: Vec<ObjectIdentifier> = vec![oid.parse().unwrap()];
        with_extension(&ca, extension("1.3.6.1.5.5.7.48.1.4", true, &types.to_der().unwrap()))
    };
    assert!(read(&accept("1.3.6.1.5.5.7.48.1.1")).is_ok());
    assert_eq!(read(&accept("1.2.3.4")), Err(RequestError::ResponseType));
}

#[test]
fn odd_serial_numbers_are_no_certificates() {
    let ca = Ca::new("Authentication");
    let good = cert_id(&ca, 2);
    let head = &good[2..good.len() - 4];
    for (content, accepted) in [(&[0][..], true), (&[0x80], true), (&[1; 21], true), (&[0, 1], false), (&[], false)] {
        let id = [head, &[2, content.len() as u8], content].concat();
        let id = Any::new(Tag::Sequence, id).unwrap().to_der().unwrap();
        match pki::ocsp::CertId::from_der(&id) {
            Ok(read) => assert!(accepted && read.serial().is_none(), "{content:?}"),
            Err(_) => assert!(!accepted, "{content:?}"),
        }
    }
}

#[test]
fn openssl_and_we_read_each_others_requests() {
    // conformance: O1, O7, O17
    let ca = Ca::new("Authentication");
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("ca.der"), &ca.description.certificate_der).unwrap();
    openssl(&["x509", "-inform", "DER", "-in", "ca.der", "-out", "ca.pem"], directory.path());
    for hash in ["-sha1", "-sha256", "-sha384", "-sha512"] {
        let arguments = ["ocsp", "-issuer", "ca.pem", hash, "-serial", "0x4102", "-nonce", "-reqout", "request.der"];
        let output = openssl(&arguments, directory.path());
        assert!(output.status.success(), "{}", text_of(&output));
        let der = std::fs::read(directory.path().join("request.der")).unwrap();
        let request = read(&der).unwrap();
        assert_eq!(request.cert_ids()[0].serial(), Some(serial(2)));
        assert!(request.nonce().is_some());
        let hashes = IssuerHashes::new(&ca.description.subject_der, &ca.description.public_key);
        assert_eq!(hashes.matches(&request.cert_ids()[0]), IssuerMatch::Issuer, "{hash}");
    }
    let ours = build_request(&[&cert_id(&ca, 2), &cert_id(&ca, 3)], Some(&[0xab; 32])).unwrap();
    std::fs::write(directory.path().join("ours.der"), ours).unwrap();
    let text = text_of(&openssl(&["ocsp", "-reqin", "ours.der", "-req_text", "-noverify"], directory.path()));
    assert!(text.contains("4102") && text.contains("4103") && text.contains("OCSP Nonce"), "{text}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn mutated_requests_make_nothing_panic(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        cut in any::<prop::sample::Index>(),
    ) {
        // conformance: O16
        thread_local!(static REQUEST: Vec<u8> = {
            let ca = Ca::new("Authentication");
            let mut request = plain(&ca);
            request.tbs_request.request_list.push(request.tbs_request.request_list[0].clone());
            request.tbs_request.request_extensions = Some(vec![extension(NONCE, false, &[4, 2, 1, 2])]);
            request.to_der().unwrap()
        });
        let mut der = REQUEST.with(Vec::clone);
        for (index, value) in changes {
            let place = index.index(der.len());
            der[place] = value;
        }
        let _ = read(&der);
        let _ = read(&der[..cut.index(der.len())]);
    }

    #[test]
    fn rubbish_makes_nothing_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        // conformance: O16
        let _ = read(&bytes);
    }
}
