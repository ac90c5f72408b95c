//! The keys that sign answers: a delegate of the CA, or the CA's own.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hsm::Signer;
use pki::ocsp::{DelegateCertificate, ResponderId, ResponderIdForm, ResponseTemplate};
use pki::{IssuerDescription, Timestamp};

use crate::Error;

/// A key that may sign answers for one CA key (RFC 6960 4.2.2.2; conformance: O10).
#[derive(Clone)]
pub struct IssuerSigner {
    signer: Arc<dyn Signer>,
    certificate_der: Option<Vec<u8>>,
    subject_der: Vec<u8>,
    by_key: ResponseTemplate,
    by_name: ResponseTemplate,
    not_before: Timestamp,
    not_after: Timestamp,
    blocking: bool,
    /// Whether the last signature failed, other than for want of time.
    failing: Arc<AtomicBool>,
}

impl fmt::Debug for IssuerSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuerSigner")
            .field("key", self.signer.public_key())
            .field("delegated", &self.certificate_der.is_some())
            .field("not_after", &self.not_after)
            .field("blocking", &self.blocking)
            .finish_non_exhaustive()
    }
}

impl IssuerSigner {
    /// A delegate, with the certificate that `issuer` gave it. `blocking` says that a signature may take a while, as in
    /// a token: it is then made on a thread of its own.
    ///
    /// # Errors
    /// When the certificate is not as row O12 wants it, or is another key's.
    // conformance: O10, O12
    pub fn delegate(
        signer: Arc<dyn Signer>,
        certificate_der: Vec<u8>,
        issuer: &IssuerDescription,
        blocking: bool,
    ) -> Result<Self, Error> {
        let refused = |cause| Error::Delegate { issuer: issuer.id.clone(), cause };
        let certificate = DelegateCertificate::from_der(&certificate_der, &issuer.subject_der, &issuer.public_key)
            .map_err(refused)?;
        certificate.check_own().map_err(refused)?;
        if certificate.public_key() != signer.public_key() {
            return Err(Error::SignerKey { issuer: issuer.id.clone() });
        }
        let subject_der = certificate.subject_der().to_vec();
        let (not_before, not_after) = (certificate.not_before(), certificate.not_after().min(issuer.not_after));
        Self::new(signer, Some(certificate_der), subject_der, (not_before, not_after), blocking, issuer)
    }

    /// The CA's own key.
    ///
    /// # Errors
    /// [`Error::SignerKey`] when it is another.
    pub fn issuer(signer: Arc<dyn Signer>, issuer: &IssuerDescription, blocking: bool) -> Result<Self, Error> {
        if *signer.public_key() != issuer.public_key {
            return Err(Error::SignerKey { issuer: issuer.id.clone() });
        }
        let times = (Timestamp::EPOCH, issuer.not_after);
        Self::new(signer, None, issuer.subject_der.clone(), times, blocking, issuer)
    }

    fn new(
        signer: Arc<dyn Signer>,
        certificate_der: Option<Vec<u8>>,
        subject_der: Vec<u8>,
        (not_before, not_after): (Timestamp, Timestamp),
        blocking: bool,
        issuer: &IssuerDescription,
    ) -> Result<Self, Error> {
        let template = |id| {
            ResponseTemplate::new(id, signer.algorithm(), certificate_der.as_deref())
                .map_err(|_| Error::SignerName { issuer: issuer.id.clone() })
        };
        let by_key = template(ResponderId::ByKey(signer.public_key().key_identifier()))?;
        let by_name = template(ResponderId::ByName(&subject_der))?;
        Ok(IssuerSigner {
            by_key,
            by_name,
            signer,
            certificate_der,
            subject_der,
            not_before,
            not_after,
            blocking,
            failing: Arc::default(),
        })
    }

    /// Signs, and remembers whether the key could.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, hsm::Error> {
        let signed = self.signer.sign(message);
        let failing = match &signed {
            Ok(_) => false,
            // It has more to do than it can, which says nothing against the key.
            Err(hsm::Error::Busy { .. }) => return signed,
            Err(_) => true,
        };
        if self.is_failing() != failing {
            self.failing.store(failing, Ordering::Relaxed);
        }
        signed
    }

    /// Whether the key could not sign the last time, as when its token is gone.
    pub fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// The key.
    pub fn signer(&self) -> &dyn Signer {
        &*self.signer
    }

    /// What its answers have in common (conformance: O11, O12).
    pub(crate) fn template(&self, form: ResponderIdForm) -> &ResponseTemplate {
        match form {
            ResponderIdForm::ByKey => &self.by_key,
            ResponderIdForm::ByName => &self.by_name,
        }
    }

    /// The delegate's certificate, which goes into the answers.
    pub fn certificate_der(&self) -> Option<&[u8]> {
        self.certificate_der.as_deref()
    }

    /// The DER of the name by which it signs.
    pub fn subject_der(&self) -> &[u8] {
        &self.subject_der
    }

    /// From when on it may sign.
    pub fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// When it may sign no longer (conformance: O13).
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Whether its signatures are made on a thread of their own.
    pub fn is_blocking(&self) -> bool {
        self.blocking
    }

    /// Whether it may sign at `now`.
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.not_before <= now && now < self.not_after
    }
}
