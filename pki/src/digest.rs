//! Digests of what is signed, for messages that are too large to be held: hashed piece by piece, and verified by their
//! digest alone.
//!
//! ring verifies whole messages only. The curves of the RustCrypto project take a digest; for RSA, PKCS#1 v1.5 is one
//! exponentiation by 65537 and a comparison with what must come out, octet for octet (RFC 8017 8.2.2).

use crypto_bigint::modular::runtime_mod::{DynResidue, DynResidueParams};
use crypto_bigint::{Encoding, Integer, U2048, U3072, U4096, Uint};
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use ring::digest::{Algorithm, Context, SHA256, SHA384};

use crate::key::KeyError;
use crate::{KeyType, PublicKey, SignatureAlgorithm, strict};

/// `DigestInfo` of SHA-256 as far as the digest (RFC 8017 9.2, note 1).
const SHA256_DIGEST_INFO: [u8; 19] =
    [0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20];

/// 65537 has 17 bits.
const EXPONENT_BITS: usize = 17;

/// A message that is hashed piece by piece, by the hash function of a signature algorithm.
#[derive(Clone)]
pub struct MessageDigest(Context);

impl MessageDigest {
    /// Of an empty message.
    pub fn new(algorithm: SignatureAlgorithm) -> Self {
        MessageDigest(Context::new(hash(algorithm)))
    }

    /// Adds the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The digest: 32 octets of SHA-256, 48 of SHA-384.
    pub fn finish(self) -> Vec<u8> {
        self.0.finish().as_ref().to_vec()
    }
}

impl std::fmt::Debug for MessageDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MessageDigest(..)")
    }
}

fn hash(algorithm: SignatureAlgorithm) -> &'static Algorithm {
    match algorithm {
        SignatureAlgorithm::EcdsaP256Sha256 | SignatureAlgorithm::RsaPkcs1Sha256 => &SHA256,
        SignatureAlgorithm::EcdsaP384Sha384 => &SHA384,
    }
}

impl PublicKey {
    /// Checks a signature in X.509 form over the message that has this [`MessageDigest`].
    ///
    /// # Errors
    /// [`KeyError::Signature`] when this key did not make it.
    pub fn verify_digest(
        &self,
        algorithm: SignatureAlgorithm,
        digest: &[u8],
        signature: &[u8],
    ) -> Result<(), KeyError> {
        let fits = algorithm == self.key_type().signature_algorithm() && digest.len() == hash(algorithm).output_len();
        let verified = fits && self.made(digest, signature).is_some();
        if verified { Ok(()) } else { Err(KeyError::Signature) }
    }

    fn made(&self, digest: &[u8], signature: &[u8]) -> Option<()> {
        match self.key_type() {
            KeyType::P256 => {
                let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(self.key_bits()).ok()?;
                let signature = p256::ecdsa::Signature::from_der(signature).ok()?;
                key.verify_prehash(digest, &signature).ok()
            }
            KeyType::P384 => {
                let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(self.key_bits()).ok()?;
                let signature = p384::ecdsa::Signature::from_der(signature).ok()?;
                key.verify_prehash(digest, &signature).ok()
            }
            KeyType::Rsa2048 => self.rsa_made::<{ U2048::LIMBS }>(digest, signature),
            KeyType::Rsa3072 => self.rsa_made::<{ U3072::LIMBS }>(digest, signature),
            KeyType::Rsa4096 => self.rsa_made::<{ U4096::LIMBS }>(digest, signature),
        }
    }

    fn rsa_made<const LIMBS: usize>(&self, digest: &[u8], signature: &[u8]) -> Option<()>
    where
        Uint<LIMBS>: Encoding,
    {
        let (key, _) = strict::split(self.key_bits()).ok()?;
        let (modulus, _) = strict::split(key.content).ok()?;
        let modulus = modulus.content.strip_prefix(&[0]).unwrap_or(modulus.content);
        if modulus.len() != Uint::<LIMBS>::BYTES || signature.len() != modulus.len() {
            return None;
        }
        let length = modulus.len();
        let (modulus, signature) = (Uint::<LIMBS>::from_be_slice(modulus), Uint::from_be_slice(signature));
        // Montgomery's arithmetic is for odd moduli; an even one is no RSA modulus.
        if signature >= modulus || !bool::from(modulus.is_odd()) {
            return None;
        }
        let parameters = DynResidueParams::new(&modulus);
        let power =
            DynResidue::new(&signature, parameters).pow_bounded_exp(&Uint::<1>::from(65_537_u32), EXPONENT_BITS);
        let mut encoded = vec![0xff; length];
        let tail = SHA256_DIGEST_INFO.len() + digest.len();
        encoded[..2].copy_from_slice(&[0, 1]);
        encoded[length - tail - 1] = 0;
        encoded[length - tail..length - digest.len()].copy_from_slice(&SHA256_DIGEST_INFO);
        encoded[length - digest.len()..].copy_from_slice(digest);
        (power.retrieve().to_be_bytes().as_ref() == encoded).then_some(())
    }
}
