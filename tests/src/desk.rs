//! Who works with a deployment: stations, operators with cards, and what they do day by day.

use std::sync::Arc;

use api::cards::{CancelRequest, CardStatusReply, CardView, HoldRequest, IssuanceKind, IssuanceRequest, IssuanceView};
use api::people::{IdentityCheckRequest, PersonRequest, PersonView, TermsRequest};
use api::sessions::{ChallengeReply, SessionReply, SessionRequest};
use api::stations::{EnrolmentReply, EnrolmentRequest};
use api::{Base64, EnrolmentCode};
use hsm::MemoryKey;
use serde::Serialize;

use crate::card::new_key;
use crate::deployment::TOP;
use crate::{Ask, Deployment, Door, Home, Options, PaperCard, Reply, request};

/// A path of the API.
pub fn path(rest: &str) -> String {
    format!("{}{rest}", api::PREFIX)
}

/// A POST of JSON to a path of the API.
pub fn post<T: Serialize>(rest: &str, body: &T) -> Ask {
    Ask::post(path(rest)).json(body)
}

/// An enrolled station, whose key is in memory.
#[derive(Clone, Debug)]
pub struct Station {
    /// Its name.
    pub name: String,
    /// The deployment's name, as enrolment told it.
    pub deployment: String,
    /// Its key.
    pub key: Arc<MemoryKey>,
    /// Its certificate, DER.
    pub certificate: Vec<u8>,
    /// The API door, with that certificate.
    pub door: Door,
}

/// What enrols a station with this key.
pub fn enrolment(code: &EnrolmentCode, name: &str, key: &MemoryKey) -> EnrolmentRequest {
    EnrolmentRequest { secret: code.secret.to_vec().into(), name: name.to_owned(), request: request::plain(key).into() }
}

impl Deployment {
    /// Tries to enrol a station.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn try_enrol(&self, code: &EnrolmentCode, name: &str) -> (Reply, Arc<MemoryKey>) {
        let key = new_key();
        let reply = self.anonymous().send(post("/enrolments", &enrolment(code, name, &key))).await;
        (reply, key)
    }

    /// Enrols a station.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn enrol(&self, name: &str) -> Station {
        let code = self.station_code(name).await;
        let (reply, key) = self.try_enrol(&code, name).await;
        let reply: EnrolmentReply = reply.expect(201).read();
        let certificate = reply.certificate.0;
        let door = self.door_for(&certificate, Arc::clone(&key));
        Station { name: name.to_owned(), deployment: reply.deployment, key, certificate, door }
    }

    /// An operator of this role in this organisation, with a card, logged in.
    ///
    /// # Panics
    /// When anything of that is refused.
    pub async fn operator(&self, station: &Station, role: &str, organisation: &str) -> Operator {
        let (user_id, code) = self.operator_code(role, organisation).await;
        let card = PaperCard::new();
        let first = station.login_with_code(&code).await;
        let card = first.personalise(card, &user_id).await;
        let session = station.login(&card).await;
        assert_eq!(session.person, user_id);
        Operator { user_id, card, session }
    }
}

impl Station {
    /// Sends a request without a session.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn send(&self, ask: Ask) -> Reply {
        self.door.send(ask).await
    }

    /// Asks for a nonce.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn challenge(&self) -> ChallengeReply {
        self.send(Ask::post(path("/challenges"))).await.expect(201).read()
    }

    /// What logs a card's holder in by this challenge.
    pub fn login_request(&self, card: &PaperCard, challenge: &ChallengeReply) -> SessionRequest {
        SessionRequest::Card {
            nonce: challenge.nonce.clone(),
            certificate: Base64(card.authentication_certificate.clone()),
            signature: Base64(card.sign_login(&challenge.deployment, &challenge.station, &challenge.nonce.0)),
        }
    }

    /// Tries to log a card's holder in.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn try_login(&self, card: &PaperCard) -> Reply {
        let challenge = self.challenge().await;
        self.send(post("/sessions", &self.login_request(card, &challenge))).await
    }

    fn session(&self, reply: &Reply) -> RaSession {
        let reply: SessionReply = reply.clone().expect(201).read();
        RaSession { station: self.clone(), token: reply.token, person: reply.person }
    }

    /// Logs a card's holder in.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn login(&self, card: &PaperCard) -> RaSession {
        self.session(&self.try_login(card).await)
    }

    /// Opens a session by the code of a first card.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn login_with_code(&self, code: &EnrolmentCode) -> RaSession {
        let request = SessionRequest::Code { secret: code.secret.to_vec().into() };
        self.session(&self.send(post("/sessions", &request)).await)
    }

    /// Confirms an issuance with the keys of this card.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn try_confirm(&self, card: &PaperCard, issuance: &IssuanceView) -> Reply {
        let confirmation = card.confirmation(issuance);
        self.send(post(&format!("/issuances/{}/confirmation", issuance.id), &confirmation)).await
    }

    /// The same.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn confirm(&self, card: &PaperCard, issuance: &IssuanceView) -> IssuanceView {
        self.try_confirm(card, issuance).await.expect(200).read()
    }

    /// The issuance that is under way on a card.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn open_issuance(&self, card: &PaperCard) -> Reply {
        self.send(Ask::get(path(&format!("/cards/{}/issuance", card.serial)))).await
    }

    /// Gives an issuance up.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn abort(&self, issuance: &IssuanceView) -> Reply {
        self.send(Ask::post(path(&format!("/issuances/{}/abort", issuance.id)))).await
    }
}

/// An operator's session at a station.
#[derive(Clone, Debug)]
pub struct RaSession {
    /// The station.
    pub station: Station,
    /// The token.
    pub token: String,
    /// The operator's user id.
    pub person: String,
}

impl RaSession {
    /// Sends a request in this session.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn send(&self, ask: Ask) -> Reply {
        self.station.send(ask.session(&self.token)).await
    }

    /// Tries to register a person.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn try_register(&self, given: &str, family: &str, organisation: &str) -> Reply {
        let request = PersonRequest {
            given_name: given.to_owned(),
            family_name: family.to_owned(),
            organisation: organisation.to_owned(),
        };
        self.send(post("/people", &request)).await
    }

    /// Tries to record that a person's identity was checked.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn try_check_identity(&self, user_id: &str) -> Reply {
        let request = IdentityCheckRequest { documents: vec!["passport".to_owned(), "utility_bill".to_owned()] };
        self.send(post(&format!("/people/{user_id}/identity-check"), &request)).await
    }

    /// Tries to record that a person accepted the terms.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn try_accept_terms(&self, user_id: &str) -> Reply {
        let request = TermsRequest { version: "RA01-2026".to_owned() };
        self.send(post(&format!("/people/{user_id}/terms"), &request)).await
    }

    /// Registers a person, checks the identity and records the terms: the user id of somebody who may hold a card.
    ///
    /// # Panics
    /// When anything of that is refused.
    pub async fn active_person(&self, given: &str, family: &str, organisation: &str) -> String {
        let person: PersonView = self.try_register(given, family, organisation).await.expect(201).read();
        self.try_check_identity(&person.user_id).await.expect(200);
        let person: PersonView = self.try_accept_terms(&person.user_id).await.expect(200).read();
        assert_eq!(person.state, "active");
        person.user_id
    }

    /// Tries to set a card aside for a person.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn try_allocate(&self, card: &PaperCard, holder: &str) -> Reply {
        self.send(post("/cards", &card.allocation(holder))).await
    }

    /// Tries to begin an issuance with these requests.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn try_begin(&self, card: &PaperCard, request: &IssuanceRequest) -> Reply {
        self.send(post(&format!("/cards/{}/issuances", card.serial), request)).await
    }

    /// Begins an issuance with the card's own keys: both certificates are pending after that.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn begin(&self, card: &PaperCard, kind: IssuanceKind) -> IssuanceView {
        let issuance: IssuanceView = self.try_begin(card, &card.request(kind)).await.expect(201).read();
        assert_eq!(issuance.state, "pending");
        issuance
    }

    /// Sets a card aside, issues and confirms.
    ///
    /// # Panics
    /// When anything of that is refused.
    pub async fn personalise(&self, card: PaperCard, holder: &str) -> PaperCard {
        self.try_allocate(&card, holder).await.expect(201);
        let issuance = self.begin(&card, IssuanceKind::Issue).await;
        self.station.confirm(&card, &issuance).await;
        card.with_certificates(&issuance)
    }

    /// Renews a card and confirms: the same chip with new keys and certificates.
    ///
    /// # Panics
    /// When anything of that is refused.
    pub async fn renew(&self, card: &PaperCard) -> PaperCard {
        let next = card.with_new_keys();
        let issuance = self.begin(&next, IssuanceKind::Renew).await;
        self.station.confirm(&next, &issuance).await;
        next.with_certificates(&issuance)
    }

    /// A card as the service shows it.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn card(&self, card: &PaperCard) -> CardView {
        self.send(Ask::get(path(&format!("/cards/{}", card.serial)))).await.expect(200).read()
    }

    /// Tries to put a card on hold.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn try_suspend(&self, card: &PaperCard, reason: &str) -> Reply {
        let request = HoldRequest { reason: reason.to_owned() };
        self.send(post(&format!("/cards/{}/suspend", card.serial), &request)).await
    }

    /// Tries to take a card off hold.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn try_resume(&self, card: &PaperCard, reason: &str) -> Reply {
        let request = HoldRequest { reason: reason.to_owned() };
        self.send(post(&format!("/cards/{}/resume", card.serial), &request)).await
    }

    /// Tries to cancel a card.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn try_cancel(&self, card: &PaperCard, cause: &str) -> Reply {
        let request = CancelRequest { cause: cause.to_owned(), compromised_since: None };
        self.send(post(&format!("/cards/{}/cancel", card.serial), &request)).await
    }

    /// Puts a card on hold.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn suspend(&self, card: &PaperCard, reason: &str) -> CardStatusReply {
        self.try_suspend(card, reason).await.expect(200).read()
    }

    /// Takes a card off hold.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn resume(&self, card: &PaperCard, reason: &str) -> CardStatusReply {
        self.try_resume(card, reason).await.expect(200).read()
    }

    /// Cancels a card.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn cancel(&self, card: &PaperCard, cause: &str) -> CardStatusReply {
        self.try_cancel(card, cause).await.expect(200).read()
    }
}

/// An operator with a card, logged in.
#[derive(Clone, Debug)]
pub struct Operator {
    /// The user id.
    pub user_id: String,
    /// The card.
    pub card: PaperCard,
    /// The session.
    pub session: RaSession,
}

impl std::ops::Deref for Operator {
    type Target = RaSession;

    fn deref(&self) -> &RaSession {
        &self.session
    }
}

/// A deployment at work: one station, and the two operators that it takes to give somebody a card.
pub struct World {
    /// The deployment.
    pub deployment: Deployment,
    /// The station.
    pub station: Station,
    /// Registers people and checks identities.
    pub checker: Operator,
    /// Issues cards.
    pub issuer: Operator,
}

impl std::ops::Deref for World {
    type Target = Deployment;

    fn deref(&self) -> &Deployment {
        &self.deployment
    }
}

impl World {
    /// One that is as it ships.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn new(home: &Home) -> Self {
        World::with(home, &Options::default()).await
    }

    /// One that is not as it ships.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn with(home: &Home, options: &Options) -> Self {
        let deployment = Deployment::start_with(home, options).await;
        let station = deployment.enrol("desk-1.example").await;
        let checker = deployment.operator(&station, "ra_agent", TOP).await;
        let issuer = deployment.operator(&station, "ra_manager", TOP).await;
        World { deployment, station, checker, issuer }
    }

    /// Somebody who may hold a card.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn person(&self) -> String {
        self.checker.active_person("Ada", "Lovelace", TOP).await
    }

    /// A card that is set aside for this person.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn allocated(&self, person: &str) -> PaperCard {
        let card = PaperCard::new();
        self.issuer.try_allocate(&card, person).await.expect(201);
        card
    }

    /// A card whose certificates are pending, and its issuance.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn pending(&self, person: &str) -> (PaperCard, IssuanceView) {
        let card = self.allocated(person).await;
        let issuance = self.issuer.begin(&card, IssuanceKind::Issue).await;
        (card.with_certificates(&issuance), issuance)
    }

    /// A card in use by somebody new.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn card(&self) -> PaperCard {
        let person = self.person().await;
        self.issuer.personalise(PaperCard::new(), &person).await
    }

    /// Both operators log in again: after their sessions ended.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn login_again(&mut self) {
        self.checker.session = self.station.login(&self.checker.card).await;
        self.issuer.session = self.station.login(&self.issuer.card).await;
    }

    /// The service stops and starts again.
    ///
    /// # Panics
    /// When it does not.
    pub async fn restart(self) -> Self {
        World { deployment: self.deployment.restart().await, ..self }
    }
}
