//! How the service is: each key and certificate of its own, and what keeps it from its work.

use api::admin::{IssuerStatus, StatusReply};
use ca::IssuerState;
use ocsp_responder::Freshness;
use pki::Timestamp;
use pki::certificate::ParsedCertificate;

use crate::crls::CrlName;
use crate::failure::Failure;
use crate::service::Service;
use crate::{crls, inventory, responders, root_crls, rotation};

/// How late a CRL may be before it is a problem.
const OVERDUE: std::time::Duration = std::time::Duration::from_secs(300);

/// What keeps the service from its work, in words; nothing when it is ready.
pub fn problems(service: &Service) -> Vec<String> {
    let now = service.now();
    let mut problems = Vec::new();
    if let Err(error) = service.store.feed_position() {
        problems.push(format!("the store cannot be read: {error}"));
    }
    if let Some(reason) = service.store.failure() {
        problems.push(format!("the store takes no more commits: {reason}"));
    }
    if let Err(error) = service.authority().check_clock(service.store.as_ref(), now) {
        problems.push(error.to_string());
    }
    for state in service.responder.state(now) {
        match state.freshness {
            Freshness::Fresh => {}
            other => problems.push(format!("OCSP status data of {} is {other:?}", state.id).to_lowercase()),
        }
        if state.signer_not_after.is_none_or(|end| end <= now) {
            problems.push(format!("{} has no OCSP signer", state.id));
        }
    }
    for issuer in service.authority().issuers().filter(|issuer| issuer.description().not_after > now) {
        problems.extend(crl_problems(service, &issuer.record().id, &issuer.record().name, now));
    }
    // The root's cannot be renewed here: it is named early, and keeps nothing from its work before it has ended.
    problems.extend(root_crls::ended(service, now));
    problems
}

/// What a person must see to before it becomes a problem, in words.
///
/// # Errors
/// When the store fails.
pub fn warnings(service: &Service) -> Result<Vec<String>, Failure> {
    let mut warnings = rotation::needing_people(service)?;
    warnings.extend(rotation::left_over(service)?);
    warnings.extend(ending_soon(service)?);
    warnings.extend(root_crls::warnings(service, service.now())?);
    warnings.extend(responders::warnings(service));
    Ok(warnings)
}

/// The CA keys in use whose certificate ends within `times.ca_renewal_window`.
fn ending_soon(service: &Service) -> Result<Vec<String>, Failure> {
    let window = service.config.times.ca_renewal_window;
    let mut soon = Vec::new();
    for issuer in ca::issuer::all(service.store.as_ref())? {
        let issues = matches!(issuer.state, IssuerState::Active | IssuerState::Offline);
        let end = ParsedCertificate::from_der(&issuer.certificate_der).map_err(Failure::internal)?.not_after();
        if issues && end < service.now().plus(window) {
            let how = if issuer.is_root() { "root".to_owned() } else { format!("issuing-ca {}", issuer.name) };
            soon.push(format!("the certificate of {} ends at {end}: `cardinal rotate {how}`", issuer.id));
        }
    }
    Ok(soon)
}

/// What is wrong with the CRLs of an issuer: those that it has to have, and the deltas that they name.
fn crl_problems(service: &Service, id: &str, name: &str, now: Timestamp) -> Vec<String> {
    let plan = crls::plan(service, name);
    let mut problems = Vec::new();
    for shard in crls::schedule::parts(service, id, name, now) {
        let full = CrlName { issuer: id.to_owned(), shard, is_delta: false };
        let delta = CrlName { is_delta: true, ..full.clone() };
        for name in [full, delta] {
            let kind =
                if name.is_delta || name.shard.is_some() { format!("CRL ({})", name.kind()) } else { "CRL".into() };
            match service.crls.find(&name) {
                Some(crl) if crl.next_update <= now => problems.push(format!("the {kind} of {id} has ended")),
                Some(crl) if now > crl.this_update.plus(plan.interval_of(&name) + OVERDUE) => {
                    problems.push(format!("the {kind} of {id} is overdue; it ends at {}", crl.next_update));
                }
                Some(_) => {}
                // The first delta comes once time has passed since the first full one.
                None if name.is_delta => {
                    let base = service.crls.find(&CrlName { is_delta: false, ..name.clone() });
                    if plan.delta_interval.is_some()
                        && base.is_some_and(|base| base.names_delta && now > base.this_update.plus(OVERDUE))
                    {
                        problems.push(format!("{id} has no {kind}"));
                    }
                }
                None => problems.push(format!("{id} has no {kind}")),
            }
        }
    }
    problems
}

/// The whole.
///
/// # Errors
/// When the store fails.
pub fn status(service: &Service) -> Result<StatusReply, Failure> {
    let store = service.store.as_ref();
    let position = store.feed_position()?;
    let states = service.responder.state(service.now());
    let mut issuers = Vec::new();
    for record in ca::issuer::all(store)? {
        let certificate = ParsedCertificate::from_der(&record.certificate_der).map_err(Failure::internal)?;
        let crl = service.crls.get(&record.id);
        let subject = certificate.subject().map(ToString::to_string).unwrap_or_default();
        issuers.push(IssuerStatus {
            state: record.state.name().to_owned(),
            subject,
            key_type: certificate.public_key().key_type().to_string(),
            key: format!("token {}, key {}", record.key.token, record.key.label),
            not_before: certificate.not_before().to_string(),
            not_after: certificate.not_after().to_string(),
            crl_number: (record.crl_number > 0).then_some(record.crl_number),
            crl_next_update: crl.map(|crl| crl.next_update.to_string()),
            ocsp_signer_not_after: states
                .iter()
                .find(|state| state.id == record.id)
                .and_then(|state| state.signer_not_after)
                .map(|end| end.to_string()),
            id: record.id,
        });
    }
    let problems = problems(service);
    Ok(StatusReply {
        deployment: service.config.service.name.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ready: problems.is_empty(),
        problems,
        warnings: warnings(service)?,
        feed_epoch: position.epoch,
        feed_sequence: position.sequence,
        audit_records: store.audit_len(),
        tls_not_after: service.tls.not_after().to_string(),
        issuers,
        keys: inventory::list(service)?,
        responders: responders::list(service)?,
        profiles_version: service.authority().profiles().version().to_owned(),
        policy_version: service.policy.version().to_owned(),
    })
}
