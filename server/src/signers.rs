//! OCSP signers: a key in memory for each issuing CA, certified by that CA, replaced before half its life.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use hsm::{MemoryKey, Signer};
use ocsp_responder::IssuerSigner;
use pki::Timestamp;

use crate::failure::Failure;
use crate::service::Service;

/// The signers in use, and when each is to be replaced.
#[derive(Default)]
pub struct Signers {
    replace_at: Mutex<BTreeMap<String, Timestamp>>,
}

impl Signers {
    /// Certifies a new signer for every issuer whose signer is missing or due. The one before answers until the new one
    /// is in its place, so no request fails.
    ///
    /// # Errors
    /// When a token does not sign, or the store fails.
    // conformance: K3
    pub fn renew(&self, service: &Service, now: Timestamp) -> Result<(), Failure> {
        let life = service.config.times.ocsp_signer_life;
        let mut replace_at = self.replace_at.lock().unwrap_or_else(PoisonError::into_inner);
        let authority = service.authority();
        for issuer in authority.issuers() {
            let description = issuer.description();
            if replace_at.get(&description.id).is_some_and(|due| now < *due) {
                continue;
            }
            let key = MemoryKey::generate_p256().map_err(ca::Error::from)?;
            let record = ca::service_certificate::issue_ocsp_signer(
                &authority,
                service.store.as_ref(),
                &description.id,
                key.public_key(),
                life,
                now,
                &service.random,
            )?;
            let der = record.der.unwrap_or_default();
            let signer = IssuerSigner::delegate(Arc::new(key), der, description, false).map_err(Failure::internal)?;
            service.responder.set_signers(&description.id, vec![signer]).map_err(Failure::internal)?;
            let rest = life.saturating_sub(service.config.times.ocsp_signer_renewal_window);
            // Half of it is over in half an hour less, so that the replacement is certain to come before that.
            let half = (life / 2).saturating_sub(life / 48);
            replace_at.insert(description.id.clone(), now.plus(half.min(rest)));
            tracing::info!(issuer = description.id, "a new OCSP signer is in use");
        }
        Ok(())
    }
}
