//! Public keys as people hand them in when a private key has come out: as a key, in a certificate or in a request, or by
//! digest. Nothing here is asked to be signed or valid; only the key counts.
//!
//! A modulus that was factored, or whose private exponent is known, is lost with every public exponent, and in every
//! encoding. So what comes out is the digest of the one encoding in which that key could be certified here.

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5912::{ID_EC_PUBLIC_KEY, ID_RSASSA_PSS, RSA_ENCRYPTION};
use data_encoding::HEXLOWER_PERMISSIVE;
use der::Decode;
use p256::elliptic_curve::sec1::ToEncodedPoint;

use crate::key::KeyError;
use crate::pem::{self, PemError};
use crate::strict::{self, Element};
use crate::{KeyType, PublicKey};

/// No more is read at once, in octets.
pub const MAX_GIVEN: usize = 1 << 20;

/// A key that was handed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GivenKey {
    /// One that could be certified here.
    Key {
        /// SHA-256 of its `SubjectPublicKeyInfo` (as it would stand in a certificate).
        digest: [u8; 32],
        /// Its kind.
        key_type: KeyType,
    },
    /// Known by digest alone.
    Digest([u8; 32]),
    /// One that no certificate here can hold, whoever knows it; with the reason.
    NotCertifiable(KeyError),
}

/// Why what was handed in is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GivenKeyError {
    /// Too long.
    #[error("there are {0} octets, and {MAX_GIVEN} are read at once: hand it in in parts")]
    TooLarge(usize),
    /// A private key.
    #[error(
        "this is a private key: do not hand it in, and do not send it on. Its public key is enough: \
         openssl pkey -in FILE -pubout"
    )]
    Private,
    /// Broken PEM.
    #[error("{0}; hand in public keys, certificates or requests as PEM or DER, or SHA-256 digests, one to a line")]
    Pem(#[from] PemError),
    /// A PEM block of something else.
    #[error(
        "a PEM block {0:?} holds no public key: hand in PUBLIC KEY, RSA PUBLIC KEY, CERTIFICATE or CERTIFICATE REQUEST"
    )]
    Label(String),
    /// Not what it seems to be.
    #[error("there is no public key in it: {0}; hand in a public key, a certificate or a request, as PEM or DER")]
    Malformed(&'static str),
    /// A point that is compressed, or none of its curve.
    #[error("{0}; if it is compressed, write it out: openssl ec -pubin -in FILE -conv_form uncompressed")]
    Point(#[source] KeyError),
    /// A line that is no digest.
    #[error("line {0} is not the SHA-256 of a SubjectPublicKeyInfo: 64 hexadecimal digits are wanted")]
    Digest(usize),
    /// No key in it.
    #[error("there is no key in it: hand in public keys, certificates or requests, or SHA-256 digests, one to a line")]
    Nothing,
}

/// The keys in a file: PEM with any number of blocks, one DER object, or lines that begin with a SHA-256 digest of a
/// `SubjectPublicKeyInfo` in hexadecimal (`#` begins a comment).
///
/// # Errors
/// When a part of it is no key: nothing of it is taken then. A private key is always refused.
pub fn keys_in(bytes: &[u8]) -> Result<Vec<GivenKey>, GivenKeyError> {
    if bytes.len() > MAX_GIVEN {
        return Err(GivenKeyError::TooLarge(bytes.len()));
    }
    if pem::holds_private_key(bytes) {
        return Err(GivenKeyError::Private);
    }
    let keys = if bytes.windows(11).any(|window| window == b"-----BEGIN ") {
        pem::decode_all(bytes)?.iter().map(block).collect::<Result<Vec<_>, _>>()?
    } else if bytes.iter().all(|octet| octet.is_ascii_graphic() || octet.is_ascii_whitespace()) {
        digests(bytes)?
    } else {
        vec![object(bytes)?]
    };
    if keys.is_empty() { Err(GivenKeyError::Nothing) } else { Ok(keys) }
}

fn block(block: &pem::Block) -> Result<GivenKey, GivenKeyError> {
    match block.label.as_str() {
        pem::PUBLIC_KEY
        | pem::CERTIFICATE
        | pem::CERTIFICATE_REQUEST
        | "NEW CERTIFICATE REQUEST"
        | "RSA PUBLIC KEY" => object(&block.der),
        label => Err(GivenKeyError::Label(label.to_owned())),
    }
}

fn digests(text: &[u8]) -> Result<Vec<GivenKey>, GivenKeyError> {
    let mut keys = Vec::new();
    for (number, line) in text.split(|octet| *octet == b'\n').enumerate() {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        // As `sha256sum` writes it, with a name behind the digest, and as others do, with colons in it.
        let word = line.split(u8::is_ascii_whitespace).next().unwrap_or_default();
        let digits: Vec<u8> = word.iter().copied().filter(|octet| *octet != b':').collect();
        let digest = HEXLOWER_PERMISSIVE.decode(&digits).ok().and_then(|digest| digest.try_into().ok());
        keys.push(GivenKey::Digest(digest.ok_or(GivenKeyError::Digest(number + 1))?));
    }
    Ok(keys)
}

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;
/// The explicit version of a certificate (RFC 5280 4.1.2.1).
const VERSION: u8 = 0xa0;

/// What a DER object is, by its shape alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A `SubjectPublicKeyInfo`.
    PublicKey,
    /// A `Certificate`.
    Certificate,
    /// A `CertificationRequest`.
    Request,
    /// A private key, in one of its forms.
    PrivateKey,
}

/// Tells what a DER object is meant to be, so that it can be refused by the rules of that; `None` when it is nothing that
/// is known here.
pub fn shape(der: &[u8]) -> Option<Shape> {
    let (whole, _) = strict::split(der).ok().filter(|(whole, rest)| whole.tag == SEQUENCE && rest.is_empty())?;
    let tags = |of| elements(of).ok().map(|parts| parts.iter().map(|part| part.tag).collect::<Vec<_>>());
    match tags(whole)?[..] {
        [SEQUENCE, BIT_STRING] => Some(Shape::PublicKey),
        [INTEGER, INTEGER] => None,
        [INTEGER, ..] => Some(Shape::PrivateKey),
        [SEQUENCE, SEQUENCE, BIT_STRING] => {
            let (body, _) = strict::split(whole.content).ok()?;
            match tags(body)?[..] {
                [VERSION, ..] | [INTEGER, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE, ..] => {
                    Some(Shape::Certificate)
                }
                [INTEGER, SEQUENCE, SEQUENCE, ..] => Some(Shape::Request),
                _ => None,
            }
        }
        _ => None,
    }
}

/// One DER object, told by its shape.
fn object(der: &[u8]) -> Result<GivenKey, GivenKeyError> {
    let (whole, rest) = strict::split(der).map_err(GivenKeyError::Malformed)?;
    if whole.tag != SEQUENCE || !rest.is_empty() {
        return Err(GivenKeyError::Malformed("it is not one DER object"));
    }
    let parts = elements(whole)?;
    match parts.iter().map(|part| part.tag).collect::<Vec<_>>()[..] {
        // SubjectPublicKeyInfo ::= SEQUENCE { algorithm, subjectPublicKey } (RFC 5280 4.1.2.7)
        [SEQUENCE, BIT_STRING] => public_key(whole),
        // RSAPublicKey ::= SEQUENCE { modulus, publicExponent } (RFC 8017 A.1.1)
        [INTEGER, INTEGER] => rsa(whole),
        // Private keys begin with their version (RFC 5958, RFC 5915, RFC 8017 A.1.2).
        [INTEGER, ..] => Err(GivenKeyError::Private),
        // Certificate and CertificationRequest ::= SEQUENCE { SEQUENCE, signatureAlgorithm, signature }
        [SEQUENCE, SEQUENCE, BIT_STRING] => signed(parts[0]),
        _ => Err(GivenKeyError::Malformed("it is neither a key, nor a certificate, nor a request")),
    }
}

/// The key of a `TBSCertificate` (RFC 5280 4.1.2), behind five other fields, and of a `CertificationRequestInfo` (RFC 2986
/// 4.1), behind two.
fn signed(body: Element<'_>) -> Result<GivenKey, GivenKeyError> {
    let fields = elements(body)?;
    let unversioned = match fields.first().map(|field| field.tag) {
        Some(VERSION) => &fields[1..],
        _ => &fields[..],
    };
    let key = match unversioned.iter().map(|field| field.tag).collect::<Vec<_>>()[..] {
        [INTEGER, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE, ..] => unversioned[5],
        [INTEGER, SEQUENCE, SEQUENCE, ..] if fields.len() == unversioned.len() => unversioned[2],
        _ => return Err(GivenKeyError::Malformed("it is neither a certificate nor a request")),
    };
    public_key(key)
}

fn public_key(spki: Element<'_>) -> Result<GivenKey, GivenKeyError> {
    let parts = elements(spki)?;
    let [algorithm, key] = parts[..] else { return Err(GivenKeyError::Malformed("its key is no public key")) };
    let algorithm = elements(algorithm)?;
    let oid = algorithm.first().and_then(|oid| ObjectIdentifier::from_der(oid.raw).ok());
    match (oid, key.content) {
        (Some(RSA_ENCRYPTION | ID_RSASSA_PSS), [0, key @ ..]) => {
            let (key, _) = strict::split(key).map_err(GivenKeyError::Malformed)?;
            rsa(key)
        }
        (Some(ID_EC_PUBLIC_KEY), _) => match PublicKey::from_spki_der(spki.raw) {
            Ok(key) => Ok(GivenKey::Key { digest: key.digest(), key_type: key.key_type() }),
            Err(error @ KeyError::Curve) => match named_curve(&algorithm)? {
                // The same key, as it could be certified: the form in which its curve is given is no part of it.
                Some(curve) => {
                    let point = key.content.get(1..).unwrap_or_default();
                    let key = PublicKey::from_ec_point(curve, point).map_err(GivenKeyError::Point)?;
                    Ok(GivenKey::Key { digest: key.digest(), key_type: curve })
                }
                None => Ok(GivenKey::NotCertifiable(error)),
            },
            Err(error) => Err(GivenKeyError::Point(error)),
        },
        (Some(other), _) => Ok(GivenKey::NotCertifiable(KeyError::UnknownAlgorithm(other))),
        (None, _) => Err(GivenKeyError::Malformed("its key has no algorithm")),
    }
}

/// The curve whose parameters are written out as `ECParameters ::= SEQUENCE { version, fieldID, curve, base, order, … }`
/// (SEC 1 C.2), told by its base point: with another base the point is another key, whose private half is worth nothing on
/// the named curve. That the point is one of the curve is checked by whoever takes it.
fn named_curve(algorithm: &[Element<'_>]) -> Result<Option<KeyType>, GivenKeyError> {
    let Some(parameters) = algorithm.get(1).filter(|parameters| parameters.tag == SEQUENCE) else { return Ok(None) };
    let parts = elements(*parameters)?;
    let base = match parts.iter().map(|part| part.tag).collect::<Vec<_>>()[..] {
        [INTEGER, SEQUENCE, SEQUENCE, OCTET_STRING, INTEGER, ..] => parts[3].content,
        _ => return Err(GivenKeyError::Malformed("the parameters of its curve are no parameters")),
    };
    let p256 = p256::AffinePoint::GENERATOR.to_encoded_point(false);
    let p384 = p384::AffinePoint::GENERATOR.to_encoded_point(false);
    // Either half of the pair ±G will do: the private keys are each other's negatives.
    let begins = |x: Option<&[u8]>| x.is_some_and(|x| base.get(1..=x.len()) == Some(x));
    Ok(match () {
        () if begins(p256.x().map(|x| &x[..])) => Some(KeyType::P256),
        () if begins(p384.x().map(|x| &x[..])) => Some(KeyType::P384),
        () => None,
    })
}

fn rsa(key: Element<'_>) -> Result<GivenKey, GivenKeyError> {
    let parts = elements(key)?;
    let [modulus, _] = parts[..] else {
        return Err(GivenKeyError::Malformed("its RSA key is not modulus and exponent"));
    };
    match PublicKey::from_rsa(modulus.content, &[1, 0, 1]) {
        Ok(key) => Ok(GivenKey::Key { digest: key.digest(), key_type: key.key_type() }),
        Err(error @ KeyError::ModulusSize(_)) => Ok(GivenKey::NotCertifiable(error)),
        Err(_) => Err(GivenKeyError::Malformed("its RSA key has no modulus")),
    }
}

/// More parts than any certificate has.
const MAX_PARTS: usize = 16;

fn elements(of: Element<'_>) -> Result<Vec<Element<'_>>, GivenKeyError> {
    let parts = strict::elements(of.content, MAX_PARTS).map_err(GivenKeyError::Malformed)?;
    parts.ok_or(GivenKeyError::Malformed("it has too many parts"))
}
