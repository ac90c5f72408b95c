//! The root's CRLs. The service takes the number and says what is revoked; the root's token signs in the command's own
//! process (`cardinal root sign-crl`), and the service takes the CRL in when it is the one that was asked for.

use std::collections::BTreeSet;
use std::time::Duration;

use api::Base64;
use api::admin::CrlStatus;
use api::rotation::{RootCrlEntry, RootCrlView};
use audit::Actor;
use ca::crl::{CrlSchedule, PublishedCrl};
use ca::{IssuerRecord, IssuerState};
use hsm::Signer;
use pki::crl::{CrlEntry, CrlHeader, CrlNumber, EntryReason, ParsedCrl, prepare_crl};
use pki::{CrlReason, IssuerDescription, SerialNumber, Timestamp};

use crate::crls::ServedCrl;
use crate::failure::Failure;
use crate::rotation::wire::{time, unreadable};
use crate::service::Service;

/// The longest CRL of a root that is read: it lists CAs only.
const MAX_CRL: usize = 1 << 20;

/// The root's keys whose CRLs are made: the one in force, and those before and after it (conformance: C16).
fn roots(service: &Service) -> Result<Vec<IssuerRecord>, Failure> {
    let issuers = ca::issuer::all(service.store.as_ref())?;
    Ok(issuers.into_iter().filter(|issuer| issuer.is_root() && issuer.is_in_use()).collect())
}

/// Takes the next number of a CRL of each key of the root, and says what is to be signed.
///
/// # Errors
/// When the clock is wrong or the store fails.
pub fn begin(service: &Service, actor: &Actor) -> Result<Vec<RootCrlView>, Failure> {
    let authority = service.authority();
    let store = service.store.as_ref();
    let schedule = CrlSchedule { interval: service.config.times.root_crl_next_update, overlap: Duration::ZERO };
    let mut views = Vec::new();
    for root in roots(service)? {
        let description = ca::authority::describe(&root, authority.urls())?;
        let (_, numbered) = service.commit(|now| {
            authority.check_clock(store, now)?;
            Ok(ca::crl::begin(store, &description, schedule, actor, now)?)
        })?;
        let (crl, entries) = numbered.inputs();
        views.push(RootCrlView {
            issuer: root.id,
            issuer_certificate: Base64(root.certificate_der),
            number: crl.number,
            this_update: crl.this_update.to_string(),
            next_update: crl.next_update.to_string(),
            entries: entries.iter().map(entry_view).collect(),
        });
    }
    Ok(views)
}

fn entry_view(entry: &CrlEntry) -> RootCrlEntry {
    RootCrlEntry { serial: entry.serial.to_string(), at: entry.at.to_string(), reason: entry.reason.code() }
}

/// Prepares a CRL from what the service says, and signs it; the linter of CRLs has looked at it.
///
/// # Errors
/// When a field cannot be read, the CRL breaks a rule, or the token does not sign.
pub(crate) fn sign(
    view: &RootCrlView,
    issuer: &IssuerDescription,
    signer: &dyn Signer,
) -> Result<Vec<u8>, crate::Error> {
    let mut entries = Vec::with_capacity(view.entries.len());
    for entry in &view.entries {
        let reason = CrlReason::from_code(entry.reason).ok_or_else(|| unreadable("reason", entry.reason))?;
        entries.push(CrlEntry {
            serial: entry.serial.parse().map_err(|error| unreadable("serial", error))?,
            at: time("at", &entry.at)?,
            reason: EntryReason::Revoked(reason),
            invalidity_date: None,
        });
    }
    let header = CrlHeader {
        issuer,
        number: CrlNumber::from(view.number),
        this_update: time("this_update", &view.this_update)?,
        next_update: time("next_update", &view.next_update)?,
        base: None,
        distribution_point: None,
        freshest_crl: None,
        expired_certs_on_crl: None,
    };
    let prepared = prepare_crl(&header, &entries).map_err(ca::Error::from)?;
    let signature = signer.sign_digest(prepared.digest())?;
    let mut der = Vec::new();
    prepared.write(&entries, &signature, &issuer.public_key, &mut der).map_err(ca::Error::from)?;
    Ok(der)
}

/// Takes CRLs in that the root signed, and publishes them.
///
/// # Errors
/// When one is not a root's, its signature is wrong, or its number is not the last that was taken.
// conformance: C15
pub fn publish(service: &Service, ders: &[Base64], actor: &Actor) -> Result<Vec<CrlStatus>, Failure> {
    let refuse = |detail: String| Failure::new(422, "root-crl", "The CRL is not taken", detail);
    let store = service.store.as_ref();
    let mut published = Vec::new();
    for Base64(der) in ders {
        let parsed = ParsedCrl::from_der(der, MAX_CRL).map_err(|error| refuse(error.to_string()))?;
        let signed_by = roots(service)?.into_iter().find(|root| {
            let description = ca::authority::describe(root, service.authority().urls());
            description.is_ok_and(|description| parsed.verify_signed_by(&description.public_key).is_ok())
        });
        let Some(root) = signed_by else {
            return Err(refuse("it is not signed by a key of this deployment's root".to_owned()));
        };
        let said = parsed.description();
        if said.number != CrlNumber::from(root.crl_number) {
            let detail = format!(
                "its number is not {}, the last that was taken for {}: run `cardinal root sign-crl` again",
                root.crl_number, root.id
            );
            return Err(refuse(detail));
        }
        let crl = PublishedCrl {
            issuer: root.id.clone(),
            number: root.crl_number,
            this_update: said.this_update,
            next_update: said.next_update,
            entries: parsed.len(),
            der: der.clone(),
        };
        service.crls.publish(&crl)?;
        service.commit(|now| Ok((crl.published(store, actor, now)?, ())))?;
        service.metrics.crls.inc();
        published.push(CrlStatus {
            issuer: crl.issuer,
            kind: "full".to_owned(),
            number: crl.number,
            entries: crl.entries as u64,
            next_update: crl.next_update.to_string(),
        });
    }
    Ok(published)
}

/// The serial numbers on a published CRL.
fn listed(crl: &ServedCrl) -> Result<BTreeSet<SerialNumber>, Failure> {
    let entries = crl.reader().map_err(Failure::internal)?;
    entries.map(|entry| Ok(entry.map_err(Failure::internal)?.serial)).collect()
}

/// What has to be seen to about the root's CRLs, early enough to fetch the token.
///
/// # Errors
/// When the store fails.
pub(crate) fn warnings(service: &Service, now: Timestamp) -> Result<Vec<String>, Failure> {
    const REMEDY: &str = "`cardinal root sign-crl`, with the root's token present";
    let mut warnings = Vec::new();
    for root in roots(service)? {
        let Some(crl) = service.crls.get(&root.id) else {
            warnings.push(format!("{} has no CRL: {REMEDY}", root.id));
            continue;
        };
        if crl.next_update < now.plus(service.config.times.root_crl_warning) {
            warnings.push(format!("the CRL of {} ends at {}: {REMEDY}", root.id, crl.next_update));
        }
        let index = ca::certificate::BY_REVOKED_ISSUER;
        let page = service.store.by_index(index, root.id.as_bytes(), None, None, 100)?;
        let of_root = page.entries.iter().filter(|entry| entry.term == root.id.as_bytes());
        let listed = listed(&crl)?;
        let mut missing = 0;
        for id in of_root.filter_map(|entry| ca::CertificateId::from_key(&entry.key)) {
            let record = ca::certificate::load(service.store.as_ref(), &id)?.record;
            let is_revoked = record.status_entry().is_some_and(|entry| {
                use pki::feed::PublishedStatus::{Revoked, Void};
                matches!(entry.status, Revoked { .. } | Void { .. })
            });
            // One that has expired leaves the list (conformance: C13).
            missing += usize::from(is_revoked && record.not_after > now && !listed.contains(&id.serial));
        }
        if missing > 0 {
            warnings.push(format!("{missing} revoked certificates are not on the CRL of {} yet: {REMEDY}", root.id));
        }
    }
    Ok(warnings)
}

/// The CRLs of the root's keys that have ended.
pub(crate) fn ended(service: &Service, now: Timestamp) -> Vec<String> {
    let roots = roots(service).unwrap_or_default();
    let published = roots.iter().filter(|root| !matches!(root.state, IssuerState::Published { .. }));
    published
        .filter(|root| service.crls.get(&root.id).is_some_and(|crl| crl.next_update <= now))
        .map(|root| {
            format!("the CRL of {} has ended: make a new one with the root's token (`cardinal root sign-crl`)", root.id)
        })
        .collect()
}
