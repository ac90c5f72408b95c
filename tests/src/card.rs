//! A card on paper: two keys in memory that do what a card's keys do. Most tests are about the service, and a token for
//! each card would cost them a second.

use std::sync::Arc;

use api::Base64;
use api::cards::{AllocationRequest, ConfirmationRequest, IssuanceKind, IssuanceRequest, IssuanceView};
use data_encoding::HEXLOWER;
use hsm::{MemoryKey, Signer};
use ring::rand::{SecureRandom, SystemRandom};
use sha2::{Digest, Sha256};

use crate::request;

/// The series of every paper card.
pub const SERIES: &str = "Paper";

/// Two keys, and the certificates that were issued for them.
#[derive(Clone, Debug)]
pub struct PaperCard {
    /// The chip's serial number.
    pub serial: String,
    /// The authentication key.
    pub authentication: Arc<MemoryKey>,
    /// The signing key.
    pub signing: Arc<MemoryKey>,
    /// The authentication key that was in use before these: it signs at a renewal that the card is there.
    pub in_use: Option<Arc<MemoryKey>>,
    /// The authentication certificate, DER, once there is one.
    pub authentication_certificate: Vec<u8>,
    /// The signing certificate, DER, once there is one.
    pub signing_certificate: Vec<u8>,
}

/// A new P-256 key.
///
/// # Panics
/// When the system gives no random octets.
pub fn new_key() -> Arc<MemoryKey> {
    Arc::new(MemoryKey::generate_p256().expect("a key"))
}

impl PaperCard {
    /// A card with new keys and a serial number of its own.
    ///
    /// # Panics
    /// When the system gives no random octets.
    pub fn new() -> Self {
        let mut octets = [0; 8];
        SystemRandom::new().fill(&mut octets).expect("random octets");
        PaperCard {
            serial: HEXLOWER.encode(&octets),
            authentication: new_key(),
            signing: new_key(),
            in_use: None,
            authentication_certificate: Vec::new(),
            signing_certificate: Vec::new(),
        }
    }

    /// The same chip with new keys.
    pub fn with_new_keys(&self) -> Self {
        PaperCard { serial: self.serial.clone(), in_use: Some(Arc::clone(&self.authentication)), ..PaperCard::new() }
    }

    /// The same with the certificates of this issuance.
    pub fn with_certificates(mut self, issuance: &IssuanceView) -> Self {
        let der = |view: &api::cards::CertificateView| view.certificate.clone().map(|der| der.0).unwrap_or_default();
        self.authentication_certificate = der(&issuance.authentication);
        self.signing_certificate = der(&issuance.signing);
        self
    }

    /// What sets the card aside for a person.
    pub fn allocation(&self, holder: &str) -> AllocationRequest {
        AllocationRequest { serial: self.serial.clone(), series: SERIES.to_owned(), holder: holder.to_owned() }
    }

    /// What asks for its certificates.
    pub fn request(&self, kind: IssuanceKind) -> IssuanceRequest {
        let (authentication, signing) = (request::plain(&self.authentication), request::plain(&self.signing));
        let possession = (kind == IssuanceKind::Renew).then(|| {
            let digest = |request: &[u8]| -> [u8; 32] { Sha256::digest(request).into() };
            let statement = pki::statement::renewal(&self.serial, &digest(&authentication), &digest(&signing));
            let key = self.in_use.as_ref().unwrap_or(&self.authentication);
            Base64(key.sign(&statement).expect("a signature"))
        });
        IssuanceRequest { kind, authentication: authentication.into(), signing: signing.into(), possession }
    }

    /// What confirms that both certificates were read back.
    ///
    /// # Panics
    /// When the issuance has no certificates.
    pub fn confirmation(&self, issuance: &IssuanceView) -> ConfirmationRequest {
        let digest = |certificate: &Option<Base64>| -> [u8; 32] {
            Sha256::digest(&certificate.as_ref().expect("a certificate").0).into()
        };
        let statement = pki::statement::confirmation(
            &issuance.id,
            &issuance.nonce.0,
            &digest(&issuance.authentication.certificate),
            &digest(&issuance.signing.certificate),
        );
        let sign = |key: &MemoryKey| Base64(key.sign(&statement).expect("a signature"));
        ConfirmationRequest { authentication: sign(&self.authentication), signing: sign(&self.signing) }
    }

    /// The authentication key's signature over a login statement.
    ///
    /// # Panics
    /// When the key does not sign.
    pub fn sign_login(&self, deployment: &str, station: &str, nonce: &[u8]) -> Vec<u8> {
        self.authentication.sign(&pki::statement::login(deployment, station, nonce)).expect("a signature")
    }
}

impl Default for PaperCard {
    fn default() -> Self {
        PaperCard::new()
    }
}
