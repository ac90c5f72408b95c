//! Certification requests (PKCS#10, RFC 2986): checked by rows R1 to R5, R7 and R9. Of what a request asks for, only its
//! key is taken; the rest is ignored, and said to be (R10).
//!
//! Whether others know the key (R6), or it was seen before (R8), is for the CA to know.

use std::fmt;

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5912;
use der::asn1::{AnyRef, BitStringRef};
use der::{Decode, Sequence};
use ring::signature::{self, UnparsedPublicKey};
use sha2::{Digest, Sha256};
use spki::AlgorithmIdentifierRef;

use crate::key::KeyError;
use crate::pem::{self, PemError};
use crate::strict::{self, Element};
use crate::weak_key::{self, WeakKey};
use crate::{KeyType, PublicKey};

mod build;
mod ignored;

pub use build::NewRequest;

/// No request is longer, in octets, be it DER or PEM.
pub const MAX_REQUEST: usize = 16 * 1024;

/// No request has more attributes, attribute values or RDNs.
const MAX_ELEMENTS: usize = 32;

/// extensionRequest (RFC 2985 5.4.2), and the number under which Microsoft's clients write the same.
const EXTENSION_REQUESTS: [ObjectIdentifier; 2] =
    [ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.14"), ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.2.1.14")];

/// challengePassword (RFC 2985 5.4.1).
const CHALLENGE_PASSWORD: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.7");

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestRefusal {
    /// Over 16 KiB (conformance: R1).
    #[error(
        "rule R1: the request has {0} octets, and may have {MAX_REQUEST}; send one PKCS#10 request and nothing else"
    )]
    TooLarge(usize),
    /// PEM that is no request (conformance: R1).
    #[error("rule R1: {0}; send one PKCS#10 request, as DER or as PEM with the label CERTIFICATE REQUEST")]
    Pem(#[from] PemError),
    /// Not DER, cut short, or something follows it (conformance: R1).
    #[error("rule R1: the request is not a DER PKCS#10 request (RFC 2986): {0}; send one request, as DER or PEM")]
    Malformed(&'static str),
    /// Another version (conformance: R1).
    #[error("rule R1: the request's version is not v1 (0), the only one there is (RFC 2986 4.1)")]
    Version,
    /// The key is refused (conformance: R2, R7).
    #[error("{}; make a new key pair of a kind that the profile allows, and ask again", KeyWords(.0))]
    Key(#[source] KeyError),
    /// The key is weak (conformance: R3, R4, R5).
    #[error("{0}; make a new key pair, with other software or on another token, and ask again")]
    Weak(#[from] WeakKey),
    /// Signed in a way that is not verified here (conformance: R1).
    #[error("rule R1: requests signed with {0} are not taken: sign with the request's own key, and SHA-256 or SHA-384")]
    Algorithm(ObjectIdentifier),
    /// Not signed by the key in it (conformance: R1).
    #[error("rule R1: the request is not signed by the key in it; sign it with the private key that belongs to it")]
    Signature,
    /// More attributes or values than any client sends (conformance: R1).
    #[error("rule R1: the request has more than {MAX_ELEMENTS} attributes, values or name parts; ask for less")]
    TooMany,
    /// An attribute that stands twice (conformance: R9).
    #[error("rule R9: the attribute {0} stands twice in the request; send it once")]
    DuplicateAttribute(ObjectIdentifier),
    /// Two extension requests, or an extension asked for twice (conformance: R9).
    #[error("rule R9: the request has two extension requests, or asks for one extension twice; send one, or none")]
    DuplicateExtensionRequest,
}

impl RequestRefusal {
    /// The row that the request breaks: `R1` to `R5`, `R7` or `R9`.
    pub fn rule(&self) -> &'static str {
        match self {
            Self::Key(KeyError::ModulusSize(_) | KeyError::Exponent) => "R2",
            Self::Key(KeyError::Curve | KeyError::Point | KeyError::UnknownAlgorithm(_)) => "R7",
            Self::Weak(weak) => weak.rule(),
            Self::DuplicateAttribute(_) | Self::DuplicateExtensionRequest => "R9",
            _ => "R1",
        }
    }
}

/// What is wrong with a key, and the rule, where the key's own error does not name it.
struct KeyWords<'a>(&'a KeyError);

impl fmt::Display for KeyWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            KeyError::Malformed | KeyError::Signature => f.write_str("rule R1: ")?,
            KeyError::UnknownAlgorithm(_) => f.write_str("rule R7: ")?,
            KeyError::Curve | KeyError::Point | KeyError::ModulusSize(_) | KeyError::Exponent => {}
        }
        write!(f, "{}", self.0)
    }
}

/// A request that passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedRequest {
    public_key: PublicKey,
    ignored: Vec<String>,
    digest: [u8; 32],
}

impl CheckedRequest {
    /// The key whose holder signed the request.
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// What the request asked for beside its key, in words: nothing of it is done (conformance: R10). The words are
    /// printable, and few enough to be recorded.
    pub fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// SHA-256 of the request's DER.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }
}

/// `CertificationRequest ::= SEQUENCE { certificationRequestInfo, signatureAlgorithm, signature }` (RFC 2986 4.2).
#[derive(Sequence)]
struct Outer<'a> {
    info: AnyRef<'a>,
    algorithm: AlgorithmIdentifierRef<'a>,
    signature: BitStringRef<'a>,
}

/// Checks a request, DER or PEM.
///
/// # Errors
/// With the rule that it breaks.
// conformance: R1, R2, R3, R4, R5, R7, R9, R10
pub fn check_request(bytes: &[u8]) -> Result<CheckedRequest, RequestRefusal> {
    if bytes.len() > MAX_REQUEST {
        return Err(RequestRefusal::TooLarge(bytes.len()));
    }
    if pem::is_pem(bytes) { check_der(&decode_pem(bytes)?) } else { check_der(bytes) }
}

fn decode_pem(text: &[u8]) -> Result<Vec<u8>, PemError> {
    match pem::decode_one(text, pem::CERTIFICATE_REQUEST) {
        // What old clients call it.
        Err(PemError::Label { found, .. }) if found == "NEW CERTIFICATE REQUEST" => {
            pem::decode_one(text, "NEW CERTIFICATE REQUEST")
        }
        decoded => decoded,
    }
}

fn check_der(der: &[u8]) -> Result<CheckedRequest, RequestRefusal> {
    let whole = strict::check(der).map_err(RequestRefusal::Malformed)?;
    let shape = |_| RequestRefusal::Malformed("it is not a CertificationRequest");
    let outer = Outer::from_der(der).map_err(shape)?;
    // The signature is over the bytes as they came, so they are taken from where they stand.
    let (info, _) = strict::split(whole.content).map_err(RequestRefusal::Malformed)?;
    if info.tag != 0x30 || info.content != outer.info.value() {
        return Err(RequestRefusal::Malformed("it is not a CertificationRequest"));
    }
    let parts = elements(info.content)?;
    let [version, subject, spki, attributes] = parts[..] else {
        return Err(RequestRefusal::Malformed("its info is not version, subject, key and attributes"));
    };
    if version.tag != 0x02 || version.content != [0] {
        return Err(RequestRefusal::Version);
    }
    if subject.tag != 0x30 || attributes.tag != 0xa0 {
        return Err(RequestRefusal::Malformed("its info is not version, subject, key and attributes"));
    }
    let attributes = read_attributes(attributes)?;
    let public_key = PublicKey::from_spki_der(spki.raw).map_err(RequestRefusal::Key)?;
    let signature = outer.signature.as_bytes().ok_or(RequestRefusal::Signature)?;
    // Before the signature, since an even modulus cannot be calculated with at all.
    weak_key::check_form(&public_key)?;
    verify(&public_key, &outer.algorithm, info.raw, signature)?;
    // After it, since this takes longer: a request without the private key is not worth it.
    weak_key::check_composite(&public_key)?;
    let ignored = ignored::describe(subject, &attributes)?;
    Ok(CheckedRequest { public_key, ignored, digest: Sha256::digest(der).into() })
}

fn elements(content: &[u8]) -> Result<Vec<Element<'_>>, RequestRefusal> {
    strict::elements(content, MAX_ELEMENTS).map_err(RequestRefusal::Malformed)?.ok_or(RequestRefusal::TooMany)
}

/// `Attribute ::= SEQUENCE { type OBJECT IDENTIFIER, values SET SIZE (1..MAX) OF ANY }` (RFC 2986 4.1).
struct Attribute<'a> {
    oid: ObjectIdentifier,
    values: Vec<Element<'a>>,
}

// conformance: R9
fn read_attributes(attributes: Element<'_>) -> Result<Vec<Attribute<'_>>, RequestRefusal> {
    const SHAPE: RequestRefusal = RequestRefusal::Malformed("an attribute is not a type and its values");
    let mut read: Vec<Attribute<'_>> = Vec::new();
    let mut previous: &[u8] = &[];
    let mut out_of_order = false;
    for attribute in elements(attributes.content)? {
        let parts = elements(attribute.content)?;
        let [oid, values] = parts[..] else { return Err(SHAPE) };
        let oid = ObjectIdentifier::from_der(oid.raw).map_err(|_| SHAPE)?;
        if attribute.tag != 0x30 || values.tag != 0x31 || values.content.is_empty() {
            return Err(SHAPE);
        }
        if read.iter().any(|known| known.oid == oid) {
            return Err(if EXTENSION_REQUESTS.contains(&oid) {
                RequestRefusal::DuplicateExtensionRequest
            } else {
                RequestRefusal::DuplicateAttribute(oid)
            });
        }
        out_of_order |= previous > attribute.raw;
        previous = attribute.raw;
        read.push(Attribute { oid, values: elements(values.content)? });
    }
    let mut extension_requests = read.iter().filter(|attribute| EXTENSION_REQUESTS.contains(&attribute.oid));
    if extension_requests.next().is_some_and(|one| one.values.len() > 1) || extension_requests.next().is_some() {
        return Err(RequestRefusal::DuplicateExtensionRequest);
    }
    // The SET OF is tagged [0], so that the check of the whole could not know it for one.
    if out_of_order {
        return Err(RequestRefusal::Malformed("the elements of a SET OF are not in order"));
    }
    Ok(read)
}

/// Verifies with the hash that the request names: a P-384 key may well sign with SHA-256, and is certified as what it is.
// conformance: R1, R10
fn verify(
    key: &PublicKey,
    algorithm: &AlgorithmIdentifierRef<'_>,
    message: &[u8],
    signature: &[u8],
) -> Result<(), RequestRefusal> {
    use KeyType::{P256, P384, Rsa2048, Rsa3072, Rsa4096};
    let verifier: &'static dyn signature::VerificationAlgorithm = match (key.key_type(), algorithm.oid) {
        (P256, rfc5912::ECDSA_WITH_SHA_256) => &signature::ECDSA_P256_SHA256_ASN1,
        (P256, rfc5912::ECDSA_WITH_SHA_384) => &signature::ECDSA_P256_SHA384_ASN1,
        (P384, rfc5912::ECDSA_WITH_SHA_256) => &signature::ECDSA_P384_SHA256_ASN1,
        (P384, rfc5912::ECDSA_WITH_SHA_384) => &signature::ECDSA_P384_SHA384_ASN1,
        (Rsa2048 | Rsa3072 | Rsa4096, rfc5912::SHA_256_WITH_RSA_ENCRYPTION) => &signature::RSA_PKCS1_2048_8192_SHA256,
        (Rsa2048 | Rsa3072 | Rsa4096, rfc5912::SHA_384_WITH_RSA_ENCRYPTION) => &signature::RSA_PKCS1_2048_8192_SHA384,
        (Rsa2048 | Rsa3072 | Rsa4096, rfc5912::SHA_512_WITH_RSA_ENCRYPTION) => &signature::RSA_PKCS1_2048_8192_SHA512,
        (_, other) => return Err(RequestRefusal::Algorithm(other)),
    };
    // Absent for ECDSA (RFC 5758 3.2); NULL for RSA, where absence must be taken too (RFC 4055 5).
    let parameters_fit = match algorithm.parameters {
        None => true,
        Some(parameters) => !key.key_type().is_ec() && parameters == AnyRef::NULL,
    };
    if !parameters_fit {
        return Err(RequestRefusal::Malformed("the signature algorithm has parameters that it must not have"));
    }
    UnparsedPublicKey::new(verifier, key.key_bits()).verify(message, signature).map_err(|_| RequestRefusal::Signature)
}
