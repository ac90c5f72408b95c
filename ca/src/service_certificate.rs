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

/// Certifies an OCSP signer of one issuing CA, by that CA itself (RFC 6960 4.2.2.2), for the responder inside the service.
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
    let signer = OcspSigner { issuer, responder: None, key, ignored: BTreeSet::new(), life };
    let reservation = reserve_ocsp_signer(authority, store, signer, now, random)?;
    issue(authority, store, reservation, now)
}

/// An OCSP signer that is wanted.
#[derive(Debug)]
pub struct OcspSigner<'a> {
    /// The issuer's id.
    pub issuer: &'a str,
    /// The name of the responder that has the key; none for the one inside the service.
    pub responder: Option<&'a str>,
    /// The key.
    pub key: &'a PublicKey,
    /// What the request asked for and does not get.
    pub ignored: BTreeSet<String>,
    /// How long it is to live, at most as long as the profile permits.
    pub life: Duration,
}

/// Takes a serial number for an OCSP signer of one issuing CA, to be signed by that CA itself (RFC 6960 4.2.2.2). The
/// certificate names the responder, so that each can be told apart in what it signs.
///
/// # Errors
/// When the key may not be used, or the profile does not permit the certificate.
// conformance: O12
pub fn reserve_ocsp_signer(
    authority: &Authority,
    store: &dyn Store,
    signer: OcspSigner<'_>,
    now: Timestamp,
    random: &dyn SecureRandom,
) -> Result<Reservation, Error> {
    let OcspSigner { issuer, responder, key, ignored, life } = signer;
    let (name, common_name) = match responder {
        None => (format!("ocsp:{issuer}"), format!("OCSP signer of {issuer}")),
        Some(responder) => (format!("ocsp:{issuer}:{responder}"), format!("OCSP signer of {issuer} at {responder}")),
    };
    // A common name has at most 64 characters (RFC 5280, ub-common-name); the holder is recorded whole.
    let common_name = common_name.chars().take(64).collect();
    let subject = SubjectFields { common_name: Some(common_name), ..SubjectFields::default() };
    let order = Order {
        profile: OCSP_SIGNER_PROFILE,
        subject: &subject,
        key,
        ignored,
        holder: Holder::Service { name },
        jitter: 0.0,
        life: Some(life),
    };
    authority.reserve_with(store, authority.issuer(issuer)?, order, now, random)
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
