//! Certification requests: proper ones by rcgen, others by `openssl` or by hand.

use std::path::Path;

use hsm::{MemoryKey, Signer};
use rcgen::{
    CertificateParams, DistinguishedName, DnType, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, PublicKeyData, SigningKey,
};

use crate::openssl::openssl;

/// A P-256 or RSA key, wherever it is, as rcgen takes it.
struct Through<'a>(&'a dyn Signer);

impl PublicKeyData for Through<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key().key_bits()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        if self.0.public_key().rsa_modulus().is_some() { &PKCS_RSA_SHA256 } else { &PKCS_ECDSA_P256_SHA256 }
    }
}

impl SigningKey for Through<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign(message).map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

/// A request that asks for nothing, DER, by any P-256 or RSA key: a CA's in its token, too.
///
/// # Panics
/// When it cannot be made.
pub fn signed_by(key: &dyn Signer) -> Vec<u8> {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.serialize_request(&Through(key)).expect("a request").der().to_vec()
}

/// A request that asks for nothing, DER.
///
/// # Panics
/// When it cannot be made.
pub fn plain(key: &MemoryKey) -> Vec<u8> {
    signed_by(key)
}

/// A request whose subject claims to be somebody else, DER.
///
/// # Panics
/// When it cannot be made.
pub fn claiming(key: &MemoryKey, common_name: &str) -> Vec<u8> {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, common_name);
    parameters.serialize_request(&Through(key)).expect("a request").der().to_vec()
}

/// A request with a key made by `openssl genpkey` with these options, and made by `openssl req` with those. PEM; the key
/// is left as `key.pem` in `dir`.
///
/// # Panics
/// When openssl does not make it.
pub fn by_openssl(dir: &Path, key: &[&str], request: &[&str]) -> Vec<u8> {
    openssl(dir, &[&["genpkey", "-out", "key.pem"], key].concat()).expect("a key");
    let mut arguments = vec!["req", "-new", "-key", "key.pem"];
    if !request.contains(&"-subj") {
        arguments.extend(["-subj", "/"]);
    }
    arguments.extend(request);
    openssl(dir, &arguments).expect("a request").into_bytes()
}

/// The options of `openssl genpkey` for a curve.
pub fn curve(name: &'static str) -> [&'static str; 4] {
    match name {
        "P-256" => ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
        "P-384" => ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384"],
        "secp256k1" => ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"],
        other => panic!("no curve {other} is asked for in these tests"),
    }
}
