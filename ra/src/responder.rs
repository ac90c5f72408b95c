//! OCSP responders that follow the status feed: enrolled by a code, with a client certificate that they renew
//! themselves, and OCSP signers that each issuing CA certifies for them.
//!
//! ```text
//! (code) -> enrolled, with a certificate -> another one beside it -> the other one in its place -> expelled
//! ```
//!
//! A renewed certificate takes the place of the one before when it is first used, since only then it is known to have
//! arrived. Who was expelled can be enrolled again by a new code.

use audit::{Actor, AuditRecord, Outcome};
use ca::certificate::CertificateRecord;
use ca::service_certificate::{self, OcspSigner};
use ca::{Authority, CertificateId, Holder};
use pki::request::CheckedRequest;
use pki::{CrlReason, KeyType, Timestamp};
use ring::rand::SecureRandom;
use serde::{Deserialize, Serialize};
use store::{Batch, Record, Store, Table, Term, Versioned};

use crate::Error;
use crate::certification::{Certification, Certified, Machine, revoke};
use crate::code::{self, Code, CodeLimits, CodePurpose, SECRET_OCTETS, add_code, check_name, usable_code};

/// Responders, by name.
pub const RESPONDERS: Table = Table::new("responder");
/// The OCSP signers of responders that are in use, by responder and issuer.
pub const SIGNERS: Table = Table::new("responder.signers");

/// The profile of a responder's client certificate.
pub const RESPONDER_PROFILE: &str = "responder-client";

/// The name of the responder inside the service, which no other has.
pub const OWN: &str = "own";

/// How many signers of one kind of key a responder has with one issuer: the one in use, and the one before it, whose
/// answers are still about.
const SIGNERS_KEPT: usize = 2;

/// Where a responder keeps the keys that sign its answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignerKeys {
    /// In its memory.
    #[default]
    Memory,
    /// In a PKCS#11 token.
    Token,
}

impl SignerKeys {
    /// The name in audit records.
    pub fn name(self) -> &'static str {
        match self {
            SignerKeys::Memory => "memory",
            SignerKeys::Token => "token",
        }
    }
}

/// An OCSP responder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Responder {
    /// Its name: a DNS name.
    pub name: String,
    /// Its client certificate.
    pub certificate: CertificateId,
    /// The one that takes its place when it is first used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<CertificateId>,
    /// Where its signer keys are, as the CA's operator said.
    pub signer_keys: SignerKeys,
    /// Since when it is enrolled.
    pub enrolled_at: Timestamp,
    /// Since when it is expelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expelled: Option<Timestamp>,
}

impl Record for Responder {
    const TABLE: Table = RESPONDERS;
    const SCHEMA: u8 = 1;

    fn key(&self) -> Vec<u8> {
        self.name.as_bytes().to_vec()
    }

    fn terms(&self) -> Vec<Term> {
        Vec::new()
    }
}

/// The OCSP signers of one responder for one issuer that are in use, the newest last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResponderSigners {
    /// The responder.
    pub responder: String,
    /// The issuer's id.
    pub issuer: String,
    /// The signers.
    pub signers: Vec<ResponderSigner>,
}

/// An OCSP signer of a responder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResponderSigner {
    /// Its certificate.
    pub certificate: CertificateId,
    /// The kind of its key, by name.
    pub key_type: String,
    /// When it ends.
    pub not_after: Timestamp,
}

fn signers_key(responder: &str, issuer: &str) -> Vec<u8> {
    [responder.as_bytes(), &[0], issuer.as_bytes()].concat()
}

impl Record for ResponderSigners {
    const TABLE: Table = SIGNERS;
    const SCHEMA: u8 = 1;

    fn key(&self) -> Vec<u8> {
        signers_key(&self.responder, &self.issuer)
    }

    fn terms(&self) -> Vec<Term> {
        Vec::new()
    }
}

fn actor(name: &str) -> Actor {
    Actor { responder: Some(name.to_owned()), ..Actor::default() }
}

/// The responder of this name.
///
/// # Errors
/// [`Error::NotFound`], or when the store fails.
pub fn load(store: &dyn Store, name: &str) -> Result<Versioned<Responder>, Error> {
    find(store, name)?.ok_or_else(|| Error::NotFound { kind: "responder", id: name.to_owned() })
}

/// The responder of this name, if there is one.
///
/// # Errors
/// When the store fails.
pub fn find(store: &dyn Store, name: &str) -> Result<Option<Versioned<Responder>>, Error> {
    Ok(store::load::<Responder>(store, name.as_bytes())?)
}

/// All responders, in the order of their names: those that were expelled too.
///
/// # Errors
/// When the store fails.
pub fn all(store: &dyn Store) -> Result<Vec<Responder>, Error> {
    const PAGE: usize = 500;
    let mut all: Vec<Responder> = Vec::new();
    loop {
        let after = all.last().map(Record::key);
        let page = store::load_range::<Responder>(store, b"", after.as_deref(), PAGE)?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page.into_iter().map(|found| found.record));
    }
}

/// The OCSP signers of a responder, by issuer.
///
/// # Errors
/// When the store fails.
pub fn signers(store: &dyn Store, name: &str) -> Result<Vec<Versioned<ResponderSigners>>, Error> {
    const PAGE: usize = 500;
    let prefix = signers_key(name, "");
    let mut all: Vec<Versioned<ResponderSigners>> = Vec::new();
    loop {
        let after = all.last().map(|last| last.record.key());
        let page = store::load_range::<ResponderSigners>(store, &prefix, after.as_deref(), PAGE)?;
        if page.is_empty() {
            return Ok(all);
        }
        all.extend(page);
    }
}

/// Makes a code for a responder. Returns its secret, which is not kept.
///
/// # Errors
/// When the name is none.
pub fn responder_code(
    store: &dyn Store,
    by: &Actor,
    name: &str,
    signer_keys: SignerKeys,
    limits: CodeLimits,
    now: Timestamp,
    random: &dyn SecureRandom,
) -> Result<(Batch, [u8; SECRET_OCTETS], Timestamp), Error> {
    check_name("responder", name)?;
    if name == OWN {
        return Err(Error::invalid("name", "`own` is the responder inside the service: take another name"));
    }
    let mut batch = ca::batch(now);
    let purpose = CodePurpose::Responder { name: name.to_owned(), signer_keys };
    let (secret, expires) = add_code(store, &mut batch, purpose, limits, random)?;
    let record = AuditRecord::new(now, by.clone(), "responder.code", Outcome::Done)
        .on("responder", name)
        .fact("signer_keys", signer_keys.name())
        .fact("expires", expires);
    ca::record(&mut batch, &record)?;
    Ok((batch, secret, expires))
}

/// Whether a responder's code can be used, before anything is done that costs more than looking it up.
///
/// # Errors
/// [`Error::CodeRefused`].
pub fn check_code(store: &dyn Store, secret: &[u8], name: &str, now: Timestamp) -> Result<(), Error> {
    of_code(store, secret, name, now).map(|_| ())
}

fn of_code(
    store: &dyn Store,
    secret: &[u8],
    name: &str,
    now: Timestamp,
) -> Result<(Versioned<Code>, SignerKeys), Error> {
    let code = usable_code(store, secret, now)?;
    match code.record.purpose {
        CodePurpose::Responder { name: ref bound, signer_keys } if bound == name => Ok((code, signer_keys)),
        _ => Err(Error::CodeRefused),
    }
}

fn machine(name: &str) -> Machine<'_> {
    let holder = Holder::Responder { name: name.to_owned() };
    Machine { holder, profile: RESPONDER_PROFILE, name, actor: actor(name) }
}

/// A responder that is being enrolled.
#[derive(Debug)]
pub struct NewResponder {
    code: Versioned<Code>,
    signer_keys: SignerKeys,
}

/// Begins the enrolment of a responder by its code, which is used up by the second commit: of two that use it at once,
/// one is refused.
///
/// # Errors
/// [`Error::CodeRefused`], or when the request breaks a rule.
pub fn begin(
    store: &dyn Store,
    authority: &Authority,
    secret: &[u8],
    name: &str,
    request: &CheckedRequest,
    now: Timestamp,
    random: &dyn SecureRandom,
) -> Result<Certification<NewResponder>, Error> {
    let (code, signer_keys) = of_code(store, secret, name, now)?;
    let of = NewResponder { code, signer_keys };
    Certification::of_machine(store, authority, machine(name), request, of, now, random)
}

impl Certified<NewResponder> {
    /// The second commit: the code is used up, the responder enrolled, its certificate good. What an earlier
    /// installation of that name had is superseded: its certificates and its OCSP signers.
    ///
    /// # Errors
    /// When the code was used meanwhile.
    pub fn finish(&self, store: &dyn Store, now: Timestamp) -> Result<(Batch, CertificateRecord), Error> {
        let (mut batch, good) = self.good(store, now)?;
        code::use_up(store, &mut batch, &self.of().code)?;
        let next = Responder {
            name: self.name().to_owned(),
            certificate: good.id.clone(),
            next: None,
            signer_keys: self.of().signer_keys,
            enrolled_at: now,
            expelled: None,
        };
        match find(store, self.name())? {
            None => batch.create(&next)?,
            Some(earlier) => {
                revoke_all(store, &mut batch, &earlier.record, CrlReason::Superseded, self.actor())?;
                batch.update(&earlier.with(next))?;
            }
        }
        let record = AuditRecord::new(now, self.actor().clone(), "responder.enrol", Outcome::Done)
            .on("responder", self.name())
            .on("certificate", &good.id)
            .fact("signer_keys", self.of().signer_keys.name());
        ca::record(&mut batch, &record)?;
        Ok((batch, good))
    }
}

/// Revokes everything that a responder has: certificates and signers. Returns which.
fn revoke_all(
    store: &dyn Store,
    batch: &mut Batch,
    responder: &Responder,
    reason: CrlReason,
    actor: &Actor,
) -> Result<Vec<CertificateId>, Error> {
    let mut ids: Vec<CertificateId> =
        [Some(&responder.certificate), responder.next.as_ref()].into_iter().flatten().cloned().collect();
    for of_issuer in signers(store, &responder.name)? {
        ids.extend(of_issuer.record.signers.iter().map(|signer| signer.certificate.clone()));
        batch.delete(&of_issuer);
    }
    let mut revoked = Vec::new();
    for id in ids {
        if revoke(store, batch, &id, reason, actor, &responder.name)? {
            revoked.push(id);
        }
    }
    Ok(revoked)
}

/// How a client certificate of a responder stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is the one.
    Current,
    /// It is the renewed one, used for the first time: [`take_up`].
    Renewed,
    /// Another one has taken its place.
    Replaced,
    /// The responder is expelled.
    Expelled,
}

impl Responder {
    /// How this certificate of it stands.
    pub fn standing(&self, certificate: &CertificateId) -> Standing {
        if self.expelled.is_some() {
            Standing::Expelled
        } else if self.certificate == *certificate {
            Standing::Current
        } else if self.next.as_ref() == Some(certificate) {
            Standing::Renewed
        } else {
            Standing::Replaced
        }
    }
}

/// The renewed certificate is used for the first time: the one before it is superseded. Nothing, when somebody else was
/// faster.
///
/// # Errors
/// When the store fails.
pub fn take_up(
    store: &dyn Store,
    name: &str,
    certificate: &CertificateId,
    now: Timestamp,
) -> Result<Option<Batch>, Error> {
    let stored = load(store, name)?;
    if stored.record.standing(certificate) != Standing::Renewed {
        return Ok(None);
    }
    let mut batch = ca::batch(now);
    let next = Responder { certificate: certificate.clone(), next: None, ..stored.record.clone() };
    revoke(store, &mut batch, &stored.record.certificate, CrlReason::Superseded, &actor(name), name)?;
    batch.update(&stored.with(next))?;
    let record = AuditRecord::new(now, actor(name), "responder.renewed", Outcome::Done)
        .on("responder", name)
        .on("certificate", certificate);
    ca::record(&mut batch, &record)?;
    Ok(Some(batch))
}

/// A client certificate that a responder renews.
#[derive(Debug)]
pub struct RenewedResponder(());

/// Begins the renewal of a responder's client certificate, by itself, with a new key.
///
/// # Errors
/// [`Error::TooEarly`] before the last `window` of its certificate's life, or when the request breaks a rule.
pub fn begin_renewal(
    store: &dyn Store,
    authority: &Authority,
    name: &str,
    request: &CheckedRequest,
    window: std::time::Duration,
    now: Timestamp,
    random: &dyn SecureRandom,
) -> Result<Certification<RenewedResponder>, Error> {
    let responder = load(store, name)?.record;
    let not_after = ca::certificate::load(store, &responder.certificate)?.record.not_after;
    let from = not_after.minus(window);
    if now < from {
        return Err(Error::TooEarly { kind: "responder", id: name.to_owned(), not_after, from });
    }
    Certification::of_machine(store, authority, machine(name), request, RenewedResponder(()), now, random)
}

impl Certified<RenewedResponder> {
    /// The second commit: the certificate is good, beside the one that it is to follow. One that was renewed before, and
    /// never used, is superseded.
    ///
    /// # Errors
    /// When the responder was expelled meanwhile, or the store fails.
    pub fn finish(&self, store: &dyn Store, now: Timestamp) -> Result<(Batch, CertificateRecord), Error> {
        let stored = enrolled(store, self.name())?;
        let (mut batch, good) = self.good(store, now)?;
        if let Some(unused) = &stored.record.next {
            revoke(store, &mut batch, unused, CrlReason::Superseded, self.actor(), self.name())?;
        }
        batch.update(&stored.with(Responder { next: Some(good.id.clone()), ..stored.record.clone() }))?;
        let record = AuditRecord::new(now, self.actor().clone(), "responder.renew", Outcome::Done)
            .on("responder", self.name())
            .on("certificate", &good.id);
        ca::record(&mut batch, &record)?;
        Ok((batch, good))
    }
}

/// The responder of this name, which is not expelled.
fn enrolled(store: &dyn Store, name: &str) -> Result<Versioned<Responder>, Error> {
    let stored = load(store, name)?;
    match stored.record.expelled {
        Some(at) => Err(Error::Expelled { name: name.to_owned(), at }),
        None => Ok(stored),
    }
}

/// An OCSP signer of a responder.
#[derive(Debug)]
pub struct NewSigner {
    issuer: String,
    key_type: KeyType,
}

/// Begins the certification of an OCSP signer for a responder, by the issuing CA itself.
///
/// # Errors
/// When the issuer is not known, or the request breaks a rule.
// conformance: K3
#[expect(clippy::too_many_arguments, reason = "whose signer, of which key, by which CA, and what every decision takes")]
pub fn begin_signer(
    store: &dyn Store,
    authority: &Authority,
    name: &str,
    issuer: &str,
    request: &CheckedRequest,
    life: std::time::Duration,
    now: Timestamp,
    random: &dyn SecureRandom,
) -> Result<Certification<NewSigner>, Error> {
    let key = request.public_key();
    let ignored = request.ignored().iter().cloned().collect();
    let signer = OcspSigner { issuer, responder: Some(name), key, ignored, life };
    let reservation = service_certificate::reserve_ocsp_signer(authority, store, signer, now, random)?;
    let of = NewSigner { issuer: issuer.to_owned(), key_type: key.key_type() };
    Certification::new(reservation, actor(name), name, of, now)
}

impl Certified<NewSigner> {
    /// The second commit: the signer is good. Of one kind of key there are two at most, since the answers of the one
    /// before are still about; older ones are superseded.
    ///
    /// # Errors
    /// When the responder was expelled meanwhile, or the store fails.
    pub fn finish(&self, store: &dyn Store, now: Timestamp) -> Result<(Batch, CertificateRecord), Error> {
        let responder = enrolled(store, self.name())?;
        let (mut batch, good) = self.good(store, now)?;
        // An expulsion that comes in between finds the signer, or this commit finds the expulsion.
        batch.expect_unchanged(&responder);
        let NewSigner { issuer, key_type } = self.of();
        let stored = store::load::<ResponderSigners>(store, &signers_key(self.name(), issuer))?;
        let mut kept: Vec<ResponderSigner> =
            stored.as_ref().map(|stored| stored.record.signers.clone()).unwrap_or_default();
        kept.retain(|signer| signer.not_after > now);
        let key_type = key_type.to_string();
        kept.push(ResponderSigner {
            certificate: good.id.clone(),
            key_type: key_type.clone(),
            not_after: good.not_after,
        });
        let alike = kept.iter().filter(|signer| signer.key_type == key_type).count();
        let mut too_many = alike.saturating_sub(SIGNERS_KEPT);
        let mut older = Vec::new();
        kept.retain(|signer| {
            let goes = too_many > 0 && signer.key_type == key_type;
            if goes {
                too_many -= 1;
                older.push(signer.certificate.clone());
            }
            !goes
        });
        for id in &older {
            revoke(store, &mut batch, id, CrlReason::Superseded, self.actor(), self.name())?;
        }
        let next = ResponderSigners { responder: self.name().to_owned(), issuer: issuer.clone(), signers: kept };
        match stored {
            None => batch.create(&next)?,
            Some(stored) => batch.update(&stored.with(next))?,
        }
        let record = AuditRecord::new(now, self.actor().clone(), "responder.signer", Outcome::Done)
            .on("responder", self.name())
            .on("issuer", issuer)
            .on("certificate", &good.id)
            .fact("key_type", key_type)
            .fact("not_after", good.not_after);
        ca::record(&mut batch, &record)?;
        Ok((batch, good))
    }
}

/// What an expulsion would revoke.
///
/// # Errors
/// [`Error::NotFound`], or when the store fails.
pub fn would_revoke(store: &dyn Store, name: &str, now: Timestamp) -> Result<Vec<CertificateId>, Error> {
    let (batch, revoked) = expel(store, &Actor::service(), name, CrlReason::CessationOfOperation, now)?;
    drop(batch);
    Ok(revoked)
}

/// Expels a responder for good: its client certificates and its OCSP signers are revoked, and its open codes are void. It
/// gets no feed and no certificate any more.
///
/// # Errors
/// [`Error::NotFound`] when it was never enrolled, [`Error::Expelled`] when it is expelled already, or when the store fails.
pub fn expel(
    store: &dyn Store,
    by: &Actor,
    name: &str,
    reason: CrlReason,
    now: Timestamp,
) -> Result<(Batch, Vec<CertificateId>), Error> {
    let stored = enrolled(store, name)?;
    let mut batch = ca::batch(now);
    let revoked = revoke_all(store, &mut batch, &stored.record, reason, by)?;
    let is_its = |purpose: &CodePurpose| matches!(purpose, CodePurpose::Responder { name: bound, .. } if bound == name);
    for code in code::open_codes(store, now, is_its)? {
        batch.delete(&code);
    }
    batch.update(&stored.with(Responder { expelled: Some(now), next: None, ..stored.record.clone() }))?;
    let mut record = AuditRecord::new(now, by.clone(), "responder.expel", Outcome::Done)
        .on("responder", name)
        .fact("reason", reason);
    for id in &revoked {
        record = record.on("certificate", id);
    }
    ca::record(&mut batch, &record)?;
    Ok((batch, revoked))
}
