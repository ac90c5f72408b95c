//! What must be known of an issuing CA to build what it signs.

use crate::{PublicKey, SignatureAlgorithm, Timestamp};

/// One CA key with its certificate, as certificates, CRLs and OCSP answers refer to it.
#[derive(Clone, Debug)]
pub struct IssuerDescription {
    /// Name and key generation, such as `authentication-1`: how the store, the feed and the URLs call it.
    pub id: String,
    /// The CA certificate.
    pub certificate_der: Vec<u8>,
    /// The DER of the CA certificate's subject, byte for byte: what goes into `issuer` (conformance: C1).
    pub subject_der: Vec<u8>,
    /// The CA's public key.
    pub public_key: PublicKey,
    /// The subject key identifier in the CA certificate: the AKI of all that it signs (conformance: E3, C5).
    pub key_identifier: Vec<u8>,
    /// When the CA certificate ends.
    pub not_after: Timestamp,
    /// AIA caIssuers: where the CA certificate is to be had, over http.
    pub ca_issuers_url: String,
    /// AIA OCSP: none in what the root signs.
    pub ocsp_url: Option<String>,
    /// CRLDP: where this CA's CRL is to be had, over http.
    pub crl_url: String,
}

impl IssuerDescription {
    /// The same issuer, whose certificates name another CRL: that of a partition (conformance: C11).
    pub fn with_crl_url(&self, crl_url: String) -> Self {
        IssuerDescription { crl_url, ..self.clone() }
    }

    /// What this CA signs with.
    pub fn signature_algorithm(&self) -> SignatureAlgorithm {
        self.public_key.key_type().signature_algorithm()
    }
}
