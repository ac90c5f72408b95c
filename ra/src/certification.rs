//! The certificate of a machine: reserved by a first commit, signed, and good by a second one, which changes what it is
//! for as well. What it is for is `T`: its module begins it and finishes it; the two commits are the same for all.

use std::collections::BTreeSet;

use audit::Actor;
use ca::certificate::CertificateRecord;
use ca::{Authority, CertificateId, Holder, Order, Reservation, Signed};
use pki::Timestamp;
use pki::certificate::SubjectFields;
use pki::request::CheckedRequest;
use ring::rand::SecureRandom;
use store::{Batch, Committed, Store};

use crate::Error;

/// One whose first commit is to be made.
#[derive(Debug)]
#[must_use = "nothing is reserved before the first commit"]
pub struct Certification<T> {
    /// The first commit.
    pub batch: Batch,
    reservation: Reservation,
    actor: Actor,
    name: String,
    of: T,
}

/// One that is signed, and waits for its second commit.
#[derive(Debug)]
#[must_use = "a signed certificate must be committed"]
pub struct Certified<T> {
    signed: Signed,
    actor: Actor,
    name: String,
    of: T,
}

/// What is certified for a machine with a name of its own.
pub(crate) struct Machine<'a> {
    /// Whose certificate it will be.
    pub(crate) holder: Holder,
    /// The profile.
    pub(crate) profile: &'static str,
    /// The name: CN and DNS name.
    pub(crate) name: &'a str,
    /// Who asks.
    pub(crate) actor: Actor,
}

impl<T> Certification<T> {
    /// Reserves a client certificate for a machine.
    pub(crate) fn of_machine(
        store: &dyn Store,
        authority: &Authority,
        machine: Machine<'_>,
        request: &CheckedRequest,
        of: T,
        now: Timestamp,
        random: &dyn SecureRandom,
    ) -> Result<Self, Error> {
        let Machine { holder, profile, name, actor } = machine;
        let subject = SubjectFields {
            common_name: Some(name.to_owned()),
            dns_names: vec![name.to_owned()],
            ..SubjectFields::default()
        };
        let order = Order {
            profile,
            subject: &subject,
            key: request.public_key(),
            ignored: request.ignored().iter().cloned().collect::<BTreeSet<_>>(),
            holder,
            jitter: 0.0,
            life: None,
        };
        let reservation = authority.reserve(store, order, now, random)?;
        Certification::new(reservation, actor, name, of, now)
    }

    /// Begins with a reservation, for the machine of this name.
    pub(crate) fn new(
        reservation: Reservation,
        actor: Actor,
        name: &str,
        of: T,
        now: Timestamp,
    ) -> Result<Self, Error> {
        let mut batch = ca::batch(now);
        reservation.add_to(&mut batch, &actor, Some(name))?;
        Ok(Certification { batch, reservation, actor, name: name.to_owned(), of })
    }

    /// Which certificate it will be.
    pub fn certificate(&self) -> &CertificateId {
        self.reservation.id()
    }

    /// The name of the machine that it is for: what its audit records follow.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// After the first commit: one call to the token.
    ///
    /// # Errors
    /// When the token does not sign: the certificate is to be made void then.
    pub fn sign(self, authority: &Authority, committed: &Committed) -> Result<Certified<T>, Error> {
        let Certification { reservation, actor, name, of, .. } = self;
        let reserved = reservation.committed(committed);
        let signer = authority.issuer(&reserved.id().issuer)?.signer();
        let signed = reserved.sign(signer.as_ref()).map_err(|failure| *failure.error)?;
        Ok(Certified { signed, actor, name, of })
    }
}

impl<T> Certified<T> {
    /// What it is for.
    pub(crate) fn of(&self) -> &T {
        &self.of
    }

    /// The machine's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Who asked.
    pub(crate) fn actor(&self) -> &Actor {
        &self.actor
    }

    /// The second commit so far: the certificate is good.
    pub(crate) fn good(&self, store: &dyn Store, now: Timestamp) -> Result<(Batch, CertificateRecord), Error> {
        let mut batch = ca::batch(now);
        let good = self.signed.add_good(store, &mut batch, &self.actor, Some(&self.name))?;
        Ok((batch, good))
    }
}

/// Revokes a certificate in a batch, if it is in a state that can be. Says whether it was.
pub(crate) fn revoke(
    store: &dyn Store,
    batch: &mut Batch,
    id: &CertificateId,
    reason: pki::CrlReason,
    actor: &Actor,
    name: &str,
) -> Result<bool, Error> {
    let now = Timestamp::from_unix_millis(batch.at);
    let stored = ca::certificate::load(store, id)?;
    match stored.record.clone().revoke(now, reason, None) {
        Ok(revoked) => {
            ca::certificate::change(batch, &stored, &revoked, actor, Some(name))?;
            Ok(true)
        }
        Err(_) => Ok(false),
    }
}
