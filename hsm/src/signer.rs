//! The contract that the rooms above sign through, whether the key is in a token or in memory.

use pki::{PublicKey, SignatureAlgorithm};

use crate::Error;

/// A private key that signs. Signatures come in the form that X.509 carries: ECDSA as DER `Ecdsa-Sig-Value` (RFC 3279
/// 2.2.3), RSA as PKCS#1 v1.5 octets (RFC 8017 8.2). The caller verifies them with [`Signer::public_key`].
pub trait Signer: Send + Sync {
    /// The public half.
    fn public_key(&self) -> &PublicKey;

    /// What it signs with; it follows from the key.
    fn algorithm(&self) -> SignatureAlgorithm {
        self.public_key().key_type().signature_algorithm()
    }

    /// Signs `message`, which is hashed by [`Signer::algorithm`]'s hash function.
    ///
    /// # Errors
    /// [`Error::Busy`] at once when the token's queue is full, and whatever the token answers.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error>;

    /// Signs what was hashed already, by [`Signer::algorithm`]'s hash function: for a CRL too large to keep.
    ///
    /// # Errors
    /// As [`Signer::sign`]; [`Error::DigestLength`] when `digest` is not one of that function.
    fn sign_digest(&self, digest: &[u8]) -> Result<Vec<u8>, Error>;
}
