//! A rotation as the admin socket shows it.

use api::rotation::{RootWork, RotationStepView, RotationView};
use ca::rotation::{Rotation, RotationState};

use super::procedure;

/// The rotation, with what the root's token has to do now.
pub(super) fn view(rotation: &Rotation, root_work: Option<RootWork>) -> RotationView {
    let steps = procedure(rotation.kind).map(|procedure| procedure.steps()).unwrap_or_default();
    let steps = steps.iter().map(|plan| {
        let record = rotation.steps.iter().find(|record| record.step == plan.name);
        let (state, at) = match record {
            None => ("to do", None),
            Some(record) if record.done.is_some() => ("done", record.done),
            Some(record) if record.failure.is_some() => ("failed", Some(record.begun)),
            Some(record) => ("begun", Some(record.begun)),
        };
        RotationStepView {
            name: plan.name.to_owned(),
            what: plan.what.to_owned(),
            state: state.to_owned(),
            at: at.map(|at| at.to_string()),
            failure: record.and_then(|record| record.failure.clone()),
        }
    });
    let (state, at) = match rotation.state {
        RotationState::Running => ("running", None),
        RotationState::Waiting { until } => ("waiting", Some(until)),
        RotationState::Done { at } => ("done", Some(at)),
        RotationState::BackedOut { at } => ("backed_out", Some(at)),
    };
    RotationView {
        id: rotation.id.clone(),
        kind: rotation.kind.to_string(),
        target: rotation.target.clone(),
        people: rotation.people.clone(),
        started: rotation.started.to_string(),
        state: state.to_owned(),
        at: at.map(|at| at.to_string()),
        steps: steps.collect(),
        facts: rotation.facts.clone(),
        root_work,
    }
}
