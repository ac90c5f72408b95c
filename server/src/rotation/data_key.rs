//! The data key, which the store's sealed tables are encrypted with: a new one is made and used at once, every row is
//! sealed anew while others read and write it, and the old one is deleted when no row needs it.

use std::time::{Duration, Instant};

use api::rotation::RotationRequest;
use audit::Actor;
use ca::rotation::{Rotation, RotationKind};

use super::{Facts, Plan, Procedure, Progress, StepPlan, refused};
use crate::data_keys::{self, DataKeyState};
use crate::failure::Failure;
use crate::service::Service;

/// How long rows are sealed before whoever asked is told that it goes on by itself.
const AT_ONCE: Duration = Duration::from_secs(5);

const MAKE: &str = "make-data-key";
const USE: &str = "use-data-key";
const SEAL: &str = "seal-rows";
const DESTROY: &str = "destroy-data-key";

const STEPS: [StepPlan; 4] = [
    StepPlan { name: MAKE, what: "make a data key, encrypted by the CA token, and keep it in the store" },
    StepPlan { name: USE, what: "seal what is written from now on with the new data key" },
    StepPlan { name: SEAL, what: "seal every row that another data key sealed anew, in portions, while all goes on" },
    StepPlan { name: DESTROY, what: "delete the old data key, once no row is sealed with it" },
];

/// `cardinal rotate data-key`.
pub(super) struct DataKeyRotation;

impl Procedure for DataKeyRotation {
    fn kind(&self) -> RotationKind {
        RotationKind::DataKey
    }

    fn steps(&self) -> &'static [StepPlan] {
        &STEPS
    }

    fn plan(&self, service: &Service, request: &RotationRequest) -> Result<Plan, Failure> {
        super::only_one(request, RotationKind::DataKey)?;
        let current = service.data_keys.store().current();
        Ok(Plan {
            target: RotationKind::DataKey.name().to_owned(),
            changes: vec![
                format!("data key {current} is replaced; people's records and kept answers are sealed anew"),
                "backups made until then need the data key that is in them, and the CA token: they stay readable"
                    .into(),
            ],
            relying_systems: vec!["nothing: no certificate changes".to_owned()],
            ..Plan::default()
        })
    }

    fn work(&self, service: &Service, _: &Rotation, step: &'static str, actor: &Actor) -> Result<Progress, Failure> {
        let keys = &service.data_keys;
        match step {
            MAKE => {
                let number = keys.publish(actor, service.now())?;
                Ok(Progress::Done(Facts::from([("data_key".to_owned(), number.to_string())])))
            }
            USE => {
                keys.activate(actor, service.now())?;
                Ok(Progress::done())
            }
            SEAL => {
                let began = Instant::now();
                while !keys.settle(service.now())? {
                    if began.elapsed() > AT_ONCE {
                        return Ok(Progress::Later { until: service.now(), facts: Facts::new() });
                    }
                }
                Ok(Progress::done())
            }
            _ => {
                keys.destroy_retiring(actor, service.now())?;
                Ok(Progress::done())
            }
        }
    }

    fn back_out(&self, service: &Service, rotation: &Rotation, actor: &Actor) -> Result<(), Failure> {
        let records = data_keys::all(service.store.as_ref())?;
        let number = rotation.fact("data_key").and_then(|number| number.parse().ok());
        let in_use = records.iter().any(|found| {
            Some(found.record.number) == number && matches!(found.record.state, DataKeyState::Active { .. })
        });
        if in_use {
            let detail = "rows are sealed with the new data key already, so it stays: resume the rotation, which harms \
                          nothing, and rotate again if you want another key";
            return Err(refused("rotation-too-late", detail));
        }
        service.data_keys.withdraw(actor, service.now())
    }
}
