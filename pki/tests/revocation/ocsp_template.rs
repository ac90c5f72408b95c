//! Answers out of a template are byte for byte what x509-ocsp writes, whatever they say and whoever signs.

use der::asn1::{BitString, GeneralizedTime, Null, ObjectIdentifier, OctetString};
use der::{Decode, Encode};
use pki::ocsp::{
    CertIdHash, CertStatus, HashAlgorithm, IssuerHashes, Nonce, ResponderId, ResponseContent, ResponseTemplate,
    SingleResponse, prepare_response,
};
use pki::{CrlReason, SerialNumber, SignatureAlgorithm, Timestamp};
use proptest::prelude::*;
use spki::AlgorithmIdentifierOwned;
use x509_cert::ext::Extension;
use x509_ocsp::{BasicOcspResponse, OcspGeneralizedTime, OcspResponse, ResponseData, RevokedInfo, Version};

use crate::ca::{Ca, DelegateFlaws, key, public_key};

/// One response of an answer, with what its `CertID` is made of.
#[derive(Clone, Debug)]
struct Single {
    hash: CertIdHash,
    serial: SerialNumber,
    status: CertStatus,
    this_update: Timestamp,
    next_update: Timestamp,
    archive_cutoff: Option<Timestamp>,
}

fn time() -> impl Strategy<Value = Timestamp> {
    // With milliseconds, which are left out.
    (0..=Timestamp::MAX.unix_millis()).prop_map(Timestamp::from_unix_millis)
}

fn single() -> impl Strategy<Value = Single> {
    let status = prop_oneof![
        Just(CertStatus::Good),
        Just(CertStatus::Unknown),
        (time(), 0_u8..=10).prop_filter_map("no reason has this code", |(at, code)| {
            Some(CertStatus::Revoked { at, reason: CrlReason::from_code(code)? })
        }),
    ];
    let hash = (0..HashAlgorithm::ALL.len(), any::<bool>())
        .prop_map(|(at, null_parameters)| CertIdHash { algorithm: HashAlgorithm::ALL[at], null_parameters });
    let serial = proptest::collection::vec(any::<u8>(), 0..19).prop_map(|mut octets| {
        octets.insert(0, 1);
        SerialNumber::from_der_content(&octets).unwrap()
    });
    (hash, serial, status, time(), time(), proptest::option::of(time())).prop_map(
        |(hash, serial, status, this_update, next_update, archive_cutoff)| Single {
            hash,
            serial,
            status,
            this_update,
            next_update,
            archive_cutoff,
        },
    )
}

fn wire_time(time: Timestamp) -> OcspGeneralizedTime {
    let since_1970 = std::time::Duration::from_secs(time.unix_seconds() as u64);
    OcspGeneralizedTime(GeneralizedTime::from_unix_duration(since_1970).unwrap())
}

fn extension(oid: &str, value: Vec<u8>) -> Extension {
    Extension {
        extn_id: ObjectIdentifier::new_unwrap(oid),
        critical: false,
        extn_value: OctetString::new(value).unwrap(),
    }
}

fn wire_single(single: &SingleResponse<'_>) -> x509_ocsp::SingleResponse {
    let cert_status = match single.status {
        CertStatus::Good => x509_ocsp::CertStatus::good(),
        CertStatus::Unknown => x509_ocsp::CertStatus::unknown(),
        CertStatus::Revoked { at, reason } => x509_ocsp::CertStatus::revoked(RevokedInfo {
            revocation_time: wire_time(at),
            revocation_reason: match reason {
                CrlReason::Unspecified => None,
                reason => Some(Decode::from_der(&[0x0a, 1, reason.code()]).unwrap()),
            },
        }),
    };
    x509_ocsp::SingleResponse {
        cert_id: x509_ocsp::CertId::from_der(single.cert_id).unwrap(),
        cert_status,
        this_update: wire_time(single.this_update),
        next_update: Some(wire_time(single.next_update)),
        single_extensions: single
            .archive_cutoff
            .map(|cutoff| vec![extension("1.3.6.1.5.5.7.48.1.6", wire_time(cutoff).to_der().unwrap())]),
    }
}

struct Signer {
    ca: Ca,
    certificate: Vec<u8>,
    name: Vec<u8>,
    key: [u8; 20],
}

impl Signer {
    fn new() -> Self {
        let (ca, delegate) = (Ca::new("Authentication"), key());
        let certificate = ca.delegate(&delegate, DelegateFlaws::default());
        let parsed = x509_cert::Certificate::from_der(&certificate).unwrap();
        let name = parsed.tbs_certificate.subject.to_der().unwrap();
        Signer { key: public_key(&delegate).key_identifier(), ca, certificate, name }
    }

    fn id(&self, by_name: bool) -> ResponderId<'_> {
        if by_name { ResponderId::ByName(&self.name) } else { ResponderId::ByKey(self.key) }
    }
}

/// What x509-ocsp makes of the same.
fn theirs(
    content: &ResponseContent<'_>,
    algorithm: SignatureAlgorithm,
    signature: &[u8],
    certificate: Option<&[u8]>,
) -> (Vec<u8>, Vec<u8>) {
    let mut extensions = Vec::new();
    extensions.extend(content.nonce.map(|nonce| extension("1.3.6.1.5.5.7.48.1.2", nonce.extension_value().to_vec())));
    if content.extended_revoke {
        extensions.push(extension("1.3.6.1.5.5.7.48.1.9", Null.to_der().unwrap()));
    }
    let data = ResponseData {
        version: Version::V1,
        responder_id: match content.responder_id {
            ResponderId::ByName(name) => x509_ocsp::ResponderId::ByName(Decode::from_der(name).unwrap()),
            ResponderId::ByKey(key) => x509_ocsp::ResponderId::ByKey(OctetString::new(key).unwrap()),
        },
        produced_at: wire_time(content.produced_at),
        responses: content.responses.iter().map(wire_single).collect(),
        response_extensions: (!extensions.is_empty()).then_some(extensions),
    };
    let tbs = data.to_der().unwrap();
    let basic = BasicOcspResponse {
        tbs_response_data: data,
        signature_algorithm: AlgorithmIdentifierOwned::from_der(&algorithm.identifier().to_der().unwrap()).unwrap(),
        signature: BitString::from_bytes(signature).unwrap(),
        certs: certificate.map(|der| vec![x509_cert::Certificate::from_der(der).unwrap()]),
    };
    (tbs, OcspResponse::successful(basic).unwrap().to_der().unwrap())
}

proptest! {
    #[test]
    fn a_template_writes_what_x509_ocsp_writes(
        singles in proptest::collection::vec(single(), 1..5),
        produced_at in time(),
        nonce in proptest::option::of((proptest::collection::vec(any::<u8>(), 1..=128), any::<bool>())),
        extended_revoke: bool,
        by_name: bool,
        algorithm in 0_usize..3,
        // Also those at which a length takes one octet more or less.
        signature in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..600),
            proptest::collection::vec(any::<u8>(), 68..=72),
            proptest::collection::vec(any::<u8>(), 65_000..66_000),
        ],
        with_certificate: bool,
    ) {
        // conformance: O1, O2, O11, O12, O17, O25
        let algorithm = [
            SignatureAlgorithm::EcdsaP256Sha256,
            SignatureAlgorithm::EcdsaP384Sha384,
            SignatureAlgorithm::RsaPkcs1Sha256,
        ][algorithm];
        let signer = Signer::new();
        let hashes = IssuerHashes::new(&signer.ca.description.subject_der, &signer.ca.description.public_key);
        let ids: Vec<_> = singles.iter().map(|one| hashes.cert_id_spelled(one.hash, one.serial)).collect();
        let responses: Vec<_> = singles
            .iter()
            .zip(&ids)
            .map(|(one, cert_id)| SingleResponse {
                cert_id,
                status: one.status,
                this_update: one.this_update,
                next_update: one.next_update,
                archive_cutoff: one.archive_cutoff,
            })
            .collect();
        let nonce = nonce.map(|(octets, wrapped)| {
            if wrapped { OctetString::new(octets).unwrap().to_der().unwrap() } else { octets }
        });
        let nonce = nonce.as_deref().and_then(|value| Nonce::from_extension_value(value).ok());
        let content =
            ResponseContent { responder_id: signer.id(by_name), produced_at, responses: &responses, nonce, extended_revoke };
        let certificate = with_certificate.then_some(&signer.certificate[..]);

        let (tbs, whole) = theirs(&content, algorithm, &signature, certificate);
        let template = ResponseTemplate::new(content.responder_id, algorithm, certificate).unwrap();
        let prepared = template.prepare(produced_at, &responses, nonce, extended_revoke).unwrap();
        prop_assert_eq!(prepared.tbs_der(), &tbs[..]);
        prop_assert_eq!(template.assemble(prepared, &signature), &whole[..]);

        let prepared = prepare_response(&content, algorithm).unwrap();
        prop_assert_eq!(prepared.tbs_der(), &tbs[..]);
        prop_assert_eq!(prepared.assemble(&signature, certificate).unwrap(), &whole[..]);
    }
}

#[test]
fn what_is_no_der_or_no_time_is_refused() {
    let signer = Signer::new();
    let rubbish = &[0x30, 5, 1][..];
    for (id, certificate) in [(ResponderId::ByName(rubbish), None), (signer.id(false), Some(rubbish))] {
        assert!(ResponseTemplate::new(id, SignatureAlgorithm::EcdsaP256Sha256, certificate).is_err());
    }
    let template = ResponseTemplate::new(signer.id(false), SignatureAlgorithm::EcdsaP256Sha256, None).unwrap();
    let now = Timestamp::from_unix_seconds(1_795_361_400);
    let response = |cert_id, next_update| SingleResponse {
        cert_id,
        status: CertStatus::Good,
        this_update: now,
        next_update,
        archive_cutoff: None,
    };
    let id = [0x30, 0];
    assert!(template.prepare(now, &[response(&id, now)], None, false).is_ok());
    for refused in [response(rubbish, now), response(&id, Timestamp::from_unix_seconds(-1))] {
        assert!(template.prepare(now, &[refused], None, false).is_err());
    }
}
