//! The service's own short-lived keys: those that sign OCSP answers, and that of the API door. They are replaced by
//! themselves long before their end; here, at once, because somebody wants it.

use api::rotation::RotationRequest;
use audit::Actor;
use ca::rotation::{Rotation, RotationKind};
use pki::CrlReason;

use super::{Facts, Plan, Procedure, Progress, StepPlan};
use crate::failure::Failure;
use crate::service::Service;
use crate::tls::TlsSource;

const EXCHANGE_SIGNERS: &str = "exchange-signers";
const EXCHANGE_TLS: &str = "exchange-tls";
const RETIRE_TLS: &str = "retire-tls";
/// The certificate that the API door had before.
const BEFORE: &str = "certificate_before";
/// The one that it has now.
const NOW: &str = "certificate";

const SIGNER_STEPS: [StepPlan; 1] = [StepPlan {
    name: EXCHANGE_SIGNERS,
    what: "make a key in memory for each issuer, have the issuer certify it, and sign OCSP answers with it",
}];

const TLS_STEPS: [StepPlan; 2] = [
    StepPlan { name: EXCHANGE_TLS, what: "make a key, have the devices CA certify it, and show it to new connections" },
    StepPlan { name: RETIRE_TLS, what: "revoke the certificate of before as superseded" },
];

/// `cardinal rotate ocsp-signer`.
pub(super) struct OcspSignerRotation;

fn signer_targets(service: &Service, target: &str) -> Vec<String> {
    let authority = service.authority();
    let matches = |id: &str, name: &str| [RotationKind::OcspSigner.name(), id, name].contains(&target);
    let issuers = authority.issuers().filter(|issuer| matches(&issuer.record().id, &issuer.record().name));
    issuers.map(|issuer| issuer.record().id.clone()).collect()
}

impl Procedure for OcspSignerRotation {
    fn kind(&self) -> RotationKind {
        RotationKind::OcspSigner
    }

    fn steps(&self) -> &'static [StepPlan] {
        &SIGNER_STEPS
    }

    fn plan(&self, service: &Service, request: &RotationRequest) -> Result<Plan, Failure> {
        let target = request.target.clone().unwrap_or_else(|| RotationKind::OcspSigner.name().to_owned());
        let issuers = signer_targets(service, &target);
        if issuers.is_empty() {
            let detail =
                format!("there is no issuing CA {target:?}: `cardinal ca list` shows them; without a name all");
            return Err(Failure::new(422, "rotation-target", "No such issuing CA", detail));
        }
        let changes = issuers.iter().map(|id| format!("the OCSP signer of {id} is replaced now")).chain([
            "answers of the signer of before stay good until their nextUpdate; its certificate ends by itself within \
             times.ocsp_signer_life, and carries ocsp-nocheck: nobody asks whether it was revoked"
                .to_owned(),
        ]);
        Ok(Plan {
            changes: changes.collect(),
            relying_systems: vec!["nothing: the signer's certificate comes with each answer".to_owned()],
            target,
            ..Plan::default()
        })
    }

    fn work(&self, service: &Service, rotation: &Rotation, _: &'static str, _: &Actor) -> Result<Progress, Failure> {
        let mut facts = Facts::new();
        for issuer in signer_targets(service, &rotation.target) {
            let serial = service.signers.replace(service, &issuer, service.now())?;
            facts.insert(format!("signer.{issuer}"), serial);
        }
        Ok(Progress::Done(facts))
    }

    fn back_out(&self, _: &Service, _: &Rotation, _: &Actor) -> Result<(), Failure> {
        // A signer that was replaced is a good signer; the one before is gone from memory.
        Ok(())
    }
}

/// `cardinal rotate tls`.
pub(super) struct TlsRotation;

impl Procedure for TlsRotation {
    fn kind(&self) -> RotationKind {
        RotationKind::Tls
    }

    fn steps(&self) -> &'static [StepPlan] {
        &TLS_STEPS
    }

    fn plan(&self, service: &Service, request: &RotationRequest) -> Result<Plan, Failure> {
        super::only_one(request, RotationKind::Tls)?;
        Ok(Plan {
            target: RotationKind::Tls.name().to_owned(),
            changes: vec![
                "the API door gets a new key and certificate; connections that are open stay open".to_owned(),
                "the certificate of before is revoked as superseded".to_owned(),
            ],
            relying_systems: vec!["nothing: stations check the door by the root's certificate".to_owned()],
            facts: Facts::from([(BEFORE.to_owned(), service.tls.serial())]),
            ..Plan::default()
        })
    }

    fn work(
        &self,
        service: &Service,
        rotation: &Rotation,
        step: &'static str,
        actor: &Actor,
    ) -> Result<Progress, Failure> {
        let before = rotation.fact(BEFORE).unwrap_or_default();
        if step == EXCHANGE_TLS {
            // An attempt that was interrupted after the files were written has done it: the next start read them.
            if service.tls.serial() == before {
                let (authority, above) = (service.authority(), service.above_issuing_cas());
                let source = TlsSource {
                    config: &service.config,
                    authority: &authority,
                    store: service.store.as_ref(),
                    above: &above,
                    random: &service.random,
                };
                service.tls.replace(&source, service.now())?;
            }
            return Ok(Progress::Done(Facts::from([(NOW.to_owned(), service.tls.serial())])));
        }
        // All but the one that is shown: an interrupted attempt may have left one more.
        let current = service.tls.serial();
        service.commit(|now| {
            let mut batch = ca::batch(now);
            for stored in ca::service_certificate::usable_service_tls(service.store.as_ref(), now)? {
                if stored.record.id.serial.to_string() != current {
                    let revoked = stored.record.clone().revoke(now, CrlReason::Superseded, None);
                    let revoked = revoked.map_err(ca::Error::from)?;
                    ca::certificate::change(&mut batch, &stored, &revoked, actor, Some(&rotation.id))?;
                }
            }
            Ok((batch, ()))
        })?;
        Ok(Progress::done())
    }

    fn back_out(&self, service: &Service, rotation: &Rotation, _: &Actor) -> Result<(), Failure> {
        if rotation.fact(BEFORE) == Some(service.tls.serial().as_str()) {
            return Ok(());
        }
        Err(super::refused("rotation-too-late", "the API door shows its new certificate: resume the rotation"))
    }
}
