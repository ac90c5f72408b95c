//! A key in memory, for what is short-lived and many: OCSP delegates and TLS. A CA's key is never one (conformance: K1).

use std::fmt;

use p256::ecdsa::signature::hazmat::PrehashSigner;
use p256::ecdsa::{Signature, SigningKey};
use p256::pkcs8::DecodePrivateKey;
use pki::{KeyType, PublicKey};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use zeroize::Zeroizing;

use crate::{Error, Signer};

/// A P-256 key in memory. It is wiped when dropped, as far as the copy that can be exported goes.
pub struct MemoryKey {
    pkcs8: Zeroizing<Vec<u8>>,
    pair: EcdsaKeyPair,
    public_key: PublicKey,
    random: SystemRandom,
}

impl MemoryKey {
    /// A new key.
    ///
    /// # Errors
    /// [`Error::Random`] when the system gives no random octets.
    pub fn generate_p256() -> Result<Self, Error> {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new())
            .map_err(|_| Error::Random)?;
        Self::from_pkcs8(document.as_ref())
    }

    /// A key that was kept: DER `OneAsymmetricKey` (RFC 5958 2), as [`MemoryKey::to_pkcs8`] gives it.
    ///
    /// # Errors
    /// [`Error::MemoryKey`] when it is not a P-256 key with its public half.
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, Error> {
        let random = SystemRandom::new();
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8, &random).map_err(|_| Error::MemoryKey)?;
        let public_key = PublicKey::from_ec_point(KeyType::P256, pair.public_key().as_ref())?;
        Ok(MemoryKey { pkcs8: Zeroizing::new(pkcs8.to_vec()), pair, public_key, random })
    }

    /// The private key as DER `OneAsymmetricKey` (RFC 5958 2).
    pub fn to_pkcs8(&self) -> Zeroizing<Vec<u8>> {
        self.pkcs8.clone()
    }
}

impl Signer for MemoryKey {
    fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let signature = self.pair.sign(&self.random, message).map_err(|_| Error::Random)?;
        Ok(signature.as_ref().to_vec())
    }

    fn sign_digest(&self, digest: &[u8]) -> Result<Vec<u8>, Error> {
        let (expected, actual) = (32, digest.len());
        if actual != expected {
            return Err(Error::DigestLength { key_type: KeyType::P256, expected, actual });
        }
        // ring signs messages only.
        let key = SigningKey::from_pkcs8_der(&self.pkcs8).map_err(|_| Error::MemoryKey)?;
        let signature: Signature = key.sign_prehash(digest).map_err(|_| Error::MemoryKey)?;
        Ok(signature.to_der().as_bytes().to_vec())
    }
}

impl fmt::Debug for MemoryKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MemoryKey").field(&self.public_key).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_signs_the_same_after_it_was_kept() {
        let key = MemoryKey::generate_p256().unwrap();
        let kept = MemoryKey::from_pkcs8(&key.to_pkcs8()).unwrap();
        let signature = kept.sign(b"message").unwrap();
        key.public_key().verify(key.algorithm(), b"message", &signature).unwrap();
        assert!(key.public_key().verify(key.algorithm(), b"another", &signature).is_err());
    }

    #[test]
    fn what_was_hashed_already_is_signed_as_the_message_is() {
        let key = MemoryKey::generate_p256().unwrap();
        let digest = ring::digest::digest(&ring::digest::SHA256, b"message");
        let signature = key.sign_digest(digest.as_ref()).unwrap();
        key.public_key().verify(key.algorithm(), b"message", &signature).unwrap();
        let short = key.sign_digest(&digest.as_ref()[1..]);
        assert!(matches!(short, Err(Error::DigestLength { actual: 31, .. })), "{short:?}");
    }

    #[test]
    fn what_is_no_key_is_refused() {
        assert!(matches!(MemoryKey::from_pkcs8(b"not a key"), Err(Error::MemoryKey)));
    }

    #[test]
    fn debug_output_shows_the_public_key_only() {
        let key = MemoryKey::generate_p256().unwrap();
        assert_eq!(format!("{key:?}"), format!("MemoryKey({:?})", key.public_key()));
    }
}
