//! After a crash: reservations without a result become void.
//!
//! A reservation names its owner and a lease. The owner itself, started again, makes its own void at once, since it knows
//! that the process that made them is gone; another server waits for the lease to end.

use audit::Actor;
use pki::Timestamp;
use store::{Batch, Store};

use crate::Error;
use crate::certificate::{self, CertificateId, CertificateState};

/// The reservations that may be made void now.
///
/// # Errors
/// The store's.
pub fn abandoned(
    store: &dyn Store,
    owner: &str,
    owner_restarted: bool,
    now: Timestamp,
) -> Result<Vec<CertificateId>, Error> {
    let mut abandoned = Vec::new();
    for id in certificate::reserved(store, usize::MAX)? {
        let stored = certificate::load(store, &id)?;
        if let CertificateState::Reserved { owner: reserved_by, lease_until } = &stored.record.state
            && ((owner_restarted && reserved_by == owner) || *lease_until < now)
        {
            abandoned.push(id);
        }
    }
    Ok(abandoned)
}

/// Makes one reservation void, in a batch. One that has a result already is left as it is; then `false` is returned.
///
/// # Errors
/// The store's, or when the record cannot be written.
pub fn void(
    store: &dyn Store,
    batch: &mut Batch,
    id: &CertificateId,
    actor: &Actor,
    follows: Option<&str>,
) -> Result<bool, Error> {
    let stored = certificate::load(store, id)?;
    match stored.record.clone().void() {
        Ok(next) => certificate::change(batch, &stored, &next, actor, follows).map(|()| true),
        Err(_) => Ok(false),
    }
}
