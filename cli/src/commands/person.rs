//! People.

use api::people::{PersonRequest, PersonView};
use station::operations;

use super::desk::Desk;
use super::{Context, wait};
use crate::args::PersonCommand;
use crate::error::Error;
use crate::report;

fn text(person: &PersonView) -> String {
    report::fields(&[
        ("user id", person.user_id.clone()),
        ("name", format!("{} {}", person.given_name, person.family_name)),
        ("organisation", person.organisation.clone()),
        ("state", person.state.clone()),
        ("terms", person.terms_version.clone().unwrap_or_else(|| "not accepted".to_owned())),
        ("roles", person.roles.join(", ")),
        ("cards", person.cards.join(", ")),
    ])
}

pub(crate) fn run(context: &Context, command: PersonCommand) -> Result<(), Error> {
    let desk = Desk::open(context)?;
    let client = &desk.client;
    let person = match command {
        PersonCommand::Register { given, family, ods, operator } => {
            wait(desk.as_operator(&operator, async |session| {
                let request = PersonRequest { given_name: given, family_name: family, organisation: ods };
                Ok(operations::register_person(client, session, &request).await?)
            }))?
        }
        PersonCommand::Verify { user_id, documents, operator } => wait(desk.as_operator(&operator, async |session| {
            Ok(operations::check_identity(client, session, &user_id, &documents).await?)
        }))?,
        PersonCommand::AcceptTerms { user_id, terms, operator } => {
            wait(desk.as_operator(&operator, async |session| {
                Ok(operations::accept_terms(client, session, &user_id, &terms).await?)
            }))?
        }
        PersonCommand::Show { user_id, operator } => wait(
            desk.as_operator(&operator, async |session| Ok(operations::show_person(client, session, &user_id).await?)),
        )?,
        PersonCommand::List { after, limit, operator } => {
            let page = wait(desk.as_operator(&operator, async |session| {
                Ok(operations::list_people(client, session, after.as_deref(), limit).await?)
            }))?;
            report::result(context.format, &page, |page| {
                let rows = page.items.iter().map(|one| {
                    [
                        one.user_id.clone(),
                        format!("{} {}", one.given_name, one.family_name),
                        one.organisation.clone(),
                        one.state.clone(),
                        one.cards.join(", "),
                    ]
                });
                let mut text = report::table(["user id", "name", "organisation", "state", "cards"], rows);
                if let Some(next) = &page.next {
                    text += &format!("\nmore: --after {next}\n");
                }
                text
            });
            return Ok(());
        }
    };
    report::result(context.format, &person, text);
    Ok(())
}
