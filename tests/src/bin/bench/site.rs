//! The deployment that is measured: its stations, each with one connection that is kept, and its operators.

use std::path::PathBuf;
use std::sync::Arc;

use api::EnrolmentCode;
use api::admin::{CodeReply, OperatorReply, OperatorRequest, StationCodeRequest};
use api::sessions::SessionReply;
use api::stations::EnrolmentReply;
use hsm::Signer;
use serde::de::DeserializeOwned;
use station::{Client, Session, Times};
use tests::card::new_key;
use tests::deployment::{Site, TOP};
use tests::desk::{RaSession, Station, enrolment, post};
use tests::{Ask, Home, Options, PaperCard};

/// How many stations work at the same time.
pub(crate) const STATIONS: usize = 16;
/// How many people the cards are for.
const PEOPLE: usize = 32;
/// The deployment as it ships.
pub(crate) const NAME: &str = "bench";

/// Makes tokens, hierarchy and store.
pub(crate) async fn initialise(home: &Home, options: &Options) -> Site {
    Site::initialised(home, options).await
}

/// Where its configuration is.
pub(crate) fn config_file(home: &Home, name: &str) -> PathBuf {
    home.file(name).join("cardinal.toml")
}

/// A station with an operator at it.
pub(crate) struct Desk {
    /// The station's connection.
    pub(crate) client: Client,
    /// The operator's session.
    pub(crate) session: Session,
}

/// All desks, and the people who are to get cards.
pub(crate) struct Desks {
    /// The desks.
    pub(crate) desks: Vec<Arc<Desk>>,
    people: Vec<String>,
}

async fn code(site: &Site, name: &str) -> EnrolmentCode {
    let request = StationCodeRequest { name: name.to_owned(), organisation: TOP.to_owned() };
    let reply: CodeReply = site.admin().send(Ask::post("/station-codes").json(&request)).await.expect(201).read();
    reply.code.parse().expect("a code")
}

async fn enrol(site: &Site, name: &str) -> Station {
    let (code, key) = (code(site, name).await, new_key());
    let reply = site.anonymous().send(post("/enrolments", &enrolment(&code, name, &key))).await;
    let reply: EnrolmentReply = reply.expect(201).read();
    let certificate = reply.certificate.0;
    let door = site.door_for(&certificate, Arc::clone(&key));
    Station { name: name.to_owned(), deployment: reply.deployment, key, certificate, door }
}

/// An operator's card, made at this station.
async fn operator(site: &Site, station: &Station, role: &str) -> PaperCard {
    let request = OperatorRequest {
        given_name: "Grace".to_owned(),
        family_name: "Operator".to_owned(),
        organisation: TOP.to_owned(),
        role: role.to_owned(),
        witnesses: vec!["First Witness".to_owned(), "Second Witness".to_owned()],
        terms_version: "RA01-2026".to_owned(),
    };
    let reply: OperatorReply = site.admin().send(Ask::post("/operators").json(&request)).await.expect(201).read();
    let code: EnrolmentCode = reply.code.parse().expect("a code");
    station.login_with_code(&code).await.personalise(PaperCard::new(), &reply.user_id).await
}

fn desk(site: &Site, station: &Station, session: RaSession) -> Arc<Desk> {
    let key: Arc<dyn Signer> = station.key.clone();
    let tls = station::tls::card_config(&[site.root()], &station.certificate, key).expect("a TLS configuration");
    let url = format!("https://{}", site.config.listen.api);
    let client = Client::https(&url, tls, Times::default()).expect("a URL");
    let session = SessionReply { token: session.token, person: session.person, expires: String::new() };
    Arc::new(Desk { client, session: session.into() })
}

impl Desks {
    /// Enrols the stations, makes the operators and registers the people.
    pub(crate) async fn open(site: &Site) -> Self {
        let mut stations = Vec::new();
        for number in 0..STATIONS {
            stations.push(enrol(site, &format!("desk-{number}.example")).await);
        }
        let checker = operator(site, &stations[0], "ra_agent").await;
        let issuer = operator(site, &stations[0], "ra_manager").await;
        let checking = stations[0].login(&checker).await;
        let mut people = Vec::new();
        for _ in 0..PEOPLE {
            people.push(checking.active_person("Ada", "Lovelace", TOP).await);
        }
        let mut desks = Vec::new();
        for station in &stations {
            desks.push(desk(site, station, station.login(&issuer).await));
        }
        Desks { desks, people }
    }

    /// Whom the card of this number is for.
    pub(crate) fn holder(&self, number: usize) -> &str {
        &self.people[number % self.people.len()]
    }
}

impl Desk {
    /// Makes a call that must succeed, and gives the body of its answer.
    pub(crate) async fn call(&self, call: station::Call) -> bytes::Bytes {
        let answer = self.client.exchange(call).await.expect("an answer");
        assert!(answer.status.is_success(), "{}: {}", answer.status, String::from_utf8_lossy(&answer.body));
        answer.body
    }

    /// A POST in the operator's session.
    pub(crate) fn post<B: serde::Serialize>(&self, path: &str, body: &B) -> station::Call {
        let call = station::Call::post(tests::desk::path(path), body).expect("a call");
        call.session(&self.session).expect("a session")
    }
}

/// Reads an answer.
pub(crate) fn read<T: DeserializeOwned>(body: &[u8]) -> T {
    serde_json::from_slice(body).expect("what was asked for")
}
