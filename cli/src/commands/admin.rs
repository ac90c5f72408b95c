//! What is done on the service's own machine, through its socket.

use std::path::Path;

use api::Page;
use api::admin::{
    AuditView, BackupReply, BackupRequest, CodeReply, CrlReply, CrlRequest, OperatorReply, OperatorRequest,
    OrganisationRequest, StationCodeRequest, StatusReply,
};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde::de::DeserializeOwned;
use station::{Call, Client, Times};

use super::{Context, wait};
use crate::args::{AuditCommand, CaCommand, OperatorCommand, OrganisationCommand};
use crate::error::Error;
use crate::report;

/// A client of the socket of the service that this configuration is for.
pub(crate) struct Admin {
    client: Client,
    socket: std::path::PathBuf,
    config: std::path::PathBuf,
}

impl Admin {
    pub(crate) fn of(context: &Context) -> Result<Self, Error> {
        let config = context.config()?;
        // A backup of a large store takes a while.
        let times = Times { answer: std::time::Duration::from_secs(3600), ..Times::default() };
        let socket = config.listen.admin_socket.clone();
        Ok(Admin { client: Client::unix(&socket, times), socket, config: context.config.clone() })
    }

    fn explain(&self, error: station::Error) -> Error {
        match error {
            station::Error::Connect { .. } => {
                Error::NotRunning { socket: self.socket.clone(), config: self.config.clone(), source: error }
            }
            other => other.into(),
        }
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        self.client.send(Call::get(path)).await.map_err(|error| self.explain(error))
    }

    pub(crate) async fn post<B: Serialize, T: DeserializeOwned>(&self, path: &str, body: &B) -> Result<T, Error> {
        self.client.send(Call::post(path, body)?).await.map_err(|error| self.explain(error))
    }
}

pub(crate) fn status(context: &Context) -> Result<(), Error> {
    let admin = Admin::of(context)?;
    let status: StatusReply = wait(admin.get("/status"))?;
    report::result(context.format, &status, |status| {
        let mut text = report::fields(&[
            ("deployment", status.deployment.clone()),
            ("version", status.version.clone()),
            ("ready", if status.ready { "yes".to_owned() } else { format!("no: {}", status.problems.join("; ")) }),
            ("to see to", if status.warnings.is_empty() { "-".to_owned() } else { status.warnings.join("; ") }),
            ("status feed", format!("epoch {}, entry {}", status.feed_epoch, status.feed_sequence)),
            ("audit records", status.audit_records.to_string()),
            ("API certificate", format!("until {}", status.tls_not_after)),
            ("profiles", status.profiles_version.clone()),
            ("policy", status.policy_version.clone()),
        ]);
        text += "\n";
        text += &keys(status);
        text += "\n";
        text += &super::responder::table(&status.responders);
        text
    });
    Ok(())
}

/// A time without fractions of a second.
fn short(time: &Option<String>) -> String {
    match time {
        Some(time) => time.split_once('.').map_or(time.clone(), |(whole, _)| format!("{whole}Z")),
        None => "-".to_owned(),
    }
}

fn keys(status: &StatusReply) -> String {
    let rows = status.keys.iter().map(|one| {
        let next = one.next.as_ref().map(|next| match &one.next_at {
            Some(_) => format!("{next}, {}", short(&one.next_at)),
            None => next.clone(),
        });
        let act = one.act.as_ref().map(|act| match &one.act_by {
            Some(_) => format!("by {}: {act}", short(&one.act_by)),
            None => act.clone(),
        });
        [
            one.what.clone(),
            one.state.clone(),
            one.place.clone(),
            short(&one.since),
            short(&one.until),
            next.unwrap_or_else(|| "-".to_owned()),
            act.unwrap_or_else(|| "-".to_owned()),
        ]
    });
    report::table(["what", "state", "where", "since", "until", "next, by itself", "for a person to do"], rows)
}

fn issuers(status: &StatusReply) -> String {
    let or_none = |value: &Option<String>| value.clone().unwrap_or_else(|| "-".to_owned());
    let rows = status.issuers.iter().map(|one| {
        [
            one.id.clone(),
            one.state.clone(),
            one.key_type.clone(),
            one.key.clone(),
            one.not_after.clone(),
            one.crl_number.map_or_else(|| "-".to_owned(), |number| number.to_string()),
            or_none(&one.crl_next_update),
            or_none(&one.ocsp_signer_not_after),
        ]
    });
    report::table(["issuer", "state", "key", "where", "until", "CRL", "CRL until", "OCSP signer until"], rows)
}

pub(crate) fn organisation(context: &Context, command: OrganisationCommand) -> Result<(), Error> {
    let OrganisationCommand::Add { code, name, parent } = command;
    let admin = Admin::of(context)?;
    let request = OrganisationRequest { code, name, parent };
    let added: OrganisationRequest = wait(admin.post("/organisations", &request))?;
    report::result(context.format, &added, |added| format!("{} {}", added.code, added.name));
    Ok(())
}

pub(crate) fn operator(context: &Context, command: OperatorCommand) -> Result<(), Error> {
    let OperatorCommand::Enrol { given, family, ods, role, witnesses, terms } = command;
    let admin = Admin::of(context)?;
    let request = OperatorRequest {
        given_name: given,
        family_name: family,
        organisation: ods,
        role,
        witnesses,
        terms_version: terms,
    };
    let reply: OperatorReply = wait(admin.post("/operators", &request))?;
    report::result(context.format, &reply, |reply| {
        report::fields(&[
            ("user id", reply.user_id.clone()),
            ("first-card code", reply.code.clone()),
            ("good until", reply.expires.clone()),
        ]) + "\nAt a station: write the code into a file, and `cardinal card issue --code-file FILE --card LABEL`\n"
    });
    Ok(())
}

pub(crate) fn station_code(context: &Context, name: String, organisation: String) -> Result<(), Error> {
    let admin = Admin::of(context)?;
    let request = StationCodeRequest { name, organisation };
    let reply: CodeReply = wait(admin.post("/station-codes", &request))?;
    report::result(context.format, &reply, |reply| {
        report::fields(&[("code", reply.code.clone()), ("good until", reply.expires.clone())])
            + &format!(
                "\nAt the station: write the code into a file, and\n  cardinal station join --server https://HOST:8443 \
                 --name {} --code-file FILE --dir DIR\n",
                request.name
            )
    });
    Ok(())
}

pub(crate) fn ca(context: &Context, command: &CaCommand) -> Result<(), Error> {
    let admin = Admin::of(context)?;
    match command {
        CaCommand::List => {
            let status: StatusReply = wait(admin.get("/status"))?;
            report::result(context.format, &status.issuers, |_| issuers(&status));
        }
        CaCommand::PublishCrl { name, delta } => {
            let request = CrlRequest { name: name.clone(), delta: *delta };
            let reply: CrlReply = wait(admin.post("/crls", &request))?;
            report::result(context.format, &reply, |reply| {
                let rows = reply.crls.iter().map(|crl| {
                    [
                        crl.issuer.clone(),
                        crl.kind.clone(),
                        crl.number.to_string(),
                        crl.entries.to_string(),
                        crl.next_update.clone(),
                    ]
                });
                report::table(["issuer", "kind", "number", "entries", "until"], rows)
            });
        }
    }
    Ok(())
}

pub(crate) fn audit(context: &Context, command: &AuditCommand) -> Result<(), Error> {
    let AuditCommand::List { from, limit } = command;
    let admin = Admin::of(context)?;
    let page: Page<AuditView> = wait(admin.get(&format!("/audit?from={from}&limit={limit}")))?;
    report::result(context.format, &page, |page| {
        let rows = page.items.iter().map(|one| {
            [
                one.index.to_string(),
                one.time.clone(),
                one.actor.clone(),
                one.operation.clone(),
                one.targets.join(", "),
                one.outcome.clone(),
            ]
        });
        let mut text = report::table(["#", "time", "who", "what", "to what", "outcome"], rows);
        if let Some(next) = &page.next {
            text += &format!("\nmore: --from {next}\n");
        }
        text
    });
    Ok(())
}

pub(crate) fn backup(context: &Context, file: &Path) -> Result<(), Error> {
    let admin = Admin::of(context)?;
    let path = std::path::absolute(file).map_err(Error::file(file))?;
    let request = BackupRequest { path: path.display().to_string() };
    let progress = ProgressBar::new_spinner().with_message("writing the backup");
    progress.set_style(
        ProgressStyle::with_template("{spinner} {msg}, {elapsed}").unwrap_or(ProgressStyle::default_spinner()),
    );
    progress.enable_steady_tick(std::time::Duration::from_millis(200));
    let reply = wait(admin.post::<_, BackupReply>("/backup", &request));
    progress.finish_and_clear();
    report::result(context.format, &reply?, |reply| {
        report::fields(&[
            ("backup", reply.path.clone()),
            ("bytes", reply.bytes.to_string()),
            ("status feed", format!("epoch {}, entry {}", reply.feed_epoch, reply.feed_sequence)),
            ("SHA-256", reply.sha256.clone()),
        ]) + "\nIt holds no private keys: keep a copy of the tokens beside it.\n"
    });
    Ok(())
}
