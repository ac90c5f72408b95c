//! `rotate root`: a new key of the root under the same name, with the three certificates that lead from either key to what
//! the other signed (RFC 9810 4.4; conformance: K2).
//!
//! All that is done with the root's keys is done by the command's own process. Published, the new key's certificates can
//! be fetched, and the API door sends the links, so that whoever trusts either key goes on; active, it certifies the next
//! issuing CAs, and the old one signs CRLs only.

use api::rotation::{RootWork, RootWorkDone, RotationRequest};
use audit::{Actor, AuditRecord, Outcome};
use ca::ceremony::{self, Certification, Form, Wanted};
use ca::issuer::{LinkCertificate, ROOT};
use ca::rotation::{Rotation, RotationKind};
use ca::succession::{self, NewKey, issuer_id};
use ca::{CertificateId, CertificateState, IssuerRecord, IssuerState};
use data_encoding::BASE64;
use pki::PublicKey;
use pki::certificate::{ParsedCertificate, Validity};

use super::issuing_ca::{
    fact, longest_life, overlap, overlap_fact, public_key, same_name, too_late, write_certificate,
};
use super::{Facts, Plan, Procedure, Progress, StepPlan, refused, wire};
use crate::failure::Failure;
use crate::root_crls;
use crate::service::Service;
use crate::steps::{Point, Step};

/// A new root that the old one's key vouches for is worth nothing when others have that key.
const OLD_ROOT_COMPROMISED: &str = "rule R6: the root's present key is in the set of compromised keys, so it certifies no \
    successor, and none certifies it. If it is out, make a new hierarchy with `cardinal init` in another place, and give \
    its root to the relying systems by hand; if it is not, take the key out of the set first (`cardinal key compromised \
    remove`, two people), then resume the rotation, or back it out";

/// The root's profile.
const PROFILE: &str = "root-ca";

const KEY: &str = "root-key";
const SELF: &str = "root-certificate";
const LINKS: &str = "root-links";
const PUBLISH: &str = "root-publish";
const CRL: &str = "root-crl";
const ACTIVATE: &str = "root-activate";

const STEPS: &[StepPlan] = &[
    StepPlan { name: KEY, what: "make the new key in the root's token" },
    StepPlan { name: SELF, what: "new with new: the new key's own certificate" },
    StepPlan { name: LINKS, what: "new with old, and old with new: the links between both keys" },
    StepPlan { name: PUBLISH, what: "publish all three; the API door sends the links" },
    StepPlan { name: CRL, what: "the first CRL of the new key, and a new one of the old key" },
    StepPlan { name: ACTIVATE, what: "after the overlap: the new key certifies CAs; the old one signs CRLs only" },
];

/// The certificates of a rotation, and the facts that name their serial numbers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Piece {
    NewWithNew,
    NewWithOld,
    OldWithNew,
}

impl Piece {
    const ALL: [Piece; 3] = [Piece::NewWithNew, Piece::NewWithOld, Piece::OldWithNew];

    fn name(self) -> &'static str {
        match self {
            Piece::NewWithNew => "new-with-new",
            Piece::NewWithOld => "new-with-old",
            Piece::OldWithNew => "old-with-new",
        }
    }

    fn of_step(step: &str) -> &'static [Piece] {
        match step {
            SELF => &[Piece::NewWithNew],
            LINKS => &[Piece::NewWithOld, Piece::OldWithNew],
            _ => &[],
        }
    }
}

pub(super) struct Root;

/// What all steps know.
struct Succession<'a> {
    rotation: &'a Rotation,
    old: IssuerRecord,
    new_id: String,
    generation: u32,
}

impl<'a> Succession<'a> {
    fn of(service: &Service, rotation: &'a Rotation) -> Result<Self, Failure> {
        let old = succession::load(service.store.as_ref(), fact(rotation, "old")?)?.record;
        let generation = fact(rotation, succession::GENERATION)?.parse().map_err(Failure::internal)?;
        Ok(Succession { rotation, old, new_id: issuer_id(ROOT, generation), generation })
    }

    /// The certificate of a piece, if its serial number was taken.
    fn certificate(&self, piece: Piece) -> Result<Option<CertificateId>, Failure> {
        let Some(serial) = self.rotation.fact(piece.name()) else { return Ok(None) };
        let issuer = if piece == Piece::NewWithOld { self.old.id.clone() } else { self.new_id.clone() };
        Ok(Some(CertificateId { issuer, serial: serial.parse().map_err(Failure::internal)? }))
    }

    fn certificates(&self) -> Result<Vec<CertificateId>, Failure> {
        Ok(Piece::ALL
            .into_iter()
            .map(|piece| self.certificate(piece))
            .collect::<Result<Vec<_>, _>>()?
            .into_iter()
            .flatten()
            .collect())
    }

    /// The certificate of a piece that the root signed already.
    fn signed(&self, service: &Service, piece: Piece) -> Result<Option<Vec<u8>>, Failure> {
        let Some(id) = self.certificate(piece)? else { return Ok(None) };
        match ca::certificate::load(service.store.as_ref(), &id) {
            Ok(stored) if matches!(stored.record.state, CertificateState::Good { .. }) => Ok(stored.record.der),
            Ok(_) | Err(ca::Error::NoSuchCertificate(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Procedure for Root {
    fn kind(&self) -> RotationKind {
        RotationKind::Root
    }

    fn steps(&self) -> &'static [StepPlan] {
        STEPS
    }

    fn plan(&self, service: &Service, request: &RotationRequest) -> Result<Plan, Failure> {
        if let Some(target) = request.target.as_deref().filter(|target| *target != ROOT) {
            let detail = format!("there is one root, and no {target:?}: leave the name out");
            return Err(Failure::new(422, "rotation-target", "No such CA", detail));
        }
        let store = service.store.as_ref();
        let old = ca::issuer::root(store)?;
        same_name(service, &old, &service.config.root_ca.common_name)?;
        let authority = service.authority();
        let profile = authority.profile(PROFILE)?;
        let key_type = service.config.root_ca.key_type;
        let now = service.now();
        let generation = succession::next_generation(store, ROOT)?;
        let new = issuer_id(ROOT, generation);
        let old_end = ParsedCertificate::from_der(&old.certificate_der).map_err(Failure::internal)?.not_after();
        let end = old_end.min(now.plus(profile.life()));
        let overlap = overlap(service, request, service.config.times.root_overlap, end, now)?;
        let active_from = now.plus(overlap);
        let (urls, base) = (authority.urls(), &authority.urls().base);
        Ok(Plan {
            target: ROOT.to_owned(),
            root_token: true,
            changes: vec![
                format!(
                    "a new {key_type} key {new} in token {:?}, its own certificate until {}",
                    old.key.token,
                    now.plus(profile.life())
                ),
                format!("two link certificates, {new} with {old} and {old} with {new}, until {old_end}", old = old.id),
                format!(
                    "from about {active_from} on {new} certifies issuing CAs and stands in new enrolment codes; those \
                         that there are stay as they are until each is rotated"
                ),
                format!("{} signs CRLs only from then on: `cardinal root sign-crl` makes those of both keys", old.id),
            ],
            relying_systems: vec![
                format!(
                    "before {active_from}: {} as a new trust anchor (compare its SHA-256 by another way), or {base}/ca/{new}.new-with-old.cer \
                         beside the anchor that they have",
                    urls.ca_certificate(&new)
                ),
                format!("those that trust {new} alone: {base}/ca/{new}.old-with-new.cer, for certificates of before"),
                format!(
                    "all of it in one file: {base}/ca/bundle.pem; CRLs: {} and {}",
                    urls.crl(&new),
                    urls.crl(&old.id)
                ),
            ],
            facts: Facts::from([
                ("old".to_owned(), old.id),
                ("new".to_owned(), new),
                (succession::GENERATION.to_owned(), generation.to_string()),
                ("common_name".to_owned(), service.config.root_ca.common_name.clone()),
                ("key_type".to_owned(), key_type.to_string()),
                ("overlap_seconds".to_owned(), overlap.as_secs().to_string()),
            ]),
        })
    }

    fn work(
        &self,
        service: &Service,
        rotation: &Rotation,
        step: &'static str,
        actor: &Actor,
    ) -> Result<Progress, Failure> {
        let succession = Succession::of(service, rotation)?;
        match step {
            KEY => make_key(service, &succession, actor),
            SELF | LINKS => certify(service, &succession, step, actor),
            PUBLISH => publish(service, &succession),
            CRL => sign_crls(service, &succession, actor),
            _ => activate(service, &succession, actor),
        }
    }

    fn supply(
        &self,
        service: &Service,
        rotation: &Rotation,
        step: &'static str,
        done: &RootWorkDone,
        actor: &Actor,
    ) -> Result<Facts, Failure> {
        let succession = Succession::of(service, rotation)?;
        match step {
            KEY => take_key(service, &succession, done, actor),
            SELF | LINKS => take_certificates(service, &succession, step, done, actor),
            CRL => root_crls::publish(service, &done.signed, actor).map(|_| Facts::new()),
            _ => Err(refused("root-work", "this step asks nothing of the root's token")),
        }
    }

    fn back_out(&self, service: &Service, rotation: &Rotation, actor: &Actor) -> Result<(), Failure> {
        let succession = Succession::of(service, rotation)?;
        let store = service.store.as_ref();
        let certificates = succession.certificates()?;
        service.commit(|now| {
            let mut batch = ca::batch(now);
            let follows = Some(rotation.id.as_str());
            succession::give_up(store, &mut batch, &succession.new_id, &certificates, actor, follows)
                .map_err(too_late)?;
            Ok((batch, ()))
        })?;
        service.reload_issuers()
    }
}

fn make_key(service: &Service, succession: &Succession<'_>, actor: &Actor) -> Result<Progress, Failure> {
    if succession.rotation.fact("public_key").is_some() {
        return Ok(Progress::done());
    }
    let key_type = fact(succession.rotation, "key_type")?.to_owned();
    service.commit(|now| {
        let intent = AuditRecord::new(now, actor.clone(), "key.generate", Outcome::Intent)
            .on("key", &succession.new_id)
            .fact("token", &succession.old.key.token)
            .fact("type", &key_type);
        let mut batch = ca::batch(now);
        ca::record(&mut batch, &intent)?;
        Ok((batch, ()))
    })?;
    let work = RootWork::MakeKey { label: succession.new_id.clone(), key_type };
    Ok(Progress::Root { work: Box::new(work), facts: Facts::new() })
}

fn take_key(
    service: &Service,
    succession: &Succession<'_>,
    done: &RootWorkDone,
    actor: &Actor,
) -> Result<Facts, Failure> {
    let spki =
        done.public_key.as_ref().ok_or_else(|| refused("root-work", "the public key of the new key is asked for"))?;
    let key = PublicKey::from_spki_der(&spki.0).map_err(|error| wire::unreadable("public_key", error))?;
    if key.key_type().to_string() != fact(succession.rotation, "key_type")? {
        return Err(refused("root-work", format!("a {} key was made, another kind was asked for", key.key_type())));
    }
    service.commit(|now| {
        let mut batch = ca::batch(now);
        let holder = ca::hierarchy::ca_holder(&succession.new_id);
        ca::hierarchy::claim_ca_key(service.store.as_ref(), &mut batch, &holder, &key)?;
        let made = AuditRecord::new(now, actor.clone(), "key.generate", Outcome::Done)
            .on("key", &succession.new_id)
            .fact("token", &succession.old.key.token)
            .fact("type", key.key_type());
        ca::record(&mut batch, &made)?;
        Ok((batch, ()))
    })?;
    Ok(Facts::from([("public_key".to_owned(), BASE64.encode(key.spki_der()))]))
}

/// Asks for the certificates of this step: those that are reserved already, or new reservations in one commit.
fn certify(
    service: &Service,
    succession: &Succession<'_>,
    step: &'static str,
    actor: &Actor,
) -> Result<Progress, Failure> {
    let pieces = Piece::of_step(step);
    let store = service.store.as_ref();
    let authority = service.authority();
    let all_signed = pieces.iter().map(|piece| succession.signed(service, *piece)).collect::<Result<Vec<_>, _>>()?;
    if all_signed.iter().all(Option::is_some) {
        return Ok(Progress::done());
    }
    let new_key = public_key(fact(succession.rotation, "public_key")?)?;
    let old = ParsedCertificate::from_der(&succession.old.certificate_der).map_err(Failure::internal)?;
    let own = succession.signed(service, Piece::NewWithNew)?.unwrap_or_default();
    let own_validity = match ParsedCertificate::from_der(&own) {
        Ok(own) => Some(Validity { not_before: own.not_before(), not_after: own.not_after() }),
        Err(_) => None,
    };
    let wanted = |piece: Piece, now: pki::Timestamp| -> Result<Wanted<'_>, Failure> {
        let life = authority.profile(PROFILE)?.life();
        let begin = now.whole_seconds();
        let fresh = Validity { not_before: begin, not_after: begin.plus(life) };
        let new = own_validity.unwrap_or(fresh);
        let (form, issuer, issuer_certificate, key, validity) = match piece {
            Piece::NewWithNew => (Form::Root, &succession.new_id, &[][..], &new_key, fresh),
            // From the making of the new key, until the old one ends.
            Piece::NewWithOld => {
                let validity = Validity { not_before: new.not_before, not_after: new.not_after.min(old.not_after()) };
                (Form::Link, &succession.old.id, &succession.old.certificate_der[..], &new_key, validity)
            }
            // The times of the old key's own certificate: what it signed before has to lead to the new key, too. So it
            // begins in the past, as RFC 9810 4.4 wants it, and as row E2 forbids it to all others.
            Piece::OldWithNew => {
                let validity = Validity { not_before: old.not_before(), not_after: old.not_after().min(new.not_after) };
                (Form::Link, &succession.new_id, &own[..], old.public_key(), validity)
            }
        };
        Ok(Wanted {
            form,
            issuer,
            issuer_certificate,
            profile: PROFILE,
            organization: &service.config.service.organisation,
            common_name: fact(succession.rotation, "common_name")?,
            key,
            validity,
        })
    };

    let mut reserved: Vec<Certification> = Vec::new();
    for piece in pieces {
        if let Some(id) = succession.certificate(*piece)?
            && let Some(again) = ceremony::reserved_again(store, &wanted(*piece, service.now())?, id.serial)?
            && again.prepare(authority.profiles(), authority.urls()).is_ok()
        {
            reserved.push(again);
        }
    }
    if reserved.len() < pieces.len() {
        let before = pieces.iter().map(|piece| succession.certificate(*piece)).collect::<Result<Vec<_>, _>>()?;
        let (_, certifications) = service.commit(|now| {
            authority.check_clock(store, now)?;
            let mut batch = ca::batch(now);
            let follows = Some(succession.rotation.id.as_str());
            for id in before.iter().flatten() {
                ca::recovery::void(store, &mut batch, id, actor, follows)?;
            }
            let stored = super::load(service, &succession.rotation.id)?;
            let mut rotation = stored.record.clone();
            let mut certifications = Vec::new();
            if ca::compromised::find(store, &old.public_key().digest())?.is_some() {
                return Err(Failure::new(422, "key", "The key is refused", OLD_ROOT_COMPROMISED).with_rule("R6"));
            }
            for piece in pieces {
                let holder = match piece {
                    Piece::OldWithNew => ca::hierarchy::ca_holder(&succession.old.id),
                    _ => ca::hierarchy::ca_holder(&succession.new_id),
                };
                let wanted = wanted(*piece, now)?;
                let random = &service.random;
                let one = ceremony::reserve(&authority, &mut batch, &wanted, holder, actor, follows, now, random)?;
                rotation.facts.insert(piece.name().to_owned(), one.serial.to_string());
                certifications.push(one);
            }
            // The rotation knows of them in the same commit, so that no reservation is without one.
            batch.update(&stored.with(rotation))?;
            Ok((batch, certifications))
        })?;
        reserved = certifications;
        service.steps.done(Step::Rotation { step, point: Point::Within("reserved") });
    }
    let facts = pieces.iter().zip(&reserved).map(|(piece, one)| (piece.name().to_owned(), one.serial.to_string()));
    let work = RootWork::Certify { certificates: reserved.iter().map(wire::certification).collect() };
    Ok(Progress::Root { work: Box::new(work), facts: facts.collect() })
}

/// The root has signed: commit 2. With the links, the new key is published.
fn take_certificates(
    service: &Service,
    succession: &Succession<'_>,
    step: &'static str,
    done: &RootWorkDone,
    actor: &Actor,
) -> Result<Facts, Failure> {
    let pieces = Piece::of_step(step);
    if done.signed.len() != pieces.len() {
        return Err(refused("root-work", format!("{} certificates are asked for", pieces.len())));
    }
    // The answer to a call that came through is lost sometimes; handed in again, it is taken for done.
    let known = pieces.iter().map(|piece| succession.signed(service, *piece)).collect::<Result<Vec<_>, _>>()?;
    if known.iter().zip(&done.signed).all(|(known, der)| known.as_ref() == Some(&der.0)) {
        return Ok(Facts::new());
    }
    let store = service.store.as_ref();
    let new_key = public_key(fact(succession.rotation, "public_key")?)?;
    let old_key = ParsedCertificate::from_der(&succession.old.certificate_der).map_err(Failure::internal)?;
    let overlap = overlap_fact(succession.rotation)?;
    let (_, facts) = service.commit(|now| {
        service.authority().check_clock(store, now)?;
        let mut batch = ca::batch(now);
        let follows = Some(succession.rotation.id.as_str());
        let mut links = Vec::new();
        for (piece, der) in pieces.iter().zip(&done.signed) {
            let id =
                succession.certificate(*piece)?.ok_or_else(|| refused("root-work", "no certificate was reserved"))?;
            let issuer_key = if *piece == Piece::NewWithOld { old_key.public_key() } else { &new_key };
            ceremony::accept(store, &mut batch, &id, issuer_key, &der.0, actor, follows)?;
            links.push(LinkCertificate { name: format!("{}.{}", succession.new_id, piece.name()), der: der.0.clone() });
        }
        let mut facts = Facts::new();
        if step == LINKS {
            let own = succession.signed(service, Piece::NewWithNew)?;
            let active_from = now.plus(overlap);
            facts.insert("active_from".to_owned(), active_from.to_string());
            let key = NewKey {
                name: ROOT.to_owned(),
                generation: succession.generation,
                token: succession.old.key.token.clone(),
                certificate_der: own.ok_or_else(|| Failure::internal("a root without a certificate of its own"))?,
                links,
                active_from,
            };
            succession::publish(&mut batch, key, actor, follows)?;
        }
        Ok((batch, facts))
    })?;
    Ok(facts)
}

fn publish(service: &Service, succession: &Succession<'_>) -> Result<Progress, Failure> {
    let record = succession::load(service.store.as_ref(), &succession.new_id)?.record;
    write_certificate(service, &record.id, &[&record.certificate_der])?;
    for link in &record.links {
        write_certificate(service, &link.name, &[&link.der])?;
    }
    service.reload_issuers()?;
    Ok(Progress::done())
}

fn sign_crls(service: &Service, succession: &Succession<'_>, actor: &Actor) -> Result<Progress, Failure> {
    if service.crls.get(&succession.new_id).is_some() {
        return Ok(Progress::done());
    }
    let work = RootWork::SignCrls { crls: root_crls::begin(service, actor)? };
    Ok(Progress::Root { work: Box::new(work), facts: Facts::new() })
}

fn activate(service: &Service, succession: &Succession<'_>, actor: &Actor) -> Result<Progress, Failure> {
    let store = service.store.as_ref();
    if let IssuerState::Published { active_from } = succession::load(store, &succession.new_id)?.record.state
        && service.now() < active_from
    {
        return Ok(Progress::Later { until: active_from, facts: Facts::new() });
    }
    // What the old key certified last are issuing CAs: it is needed as long as any of those may live.
    let authority = service.authority();
    let lives = authority.profiles().iter().filter(|profile| profile.purpose() == pki::profile::Purpose::IssuingCa);
    let longest = lives.map(pki::profile::CertificateProfile::life).max().unwrap_or_default() + longest_life(service);
    let pair = (succession.old.id.as_str(), succession.new_id.as_str());
    service.commit(|now| {
        let mut batch = ca::batch(now);
        succession::activate(store, &mut batch, pair, longest, actor, Some(&succession.rotation.id))?;
        Ok((batch, ()))
    })?;
    service.steps.done(Step::Rotation { step: ACTIVATE, point: Point::Within("switched") });
    service.reload_issuers()?;
    Ok(Progress::done())
}
