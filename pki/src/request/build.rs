//! Making a request: the bytes to be signed, and the whole with the signature, which is made elsewhere.

use der::asn1::{AnyRef, BitStringRef};
use der::{Decode, Encode, Sequence, Tag, TagNumber};

use super::Outer;
use crate::PublicKey;

/// `CertificationRequestInfo ::= SEQUENCE { version, subject, subjectPKInfo, attributes [0] }` (RFC 2986 4.1).
#[derive(Sequence)]
struct Info<'a> {
    version: u8,
    subject: AnyRef<'a>,
    subject_pk_info: AnyRef<'a>,
    attributes: AnyRef<'a>,
}

/// A request for a key, before its signature: with an empty subject and no attribute, since the CA takes nothing but the
/// key from it.
#[derive(Clone, Debug)]
pub struct NewRequest<'a> {
    key: &'a PublicKey,
    info: Vec<u8>,
}

impl<'a> NewRequest<'a> {
    /// One for this key.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub fn new(key: &'a PublicKey) -> Result<Self, der::Error> {
        let info = Info {
            version: 0,
            subject: AnyRef::new(Tag::Sequence, &[])?,
            subject_pk_info: AnyRef::from_der(key.spki_der())?,
            attributes: AnyRef::new(Tag::ContextSpecific { constructed: true, number: TagNumber::N0 }, &[])?,
        };
        Ok(NewRequest { key, info: info.to_der()? })
    }

    /// What the key signs, by its own algorithm.
    pub fn info_der(&self) -> &[u8] {
        &self.info
    }

    /// The request, DER.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub fn assemble(self, signature: &[u8]) -> Result<Vec<u8>, der::Error> {
        let outer = Outer {
            info: AnyRef::from_der(&self.info)?,
            algorithm: self.key.key_type().signature_algorithm().identifier(),
            signature: BitStringRef::from_bytes(signature)?,
        };
        outer.to_der()
    }
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};

    use super::*;
    use crate::KeyType;
    use crate::request::check_request;

    #[test]
    fn what_is_made_here_passes_the_checks_of_the_ca() {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref(), &random).unwrap();
        let key = PublicKey::from_ec_point(KeyType::P256, pair.public_key().as_ref()).unwrap();
        let request = NewRequest::new(&key).unwrap();
        let signature = pair.sign(&random, request.info_der()).unwrap();
        let whole = request.assemble(signature.as_ref()).unwrap();
        let checked = check_request(&whole).unwrap();
        assert_eq!((checked.public_key(), checked.ignored()), (&key, &[][..]));
        // Somebody else's signature.
        let request = NewRequest::new(&key).unwrap();
        let other = pair.sign(&random, b"another message").unwrap();
        assert!(check_request(&request.assemble(other.as_ref()).unwrap()).is_err());
    }
}
