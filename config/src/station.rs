//! The configuration of a station, `station.toml`: the program beside the card reader. Relative paths are taken from
//! the folder that holds the file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::document::Document;
use crate::error::Error;
use crate::log::{Log, RawLog};
use crate::schema::section;

section! {
    RawStationConfig {
        station: RawStation = RawStation::default(),
        cards: RawCards = RawCards::default(),
        times: RawStationTimes = RawStationTimes::default(),
        log: RawLog = RawLog::default(),
    }
}

section! {
    RawStation {
        name: String = String::new(),
        server: String = "https://127.0.0.1:8443".to_owned(),
        ca_file: String = "root.pem".to_owned(),
        certificate_file: String = "station.pem".to_owned(),
        key_file: String = "station.key".to_owned(),
    }
}

section! {
    RawCards {
        module: String = "/usr/lib/softhsm/libsofthsm2.so".to_owned(),
        token_label: Option<String> = None,
        token_serial: Option<String> = None,
        pin_file: Option<String> = None,
    }
}

section! {
    RawStationTimes {
        connect: String = "5s".to_owned(),
        answer: String = "30s".to_owned(),
    }
}

/// A station's checked configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StationConfig {
    /// The station's name: small letters, digits and hyphens; the dNSName of its certificate.
    pub name: String,
    /// The service's API: `https://…`, no slash at the end.
    pub server: String,
    /// The root certificate (PEM) that the service's certificate must lead to.
    pub ca_file: PathBuf,
    /// The station's own certificate and its chain (PEM).
    pub certificate_file: PathBuf,
    /// The station's private key (PKCS#8, PEM).
    pub key_file: PathBuf,
    /// The cards.
    pub cards: Cards,
    /// How long connecting to the service may take.
    pub connect: Duration,
    /// How long an answer of the service may take.
    pub answer: Duration,
    /// What is logged, and how.
    pub log: Log,
}

/// How cards are reached, and which one is meant when a command names none.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cards {
    /// The PKCS#11 module's shared library.
    pub module: PathBuf,
    /// The card that is meant, if any.
    pub card: Option<CardSelector>,
    /// A file with the card's passcode, for desks without a person, such as tests.
    pub pin_file: Option<PathBuf>,
}

/// One card among those that the module shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CardSelector {
    /// By the token's label.
    Label(String),
    /// By the token's serial number.
    Serial(String),
}

impl StationConfig {
    /// Reads a station's configuration file; the folder that holds it is where relative paths start.
    ///
    /// # Errors
    /// [`Error`], with file, line, key and remedy.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let (path, text) =
            crate::read(path, "give the path of an existing file, or enrol the station with `cardinal station join`")?;
        Self::parse(&text, &path)
    }

    /// Checks a station's configuration text as if it had been read from `origin`.
    ///
    /// # Errors
    /// [`Error`], with file, line, key and remedy.
    pub fn parse(text: &str, origin: &Path) -> Result<Self, Error> {
        let document = Document::parse(text, origin)?;
        let raw: RawStationConfig = document.read()?;
        let base = origin.parent().unwrap_or(Path::new(""));
        Ok(Self {
            name: document.host_name("station.name", &raw.station.name)?,
            server: document.url("station.server", &raw.station.server, "https")?,
            ca_file: document.path("station.ca_file", &raw.station.ca_file, base)?,
            certificate_file: document.path("station.certificate_file", &raw.station.certificate_file, base)?,
            key_file: document.path("station.key_file", &raw.station.key_file, base)?,
            cards: Cards::check(&raw.cards, base, &document)?,
            connect: document.duration("times.connect", &raw.times.connect)?,
            answer: document.duration("times.answer", &raw.times.answer)?,
            log: Log::check(&raw.log, &document)?,
        })
    }
}

impl Cards {
    fn check(raw: &RawCards, base: &Path, document: &Document) -> Result<Self, Error> {
        let card = match (&raw.token_label, &raw.token_serial) {
            (None, None) => None,
            (Some(label), None) => Some(CardSelector::Label(document.token_label("cards.token_label", label)?)),
            // CK_TOKEN_INFO.serialNumber has 16 characters.
            (None, Some(serial)) => Some(CardSelector::Serial(document.line("cards.token_serial", serial, 16)?)),
            (Some(_), Some(_)) => {
                return Err(document.rule_error(
                    "cards.token_serial",
                    "a card is chosen by its label or by its serial number",
                    "remove one of the two",
                ));
            }
        };
        let pin_file = raw.pin_file.as_deref().map(|file| document.path("cards.pin_file", file, base)).transpose()?;
        Ok(Self { module: document.path("cards.module", &raw.module, base)?, card, pin_file })
    }
}
