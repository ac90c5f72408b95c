//! What codes enrol: stations, and the first card of the first operators.

use std::collections::BTreeSet;

use audit::{Actor, AuditRecord, Outcome};
use ca::certificate::CertificateRecord;
use ca::{Authority, CertificateId, Holder};
use pki::request::CheckedRequest;
use pki::{CrlReason, Timestamp};
use ring::rand::SecureRandom;
use serde::{Deserialize, Serialize};
use store::{Batch, Record, Store, Table, Term, Versioned};

use crate::certification::{Certification, Certified, Machine, revoke};
use crate::code::{self, Code, CodeLimits, CodePurpose, SECRET_OCTETS, add_code, check_name, usable_code};
use crate::person::{Checker, IdentityCheck, Person, PersonState, Registration, RoleGrant, TermsAcceptance};
use crate::policy::{Permit, Role, operation};
use crate::{Error, OdsCode, UserId, organisation, person};

/// Stations, by name.
pub const STATIONS: Table = Table::new("station");

/// The profile of a station's certificate.
pub const STATION_PROFILE: &str = "ra-station";

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
    check_name("station", name)?;
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

/// A station that is being enrolled.
#[derive(Debug)]
pub struct NewStation {
    code: Versioned<Code>,
    organisation: OdsCode,
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
) -> Result<Certification<NewStation>, Error> {
    let (code, organisation) = station_of_code(store, secret, name, now)?;
    let machine = Machine {
        holder: Holder::Station { name: name.to_owned() },
        profile: STATION_PROFILE,
        name,
        actor: station_actor(name),
    };
    Certification::of_machine(store, authority, machine, request, NewStation { code, organisation }, now, random)
}

impl Certified<NewStation> {
    /// The second commit: the code is used up, the station enrolled, its certificate good. An earlier certificate of
    /// the station is superseded.
    ///
    /// # Errors
    /// When the code was used meanwhile.
    pub fn finish(&self, store: &dyn Store, now: Timestamp) -> Result<(Batch, CertificateRecord), Error> {
        let (mut batch, good) = self.good(store, now)?;
        code::use_up(store, &mut batch, &self.of().code)?;
        let next = Station {
            name: self.name().to_owned(),
            organisation: self.of().organisation.clone(),
            certificate: good.id.clone(),
            enrolled_at: now,
        };
        match station(store, self.name())? {
            None => batch.create(&next)?,
            Some(earlier) => {
                batch.update(&earlier.with(next))?;
                let old = &earlier.record.certificate;
                revoke(store, &mut batch, old, CrlReason::Superseded, self.actor(), self.name())?;
            }
        }
        let record = AuditRecord::new(now, self.actor().clone(), "station.enrol", Outcome::Done)
            .on("station", self.name())
            .on("certificate", &good.id);
        ca::record(&mut batch, &record)?;
        Ok((batch, good))
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
