//! TLS as a client: the service as a station and a card's holder see it. What they have in common with other clients is
//! the room `tls`'s.
//!
//! A key on a card signs inside the handshake, and rustls waits for it: such connections are made on threads of their own
//! ([`crate::login`]).

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use ::tls::{PinnedRoot, client, files, pinned};
use hsm::Signer;
use pki::KeyType;
use rustls::sign::SigningKey;
use rustls::{ClientConfig, SignatureAlgorithm, SignatureScheme};

use crate::Error;

/// The certificates in a PEM file, DER.
///
/// # Errors
/// When it cannot be read, or holds none.
pub fn certificates(path: &Path) -> Result<Vec<Vec<u8>>, Error> {
    Ok(files::certificates(path)?)
}

/// Trusts servers under these roots, and shows no certificate.
///
/// # Errors
/// When a root is no certificate.
pub fn plain_config(roots: &[Vec<u8>]) -> Result<Arc<ClientConfig>, Error> {
    Ok(client::plain(roots)?)
}

/// An enrolled station: trusts the root in `ca_file`, and shows its own certificate.
///
/// # Errors
/// When a file cannot be read, others may read the key, or key and certificate do not fit.
pub fn station_config(ca_file: &Path, certificate_file: &Path, key_file: &Path) -> Result<Arc<ClientConfig>, Error> {
    Ok(client::from_files(ca_file, certificate_file, key_file)?)
}

/// A card's holder: trusts these roots, and shows the certificate that belongs to the card's key. A session is never
/// resumed, so that every connection takes the card.
///
/// # Errors
/// When a root is no certificate.
pub fn card_config(roots: &[Vec<u8>], certificate: &[u8], key: Arc<dyn Signer>) -> Result<Arc<ClientConfig>, Error> {
    Ok(client::with_foreign_key(roots, certificate, Arc::new(CardKey(key)))?)
}

/// A station that is about to be enrolled: trusts the one root whose SHA-256 begins with this fingerprint. The server
/// sends it in its chain.
///
/// # Errors
/// When rustls does not take its own defaults.
pub fn enrolment_config(
    fingerprint: [u8; api::code::PART_OCTETS],
) -> Result<(Arc<ClientConfig>, Arc<PinnedRoot>), Error> {
    Ok(pinned::config(fingerprint)?)
}

/// A key on a card, as rustls sees it.
struct CardKey(Arc<dyn Signer>);

/// RSA keys sign by PKCS#1 v1.5 alone here, which TLS 1.3 does not take (RFC 8446 4.2.3): they serve up to TLS 1.2.
fn scheme(key_type: KeyType) -> SignatureScheme {
    match key_type {
        KeyType::P256 => SignatureScheme::ECDSA_NISTP256_SHA256,
        KeyType::P384 => SignatureScheme::ECDSA_NISTP384_SHA384,
        KeyType::Rsa2048 | KeyType::Rsa3072 | KeyType::Rsa4096 => SignatureScheme::RSA_PKCS1_SHA256,
    }
}

impl fmt::Debug for CardKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CardKey").field(self.0.public_key()).finish()
    }
}

impl SigningKey for CardKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn rustls::sign::Signer>> {
        let scheme = scheme(self.0.public_key().key_type());
        offered.contains(&scheme).then(|| Box::new(CardSigner(Arc::clone(&self.0), scheme)) as _)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        match self.0.public_key().key_type() {
            KeyType::P256 | KeyType::P384 => SignatureAlgorithm::ECDSA,
            KeyType::Rsa2048 | KeyType::Rsa3072 | KeyType::Rsa4096 => SignatureAlgorithm::RSA,
        }
    }
}

struct CardSigner(Arc<dyn Signer>, SignatureScheme);

impl fmt::Debug for CardSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CardSigner").field(&self.1).finish()
    }
}

impl rustls::sign::Signer for CardSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        self.0.sign(message).map_err(|error| rustls::Error::General(error.to_string()))
    }

    fn scheme(&self) -> SignatureScheme {
        self.1
    }
}
