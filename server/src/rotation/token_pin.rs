//! The user PIN of a token: of the CA token, which this process has open, or of the root's, which the command opens in a
//! process of its own (conformance: K4). How a crash leaves one of two files right is told in [`hsm::PinFile`].

use api::rotation::{RootWork, RootWorkDone, RotationRequest};
use audit::Actor;
use ca::rotation::{Rotation, RotationKind, RotationState};
use hsm::{Pin, PinFile};

use super::{Facts, Plan, Procedure, Progress, StepPlan, refused};
use crate::failure::Failure;
use crate::service::Service;
use crate::steps::{Point, Step};

const WRITE: &str = "write-pin";
const CHANGE: &str = "change-pin";
const KEEP: &str = "keep-pin";
/// The root's PIN was changed by the command's own process.
const CHANGED: &str = "changed";

const STEPS: [StepPlan; 3] = [
    StepPlan { name: WRITE, what: "write a new random PIN beside the PIN file, as .next" },
    StepPlan { name: CHANGE, what: "have the token take the new PIN" },
    StepPlan { name: KEEP, what: "put the new PIN file in the place of the old one" },
];

/// The PINs to come that no open rotation accounts for, in words: the token has one or the other.
///
/// # Errors
/// When the store fails.
pub(crate) fn left_over(service: &Service) -> Result<Vec<String>, Failure> {
    let rotations = ca::rotation::all(service.store.as_ref())?;
    let is_open = |label: &str| {
        let mut of_token = rotations.iter().filter(|one| one.kind == RotationKind::TokenPin && one.target == label);
        of_token.any(|one| one.state == RotationState::Running)
    };
    let hsm = &service.config.hsm;
    let left = [&hsm.ca, &hsm.root].into_iter().filter(|token| !is_open(&token.label));
    let left = left.map(|token| (token, PinFile::new(&token.pin_file).next_path())).filter(|(_, next)| next.exists());
    Ok(left
        .map(|(token, next)| {
            format!(
                "{} is there, and no rotation is open that accounts for it: token {} may have that PIN. Keep both files; \
                 what opens the token next (the service's start, or `cardinal root sign-crl` for the root's) settles them",
                next.display(),
                token.label
            )
        })
        .collect())
}

/// `cardinal rotate token-pin`.
pub(super) struct TokenPinRotation;

fn is_root(service: &Service, rotation: &Rotation) -> bool {
    rotation.target == service.config.hsm.root.label
}

fn file(service: &Service) -> PinFile {
    PinFile::new(&service.config.hsm.ca.pin_file)
}

impl Procedure for TokenPinRotation {
    fn kind(&self) -> RotationKind {
        RotationKind::TokenPin
    }

    fn steps(&self) -> &'static [StepPlan] {
        &STEPS
    }

    fn plan(&self, service: &Service, request: &RotationRequest) -> Result<Plan, Failure> {
        let hsm = &service.config.hsm;
        let token = match request.target.as_deref() {
            None | Some("ca") => &hsm.ca,
            Some("root") => &hsm.root,
            Some(label) if label == hsm.ca.label => &hsm.ca,
            Some(label) if label == hsm.root.label => &hsm.root,
            Some(other) => {
                let detail = format!(
                    "there is no token {other:?} here: write `ca` ({}) or `root` ({})",
                    hsm.ca.label, hsm.root.label
                );
                return Err(Failure::new(422, "rotation-target", "No such token", detail));
            }
        };
        let root = token.label == hsm.root.label;
        if !root {
            let directory = token.pin_file.parent().unwrap_or(std::path::Path::new("."));
            if let Err(error) = rustix::fs::access(directory, rustix::fs::Access::WRITE_OK) {
                let detail = format!(
                    "the service cannot write in {}, where the PIN file is: {error}. Give its user that right; with the \
                     systemd unit, by ReadWritePaths",
                    directory.display()
                );
                return Err(refused("pin-file", detail));
            }
        }
        Ok(Plan {
            target: token.label.clone(),
            root_token: root,
            changes: vec![
                format!("token {} gets a new random user PIN, in {}", token.label, token.pin_file.display()),
                "the security officer's PIN stays as it is".to_owned(),
                "first make a copy of the token, by its own means (docs/operators.md, \"A second token\"): the token writes its \
                 own files, and SoftHSM does so in a way that a kill or a power cut at the wrong moment can lose the token"
                    .to_owned(),
                "copies of the old PIN open older copies of the token only".to_owned(),
            ],
            relying_systems: vec!["nothing: no certificate changes".to_owned()],
            ..Plan::default()
        })
    }

    fn work(&self, service: &Service, rotation: &Rotation, step: &'static str, _: &Actor) -> Result<Progress, Failure> {
        if is_root(service, rotation) {
            let work = || Box::new(RootWork::ChangePin { label: rotation.target.clone() });
            return Ok(match rotation.fact(CHANGED) {
                Some(_) => Progress::done(),
                None => Progress::Root { work: work(), facts: Facts::new() },
            });
        }
        let (file, token) = (file(service), &service.token);
        match step {
            WRITE => {
                file.write_next(&Pin::random()?)?;
            }
            CHANGE => {
                // A start in between has settled the files and deleted what the token had not taken.
                let next = file.write_next(&Pin::random()?)?;
                if token.pin() != next {
                    let changed = token.change_pin(&token.pin(), &next);
                    service.steps.done(Step::Rotation { step, point: Point::Within("changed") });
                    if let Err(error @ hsm::Error::Pkcs11 { .. }) = changed {
                        // The token said no to the new PIN, so that it is certain to have the old one.
                        file.drop_next()?;
                        let detail = format!("{error}; the PIN is as it was");
                        return Err(Failure::new(409, "pin-refused", "The token does not take the new PIN", detail));
                    }
                    changed.map_err(|error| refused("pin-change", error.to_string()))?;
                }
            }
            _ => {
                let pins = file.read()?;
                match pins.next {
                    Some(next) if next == token.pin() => file.take_next()?,
                    Some(_) => {
                        let detail = "the file .next holds another PIN than the token has; back out, and rotate again";
                        return Err(refused("pin-file", detail));
                    }
                    None => {}
                }
            }
        }
        Ok(Progress::done())
    }

    fn supply(
        &self,
        service: &Service,
        rotation: &Rotation,
        _: &'static str,
        _: &RootWorkDone,
        _: &Actor,
    ) -> Result<Facts, Failure> {
        if !is_root(service, rotation) {
            return Err(refused("rotation", "this PIN is changed by the service itself"));
        }
        Ok(Facts::from([(CHANGED.to_owned(), "yes".to_owned())]))
    }

    fn back_out(&self, service: &Service, rotation: &Rotation, _: &Actor) -> Result<(), Failure> {
        if is_root(service, rotation) {
            return match rotation.fact(CHANGED) {
                None => {
                    let next = PinFile::new(&service.config.hsm.root.pin_file).next_path();
                    if next.exists() {
                        let detail = format!(
                            "{} is there still: the root's token may have the new PIN. Resume the rotation, or have the \
                             token tell which PIN it has by a command that opens it, such as `cardinal root sign-crl`",
                            next.display()
                        );
                        return Err(refused("rotation-too-late", detail));
                    }
                    Ok(())
                }
                Some(_) => Err(refused("rotation-too-late", "the root's token has its new PIN: resume the rotation")),
            };
        }
        let (file, token) = (file(service), &service.token);
        let pins = file.read()?;
        if token.is_pin_in_doubt() || pins.next.as_ref() == Some(&token.pin()) || rotation.has_done(CHANGE) {
            let detail = "the token has its new PIN, or may have it: resume the rotation";
            return Err(refused("rotation-too-late", detail));
        }
        Ok(file.drop_next()?)
    }
}
