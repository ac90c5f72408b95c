//! From records to what the API shows.

use api::Base64;
use api::cards::{CardView, CertificateView, IssuanceKind, IssuanceView};
use api::people::PersonView;
use ca::certificate::{self, CertificateRecord, CertificateState};
use ra::card::{self, Card, CardState};
use ra::issuance::Issuance;
use ra::person::{self, Person};
use store::Store;

use crate::failure::Failure;

/// A certificate.
pub fn certificate(record: &CertificateRecord) -> CertificateView {
    let reason = match &record.state {
        CertificateState::Revoked { reason, .. } => Some(reason.to_string()),
        CertificateState::OnHold { .. } => Some(pki::CrlReason::CertificateHold.to_string()),
        _ => None,
    };
    CertificateView {
        issuer: record.id.issuer.clone(),
        serial: record.id.serial.to_string(),
        profile: record.profile.clone(),
        state: record.state.name().to_owned(),
        reason,
        not_before: record.not_before.to_string(),
        not_after: record.not_after.to_string(),
        ignored: record.ignored.iter().cloned().collect(),
        certificate: record.der.clone().map(Base64),
    }
}

/// Where a responder's signer keys are.
pub(crate) fn signer_keys(keys: ra::responder::SignerKeys) -> api::responders::SignerKeys {
    match keys {
        ra::responder::SignerKeys::Memory => api::responders::SignerKeys::Memory,
        ra::responder::SignerKeys::Token => api::responders::SignerKeys::Token,
    }
}

/// A card with every certificate that was ever on it, the newest first. `changed` are those that are about to be
/// committed, and are shown as they will be.
///
/// # Errors
/// The store's.
pub fn card(store: &dyn Store, card: &Card, changed: &[CertificateRecord]) -> Result<CardView, Failure> {
    let mut certificates = Vec::new();
    for id in certificate::on_card(store, card.serial.as_str())? {
        match changed.iter().find(|one| one.id == id) {
            Some(one) => certificates.push(one.clone()),
            None => certificates.push(certificate::load(store, &id)?.record),
        }
    }
    certificates.sort_by(|a, b| b.reserved_at.cmp(&a.reserved_at).then_with(|| a.profile.cmp(&b.profile)));
    let (holds, cause) = match &card.state {
        CardState::Suspended { holds, .. } => (holds.iter().map(|hold| hold.name().to_owned()).collect(), None),
        CardState::Cancelled { cause, .. } => (Vec::new(), Some(cause.name().to_owned())),
        _ => (Vec::new(), None),
    };
    Ok(CardView {
        serial: card.serial.to_string(),
        series: card.series.clone(),
        holder: card.holder.to_string(),
        state: card.state.name().to_owned(),
        holds,
        cause,
        issuance: card.issuance.as_ref().map(ToString::to_string),
        certificates: certificates.iter().map(self::certificate).collect(),
    })
}

/// An issuance with its certificates. `pending` are records that are about to be committed.
///
/// # Errors
/// The store's.
pub fn issuance(issuance: &Issuance, [authentication, signing]: [&CertificateRecord; 2]) -> IssuanceView {
    IssuanceView {
        id: issuance.id.to_string(),
        card: issuance.card.to_string(),
        person: issuance.person.to_string(),
        kind: match issuance.kind {
            ra::issuance::IssuanceKind::Issue => IssuanceKind::Issue,
            ra::issuance::IssuanceKind::Renew => IssuanceKind::Renew,
        },
        state: issuance.state.name().to_owned(),
        nonce: Base64(issuance.nonce.clone()),
        confirm_by: issuance.confirm_by.to_string(),
        authentication: certificate(authentication),
        signing: certificate(signing),
    }
}

/// The same, with what the store has.
///
/// # Errors
/// The store's.
pub fn stored_issuance(store: &dyn Store, stored: &Issuance) -> Result<IssuanceView, Failure> {
    let [(_, authentication), (_, signing)] = stored.certificates(store)?;
    Ok(issuance(stored, [&authentication, &signing]))
}

/// A person with cards and roles.
///
/// # Errors
/// The store's.
pub fn person(store: &dyn Store, person: &Person) -> Result<PersonView, Failure> {
    let roles = person::roles(store, &person.user_id)?;
    Ok(PersonView {
        user_id: person.user_id.to_string(),
        given_name: person.given_name.clone(),
        family_name: person.family_name.clone(),
        organisation: person.organisation.to_string(),
        state: person.state.name().to_owned(),
        terms_version: person.terms.as_ref().map(|terms| terms.version.clone()),
        cards: card::of_person(store, &person.user_id)?.into_iter().map(|card| card.serial.to_string()).collect(),
        roles: roles.iter().map(|grant| format!("{}@{}", grant.role.name(), grant.organisation)).collect(),
    })
}
