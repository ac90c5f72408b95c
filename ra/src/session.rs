//! Logins and sessions: an operator signs a single-use nonce with the card, at a station.
//!
//! A session belongs to one station. At each use the card's certificate, the person and the times are looked at again.

use std::time::Duration;

use audit::{Actor, AuditRecord, Outcome};
use ca::CertificateId;
use ca::certificate::{self, Holder};
use pki::Timestamp;
use pki::certificate::ParsedCertificate;
use ring::rand::SecureRandom;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use store::{Batch, Index, Record, Store, Table, Term, Versioned};

use crate::card::{self, CardState};
use crate::issuance::AUTHENTICATION_PROFILE;
use crate::policy::Operator;
use crate::{Error, UserId, enrolment, person};

/// Challenges, by the SHA-256 of their nonce.
pub const CHALLENGES: Table = Table::new("challenge");
/// Sessions, by the SHA-256 of their token.
pub const SESSIONS: Table = Table::new("session");
/// Challenges and sessions by the time when they can be forgotten: milliseconds, big endian.
pub const BY_EXPIRY: Index = Index::new("session.expiry");

/// A nonce to be signed, once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// SHA-256 of the nonce.
    #[serde(with = "serde_bytes")]
    pub digest: Vec<u8>,
    /// The station that asked for it.
    pub station: String,
    /// When it runs out.
    pub expires: Timestamp,
}

impl Record for Challenge {
    const TABLE: Table = CHALLENGES;
    const SCHEMA: u8 = 1;

    fn key(&self) -> Vec<u8> {
        self.digest.clone()
    }

    fn terms(&self) -> Vec<Term> {
        vec![Term::new(BY_EXPIRY, self.expires.unix_millis().to_be_bytes())]
    }
}

/// An operator's session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// SHA-256 of the token.
    #[serde(with = "serde_bytes")]
    pub digest: Vec<u8>,
    /// Who.
    pub person: UserId,
    /// The card's certificate; none where a code opened it.
    pub certificate: Option<CertificateId>,
    /// The card.
    pub card: Option<String>,
    /// At which station.
    pub station: String,
    /// Since when.
    pub opened: Timestamp,
    /// When it was last used, to the minute.
    pub last_used: Timestamp,
    /// When it ends, whatever happens.
    pub expires: Timestamp,
}

impl Record for Session {
    const TABLE: Table = SESSIONS;
    const SCHEMA: u8 = 1;

    fn key(&self) -> Vec<u8> {
        self.digest.clone()
    }

    fn terms(&self) -> Vec<Term> {
        vec![Term::new(BY_EXPIRY, self.expires.unix_millis().to_be_bytes())]
    }
}

/// How long sessions last.
#[derive(Clone, Copy, Debug)]
pub struct SessionTimes {
    /// A challenge.
    pub challenge: Duration,
    /// A session that is not used.
    pub idle: Duration,
    /// Any session.
    pub longest: Duration,
}

/// How fine the time of the last use is kept: not every request is a commit.
const USE_GRAIN: Duration = Duration::from_secs(60);

fn token(random: &dyn SecureRandom) -> Result<[u8; 32], Error> {
    let mut token = [0; 32];
    random.fill(&mut token).map_err(|_| ca::Error::Random)?;
    Ok(token)
}

/// Makes a nonce for a station.
///
/// # Errors
/// When the random number generator fails.
pub fn challenge(
    station: &str,
    times: SessionTimes,
    now: Timestamp,
    random: &dyn SecureRandom,
) -> Result<(Batch, [u8; 32], Timestamp), Error> {
    let nonce = token(random)?;
    let expires = now.plus(times.challenge);
    let mut batch = ca::batch(now);
    batch.create(&Challenge { digest: Sha256::digest(nonce).to_vec(), station: station.to_owned(), expires })?;
    Ok((batch, nonce, expires))
}

/// A login: the station's nonce, signed by the card's authentication key.
#[derive(Clone, Debug)]
pub struct Login<'a> {
    /// The nonce.
    pub nonce: &'a [u8],
    /// The card's authentication certificate.
    pub certificate_der: &'a [u8],
    /// The signature over [`pki::statement::login`].
    pub signature: &'a [u8],
}

/// Opens a session. Returns its token, which is not kept.
///
/// # Errors
/// [`Error::LoginRefused`] when nonce, certificate or signature is not in order.
pub fn login(
    store: &dyn Store,
    deployment: &str,
    station: &str,
    login: &Login<'_>,
    times: SessionTimes,
    now: Timestamp,
    random: &dyn SecureRandom,
) -> Result<(Batch, [u8; 32], Session), Error> {
    let refuse = |why: &'static str| Err(Error::LoginRefused(why));
    let digest = Sha256::digest(login.nonce).to_vec();
    let challenge = match store::load::<Challenge>(store, &digest)? {
        Some(found) if found.record.station == station && now <= found.record.expires => found,
        _ => return refuse("the nonce is not known here, was used already, or has run out; ask for a new one"),
    };
    let Ok(certificate) = ParsedCertificate::from_der(login.certificate_der) else {
        return refuse("the certificate cannot be read");
    };
    let Some(stored) = certificate::find(store, &certificate, login.certificate_der)? else {
        return refuse("the certificate is not one of ours");
    };
    if stored.profile != AUTHENTICATION_PROFILE {
        return refuse("it takes the authentication certificate of a card");
    }
    if !stored.is_usable(now) {
        return refuse("the certificate is on hold, revoked, expired or not confirmed");
    }
    let statement = pki::statement::login(deployment, station, login.nonce);
    let key = certificate.public_key();
    if key.verify(key.key_type().signature_algorithm(), &statement, login.signature).is_err() {
        return refuse("the signature is not by the card's authentication key");
    }
    let Holder::Person { user_id, card } = &stored.holder else { return refuse("it takes a person's card") };

    let token = token(random)?;
    let session = Session {
        digest: Sha256::digest(token).to_vec(),
        person: user_id.parse()?,
        certificate: Some(stored.id.clone()),
        card: Some(card.clone()),
        station: station.to_owned(),
        opened: now,
        last_used: now,
        expires: now.plus(times.longest),
    };
    let mut batch = ca::batch(now);
    batch.delete(&challenge);
    batch.create(&session)?;
    let record = AuditRecord::new(now, session.operator().actor(), "session.open", Outcome::Done)
        .on("person", &session.person)
        .fact("by", "card");
    ca::record(&mut batch, &record)?;
    Ok((batch, token, session))
}

/// Opens a session with a first-card code: it may issue that person's first card, and nothing else.
///
/// # Errors
/// [`Error::CodeRefused`].
pub fn login_with_code(
    store: &dyn Store,
    secret: &[u8],
    station: &str,
    times: SessionTimes,
    now: Timestamp,
    random: &dyn SecureRandom,
) -> Result<(Batch, [u8; 32], Session), Error> {
    let mut batch = ca::batch(now);
    let person = enrolment::first_card(store, &mut batch, secret, station)?;
    let token = token(random)?;
    let session = Session {
        digest: Sha256::digest(token).to_vec(),
        person,
        certificate: None,
        card: None,
        station: station.to_owned(),
        opened: now,
        last_used: now,
        expires: now.plus(times.idle),
    };
    batch.create(&session)?;
    Ok((batch, token, session))
}

impl Session {
    /// Who acts in it.
    pub fn operator(&self) -> Operator {
        Operator {
            person: self.person.clone(),
            card: self.card.clone(),
            station: self.station.clone(),
            first_card_only: self.certificate.is_none(),
        }
    }
}

/// The session of a token, if it still holds; and the batch that notes its use, when that is due.
///
/// # Errors
/// [`Error::NoSession`] when it has ended: by time, by the card being on hold or revoked, or at another station.
pub fn find(
    store: &dyn Store,
    token: &[u8],
    station: &str,
    times: SessionTimes,
    now: Timestamp,
) -> Result<(Session, Option<Batch>), Error> {
    let found = store::load::<Session>(store, &Sha256::digest(token))?.ok_or(Error::NoSession)?;
    let session = &found.record;
    if session.station != station || now > session.expires || now > session.last_used.plus(times.idle) {
        return Err(Error::NoSession);
    }
    if person::load(store, &session.person)?.record.require_active().is_err() {
        return Err(Error::NoSession);
    }
    if let (Some(id), Some(serial)) = (&session.certificate, &session.card) {
        let certificate = certificate::load(store, id)?.record;
        let card = card::load(store, &serial.parse()?)?.record;
        if !certificate.is_usable(now) || !matches!(card.state, CardState::Active { .. }) {
            return Err(Error::NoSession);
        }
    }
    if now.since(session.last_used) < USE_GRAIN {
        return Ok((found.record, None));
    }
    let mut batch = ca::batch(now);
    let used = Session { last_used: now, ..session.clone() };
    batch.update(&found.with(used.clone()))?;
    Ok((used, Some(batch)))
}

/// Ends a session.
///
/// # Errors
/// [`Error::NoSession`] when there is none.
pub fn close(store: &dyn Store, token: &[u8], now: Timestamp) -> Result<Batch, Error> {
    let found: Versioned<Session> = store::load::<Session>(store, &Sha256::digest(token))?.ok_or(Error::NoSession)?;
    let mut batch = ca::batch(now);
    batch.delete(&found);
    let actor: Actor = found.record.operator().actor();
    ca::record(&mut batch, &AuditRecord::new(now, actor, "session.close", Outcome::Done))?;
    Ok(batch)
}

/// Forgets challenges and sessions whose time is over: a batch of at most `limit`, or none when there is nothing.
///
/// # Errors
/// When the store fails.
pub fn forget_expired(store: &dyn Store, now: Timestamp, limit: usize) -> Result<Option<Batch>, Error> {
    let to = now.unix_millis().to_be_bytes();
    let page = store.by_index(BY_EXPIRY, &[], Some(&to), None, limit)?;
    let mut batch = ca::batch(now);
    for entry in page.entries {
        if let Some(session) = store::load::<Session>(store, &entry.key).ok().flatten() {
            batch.delete(&session);
        } else if let Some(challenge) = store::load::<Challenge>(store, &entry.key)? {
            batch.delete(&challenge);
        }
    }
    Ok((!batch.put.is_empty()).then_some(batch))
}
