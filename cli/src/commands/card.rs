//! Cards.

use api::cards::{CancelRequest, CardStatusReply, CardView};
use station::personalise::{Personalisation, Report, quietly};
use station::{KeyType, login, operations};

use super::desk::Desk;
use super::{Context, wait};
use crate::args::{CardCommand, CardKeyType};
use crate::error::Error;
use crate::report;

fn key_type(argument: CardKeyType) -> KeyType {
    match argument {
        CardKeyType::P256 => KeyType::P256,
        CardKeyType::P384 => KeyType::P384,
        CardKeyType::Rsa2048 => KeyType::Rsa2048,
        CardKeyType::Rsa3072 => KeyType::Rsa3072,
    }
}

fn card_text(card: &CardView) -> String {
    let mut state = card.state.clone();
    if !card.holds.is_empty() {
        state += &format!(" ({})", card.holds.join(", "));
    }
    if let Some(cause) = &card.cause {
        state += &format!(" ({cause})");
    }
    let mut text = report::fields(&[
        ("card", card.serial.clone()),
        ("series", card.series.clone()),
        ("holder", card.holder.clone()),
        ("state", state),
    ]);
    let rows = card.certificates.iter().map(|one| {
        let state = match &one.reason {
            Some(reason) => format!("{} ({reason})", one.state),
            None => one.state.clone(),
        };
        [one.profile.clone(), format!("{}/{}", one.issuer, one.serial), state, one.not_after.clone()]
    });
    text += "\n";
    text += &report::table(["profile", "certificate", "state", "until"], rows);
    text
}

fn status_text(reply: &CardStatusReply) -> String {
    let published = &reply.published;
    format!(
        "{}\n\nseen by {} of {} responders (entry {} of the status feed)\n",
        card_text(&reply.card),
        published.seen_by,
        published.responders,
        published.sequence
    )
}

fn personalisation_text(report: &Report) -> String {
    let mut text = format!(
        "card {}: {} in {:.0} ms, {} HTTP requests{}\n",
        report.card,
        serde_json::to_value(report.outcome).ok().and_then(|name| Some(name.as_str()?.to_owned())).unwrap_or_default(),
        report.milliseconds,
        report.http_requests,
        if report.resumed { ", taken up from an earlier attempt" } else { "" }
    );
    if let Some(issuance) = &report.issuance {
        for certificate in [&issuance.authentication, &issuance.signing] {
            text += &format!(
                "  {}  {}/{}  until {}\n",
                certificate.profile, certificate.issuer, certificate.serial, certificate.not_after
            );
        }
    }
    text
}

pub(crate) fn run(context: &Context, command: CardCommand) -> Result<(), Error> {
    let desk = Desk::open(context)?;
    let client = &desk.client;
    let changed = match command {
        CardCommand::Issue { person, code_file, key_type: argument, card, operator } => {
            let done = wait(async {
                let session = match &code_file {
                    Some(path) => {
                        let text = std::fs::read_to_string(path).map_err(Error::file(path))?;
                        let code = text.trim().parse();
                        let code = code.map_err(|error: api::code::InvalidCode| Error::Usage(error.to_string()))?;
                        station::session::login_with_code(client, &code).await?
                    }
                    None => desk.session(&operator).await?,
                };
                let holder = person.unwrap_or_else(|| session.person().to_owned());
                let card = desk.target(&card)?;
                let run = Personalisation {
                    client,
                    session: Some(&session),
                    card: &card,
                    key_type: key_type(argument),
                    steps: &quietly,
                };
                Ok(run.issue(&holder).await?)
            })?;
            report::result(context.format, &done, personalisation_text);
            return Ok(());
        }
        CardCommand::Renew { key_type: argument, card, operator } => {
            let done = wait(desk.as_operator(&operator, async |session| {
                let card = desk.target(&card)?;
                let run = Personalisation {
                    client,
                    session: Some(session),
                    card: &card,
                    key_type: key_type(argument),
                    steps: &quietly,
                };
                Ok(run.renew().await?)
            }))?;
            report::result(context.format, &done, personalisation_text);
            return Ok(());
        }
        CardCommand::Continue { card } => {
            let done = wait(async {
                let card = desk.target(&card)?;
                let key_type = KeyType::P256;
                let run = Personalisation { client, session: None, card: &card, key_type, steps: &quietly };
                Ok(run.resume().await?)
            })?;
            report::result(context.format, &done, personalisation_text);
            return Ok(());
        }
        CardCommand::Read { card } => {
            let card = desk.target(&card)?;
            report::result(context.format, &card.describe()?, |card| {
                let mut text = report::fields(&[
                    ("card", card.serial.clone()),
                    ("label", card.label.clone()),
                    ("series", card.series.clone()),
                    ("unfinished", if card.unfinished { "yes: `cardinal card continue`" } else { "no" }.to_owned()),
                ]);
                let rows = card
                    .certificates
                    .iter()
                    .map(|one| [one.label.clone(), one.subject.clone(), one.not_after.clone().unwrap_or_default()]);
                text += "\n";
                text += &report::table(["certificate", "subject", "until"], rows);
                text
            });
            return Ok(());
        }
        CardCommand::Show { serial, operator } => {
            let card =
                wait(desk.as_operator(&operator, async |session| {
                    Ok(operations::show_card(client, session, &serial).await?)
                }))?;
            report::result(context.format, &card, card_text);
            return Ok(());
        }
        CardCommand::Login { url, ca, card } => {
            let roots = station::tls::certificates(ca.as_deref().unwrap_or(&desk.station.ca_file))?;
            let said = wait(async {
                let card = desk.target(&card)?;
                Ok(login::tls_login(&card, &url, &roots).await?)
            })?;
            report::result(context.format, &said, |said| {
                format!("HTTP {} by {} in {:.0} ms\n{}", said.status, said.tls_version, said.milliseconds, said.body)
            });
            return match said.is_welcome() {
                true => Ok(()),
                false => Err(Error::LoginRefused { status: said.status, body: said.body }),
            };
        }
        CardCommand::Suspend { serial, reason, operator } => wait(desk.as_operator(&operator, async |session| {
            Ok(operations::suspend_card(client, session, &serial, &reason).await?)
        }))?,
        CardCommand::ReportLost { serial, operator } => wait(desk.as_operator(&operator, async |session| {
            Ok(operations::report_card_lost(client, session, &serial).await?)
        }))?,
        CardCommand::Resume { serial, reason, operator } => wait(desk.as_operator(&operator, async |session| {
            Ok(operations::resume_card(client, session, &serial, &reason).await?)
        }))?,
        CardCommand::Cancel { serial, cause, compromised_since, yes, operator } => {
            let request = CancelRequest { cause, compromised_since };
            let done = wait(desk.as_operator(&operator, async |session| {
                if yes {
                    return Ok(Ok(operations::cancel_card(client, session, &serial, &request).await?));
                }
                Ok(Err(operations::show_card(client, session, &serial).await?))
            }))?;
            match done {
                Ok(reply) => reply,
                Err(card) => {
                    report::result(context.format, &card, |card| {
                        format!(
                            "{}\n\nNothing was done. With --yes the card is cancelled ({}), and its certificates are \
                             revoked: that cannot be undone.\n",
                            card_text(card),
                            request.cause
                        )
                    });
                    return Ok(());
                }
            }
        }
    };
    report::result(context.format, &changed, status_text);
    Ok(())
}
