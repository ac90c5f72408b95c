//! Single-use codes, and what they enrol: stations, and the first card of the first operators.

use std::collections::BTreeSet;
use std::time::Duration;

use audit::{Actor, AuditRecord, Outcome};
use ca::{Authority, CertificateId, Holder, Order, Reservation, Signed};
use pki::Timestamp;
use pki::certificate::SubjectFields;
use pki::request::CheckedRequest;
use ring::rand::SecureRandom;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use store::{Batch, Index, Record, Store, Table, Term, Versioned};

use crate::person::{Checker, IdentityCheck, Person, PersonState, Registration, RoleGrant, TermsAcceptance};
use crate::policy::{Permit, Role, operation};
use crate::{Error, OdsCode, UserId, organisation, person};

/// Codes, by the SHA-256 of their secret.
pub const CODES: Table = Table::new("code");
/// Codes that were not used, by the time when they run out: milliseconds, big endian.
pub const OPEN: Index = Index::new("code.open");
/// Codes that were used, likewise.
pub const SPENT: Index = Index::new("code.spent");
/// Stations, by name.
pub const STATIONS: Table = Table::new("station");

/// The profile of a station's certificate.
pub const STATION_PROFILE: &str = "ra-station";

/// How many octets a code's secret has.
pub const SECRET_OCTETS: usize = 16;

/// A single-use code. Only the digest of its secret is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Code {
    /// SHA-256 of the secret.
    #[serde(with = "serde_bytes")]
    pub digest: Vec<u8>,
    /// What it is for.
    pub purpose: CodePurpose,
    /// When it runs out.
    pub expires: Timestamp,
    /// Whether it was used.
    pub used: bool,
}

/// What a code is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CodePurpose {
    /// A station enrols itself under this name.
    Station {
        /// Its name: a DNS name.
        name: String,
        /// Its organisation.
        organisation: OdsCode,
    },
    /// A station issues this person's first card, without an operator.
    FirstCard {
        /// The person.
        person: UserId,
    },
}

impl Record for Code {
    const TABLE: Table = CODES;
    const SCHEMA: u8 = 1;

    fn key(&self) -> Vec<u8> {
        self.digest.clone()
    }

    fn terms(&self) -> Vec<Term> {
        let index = if self.used { SPENT } else { OPEN };
        vec![Term::new(index, self.expires.unix_millis().to_be_bytes())]
    }
}

/// A registration station.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Station {
    /// Its name: a DNS name.
    pub name: String,
    /// The organisation that it stands in.
    pub organisation: OdsCode,
    /// Its certificate.
    pub certificate: CertificateId,
    /// Since when.
    pub enrolled_at: Timestamp,
}

impl Record for Station {
    const TABLE: Table = STATIONS;
    const SCHEMA: u8 = 1;

    fn key(&self) -> Vec<u8> {
        self.name.as_bytes().to_vec()
    }

    fn terms(&self) -> Vec<Term> {
        Vec::new()
    }
}

/// The station of this name, if there is one.
///
/// # Errors
/// When the store fails.
pub fn station(store: &dyn Store, name: &str) -> Result<Option<Versioned<Station>>, Error> {
    Ok(store::load::<Station>(store, name.as_bytes())?)
}

/// Stations in the order of their names, after `after`.
///
/// # Errors
/// When the store fails.
pub fn stations(store: &dyn Store, after: Option<&str>, limit: usize) -> Result<Vec<Station>, Error> {
    let stations = store::load_range::<Station>(store, b"", after.map(str::as_bytes), limit)?;
    Ok(stations.into_iter().map(|found| found.record).collect())
}

fn checked_station_name(name: &str) -> Result<(), Error> {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|octet| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.len() <= 64 && name.split('.').all(label) {
        return Ok(());
    }
    let rule = "a station's name is a DNS name of at most 64 characters: small letters, digits, hyphens, dots";
    Err(Error::invalid("name", rule))
}

/// How long codes are good, and how many may be open.
#[derive(Clone, Copy, Debug)]
pub struct CodeLimits {
    /// How long a code is good.
    pub life: Duration,
    /// How many may be open at one time.
    pub open: usize,
}

/// Forgets codes that have run out: a batch of at most `limit`, or none when there is nothing.
///
/// # Errors
/// When the store fails.
pub fn forget_codes(store: &dyn Store, now: Timestamp, limit: usize) -> Result<Option<Batch>, Error> {
    let to = now.unix_millis().to_be_bytes();
    let mut batch = ca::batch(now);
    for index in [OPEN, SPENT] {
        let (codes, _) = store::load_by_index::<Code>(store, index, &[], Some(&to), None, limit)?;
        for code in &codes {
            batch.delete(code);
        }
    }
    Ok((!batch.put.is_empty()).then_some(batch))
}

/// Makes a code for a station. Returns its secret, which is not kept.
///
/// # Errors
/// When the name is none, or the organisation does not exist.
pub fn station_code(
    store: &dyn Store,
    permit: &Permit<operation::StationEnrol>,
    name: &str,
    organisation: &OdsCode,
    limits: CodeLimits,
    now: Timestamp,
    random: &dyn SecureRandom,
) -> Result<(Batch, [u8; SECRET_OCTETS], Timestamp), Error> {
    checked_station_name(name)?;
    organisation::load(store, organisation)?;
    let mut batch = ca::batch(now);
    let purpose = CodePurpose::Station { name: name.to_owned(), organisation: organisation.clone() };
    let (secret, expires) = add_code(store, &mut batch, purpose, limits, random)?;
    let record = AuditRecord::new(now, permit.actor(), "station.code", Outcome::Done)
        .on("station", name)
        .fact("organisation", organisation)
        .fact("expires", expires);
    ca::record(&mut batch, &record)?;
    Ok((batch, secret, expires))
}

fn add_code(
    store: &dyn Store,
    batch: &mut Batch,
    purpose: CodePurpose,
    limits: CodeLimits,
    random: &dyn SecureRandom,
) -> Result<([u8; SECRET_OCTETS], Timestamp), Error> {
    let open = store.by_index(OPEN, &batch.at.to_be_bytes(), Some(&[0xff]), None, limits.open)?;
    if open.entries.len() >= limits.open {
        return Err(Error::TooManyCodes(limits.open));
    }
    let mut secret = [0; SECRET_OCTETS];
    random.fill(&mut secret).map_err(|_| ca::Error::Random)?;
    let expires = Timestamp::from_unix_millis(batch.at).plus(limits.life);
    batch.create(&Code { digest: Sha256::digest(secret).to_vec(), purpose, expires, used: false })?;
    Ok((secret, expires))
}

fn usable_code(store: &dyn Store, secret: &[u8], now: Timestamp) -> Result<Versioned<Code>, Error> {
    match store::load::<Code>(store, &Sha256::digest(secret))? {
        Some(code) if !code.record.used && now <= code.record.expires => Ok(code),
        _ => Err(Error::CodeRefused),
    }
}

/// A station's enrolment whose first commit is to be made.
#[derive(Debug)]
pub struct StationEnrolment {
    /// The first commit.
    pub batch: Batch,
    code: Versioned<Code>,
    name: String,
    organisation: OdsCode,
    reservation: Reservation,
}

/// A station's enrolment, signed.
#[derive(Debug)]
pub struct SignedStationEnrolment {
    code: Versioned<Code>,
    name: String,
    organisation: OdsCode,
    signed: Signed,
}

fn station_actor(name: &str) -> Actor {
    Actor { station: Some(name.to_owned()), ..Actor::default() }
}

/// Whether a station's code can be used, before anything is done that costs more than looking it up.
///
/// # Errors
/// [`Error::CodeRefused`].
pub fn check_station_code(store: &dyn Store, secret: &[u8], name: &str, now: Timestamp) -> Result<(), Error> {
    station_of_code(store, secret, name, now).map(|_| ())
}

fn station_of_code(
    store: &dyn Store,
    secret: &[u8],
    name: &str,
    now: Timestamp,
) -> Result<(Versioned<Code>, OdsCode), Error> {
    let code = usable_code(store, secret, now)?;
    match &code.record.purpose {
        CodePurpose::Station { name: bound, organisation } if bound == name => {
            let organisation = organisation.clone();
            Ok((code, organisation))
        }
        _ => Err(Error::CodeRefused),
    }
}

/// Begins the enrolment of a station by its code. The code is used up by the second commit: of two that use it at once,
/// one is refused.
///
/// # Errors
/// [`Error::CodeRefused`], or when the request breaks a rule.
pub fn begin_station(
    store: &dyn Store,
    authority: &Authority,
    secret: &[u8],
    name: &str,
    request: &CheckedRequest,
    now: Timestamp,
    random: &dyn SecureRandom,
) -> Result<StationEnrolment, Error> {
    let (code, organisation) = station_of_code(store, secret, name, now)?;
    let subject = SubjectFields {
        common_name: Some(name.to_owned()),
        dns_names: vec![name.to_owned()],
        ..SubjectFields::default()
    };
    let order = Order {
        profile: STATION_PROFILE,
        subject: &subject,
        key: request.public_key(),
        ignored: request.ignored().iter().cloned().collect::<BTreeSet<_>>(),
        holder: Holder::Station { name: name.to_owned() },
        jitter: 0.0,
        life: None,
    };
    let reservation = authority.reserve(store, order, now, random)?;
    let mut batch = ca::batch(now);
    reservation.add_to(&mut batch, &station_actor(name), Some(name))?;
    Ok(StationEnrolment { batch, code, name: name.to_owned(), organisation, reservation })
}

impl StationEnrolment {
    /// Which certificate it will be.
    pub fn certificate(&self) -> &CertificateId {
        self.reservation.id()
    }

    /// After the first commit: one call to the token.
    ///
    /// # Errors
    /// When the token does not sign: the certificate is to be made void then.
    pub fn sign(self, authority: &Authority, committed: &store::Committed) -> Result<SignedStationEnrolment, Error> {
        let reserved = self.reservation.committed(committed);
        let signer = authority.issuer(&reserved.id().issuer)?.signer();
        let signed = reserved.sign(signer.as_ref()).map_err(|failure| *failure.error)?;
        Ok(SignedStationEnrolment { code: self.code, name: self.name, organisation: self.organisation, signed })
    }
}

impl SignedStationEnrolment {
    /// The second commit: the code is used up, the station enrolled, its certificate good. An earlier certificate of
    /// the station is superseded.
    ///
    /// # Errors
    /// When the code was used meanwhile.
    pub fn finish(&self, store: &dyn Store, now: Timestamp) -> Result<(Batch, Vec<u8>), Error> {
        let current = store::load::<Code>(store, &self.code.record.digest)?;
        if current.is_none_or(|code| code.record.used) {
            return Err(Error::CodeRefused);
        }
        let actor = station_actor(&self.name);
        let mut batch = ca::batch(now);
        batch.update(&self.code.with(Code { used: true, ..self.code.record.clone() }))?;
        let good = self.signed.add_good(store, &mut batch, &actor, Some(&self.name))?;
        let next = Station {
            name: self.name.clone(),
            organisation: self.organisation.clone(),
            certificate: good.id.clone(),
            enrolled_at: now,
        };
        match station(store, &self.name)? {
            None => batch.create(&next)?,
            Some(earlier) => {
                batch.update(&earlier.with(next.clone()))?;
                let old = ca::certificate::load(store, &earlier.record.certificate)?;
                if let Ok(revoked) = old.record.clone().revoke(now, pki::CrlReason::Superseded, None) {
                    ca::certificate::change(&mut batch, &old, &revoked, &actor, Some(&self.name))?;
                }
            }
        }
        let record = AuditRecord::new(now, actor, "station.enrol", Outcome::Done)
            .on("station", &self.name)
            .on("certificate", &good.id);
        ca::record(&mut batch, &record)?;
        Ok((batch, good.der.unwrap_or_default()))
    }
}

/// An operator who is made on the server's own machine.
#[derive(Clone, Debug)]
pub struct FirstOperator {
    /// Names and organisation.
    pub registration: Registration,
    /// The role.
    pub role: Role,
    /// The two people who vouch for the identity.
    pub witnesses: Vec<String>,
    /// The terms that the operator accepted.
    pub terms_version: String,
}

/// Registers one of the first operators, with a role, and makes the code by which a station issues their card.
///
/// # Errors
/// When fewer than two witnesses are named, or a field breaks a rule.
pub fn first_operator(
    store: &dyn Store,
    permit: &Permit<operation::RoleAppoint>,
    operator: FirstOperator,
    limits: CodeLimits,
    now: Timestamp,
    random: &dyn SecureRandom,
) -> Result<(Batch, Person, [u8; SECRET_OCTETS], Timestamp), Error> {
    let witnesses: BTreeSet<&str> =
        operator.witnesses.iter().map(|name| name.trim()).filter(|name| !name.is_empty()).collect();
    if witnesses.len() < 2 || witnesses.iter().any(|name| name.len() > 70) {
        return Err(Error::invalid("witnesses", "two people are to be named who vouch for the operator's identity"));
    }
    let local = Permit::<operation::PersonRegister>::on_this_machine(permit.actor().local.unwrap_or_default());
    let (mut batch, registered) = person::register(store, &local, operator.registration, now, random)?;
    // The person is written once, in its final state, instead of in three commits.
    batch.put.clear();
    batch.expect.clear();
    let person = Person {
        identity: Some(IdentityCheck {
            checked_by: Checker::Witnesses(witnesses.iter().map(|name| (*name).to_owned()).collect()),
            at: now,
            documents: Vec::new(),
        }),
        terms: Some(TermsAcceptance { version: operator.terms_version, at: now }),
        state: PersonState::Active,
        ..registered
    };
    batch.create(&person)?;
    let grant = RoleGrant {
        person: person.user_id.clone(),
        role: operator.role,
        organisation: person.organisation.clone(),
        since: now,
    };
    person::appoint(store, &mut batch, permit, &grant)?;
    let (secret, expires) =
        add_code(store, &mut batch, CodePurpose::FirstCard { person: person.user_id.clone() }, limits, random)?;
    Ok((batch, person, secret, expires))
}

/// The person whose first card a code is for.
///
/// # Errors
/// [`Error::CodeRefused`].
pub fn first_card(store: &dyn Store, batch: &mut Batch, secret: &[u8], station: &str) -> Result<UserId, Error> {
    let now = Timestamp::from_unix_millis(batch.at);
    let code = usable_code(store, secret, now)?;
    let CodePurpose::FirstCard { person } = code.record.purpose.clone() else { return Err(Error::CodeRefused) };
    batch.update(&code.with(Code { used: true, ..code.record.clone() }))?;
    let record = AuditRecord::new(now, station_actor(station), "session.open", Outcome::Done)
        .on("person", &person)
        .fact("by", "first-card code");
    ca::record(batch, &record)?;
    Ok(person)
}
