//! Who may do what: the policy file, evaluated in one place, and permits that only this place makes.
//!
//! The matrix of roles and operations is data. A [`Permit`] is for one operation, by type: a function that issues a card
//! takes a `&Permit<operation::CardIssue>`, so a call that was not authorised does not compile.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use audit::{Actor, AuditRecord, Outcome};
use pki::Timestamp;
use serde::{Deserialize, Serialize};
use store::{Batch, Store};

use crate::card::RevocationReasons;
use crate::person::{self, Checker, Person};
use crate::{Error, OdsCode, UserId, organisation};

/// A role that a person holds in an organisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// RA manager.
    RaManager,
    /// Advanced RA agent.
    AdvancedRaAgent,
    /// RA agent.
    RaAgent,
    /// Sponsor.
    Sponsor,
    /// ID checker.
    IdChecker,
    /// Local smartcard administrator.
    Lsa,
    /// The card holder, on the own record; everybody has it.
    Holder,
    /// Service desk.
    ServiceDesk,
    /// CA operator.
    CaOperator,
    /// Security officer.
    SecurityOfficer,
    /// Auditor.
    Auditor,
}

impl Role {
    /// All roles.
    pub const ALL: [Role; 11] = [
        Role::RaManager,
        Role::AdvancedRaAgent,
        Role::RaAgent,
        Role::Sponsor,
        Role::IdChecker,
        Role::Lsa,
        Role::Holder,
        Role::ServiceDesk,
        Role::CaOperator,
        Role::SecurityOfficer,
        Role::Auditor,
    ];

    /// Its name in the policy file.
    pub fn name(self) -> &'static str {
        match self {
            Role::RaManager => "ra_manager",
            Role::AdvancedRaAgent => "advanced_ra_agent",
            Role::RaAgent => "ra_agent",
            Role::Sponsor => "sponsor",
            Role::IdChecker => "id_checker",
            Role::Lsa => "lsa",
            Role::Holder => "holder",
            Role::ServiceDesk => "service_desk",
            Role::CaOperator => "ca_operator",
            Role::SecurityOfficer => "security_officer",
            Role::Auditor => "auditor",
        }
    }
}

impl std::str::FromStr for Role {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Role::ALL.into_iter().find(|role| role.name() == text && *role != Role::Holder).ok_or_else(|| {
            let names: Vec<_> = Role::ALL.iter().map(|role| role.name()).filter(|name| *name != "holder").collect();
            Error::invalid("role", format!("must be one of {}", names.join(", ")))
        })
    }
}

/// The operations, each a type of its own.
pub mod operation {
    /// An operation of the policy.
    pub trait Operation: Copy + std::fmt::Debug + Send + Sync + 'static {
        /// Its name in the policy file and in audit records.
        const NAME: &'static str;
    }

    macro_rules! operations {
        ($($(#[$doc:meta])* $type:ident = $name:literal;)*) => {
            $(
                $(#[$doc])*
                #[derive(Clone, Copy, Debug)]
                pub struct $type;

                impl Operation for $type {
                    const NAME: &'static str = $name;
                }
            )*

            /// The names of all operations.
            pub const ALL: &[&str] = &[$($name),*];
        };
    }

    operations! {
        /// Find a person.
        PersonFind = "person.find";
        /// Register a person.
        PersonRegister = "person.register";
        /// Check a person's identity, face to face.
        PersonVerifyIdentity = "person.verify_identity";
        /// Record that a person accepted the terms.
        PersonAcceptTerms = "person.accept_terms";
        /// Allocate a card to a person and issue its certificates.
        CardIssue = "card.issue";
        /// Look at a card.
        CardShow = "card.show";
        /// New certificates on a card whose certificates have not expired.
        CardRenew = "card.renew";
        /// Put a card on hold.
        CardSuspend = "card.suspend";
        /// Take a card off hold.
        CardResume = "card.resume";
        /// Report a card lost: it goes on hold at once.
        CardReportLost = "card.report_lost";
        /// End a card's life.
        CardCancel = "card.cancel";
        /// Look at a certificate.
        CertificateShow = "certificate.show";
        /// Enrol a station.
        StationEnrol = "station.enrol";
        /// Give a person a role.
        RoleAppoint = "role.appoint";
    }
}

use operation::Operation;

/// What a role may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum Right {
    /// May do.
    #[serde(rename = "yes")]
    Yes,
    /// May ask for it; somebody else grants.
    #[serde(rename = "request")]
    Request,
    /// May do on the own record.
    #[serde(rename = "own")]
    Own,
    /// May not.
    #[serde(rename = "-")]
    No,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPolicy {
    version: String,
    operations: BTreeMap<String, BTreeMap<Role, Right>>,
    separation_of_duty: SeparationOfDuty,
    revocation_reasons: RevocationReasons,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SeparationOfDuty {
    identity_checker_may_not_issue: bool,
    nobody_acts_on_own_record_except: Vec<String>,
}

/// A checked policy.
#[derive(Debug)]
pub struct Policy {
    raw: RawPolicy,
}

/// A policy file that is refused.
#[derive(Debug, thiserror::Error)]
#[error("{origin}: {message}")]
pub struct PolicyError {
    origin: String,
    message: String,
}

impl Policy {
    /// Reads a policy file.
    ///
    /// # Errors
    /// When a key or an operation is unknown, or an operation has no rights.
    pub fn parse(text: &str, origin: &str) -> Result<Self, PolicyError> {
        let refuse = |message: String| PolicyError { origin: origin.to_owned(), message };
        let raw: RawPolicy = toml::from_str(text).map_err(|error| refuse(error.to_string()))?;
        let known = |name: &String| operation::ALL.contains(&name.as_str());
        let named = raw.operations.keys().chain(&raw.separation_of_duty.nobody_acts_on_own_record_except);
        if let Some(unknown) = named.into_iter().find(|name| !known(name)) {
            let names = operation::ALL.join(", ");
            return Err(refuse(format!("there is no operation {unknown:?}; the operations are: {names}")));
        }
        if let Some(missing) = operation::ALL.iter().find(|name| !raw.operations.contains_key(**name)) {
            return Err(refuse(format!(
                "operation {missing:?} is missing: add [operations.\"{missing}\"] with the roles that may do it"
            )));
        }
        Ok(Policy { raw })
    }

    /// Its version, as the file states it.
    pub fn version(&self) -> &str {
        &self.raw.version
    }

    /// Why certificates are revoked, by cause and purpose.
    pub fn revocation_reasons(&self) -> &RevocationReasons {
        &self.raw.revocation_reasons
    }

    fn right(&self, operation: &str, role: Role) -> Right {
        let rights = self.raw.operations.get(operation);
        rights.and_then(|rights| rights.get(&role)).copied().unwrap_or(Right::No)
    }

    fn who_may(&self, operation: &str) -> String {
        let mut names: Vec<&str> = Vec::new();
        for role in Role::ALL {
            match self.right(operation, role) {
                Right::Yes => names.push(role.name()),
                Right::Own => names.push("the holder"),
                Right::Request | Right::No => {}
            }
        }
        if names.is_empty() { "somebody on the server's own machine".to_owned() } else { names.join(", ") }
    }
}

/// A refusal: which rule, and who could do it instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{operation} is refused by rule {rule}: {message}")]
pub struct Refusal {
    /// The operation.
    pub operation: &'static str,
    /// The rule's name, which stays the same over versions.
    pub rule: &'static str,
    /// What it means here, and who could do it instead.
    pub message: String,
}

impl Refusal {
    /// The batch that records it.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub fn recorded(&self, actor: &Actor, targets: &[audit::Target], now: Timestamp) -> Result<Batch, Error> {
        let mut batch = ca::batch(now);
        let outcome = Outcome::Refused { rule: self.rule.to_owned() };
        let mut record = AuditRecord::new(now, actor.clone(), self.operation, outcome);
        record.targets = targets.to_vec();
        ca::record(&mut batch, &record)?;
        Ok(batch)
    }
}

/// A person who acts, with a card, at a station.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    /// Who.
    pub person: UserId,
    /// With which card; none in a session from a code.
    pub card: Option<String>,
    /// At which station.
    pub station: String,
    /// A session that was opened with a code, not with a card: may issue this person's first card and nothing else.
    pub first_card_only: bool,
}

impl Operator {
    /// For audit records.
    pub fn actor(&self) -> Actor {
        Actor {
            person: Some(self.person.to_string()),
            card: self.card.clone(),
            station: Some(self.station.clone()),
            ..Actor::default()
        }
    }
}

/// The permission to do one operation to one target.
#[derive(Clone, Debug)]
pub struct Permit<O> {
    actor: Actor,
    person: Option<UserId>,
    first_card_only: bool,
    operation: PhantomData<O>,
}

impl<O: Operation> Permit<O> {
    /// The right of whoever has a shell on the server's own machine. Every use of it is to be found by this name.
    pub fn on_this_machine(local: String) -> Self {
        let actor = Actor { local: Some(local), ..Actor::default() };
        Permit { actor, person: None, first_card_only: false, operation: PhantomData }
    }

    /// Who acts, for audit records.
    pub fn actor(&self) -> Actor {
        self.actor.clone()
    }

    /// The acting person; none on the server's own machine.
    pub fn person(&self) -> Option<&UserId> {
        self.person.as_ref()
    }

    /// The operation's name.
    pub fn operation(&self) -> &'static str {
        O::NAME
    }

    /// Whether it comes from a code, and so is for a person's first card only.
    pub(crate) fn is_for_first_card_only(&self) -> bool {
        self.first_card_only
    }
}

impl<O> fmt::Display for Permit<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.actor.fmt(f)
    }
}

/// What an operation is done to.
#[derive(Clone, Copy, Debug)]
pub enum On<'a> {
    /// A person, or a person's card.
    Person(&'a Person),
    /// Something in an organisation that is nobody's own.
    Organisation(&'a OdsCode),
}

/// Whether a list of people shows this one to `operator`. What a list leaves out is no refusal, and is not recorded.
///
/// # Errors
/// The store's.
pub fn may_find(policy: &Policy, store: &dyn Store, operator: &Operator, person: &Person) -> Result<bool, Error> {
    match authorise::<operation::PersonFind>(policy, store, operator, On::Person(person)) {
        Ok(_) => Ok(true),
        Err(Error::Refused(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether `operator` may do operation `O` to `target`: right, scope, separation of duty.
///
/// # Errors
/// [`Error::Refused`] with the rule, or the store's.
pub fn authorise<O: Operation>(
    policy: &Policy,
    store: &dyn Store,
    operator: &Operator,
    target: On<'_>,
) -> Result<Permit<O>, Error> {
    let refuse = |rule: &'static str, message: String| Err(Refusal { operation: O::NAME, rule, message }.into());
    let permit = Permit {
        actor: operator.actor(),
        person: Some(operator.person.clone()),
        first_card_only: operator.first_card_only,
        operation: PhantomData,
    };
    let own = matches!(target, On::Person(person) if person.user_id == operator.person);

    if operator.first_card_only {
        // The first operators have no card yet, and nobody to issue it: two named people on the server's own machine
        // vouched for them.
        let may = own && matches!(O::NAME, "card.issue" | "card.show");
        return match may {
            true => Ok(permit),
            false => {
                refuse("first-card", "this session was opened by a code and issues one first card only".to_owned())
            }
        };
    }
    if own && policy.right(O::NAME, Role::Holder) == Right::Own {
        return Ok(permit);
    }
    if own && !policy.raw.separation_of_duty.nobody_acts_on_own_record_except.iter().any(|name| name == O::NAME) {
        let who = policy.who_may(O::NAME);
        return refuse("own-record", format!("nobody does this to the own record; ask a colleague who is {who}"));
    }
    if let On::Person(Person { identity: Some(check), .. }) = target
        && O::NAME == operation::CardIssue::NAME
        && policy.raw.separation_of_duty.identity_checker_may_not_issue
        && check.checked_by == Checker::Person(operator.person.clone())
    {
        let message = "whoever checked the identity does not issue the card; ask a colleague to issue it".to_owned();
        return refuse("checker-issues", message);
    }

    let organisation = match target {
        On::Person(person) => &person.organisation,
        On::Organisation(code) => code,
    };
    let mut holds_the_right = false;
    let mut may_request = false;
    for grant in person::roles(store, &operator.person)? {
        match policy.right(O::NAME, grant.role) {
            Right::Yes if organisation::is_within(store, organisation, &grant.organisation)? => return Ok(permit),
            Right::Yes => holds_the_right = true,
            Right::Request => may_request = true,
            Right::Own | Right::No => {}
        }
    }
    let who = policy.who_may(O::NAME);
    if holds_the_right {
        return refuse("scope", format!("{organisation} is outside your organisation; ask who is {who} there"));
    }
    if may_request {
        return refuse("request-only", format!("your role may ask for it only; it is done by {who}"));
    }
    refuse("role", format!("your roles do not permit it; it is done by {who}"))
}
