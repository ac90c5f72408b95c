//! Certification requests: proper ones by rcgen, others by `openssl` or by hand.

use std::path::Path;

use hsm::MemoryKey;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};

use crate::openssl::openssl;

/// The key as rcgen takes it.
///
/// # Panics
/// When rcgen does not take it.
pub fn rcgen_key(key: &MemoryKey) -> KeyPair {
    let pkcs8 = rustls::pki_types::PrivatePkcs8KeyDer::from(key.to_pkcs8().to_vec());
    KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8, &PKCS_ECDSA_P256_SHA256).expect("a P-256 key")
}

/// A request that asks for nothing, DER.
///
/// # Panics
/// When it cannot be made.
pub fn plain(key: &MemoryKey) -> Vec<u8> {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.serialize_request(&rcgen_key(key)).expect("a request").der().to_vec()
}

/// A request whose subject claims to be somebody else, DER.
///
/// # Panics
/// When it cannot be made.
pub fn claiming(key: &MemoryKey, common_name: &str) -> Vec<u8> {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, common_name);
    parameters.serialize_request(&rcgen_key(key)).expect("a request").der().to_vec()
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
