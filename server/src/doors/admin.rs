//! The admin socket: what is done on the server's own machine, by the service's own user or root.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use api::EnrolmentCode;
use api::admin::{
    AuditView, BackupReply, BackupRequest, CodeReply, CrlReply, CrlRequest, CrlStatus, OperatorReply, OperatorRequest,
    OrganisationRequest, StationCodeRequest,
};
use axum::extract::{Query, State};
use axum::routing::{get, post};
use axum::{Extension, Router};
use bytes::Bytes;
use ca::publication::Extent;
use data_encoding::HEXLOWER;
use ocsp_responder::door::{self, Door};
use ra::code::{self, CodeLimits};
use ra::enrolment::{self, FirstOperator};
use ra::organisation::{self, Organisation};
use ra::person::Registration;
use ra::policy::{Permit, operation};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::net::UnixListener;
use tokio::sync::watch;

use crate::caller::json;
use crate::crls::{self, Order, Parts};
use crate::failure::Failure;
use crate::idempotency::Reply;
use crate::service::Service;
use crate::{preview, profiles, status};

/// The account at the other end of the socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Account(u32);

impl Account {
    fn local(self) -> String {
        format!("uid {}", self.0)
    }

    pub(super) fn actor(self) -> audit::Actor {
        audit::Actor { local: Some(self.local()), ..audit::Actor::default() }
    }
}

/// The router of the admin socket.
pub fn router(service: Arc<Service>) -> Router {
    Router::new()
        .route("/status", get(show_status))
        .route("/organisations", post(add_organisation))
        .route("/station-codes", post(station_code))
        .route("/operators", post(operator))
        .route("/crls", post(publish_crls))
        .route("/backup", post(backup))
        .route("/audit", get(audit_records))
        .route("/profiles", get(show_profiles))
        .route("/profiles/preview", post(preview_profile))
        .merge(super::keys::router())
        .merge(super::responders::router())
        .merge(super::rotations::router())
        .fallback(async || Failure::new(404, "not-found", "Not found", "there is no such call on this socket"))
        .with_state(service)
}

async fn show_status(State(service): State<Arc<Service>>) -> Result<Reply, Failure> {
    service.run(|service| Reply::json(200, &status::status(service)?)).await
}

async fn show_profiles(State(service): State<Arc<Service>>) -> Result<Reply, Failure> {
    service.run(|service| Reply::json(200, &profiles::loaded(service))).await
}

async fn preview_profile(State(service): State<Arc<Service>>, body: Bytes) -> Result<Reply, Failure> {
    service.run(move |service| Reply::json(200, &preview::by_service(service, &json(&body)?)?)).await
}

async fn add_organisation(
    State(service): State<Arc<Service>>,
    Extension(account): Extension<Account>,
    body: Bytes,
) -> Result<Reply, Failure> {
    service
        .run(move |service| {
            let request: OrganisationRequest = json(&body)?;
            let organisation = Organisation {
                code: request.code.parse()?,
                name: request.name.clone(),
                parent: request.parent.as_deref().map(str::parse).transpose()?,
            };
            let actor = account.actor();
            let store = service.store.as_ref();
            service.commit(|now| Ok((organisation::add(store, &organisation, &actor, now)?, ())))?;
            Reply::json(201, &request)
        })
        .await
}

pub(super) fn code_text(service: &Service, secret: [u8; code::SECRET_OCTETS]) -> String {
    let mut ca_fingerprint = [0; api::code::PART_OCTETS];
    ca_fingerprint.copy_from_slice(&Sha256::digest(service.root_der())[..api::code::PART_OCTETS]);
    EnrolmentCode { secret, ca_fingerprint }.to_string()
}

pub(super) fn code_limits(service: &Service) -> CodeLimits {
    CodeLimits { life: service.config.times.enrolment_code, open: service.config.limits.enrolment_codes }
}

async fn station_code(
    State(service): State<Arc<Service>>,
    Extension(account): Extension<Account>,
    body: Bytes,
) -> Result<Reply, Failure> {
    service
        .run(move |service| {
            let request: StationCodeRequest = json(&body)?;
            let organisation = request.organisation.parse()?;
            let permit = Permit::<operation::StationEnrol>::on_this_machine(account.local());
            let limits = code_limits(service);
            let (_, (secret, expires)) = service.commit(|now| {
                let (batch, secret, expires) = enrolment::station_code(
                    service.store.as_ref(),
                    &permit,
                    &request.name,
                    &organisation,
                    limits,
                    now,
                    &service.random,
                )?;
                Ok((batch, (secret, expires)))
            })?;
            Reply::json(201, &CodeReply { code: code_text(service, secret), expires: expires.to_string() })
        })
        .await
}

async fn operator(
    State(service): State<Arc<Service>>,
    Extension(account): Extension<Account>,
    body: Bytes,
) -> Result<Reply, Failure> {
    service
        .run(move |service| {
            let request: OperatorRequest = json(&body)?;
            let role = request.role.parse()?;
            let organisation: ra::OdsCode = request.organisation.parse()?;
            // The witnesses' names stand in the person's record: audit records carry no names.
            let permit = Permit::<operation::RoleAppoint>::on_this_machine(account.local());
            let limits = code_limits(service);
            let (_, (person, secret, expires)) = service.commit(|now| {
                let operator = FirstOperator {
                    registration: Registration {
                        given_name: request.given_name.clone(),
                        family_name: request.family_name.clone(),
                        organisation: organisation.clone(),
                    },
                    role,
                    witnesses: request.witnesses.clone(),
                    terms_version: request.terms_version.clone(),
                };
                let store = service.store.as_ref();
                let (batch, person, secret, expires) =
                    enrolment::first_operator(store, &permit, operator, limits, now, &service.random)?;
                Ok((batch, (person, secret, expires)))
            })?;
            let reply = OperatorReply {
                user_id: person.user_id.to_string(),
                code: code_text(service, secret),
                expires: expires.to_string(),
            };
            Reply::json(201, &reply)
        })
        .await
}

async fn publish_crls(
    State(service): State<Arc<Service>>,
    Extension(account): Extension<Account>,
    body: Bytes,
) -> Result<Reply, Failure> {
    service
        .run(move |service| {
            let request: CrlRequest =
                if body.is_empty() { CrlRequest::default() } else { json::<Option<_>>(&body)?.unwrap_or_default() };
            let issuers = issuers_named(service, &request)?;
            let extent = if request.delta { Extent::Deltas } else { Extent::Full };
            // One CA that fails does not keep the others from their CRLs.
            let made: Vec<_> = issuers
                .iter()
                .map(|issuer| {
                    let order = Order { extent, parts: Parts::All, scheduled: false };
                    (issuer, crls::publish(service, issuer, order, &account.actor()))
                })
                .collect();
            let mut published = Vec::new();
            for (issuer, made) in made {
                // A key that was retired since it was listed has published its last.
                if made.is_err() && service.authority().issuer(issuer).is_err() {
                    continue;
                }
                let made = made?;
                published.extend(made.crls.iter().map(|crl| CrlStatus {
                    issuer: crl.name.issuer.clone(),
                    kind: crl.name.kind(),
                    number: made.number,
                    entries: crl.entries,
                    next_update: crl.next_update.to_string(),
                }));
            }
            Reply::json(200, &CrlReply { crls: published })
        })
        .await
}

/// The issuers whose CRLs are asked for.
fn issuers_named(service: &Service, request: &CrlRequest) -> Result<Vec<String>, Failure> {
    let authority = service.authority();
    let named = authority
        .issuers()
        .map(ca::IssuingKey::record)
        .filter(|record| request.name.as_ref().is_none_or(|name| *name == record.name || *name == record.id));
    let named: Vec<_> = named.collect();
    if let (true, Some(name)) = (named.is_empty(), &request.name) {
        let mut known: Vec<&str> = authority.issuers().map(|issuer| issuer.record().name.as_str()).collect();
        known.dedup();
        let detail = format!(
            "there is no issuing CA {name:?}; there are {}. The root's CRL is made with its own token",
            known.join(", ")
        );
        return Err(Failure::new(404, "not-found", "Not found", detail));
    }
    let without = named.iter().find(|record| crls::plan(service, &record.name).delta_interval.is_none());
    if let (true, Some(record)) = (request.delta, without) {
        let detail = format!(
            "{} publishes no delta CRLs: set crl_delta_interval in its [[issuing_ca]], or ask for full ones",
            record.name
        );
        return Err(Failure::new(409, "no-deltas", "There are no delta CRLs", detail));
    }
    Ok(named.into_iter().map(|record| record.id.clone()).collect())
}

async fn backup(
    State(service): State<Arc<Service>>,
    Extension(account): Extension<Account>,
    body: Bytes,
) -> Result<Reply, Failure> {
    service
        .run(move |service| {
            let request: BackupRequest = json(&body)?;
            let path = PathBuf::from(&request.path);
            if !path.is_absolute() {
                return Err(ra::Error::invalid("path", "must be an absolute path on the server's machine").into());
            }
            let summary = write_backup(service, &path)?;
            service.commit(|now| {
                let record = audit::AuditRecord::new(now, account.actor(), "store.backup", audit::Outcome::Done)
                    .fact("sha256", HEXLOWER.encode(&summary.sha256))
                    .fact("feed_sequence", summary.position.sequence);
                let mut batch = ca::batch(now);
                ca::record(&mut batch, &record)?;
                Ok((batch, ()))
            })?;
            let reply = BackupReply {
                path: request.path,
                bytes: summary.bytes,
                rows: summary.frames,
                feed_epoch: summary.position.epoch,
                feed_sequence: summary.position.sequence,
                sha256: HEXLOWER.encode(&summary.sha256),
            };
            Reply::json(201, &reply)
        })
        .await
}

/// Writes beside the target, and renames when it is whole: a backup that has its name is one.
fn write_backup(service: &Service, path: &Path) -> Result<store::BackupSummary, Failure> {
    use std::os::unix::fs::OpenOptionsExt;
    let refuse = |path: &Path, error: &dyn std::fmt::Display| {
        Failure::new(422, "backup", "The backup was not made", format!("{}: {error}", path.display()))
    };
    if path.exists() {
        return Err(refuse(path, &"there is a file of this name already; name another"));
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = path.with_file_name(name);
    let file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part);
    let file = file.map_err(|error| refuse(&part, &error))?;
    let mut out = io::BufWriter::new(file);
    let written =
        service.store.backup(&mut out, &mut |_| {}).map_err(|error| refuse(&part, &error)).and_then(|summary| {
            let file = out.into_inner().map_err(|error| refuse(&part, &error))?;
            file.sync_all().map_err(|error| refuse(&part, &error))?;
            std::fs::rename(&part, path).map_err(|error| refuse(path, &error))?;
            Ok(summary)
        });
    if written.is_err() {
        let _ = std::fs::remove_file(&part);
    }
    written
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AuditPage {
    #[serde(default)]
    from: u64,
    limit: Option<usize>,
}

async fn audit_records(State(service): State<Arc<Service>>, Query(page): Query<AuditPage>) -> Result<Reply, Failure> {
    service
        .run(move |service| {
            let most = service.config.limits.page_max;
            let limit = page.limit.unwrap_or(most).clamp(1, most);
            let mut items = Vec::new();
            for (index, bytes) in service.store.audit(page.from, limit)? {
                items.push(audit_view(index, &bytes)?);
            }
            let end = page.from + items.len() as u64;
            let next = (end < service.store.audit_len()).then(|| end.to_string());
            Reply::json(200, &api::Page { items, next })
        })
        .await
}

fn audit_view(index: u64, bytes: &[u8]) -> Result<AuditView, Failure> {
    let record = audit::AuditRecord::decode(bytes).map_err(Failure::internal)?;
    let outcome = match &record.outcome {
        audit::Outcome::Intent => "intent".to_owned(),
        audit::Outcome::Done => "done".to_owned(),
        audit::Outcome::Refused { rule } => format!("refused: {rule}"),
        audit::Outcome::Failed { cause } => format!("failed: {cause}"),
    };
    Ok(AuditView {
        index,
        time: record.time.to_string(),
        actor: record.actor.to_string(),
        operation: record.operation,
        targets: record.targets.iter().map(|target| format!("{} {}", target.kind, target.id)).collect(),
        outcome,
        facts: record.facts,
        follows: record.follows,
    })
}

/// Opens the socket, readable and writable by its owner only. One that an earlier process left is removed: the store's
/// lock has shown that it is gone.
///
/// # Errors
/// The operating system's.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves the socket until `stop`. Who is neither root nor the service's own user is turned away.
pub async fn run(listener: UnixListener, router: Router, door: Door, stop: watch::Receiver<bool>) {
    let own = rustix::process::geteuid().as_raw();
    let accept = async || {
        let (stream, _) = listener.accept().await?;
        let router = router.clone();
        Ok((None, async move {
            let uid = stream.peer_cred().ok()?.uid();
            if uid != own && uid != 0 {
                tracing::warn!(uid, "the admin socket is for the service's own user and root");
                return None;
            }
            Some((stream, door::by_router(router.layer(Extension(Account(uid))))))
        }))
    };
    door.serve(accept, stop).await;
}
