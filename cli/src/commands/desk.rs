//! At a station: enrolment, cards in readers, operators' sessions.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use config::{CardSelector, StationConfig};
use serde::Serialize;
use station::enrol::{self, Enrolment};
use station::{Card, Client, Module, Pin, Session, TokenSelector};

use super::{Context, wait};
use crate::args::{OperatorCard, StationCommand, TargetCard};
use crate::error::Error;
use crate::report;

/// A station with its module and its way to the service.
pub(crate) struct Desk {
    pub(crate) station: StationConfig,
    pub(crate) client: Client,
    module: Arc<Module>,
}

fn pin(path: &Path) -> Result<Pin, Error> {
    Ok(Pin::from_file(path).map_err(station::Error::from)?)
}

impl Desk {
    pub(crate) fn open(context: &Context) -> Result<Self, Error> {
        let station = context.station()?;
        let client = Client::for_station(&station)?;
        let module = Module::load(&station.cards.module).map_err(station::Error::from)?;
        Ok(Desk { station, client, module })
    }

    /// The card that is worked on: the one named, or the one in the configuration.
    pub(crate) fn target(&self, card: &TargetCard) -> Result<Card, Error> {
        let selector = match (&card.card, &self.station.cards.card) {
            (Some(label), _) => TokenSelector::Label(label.clone()),
            (None, Some(CardSelector::Label(label))) => TokenSelector::Label(label.clone()),
            (None, Some(CardSelector::Serial(serial))) => TokenSelector::Serial(serial.clone()),
            (None, None) => {
                return Err(Error::Usage(
                    "which card? Name it with --card LABEL, or set cards.token_label in station.toml".to_owned(),
                ));
            }
        };
        let file = card.passcode_file.as_ref().or(self.station.cards.pin_file.as_ref());
        let Some(file) = file else {
            return Err(Error::Usage("the card's passcode is needed: --passcode-file FILE".to_owned()));
        };
        Ok(Card::open(&self.module, &selector, pin(file)?)?)
    }

    /// Does something in a session of the operator whose card is named, and ends the session.
    pub(crate) async fn as_operator<T>(
        &self,
        operator: &OperatorCard,
        work: impl AsyncFnOnce(&Session) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let session = self.session(operator).await?;
        let done = work(&session).await;
        if let Err(error) = station::session::close(&self.client, session).await {
            // It ends by itself after a while; what was done is done.
            tracing::debug!(%error, "the session was not ended");
        }
        done
    }

    /// The session of the operator whose card is named.
    pub(crate) async fn session(&self, operator: &OperatorCard) -> Result<Session, Error> {
        let (Some(label), Some(file)) = (&operator.operator, &operator.operator_passcode_file) else {
            return Err(Error::Usage(
                "an operator's card is needed: --operator LABEL --operator-passcode-file FILE".to_owned(),
            ));
        };
        let card = Card::open(&self.module, &TokenSelector::Label(label.clone()), pin(file)?)?;
        let session = station::session::login(&self.client, &card, &self.station.name).await?;
        // The session does not need the card any longer, and the same card may be the one that is worked on.
        card.close();
        Ok(session)
    }
}

#[derive(Serialize)]
struct Joined {
    name: String,
    deployment: String,
    config: String,
}

pub(crate) fn station(context: &Context, command: StationCommand) -> Result<(), Error> {
    match command {
        StationCommand::Join { server, name, code_file, dir, module, replace } => {
            let code = std::fs::read_to_string(&code_file).map_err(Error::file(&code_file))?;
            let code = code.trim().parse().map_err(|error: api::code::InvalidCode| Error::Usage(error.to_string()))?;
            let enrolment = Enrolment { server, code, name, directory: dir, replace, module };
            let enrolled = wait(async { Ok(enrol::join(&enrolment).await?) })?;
            let joined = Joined {
                name: enrolled.config.name.clone(),
                deployment: enrolled.deployment,
                config: enrolled.config_file.display().to_string(),
            };
            report::result(context.format, &joined, |joined| {
                format!("station {} is enrolled at {}: {}", joined.name, joined.deployment, joined.config)
            });
            Ok(())
        }
        StationCommand::Check => {
            let client = Client::for_station(&context.station()?)?;
            let service = wait(async { Ok(station::operations::service(&client).await?) })?;
            report::result(context.format, &service, |service| {
                report::fields(&[
                    ("deployment", service.deployment.clone()),
                    ("version", service.version.clone()),
                    ("known as", service.station.clone()),
                ])
            });
            Ok(())
        }
        StationCommand::Enrol { name, ods } => super::admin::station_code(context, name, ods),
    }
}

#[derive(Serialize)]
struct Blank {
    label: String,
    serial: String,
}

pub(crate) fn blank_card(
    context: &Context,
    label: &str,
    so_pin_file: &Path,
    passcode_file: &Path,
    module: Option<PathBuf>,
) -> Result<(), Error> {
    let module = match module {
        Some(module) => module,
        None => context.station()?.cards.module,
    };
    let module = Module::load(&module).map_err(station::Error::from)?;
    let serial = station::blank::initialise(&module, label, &pin(so_pin_file)?, &pin(passcode_file)?)?;
    let blank = Blank { label: label.to_owned(), serial };
    report::result(context.format, &blank, |blank| {
        format!("blank card {}, serial number {}", blank.label, blank.serial)
    });
    Ok(())
}
