//! What CRLs, OCSP answers and delegates' certificates have in common on the wire: the signed envelope and times.

use std::time::Duration;

use der::asn1::{AnyRef, BitStringRef, GeneralizedTime, UtcTime};
use der::{Decode, Encode, Reader, Sequence, SliceReader, Tag, Tagged};
use spki::AlgorithmIdentifierRef;
use x509_cert::time::Time;

use crate::{SignatureAlgorithm, Timestamp};

/// `SIGNED{ToBeSigned}` of X.509: `SEQUENCE { toBeSigned, algorithmIdentifier, signature BIT STRING }` (RFC 5280 4.1, 5.1).
/// The bytes to be signed are a slice of what came in, never encoded again.
pub(crate) struct SignedEnvelope<'a> {
    pub(crate) tbs_der: &'a [u8],
    pub(crate) algorithm: AlgorithmIdentifierRef<'a>,
    pub(crate) signature: &'a [u8],
}

impl<'a> SignedEnvelope<'a> {
    pub(crate) fn from_der(bytes: &'a [u8]) -> der::Result<Self> {
        let mut reader = SliceReader::new(bytes)?;
        let content: AnyRef<'a> = reader.decode()?;
        content.tag().assert_eq(Tag::Sequence)?;
        reader.finish(())?;
        let mut fields = SliceReader::new(content.value())?;
        let tbs_der = fields.tlv_bytes()?;
        let algorithm = fields.decode()?;
        let signature = bits_of(fields.decode()?)?;
        fields.finish(SignedEnvelope { tbs_der, algorithm, signature })
    }

    /// The algorithm, if it is one that is used here; `inner` is the one inside the signed bytes, and must be the same.
    pub(crate) fn known_algorithm(&self, inner: &AlgorithmIdentifierRef<'_>) -> Option<SignatureAlgorithm> {
        if self.algorithm != *inner { None } else { known_algorithm(&self.algorithm) }
    }
}

/// The octets of a BIT STRING that has no unused bits.
pub(crate) fn bits_of(bits: BitStringRef<'_>) -> der::Result<&[u8]> {
    bits.as_bytes().ok_or_else(|| Tag::BitString.value_error())
}

/// The signature algorithm that an identifier stands for, if it is one that is used here. RSA's NULL may be missing.
pub(crate) fn known_algorithm(identifier: &AlgorithmIdentifierRef<'_>) -> Option<SignatureAlgorithm> {
    let all =
        [SignatureAlgorithm::EcdsaP256Sha256, SignatureAlgorithm::EcdsaP384Sha384, SignatureAlgorithm::RsaPkcs1Sha256];
    all.into_iter().find(|algorithm| {
        let ours = algorithm.identifier();
        ours.oid == identifier.oid
            && (ours.parameters == identifier.parameters
                || (identifier.parameters.is_none() && ours.parameters.is_some()))
    })
}

/// `SIGNED{ToBeSigned}`: an envelope, with whatever else follows the signature.
pub(crate) fn envelope(
    tbs_der: &[u8],
    algorithm: SignatureAlgorithm,
    signature: &[u8],
    rest: &[u8],
) -> der::Result<Vec<u8>> {
    let mut content = Vec::with_capacity(tbs_der.len() + signature.len() + rest.len() + 64);
    content.extend_from_slice(tbs_der);
    algorithm.identifier().encode_to_vec(&mut content)?;
    BitStringRef::from_bytes(signature)?.encode_to_vec(&mut content)?;
    content.extend_from_slice(rest);
    AnyRef::new(Tag::Sequence, &content)?.to_der()
}

/// A GeneralizedTime in whole seconds.
pub(crate) fn generalized_time(time: Timestamp) -> der::Result<GeneralizedTime> {
    GeneralizedTime::from_unix_duration(unix_duration(time)?)
}

/// `Time` by the rule of RFC 5280 4.1.2.5: UTCTime until the end of 2049, GeneralizedTime from 2050 on.
pub(crate) fn x509_time(time: Timestamp) -> der::Result<Time> {
    let since_1970 = unix_duration(time)?;
    Ok(match UtcTime::from_unix_duration(since_1970) {
        Ok(utc) => Time::UtcTime(utc),
        Err(_) => Time::GeneralTime(GeneralizedTime::from_unix_duration(since_1970)?),
    })
}

fn unix_duration(time: Timestamp) -> der::Result<Duration> {
    u64::try_from(time.unix_seconds()).map(Duration::from_secs).map_err(|_| der::Error::from(der::ErrorKind::DateTime))
}

/// The other way.
pub(crate) fn timestamp(since_1970: Duration) -> Timestamp {
    Timestamp::EPOCH.plus(Duration::from_secs(since_1970.as_secs()))
}

/// `Extension ::= SEQUENCE { extnID, critical BOOLEAN DEFAULT FALSE, extnValue OCTET STRING }` (RFC 5280 4.1.2.9),
/// borrowed. A `critical FALSE` that is spelled out is let pass on reading, and never written.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub(crate) struct ExtensionRef<'a> {
    pub(crate) extn_id: const_oid::ObjectIdentifier,
    #[asn1(default = "Default::default")]
    pub(crate) critical: bool,
    #[asn1(type = "OCTET STRING")]
    pub(crate) extn_value: &'a [u8],
}

/// Walks over a `SEQUENCE OF` without collecting it.
pub(crate) fn each<'a>(list: AnyRef<'a>, mut take: impl FnMut(AnyRef<'a>) -> der::Result<()>) -> der::Result<()> {
    list.tag().assert_eq(Tag::Sequence)?;
    let mut reader = SliceReader::new(list.value())?;
    while !reader.is_finished() {
        take(reader.decode()?)?;
    }
    Ok(())
}

/// Decodes what must fill `bytes` exactly.
pub(crate) fn exactly<'a, T: Decode<'a>>(bytes: &'a [u8]) -> der::Result<T> {
    T::from_der(bytes)
}
