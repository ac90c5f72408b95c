//! The exchange of keys, one command each, while the service runs.
//!
//! A rotation is a row of table `rotation` and a [`Procedure`] that knows its steps. [`run`] does them one after the
//! other: that a step is begun is durable before anything of it is done, and that it is done is durable before the next.
//! Each step can be done again from its beginning, so a rotation that was interrupted at any point is resumed by running
//! it again. A step may wait for a time, and is taken up by the ticking task then; or for the root's token, which this
//! process never opens: the command on the server's machine does that work in a process of its own, and hands the result
//! to [`supply`].

mod data_key;
mod issuing_ca;
mod own_keys;
mod people;
mod root;
mod root_work;
mod token_pin;
mod view;
pub(crate) mod wire;

pub use root_work::{PresentRoot, RootCeremony};
pub(crate) use token_pin::left_over;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use api::rotation::{RootWork, RootWorkDone, RotationPlan, RotationRequest, RotationView};
use audit::{Actor, Outcome};
use ca::rotation::{Rotation, RotationKind, RotationState};
use pki::Timestamp;
use store::Versioned;

use self::people::{MAX_PEOPLE, people, people_needed};
use self::view::view;
use crate::failure::Failure;
use crate::service::Service;
use crate::steps::{Point, Step};

/// What later steps need of earlier ones, by name.
pub type Facts = BTreeMap<String, String>;

/// A step, as it stands in a plan.
#[derive(Clone, Copy, Debug)]
pub struct StepPlan {
    /// Its name, in records and for those who watch steps.
    pub name: &'static str,
    /// What it does, in words.
    pub what: &'static str,
}

/// What a rotation would do.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Which one is rotated.
    pub target: String,
    /// Whether the root's token has to be present.
    pub root_token: bool,
    /// What changes, and when.
    pub changes: Vec<String>,
    /// What relying systems must fetch, and by when.
    pub relying_systems: Vec<String>,
    /// What the steps need to know from the beginning.
    pub facts: Facts,
}

/// How a step ended.
#[derive(Clone, Debug)]
pub enum Progress {
    /// It is done; these facts are kept.
    Done(Facts),
    /// It is to be taken up again at a time, by itself.
    Later {
        /// When.
        until: Timestamp,
        /// What is kept.
        facts: Facts,
    },
    /// It goes on when the root's token has done something.
    Root {
        /// What.
        work: Box<RootWork>,
        /// What is kept.
        facts: Facts,
    },
}

impl Progress {
    /// Done, with nothing to be kept.
    pub fn done() -> Self {
        Progress::Done(Facts::new())
    }
}

/// How one kind of key is exchanged.
pub trait Procedure: Sync {
    /// Its kind.
    fn kind(&self) -> RotationKind;

    /// Its steps, in order.
    fn steps(&self) -> &'static [StepPlan];

    /// What would change; changes nothing.
    ///
    /// # Errors
    /// A refusal with its reason and remedy, if it cannot be done now.
    fn plan(&self, service: &Service, request: &RotationRequest) -> Result<Plan, Failure>;

    /// Does one step, from its beginning: whatever an interrupted attempt left is found and used, or made void.
    ///
    /// # Errors
    /// When it did not succeed; it can be tried again then, or backed out of.
    fn work(
        &self,
        service: &Service,
        rotation: &Rotation,
        step: &'static str,
        actor: &Actor,
    ) -> Result<Progress, Failure>;

    /// Takes what the root's token did for this step. Run the step again then.
    ///
    /// # Errors
    /// When it is not what was asked for.
    fn supply(
        &self,
        _service: &Service,
        _rotation: &Rotation,
        _step: &'static str,
        _done: &RootWorkDone,
        _actor: &Actor,
    ) -> Result<Facts, Failure> {
        Err(refused("rotation", "this rotation asks nothing of the root's token"))
    }

    /// Undoes what was done. May be run again after an interruption.
    ///
    /// # Errors
    /// When it is too late, with what to do instead.
    fn back_out(&self, service: &Service, rotation: &Rotation, actor: &Actor) -> Result<(), Failure>;
}

/// A refusal because of what is there already.
pub(crate) fn refused(name: &str, detail: impl Into<String>) -> Failure {
    Failure::new(409, name, "The rotation is refused", detail)
}

/// Refuses a target where there is one thing of this kind only.
fn only_one(request: &RotationRequest, kind: RotationKind) -> Result<(), Failure> {
    match request.target.as_deref() {
        None => Ok(()),
        Some(target) if target == kind.name() => Ok(()),
        Some(target) => {
            let detail = format!("there is one {kind} only: leave {target:?} out");
            Err(Failure::new(422, "rotation-target", "No such target", detail))
        }
    }
}

/// The procedure of this kind.
///
/// # Errors
/// When this version has none.
fn procedure(kind: RotationKind) -> Result<&'static dyn Procedure, Failure> {
    let known: &[&'static dyn Procedure] = &[
        &issuing_ca::IssuingCa,
        &root::Root,
        &own_keys::OcspSignerRotation,
        &own_keys::TlsRotation,
        &token_pin::TokenPinRotation,
        &data_key::DataKeyRotation,
    ];
    let found = known.iter().find(|procedure| procedure.kind() == kind);
    found.copied().ok_or_else(|| {
        Failure::new(422, "rotation-kind", "No such rotation", format!("this version does not rotate {kind}"))
    })
}

/// The rotations that somebody is at right now.
#[derive(Debug, Default)]
pub struct Underway(Mutex<BTreeSet<String>>);

struct Claim<'a>(&'a Underway, String);

impl Underway {
    fn claim(&self, id: &str) -> Result<Claim<'_>, Failure> {
        let fresh = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned());
        if !fresh {
            let detail =
                format!("somebody is at rotation {id} right now; look at it again with `cardinal rotate list`");
            return Err(refused("rotation-underway", detail));
        }
        Ok(Claim(self, id.to_owned()))
    }

    fn contains(&self, id: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(id)
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

fn kind_of(request: &RotationRequest) -> Result<RotationKind, Failure> {
    request.kind.parse().map_err(|error: String| Failure::new(422, "rotation-kind", "No such rotation", error))
}

/// What a rotation would do; nothing is changed.
///
/// # Errors
/// When it could not be done now, with the reason and the remedy.
pub fn plan(service: &Service, request: &RotationRequest) -> Result<RotationPlan, Failure> {
    let kind = kind_of(request)?;
    let procedure = procedure(kind)?;
    service.authority().check_clock(service.store.as_ref(), service.now())?;
    let plan = procedure.plan(service, request)?;
    no_other(service, kind, &plan.target)?;
    Ok(RotationPlan {
        kind: kind.to_string(),
        target: plan.target,
        people_needed: people_needed(kind),
        root_token_needed: plan.root_token,
        steps: procedure.steps().iter().map(|step| step.what.to_owned()).collect(),
        changes: plan.changes,
        relying_systems: plan.relying_systems,
    })
}

/// Keys of the hierarchy are made and certified one at a time, and each target has one rotation at a time.
fn no_other(service: &Service, kind: RotationKind, target: &str) -> Result<(), Failure> {
    let in_the_way = |other: &Rotation| {
        let same = other.kind == kind && other.target == target;
        let hierarchy = other.kind.makes_a_ca_key() && kind.makes_a_ca_key();
        // One that only waits for its time is in nobody's way.
        let at_work = hierarchy && other.state == RotationState::Running;
        other.is_open() && (same || at_work)
    };
    match ca::rotation::all(service.store.as_ref())?.into_iter().find(in_the_way) {
        None => Ok(()),
        Some(other) => Err(refused(
            "rotation-open",
            format!(
                "rotation {id} is not finished: wait for it, or take it up with `cardinal rotate resume {id}`, or give it \
                 up with `cardinal rotate back-out {id}`",
                id = other.id
            ),
        )),
    }
}

/// Begins a rotation, and does what can be done of it now.
///
/// # Errors
/// When it is refused, or a step fails: then it can be resumed.
pub fn start(service: &Service, request: &RotationRequest, actor: &Actor) -> Result<RotationView, Failure> {
    let kind = kind_of(request)?;
    let procedure = procedure(kind)?;
    let people = people(&request.people, people_needed(kind))?;
    let store = service.store.as_ref();
    let (_, id) = service.commit(|now| {
        service.authority().check_clock(store, now)?;
        let plan = procedure.plan(service, request)?;
        no_other(service, kind, &plan.target)?;
        let rotation = Rotation {
            id: ca::rotation::next_id(store, kind, &plan.target)?,
            kind,
            target: plan.target,
            people: people.clone(),
            started: now,
            state: RotationState::Running,
            steps: Vec::new(),
            facts: plan.facts,
        };
        let mut batch = ca::batch(now);
        batch.create(&rotation)?;
        ca::record(&mut batch, &rotation.audit(now, actor, "rotation.begin", Outcome::Done))?;
        Ok((batch, rotation.id))
    })?;
    tracing::info!(rotation = id, "a rotation was begun");
    run(service, &id, actor)
}

fn load(service: &Service, id: &str) -> Result<Versioned<Rotation>, Failure> {
    store::load::<Rotation>(service.store.as_ref(), id.as_bytes())?.ok_or_else(|| {
        let detail = format!("there is no rotation {id:?}: `cardinal rotate list` shows them");
        Failure::new(404, "not-found", "Not found", detail)
    })
}

/// Changes a rotation's record, with the audit record of it.
fn update(
    service: &Service,
    id: &str,
    actor: &Actor,
    operation: &str,
    outcome: Outcome,
    step: Option<&str>,
    change: impl Fn(&mut Rotation, Timestamp),
) -> Result<Rotation, Failure> {
    let (_, rotation) = service.commit(|now| {
        let stored = load(service, id)?;
        let mut rotation = stored.record.clone();
        change(&mut rotation, now);
        let mut batch = ca::batch(now);
        batch.update(&stored.with(rotation.clone()))?;
        let mut record = rotation.audit(now, actor, operation, outcome.clone());
        if let Some(step) = step {
            record = record.fact("step", step);
        }
        ca::record(&mut batch, &record)?;
        Ok((batch, rotation))
    })?;
    Ok(rotation)
}

/// Does the steps of a rotation from the first that is not done, until it is whole, or waits for something.
///
/// # Errors
/// When a step fails, or somebody else is at it.
pub fn run(service: &Service, id: &str, actor: &Actor) -> Result<RotationView, Failure> {
    let _claim = service.rotations.claim(id)?;
    proceed(service, id, actor)
}

fn proceed(service: &Service, id: &str, actor: &Actor) -> Result<RotationView, Failure> {
    loop {
        let rotation = load(service, id)?.record;
        if !rotation.is_open() {
            return Ok(view(&rotation, None));
        }
        let procedure = procedure(rotation.kind)?;
        let Some(step) = procedure.steps().iter().find(|step| !rotation.has_done(step.name)).map(|step| step.name)
        else {
            let whole = update(service, id, actor, "rotation.end", Outcome::Done, None, |rotation, now| {
                rotation.state = RotationState::Done { at: now };
            })?;
            tracing::info!(rotation = id, "a rotation is whole");
            return Ok(view(&whole, None));
        };
        let at = |point| service.steps.done(Step::Rotation { step, point });
        let audited = |outcome, change: &dyn Fn(&mut Rotation, Timestamp)| {
            update(service, id, actor, "rotation.step", outcome, Some(step), change)
        };
        let rotation = audited(Outcome::Intent, &|rotation, now| rotation.begin(step, now))?;
        at(Point::Begun);
        let worked = service
            .authority()
            .check_clock(service.store.as_ref(), service.now())
            .map_err(Failure::from)
            .and_then(|()| procedure.work(service, &rotation, step, actor));
        match worked {
            Ok(Progress::Done(facts)) => {
                at(Point::Worked);
                audited(Outcome::Done, &|rotation, now| {
                    rotation.facts.extend(facts.clone());
                    rotation.state = RotationState::Running;
                    rotation.finish(step, now);
                })?;
                at(Point::Done);
                tracing::info!(rotation = id, step, "a step of a rotation is done");
            }
            Ok(Progress::Later { until, facts }) => {
                let waiting = audited(Outcome::Done, &|rotation, _| {
                    rotation.facts.extend(facts.clone());
                    rotation.state = RotationState::Waiting { until };
                })?;
                return Ok(view(&waiting, None));
            }
            Ok(Progress::Root { work, facts }) => {
                let asking = audited(Outcome::Done, &|rotation, _| {
                    rotation.facts.extend(facts.clone());
                    rotation.state = RotationState::Running;
                })?;
                return Ok(view(&asking, Some(*work)));
            }
            Err(failure) => {
                let cause = failure.cause();
                audited(Outcome::Failed { cause: cause.clone() }, &|rotation, _| rotation.fail(step, &cause))?;
                tracing::error!(rotation = id, step, cause, "a step of a rotation failed");
                return Err(failure);
            }
        }
    }
}

fn named(service: &Service, id: &str, given: &[String], actor: &Actor, operation: &str) -> Result<(), Failure> {
    let people = people(given, 1)?;
    let is_open = load(service, id)?.record.is_open();
    if !is_open {
        return Err(refused("rotation-ended", format!("rotation {id} has ended; begin another one")));
    }
    update(service, id, actor, operation, Outcome::Intent, None, |rotation, _| {
        for name in &people {
            if !rotation.people.contains(name) && rotation.people.len() < MAX_PEOPLE {
                rotation.people.push(name.clone());
            }
        }
    })?;
    Ok(())
}

/// Takes up a rotation that was interrupted, or waits.
///
/// # Errors
/// As [`run`]; when it has ended, or nobody is named.
pub fn resume(service: &Service, id: &str, people: &[String], actor: &Actor) -> Result<RotationView, Failure> {
    let _claim = service.rotations.claim(id)?;
    named(service, id, people, actor, "rotation.resume")?;
    proceed(service, id, actor)
}

/// Takes what the root's token did, and goes on.
///
/// # Errors
/// When it is not what was asked for; as [`run`].
pub fn supply(service: &Service, id: &str, done: &RootWorkDone, actor: &Actor) -> Result<RotationView, Failure> {
    let _claim = service.rotations.claim(id)?;
    let rotation = load(service, id)?.record;
    let procedure = procedure(rotation.kind)?;
    let step = procedure.steps().iter().map(|step| step.name).find(|step| !rotation.has_done(step));
    let Some(step) = step.filter(|step| rotation.is_open() && rotation.has_begun(step)) else {
        return Err(refused("rotation-ended", format!("rotation {id} asks nothing of the root's token now")));
    };
    let facts = procedure.supply(service, &rotation, step, done, actor)?;
    service.steps.done(Step::Rotation { step, point: Point::Within("supplied") });
    update(service, id, actor, "rotation.supply", Outcome::Done, Some(step), |rotation, _| {
        rotation.facts.extend(facts.clone());
    })?;
    proceed(service, id, actor)
}

/// Gives a rotation up: what was made for it is undone. Not once the new key is active.
///
/// # Errors
/// When it is too late, or something cannot be undone now.
pub fn back_out(service: &Service, id: &str, people: &[String], actor: &Actor) -> Result<RotationView, Failure> {
    let _claim = service.rotations.claim(id)?;
    named(service, id, people, actor, "rotation.back_out")?;
    let rotation = load(service, id)?.record;
    procedure(rotation.kind)?.back_out(service, &rotation, actor)?;
    let given_up = update(service, id, actor, "rotation.back_out", Outcome::Done, None, |rotation, now| {
        rotation.state = RotationState::BackedOut { at: now };
    })?;
    tracing::info!(rotation = id, "a rotation was backed out of");
    Ok(view(&given_up, None))
}

/// All rotations, newest first.
///
/// # Errors
/// When the store fails.
pub fn list(service: &Service) -> Result<Vec<RotationView>, Failure> {
    let mut rotations = ca::rotation::all(service.store.as_ref())?;
    rotations.sort_by_key(|rotation| std::cmp::Reverse(rotation.started));
    Ok(rotations.iter().map(|rotation| view(rotation, None)).collect())
}

/// Takes up what waits for a time that has come.
///
/// # Errors
/// What the last one that failed failed with.
pub(crate) fn take_up_due(service: &Service, now: Timestamp) -> Result<(), Failure> {
    let mut result = Ok(());
    for rotation in ca::rotation::all(service.store.as_ref())? {
        let is_due = matches!(rotation.state, RotationState::Waiting { until } if until <= now);
        if !is_due || service.rotations.contains(&rotation.id) {
            continue;
        }
        match run(service, &rotation.id, &Actor::service()) {
            Ok(_) => {}
            Err(failure) if failure.problem().name() == "rotation-underway" => {}
            Err(failure) => result = Err(failure),
        }
    }
    result
}

/// Retires the CA keys whose last certificate has expired, and was on a scheduled CRL after that.
///
/// # Errors
/// When the store fails, or the issuers cannot be taken anew.
pub(crate) fn retire_due(service: &Service, now: Timestamp) -> Result<(), Failure> {
    let intervals = service.config.issuing_cas.iter().map(|ca| ca.crl_interval);
    let margin = intervals.max().unwrap_or_default() * 2;
    let store = service.store.as_ref();
    while let Some((batch, id, state)) = ca::succession::retire_due(store, margin, &Actor::service(), now)? {
        store.commit(batch)?;
        if state == ca::IssuerState::Retired {
            service.reload_issuers()?;
            tracing::info!(issuer = id, "a CA key is retired: its last certificate has expired");
        }
    }
    Ok(())
}

/// The rotations that wait for a person, in words: interrupted, failed, or asking for the root's token.
///
/// # Errors
/// When the store fails.
pub(crate) fn needing_people(service: &Service) -> Result<Vec<String>, Failure> {
    let rotations = ca::rotation::all(service.store.as_ref())?;
    let open = rotations.iter().filter(|rotation| rotation.state == RotationState::Running);
    let idle = open.filter(|rotation| !service.rotations.contains(&rotation.id));
    Ok(idle
        .map(|rotation| {
            let id = &rotation.id;
            format!("rotation {id} is not finished: `cardinal rotate resume {id}` or `cardinal rotate back-out {id}`")
        })
        .collect())
}
