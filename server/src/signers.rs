//! OCSP signers: keys in memory for each issuing CA, one of each configured kind, certified by that CA, replaced together
//! before half their life.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ca::Authority;
use hsm::{MemoryKey, Signer};
use ocsp_responder::IssuerSigner;
use pki::{IssuerDescription, Timestamp};

use crate::failure::Failure;
use crate::service::Service;

/// The signers in use, and when each is to be replaced.
#[derive(Default)]
pub struct Signers {
    replace_at: Mutex<BTreeMap<String, Timestamp>>,
}

impl Signers {
    /// Certifies a new signer for every issuer whose signer is missing or due. The one before answers until the new one
    /// is in its place, so no request fails. One that fails keeps none of the others waiting.
    ///
    /// # Errors
    /// The first one: when a token does not sign, or the store fails.
    // conformance: K3
    pub fn renew(&self, service: &Service, now: Timestamp) -> Result<(), Failure> {
        let mut replace_at = self.replace_at.lock().unwrap_or_else(PoisonError::into_inner);
        let authority = service.authority();
        let mut failed = None;
        for issuer in authority.issuers() {
            let description = issuer.description();
            if replace_at.get(&description.id).is_some_and(|due| now < *due) {
                continue;
            }
            match certify(service, &authority, description, now) {
                Ok((due, _)) => _ = replace_at.insert(description.id.clone(), due),
                Err(failure) => _ = failed.get_or_insert(failure),
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Certifies new signers for one issuer now. Returns their serial numbers, separated by commas.
    ///
    /// # Errors
    /// When a token does not sign, or the store fails.
    pub fn replace(&self, service: &Service, issuer: &str, now: Timestamp) -> Result<String, Failure> {
        let mut replace_at = self.replace_at.lock().unwrap_or_else(PoisonError::into_inner);
        let authority = service.authority();
        let description = authority.issuer(issuer)?.description();
        let (due, serial) = certify(service, &authority, description, now)?;
        replace_at.insert(description.id.clone(), due);
        Ok(serial)
    }

    /// When the signer of an issuer is replaced by itself.
    pub fn due(&self, issuer: &str) -> Option<Timestamp> {
        self.replace_at.lock().unwrap_or_else(PoisonError::into_inner).get(issuer).copied()
    }
}

/// Makes signers and puts them in their place. Returns when they are to be replaced, and their serial numbers.
// conformance: O22
fn certify(
    service: &Service,
    authority: &Authority,
    description: &IssuerDescription,
    now: Timestamp,
) -> Result<(Timestamp, String), Failure> {
    let life = service.config.times.ocsp_signer_life;
    let (mut signers, mut serials) = (Vec::new(), Vec::new());
    for key_type in &service.config.ocsp.signer_key_types {
        let key = MemoryKey::generate(*key_type).map_err(ca::Error::from)?;
        let record = ca::service_certificate::issue_ocsp_signer(
            authority,
            service.store.as_ref(),
            &description.id,
            key.public_key(),
            life,
            now,
            &service.random,
        )?;
        let der = record.der.unwrap_or_default();
        signers.push(IssuerSigner::delegate(Arc::new(key), der, description, false).map_err(Failure::internal)?);
        serials.push(record.id.serial.to_string());
    }
    service.responder.set_signers(&description.id, signers).map_err(Failure::internal)?;
    tracing::info!(issuer = description.id, "new OCSP signers are in use");
    let due = replacement(now, life, service.config.times.ocsp_signer_renewal_window);
    Ok((due, serials.join(", ")))
}

/// When a signer that lives so long from `since` on is to be replaced: before half its life, and before the last `window`
/// of it.
pub(crate) fn replacement(since: Timestamp, life: Duration, window: Duration) -> Timestamp {
    let rest = life.saturating_sub(window);
    // Half of it is over in half an hour less, so that the replacement is certain to come before that.
    let half = (life / 2).saturating_sub(life / 48);
    since.plus(half.min(rest))
}
