//! Certificates for the service's own parts: its TLS door, and the OCSP signers of each issuing CA. They are good at once.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use audit::Actor;
use pki::certificate::SubjectFields;
use pki::{PublicKey, Timestamp};
use ring::rand::SecureRandom;
use store::{Store, Versioned};

use crate::authority::Authority;
use crate::certificate::{BY_HOLDER, CertificateRecord, Holder};
use crate::reservation::{Order, Reservation};
use crate::{Error, batch, recovery};

/// The profile of the service's TLS certificate.
pub const SERVICE_TLS_PROFILE: &str = "service-tls";
/// The profile of OCSP signers.
pub const OCSP_SIGNER_PROFILE: &str = "ocsp-signer";

/// Issues the certificate of a TLS door.
///
/// # Errors
/// When the profile does not permit it, the token does not sign, or the store fails.
pub fn issue_service_tls(
    authority: &Authority,
    store: &dyn Store,
    key: &PublicKey,
    host_names: &[String],
    addresses: &[IpAddr],
    now: Timestamp,
    random: &dyn SecureRandom,
) -> Result<CertificateRecord, Error> {
    let common_name = host_names.first().cloned().or_else(|| addresses.first().map(IpAddr::to_string));
    let subject = SubjectFields {
        common_name,
        dns_names: host_names.to_vec(),
        ip_addresses: addresses.to_vec(),
        ..SubjectFields::default()
    };
    let order = Order {
        profile: SERVICE_TLS_PROFILE,
        subject: &subject,
        key,
        ignored: BTreeSet::new(),
        holder: tls_holder(),
        jitter: 0.0,
        life: None,
    };
    let reservation = authority.reserve(store, order, now, random)?;
    issue(authority, store, reservation, now)
}

/// The certificates of the TLS door that are good and in their validity period: one, and for a moment two while it is
/// exchanged.
///
/// # Errors
/// When the store fails.
pub fn usable_service_tls(store: &dyn Store, now: Timestamp) -> Result<Vec<Versioned<CertificateRecord>>, Error> {
    const PAGE: usize = 200;
    let holder = tls_holder();
    let mut usable = Vec::new();
    let mut after = None;
    loop {
        let (page, next) =
            store::load_by_index::<CertificateRecord>(store, BY_HOLDER, holder.term().as_bytes(), None, after, PAGE)?;
        usable.extend(page.into_iter().filter(|found| found.record.holder == holder && found.record.is_usable(now)));
        if next.is_none() {
            return Ok(usable);
        }
        after = next;
    }
}

fn tls_holder() -> Holder {
    Holder::Service { name: "tls".to_owned() }
}

/// Certifies an OCSP signer of one issuing CA, by that CA itself (RFC 6960 4.2.2.2).
///
/// # Errors
/// When the profile does not permit it, the token does not sign, or the store fails.
pub fn issue_ocsp_signer(
    authority: &Authority,
    store: &dyn Store,
    issuer: &str,
    key: &PublicKey,
    life: Duration,
    now: Timestamp,
    random: &dyn SecureRandom,
) -> Result<CertificateRecord, Error> {
    let subject = SubjectFields { common_name: Some(format!("OCSP signer of {issuer}")), ..SubjectFields::default() };
    let order = Order {
        profile: OCSP_SIGNER_PROFILE,
        subject: &subject,
        key,
        ignored: BTreeSet::new(),
        holder: Holder::Service { name: format!("ocsp:{issuer}") },
        jitter: 0.0,
        life: Some(life),
    };
    let reservation = authority.reserve_with(store, authority.issuer(issuer)?, order, now, random)?;
    issue(authority, store, reservation, now)
}

fn issue(
    authority: &Authority,
    store: &dyn Store,
    reservation: Reservation,
    now: Timestamp,
) -> Result<CertificateRecord, Error> {
    let actor = Actor::service();
    let id = reservation.id().clone();
    let mut first = batch(now);
    reservation.add_to(&mut first, &actor, None)?;
    let committed = store.commit(first)?;
    let signer = authority.issuer(&id.issuer)?.signer();
    let signed = match reservation.committed(&committed).sign(signer.as_ref()) {
        Ok(signed) => signed,
        Err(failure) => {
            let mut void = batch(now);
            recovery::void(store, &mut void, &id, &actor, None)?;
            store.commit(void)?;
            return Err(*failure.error);
        }
    };
    let mut second = batch(now);
    let good = signed.add_good(store, &mut second, &actor, None)?;
    store.commit(second)?;
    Ok(good)
}
