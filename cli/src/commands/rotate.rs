//! `cardinal rotate`: the plan first, then the rotation; what the root's token has to do is done in this process.

use api::Page;
use api::admin::CrlReply;
use api::rotation::{PeopleRequest, RootWork, RootWorkDone, RotationPlan, RotationRequest, RotationView};
use server::rotation::PresentRoot;

use super::admin::Admin;
use super::{Context, wait};
use crate::args::{RootCommand, RotateArgs, RotateCommand};
use crate::error::Error;
use crate::report;

pub(crate) fn run(context: &Context, command: RotateCommand) -> Result<(), Error> {
    match command {
        RotateCommand::IssuingCa { name, how } => exchange(context, "issuing-ca", Some(name), how),
        RotateCommand::OcspSigner { name, how } => exchange(context, "ocsp-signer", name, how.into()),
        RotateCommand::Tls { how } => exchange(context, "tls", None, how.into()),
        RotateCommand::TokenPin { token, how } => exchange(context, "token-pin", Some(token), how.into()),
        RotateCommand::DataKey { how } => exchange(context, "data-key", None, how.into()),
        RotateCommand::Root { how } => exchange(context, "root", None, how),
        RotateCommand::List => list(context),
        RotateCommand::Resume { id, by } => resume(context, &id, by),
        RotateCommand::BackOut { id, by } => back_out(context, &id, by),
    }
}

/// The plan without --yes; with it, the rotation.
fn exchange(context: &Context, kind: &str, target: Option<String>, how: RotateArgs) -> Result<(), Error> {
    let admin = Admin::of(context)?;
    let request = RotationRequest { kind: kind.to_owned(), target, people: how.by, overlap: how.overlap };
    if !how.yes {
        let plan: RotationPlan = wait(admin.post("/rotations/plan", &request))?;
        report::result(context.format, &plan, plan_text);
        return Ok(());
    }
    // The token first: a rotation is not begun that stops at its second step.
    let plan: RotationPlan = wait(admin.post("/rotations/plan", &request))?;
    let root = if plan.root_token_needed { Some(PresentRoot::open(&context.config()?)?) } else { None };
    let begun: RotationView = wait(admin.post("/rotations", &request))?;
    let ended = with_root(context, &admin, begun, root)?;
    report::result(context.format, &ended, view_text);
    Ok(())
}

/// Does what the root's token is asked for, until nothing is asked any more.
fn with_root(
    context: &Context,
    admin: &Admin,
    mut view: RotationView,
    mut root: Option<PresentRoot>,
) -> Result<RotationView, Error> {
    while let Some(work) = view.root_work.take() {
        let present = match root.take() {
            Some(present) => present,
            None => PresentRoot::open(&context.config()?)?,
        };
        let ceremony = present.perform(&work)?;
        for act in &ceremony.acts {
            report::note(context.format, &format!("root: {act}"));
        }
        let done: RootWorkDone = ceremony.done;
        view = wait(admin.post(&format!("/rotations/{}/root-work", station::path_segment(&view.id)), &done))?;
        root = Some(present);
    }
    Ok(view)
}

/// `cardinal root`.
pub(crate) fn root(context: &Context, command: &RootCommand) -> Result<(), Error> {
    let RootCommand::SignCrl = command;
    let admin = Admin::of(context)?;
    let root = PresentRoot::open(&context.config()?)?;
    let work: RootWork = wait(admin.post("/root-crls", &serde_json::Value::Null))?;
    let ceremony = root.perform(&work)?;
    for act in &ceremony.acts {
        report::note(context.format, &format!("root: {act}"));
    }
    let reply: CrlReply = wait(admin.post("/root-crls/signed", &ceremony.done))?;
    report::result(context.format, &reply, |reply| {
        let rows = reply
            .crls
            .iter()
            .map(|crl| [crl.issuer.clone(), crl.number.to_string(), crl.entries.to_string(), crl.next_update.clone()]);
        report::table(["issuer", "number", "entries", "until"], rows)
    });
    Ok(())
}

fn list(context: &Context) -> Result<(), Error> {
    let page: Page<RotationView> = wait(Admin::of(context)?.get("/rotations"))?;
    report::result(context.format, &page, |page| {
        let rows = page.items.iter().map(|one| {
            let next = one.steps.iter().find(|step| step.state != "done").map(|step| step.name.clone());
            [
                one.id.clone(),
                match &one.at {
                    Some(at) if one.state == "waiting" => format!("waiting until {at}"),
                    _ => one.state.clone(),
                },
                next.unwrap_or_else(|| "-".to_owned()),
                one.started.clone(),
                one.people.join(", "),
            ]
        });
        report::table(["rotation", "state", "next step", "begun", "by"], rows)
    });
    Ok(())
}

fn resume(context: &Context, id: &str, people: Vec<String>) -> Result<(), Error> {
    let admin = Admin::of(context)?;
    let view: RotationView =
        wait(admin.post(&format!("/rotations/{}/resume", station::path_segment(id)), &PeopleRequest { people }))?;
    let ended = with_root(context, &admin, view, None)?;
    report::result(context.format, &ended, view_text);
    Ok(())
}

fn back_out(context: &Context, id: &str, people: Vec<String>) -> Result<(), Error> {
    let admin = Admin::of(context)?;
    let view: RotationView =
        wait(admin.post(&format!("/rotations/{}/back-out", station::path_segment(id)), &PeopleRequest { people }))?;
    report::result(context.format, &view, view_text);
    Ok(())
}

fn plan_text(plan: &RotationPlan) -> String {
    let list = |heading: &str, lines: &[String]| {
        let lines: String = lines.iter().map(|line| format!("  - {line}\n")).collect();
        if lines.is_empty() { String::new() } else { format!("{heading}\n{lines}") }
    };
    let names = (1..=plan.people_needed).map(|_| " --by NAME").collect::<String>();
    let root = if plan.root_token_needed { "The root's token and its PIN file have to be present.\n" } else { "" };
    format!(
        "Rotation of {} {}: the plan; nothing was done.\n\n{}{}{}\n{root}To do it, add{names} --yes\n",
        plan.kind,
        plan.target,
        list("Steps:", &plan.steps),
        list("What changes:", &plan.changes),
        list("What relying systems must fetch:", &plan.relying_systems),
    )
}

fn view_text(view: &RotationView) -> String {
    let rows = view.steps.iter().map(|step| {
        [
            step.name.clone(),
            step.state.clone(),
            step.at.clone().unwrap_or_default(),
            step.failure.clone().unwrap_or_else(|| step.what.clone()),
        ]
    });
    let state = match (&view.at, view.state.as_str()) {
        (Some(at), "waiting") => format!("waits until {at}, and goes on by itself then"),
        (Some(at), state) => format!("{} since {at}", state.replace('_', " ")),
        (None, state) => state.to_owned(),
    };
    format!("{}: {state}\n{}", view.id, report::table(["step", "state", "when", "what"], rows))
}
