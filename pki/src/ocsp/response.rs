//! Building of OCSP answers (RFC 6960 4.2.1).
//!
//! ```text
//! ResponseData ::= SEQUENCE {
//!    version              [0] EXPLICIT Version DEFAULT v1,
//!    responderID              ResponderID,
//!    producedAt               GeneralizedTime,
//!    responses                SEQUENCE OF SingleResponse,
//!    responseExtensions   [1] EXPLICIT Extensions OPTIONAL }
//! SingleResponse ::= SEQUENCE {
//!    certID                   CertID,
//!    certStatus               CertStatus,
//!    thisUpdate               GeneralizedTime,
//!    nextUpdate           [0] EXPLICIT GeneralizedTime OPTIONAL,
//!    singleExtensions     [1] EXPLICIT Extensions OPTIONAL }
//! ```
//!
//! The `CertID` is repeated as a slice of the request and never encoded again. `nextUpdate` is always there
//! (conformance: O23), times are whole seconds.

use der::asn1::AnyRef;
use der::{Decode, Encode, Tag};

use super::encoding::{self, DataContent, Front};
use super::request::Nonce;
use crate::crl::wire::timestamp;
use crate::{CrlReason, SignatureAlgorithm, Timestamp};

/// `OCSPResponseStatus`, without `successful` (RFC 6960 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ErrorStatus {
    /// The request is not one.
    MalformedRequest = 1,
    /// The responder is in a state that it should not be in.
    InternalError = 2,
    /// There is no answer at this time.
    TryLater = 3,
    /// Only signed requests are answered. Never sent here.
    SigRequired = 5,
    /// This responder does not answer for that issuer (RFC 9919 3.2.3).
    Unauthorized = 6,
}

impl ErrorStatus {
    /// The whole answer: a status, and no responseBytes.
    // conformance: O27
    pub const fn response_der(self) -> [u8; 5] {
        [0x30, 0x03, 0x0a, 0x01, self as u8]
    }

    /// The one with this code.
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::MalformedRequest,
            2 => Self::InternalError,
            3 => Self::TryLater,
            5 => Self::SigRequired,
            6 => Self::Unauthorized,
            _ => return None,
        })
    }
}

/// What is said of a certificate (RFC 6960 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertStatus {
    /// Issued, and neither revoked nor on hold.
    Good,
    /// Revoked or on hold.
    Revoked {
        /// When.
        at: Timestamp,
        /// Why; [`CrlReason::Unspecified`] is left out of the answer.
        reason: CrlReason,
    },
    /// Not known here.
    Unknown,
}

impl CertStatus {
    pub(super) fn from_wire(status: &x509_ocsp::CertStatus) -> der::Result<Self> {
        Ok(match status {
            x509_ocsp::CertStatus::Good(_) => CertStatus::Good,
            x509_ocsp::CertStatus::Unknown(_) => CertStatus::Unknown,
            x509_ocsp::CertStatus::Revoked(info) => CertStatus::Revoked {
                at: timestamp(info.revocation_time.0.to_unix_duration()),
                reason: match info.revocation_reason {
                    None => CrlReason::Unspecified,
                    Some(reason) => CrlReason::from_code(reason as u8).ok_or_else(|| Tag::Enumerated.value_error())?,
                },
            },
        })
    }
}

/// Who signs (RFC 6960 4.2.1; conformance: O11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponderId<'a> {
    /// SHA-1 of the signer's key bits: [`PublicKey::key_identifier`].
    ///
    /// [`PublicKey::key_identifier`]: crate::PublicKey::key_identifier
    ByKey([u8; 20]),
    /// The subject of the signer's certificate: a DER `Name`.
    ByName(&'a [u8]),
}

/// How the signer is named in answers (RFC 6960 4.2.1; conformance: O11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ResponderIdForm {
    /// By the SHA-1 of its key.
    #[default]
    ByKey,
    /// By the subject of its certificate.
    ByName,
}

/// What is said of a serial number that was never issued: never `good` (conformance: O4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum UnknownAnswer {
    /// `unknown`.
    #[default]
    Unknown,
    /// `revoked`, certificateHold, 1970-01-01, with extended-revoke (RFC 6960 2.2, 4.4.8).
    Revoked,
}

/// One certificate's status in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SingleResponse<'a> {
    /// The DER `CertID`, as it was asked.
    pub cert_id: &'a [u8],
    /// What is said.
    pub status: CertStatus,
    /// Since when, at the latest, this is known to be right.
    pub this_update: Timestamp,
    /// Until when the answer may be used.
    pub next_update: Timestamp,
    /// Since when the statuses of expired certificates are kept (RFC 6960 4.4.4; conformance: O25).
    pub archive_cutoff: Option<Timestamp>,
}

/// All that an answer says.
#[derive(Clone, Copy, Debug)]
pub struct ResponseContent<'a> {
    /// Who signs.
    pub responder_id: ResponderId<'a>,
    /// When it is signed.
    pub produced_at: Timestamp,
    /// One for each certificate that was asked about.
    pub responses: &'a [SingleResponse<'a>],
    /// The nonce of the request.
    pub nonce: Option<Nonce<'a>>,
    /// Says that `revoked` is also said of serial numbers that were never issued (RFC 6960 4.4.8; conformance: O4).
    pub extended_revoke: bool,
}

/// What all answers by one signer have in common, encoded once.
#[derive(Clone, Debug)]
pub struct ResponseTemplate {
    algorithm: SignatureAlgorithm,
    /// The `ResponderID`.
    responder_id: Vec<u8>,
    /// The `AlgorithmIdentifier`.
    identifier: Vec<u8>,
    /// `certs`, or nothing.
    certificates: Vec<u8>,
}

/// An answer whose bytes are fixed and wait for their signature.
#[derive(Debug)]
pub struct PreparedResponse {
    /// Room for what comes before the `ResponseData`, then that.
    octets: Vec<u8>,
    tbs_at: usize,
    algorithm: SignatureAlgorithm,
}

impl ResponseTemplate {
    /// For answers that are signed with `algorithm`, and carry the certificate of the delegate that signed them, if it was
    /// one (conformance: O12).
    ///
    /// # Errors
    /// When name or certificate are no DER.
    pub fn new(
        signer: ResponderId<'_>,
        algorithm: SignatureAlgorithm,
        certificate_der: Option<&[u8]>,
    ) -> Result<Self, der::Error> {
        let responder_id = match signer {
            ResponderId::ByName(name) => {
                AnyRef::from_der(name)?;
                encoding::responder_id(1, None, name)
            }
            ResponderId::ByKey(key) => encoding::responder_id(2, Some(Tag::OctetString.octet()), &key),
        };
        let identifier = algorithm.identifier().to_der()?;
        let certificates = certificate_der.map(encoding::certificates).transpose()?.unwrap_or_default();
        Ok(ResponseTemplate { algorithm, responder_id, identifier, certificates })
    }

    /// Fixes the bytes of an answer: one response for each certificate that was asked about, the nonce of the request,
    /// and whether it says extended-revoke (see [`ResponseContent`]).
    ///
    /// # Errors
    /// When a time cannot be expressed, or a `CertID` is no DER.
    pub fn prepare(
        &self,
        produced_at: Timestamp,
        responses: &[SingleResponse<'_>],
        nonce: Option<Nonce<'_>>,
        extended_revoke: bool,
    ) -> Result<PreparedResponse, der::Error> {
        let nonce = nonce.map(|nonce| nonce.extension_value());
        let data = DataContent { produced_at, responses, nonce, extended_revoke };
        let signature = expected_signature_len(self.algorithm);
        let front = Front::before(self.basic_len(data.len(&self.responder_id), signature));
        let tbs_at = front.len();
        // A signature may be an octet longer than the ordinary one.
        let mut octets = Vec::with_capacity(front.whole_len() + 2);
        octets.resize(tbs_at, 0);
        data.write(&mut octets, &self.responder_id)?;
        Ok(PreparedResponse { octets, tbs_at, algorithm: self.algorithm })
    }

    /// The whole `OCSPResponse`. The signature is not verified here: whoever keeps the answer does that
    /// ([`verify_response`]).
    ///
    /// [`verify_response`]: super::verify_response
    pub fn assemble(&self, prepared: PreparedResponse, signature: &[u8]) -> Vec<u8> {
        let PreparedResponse { mut octets, tbs_at, .. } = prepared;
        let basic = self.basic_len(octets.len() - tbs_at, signature.len());
        octets.extend_from_slice(&self.identifier);
        encoding::bits(&mut octets, signature);
        octets.extend_from_slice(&self.certificates);
        let front = Front::before(basic);
        let mut before = Vec::with_capacity(front.len());
        front.write(&mut before);
        if before.len() == tbs_at {
            octets[..tbs_at].copy_from_slice(&before);
        } else {
            // A length that takes another number of octets than was expected.
            octets.splice(..tbs_at, before);
        }
        octets
    }

    /// How long the content of the `BasicOCSPResponse` is.
    fn basic_len(&self, tbs: usize, signature: usize) -> usize {
        tbs + self.identifier.len() + encoding::bits_len(signature) + self.certificates.len()
    }
}

/// How long signatures are, most of the time: only time is lost when one is not.
fn expected_signature_len(algorithm: SignatureAlgorithm) -> usize {
    match algorithm {
        SignatureAlgorithm::EcdsaP256Sha256 => 71,
        SignatureAlgorithm::EcdsaP384Sha384 => 103,
        SignatureAlgorithm::RsaPkcs1Sha256 => 256,
    }
}

/// Fixes the bytes of one answer, to be signed with `algorithm`. Who signs many has a [`ResponseTemplate`].
///
/// # Errors
/// When a time cannot be expressed, or a `CertID` or name is no DER.
pub fn prepare_response(
    content: &ResponseContent<'_>,
    algorithm: SignatureAlgorithm,
) -> Result<PreparedResponse, der::Error> {
    let template = ResponseTemplate::new(content.responder_id, algorithm, None)?;
    template.prepare(content.produced_at, content.responses, content.nonce, content.extended_revoke)
}

impl PreparedResponse {
    /// The `ResponseData`: what is to be signed.
    pub fn tbs_der(&self) -> &[u8] {
        &self.octets[self.tbs_at..]
    }

    /// What it is to be signed with.
    pub fn signature_algorithm(&self) -> SignatureAlgorithm {
        self.algorithm
    }

    /// The whole `OCSPResponse`, with the certificate of the delegate that signed it, if it was one (conformance: O12).
    /// The signature is not verified here: whoever keeps the answer does that ([`verify_response`]).
    ///
    /// [`verify_response`]: super::verify_response
    ///
    /// # Errors
    /// When the certificate is no DER.
    pub fn assemble(&self, signature: &[u8], certificate_der: Option<&[u8]>) -> Result<Vec<u8>, der::Error> {
        // Who signs is in the bytes already.
        let template = ResponseTemplate::new(ResponderId::ByKey([0; 20]), self.algorithm, certificate_der)?;
        let prepared = PreparedResponse { octets: self.octets.clone(), ..*self };
        Ok(template.assemble(prepared, signature))
    }
}
