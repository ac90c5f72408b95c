//! Reading and writing of OCSP requests (RFC 6960 4.1, RFC 9654).
//!
//! ```text
//! OCSPRequest ::= SEQUENCE {
//!    tbsRequest              TBSRequest,
//!    optionalSignature   [0] EXPLICIT Signature OPTIONAL }
//! TBSRequest ::= SEQUENCE {
//!    version             [0] EXPLICIT Version DEFAULT v1,
//!    requestorName       [1] EXPLICIT GeneralName OPTIONAL,
//!    requestList             SEQUENCE OF Request,
//!    requestExtensions   [2] EXPLICIT Extensions OPTIONAL }
//! Request ::= SEQUENCE {
//!    reqCert                     CertID,
//!    singleRequestExtensions [0] EXPLICIT Extensions OPTIONAL }
//! ```
//!
//! Choices made where the standards leave one:
//!
//! * a signature and a requestor's name are read for their form and otherwise ignored (RFC 9919 3.1.2; conformance: O21);
//! * a version v1 that is spelled out, though it is the default, is let pass: old clients write it;
//! * a nonce that is not wrapped in an inner OCTET STRING is taken as it is, and echoed as it came; one in
//!   singleRequestExtensions is ignored (conformance: O19);
//! * any unknown critical extension makes the request malformed (conformance: O20).

use const_oid::ObjectIdentifier;
use const_oid::db::rfc6960::{
    ID_PKIX_OCSP_BASIC, ID_PKIX_OCSP_NONCE, ID_PKIX_OCSP_PREF_SIG_ALGS, ID_PKIX_OCSP_RESPONSE,
    ID_PKIX_OCSP_SERVICE_LOCATOR,
};
use der::asn1::{AnyRef, BitStringRef, ContextSpecific, OctetStringRef};
use der::{Decode, Encode, Reader, SliceReader, Tag, TagNumber, Tagged};
use spki::AlgorithmIdentifierRef;

use super::cert_id::CertId;
use super::plain;
use crate::SignatureAlgorithm;
use crate::crl::wire::{ExtensionRef, each, exactly, known_algorithm};

/// How many extensions a request or one of its entries may carry.
const MAX_EXTENSIONS: usize = 16;

/// How many preferred signature algorithms are looked at.
const MAX_PREFERRED_ALGORITHMS: usize = 16;

/// The longest nonce (RFC 9654 2.1).
pub const MAX_NONCE_OCTETS: usize = 128;

/// What a request may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OcspLimits {
    /// The longest request, in octets of DER.
    pub max_request_bytes: usize,
    /// The largest number of certificates asked about at once (conformance: O14).
    pub max_requests: usize,
}

impl Default for OcspLimits {
    /// 16 KiB, 100 certificates.
    fn default() -> Self {
        OcspLimits { max_request_bytes: 16 * 1024, max_requests: 100 }
    }
}

/// Why a request is not answered: all of it is `malformedRequest` to the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Longer than [`OcspLimits::max_request_bytes`].
    #[error("the request has {length} octets, more than {limit}")]
    TooLong {
        /// Its length.
        length: usize,
        /// The limit.
        limit: usize,
    },
    /// Not DER, not an `OCSPRequest`, or something follows it (conformance: O16).
    #[error("not a DER OCSPRequest (RFC 6960 4.1.1): {0}")]
    Malformed(der::Error),
    /// Another version than v1.
    #[error("a version other than v1")]
    Version,
    /// It asks about nothing.
    #[error("the list of requests is empty")]
    Empty,
    /// It asks about more certificates than [`OcspLimits::max_requests`].
    #[error("it asks about more than {limit} certificates")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// A nonce of 0 or of over 128 octets (conformance: O18).
    #[error("a nonce of {octets} octets: RFC 9654 2.1 has 1 to 128")]
    Nonce {
        /// Its length.
        octets: usize,
    },
    /// An extension that is there twice, or too many of them.
    #[error("extension {0} is there more than once")]
    DuplicateExtension(ObjectIdentifier),
    /// More extensions than anybody needs.
    #[error("more than {MAX_EXTENSIONS} extensions")]
    TooManyExtensions,
    /// A critical extension that is not known here (conformance: O20).
    #[error("critical extension {0} is not known here")]
    CriticalExtension(ObjectIdentifier),
    /// It accepts no answer of the basic type.
    #[error("it does not accept id-pkix-ocsp-basic (RFC 6960 4.4.3)")]
    ResponseType,
}

impl From<der::Error> for RequestError {
    fn from(error: der::Error) -> Self {
        RequestError::Malformed(error)
    }
}

/// A request, borrowed from its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OcspRequest<'a> {
    cert_ids: Vec<CertId<'a>>,
    nonce: Option<Nonce<'a>>,
    preferred_algorithms: Vec<SignatureAlgorithm>,
}

/// A nonce, which the answer repeats as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nonce<'a> {
    extension_value: &'a [u8],
}

impl<'a> Nonce<'a> {
    /// From the content of the extension's `extnValue`: an inner OCTET STRING (RFC 9654 2.1), or, from old clients, the
    /// bare nonce.
    ///
    /// # Errors
    /// When it has 0 or more than 128 octets.
    // conformance: O17, O18, O19
    pub fn from_extension_value(extension_value: &'a [u8]) -> Result<Self, RequestError> {
        let octets = match OctetStringRef::from_der(extension_value) {
            Ok(inner) => inner.as_bytes().len(),
            Err(_) => extension_value.len(),
        };
        match octets {
            1..=MAX_NONCE_OCTETS => Ok(Nonce { extension_value }),
            octets => Err(RequestError::Nonce { octets }),
        }
    }

    /// The content of `extnValue`, byte for byte.
    pub fn extension_value(&self) -> &'a [u8] {
        self.extension_value
    }
}

impl<'a> OcspRequest<'a> {
    /// Reads a request. Work and memory are linear in its length, which is limited.
    ///
    /// # Errors
    /// A [`RequestError`]: the answer is then `malformedRequest`.
    pub fn from_der(bytes: &'a [u8], limits: &OcspLimits) -> Result<Self, RequestError> {
        if bytes.len() > limits.max_request_bytes {
            return Err(RequestError::TooLong { length: bytes.len(), limit: limits.max_request_bytes });
        }
        // Nearly all have one shape, which is read at one go.
        match plain::read(bytes) {
            Some(request) if limits.max_requests > 0 => Ok(request),
            _ => Self::general(bytes, limits),
        }
    }

    /// One certificate, and at most a nonce.
    pub(super) fn plain(cert_id: CertId<'a>, nonce: Option<Nonce<'a>>) -> Self {
        OcspRequest { cert_ids: vec![cert_id], nonce, preferred_algorithms: Vec::new() }
    }

    /// Reads a request of any shape.
    pub(super) fn general(bytes: &'a [u8], limits: &OcspLimits) -> Result<Self, RequestError> {
        let mut outer = SliceReader::new(sequence(bytes)?)?;
        let tbs = outer.tlv_bytes()?;
        if let Some(signature) = explicit(&mut outer, TagNumber::N0)? {
            check_signature_form(signature)?;
        }
        outer.finish(())?;

        let mut fields = SliceReader::new(sequence(tbs)?)?;
        if let Some(version) = explicit(&mut fields, TagNumber::N0)? {
            version.tag().assert_eq(Tag::Integer)?;
            if version.value() != [0] {
                return Err(RequestError::Version);
            }
        }
        let _requestor_name = explicit(&mut fields, TagNumber::N1)?;
        let cert_ids = read_requests(fields.decode()?, limits)?;
        let mut request = OcspRequest { cert_ids, nonce: None, preferred_algorithms: Vec::new() };
        if let Some(extensions) = explicit(&mut fields, TagNumber::N2)? {
            for extension in read_extensions(extensions)? {
                request.take_extension(&extension)?;
            }
        }
        fields.finish(())?;
        Ok(request)
    }

    fn take_extension(&mut self, extension: &ExtensionRef<'a>) -> Result<(), RequestError> {
        match extension.extn_id {
            ID_PKIX_OCSP_NONCE => self.nonce = Some(Nonce::from_extension_value(extension.extn_value)?),
            ID_PKIX_OCSP_PREF_SIG_ALGS => self.preferred_algorithms = read_preferred(extension.extn_value)?,
            ID_PKIX_OCSP_RESPONSE => {
                let mut basic = false;
                each(exactly(extension.extn_value)?, |oid| {
                    basic |= oid.decode_as::<ObjectIdentifier>()? == ID_PKIX_OCSP_BASIC;
                    Ok(())
                })?;
                if !basic {
                    return Err(RequestError::ResponseType);
                }
            }
            oid if extension.critical => return Err(RequestError::CriticalExtension(oid)),
            _ => {}
        }
        Ok(())
    }

    /// The certificates that are asked about, in their order: one at least.
    pub fn cert_ids(&self) -> &[CertId<'a>] {
        &self.cert_ids
    }

    /// The nonce, to be echoed.
    pub fn nonce(&self) -> Option<Nonce<'a>> {
        self.nonce
    }

    /// The signature algorithms that the client would rather see, best first, as far as they are used here: there is
    /// no weak one among them (RFC 6960 4.4.7; conformance: O22).
    pub fn preferred_algorithms(&self) -> &[SignatureAlgorithm] {
        &self.preferred_algorithms
    }
}

fn sequence(bytes: &[u8]) -> der::Result<&[u8]> {
    let any: AnyRef<'_> = exactly(bytes)?;
    any.tag().assert_eq(Tag::Sequence)?;
    Ok(any.value())
}

fn explicit<'a>(reader: &mut SliceReader<'a>, number: TagNumber) -> der::Result<Option<AnyRef<'a>>> {
    Ok(ContextSpecific::<AnyRef<'a>>::decode_explicit(reader, number)?.map(|field| field.value))
}

/// `Signature ::= SEQUENCE { signatureAlgorithm, signature BIT STRING, certs [0] EXPLICIT SEQUENCE OF Certificate OPTIONAL }`
fn check_signature_form(signature: AnyRef<'_>) -> der::Result<()> {
    signature.tag().assert_eq(Tag::Sequence)?;
    let mut fields = SliceReader::new(signature.value())?;
    let _: AlgorithmIdentifierRef<'_> = fields.decode()?;
    let _: BitStringRef<'_> = fields.decode()?;
    if let Some(certificates) = explicit(&mut fields, TagNumber::N0)? {
        certificates.tag().assert_eq(Tag::Sequence)?;
    }
    fields.finish(())
}

fn read_requests<'a>(list: AnyRef<'a>, limits: &OcspLimits) -> Result<Vec<CertId<'a>>, RequestError> {
    list.tag().assert_eq(Tag::Sequence)?;
    let mut reader = SliceReader::new(list.value())?;
    let mut cert_ids = Vec::with_capacity(1);
    while !reader.is_finished() {
        if cert_ids.len() == limits.max_requests {
            return Err(RequestError::TooMany { limit: limits.max_requests });
        }
        let request: AnyRef<'a> = reader.decode()?;
        request.tag().assert_eq(Tag::Sequence)?;
        let mut fields = SliceReader::new(request.value())?;
        cert_ids.push(CertId::from_der(fields.tlv_bytes()?)?);
        if let Some(extensions) = explicit(&mut fields, TagNumber::N0)? {
            for extension in read_extensions(extensions)? {
                let known = [ID_PKIX_OCSP_NONCE, ID_PKIX_OCSP_SERVICE_LOCATOR].contains(&extension.extn_id);
                if extension.critical && !known {
                    return Err(RequestError::CriticalExtension(extension.extn_id));
                }
            }
        }
        fields.finish(())?;
    }
    if cert_ids.is_empty() { Err(RequestError::Empty) } else { Ok(cert_ids) }
}

fn read_extensions(list: AnyRef<'_>) -> Result<Vec<ExtensionRef<'_>>, RequestError> {
    list.tag().assert_eq(Tag::Sequence)?;
    let mut reader = SliceReader::new(list.value())?;
    let mut extensions: Vec<ExtensionRef<'_>> = Vec::new();
    while !reader.is_finished() {
        let extension: ExtensionRef<'_> = reader.decode()?;
        if extensions.iter().any(|other| other.extn_id == extension.extn_id) {
            return Err(RequestError::DuplicateExtension(extension.extn_id));
        }
        if extensions.len() == MAX_EXTENSIONS {
            return Err(RequestError::TooManyExtensions);
        }
        extensions.push(extension);
    }
    Ok(extensions)
}

/// `PreferredSignatureAlgorithm ::= SEQUENCE { sigIdentifier AlgorithmIdentifier, pubKeyAlgIdentifier
/// SMIMECapability OPTIONAL }` (RFC 6960 4.4.7.1)
fn read_preferred(extension_value: &[u8]) -> der::Result<Vec<SignatureAlgorithm>> {
    let mut algorithms = Vec::new();
    each(exactly(extension_value)?, |preferred| {
        preferred.tag().assert_eq(Tag::Sequence)?;
        let identifier: AlgorithmIdentifierRef<'_> = SliceReader::new(preferred.value())?.decode()?;
        if let Some(algorithm) = known_algorithm(&identifier)
            && algorithms.len() < MAX_PREFERRED_ALGORITHMS
            && !algorithms.contains(&algorithm)
        {
            algorithms.push(algorithm);
        }
        Ok(())
    })?;
    Ok(algorithms)
}

/// Builds a request for these certificates (each a DER `CertID`, see [`IssuerHashes::cert_id`]), with a nonce of 1 to
/// 128 octets if one is given.
///
/// [`IssuerHashes::cert_id`]: super::IssuerHashes::cert_id
///
/// # Errors
/// When there is no `CertID`, one of them is none, or the nonce has a wrong length.
pub fn build_request(cert_ids: &[&[u8]], nonce: Option<&[u8]>) -> Result<Vec<u8>, RequestError> {
    if cert_ids.is_empty() {
        return Err(RequestError::Empty);
    }
    let mut list = Vec::new();
    for cert_id in cert_ids {
        CertId::from_der(cert_id)?;
        AnyRef::new(Tag::Sequence, cert_id)?.encode_to_vec(&mut list)?;
    }
    let mut tbs = AnyRef::new(Tag::Sequence, &list)?.to_der()?;
    if let Some(nonce) = nonce {
        if nonce.is_empty() || nonce.len() > MAX_NONCE_OCTETS {
            return Err(RequestError::Nonce { octets: nonce.len() });
        }
        let inner = OctetStringRef::new(nonce)?.to_der()?;
        let extension = ExtensionRef { extn_id: ID_PKIX_OCSP_NONCE, critical: false, extn_value: &inner };
        ContextSpecific { tag_number: TagNumber::N2, tag_mode: der::TagMode::Explicit, value: vec![extension] }
            .encode_to_vec(&mut tbs)?;
    }
    let tbs_request = AnyRef::new(Tag::Sequence, &tbs)?.to_der()?;
    Ok(AnyRef::new(Tag::Sequence, &tbs_request)?.to_der()?)
}
