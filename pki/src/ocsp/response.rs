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

use const_oid::db::rfc6960::{
    ID_PKIX_OCSP_ARCHIVE_CUTOFF, ID_PKIX_OCSP_BASIC, ID_PKIX_OCSP_EXTENDED_REVOKE, ID_PKIX_OCSP_NONCE,
};
use der::asn1::{AnyRef, ContextSpecific, GeneralizedTime, OctetStringRef};
use der::{Decode, Encode, Sequence, Tag, TagMode, TagNumber};
use x509_ocsp::{OcspGeneralizedTime, RevokedInfo};

use super::request::Nonce;
use crate::crl::wire::{ExtensionRef, envelope, generalized_time, timestamp};
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
    fn to_wire(self) -> der::Result<x509_ocsp::CertStatus> {
        Ok(match self {
            CertStatus::Good => x509_ocsp::CertStatus::good(),
            CertStatus::Unknown => x509_ocsp::CertStatus::unknown(),
            CertStatus::Revoked { at, reason } => x509_ocsp::CertStatus::revoked(RevokedInfo {
                revocation_time: OcspGeneralizedTime(generalized_time(at)?),
                revocation_reason: match reason {
                    CrlReason::Unspecified => None,
                    reason => Some(Decode::from_der(&[Tag::Enumerated.octet(), 1, reason.code()])?),
                },
            }),
        })
    }

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

/// An answer whose bytes are fixed and wait for their signature.
#[derive(Debug)]
pub struct PreparedResponse {
    tbs_der: Vec<u8>,
    algorithm: SignatureAlgorithm,
}

#[derive(Sequence)]
struct ResponseDataFields<'a> {
    responder_id: AnyRef<'a>,
    produced_at: GeneralizedTime,
    responses: Vec<SingleResponseFields<'a>>,
    #[asn1(context_specific = "1", optional = "true", tag_mode = "EXPLICIT")]
    response_extensions: Option<Vec<ExtensionRef<'a>>>,
}

#[derive(Sequence)]
struct SingleResponseFields<'a> {
    cert_id: AnyRef<'a>,
    cert_status: x509_ocsp::CertStatus,
    this_update: GeneralizedTime,
    #[asn1(context_specific = "0", optional = "true", tag_mode = "EXPLICIT")]
    next_update: Option<GeneralizedTime>,
    #[asn1(context_specific = "1", optional = "true", tag_mode = "EXPLICIT")]
    single_extensions: Option<Vec<ExtensionRef<'a>>>,
}

/// DER of the NULL that says extended-revoke.
const NULL_DER: [u8; 2] = [0x05, 0x00];

/// Fixes the bytes of an answer, to be signed with `algorithm`.
///
/// # Errors
/// When a time cannot be expressed, or a `CertID` or name is no DER.
pub fn prepare_response(
    content: &ResponseContent<'_>,
    algorithm: SignatureAlgorithm,
) -> Result<PreparedResponse, der::Error> {
    let (number, id) = match content.responder_id {
        ResponderId::ByName(name) => (TagNumber::N1, name.to_vec()),
        ResponderId::ByKey(key) => (TagNumber::N2, OctetStringRef::new(&key)?.to_der()?),
    };
    let tag = Tag::ContextSpecific { constructed: true, number };

    let archive_cutoffs = content
        .responses
        .iter()
        .map(|response| response.archive_cutoff.map(|cutoff| generalized_time(cutoff)?.to_der()).transpose());
    let archive_cutoffs = archive_cutoffs.collect::<Result<Vec<_>, der::Error>>()?;
    let mut responses = Vec::with_capacity(content.responses.len());
    for (response, archive_cutoff) in content.responses.iter().zip(&archive_cutoffs) {
        responses.push(SingleResponseFields {
            cert_id: AnyRef::from_der(response.cert_id)?,
            cert_status: response.status.to_wire()?,
            this_update: generalized_time(response.this_update)?,
            next_update: Some(generalized_time(response.next_update)?),
            single_extensions: archive_cutoff.as_ref().map(|cutoff| {
                vec![ExtensionRef { extn_id: ID_PKIX_OCSP_ARCHIVE_CUTOFF, critical: false, extn_value: cutoff }]
            }),
        });
    }
    let nonce = content.nonce.map(|nonce| ExtensionRef {
        extn_id: ID_PKIX_OCSP_NONCE,
        critical: false,
        extn_value: nonce.extension_value(),
    });
    let extended_revoke = content.extended_revoke.then_some(ExtensionRef {
        extn_id: ID_PKIX_OCSP_EXTENDED_REVOKE,
        critical: false,
        extn_value: &NULL_DER,
    });
    let extensions: Vec<_> = nonce.into_iter().chain(extended_revoke).collect();
    let fields = ResponseDataFields {
        responder_id: AnyRef::new(tag, &id)?,
        produced_at: generalized_time(content.produced_at)?,
        responses,
        response_extensions: (!extensions.is_empty()).then_some(extensions),
    };
    Ok(PreparedResponse { tbs_der: fields.to_der()?, algorithm })
}

impl PreparedResponse {
    /// The `ResponseData`: what is to be signed.
    pub fn tbs_der(&self) -> &[u8] {
        &self.tbs_der
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
        let certificates = match certificate_der {
            None => Vec::new(),
            Some(certificate) => {
                AnyRef::from_der(certificate)?;
                ContextSpecific {
                    tag_number: TagNumber::N0,
                    tag_mode: TagMode::Explicit,
                    value: AnyRef::new(Tag::Sequence, certificate)?,
                }
                .to_der()?
            }
        };
        let basic = envelope(&self.tbs_der, self.algorithm, signature, &certificates)?;
        let mut response_bytes = ID_PKIX_OCSP_BASIC.to_der()?;
        OctetStringRef::new(&basic)?.encode_to_vec(&mut response_bytes)?;
        let mut response = vec![Tag::Enumerated.octet(), 1, 0];
        ContextSpecific {
            tag_number: TagNumber::N0,
            tag_mode: TagMode::Explicit,
            value: AnyRef::new(Tag::Sequence, &response_bytes)?,
        }
        .encode_to_vec(&mut response)?;
        AnyRef::new(Tag::Sequence, &response)?.to_der()
    }
}
