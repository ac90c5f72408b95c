//! A certificate for the service itself, where nobody else gives one: for demos and tests.

use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;

use crate::Error;

/// Makes a new P-256 key and a self-signed certificate (DER) for these DNS names or IP addresses. Who is to trust it takes
/// the certificate itself as a root.
///
/// # Errors
/// When a name is none.
pub fn self_signed(names: &[&str]) -> Result<(Vec<u8>, PrivateKeyDer<'static>), Error> {
    let refused = |error: rcgen::Error| Error::Tls(format!("no certificate for {}: {error}", names.join(", ")));
    let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
    if let Ok(params) = &mut params {
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "relying service");
        params.is_ca = IsCa::ExplicitNoCa;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    }
    let key = KeyPair::generate().map_err(refused)?;
    let certificate = params.and_then(|params| params.self_signed(&key)).map_err(refused)?;
    let key = PrivateKeyDer::try_from(key.serialize_der()).map_err(|error| Error::Tls(error.to_owned()))?;
    Ok((certificate.der().to_vec(), key))
}
