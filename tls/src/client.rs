//! Configurations for rustls, by the roots that are trusted and the certificate that is shown.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::client::{Resumption, WantsClientCert};
use rustls::crypto::{self, CryptoProvider};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};

use crate::{Error, files};

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(crypto::ring::default_provider())
}

fn setup(error: impl fmt::Display) -> Error {
    Error::Setup(error.to_string())
}

pub(crate) fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, Error> {
    ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().map_err(setup)
}

fn trusting(roots: &[Vec<u8>]) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, Error> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(CertificateDer::from(root.clone())).map_err(setup)?;
    }
    Ok(builder()?.with_root_certificates(store))
}

/// HTTP/1.1 is all that is spoken.
pub(crate) fn http1(mut config: ClientConfig) -> Arc<ClientConfig> {
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Arc::new(config)
}

/// Trusts servers under these roots (DER), and shows no certificate.
///
/// # Errors
/// When a root is no certificate.
pub fn plain(roots: &[Vec<u8>]) -> Result<Arc<ClientConfig>, Error> {
    Ok(http1(trusting(roots)?.with_no_client_auth()))
}

/// Trusts servers under these roots (DER), and shows this certificate with its chain (DER, the own one first); the key is
/// its PKCS#8.
///
/// # Errors
/// When a root is no certificate, or key and certificate do not fit.
pub fn with_identity(roots: &[Vec<u8>], chain: &[Vec<u8>], pkcs8: &[u8]) -> Result<Arc<ClientConfig>, Error> {
    let chain = chain.iter().cloned().map(CertificateDer::from).collect();
    let key = PrivateKeyDer::Pkcs8(pkcs8.to_vec().into());
    Ok(http1(trusting(roots)?.with_client_auth_cert(chain, key).map_err(setup)?))
}

/// Somebody who is enrolled: trusts the roots in `ca_file`, and shows the certificate of the other two files.
///
/// # Errors
/// When a file cannot be read, others may read the key, or key and certificate do not fit.
pub fn from_files(ca_file: &Path, certificate_file: &Path, key_file: &Path) -> Result<Arc<ClientConfig>, Error> {
    let chain = files::certificates(certificate_file)?.into_iter().map(CertificateDer::from).collect();
    let key = files::private_key(key_file)?;
    let config = trusting(&files::certificates(ca_file)?)?.with_client_auth_cert(chain, key);
    Ok(http1(config.map_err(|error| Error::Credentials {
        path: certificate_file.to_owned(),
        reason: format!("certificate and key cannot be used: {error}"),
    })?))
}

/// Trusts these roots (DER), and shows a certificate (DER) whose key is elsewhere, such as on a card. A session is never
/// resumed, so that every connection takes the key.
///
/// # Errors
/// When a root is no certificate.
pub fn with_foreign_key(
    roots: &[Vec<u8>],
    certificate: &[u8],
    key: Arc<dyn SigningKey>,
) -> Result<Arc<ClientConfig>, Error> {
    let chain = vec![CertificateDer::from(certificate.to_vec())];
    let certified = CertifiedKey::new(chain, key);
    let mut config = trusting(roots)?.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.resumption = Resumption::disabled();
    Ok(http1(config))
}
