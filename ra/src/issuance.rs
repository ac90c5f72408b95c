//! The issuance of a card's certificate pair, for the first time or as a renewal:
//!
//! begin → commit 1 → sign both → commit 2: *pending* → confirmed by both new keys: *good*
//!
//! A pair is two reservations in one commit, two signatures, and one commit that makes both pending; the commit of the
//! confirmation makes them good, the card active, and supersedes what was there. What is interrupted is taken up again
//! by asking for the open issuance, or undone at its time-out.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use audit::{Actor, AuditRecord, Outcome};
use ca::certificate::{self, CertificateRecord, CertificateState};
use ca::{Authority, Holder, Order, Reservation, Reserved, Signed};
use pki::certificate::SubjectFields;
use pki::request::CheckedRequest;
use pki::{CrlReason, PublicKey, Timestamp};
use ring::rand::SecureRandom;
use serde::{Deserialize, Serialize};
use store::{Batch, Committed, Index, Record, Store, Table, Term, Versioned};

use crate::card::{self, CancelCause, Card, CertificatePair, CertificatePurpose, RevocationReasons};
use crate::person::{self, Person};
use crate::policy::operation::Operation as _;
use crate::policy::{Permit, Refusal, operation};
use crate::{CardSerial, Error, IssuanceId, UserId};

/// Issuances, by id.
pub const ISSUANCES: Table = Table::new("issuance");
/// Issuances that are under way, by the time when they are undone: milliseconds, big endian.
pub const BY_CONFIRM_BY: Index = Index::new("issuance.confirm_by");

/// The profile of the authentication certificate.
pub const AUTHENTICATION_PROFILE: &str = "card-authentication";
/// The profile of the signing certificate.
pub const SIGNING_PROFILE: &str = "card-signing";

/// One issuance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issuance {
    /// Its id.
    pub id: IssuanceId,
    /// The card.
    pub card: CardSerial,
    /// The card's holder.
    pub person: UserId,
    /// The first pair, or a later one.
    pub kind: IssuanceKind,
    /// Who asked for it.
    pub operator: Option<UserId>,
    /// At which station: only that one confirms or aborts it.
    pub station: String,
    /// The certificates.
    pub pair: CertificatePair,
    /// What the confirmation must sign.
    #[serde(with = "serde_bytes")]
    pub nonce: Vec<u8>,
    /// When it is undone unless it was confirmed.
    pub confirm_by: Timestamp,
    /// The state.
    pub state: IssuanceState,
}

/// The first pair on a card, or a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IssuanceKind {
    /// The first certificates of a card.
    Issue,
    /// New keys and certificates on a card whose certificates have not expired.
    Renew,
}

/// The states of an issuance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IssuanceState {
    /// Serial numbers are reserved; signatures may exist.
    Reserved,
    /// The certificates are signed, and shown as on hold.
    Pending,
    /// The certificates are on the card, and good.
    Confirmed {
        /// When.
        at: Timestamp,
    },
    /// It came to nothing: its certificates are revoked or void.
    Undone {
        /// When.
        at: Timestamp,
        /// Why.
        cause: Undoing,
    },
}

impl IssuanceState {
    /// The state's name.
    pub fn name(self) -> &'static str {
        match self {
            IssuanceState::Reserved => "reserved",
            IssuanceState::Pending => "pending",
            IssuanceState::Confirmed { .. } => "confirmed",
            IssuanceState::Undone { .. } => "undone",
        }
    }
}

/// Why an issuance was undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Undoing {
    /// The station gave it up.
    Aborted,
    /// Nobody confirmed it in time.
    TimedOut,
    /// The token did not sign.
    NotSigned,
    /// The server stopped between reservation and result.
    Interrupted,
    /// The card was cancelled.
    CardCancelled,
}

impl Undoing {
    fn name(self) -> &'static str {
        match self {
            Undoing::Aborted => "aborted",
            Undoing::TimedOut => "timed out",
            Undoing::NotSigned => "not signed",
            Undoing::Interrupted => "interrupted",
            Undoing::CardCancelled => "card cancelled",
        }
    }
}

impl Record for Issuance {
    const TABLE: Table = ISSUANCES;
    const SCHEMA: u8 = 1;

    fn key(&self) -> Vec<u8> {
        self.id.as_str().as_bytes().to_vec()
    }

    fn terms(&self) -> Vec<Term> {
        match self.state {
            IssuanceState::Reserved | IssuanceState::Pending => {
                vec![Term::new(BY_CONFIRM_BY, self.confirm_by.unix_millis().to_be_bytes())]
            }
            IssuanceState::Confirmed { .. } | IssuanceState::Undone { .. } => Vec::new(),
        }
    }
}

/// What the station sends: a request for each of the two new keys.
#[derive(Debug)]
pub struct PairRequest {
    /// For the authentication key.
    pub authentication: CheckedRequest,
    /// For the signing key.
    pub signing: CheckedRequest,
    /// At a renewal: [`pki::statement::renewal`], signed by the card's authentication key in use.
    pub possession: Option<Vec<u8>>,
}

/// Times that issuing goes by.
#[derive(Clone, Copy, Debug)]
pub struct IssuanceTimes {
    /// How long a station has to confirm.
    pub confirmation: Duration,
    /// How long before their end certificates can be renewed.
    pub renewal_window: Duration,
}

/// What every step of an issuance needs from its surroundings.
#[derive(Clone)]
pub struct Surroundings<'a> {
    /// The store.
    pub store: &'a dyn Store,
    /// The CA.
    pub authority: Arc<Authority>,
    /// The times.
    pub times: IssuanceTimes,
    /// A CSPRNG.
    pub random: &'a dyn SecureRandom,
}

/// An issuance whose first commit is to be made.
#[derive(Debug)]
pub struct Begun {
    /// The first commit: both serial numbers, TBS digests, intents; the card is bound to this issuance.
    pub batch: Batch,
    issuance: Issuance,
    actor: Actor,
    authentication: Reservation,
    signing: Reservation,
}

/// Begins the first issuance on an allocated card.
///
/// # Errors
/// When the person or the card is not ready, or a request breaks a rule.
pub fn begin_issue(
    around: Surroundings<'_>,
    permit: &Permit<operation::CardIssue>,
    station: &str,
    serial: &CardSerial,
    request: PairRequest,
    now: Timestamp,
) -> Result<Begun, Error> {
    let stored = card::load(around.store, serial)?;
    require_no_issuance(&stored.record)?;
    let id = IssuanceId::random(around.random)?;
    let card = stored.record.clone().begin_issue(id.clone())?;
    begin(around, permit, station, IssuanceKind::Issue, id, (stored, card), request, now)
}

/// Begins the renewal of an active card in its renewal window.
///
/// # Errors
/// When the card is not active, its certificates have expired or are not due yet, or a request breaks a rule.
pub fn begin_renewal(
    around: Surroundings<'_>,
    permit: &Permit<operation::CardRenew>,
    station: &str,
    serial: &CardSerial,
    request: PairRequest,
    now: Timestamp,
) -> Result<Begun, Error> {
    let stored = card::load(around.store, serial)?;
    require_no_issuance(&stored.record)?;
    let id = IssuanceId::random(around.random)?;
    let card = stored.record.clone().begin_renewal(id.clone())?;
    if let Some(pair) = stored.record.pair() {
        let current = certificate::load(around.store, &pair.authentication)?.record;
        require_possession(serial, &current, &request)?;
        let not_after = current.not_after;
        let from = not_after.minus(around.times.renewal_window);
        let card = serial.to_string();
        if now > not_after {
            return Err(Error::Expired { card, not_after });
        }
        if now < from {
            return Err(Error::NotInRenewalWindow { card, not_after, from });
        }
    }
    begin(around, permit, station, IssuanceKind::Renew, id, (stored, card), request, now)
}

/// The card itself asks for its renewal: its key in use signs the requests for the new keys. So an operator cannot become
/// the holder by renewing onto keys of their own.
fn require_possession(serial: &CardSerial, current: &CertificateRecord, request: &PairRequest) -> Result<(), Error> {
    let (key, _) = key_and_digest(current)?;
    let statement =
        pki::statement::renewal(serial.as_str(), &request.authentication.digest(), &request.signing.digest());
    let signature = request.possession.as_deref().unwrap_or_default();
    key.verify(key.key_type().signature_algorithm(), &statement, signature).map_err(|_| {
        let message = format!(
            "the requests are not signed by the authentication key in use on card {serial}: the card must be in the reader"
        );
        Refusal { operation: operation::CardRenew::NAME, rule: "card-present", message }.into()
    })
}

fn require_no_issuance(card: &Card) -> Result<(), Error> {
    match &card.issuance {
        None => Ok(()),
        Some(open) => Err(Error::IssuanceOpen(open.to_string())),
    }
}

#[expect(clippy::too_many_arguments, reason = "the two public entries differ in little, and share this")]
fn begin<O: operation::Operation>(
    around: Surroundings<'_>,
    permit: &Permit<O>,
    station: &str,
    kind: IssuanceKind,
    id: IssuanceId,
    (stored, card): (Versioned<Card>, Card),
    request: PairRequest,
    now: Timestamp,
) -> Result<Begun, Error> {
    let person = person::load(around.store, &card.holder)?.record;
    person.require_active()?;
    if request.authentication.public_key() == request.signing.public_key() {
        return Err(ca::Error::KeyReuse("both requests are for the same key").into());
    }
    let mut random = [0; 36];
    around.random.fill(&mut random).map_err(|_| ca::Error::Random)?;
    let (nonce, jitter) = random.split_at(32);
    let jitter = f64::from(u32::from_be_bytes([jitter[0], jitter[1], jitter[2], jitter[3]])) / f64::from(u32::MAX);

    let subject = subject(&person);
    let holder = Holder::Person { user_id: person.user_id.to_string(), card: card.serial.to_string() };
    let reserve = |profile: &str, request: &CheckedRequest| {
        let order = Order {
            profile,
            subject: &subject,
            key: request.public_key(),
            ignored: request.ignored().iter().cloned().collect::<BTreeSet<_>>(),
            holder: holder.clone(),
            jitter,
            life: None,
        };
        around.authority.reserve(around.store, order, now, around.random)
    };
    let authentication = reserve(AUTHENTICATION_PROFILE, &request.authentication)?;
    let signing = reserve(SIGNING_PROFILE, &request.signing)?;

    let issuance = Issuance {
        id,
        card: card.serial.clone(),
        person: person.user_id,
        kind,
        operator: permit.person().cloned(),
        station: station.to_owned(),
        pair: CertificatePair { authentication: authentication.id().clone(), signing: signing.id().clone() },
        nonce: nonce.to_vec(),
        confirm_by: now.plus(around.times.confirmation),
        state: IssuanceState::Reserved,
    };
    let actor = permit.actor();
    let mut batch = ca::batch(now);
    batch.update(&stored.with(card.clone()))?;
    batch.create(&issuance)?;
    let record = issuance.audit(now, &actor, permit.operation(), Outcome::Intent);
    ca::record(&mut batch, &record)?;
    authentication.add_to(&mut batch, &actor, Some(issuance.id.as_str()))?;
    signing.add_to(&mut batch, &actor, Some(issuance.id.as_str()))?;
    Ok(Begun { batch, issuance, actor, authentication, signing })
}

/// What the registry knows of a person: names and user id come from here, never from the request.
// conformance: E11
pub fn subject(person: &Person) -> SubjectFields {
    SubjectFields {
        user_id: Some(person.user_id.to_string()),
        given: Some(person.given_name.clone()),
        family: Some(person.family_name.clone()),
        // Never changed, and never given to another person: what RFC 4043 asks of a permanent identifier.
        permanent_identifier: Some(person.user_id.to_string()),
        ..SubjectFields::default()
    }
}

/// Both serial numbers are durable; both certificates may be signed.
#[derive(Debug)]
#[must_use = "a reserved pair is signed, or undone"]
pub struct ReservedPair {
    issuance: Issuance,
    actor: Actor,
    authentication: Reserved,
    signing: Reserved,
}

/// Both certificates are signed, and must not leave before the second commit.
#[derive(Debug)]
#[must_use = "a signed pair is committed, or undone"]
pub struct SignedPair {
    issuance: Issuance,
    actor: Actor,
    authentication: Signed,
    signing: Signed,
}

/// An issuance with its certificates, as they will be.
#[derive(Clone, Debug)]
pub struct Moved {
    /// The issuance.
    pub issuance: Issuance,
    /// Its authentication certificate.
    pub authentication: CertificateRecord,
    /// Its signing certificate.
    pub signing: CertificateRecord,
}

impl Begun {
    /// The issuance that it will be.
    pub fn issuance(&self) -> &Issuance {
        &self.issuance
    }

    /// After the first commit. The argument is the proof of it.
    pub fn committed(self, committed: &Committed) -> ReservedPair {
        ReservedPair {
            issuance: self.issuance,
            actor: self.actor,
            authentication: self.authentication.committed(committed),
            signing: self.signing.committed(committed),
        }
    }
}

impl ReservedPair {
    /// The issuance.
    pub fn issuance(&self) -> &Issuance {
        &self.issuance
    }

    /// Two calls to the token.
    ///
    /// # Errors
    /// When the token does not sign, or a signature does not verify: the issuance is to be undone then.
    pub fn sign(self, authority: &Authority) -> Result<SignedPair, Error> {
        let sign = |reserved: Reserved| -> Result<Signed, Error> {
            let signer = authority.issuer(&reserved.id().issuer)?.signer();
            reserved.sign(signer.as_ref()).map_err(|failure| (*failure.error).into())
        };
        Ok(SignedPair {
            authentication: sign(self.authentication)?,
            signing: sign(self.signing)?,
            issuance: self.issuance,
            actor: self.actor,
        })
    }
}

impl SignedPair {
    /// The second commit: both certificates *pending*, the card *personalised*. May be called again after a conflict.
    ///
    /// # Errors
    /// When the card was cancelled or the issuance undone meanwhile.
    pub fn finish(&self, store: &dyn Store, now: Timestamp) -> Result<(Batch, Moved), Error> {
        let stored = load(store, &self.issuance.id)?;
        if stored.record.state != IssuanceState::Reserved {
            return Err(stored.record.ended());
        }
        let next = Issuance { state: IssuanceState::Pending, ..stored.record.clone() };
        let mut batch = ca::batch(now);
        batch.update(&stored.with(next.clone()))?;
        let card = card::load(store, &next.card)?;
        batch.update(&card.with(card.record.clone().issued()?))?;
        let follows = Some(next.id.as_str());
        let mut add = |signed: &Signed| signed.add_pending(store, &mut batch, next.confirm_by, &self.actor, follows);
        let (authentication, signing) = (add(&self.authentication)?, add(&self.signing)?);
        Ok((batch, Moved { issuance: next, authentication, signing }))
    }
}

/// A confirmation: the SHA-256 of the certificates read back, and the nonce, signed by both new keys.
#[derive(Clone, Debug)]
pub struct Confirmation {
    /// By the authentication key.
    pub authentication: Vec<u8>,
    /// By the signing key.
    pub signing: Vec<u8>,
}

/// The certificates are on the card: both *good*, the card *active*, what was there superseded, in one commit.
///
/// # Errors
/// When a signature does not verify, the issuance has ended, or the card is on hold or cancelled.
pub fn confirm(
    around: Surroundings<'_>,
    reasons: &RevocationReasons,
    id: &IssuanceId,
    confirmation: &Confirmation,
    actor: &Actor,
    now: Timestamp,
) -> Result<(Batch, Moved), Error> {
    let store = around.store;
    let stored = load(store, id)?;
    let issuance = &stored.record;
    match issuance.state {
        IssuanceState::Pending => {}
        IssuanceState::Reserved => {
            return Err(Error::IssuanceNotReady { id: id.to_string(), state: issuance.state.name() });
        }
        IssuanceState::Confirmed { .. } | IssuanceState::Undone { .. } => return Err(issuance.ended()),
    }
    if now > issuance.confirm_by {
        return Err(Error::IssuanceEnded { id: id.to_string(), state: "timed out" });
    }
    let authentication = certificate::load(store, &issuance.pair.authentication)?;
    let signing = certificate::load(store, &issuance.pair.signing)?;
    let (authentication_key, authentication_digest) = key_and_digest(&authentication.record)?;
    let (signing_key, signing_digest) = key_and_digest(&signing.record)?;
    let statement = pki::statement::confirmation(id.as_str(), &issuance.nonce, &authentication_digest, &signing_digest);
    let check = |key: &PublicKey, signature: &[u8], purpose: &'static str| {
        key.verify(key.key_type().signature_algorithm(), &statement, signature)
            .map_err(|_| Error::NotConfirmed { issuance: id.to_string(), purpose })
    };
    check(&authentication_key, &confirmation.authentication, "authentication")?;
    check(&signing_key, &confirmation.signing, "signing")?;

    let card = card::load(store, &issuance.card)?;
    let superseded = card.record.pair().cloned();
    let next_card = card.record.clone().confirm(issuance.pair.clone())?;
    let next = Issuance { state: IssuanceState::Confirmed { at: now }, ..issuance.clone() };
    let mut batch = ca::batch(now);
    batch.update(&stored.with(next.clone()))?;
    batch.update(&card.with(next_card.clone()))?;
    let mut record = next.audit(now, actor, "card.confirm", Outcome::Done);
    record.facts.insert("to".to_owned(), next_card.state.name().to_owned());
    ca::record(&mut batch, &record)?;
    let follows = Some(id.as_str());
    let mut confirm = |certificate: &Versioned<CertificateRecord>| -> Result<CertificateRecord, Error> {
        let good = certificate.record.clone().confirm(now)?;
        certificate::change(&mut batch, certificate, &good, actor, follows)?;
        Ok(good)
    };
    let (good_authentication, good_signing) = (confirm(&authentication)?, confirm(&signing)?);
    for (purpose, old) in superseded.iter().flat_map(CertificatePair::each) {
        let old = certificate::load(store, old)?;
        let reason = reasons.reason(CancelCause::Superseded, purpose);
        let revoked = old.record.clone().revoke(now, reason, None)?;
        certificate::change(&mut batch, &old, &revoked, actor, follows)?;
    }
    Ok((batch, Moved { issuance: next, authentication: good_authentication, signing: good_signing }))
}

fn key_and_digest(record: &CertificateRecord) -> Result<(PublicKey, [u8; 32]), Error> {
    let der = record.der.as_deref().unwrap_or_default();
    let certificate = pki::certificate::ParsedCertificate::from_der(der)?;
    Ok((certificate.public_key().clone(), certificate.fingerprint()))
}

/// Undoes an issuance: what is reserved becomes void, what is pending is revoked, the card is free again.
///
/// # Errors
/// When it has ended already.
pub fn undo(
    store: &dyn Store,
    id: &IssuanceId,
    cause: Undoing,
    actor: &Actor,
    now: Timestamp,
) -> Result<(Batch, Issuance), Error> {
    let mut batch = ca::batch(now);
    let stored = load(store, id)?;
    if matches!(stored.record.state, IssuanceState::Confirmed { .. } | IssuanceState::Undone { .. }) {
        return Err(stored.record.ended());
    }
    let (next, _) = undo_certificates(store, &mut batch, &stored, cause, actor)?;
    let card = card::load(store, &next.card)?;
    if card.record.issuance.as_ref() == Some(id) {
        batch.update(&card.with(card.record.clone().undo()))?;
    }
    Ok((batch, next))
}

/// The same as a part of a card's cancellation, which writes the card itself.
pub(crate) fn undo_for_cancelled_card(
    store: &dyn Store,
    batch: &mut Batch,
    id: &IssuanceId,
    actor: &Actor,
    cause: Undoing,
) -> Result<Vec<CertificateRecord>, Error> {
    let stored = load(store, id)?;
    undo_certificates(store, batch, &stored, cause, actor).map(|(_, certificates)| certificates)
}

fn undo_certificates(
    store: &dyn Store,
    batch: &mut Batch,
    stored: &Versioned<Issuance>,
    cause: Undoing,
    actor: &Actor,
) -> Result<(Issuance, Vec<CertificateRecord>), Error> {
    let now = Timestamp::from_unix_millis(batch.at);
    let mut changed = Vec::new();
    let next = Issuance { state: IssuanceState::Undone { at: now, cause }, ..stored.record.clone() };
    batch.update(&stored.with(next.clone()))?;
    let outcome = Outcome::Failed { cause: cause.name().to_owned() };
    ca::record(batch, &next.audit(now, actor, "card.undo", outcome))?;
    for (_, id) in next.pair.each() {
        let certificate = certificate::load(store, id)?;
        let undone = match certificate.record.state {
            CertificateState::Reserved { .. } => certificate.record.clone().void()?,
            CertificateState::Pending { .. } => {
                certificate.record.clone().revoke(now, CrlReason::CessationOfOperation, None)?
            }
            _ => continue,
        };
        certificate::change(batch, &certificate, &undone, actor, Some(next.id.as_str()))?;
        changed.push(undone);
    }
    Ok((next, changed))
}

impl Issuance {
    fn audit(&self, now: Timestamp, actor: &Actor, operation: &str, outcome: Outcome) -> AuditRecord {
        AuditRecord::new(now, actor.clone(), operation, outcome)
            .on("card", &self.card)
            .on("person", &self.person)
            .on("certificate", &self.pair.authentication)
            .on("certificate", &self.pair.signing)
            .follows(&self.id)
    }

    fn ended(&self) -> Error {
        Error::IssuanceEnded { id: self.id.to_string(), state: self.state.name() }
    }

    /// The purposes and records of its certificates.
    ///
    /// # Errors
    /// When the store fails.
    pub fn certificates(&self, store: &dyn Store) -> Result<[(CertificatePurpose, CertificateRecord); 2], Error> {
        let [(first, authentication), (second, signing)] = self.pair.each();
        Ok([
            (first, certificate::load(store, authentication)?.record),
            (second, certificate::load(store, signing)?.record),
        ])
    }
}

/// The issuance with this id.
///
/// # Errors
/// When there is none, or the store fails.
pub fn load(store: &dyn Store, id: &IssuanceId) -> Result<Versioned<Issuance>, Error> {
    store::load::<Issuance>(store, id.as_str().as_bytes())?
        .ok_or_else(|| Error::NotFound { kind: "issuance", id: id.to_string() })
}

/// The issuances that are to be undone: those that nobody confirmed in time, and with `interrupted` those that were left
/// without a result by the owner's earlier process or under a lease that has ended. At most `limit` are looked at.
///
/// # Errors
/// When the store fails.
pub fn due(
    store: &dyn Store,
    interrupted: Option<&str>,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<(IssuanceId, Undoing)>, Error> {
    let mut due = Vec::new();
    let to = if interrupted.is_some() { Timestamp::MAX } else { now }.unix_millis().to_be_bytes();
    let page = store.by_index(BY_CONFIRM_BY, &[], Some(&to), None, limit)?;
    for entry in page.entries {
        let Some(stored) = store::load::<Issuance>(store, &entry.key)? else { continue };
        let issuance = stored.record;
        if issuance.confirm_by < now {
            due.push((issuance.id, Undoing::TimedOut));
        } else if let Some(owner) = interrupted
            && issuance.state == IssuanceState::Reserved
            && is_interrupted(store, &issuance, owner, now)?
        {
            due.push((issuance.id, Undoing::Interrupted));
        }
    }
    Ok(due)
}

fn is_interrupted(store: &dyn Store, issuance: &Issuance, owner: &str, now: Timestamp) -> Result<bool, Error> {
    let certificate = certificate::load(store, &issuance.pair.authentication)?;
    Ok(match &certificate.record.state {
        CertificateState::Reserved { owner: reserved_by, lease_until } => reserved_by == owner || *lease_until < now,
        _ => true,
    })
}
