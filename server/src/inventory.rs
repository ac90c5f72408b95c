//! Each key, certificate, CRL and PIN of the service: where it is, since when, until when, what comes next, and what a
//! person has to do by when. Nothing secret is in it.

use std::path::Path;
use std::time::Duration;

use api::admin::KeyStatus;
use ca::{IssuerRecord, IssuerState};
use hsm::PinFile;
use pki::Timestamp;
use pki::certificate::ParsedCertificate;

use crate::data_keys::{self, DataKeyState};
use crate::failure::Failure;
use crate::service::Service;

/// How long before the end of the root's CRL its token has to be fetched.
const ROOT_CRL_NOTICE: Duration = Duration::from_secs(60 * 86_400);
/// How many stations are read at a time.
const PAGE: usize = 500;

/// Everything, in the order in which it is shown.
///
/// # Errors
/// When the store fails.
pub(crate) fn list(service: &Service) -> Result<Vec<KeyStatus>, Failure> {
    let issuers = ca::issuer::all(service.store.as_ref())?;
    let mut list = Vec::new();
    for issuer in &issuers {
        list.push(ca_key(service, issuer)?);
    }
    list.extend(issuers.iter().filter_map(|issuer| crl(service, issuer)));
    list.extend(issuers.iter().filter_map(|issuer| ocsp_signer(service, issuer)));
    list.push(tls(service));
    list.extend(data_keys(service)?);
    list.extend([pin(service, &service.config.hsm.ca, true), pin(service, &service.config.hsm.root, false)]);
    list.extend(stations(service)?);
    Ok(list)
}

fn at(time: Timestamp) -> Option<String> {
    Some(time.to_string())
}

fn ca_key(service: &Service, issuer: &IssuerRecord) -> Result<KeyStatus, Failure> {
    let certificate = ParsedCertificate::from_der(&issuer.certificate_der).map_err(Failure::internal)?;
    let end = certificate.not_after();
    let due = end.minus(service.config.times.ca_renewal_window);
    let command = if issuer.is_root() {
        "cardinal rotate root".to_owned()
    } else {
        format!("cardinal rotate issuing-ca {}", issuer.name)
    };
    let mut status = KeyStatus {
        what: format!("CA key {}", issuer.id),
        place: format!("token {}, key {}", issuer.key.token, issuer.key.label),
        state: issuer.state.name().to_owned(),
        since: at(certificate.not_before()),
        until: at(end),
        ..KeyStatus::default()
    };
    match issuer.state {
        IssuerState::Published { active_from } => {
            status.next = Some("takes the place of the key before it".to_owned());
            status.next_at = at(active_from);
        }
        IssuerState::StatusOnly => {
            status.next = Some("retires when its last certificate has expired".to_owned());
            status.next_at = issuer.retire_from.and_then(at);
        }
        IssuerState::Active | IssuerState::Offline => {
            status.act = Some(command);
            status.act_by = at(due);
        }
        IssuerState::Retired => {}
    }
    Ok(status)
}

fn crl(service: &Service, issuer: &IssuerRecord) -> Option<KeyStatus> {
    if !issuer.is_in_use() {
        return None;
    }
    let what = format!("CRL of {}", issuer.id);
    let Some(crl) = service.crls.get(&issuer.id) else {
        return Some(KeyStatus { what, state: "missing".to_owned(), ..KeyStatus::default() });
    };
    let state = if crl.next_update > service.now() { "good" } else { "ended" };
    let mut status = KeyStatus {
        what,
        place: format!("{}/crl/{}.crl", service.authority().urls().base, issuer.id),
        state: state.to_owned(),
        since: at(crl.this_update),
        until: at(crl.next_update),
        ..KeyStatus::default()
    };
    if issuer.is_root() {
        status.act = Some("cardinal root sign-crl, with the root's token".to_owned());
        status.act_by = at(crl.next_update.minus(ROOT_CRL_NOTICE));
    } else {
        let times = &service.config.times;
        let interval = service.config.issuing_ca(&issuer.name).map_or(times.crl_interval, |ca| ca.crl_interval);
        status.next = Some("the next one, by itself".to_owned());
        status.next_at = at(crl.this_update.plus(interval));
    }
    Some(status)
}

fn ocsp_signer(service: &Service, issuer: &IssuerRecord) -> Option<KeyStatus> {
    let states = service.responder.state(service.now());
    let state = states.into_iter().find(|state| state.id == issuer.id)?;
    let due = service.signers.due(&issuer.id);
    Some(KeyStatus {
        what: format!("OCSP signer of {}", issuer.id),
        place: "memory".to_owned(),
        state: if state.signer_not_after.is_some() { "active" } else { "missing" }.to_owned(),
        until: state.signer_not_after.and_then(at),
        next: Some("a new one, by itself".to_owned()),
        next_at: due.and_then(at),
        ..KeyStatus::default()
    })
}

fn tls(service: &Service) -> KeyStatus {
    let end = service.tls.not_after();
    KeyStatus {
        what: "TLS certificate of the API".to_owned(),
        place: service.config.service.data_dir.join("tls").display().to_string(),
        state: "active".to_owned(),
        since: at(service.tls.not_before()),
        until: at(end),
        next: Some("a new one, by itself".to_owned()),
        next_at: at(end.minus(service.config.times.service_renewal_window)),
        ..KeyStatus::default()
    }
}

fn data_keys(service: &Service) -> Result<Vec<KeyStatus>, Failure> {
    let mut list = Vec::new();
    for found in data_keys::all(service.store.as_ref())? {
        let record = found.record;
        let mut status = KeyStatus {
            what: format!("data key {}", record.number),
            place: format!("store, encrypted by token {}, key {}", record.token, record.encrypted_with),
            state: record.state.name().to_owned(),
            since: at(record.made_at),
            ..KeyStatus::default()
        };
        match record.state {
            DataKeyState::Destroyed { .. } => continue,
            DataKeyState::Active { settled: None, .. } => {
                status.next = Some("rows that are not sealed with it are sealed, by itself".to_owned());
            }
            DataKeyState::Active { .. } => {}
            DataKeyState::Published | DataKeyState::Retiring { .. } => {
                status.act = Some("its rotation is not finished: cardinal rotate list".to_owned());
            }
        }
        list.push(status);
    }
    Ok(list)
}

/// When a file was written last.
fn written(path: &Path) -> Option<Timestamp> {
    let time = std::fs::metadata(path).ok()?.modified().ok()?;
    let since = time.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(Timestamp::from_unix_millis(i64::try_from(since.as_millis()).ok()?))
}

fn pin(service: &Service, token: &config::Token, in_use: bool) -> KeyStatus {
    let file = PinFile::new(&token.pin_file);
    let since = written(file.path());
    let mut status = KeyStatus {
        what: format!("PIN of token {}", token.label),
        place: file.path().display().to_string(),
        state: match (in_use, since.is_some()) {
            (true, true) => "active",
            (true, false) => "in memory only",
            (false, true) => "on this machine",
            (false, false) => "not on this machine",
        }
        .to_owned(),
        since: since.and_then(at),
        ..KeyStatus::default()
    };
    if file.next_path().exists() {
        status.state = "change under way".to_owned();
        status.act = Some("its change is not finished: cardinal rotate list".to_owned());
    } else if in_use && since.is_none() {
        status.act =
            Some(format!("put the PIN file back: without it the next start of {} fails", service.config.service.name));
        status.act_by = at(service.now());
    } else if !in_use && since.is_some() {
        status.act = Some("take the root's token and its PIN files off this machine".to_owned());
    }
    status
}

/// The stations' certificates together, by the one that ends first.
fn stations(service: &Service) -> Result<Option<KeyStatus>, Failure> {
    let (store, now) = (service.store.as_ref(), service.now());
    let (mut good, mut first): (usize, Option<(Timestamp, String)>) = (0, None);
    let mut after: Option<String> = None;
    loop {
        let page = ra::enrolment::stations(store, after.as_deref(), PAGE)?;
        let Some(last) = page.last() else { break };
        after = Some(last.name.clone());
        for station in page {
            let record = ca::certificate::load(store, &station.certificate)?.record;
            if record.is_usable(now) {
                good += 1;
                if first.as_ref().is_none_or(|(end, _)| record.not_after < *end) {
                    first = Some((record.not_after, station.name));
                }
            }
        }
    }
    let Some((end, name)) = first else { return Ok(None) };
    Ok(Some(KeyStatus {
        what: "station certificates".to_owned(),
        place: format!("at {good} stations; the times are those of the one that ends first"),
        state: "active".to_owned(),
        until: at(end),
        act: Some(format!("a new code for station {name}, and `cardinal station join --replace` there")),
        act_by: at(end.minus(service.config.times.station_renewal_window)),
        ..KeyStatus::default()
    }))
}
