//! One key of a CA takes the place of another: published, then active; the one before it for status only, then retired.
//!
//! The keys stay side by side under one name, each with an id, a certificate, a CRL and OCSP signers of its own
//! (conformance: C16, O10).

use audit::{Actor, AuditRecord, Outcome};
use pki::Timestamp;
use pki::certificate::ParsedCertificate;
use store::{Batch, Store, Versioned};

use crate::certificate::{self, CertificateRecord, CertificateState};
use crate::issuer::{self, IssuerRecord, IssuerState, KeyLocation, LinkCertificate};
use crate::service_certificate::OCSP_SIGNER_PROFILE;
use crate::{CertificateId, Error, record, rotation};

/// The fact of a rotation that is the new key's number.
pub const GENERATION: &str = "generation";

/// How many certificates are looked at at a time.
const PORTION: usize = 1000;

/// The issuer of this id.
///
/// # Errors
/// [`Error::NoSuchIssuer`], or the store's.
pub fn load(store: &dyn Store, id: &str) -> Result<Versioned<IssuerRecord>, Error> {
    store::load::<IssuerRecord>(store, id.as_bytes())?.ok_or_else(|| Error::NoSuchIssuer(id.to_owned()))
}

/// The key of this CA that issues now.
///
/// # Errors
/// [`Error::NoSuchIssuer`], or the store's.
pub fn active(store: &dyn Store, name: &str) -> Result<IssuerRecord, Error> {
    let active = issuer::all(store)?
        .into_iter()
        .filter(|issuer| issuer.name == name && matches!(issuer.state, IssuerState::Active | IssuerState::Offline));
    active.max_by_key(|issuer| issuer.generation).ok_or_else(|| Error::NoSuchIssuer(name.to_owned()))
}

/// The number of this CA's next key: no number is used twice, that of a rotation that was given up neither. Its key may
/// be in the token.
///
/// # Errors
/// The store's.
pub fn next_generation(store: &dyn Store, name: &str) -> Result<u32, Error> {
    let issuers = issuer::all(store)?;
    let used = issuers.iter().filter(|issuer| issuer.name == name).map(|issuer| issuer.generation).max();
    let rotations = rotation::all(store)?;
    let of_ca = rotations.iter().filter(|rotation| rotation.kind.makes_a_ca_key() && rotation.target == name);
    let planned = of_ca.filter_map(|rotation| rotation.fact(GENERATION)?.parse().ok()).max();
    Ok(used.max(planned).unwrap_or(0) + 1)
}

fn audited(batch: &mut Batch, issuer: &IssuerRecord, actor: &Actor, follows: Option<&str>) -> Result<(), Error> {
    let now = Timestamp::from_unix_millis(batch.at);
    let mut entry = AuditRecord::new(now, actor.clone(), "issuer.state", Outcome::Done)
        .on("issuer", &issuer.id)
        .fact("state", issuer.state.name());
    if let IssuerState::Published { active_from } = issuer.state {
        entry = entry.fact("active_from", active_from);
    }
    entry.follows = follows.map(str::to_owned);
    record(batch, &entry)
}

/// A key that is about to be published.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// The CA's name.
    pub name: String,
    /// The key's number.
    pub generation: u32,
    /// The token's label.
    pub token: String,
    /// Its certificate.
    pub certificate_der: Vec<u8>,
    /// Of a key of the root: its link certificates.
    pub links: Vec<LinkCertificate>,
    /// From when on it takes the place of the key before it.
    pub active_from: Timestamp,
}

/// The id of a CA's key.
pub fn issuer_id(name: &str, generation: u32) -> String {
    format!("{name}-{generation}")
}

/// Publishes a new key of a CA: its certificate can be fetched, and it signs CRLs and OCSP delegates.
///
/// # Errors
/// When the record cannot be written.
pub fn publish(batch: &mut Batch, key: NewKey, actor: &Actor, follows: Option<&str>) -> Result<IssuerRecord, Error> {
    let now = Timestamp::from_unix_millis(batch.at);
    let id = issuer_id(&key.name, key.generation);
    let published = IssuerRecord {
        id: id.clone(),
        name: key.name,
        generation: key.generation,
        state: IssuerState::Published { active_from: key.active_from },
        certificate_der: key.certificate_der,
        key: KeyLocation { token: key.token, label: id },
        created: now,
        crl_number: 0,
        last_crl: None,
        state_since: Some(now),
        retire_from: None,
        links: key.links,
        crl_history: Default::default(),
    };
    batch.create(&published)?;
    audited(batch, &published, actor, follows)?;
    Ok(published)
}

/// The new key takes the place of the old one, in one commit: from now on the old one signs CRLs and OCSP delegates only.
/// Nothing is written when that has happened already; then `false` is returned.
///
/// # Errors
/// When one of them is not known, or the new one is not published.
// conformance: C16
pub fn activate(
    store: &dyn Store,
    batch: &mut Batch,
    (old, new): (&str, &str),
    longest_life: std::time::Duration,
    actor: &Actor,
    follows: Option<&str>,
) -> Result<bool, Error> {
    let now = Timestamp::from_unix_millis(batch.at);
    let (old, new) = (load(store, old)?, load(store, new)?);
    let in_force = if new.record.is_root() { IssuerState::Offline } else { IssuerState::Active };
    match new.record.state {
        IssuerState::Published { active_from } if active_from <= now => {}
        state if state == in_force => return Ok(false),
        state => return Err(Error::IssuerState { issuer: new.record.id, state: state.name() }),
    }
    let next = new.record.in_state(in_force, now);
    let end = ParsedCertificate::from_der(&old.record.certificate_der)?.not_after();
    let before = IssuerRecord {
        retire_from: Some(now.plus(longest_life).min(end)),
        ..old.record.in_state(IssuerState::StatusOnly, now)
    };
    for (stored, next) in [(&new, next), (&old, before)] {
        audited(batch, &next, actor, follows)?;
        batch.update(&stored.with(next))?;
    }
    Ok(true)
}

/// Gives a key up that is not active: it never signed a certificate for others, and never will. Its certificates are
/// revoked; those that were only reserved become void. It need not be published yet.
///
/// # Errors
/// When it is active already.
pub fn give_up(
    store: &dyn Store,
    batch: &mut Batch,
    id: &str,
    certificates: &[CertificateId],
    actor: &Actor,
    follows: Option<&str>,
) -> Result<(), Error> {
    let now = Timestamp::from_unix_millis(batch.at);
    match load(store, id) {
        Ok(stored) => match stored.record.state {
            IssuerState::Published { .. } => {
                let next = stored.record.in_state(IssuerState::Retired, now);
                audited(batch, &next, actor, follows)?;
                batch.update(&stored.with(next))?;
            }
            IssuerState::Retired => {}
            state => return Err(Error::IssuerState { issuer: stored.record.id, state: state.name() }),
        },
        Err(Error::NoSuchIssuer(_)) => {}
        Err(error) => return Err(error),
    }
    for id in certificates {
        let stored = certificate::load(store, id)?;
        let next = match stored.record.state {
            CertificateState::Good { .. } => {
                stored.record.clone().revoke(now, pki::CrlReason::CessationOfOperation, None)?
            }
            CertificateState::Reserved { .. } => stored.record.clone().void()?,
            _ => continue,
        };
        certificate::change(batch, &stored, &next, actor, follows)?;
    }
    Ok(())
}

/// The latest end of a certificate of this issuer that is not over at `now`, OCSP delegates apart: those it goes on
/// certifying as long as it is asked about others.
///
/// # Errors
/// The store's.
fn last_end(store: &dyn Store, issuer: &str, now: Timestamp) -> Result<Option<Timestamp>, Error> {
    let prefix = [issuer.as_bytes(), &[0]].concat();
    let (mut after, mut last): (Option<Vec<u8>>, Option<Timestamp>) = (None, None);
    loop {
        let page = store::load_range::<CertificateRecord>(store, &prefix, after.as_deref(), PORTION)?;
        let Some(end) = page.last() else { return Ok(last) };
        after = Some(end.record.id.key());
        let counts = page.iter().map(|found| &found.record);
        let counts = counts.filter(|record| record.profile != OCSP_SIGNER_PROFILE && record.not_after >= now);
        last = last.max(counts.map(|record| record.not_after).max());
    }
}

/// Retires the keys whose last certificate has expired, `margin` ago: so long does an expired certificate stay on CRLs.
/// Returns a batch for one issuer at a time, and its id.
///
/// # Errors
/// The store's.
// conformance: C13, C16
pub fn retire_due(
    store: &dyn Store,
    margin: std::time::Duration,
    actor: &Actor,
    now: Timestamp,
) -> Result<Option<(Batch, String, IssuerState)>, Error> {
    for record in issuer::all(store)? {
        let due = record.retire_from.is_some_and(|from| from.plus(margin) < now);
        if record.state != IssuerState::StatusOnly || !due {
            continue;
        }
        let stored = load(store, &record.id)?;
        let mut batch = crate::batch(now);
        let next = match last_end(store, &record.id, now.minus(margin))? {
            Some(end) => IssuerRecord { retire_from: Some(end), ..stored.record.clone() },
            None => {
                let retired = stored.record.in_state(IssuerState::Retired, now);
                audited(&mut batch, &retired, actor, None)?;
                retired
            }
        };
        let state = next.state;
        batch.update(&stored.with(next))?;
        return Ok(Some((batch, record.id, state)));
    }
    Ok(None)
}
