//! What a relying system does with an OCSP answer (RFC 6960 3.2, RFC 9919 4).

use std::time::Duration;

use const_oid::ObjectIdentifier;
use const_oid::db::rfc6960::{ID_PKIX_OCSP_BASIC, ID_PKIX_OCSP_NONCE};
use der::asn1::{AnyRef, ContextSpecific, OctetStringRef};
use der::{Decode, Encode, Reader, SliceReader, Tag, TagNumber, Tagged};
use x509_ocsp::{OcspGeneralizedTime, ResponseData};

use super::delegate::{DelegateCertificate, DelegateError};
use super::response::{CertStatus, ErrorStatus};
use crate::crl::wire::{bits_of, each, exactly, known_algorithm, timestamp};
use crate::{PublicKey, Timestamp};

/// The longest answer that is looked at.
pub const MAX_RESPONSE_BYTES: usize = 64 * 1024;

/// The most certificates in an answer that are looked at.
const MAX_CERTIFICATES: usize = 4;

/// What an answer is compared with.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The DER `CertID` that was asked about.
    pub cert_id: &'a [u8],
    /// The DER of the subject of the CA that issued the certificate.
    pub issuer_subject_der: &'a [u8],
    /// That CA's key.
    pub issuer_key: &'a PublicKey,
    /// The nonce that was sent. If there was one, the answer must carry it.
    pub nonce: Option<&'a [u8]>,
    /// The time.
    pub now: Timestamp,
    /// How much the responder's clock may be ahead of ours.
    pub max_clock_skew: Duration,
}

/// An answer that was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedStatus {
    /// What it says.
    pub status: CertStatus,
    /// Since when, at the latest, it is right.
    pub this_update: Timestamp,
    /// Until when it may be used.
    pub next_update: Timestamp,
    /// When it was signed.
    pub produced_at: Timestamp,
    /// The delegate that signed it; `None` if the CA did, or if the signer was known ([`verify_response_by`]).
    pub delegate: Option<DelegateCertificate>,
}

/// Why an answer is not to be relied upon.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// The responder has no answer.
    #[error("the responder answers {0:?} (RFC 6960 2.3)")]
    Status(ErrorStatus),
    /// No DER, no basic answer, or something follows it.
    #[error("not an OCSPResponse of the basic type (RFC 6960 4.2.1): {0}")]
    Malformed(String),
    /// Nothing in it is about the certificate.
    #[error("the answer is not about the certificate that was asked about")]
    OtherCertificate,
    /// Neither the CA's signature nor that of a delegate of its own.
    #[error("the answer's signer is neither the CA nor in the answer's certificates")]
    UnknownSigner,
    /// The signer is no proper delegate.
    #[error(transparent)]
    Delegate(#[from] DelegateError),
    /// The signature is wrong.
    #[error("the answer's signature is wrong")]
    Signature,
    /// Another nonce than the one that was sent, or none.
    #[error("the answer does not carry the request's nonce")]
    Nonce,
    /// There is no nextUpdate (RFC 9919 3.2.4 demands it).
    #[error("the answer has no nextUpdate")]
    NextUpdateMissing,
    /// Not (yet, or any longer) to be used.
    #[error("the answer may be used from {this_update} to {next_update}, and it is {now}")]
    Times {
        /// thisUpdate.
        this_update: Timestamp,
        /// nextUpdate.
        next_update: Timestamp,
        /// The time.
        now: Timestamp,
    },
    /// An extension that must be understood and is not.
    #[error("the answer has the critical extension {0}, which is not known here")]
    CriticalExtension(ObjectIdentifier),
}

impl From<der::Error> for ResponseError {
    fn from(error: der::Error) -> Self {
        ResponseError::Malformed(error.to_string())
    }
}

/// Verifies an answer: signer, signature, certificate, nonce, times.
///
/// # Errors
/// When it must not be relied upon; [`ResponseError::Status`] when it is an error answer.
pub fn verify_response(der: &[u8], expected: &Expected<'_>) -> Result<VerifiedStatus, ResponseError> {
    verify(der, expected, None)
}

/// Verifies an answer in the same way, but for its signer: the key must be this one, whose right to sign is known already.
///
/// # Errors
/// As [`verify_response`].
pub fn verify_response_by(
    der: &[u8],
    expected: &Expected<'_>,
    signer: &PublicKey,
) -> Result<VerifiedStatus, ResponseError> {
    verify(der, expected, Some(signer))
}

fn verify(der: &[u8], expected: &Expected<'_>, signer: Option<&PublicKey>) -> Result<VerifiedStatus, ResponseError> {
    if der.len() > MAX_RESPONSE_BYTES {
        return Err(ResponseError::Malformed(format!("{} octets", der.len())));
    }
    let basic = BasicResponse::from_der(open_response(der)?)?;
    let data = ResponseData::from_der(basic.tbs_der)?;
    let delegate = match signer {
        None => check_signer(&basic, &data, expected)?,
        Some(key) => {
            let algorithm = known_algorithm(&basic.algorithm).ok_or(ResponseError::Signature)?;
            key.verify(algorithm, basic.tbs_der, basic.signature).map_err(|_| ResponseError::Signature)?;
            None
        }
    };
    check_extensions(&data, expected.nonce)?;

    let mut found = None;
    for response in &data.responses {
        if response.cert_id.to_der()? == expected.cert_id {
            found = Some(response);
            break;
        }
    }
    let response = found.ok_or(ResponseError::OtherCertificate)?;
    if let Some(critical) = response.single_extensions.iter().flatten().find(|extension| extension.critical) {
        return Err(ResponseError::CriticalExtension(critical.extn_id));
    }
    let time = |time: OcspGeneralizedTime| timestamp(time.0.to_unix_duration());
    let (produced_at, this_update) = (time(data.produced_at), time(response.this_update));
    let next_update = time(response.next_update.ok_or(ResponseError::NextUpdateMissing)?);
    let now = expected.now;
    let latest = now.plus(expected.max_clock_skew);
    if this_update > produced_at || produced_at > latest || next_update <= now || next_update <= this_update {
        return Err(ResponseError::Times { this_update, next_update, now });
    }
    let status = CertStatus::from_wire(&response.cert_status)?;
    Ok(VerifiedStatus { status, this_update, next_update, produced_at, delegate })
}

/// `OCSPResponse ::= SEQUENCE { responseStatus ENUMERATED, responseBytes [0] EXPLICIT ResponseBytes OPTIONAL }`
fn open_response(der: &[u8]) -> Result<&[u8], ResponseError> {
    let outer: AnyRef<'_> = exactly(der)?;
    outer.tag().assert_eq(Tag::Sequence)?;
    let mut fields = SliceReader::new(outer.value())?;
    let status: AnyRef<'_> = fields.decode()?;
    status.tag().assert_eq(Tag::Enumerated)?;
    let bytes = ContextSpecific::<AnyRef<'_>>::decode_explicit(&mut fields, TagNumber::N0)?;
    fields.finish(())?;
    match (status.value(), bytes) {
        ([0], Some(bytes)) => {
            bytes.value.tag().assert_eq(Tag::Sequence)?;
            let mut fields = SliceReader::new(bytes.value.value())?;
            let response_type: ObjectIdentifier = fields.decode()?;
            if response_type != ID_PKIX_OCSP_BASIC {
                return Err(ResponseError::Malformed(format!("an answer of type {response_type}")));
            }
            let response: OctetStringRef<'_> = fields.decode()?;
            Ok(fields.finish(response.as_bytes())?)
        }
        (&[code], None) => match ErrorStatus::from_code(code) {
            Some(status) => Err(ResponseError::Status(status)),
            None => Err(ResponseError::Malformed(format!("responseStatus {code}"))),
        },
        _ => Err(ResponseError::Malformed("responseStatus and responseBytes do not fit".into())),
    }
}

/// `BasicOCSPResponse ::= SEQUENCE { tbsResponseData, signatureAlgorithm, signature BIT STRING, certs [0] EXPLICIT
/// SEQUENCE OF Certificate OPTIONAL }`
struct BasicResponse<'a> {
    tbs_der: &'a [u8],
    algorithm: spki::AlgorithmIdentifierRef<'a>,
    signature: &'a [u8],
    certificates: Vec<Vec<u8>>,
}

impl<'a> BasicResponse<'a> {
    fn from_der(der: &'a [u8]) -> Result<Self, ResponseError> {
        let outer: AnyRef<'a> = exactly(der)?;
        outer.tag().assert_eq(Tag::Sequence)?;
        let mut fields = SliceReader::new(outer.value())?;
        let tbs_der = fields.tlv_bytes()?;
        let algorithm = fields.decode()?;
        let signature = bits_of(fields.decode()?)?;
        let mut certificates = Vec::new();
        if let Some(list) = ContextSpecific::<AnyRef<'a>>::decode_explicit(&mut fields, TagNumber::N0)? {
            each(list.value, |certificate| {
                if certificates.len() < MAX_CERTIFICATES {
                    certificates.push(certificate.to_der()?);
                }
                Ok(())
            })?;
        }
        fields.finish(())?;
        Ok(BasicResponse { tbs_der, algorithm, signature, certificates })
    }
}

/// The signer is the CA itself or a delegate of its own (RFC 6960 4.2.2.2), and the responder id is the signer's.
fn check_signer(
    basic: &BasicResponse<'_>,
    data: &ResponseData,
    expected: &Expected<'_>,
) -> Result<Option<DelegateCertificate>, ResponseError> {
    let algorithm = known_algorithm(&basic.algorithm).ok_or(ResponseError::Signature)?;
    let name = match &data.responder_id {
        x509_ocsp::ResponderId::ByName(name) => Some(name.to_der()?),
        x509_ocsp::ResponderId::ByKey(_) => None,
    };
    let is_named = |subject_der: &[u8], key: &PublicKey| match &data.responder_id {
        x509_ocsp::ResponderId::ByKey(hash) => hash.as_bytes() == key.key_identifier(),
        x509_ocsp::ResponderId::ByName(_) => name.as_deref() == Some(subject_der),
    };
    if is_named(expected.issuer_subject_der, expected.issuer_key) {
        let verified = expected.issuer_key.verify(algorithm, basic.tbs_der, basic.signature);
        return verified.map(|()| None).map_err(|_| ResponseError::Signature);
    }
    let mut refusal = ResponseError::UnknownSigner;
    for certificate in &basic.certificates {
        let delegate =
            match DelegateCertificate::from_der(certificate, expected.issuer_subject_der, expected.issuer_key) {
                Ok(delegate) if is_named(delegate.subject_der(), delegate.public_key()) => delegate,
                Ok(_) => continue,
                Err(error) => {
                    refusal = error.into();
                    continue;
                }
            };
        delegate.check_validity(expected.now)?;
        let verified = delegate.public_key().verify(algorithm, basic.tbs_der, basic.signature);
        return verified.map(|()| Some(delegate)).map_err(|_| ResponseError::Signature);
    }
    Err(refusal)
}

fn check_extensions(data: &ResponseData, nonce: Option<&[u8]>) -> Result<(), ResponseError> {
    let mut echoed = None;
    for extension in data.response_extensions.iter().flatten() {
        match extension.extn_id {
            ID_PKIX_OCSP_NONCE => echoed = Some(extension.extn_value.as_bytes()),
            oid if extension.critical => return Err(ResponseError::CriticalExtension(oid)),
            _ => {}
        }
    }
    match nonce {
        None => Ok(()),
        Some(sent) if echoed == Some(OctetStringRef::new(sent)?.to_der()?.as_slice()) => Ok(()),
        Some(_) => Err(ResponseError::Nonce),
    }
}
