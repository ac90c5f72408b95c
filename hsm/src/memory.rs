//! A key in memory, for what is short-lived and many: OCSP delegates and TLS. A CA's key is never one (conformance: K1).
//!
//! ring signs, for all kinds of key; it cannot make RSA keys, nor sign what was hashed before, so the RustCrypto crates do
//! that.

use std::fmt;

use const_oid::db::rfc5912;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use p256::pkcs8::{DecodePrivateKey, PrivateKeyInfo};
use pki::{KeyType, PublicKey};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair,
    RSA_PKCS1_SHA256, RsaKeyPair,
};
use rsa::pkcs8::EncodePrivateKey;
use rsa::rand_core::OsRng;
use rsa::sha2::Sha256;
use rsa::{Pkcs1v15Sign, RsaPrivateKey};
use zeroize::Zeroizing;

use crate::{Error, Signer};

/// A key in memory. It is wiped when dropped, as far as the copy that can be exported goes.
pub struct MemoryKey {
    pkcs8: Zeroizing<Vec<u8>>,
    pair: Pair,
    public_key: PublicKey,
    random: SystemRandom,
}

/// The key as ring holds it.
enum Pair {
    Ecdsa(EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

impl MemoryKey {
    /// A new key. P-256 takes microseconds; RSA a tenth of a second for 2048 bits and several seconds for 4096 where luck is
    /// bad, on the calling thread.
    ///
    /// # Errors
    /// [`Error::Random`] when the system gives no random octets.
    pub fn generate(key_type: KeyType) -> Result<Self, Error> {
        let bits = match key_type {
            KeyType::P256 => return Self::generate_ec(&ECDSA_P256_SHA256_ASN1_SIGNING),
            KeyType::P384 => return Self::generate_ec(&ECDSA_P384_SHA384_ASN1_SIGNING),
            KeyType::Rsa2048 => 2048,
            KeyType::Rsa3072 => 3072,
            KeyType::Rsa4096 => 4096,
        };
        // The crate panics when the system gives no random octets; one call of it before shows that.
        ring::rand::SecureRandom::fill(&SystemRandom::new(), &mut [0; 32]).map_err(|_| Error::Random)?;
        let key = RsaPrivateKey::new(&mut OsRng, bits).map_err(|_| Error::Random)?;
        let document = key.to_pkcs8_der().map_err(|_| Error::MemoryKey)?;
        Self::from_pkcs8(document.as_bytes())
    }

    /// A new P-256 key.
    ///
    /// # Errors
    /// [`Error::Random`] when the system gives no random octets.
    pub fn generate_p256() -> Result<Self, Error> {
        Self::generate(KeyType::P256)
    }

    fn generate_ec(algorithm: &'static EcdsaSigningAlgorithm) -> Result<Self, Error> {
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).map_err(|_| Error::Random)?;
        Self::from_pkcs8(document.as_ref())
    }

    /// A key that was kept: DER `OneAsymmetricKey` (RFC 5958 2), as [`MemoryKey::to_pkcs8`] gives it.
    ///
    /// # Errors
    /// [`Error::MemoryKey`] when it is neither RSA nor P-256 or P-384 with its public half, and [`Error::PublicKey`] when
    /// its public half may not be certified.
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, Error> {
        let random = SystemRandom::new();
        let info = PrivateKeyInfo::try_from(pkcs8).map_err(|_| Error::MemoryKey)?;
        let ecdsa = |algorithm, key_type| {
            let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8, &random).map_err(|_| Error::MemoryKey)?;
            let public_key = PublicKey::from_ec_point(key_type, pair.public_key().as_ref())?;
            Ok::<_, Error>((Pair::Ecdsa(pair), public_key))
        };
        let curve = || info.algorithm.parameters_oid().ok();
        let (pair, public_key) = match (info.algorithm.oid, curve()) {
            (rfc5912::ID_EC_PUBLIC_KEY, Some(rfc5912::SECP_256_R_1)) => {
                ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING, KeyType::P256)?
            }
            (rfc5912::ID_EC_PUBLIC_KEY, Some(rfc5912::SECP_384_R_1)) => {
                ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING, KeyType::P384)?
            }
            (rfc5912::RSA_ENCRYPTION, _) => {
                let pair = RsaKeyPair::from_pkcs8(pkcs8).map_err(|_| Error::MemoryKey)?;
                let public = ring::rsa::PublicKeyComponents::<Vec<u8>>::from(pair.public());
                let public_key = PublicKey::from_rsa(&public.n, &public.e)?;
                (Pair::Rsa(pair), public_key)
            }
            _ => return Err(Error::MemoryKey),
        };
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
        match &self.pair {
            Pair::Ecdsa(pair) => {
                let signature = pair.sign(&self.random, message).map_err(|_| Error::Random)?;
                Ok(signature.as_ref().to_vec())
            }
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &self.random, message, &mut signature).map_err(|_| Error::Random)?;
                Ok(signature)
            }
        }
    }

    fn sign_digest(&self, digest: &[u8]) -> Result<Vec<u8>, Error> {
        let key_type = self.public_key.key_type();
        let expected = if key_type == KeyType::P384 { 48 } else { 32 };
        let actual = digest.len();
        if actual != expected {
            return Err(Error::DigestLength { key_type, expected, actual });
        }
        // ring signs messages only.
        let signature = match key_type {
            KeyType::P256 => p256::ecdsa::SigningKey::from_pkcs8_der(&self.pkcs8).ok().and_then(|key| {
                let signature: p256::ecdsa::Signature = key.sign_prehash(digest).ok()?;
                Some(signature.to_der().as_bytes().to_vec())
            }),
            KeyType::P384 => p384::ecdsa::SigningKey::from_pkcs8_der(&self.pkcs8).ok().and_then(|key| {
                let signature: p384::ecdsa::Signature = key.sign_prehash(digest).ok()?;
                Some(signature.to_der().as_bytes().to_vec())
            }),
            // Blinded by random numbers: the crate's arithmetic takes a time that depends on what it works on.
            KeyType::Rsa2048 | KeyType::Rsa3072 | KeyType::Rsa4096 => RsaPrivateKey::from_pkcs8_der(&self.pkcs8)
                .ok()
                .and_then(|key| key.sign_with_rng(&mut OsRng, Pkcs1v15Sign::new::<Sha256>(), digest).ok()),
        };
        signature.ok_or(Error::MemoryKey)
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

    /// One of each kind; RSA keys take long to make, so two sizes have to do.
    fn keys() -> [MemoryKey; 4] {
        [KeyType::P256, KeyType::P384, KeyType::Rsa2048, KeyType::Rsa3072].map(|key_type| {
            let key = MemoryKey::generate(key_type).unwrap();
            assert_eq!(key.public_key().key_type(), key_type);
            key
        })
    }

    #[test]
    fn it_signs_the_same_after_it_was_kept() {
        for key in keys() {
            let kept = MemoryKey::from_pkcs8(&key.to_pkcs8()).unwrap();
            assert_eq!(kept.public_key(), key.public_key());
            let signature = kept.sign(b"message").unwrap();
            key.public_key().verify(key.algorithm(), b"message", &signature).unwrap();
            assert!(key.public_key().verify(key.algorithm(), b"another", &signature).is_err());
        }
    }

    #[test]
    fn what_was_hashed_already_is_signed_as_the_message_is() {
        for key in keys() {
            let key_type = key.public_key().key_type();
            let hash = if key_type == KeyType::P384 { &ring::digest::SHA384 } else { &ring::digest::SHA256 };
            let digest = ring::digest::digest(hash, b"message");
            let signature = key.sign_digest(digest.as_ref()).unwrap();
            key.public_key().verify(key.algorithm(), b"message", &signature).unwrap();
            let short = key.sign_digest(&digest.as_ref()[1..]);
            assert!(
                matches!(short, Err(Error::DigestLength { key_type: named, .. }) if named == key_type),
                "{short:?}"
            );
        }
    }

    #[test]
    fn no_key_is_made_twice_and_rsa_keys_pass_the_rules_for_requests() {
        // conformance: R2, R3, R4, R5
        let [one, two] = [(), ()].map(|()| MemoryKey::generate(KeyType::Rsa2048).unwrap());
        assert_ne!(one.public_key(), two.public_key());
        for key in [&one, &two] {
            pki::weak_key::check(key.public_key()).unwrap();
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        assert!(matches!(MemoryKey::from_pkcs8(b"not a key"), Err(Error::MemoryKey)));
        let key = MemoryKey::generate(KeyType::Rsa2048).unwrap().to_pkcs8();
        assert!(matches!(MemoryKey::from_pkcs8(&key[..key.len() - 1]), Err(Error::MemoryKey)));
        assert!(matches!(MemoryKey::from_pkcs8(&[&key[..], &[0]].concat()), Err(Error::MemoryKey)));
    }

    #[test]
    fn debug_output_shows_the_public_key_only() {
        let key = MemoryKey::generate_p256().unwrap();
        assert_eq!(format!("{key:?}"), format!("MemoryKey({:?})", key.public_key()));
    }
}
