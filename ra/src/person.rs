//! People: `draft → submitted → identity verified → active ⇄ suspended → closed`, and the roles that they hold.

use audit::{AuditRecord, Outcome};
use pki::Timestamp;
use ring::rand::SecureRandom;
use serde::{Deserialize, Serialize};
use store::{Batch, Index, Record, Store, Table, Term, Versioned};
use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use crate::error::FieldError;
use crate::policy::{Permit, Role, operation};
use crate::{Error, OdsCode, UserId};

/// People, by user id.
pub const PEOPLE: Table = Table::new("person");
/// People by the organisation that registered them.
pub const BY_ORGANISATION: Index = Index::new("person.organisation");
/// Which roles people hold.
pub const ROLES: Table = Table::new("role");

/// A registered person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// The user id.
    pub user_id: UserId,
    /// Given name, as on the document.
    pub given_name: String,
    /// Family name, as on the document.
    pub family_name: String,
    /// The organisation that registered the person.
    pub organisation: OdsCode,
    /// When.
    pub registered_at: Timestamp,
    /// Who checked the identity.
    pub identity: Option<IdentityCheck>,
    /// Which terms were accepted.
    pub terms: Option<TermsAcceptance>,
    /// The state.
    pub state: PersonState,
}

/// A check of a person's identity, face to face.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityCheck {
    /// Who checked.
    pub checked_by: Checker,
    /// When.
    pub at: Timestamp,
    /// The kinds of document that were seen, such as `passport`: no numbers.
    pub documents: Vec<String>,
}

/// Who checked an identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Checker {
    /// A registered person.
    Person(UserId),
    /// Two people on the server's own machine, when the first operators were made.
    Witnesses(Vec<String>),
}

/// The terms of use (RA01) that a person accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TermsAcceptance {
    /// Their version.
    pub version: String,
    /// When.
    pub at: Timestamp,
}

/// The states of a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PersonState {
    /// Registered; the identity is to be checked.
    Submitted,
    /// Checked; the terms are to be accepted.
    IdentityVerified,
    /// May hold a card.
    Active,
}

impl PersonState {
    /// The state's name.
    pub fn name(self) -> &'static str {
        match self {
            PersonState::Submitted => "submitted",
            PersonState::IdentityVerified => "identity_verified",
            PersonState::Active => "active",
        }
    }
}

/// A change that the person's state does not permit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("person {person} is {state}: {event} is not possible; {remedy}")]
pub struct InvalidPersonTransition {
    /// The person.
    pub person: UserId,
    /// The state.
    pub state: &'static str,
    /// What was to be done.
    pub event: &'static str,
    /// What to do instead.
    pub remedy: &'static str,
}

impl Record for Person {
    const TABLE: Table = PEOPLE;
    const SCHEMA: u8 = 1;

    fn key(&self) -> Vec<u8> {
        self.user_id.as_str().as_bytes().to_vec()
    }

    fn terms(&self) -> Vec<Term> {
        vec![Term::new(BY_ORGANISATION, self.organisation.as_str())]
    }
}

impl Person {
    /// *Submitted → identity verified*.
    ///
    /// # Errors
    /// From any other state.
    pub fn verified(mut self, check: IdentityCheck) -> Result<Self, InvalidPersonTransition> {
        match self.state {
            PersonState::Submitted => {
                self.identity = Some(check);
                self.state = PersonState::IdentityVerified;
                Ok(self)
            }
            state => Err(InvalidPersonTransition {
                person: self.user_id,
                state: state.name(),
                event: "a first identity check",
                remedy: "the identity was checked before",
            }),
        }
    }

    /// *Identity verified → active*: the terms are accepted.
    ///
    /// # Errors
    /// From any other state.
    pub fn accepted(mut self, terms: TermsAcceptance) -> Result<Self, InvalidPersonTransition> {
        match self.state {
            PersonState::IdentityVerified | PersonState::Active => {
                self.terms = Some(terms);
                self.state = PersonState::Active;
                Ok(self)
            }
            PersonState::Submitted => Err(InvalidPersonTransition {
                person: self.user_id,
                state: self.state.name(),
                event: "accepting the terms",
                remedy: "have the identity checked first",
            }),
        }
    }

    /// May hold a card: the identity was checked and the terms were accepted.
    ///
    /// # Errors
    /// When it is not so.
    pub fn require_active(&self) -> Result<(), InvalidPersonTransition> {
        let remedy = match self.state {
            PersonState::Active => return Ok(()),
            PersonState::Submitted => "have the identity checked, then the terms accepted",
            PersonState::IdentityVerified => "have the terms accepted",
        };
        Err(InvalidPersonTransition { person: self.user_id.clone(), state: self.state.name(), event: "a card", remedy })
    }
}

/// A role that a person holds in an organisation, and so in all below it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleGrant {
    /// Who holds it.
    pub person: UserId,
    /// Which.
    pub role: Role,
    /// Where.
    pub organisation: OdsCode,
    /// Since when.
    pub since: Timestamp,
}

impl Record for RoleGrant {
    const TABLE: Table = ROLES;
    const SCHEMA: u8 = 1;

    fn key(&self) -> Vec<u8> {
        format!("{}\0{}\0{}", self.person, self.role.name(), self.organisation).into_bytes()
    }

    fn terms(&self) -> Vec<Term> {
        Vec::new()
    }
}

/// The person with this user id.
///
/// # Errors
/// When there is none, or the store fails.
pub fn load(store: &dyn Store, user_id: &UserId) -> Result<Versioned<Person>, Error> {
    store::load::<Person>(store, user_id.as_str().as_bytes())?
        .ok_or_else(|| Error::NotFound { kind: "person", id: user_id.to_string() })
}

/// The roles that a person holds.
///
/// # Errors
/// When the store fails.
pub fn roles(store: &dyn Store, user_id: &UserId) -> Result<Vec<RoleGrant>, Error> {
    let prefix = format!("{user_id}\0");
    let grants = store::load_range::<RoleGrant>(store, prefix.as_bytes(), None, 100)?;
    Ok(grants.into_iter().map(|found| found.record).collect())
}

/// People, in the order of their user ids, after `after`.
///
/// # Errors
/// When the store fails.
pub fn page(store: &dyn Store, after: Option<&UserId>, limit: usize) -> Result<Vec<Person>, Error> {
    let people = store::load_range::<Person>(store, b"", after.map(|id| id.as_str().as_bytes()), limit)?;
    Ok(people.into_iter().map(|found| found.record).collect())
}

/// Who is to be registered.
#[derive(Clone, Debug)]
pub struct Registration {
    /// Given name, as on the document.
    pub given_name: String,
    /// Family name, as on the document.
    pub family_name: String,
    /// The organisation that registers.
    pub organisation: OdsCode,
}

impl Registration {
    /// Names in NFC, without control characters, of 1 to 70 characters.
    fn checked(self) -> Result<Self, Error> {
        let mut wrong = Vec::new();
        let given_name = checked_name("given_name", &self.given_name, &mut wrong);
        let family_name = checked_name("family_name", &self.family_name, &mut wrong);
        if wrong.is_empty() { Ok(Registration { given_name, family_name, ..self }) } else { Err(Error::Invalid(wrong)) }
    }
}

/// How many combining marks may stand on one letter.
const MAX_MARKS: usize = 4;

/// Characters that nobody sees, or that change how others are shown: controls, format characters, fillers, variation
/// selectors, tags, private use and noncharacters. What a registrar cannot see must not be in a certificate.
pub fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{3164}' | '\u{e000}'..='\u{f8ff}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fdd0}'..='\u{fdef}' | '\u{fff0}'..='\u{ffff}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{10ffff}')
}

fn checked_name(field: &'static str, name: &str, wrong: &mut Vec<FieldError>) -> String {
    let name: String = name.trim().nfc().collect();
    let mut refuse = |rule: &str| wrong.push(FieldError { field, rule: rule.to_owned() });
    match name.chars().count() {
        0 => refuse("must not be empty"),
        1..=70 => {}
        _ => refuse("has more than 70 characters"),
    }
    if name.chars().any(is_unseen) {
        refuse("has a control character, or one that is not seen");
    }
    if !name.is_empty() && !name.chars().any(|c| c.is_alphabetic() && !is_combining_mark(c) && !is_unseen(c)) {
        refuse("has no letter");
    }
    let mut marks = 0;
    let piled = name.chars().any(|c| {
        marks = if is_combining_mark(c) { marks + 1 } else { 0 };
        marks > MAX_MARKS
    });
    if piled {
        refuse("has more marks on one letter than any script needs");
    }
    name
}

/// Registers a person, as *submitted*.
///
/// # Errors
/// When a field breaks a rule, the organisation does not exist, or the store fails.
pub fn register(
    store: &dyn Store,
    permit: &Permit<operation::PersonRegister>,
    registration: Registration,
    now: Timestamp,
    random: &dyn SecureRandom,
) -> Result<(Batch, Person), Error> {
    let registration = registration.checked()?;
    crate::organisation::load(store, &registration.organisation)?;
    let person = Person {
        user_id: UserId::random(random)?,
        given_name: registration.given_name,
        family_name: registration.family_name,
        organisation: registration.organisation,
        registered_at: now,
        identity: None,
        terms: None,
        state: PersonState::Submitted,
    };
    let mut batch = ca::batch(now);
    batch.create(&person)?;
    let record = AuditRecord::new(now, permit.actor(), permit.operation(), Outcome::Done)
        .on("person", &person.user_id)
        .fact("organisation", &person.organisation);
    ca::record(&mut batch, &record)?;
    Ok((batch, person))
}

/// Records that a person's identity was checked.
///
/// # Errors
/// When the state does not permit it, or the store fails.
pub fn verify_identity(
    store: &dyn Store,
    permit: &Permit<operation::PersonVerifyIdentity>,
    user_id: &UserId,
    checked_by: Checker,
    documents: Vec<String>,
    now: Timestamp,
) -> Result<(Batch, Person), Error> {
    let plain = |kind: &String| {
        (1..=40).contains(&kind.len()) && kind.bytes().all(|octet| octet.is_ascii_lowercase() || octet == b'_')
    };
    if !(1..=10).contains(&documents.len()) || !documents.iter().all(plain) {
        let rule = "name 1 to 10 kinds of document, such as passport or utility_bill, without their numbers";
        return Err(Error::invalid("documents", rule));
    }
    let stored = load(store, user_id)?;
    let check = IdentityCheck { checked_by, at: now, documents };
    let kinds = check.documents.join(", ");
    let next = stored.record.clone().verified(check)?;
    let mut batch = ca::batch(now);
    batch.update(&stored.with(next.clone()))?;
    let record = AuditRecord::new(now, permit.actor(), permit.operation(), Outcome::Done)
        .on("person", user_id)
        .fact("documents", kinds);
    ca::record(&mut batch, &record)?;
    Ok((batch, next))
}

/// Records that a person accepted the terms.
///
/// # Errors
/// When the state does not permit it, or the store fails.
pub fn accept_terms(
    store: &dyn Store,
    permit: &Permit<operation::PersonAcceptTerms>,
    user_id: &UserId,
    version: &str,
    now: Timestamp,
) -> Result<(Batch, Person), Error> {
    if !(1..=40).contains(&version.len()) || !version.bytes().all(|octet| octet.is_ascii_graphic()) {
        return Err(Error::invalid("version", "the terms' version has 1 to 40 characters without spaces"));
    }
    let stored = load(store, user_id)?;
    let next = stored.record.clone().accepted(TermsAcceptance { version: version.to_owned(), at: now })?;
    let mut batch = ca::batch(now);
    batch.update(&stored.with(next.clone()))?;
    let record = AuditRecord::new(now, permit.actor(), permit.operation(), Outcome::Done)
        .on("person", user_id)
        .fact("terms_version", version);
    ca::record(&mut batch, &record)?;
    Ok((batch, next))
}

/// Gives a person a role.
///
/// # Errors
/// When the person holds it already, or the store fails.
pub fn appoint(
    store: &dyn Store,
    batch: &mut Batch,
    permit: &Permit<operation::RoleAppoint>,
    grant: &RoleGrant,
) -> Result<(), Error> {
    if store::load::<RoleGrant>(store, &grant.key())?.is_some() {
        return Err(Error::Exists { kind: "role", id: grant.role.name().to_owned() });
    }
    batch.create(grant)?;
    let now = Timestamp::from_unix_millis(batch.at);
    let record = AuditRecord::new(now, permit.actor(), permit.operation(), Outcome::Done)
        .on("person", &grant.person)
        .fact("role", grant.role.name())
        .fact("organisation", &grant.organisation);
    Ok(ca::record(batch, &record)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registration(given: &str, family: &str) -> Registration {
        Registration { given_name: given.into(), family_name: family.into(), organisation: "RX1".parse().unwrap() }
    }

    #[test]
    fn names_are_kept_in_nfc_without_spaces_around_them() {
        let checked = registration(" Zoe\u{308} ", "O’Brien").checked().unwrap();
        assert_eq!(checked.given_name, "Zoë");
        assert_eq!(checked.family_name, "O’Brien");
    }

    #[test]
    fn all_wrong_fields_are_named_at_once() {
        let Err(Error::Invalid(wrong)) = registration("", "a\u{0}b\u{202e}").checked() else { panic!("accepted") };
        assert_eq!(wrong.iter().map(|one| one.field).collect::<Vec<_>>(), ["given_name", "family_name"]);
        assert!(registration(&"x".repeat(71), "y").checked().is_err());
        for unseen in ["\u{e0041}", "\u{3164}", "\u{301}", "a\u{ad}b", "a\u{61c}", "a\u{e000}", "123"] {
            assert!(registration(unseen, "y").checked().is_err(), "{unseen:?}");
        }
        assert!(registration(&format!("a{}", "\u{316}".repeat(9)), "y").checked().is_err());
        for seen in ["Ó Briain", "Nguyễn", "李", "O’Brien", "d'Arc-Smith"] {
            assert!(registration(seen, "y").checked().is_ok(), "{seen}");
        }
    }
}
