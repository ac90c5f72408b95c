//! Public keys and the algorithms that they sign with.

use std::fmt;

use const_oid::ObjectIdentifier;
use const_oid::db::{rfc5912, rfc5912::ID_EC_PUBLIC_KEY, rfc5912::RSA_ENCRYPTION};
use der::asn1::{AnyRef, BitStringRef, UintRef};
use der::{Decode, Encode, Sequence};
use ring::signature::{self, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};
use sha2::Sha256;
use spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};

/// The kinds of key that may be certified here (RFC 5480, RFC 8017).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum KeyType {
    /// ECDSA on NIST P-256 (secp256r1).
    #[serde(rename = "P-256")]
    P256,
    /// ECDSA on NIST P-384 (secp384r1).
    #[serde(rename = "P-384")]
    P384,
    /// RSA, 2048 bits, exponent 65537.
    #[serde(rename = "RSA-2048")]
    Rsa2048,
    /// RSA, 3072 bits, exponent 65537.
    #[serde(rename = "RSA-3072")]
    Rsa3072,
    /// RSA, 4096 bits, exponent 65537.
    #[serde(rename = "RSA-4096")]
    Rsa4096,
}

impl KeyType {
    /// All of them.
    pub const ALL: [KeyType; 5] = [Self::P256, Self::P384, Self::Rsa2048, Self::Rsa3072, Self::Rsa4096];

    /// What a key of this kind signs with here.
    pub const fn signature_algorithm(self) -> SignatureAlgorithm {
        match self {
            Self::P256 => SignatureAlgorithm::EcdsaP256Sha256,
            Self::P384 => SignatureAlgorithm::EcdsaP384Sha384,
            Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => SignatureAlgorithm::RsaPkcs1Sha256,
        }
    }

    /// Whether it is an elliptic-curve key.
    pub const fn is_ec(self) -> bool {
        matches!(self, Self::P256 | Self::P384)
    }
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::Rsa2048 => "RSA-2048",
            Self::Rsa3072 => "RSA-3072",
            Self::Rsa4096 => "RSA-4096",
        })
    }
}

/// How certificates, CRLs and OCSP answers are signed here. Signatures are in the form that X.509 carries: ECDSA as DER
/// `Ecdsa-Sig-Value` (RFC 3279 2.2.3), RSA as PKCS#1 v1.5 octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SignatureAlgorithm {
    /// ecdsa-with-SHA256 by a P-256 key (RFC 5758 3.2).
    EcdsaP256Sha256,
    /// ecdsa-with-SHA384 by a P-384 key (RFC 5758 3.2).
    EcdsaP384Sha384,
    /// sha256WithRSAEncryption (RFC 4055 5).
    RsaPkcs1Sha256,
}

impl SignatureAlgorithm {
    /// The algorithm's object identifier.
    pub const fn oid(self) -> ObjectIdentifier {
        match self {
            Self::EcdsaP256Sha256 => rfc5912::ECDSA_WITH_SHA_256,
            Self::EcdsaP384Sha384 => rfc5912::ECDSA_WITH_SHA_384,
            Self::RsaPkcs1Sha256 => rfc5912::SHA_256_WITH_RSA_ENCRYPTION,
        }
    }

    /// Its `AlgorithmIdentifier`: parameters are absent for ECDSA (RFC 5758 3.2) and NULL for RSA (RFC 4055 5).
    pub fn identifier(self) -> AlgorithmIdentifierRef<'static> {
        let parameters = match self {
            Self::RsaPkcs1Sha256 => Some(AnyRef::NULL),
            Self::EcdsaP256Sha256 | Self::EcdsaP384Sha384 => None,
        };
        AlgorithmIdentifierRef { oid: self.oid(), parameters }
    }
}

/// Why a public key is refused, or a signature is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not a DER `SubjectPublicKeyInfo`, or something follows it.
    #[error("the public key is not a DER SubjectPublicKeyInfo (RFC 5280 4.1.2.7)")]
    Malformed,
    /// Neither RSA nor an elliptic-curve key.
    #[error("keys of algorithm {0} are not certified here: use P-256, P-384, or RSA of 2048, 3072 or 4096 bits")]
    UnknownAlgorithm(ObjectIdentifier),
    /// A curve other than P-256 and P-384, or explicit parameters (conformance: R7).
    #[error("rule R7: the curve must be P-256 or P-384, given by its name")]
    Curve,
    /// The point is at infinity, compressed, or off its curve (conformance: R7).
    #[error("rule R7: the point is not an uncompressed point of its curve")]
    Point,
    /// A modulus of another size (conformance: R2).
    #[error("rule R2: an RSA modulus has 2048, 3072 or 4096 bits, not {0}")]
    ModulusSize(usize),
    /// A public exponent other than 65537 (conformance: R2).
    #[error("rule R2: the RSA exponent must be 65537")]
    Exponent,
    /// The key cannot have made signatures of this algorithm, or did not make this one.
    #[error("the signature is not by this key")]
    Signature,
}

/// A public key that may be certified here: its DER `SubjectPublicKeyInfo`, checked by rows R2 and R7.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PublicKey {
    spki_der: Vec<u8>,
    key_bits: Vec<u8>,
    key_type: KeyType,
}

/// `RSAPublicKey ::= SEQUENCE { modulus INTEGER, publicExponent INTEGER }` (RFC 8017 A.1.1).
#[derive(Sequence)]
struct RsaPublicKey<'a> {
    modulus: UintRef<'a>,
    public_exponent: UintRef<'a>,
}

impl PublicKey {
    /// From a DER `SubjectPublicKeyInfo`.
    ///
    /// # Errors
    /// When it is malformed, of another algorithm, or breaks rule R2 or R7.
    // conformance: R2, R7
    pub fn from_spki_der(spki_der: &[u8]) -> Result<Self, KeyError> {
        let spki = SubjectPublicKeyInfoRef::from_der(spki_der).map_err(|_| KeyError::Malformed)?;
        let key_bits = spki.subject_public_key.as_bytes().ok_or(KeyError::Malformed)?;
        let key_type = match spki.algorithm.oid {
            ID_EC_PUBLIC_KEY => ec_key_type(&spki.algorithm, key_bits)?,
            RSA_ENCRYPTION => rsa_key_type(&spki.algorithm, key_bits)?,
            other => return Err(KeyError::UnknownAlgorithm(other)),
        };
        Ok(PublicKey { spki_der: spki_der.to_vec(), key_bits: key_bits.to_vec(), key_type })
    }

    /// An elliptic-curve key from its uncompressed point, `04 ‖ x ‖ y`.
    ///
    /// # Errors
    /// When the point is not one of that curve, or `key_type` is no curve.
    pub fn from_ec_point(key_type: KeyType, point: &[u8]) -> Result<Self, KeyError> {
        let curve = match key_type {
            KeyType::P256 => rfc5912::SECP_256_R_1,
            KeyType::P384 => rfc5912::SECP_384_R_1,
            _ => return Err(KeyError::Curve),
        };
        let algorithm = AlgorithmIdentifierRef { oid: ID_EC_PUBLIC_KEY, parameters: Some((&curve).into()) };
        Self::from_parts(algorithm, point)
    }

    /// An RSA key from modulus and public exponent, both big endian.
    ///
    /// # Errors
    /// When rule R2 is broken.
    pub fn from_rsa(modulus: &[u8], public_exponent: &[u8]) -> Result<Self, KeyError> {
        let key = RsaPublicKey {
            modulus: UintRef::new(modulus).map_err(|_| KeyError::Malformed)?,
            public_exponent: UintRef::new(public_exponent).map_err(|_| KeyError::Malformed)?,
        };
        let key_bits = key.to_der().map_err(|_| KeyError::Malformed)?;
        let algorithm = AlgorithmIdentifierRef { oid: RSA_ENCRYPTION, parameters: Some(AnyRef::NULL) };
        Self::from_parts(algorithm, &key_bits)
    }

    fn from_parts(algorithm: AlgorithmIdentifierRef<'_>, key_bits: &[u8]) -> Result<Self, KeyError> {
        let subject_public_key = BitStringRef::from_bytes(key_bits).map_err(|_| KeyError::Malformed)?;
        let spki = SubjectPublicKeyInfoRef { algorithm, subject_public_key };
        Self::from_spki_der(&spki.to_der().map_err(|_| KeyError::Malformed)?)
    }

    /// The DER `SubjectPublicKeyInfo`.
    pub fn spki_der(&self) -> &[u8] {
        &self.spki_der
    }

    /// Its kind and size.
    pub fn key_type(&self) -> KeyType {
        self.key_type
    }

    /// The octets of the `subjectPublicKey` BIT STRING: a point, or a DER `RSAPublicKey`.
    pub fn key_bits(&self) -> &[u8] {
        &self.key_bits
    }

    /// The modulus of an RSA key, big endian, without leading zeros; `None` for a key on a curve.
    pub fn rsa_modulus(&self) -> Option<&[u8]> {
        if self.key_type.is_ec() {
            return None;
        }
        RsaPublicKey::from_der(&self.key_bits).ok().map(|key| key.modulus.as_bytes())
    }

    /// SHA-1 of the key bits: the key identifier of RFC 5280 4.2.1.2 (1), and OCSP's byKey and issuerKeyHash.
    pub fn key_identifier(&self) -> [u8; 20] {
        Sha1::digest(&self.key_bits).into()
    }

    /// SHA-256 of the DER `SubjectPublicKeyInfo`, by which keys are found again.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(&self.spki_der).into()
    }

    /// Checks a signature in X.509 form over `message`.
    ///
    /// # Errors
    /// [`KeyError::Signature`] when this key did not make it.
    pub fn verify(&self, algorithm: SignatureAlgorithm, message: &[u8], signature: &[u8]) -> Result<(), KeyError> {
        let verifier: &'static dyn signature::VerificationAlgorithm = match (self.key_type.is_ec(), algorithm) {
            (true, SignatureAlgorithm::EcdsaP256Sha256) if self.key_type == KeyType::P256 => {
                &signature::ECDSA_P256_SHA256_ASN1
            }
            (true, SignatureAlgorithm::EcdsaP384Sha384) if self.key_type == KeyType::P384 => {
                &signature::ECDSA_P384_SHA384_ASN1
            }
            (false, SignatureAlgorithm::RsaPkcs1Sha256) => &signature::RSA_PKCS1_2048_8192_SHA256,
            _ => return Err(KeyError::Signature),
        };
        UnparsedPublicKey::new(verifier, &self.key_bits).verify(message, signature).map_err(|_| KeyError::Signature)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digest = data_encoding::HEXLOWER.encode(&self.digest());
        write!(f, "PublicKey({}, sha256 {digest})", self.key_type)
    }
}

fn ec_key_type(algorithm: &AlgorithmIdentifierRef<'_>, point: &[u8]) -> Result<KeyType, KeyError> {
    let parameters = algorithm.parameters.ok_or(KeyError::Curve)?;
    let curve: ObjectIdentifier = parameters.decode_as().map_err(|_| KeyError::Curve)?;
    // Both curves have cofactor 1: an affine point of the curve is a whole public key (NIST SP 800-56A 5.6.2.3.3).
    let (key_type, length, is_on_curve): (_, _, fn(&[u8]) -> bool) = match curve {
        rfc5912::SECP_256_R_1 => (KeyType::P256, 65, |point| p256::PublicKey::from_sec1_bytes(point).is_ok()),
        rfc5912::SECP_384_R_1 => (KeyType::P384, 97, |point| p384::PublicKey::from_sec1_bytes(point).is_ok()),
        _ => return Err(KeyError::Curve),
    };
    if point.len() != length || point[0] != 0x04 || !is_on_curve(point) {
        return Err(KeyError::Point);
    }
    Ok(key_type)
}

fn rsa_key_type(algorithm: &AlgorithmIdentifierRef<'_>, key_bits: &[u8]) -> Result<KeyType, KeyError> {
    // RFC 3279 2.3.1: NULL, and not absent; as it stands here it goes into the certificate.
    if algorithm.parameters != Some(AnyRef::NULL) {
        return Err(KeyError::Malformed);
    }
    let key = RsaPublicKey::from_der(key_bits).map_err(|_| KeyError::Malformed)?;
    if key.public_exponent.as_bytes() != [1, 0, 1] {
        return Err(KeyError::Exponent);
    }
    let modulus = key.modulus.as_bytes();
    let bits = modulus.len() * 8 - modulus.first().map_or(0, |first| first.leading_zeros() as usize);
    match bits {
        2048 => Ok(KeyType::Rsa2048),
        3072 => Ok(KeyType::Rsa3072),
        4096 => Ok(KeyType::Rsa4096),
        _ => Err(KeyError::ModulusSize(bits)),
    }
}
