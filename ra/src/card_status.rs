//! What happens to a card in its life: allocation, hold, release, cancellation. Each is one commit: the card's state,
//! every certificate status that it implies, the feed entries and the audit records.

use audit::{AuditRecord, Outcome};
use ca::certificate::{self, CertificateRecord, CertificateState};
use pki::Timestamp;
use store::{Batch, Store, Versioned};

use crate::card::{self, CancelCause, Card, CardState, CertificatePurpose, HoldReason, RevocationReasons};
use crate::issuance::{self, Undoing};
use crate::person::Person;
use crate::policy::{Permit, Refusal, operation};
use crate::{CardSerial, Error};

/// A changed card, with the certificates that changed with it, as they will be.
#[derive(Clone, Debug)]
pub struct Changed {
    /// The card.
    pub card: Card,
    /// The certificates.
    pub certificates: Vec<CertificateRecord>,
}

/// Sets a card aside for a person. A card that is set aside for that person already stays so.
///
/// # Errors
/// When the person may not hold a card, or the card is known in another state.
pub fn allocate(
    store: &dyn Store,
    permit: &Permit<operation::CardIssue>,
    serial: CardSerial,
    series: &str,
    holder: &Person,
    now: Timestamp,
) -> Result<(Batch, Card), Error> {
    holder.require_active()?;
    let plain = |c: char| c.is_ascii_graphic() || c == ' ';
    if !(1..=40).contains(&series.len()) || !series.chars().all(plain) {
        return Err(Error::invalid("series", "a product series has 1 to 40 printable characters"));
    }
    let mut batch = ca::batch(now);
    if let Some(known) = store::load::<Card>(store, serial.as_str().as_bytes())? {
        if known.record.state == CardState::Allocated && known.record.holder == holder.user_id {
            return Ok((batch, known.record));
        }
        return Err(Error::CardInUse { card: serial, state: known.record.state.name() });
    }
    if permit.is_for_first_card_only() && !card::of_person(store, &holder.user_id)?.is_empty() {
        let message = "the code was for the first card, and there is one; ask a colleague to issue another".to_owned();
        return Err(Refusal { operation: permit.operation(), rule: "first-card", message }.into());
    }
    let card = Card {
        serial,
        series: series.to_owned(),
        holder: holder.user_id.clone(),
        issuance: None,
        state: CardState::Allocated,
    };
    batch.create(&card)?;
    let record = AuditRecord::new(now, permit.actor(), "card.allocate", Outcome::Done)
        .on("card", &card.serial)
        .on("person", &card.holder)
        .fact("series", series);
    ca::record(&mut batch, &record)?;
    Ok((batch, card))
}

/// Reports a card lost: it goes on hold at once, until it is found (resume) or the loss is confirmed (cancel).
///
/// # Errors
/// When the card's state does not permit it.
pub fn report_lost(
    store: &dyn Store,
    permit: &Permit<operation::CardReportLost>,
    serial: &CardSerial,
    now: Timestamp,
) -> Result<(Batch, Changed), Error> {
    hold(store, permit, serial, HoldReason::ReportedLost, now)
}

/// Puts a card on hold.
///
/// # Errors
/// When the card's state does not permit it.
pub fn suspend(
    store: &dyn Store,
    permit: &Permit<operation::CardSuspend>,
    serial: &CardSerial,
    reason: HoldReason,
    now: Timestamp,
) -> Result<(Batch, Changed), Error> {
    hold(store, permit, serial, reason, now)
}

fn hold<O: operation::Operation>(
    store: &dyn Store,
    permit: &Permit<O>,
    serial: &CardSerial,
    reason: HoldReason,
    now: Timestamp,
) -> Result<(Batch, Changed), Error> {
    let stored = card::load(store, serial)?;
    let next = stored.record.clone().hold(reason)?;
    let mut batch = begin(&stored, &next, permit, now, &[("hold", reason.name())])?;
    let certificates = change_certificates(store, &mut batch, &next, permit, |certificate| match certificate.state {
        CertificateState::Good { .. } => Some(certificate.hold(now)),
        _ => None,
    })?;
    Ok((batch, Changed { card: next, certificates }))
}

/// Takes a card off hold for one reason; its certificates come back when no other reason is left.
///
/// # Errors
/// When the card is not held for that reason.
pub fn resume(
    store: &dyn Store,
    permit: &Permit<operation::CardResume>,
    serial: &CardSerial,
    reason: HoldReason,
    now: Timestamp,
) -> Result<(Batch, Changed), Error> {
    let stored = card::load(store, serial)?;
    let next = stored.record.clone().release(reason)?;
    let mut batch = begin(&stored, &next, permit, now, &[("released", reason.name())])?;
    let mut certificates = Vec::new();
    if let CardState::Active { pair } = &next.state {
        let current = [pair.authentication.clone(), pair.signing.clone()];
        certificates = change_certificates(store, &mut batch, &next, permit, |certificate| match certificate.state {
            CertificateState::OnHold { .. } if current.contains(&certificate.id) => Some(certificate.release(now)),
            _ => None,
        })?;
    }
    Ok((batch, Changed { card: next, certificates }))
}

/// Ends a card's life: every certificate on it is revoked, with the reason that the policy has for the cause and the
/// purpose; an issuance that is under way is undone.
///
/// # Errors
/// When it is cancelled already.
pub fn cancel(
    store: &dyn Store,
    permit: &Permit<operation::CardCancel>,
    serial: &CardSerial,
    cause: CancelCause,
    reasons: &RevocationReasons,
    compromised_since: Option<Timestamp>,
    now: Timestamp,
) -> Result<(Batch, Changed), Error> {
    let stored = card::load(store, serial)?;
    if let (Some(since), Some(pair)) = (compromised_since, stored.record.pair()) {
        let issued = certificate::load(store, &pair.authentication)?.record.not_before;
        if since < issued {
            let rule = format!("must not lie before {issued}, when the certificate begins: the key did not exist");
            return Err(Error::invalid("compromised_since", rule));
        }
    }
    let next = stored.record.clone().cancel(cause, now)?;
    let mut batch = begin(&stored, &next, permit, now, &[("cause", cause.name())])?;
    let mut certificates = Vec::new();
    if let Some(id) = &stored.record.issuance {
        certificates =
            issuance::undo_for_cancelled_card(store, &mut batch, id, &permit.actor(), Undoing::CardCancelled)?;
    }
    let current = stored.record.pair().cloned();
    certificates.extend(change_certificates(store, &mut batch, &next, permit, |certificate| {
        let purpose = current.as_ref().and_then(|pair| {
            pair.each().into_iter().find(|(_, id)| **id == certificate.id).map(|(purpose, _)| purpose)
        })?;
        let reason = reasons.reason(cause, purpose);
        let invalid_since = match (purpose, cause) {
            (CertificatePurpose::Authentication, CancelCause::Stolen) => Some(compromised_since.unwrap_or(now)),
            _ => None,
        };
        match certificate.state {
            CertificateState::Good { .. } | CertificateState::OnHold { .. } => {
                Some(certificate.revoke(now, reason, invalid_since))
            }
            _ => None,
        }
    })?);
    Ok((batch, Changed { card: next, certificates }))
}

fn begin<O: operation::Operation>(
    stored: &Versioned<Card>,
    next: &Card,
    permit: &Permit<O>,
    now: Timestamp,
    facts: &[(&str, &str)],
) -> Result<Batch, Error> {
    let mut batch = ca::batch(now);
    batch.update(&stored.with(next.clone()))?;
    let mut record = AuditRecord::new(now, permit.actor(), permit.operation(), Outcome::Done)
        .on("card", &next.serial)
        .on("person", &next.holder)
        .fact("from", stored.record.state.name())
        .fact("to", next.state.name());
    for (name, value) in facts {
        record = record.fact(name, value);
    }
    ca::record(&mut batch, &record)?;
    Ok(batch)
}

fn change_certificates<O: operation::Operation>(
    store: &dyn Store,
    batch: &mut Batch,
    card: &Card,
    permit: &Permit<O>,
    change: impl Fn(CertificateRecord) -> Option<Result<CertificateRecord, ca::InvalidTransition>>,
) -> Result<Vec<CertificateRecord>, Error> {
    let mut changed = Vec::new();
    for id in certificate::on_card(store, card.serial.as_str())? {
        let stored = certificate::load(store, &id)?;
        if let Some(next) = change(stored.record.clone()) {
            let act = format!("card {}", card.serial);
            let next = next?;
            certificate::change(batch, &stored, &next, &permit.actor(), Some(&act))?;
            changed.push(next);
        }
    }
    Ok(changed)
}
