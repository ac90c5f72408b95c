//! `rotate issuing-ca`: a new key of an issuing CA, under the same name, certified by the root.
//!
//! The key is made in the CA token; the root's signature comes from the command's own process. Published, the new key
//! signs its CRLs and OCSP delegates, and the API door trusts it; active, it issues in the place of the old one, which
//! goes on signing CRLs and OCSP delegates until its last certificate has expired.

use std::time::Duration;

use api::rotation::{RootWork, RootWorkDone, RotationRequest};
use audit::Actor;
use ca::authority::describe;
use ca::ceremony::{self, Certification, Form, Wanted};
use ca::rotation::{Rotation, RotationKind};
use ca::succession::{self, NewKey, issuer_id};
use ca::{CertificateId, CertificateState, IssuerRecord, IssuerState};
use data_encoding::BASE64;
use pki::certificate::ParsedCertificate;
use pki::name::AttributeType;
use pki::{PublicKey, SerialNumber, Timestamp};

use super::{Facts, Plan, Procedure, Progress, StepPlan, refused, wire};
use crate::crls;
use crate::error::Error;
use crate::failure::Failure;
use crate::service::Service;
use crate::steps::{Point, Step};

/// The profile of issuing CAs.
const PROFILE: &str = "issuing-ca";

const KEY: &str = "key";
const CERTIFY: &str = "certify";
const PUBLISH: &str = "publish";
const ACTIVATE: &str = "activate";

const STEPS: &[StepPlan] = &[
    StepPlan { name: KEY, what: "make the new key in the CA token" },
    StepPlan { name: CERTIFY, what: "certify it by the root, whose token this command opens in a process of its own" },
    StepPlan {
        name: PUBLISH,
        what: "publish its certificate and CRL, certify its OCSP signer, trust it at the API door",
    },
    StepPlan { name: ACTIVATE, what: "after the overlap: issue by the new key; the old one signs status only" },
];

pub(super) struct IssuingCa;

/// What all steps know.
struct Succession<'a> {
    rotation: &'a Rotation,
    old: IssuerRecord,
    generation: u32,
}

impl<'a> Succession<'a> {
    fn of(service: &Service, rotation: &'a Rotation) -> Result<Self, Failure> {
        let old = succession::load(service.store.as_ref(), fact(rotation, "old")?)?.record;
        let generation = fact(rotation, succession::GENERATION)?.parse().map_err(Failure::internal)?;
        Ok(Succession { rotation, old, generation })
    }

    fn new_id(&self) -> String {
        issuer_id(&self.rotation.target, self.generation)
    }

    fn key(&self) -> Result<PublicKey, Failure> {
        public_key(fact(self.rotation, "public_key")?)
    }
}

/// What an earlier step must have left.
pub(super) fn fact<'a>(rotation: &'a Rotation, name: &str) -> Result<&'a str, Failure> {
    rotation.fact(name).ok_or_else(|| Failure::internal(format!("rotation {} has no {name}", rotation.id)))
}

pub(super) fn public_key(base64: &str) -> Result<PublicKey, Failure> {
    let spki = BASE64.decode(base64.as_bytes()).map_err(Failure::internal)?;
    PublicKey::from_spki_der(&spki).map_err(Failure::internal)
}

/// The time between publication and activity: what is asked for, or what is configured. The new key must become active
/// while both certificates last for the longest life of what they certify; `end` is that of the one that ends first. Up to
/// what is configured is always possible, so that a key that is late is exchanged nevertheless.
pub(super) fn overlap(
    service: &Service,
    request: &RotationRequest,
    configured: Duration,
    end: Timestamp,
    now: Timestamp,
) -> Result<Duration, Failure> {
    let Some(text) = &request.overlap else { return Ok(configured) };
    let unreadable = |why: String| wire::unreadable("overlap", format!("{text:?}: {why}"));
    let overlap = humantime::parse_duration(text.trim())
        .map_err(|error| unreadable(format!("{error}; write it like 24h or 90m")))?;
    let last = end.minus(longest_life(service));
    let left = u64::try_from(last.unix_seconds().saturating_sub(now.unix_seconds())).unwrap_or(0);
    let longest = Duration::from_secs(left.saturating_sub(1)).max(configured);
    if overlap > longest {
        return Err(unreadable(format!(
            "the new key would become active when one of the two certificates is too near to its end, {end}, for a \
             certificate of the longest life; the longest possible overlap is {}",
            humantime::format_duration(Duration::from_secs(longest.as_secs()))
        )));
    }
    Ok(overlap)
}

pub(super) fn overlap_fact(rotation: &Rotation) -> Result<Duration, Failure> {
    let seconds = fact(rotation, "overlap_seconds")?.parse().map_err(Failure::internal)?;
    Ok(Duration::from_secs(seconds))
}

/// A CA keeps its name over its keys: the configuration must still say it.
pub(super) fn same_name(service: &Service, record: &IssuerRecord, common_name: &str) -> Result<(), Failure> {
    let certificate = ParsedCertificate::from_der(&record.certificate_der).map_err(Failure::internal)?;
    let organization = certificate.subject_attribute(AttributeType::Organization);
    let configured = &service.config.service.organisation;
    if certificate.common_name() == Some(common_name) && organization == Some(configured.as_str()) {
        return Ok(());
    }
    let subject = certificate.subject().map(ToString::to_string).unwrap_or_default();
    Err(refused(
        "ca-name",
        format!(
            "a CA keeps its name over all its keys, and that of {} is {subject}; the configuration says O={configured}, \
             CN={common_name}: put the old values back",
            record.id
        ),
    ))
}

/// The longest life that a certificate for others can have.
pub(super) fn longest_life(service: &Service) -> Duration {
    let authority = service.authority();
    let lives = authority.profiles().iter().filter(|profile| !profile.purpose().is_ca());
    lives.map(pki::profile::CertificateProfile::life).max().unwrap_or_default()
}

/// Writes an issuer's certificate where those of `init` are.
pub(super) fn write_certificate(service: &Service, name: &str, ders: &[&[u8]]) -> Result<(), Failure> {
    let path = service.config.service.data_dir.join("ca").join(format!("{name}.pem"));
    let text = pki::pem::encode_certificates(ders);
    crls::write_atomically(&path, text.as_bytes(), 0o644)
        .map_err(|error| Failure::internal(Error::file("write", path)(error)))
}

impl Procedure for IssuingCa {
    fn kind(&self) -> RotationKind {
        RotationKind::IssuingCa
    }

    fn steps(&self) -> &'static [StepPlan] {
        STEPS
    }

    fn plan(&self, service: &Service, request: &RotationRequest) -> Result<Plan, Failure> {
        let names = || service.config.issuing_cas.iter().map(|ca| ca.name.as_str()).collect::<Vec<_>>().join(", ");
        let configured = request.target.as_deref().and_then(|name| service.config.issuing_ca(name));
        let Some(ca) = configured else {
            let detail = format!("name the issuing CA whose key is to be exchanged; there are: {}", names());
            return Err(Failure::new(422, "rotation-target", "No such CA", detail));
        };
        let store = service.store.as_ref();
        let old = succession::active(store, &ca.name)?;
        same_name(service, &old, &ca.common_name)?;
        let root = ca::issuer::root(store)?;
        let authority = service.authority();
        let description = describe(&root, authority.urls())?;
        let now = service.now();
        let validity = authority.validity(authority.profile(PROFILE)?, &description, 0.0, None, now)?;
        let old_end = ParsedCertificate::from_der(&old.certificate_der).map_err(Failure::internal)?.not_after();
        let end = old_end.min(validity.not_after);
        let overlap = overlap(service, request, service.config.times.ca_overlap, end, now)?;
        let generation = succession::next_generation(store, &ca.name)?;
        let new = issuer_id(&ca.name, generation);
        let active_from = now.plus(overlap);
        let urls = authority.urls();
        Ok(Plan {
            target: ca.name.clone(),
            root_token: true,
            changes: vec![
                format!(
                    "a new {} key {new} in token {:?}, certified by {} until {}",
                    ca.key_type,
                    service.token.label(),
                    root.id,
                    validity.not_after
                ),
                format!("from about {active_from} on {new} issues by: {}", ca.profiles.join(", ")),
                format!(
                    "{} signs CRLs and OCSP signers only from then on, and is retired when its last certificate has \
                         expired; its key stays in the token",
                    old.id
                ),
            ],
            relying_systems: vec![
                format!(
                    "before {active_from}: {} (those that do not follow the AIA of certificates)",
                    urls.ca_certificate(&new)
                ),
                format!("where CRLs are used: {}, and {} as before", urls.crl(&new), urls.crl(&old.id)),
            ],
            facts: Facts::from([
                ("old".to_owned(), old.id),
                ("new".to_owned(), new),
                (succession::GENERATION.to_owned(), generation.to_string()),
                ("root".to_owned(), root.id),
                ("common_name".to_owned(), ca.common_name.clone()),
                ("key_type".to_owned(), ca.key_type.to_string()),
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
            CERTIFY => certify(service, &succession, actor),
            PUBLISH => publish(service, &succession, actor),
            _ => activate(service, &succession, actor),
        }
    }

    fn supply(
        &self,
        service: &Service,
        rotation: &Rotation,
        _step: &'static str,
        done: &RootWorkDone,
        actor: &Actor,
    ) -> Result<Facts, Failure> {
        take_in(service, &Succession::of(service, rotation)?, done, actor)
    }

    fn back_out(&self, service: &Service, rotation: &Rotation, actor: &Actor) -> Result<(), Failure> {
        let succession = Succession::of(service, rotation)?;
        let store = service.store.as_ref();
        let certificate = certificate_id(&succession)?;
        service.commit(|now| {
            let mut batch = ca::batch(now);
            let follows = Some(rotation.id.as_str());
            let (id, certificates) = (succession.new_id(), certificate.as_slice());
            succession::give_up(store, &mut batch, &id, certificates, actor, follows).map_err(too_late)?;
            Ok((batch, ()))
        })?;
        service.reload_issuers()
    }
}

pub(super) fn too_late(error: ca::Error) -> Failure {
    match error {
        ca::Error::IssuerState { issuer, .. } => {
            let detail = format!("{issuer} is active: certificates were issued by it. Go on with it, or rotate again");
            refused("rotation-too-late", detail)
        }
        other => other.into(),
    }
}

fn make_key(service: &Service, succession: &Succession<'_>, actor: &Actor) -> Result<Progress, Failure> {
    let key_type = pki::KeyType::ALL
        .into_iter()
        .find(|kind| Some(kind.to_string().as_str()) == succession.rotation.fact("key_type"));
    let key_type = key_type.ok_or_else(|| Failure::internal("a rotation without a kind of key"))?;
    let label = succession.new_id();
    let key = ca::hierarchy::ca_key(service.store.as_ref(), &service.token, &label, key_type, actor, service.now())?;
    let spki = BASE64.encode(hsm::Signer::public_key(&key).spki_der());
    Ok(Progress::Done(Facts::from([("public_key".to_owned(), spki)])))
}

fn certificate_id(succession: &Succession<'_>) -> Result<Option<CertificateId>, Failure> {
    let Some(serial) = succession.rotation.fact("serial") else { return Ok(None) };
    let serial: SerialNumber = serial.parse().map_err(Failure::internal)?;
    Ok(Some(CertificateId { issuer: fact(succession.rotation, "root")?.to_owned(), serial }))
}

/// The reservation, one that is there already or a new one, and the work for the root's token.
fn certify(service: &Service, succession: &Succession<'_>, actor: &Actor) -> Result<Progress, Failure> {
    let store = service.store.as_ref();
    if succession::load(store, &succession.new_id()).is_ok() {
        return Ok(Progress::done());
    }
    let key = succession.key()?;
    let certification = match reserved(service, succession, &key)? {
        Some(reserved) => reserved,
        None => reserve(service, succession, &key, actor)?,
    };
    let facts = Facts::from([
        ("serial".to_owned(), certification.serial.to_string()),
        ("root".to_owned(), certification.issuer.clone()),
    ]);
    let work = RootWork::Certify { certificates: vec![wire::certification(&certification)] };
    Ok(Progress::Root { work: Box::new(work), facts })
}

fn wanted<'a>(
    service: &'a Service,
    succession: &'a Succession<'_>,
    root: &'a IssuerRecord,
    key: &'a PublicKey,
    validity: pki::certificate::Validity,
) -> Result<Wanted<'a>, Failure> {
    Ok(Wanted {
        form: Form::IssuingCa,
        issuer: &root.id,
        issuer_certificate: &root.certificate_der,
        profile: PROFILE,
        organization: &service.config.service.organisation,
        common_name: fact(succession.rotation, "common_name")?,
        key,
        validity,
    })
}

/// What an earlier attempt reserved, if it is still reserved, under the root in force and by the profiles of today.
fn reserved(service: &Service, succession: &Succession<'_>, key: &PublicKey) -> Result<Option<Certification>, Failure> {
    let Some(id) = certificate_id(succession)? else { return Ok(None) };
    let store = service.store.as_ref();
    let root = ca::issuer::root(store)?;
    // A root that was exchanged meanwhile certifies no CA any more (conformance: C16).
    if root.id != id.issuer {
        return Ok(None);
    }
    let none = pki::certificate::Validity { not_before: Timestamp::EPOCH, not_after: Timestamp::EPOCH };
    let reserved = ceremony::reserved_again(store, &wanted(service, succession, &root, key, none)?, id.serial)?;
    let authority = service.authority();
    Ok(reserved.filter(|reserved| reserved.prepare(authority.profiles(), authority.urls()).is_ok()))
}

fn reserve(
    service: &Service,
    succession: &Succession<'_>,
    key: &PublicKey,
    actor: &Actor,
) -> Result<Certification, Failure> {
    let (store, authority) = (service.store.as_ref(), service.authority());
    let before = certificate_id(succession)?;
    let holder = ca::hierarchy::ca_holder(&succession.new_id());
    let (_, certification) = service.commit(|now| {
        authority.check_clock(store, now)?;
        let root = ca::issuer::root(store)?;
        let description = describe(&root, authority.urls())?;
        let validity = authority.validity(authority.profile(PROFILE)?, &description, 0.0, None, now)?;
        let wanted = wanted(service, succession, &root, key, validity)?;
        let mut batch = ca::batch(now);
        root_in_force(store, &mut batch, &root.id)?;
        let follows = Some(succession.rotation.id.as_str());
        // One that profiles of before were for, or that another root was to sign, is not used any more.
        if let Some(id) = &before {
            ca::recovery::void(store, &mut batch, id, actor, follows)?;
        }
        ca::hierarchy::claim_ca_key(store, &mut batch, &holder, key)?;
        let reserved =
            ceremony::reserve(&authority, &mut batch, &wanted, holder.clone(), actor, follows, now, &service.random)?;
        // The rotation knows of it in the same commit, so that no reservation is without one.
        let stored = super::load(service, &succession.rotation.id)?;
        let mut rotation = stored.record.clone();
        rotation.facts.insert("serial".to_owned(), reserved.serial.to_string());
        rotation.facts.insert("root".to_owned(), reserved.issuer.clone());
        batch.update(&stored.with(rotation))?;
        Ok((batch, reserved))
    })?;
    service.steps.done(Step::Rotation { step: CERTIFY, point: Point::Within("reserved") });
    Ok(certification)
}

/// Refuses a root that certifies no CA any more; and the batch, if that comes true before it is committed.
fn root_in_force(store: &dyn store::Store, batch: &mut store::Batch, root: &str) -> Result<(), Failure> {
    let stored = succession::load(store, root)?;
    if stored.record.state != IssuerState::Offline {
        let detail = format!(
            "{root} is {}, so it certifies no CA any more: resume the rotation, and the root in force is asked",
            stored.record.state.name()
        );
        return Err(refused("root-not-in-force", detail));
    }
    let (table, key) = (<IssuerRecord as store::Record>::TABLE, store::Record::key(&stored.record));
    batch.expect.push(store::Expect::Version { table, key, version: stored.version });
    Ok(())
}

/// The root has signed: commit 2, in which the certificate becomes good and the key published.
fn take_in(
    service: &Service,
    succession: &Succession<'_>,
    done: &RootWorkDone,
    actor: &Actor,
) -> Result<Facts, Failure> {
    let [der] = done.signed.as_slice() else {
        return Err(refused("root-work", "one certificate is asked for"));
    };
    let id = certificate_id(succession)?.ok_or_else(|| refused("root-work", "no certificate was reserved"))?;
    let store = service.store.as_ref();
    let root = succession::load(store, &id.issuer)?.record;
    let root_key = describe(&root, service.authority().urls())?.public_key;
    let overlap = overlap_fact(succession.rotation)?;
    // The answer to a call that came through is lost sometimes; handed in again, it is taken for done.
    if let Ok(record) = ca::certificate::load(store, &id)
        && matches!(record.record.state, CertificateState::Good { .. })
        && record.record.der.as_ref() == Some(&der.0)
    {
        return Ok(Facts::new());
    }
    let (_, active_from) = service.commit(|now| {
        service.authority().check_clock(store, now)?;
        let mut batch = ca::batch(now);
        root_in_force(store, &mut batch, &id.issuer)?;
        let follows = Some(succession.rotation.id.as_str());
        let good = ceremony::accept(store, &mut batch, &id, &root_key, &der.0, actor, follows)?;
        let active_from = now.plus(overlap);
        let key = NewKey {
            name: succession.rotation.target.clone(),
            generation: succession.generation,
            token: service.token.label().to_owned(),
            certificate_der: good.der.unwrap_or_default(),
            links: Vec::new(),
            active_from,
        };
        succession::publish(&mut batch, key, actor, follows)?;
        Ok((batch, active_from))
    })?;
    Ok(Facts::from([("active_from".to_owned(), active_from.to_string())]))
}

fn publish(service: &Service, succession: &Succession<'_>, actor: &Actor) -> Result<Progress, Failure> {
    let record = succession::load(service.store.as_ref(), &succession.new_id())?.record;
    write_certificate(service, &record.id, &[&record.certificate_der])?;
    service.reload_issuers()?;
    service.steps.done(Step::Rotation { step: PUBLISH, point: Point::Within("reloaded") });
    crls::publish(service, &record.id, crls::Order::FULL, actor)?;
    Ok(Progress::done())
}

fn activate(service: &Service, succession: &Succession<'_>, actor: &Actor) -> Result<Progress, Failure> {
    let store = service.store.as_ref();
    let (old, new) = (succession.old.id.clone(), succession.new_id());
    if let IssuerState::Published { active_from } = succession::load(store, &new)?.record.state
        && service.now() < active_from
    {
        return Ok(Progress::Later { until: active_from, facts: Facts::new() });
    }
    let longest = longest_life(service);
    service.commit(|now| {
        let mut batch = ca::batch(now);
        succession::activate(store, &mut batch, (&old, &new), longest, actor, Some(&succession.rotation.id))?;
        Ok((batch, ()))
    })?;
    service.steps.done(Step::Rotation { step: ACTIVATE, point: Point::Within("switched") });
    service.reload_issuers()?;
    Ok(Progress::done())
}
