//! OCSP responders elsewhere, on the service's own machine.

use api::Page;
use api::admin::CodeReply;
use api::responders::{ResponderCodeRequest, ResponderExpulsionReply, ResponderExpulsionRequest, ResponderView};

use super::admin::Admin;
use super::{Context, wait};
use crate::args::ResponderCommand;
use crate::error::Error;
use crate::report;

pub(crate) fn run(context: &Context, command: ResponderCommand) -> Result<(), Error> {
    let admin = Admin::of(context)?;
    match command {
        ResponderCommand::Enrol { name, signer_keys } => {
            let request = ResponderCodeRequest { name, signer_keys };
            let reply: CodeReply = wait(admin.post("/responder-codes", &request))?;
            report::result(context.format, &reply, |reply| code_text(&request.name, reply));
        }
        ResponderCommand::List => {
            let page: Page<ResponderView> = wait(admin.get("/responders"))?;
            report::result(context.format, &page.items, |list| table(list));
        }
        ResponderCommand::Expel { name, compromised, yes } => {
            let request = ResponderExpulsionRequest { name, compromised, really: yes };
            let reply: ResponderExpulsionReply = wait(admin.post("/responders/expulsions", &request))?;
            report::result(context.format, &reply, expulsion_text);
        }
    }
    Ok(())
}

fn code_text(name: &str, reply: &CodeReply) -> String {
    // The command reads the code from its standard input: an argument is seen by every process.
    let next = format!(
        "\nAt the responder, with the code on standard input:\n  \
         ocsp-responder enrol --server https://HOST:8443 --name {name} --code -\n"
    );
    report::fields(&[("code", reply.code.clone()), ("good until", reply.expires.clone())]) + &next
}

/// The responders as a table, for `cardinal status` too.
pub(crate) fn table(list: &[ResponderView]) -> String {
    let rows = list.iter().map(|one| {
        let state = match (&one.expelled_at, one.connected) {
            (Some(at), _) => format!("expelled {at}"),
            (None, true) => "follows the feed".to_owned(),
            (None, false) => "away".to_owned(),
        };
        let or_dash = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        [
            one.name.clone(),
            state,
            or_dash(one.acknowledged.map(|entry| entry.to_string())),
            or_dash(one.lag_entries.map(|entries| entries.to_string())),
            or_dash(one.lag_ms.map(|millis| format!("{}.{:03} s", millis / 1000, millis % 1000))),
            one.signer_keys.to_string(),
            or_dash(one.certificate_until.clone()),
        ]
    });
    report::table(["responder", "state", "entry", "behind", "for", "signer keys", "certificate until"], rows)
}

fn expulsion_text(reply: &ResponderExpulsionReply) -> String {
    let (did, next) = match reply.done {
        true => ("revoked", String::new()),
        false => (
            "would be revoked",
            format!("\nThis cannot be undone. To do it:\n  cardinal responder expel {} --yes\n", reply.name),
        ),
    };
    let mut text = report::fields(&[
        ("responder", reply.name.clone()),
        ("connections cut off", reply.connections.to_string()),
        (did, reply.certificates.len().to_string()),
    ]);
    for id in &reply.certificates {
        text += &format!("  {id}\n");
    }
    text + &next
}
