//! `CertID`: which certificate is asked about (RFC 6960 4.1.1).
//!
//! ```text
//! CertID ::= SEQUENCE {
//!    hashAlgorithm           AlgorithmIdentifier,
//!    issuerNameHash          OCTET STRING, -- Hash of issuer's DN
//!    issuerKeyHash           OCTET STRING, -- Hash of issuer's public key
//!    serialNumber            CertificateSerialNumber }
//! ```

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5912;
use der::asn1::{AnyRef, OctetStringRef};
use der::{Encode, Reader, Sequence, SliceReader, Tag, Tagged};
use sha1::{Digest, Sha1};
use sha2::{Sha256, Sha384, Sha512};
use spki::AlgorithmIdentifierRef;

use crate::{PublicKey, SerialNumber};

/// The digests in which a `CertID` may name its issuer here (conformance: O7, O8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HashAlgorithm {
    /// SHA-1: what most clients send, and no more than a name here.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl HashAlgorithm {
    /// All of them.
    pub const ALL: [HashAlgorithm; 4] = [Self::Sha1, Self::Sha256, Self::Sha384, Self::Sha512];

    /// Its object identifier.
    pub const fn oid(self) -> ObjectIdentifier {
        match self {
            Self::Sha1 => rfc5912::ID_SHA_1,
            Self::Sha256 => rfc5912::ID_SHA_256,
            Self::Sha384 => rfc5912::ID_SHA_384,
            Self::Sha512 => rfc5912::ID_SHA_512,
        }
    }

    /// The one with this object identifier.
    pub fn from_oid(oid: ObjectIdentifier) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.oid() == oid)
    }

    /// The digest of `bytes`.
    pub fn digest(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha1 => Sha1::digest(bytes).to_vec(),
            Self::Sha256 => Sha256::digest(bytes).to_vec(),
            Self::Sha384 => Sha384::digest(bytes).to_vec(),
            Self::Sha512 => Sha512::digest(bytes).to_vec(),
        }
    }
}

/// How a `CertID` spells its hash algorithm: both spellings are ordinary, and the answer repeats the one that was asked
/// in (RFC 5754 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CertIdHash {
    /// The digest.
    pub algorithm: HashAlgorithm,
    /// Whether its parameters are NULL rather than absent.
    pub null_parameters: bool,
}

/// A `CertID` as it stands in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CertId<'a> {
    der: &'a [u8],
    hash: Option<CertIdHash>,
    issuer_name_hash: &'a [u8],
    issuer_key_hash: &'a [u8],
    serial: &'a [u8],
}

#[derive(Sequence)]
struct CertIdFields<'a> {
    hash_algorithm: AlgorithmIdentifierRef<'a>,
    issuer_name_hash: OctetStringRef<'a>,
    issuer_key_hash: OctetStringRef<'a>,
    serial_number: AnyRef<'a>,
}

impl<'a> CertId<'a> {
    /// Reads one that fills `der` exactly. A hash algorithm that is not known here, and a serial number that no
    /// certificate may have, are not errors of form: see [`CertId::hash`] and [`CertId::serial`].
    ///
    /// # Errors
    /// When it is no DER `CertID`.
    pub fn from_der(der: &'a [u8]) -> Result<Self, der::Error> {
        let mut reader = SliceReader::new(der)?;
        let fields: CertIdFields<'a> = reader.decode()?;
        reader.finish(())?;
        let serial = fields.serial_number;
        serial.tag().assert_eq(Tag::Integer)?;
        match serial.value() {
            [] | [0, 0..=0x7f, ..] | [0xff, 0x80..=0xff, ..] => return Err(Tag::Integer.value_error()),
            _ => {}
        }
        let null_parameters = match fields.hash_algorithm.parameters {
            None => Some(false),
            Some(parameters) if parameters == AnyRef::NULL => Some(true),
            Some(_) => None,
        };
        let hash = HashAlgorithm::from_oid(fields.hash_algorithm.oid)
            .zip(null_parameters)
            .map(|(algorithm, null_parameters)| CertIdHash { algorithm, null_parameters });
        Ok(CertId {
            der,
            hash,
            issuer_name_hash: fields.issuer_name_hash.as_bytes(),
            issuer_key_hash: fields.issuer_key_hash.as_bytes(),
            serial: serial.value(),
        })
    }

    /// One that was read by its ordinary shape.
    pub(super) fn plain(
        der: &'a [u8],
        hash: CertIdHash,
        issuer_name_hash: &'a [u8],
        issuer_key_hash: &'a [u8],
        serial: &'a [u8],
    ) -> Self {
        CertId { der, hash: Some(hash), issuer_name_hash, issuer_key_hash, serial }
    }

    /// The bytes, which an answer repeats (conformance: O1).
    pub fn der(&self) -> &'a [u8] {
        self.der
    }

    /// How it is hashed; `None` if that is not known here.
    pub fn hash(&self) -> Option<CertIdHash> {
        self.hash
    }

    /// The digest of the issuer's DN.
    pub fn issuer_name_hash(&self) -> &'a [u8] {
        self.issuer_name_hash
    }

    /// The digest of the issuer's key bits.
    pub fn issuer_key_hash(&self) -> &'a [u8] {
        self.issuer_key_hash
    }

    /// The serial number; `None` if no certificate may have it (zero, negative, over 20 octets).
    pub fn serial(&self) -> Option<SerialNumber> {
        SerialNumber::from_der_content(self.serial).ok()
    }
}

/// An issuer's name and key hashes in every algorithm that is known here, computed once.
#[derive(Clone, Debug)]
pub struct IssuerHashes {
    hashes: [(Vec<u8>, Vec<u8>); 4],
}

/// How well a `CertID` fits an issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IssuerMatch {
    /// Name and key are this issuer's.
    Issuer,
    /// The name is, the key is not: another key of that CA, or a wrong one (conformance: O9, O10).
    NameOnly,
    /// Not this issuer.
    None,
}

impl IssuerHashes {
    /// Of the issuer with this subject (DER of the `Name`) and key.
    pub fn new(subject_der: &[u8], key: &PublicKey) -> Self {
        let of = |algorithm: HashAlgorithm| (algorithm.digest(subject_der), algorithm.digest(key.key_bits()));
        IssuerHashes { hashes: HashAlgorithm::ALL.map(of) }
    }

    /// Whether `cert_id` names this issuer.
    pub fn matches(&self, cert_id: &CertId<'_>) -> IssuerMatch {
        let Some(hash) = cert_id.hash else { return IssuerMatch::None };
        let (name, key) = &self.hashes[hash.algorithm as usize];
        match (name.as_slice() == cert_id.issuer_name_hash, key.as_slice() == cert_id.issuer_key_hash) {
            (true, true) => IssuerMatch::Issuer,
            (true, false) => IssuerMatch::NameOnly,
            (false, _) => IssuerMatch::None,
        }
    }

    /// The DER `CertID` of a certificate of this issuer, as a client asks: with NULL parameters for SHA-1, since old
    /// responders expect them, and without for the SHA-2 family (RFC 5754 2).
    pub fn cert_id(&self, algorithm: HashAlgorithm, serial: SerialNumber) -> Vec<u8> {
        self.cert_id_spelled(CertIdHash { algorithm, null_parameters: algorithm == HashAlgorithm::Sha1 }, serial)
    }

    /// The same, with the parameters as asked for.
    pub fn cert_id_spelled(&self, hash: CertIdHash, serial: SerialNumber) -> Vec<u8> {
        let (name, key) = &self.hashes[hash.algorithm as usize];
        encode(hash, name, key, &serial).unwrap_or_default()
    }
}

/// Four fields of at most 64 octets each: nothing in it can fail.
fn encode(hash: CertIdHash, name: &[u8], key: &[u8], serial: &SerialNumber) -> der::Result<Vec<u8>> {
    CertIdFields {
        hash_algorithm: AlgorithmIdentifierRef {
            oid: hash.algorithm.oid(),
            parameters: hash.null_parameters.then_some(AnyRef::NULL),
        },
        issuer_name_hash: OctetStringRef::new(name)?,
        issuer_key_hash: OctetStringRef::new(key)?,
        serial_number: AnyRef::new(Tag::Integer, serial.as_bytes())?,
    }
    .to_der()
}
