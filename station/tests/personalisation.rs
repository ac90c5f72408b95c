//! Cards get their keys and certificates, whatever happens in between. On SoftHSM.

mod common;

use common::service::{HOLDER, STATION, Service};
use common::{Home, blank_card, isolated};
use pki::KeyType;
use station::personalise::{Outcome, Personalisation, Report, Steps, quietly, step};
use station::{Card, Client, Error, Purpose, Session, session};

const CODE: api::EnrolmentCode = api::EnrolmentCode { secret: [1; 16], ca_fingerprint: [2; 16] };

struct Desk {
    service: Service,
    client: Client,
    session: Session,
    card: Card,
}

impl Desk {
    async fn new(home: &Home) -> Self {
        let service = Service::start(home.file("service.sock"));
        let client = service.client();
        let session = session::login_with_code(&client, &CODE).await.unwrap();
        Desk { service, client, session, card: blank_card("card-1") }
    }

    fn with<'a>(&'a self, key_type: KeyType, steps: &'a dyn Steps) -> Personalisation<'a> {
        let (client, session, card) = (&self.client, Some(&self.session), &self.card);
        Personalisation { client, session, card, key_type, steps }
    }

    fn quietly(&self) -> Personalisation<'_> {
        self.with(KeyType::P256, &quietly)
    }

    /// What a station does after it was killed: it has no session then.
    fn afterwards(&self) -> Personalisation<'_> {
        Personalisation { session: None, ..self.quietly() }
    }

    /// The card has one key and certificate for each purpose, those that are good at the service, and nothing else.
    fn assert_tidy(&self) {
        let on_card = self.card.describe().unwrap();
        assert!(!on_card.unfinished, "{on_card:?}");
        let mut labels: Vec<_> = on_card.keys.iter().map(|key| key.label.as_str()).collect();
        labels.sort_unstable();
        assert_eq!(labels, ["authentication", "signing"]);
        let mut held: Vec<_> = on_card.certificates.iter().filter_map(|found| found.serial.clone()).collect();
        let known = self.service.card(self.card.serial());
        let good = known.certificates.iter().filter(|certificate| certificate.state == "good");
        let mut good: Vec<_> = good.map(|certificate| certificate.serial.clone()).collect();
        held.sort_unstable();
        good.sort_unstable();
        assert_eq!(held, good);
        assert_eq!(good.len(), 2);
        assert_eq!(known.state, "active");
    }
}

/// Ends the task at one step, as a killed process would.
fn dying_at(deadly: &'static str) -> impl Steps {
    move |step: &'static str| assert_ne!(step, deadly, "the station is killed here")
}

/// Runs a personalisation that is killed after a step.
async fn killed(desk: Desk, renew: bool, deadly: &'static str) -> Desk {
    let desk = std::sync::Arc::new(desk);
    let running = std::sync::Arc::clone(&desk);
    let task = tokio::spawn(async move {
        let steps = dying_at(deadly);
        let personalisation = running.with(KeyType::P256, &steps);
        if renew { personalisation.renew().await } else { personalisation.issue(HOLDER).await }
    });
    assert!(task.await.unwrap_err().is_panic());
    let desk = std::sync::Arc::into_inner(desk).unwrap();
    // The killed process's connection is gone, and its successor has a new one.
    Desk { client: desk.service.client(), ..desk }
}

fn names(report: &Report) -> Vec<&str> {
    report.steps.iter().map(|step| step.step).collect()
}

#[test]
fn a_blank_card_becomes_good_by_its_two_confirmed_keys() {
    isolated(async |home| {
        let desk = Desk::new(&home).await;
        let report = desk.quietly().issue(HOLDER).await.unwrap();
        assert_eq!(report.outcome, Outcome::Confirmed);
        assert_eq!(names(&report), step::ALL);
        assert!(!report.resumed);
        assert_eq!(report.http_requests, 3);
        desk.assert_tidy();
        let known = desk.service.card(desk.card.serial());
        assert_eq!((known.holder.as_str(), known.series.as_str()), (HOLDER, "SoftHSM v2"));
        let on_card = desk.card.describe().unwrap();
        for certificate in &on_card.certificates {
            assert_eq!(certificate.user_id.as_deref(), Some(HOLDER));
            assert_eq!(certificate.label, certificate.purpose.unwrap().label());
        }
        serde_json::to_string(&(report, on_card)).unwrap();
    });
}

#[test]
fn a_renewal_replaces_both_keys_and_deletes_the_old_ones() {
    isolated(async |home| {
        let desk = Desk::new(&home).await;
        desk.quietly().issue(HOLDER).await.unwrap();
        let before = desk.card.describe().unwrap();
        let report = desk.quietly().renew().await.unwrap();
        assert_eq!((report.outcome, names(&report).len()), (Outcome::Confirmed, 7));
        desk.assert_tidy();
        let after = desk.card.describe().unwrap();
        assert!(before.keys.iter().all(|key| !after.keys.contains(key)));
    });
}

#[test]
fn cards_with_other_keys_are_personalised_as_well() {
    isolated(async |home| {
        let desk = Desk::new(&home).await;
        desk.with(KeyType::P384, &quietly).issue(HOLDER).await.unwrap();
        desk.assert_tidy();
        desk.with(KeyType::Rsa2048, &quietly).renew().await.unwrap();
        desk.assert_tidy();
        assert!(desk.card.describe().unwrap().keys.iter().all(|key| key.key_type == "RSA-2048"));
    });
}

#[test]
fn an_operator_logs_in_with_a_card() {
    isolated(async |home| {
        let desk = Desk::new(&home).await;
        let empty = session::login(&desk.client, &desk.card, STATION).await.unwrap_err();
        assert!(matches!(empty, Error::CardEmpty { .. }), "{empty}");
        desk.quietly().issue(HOLDER).await.unwrap();
        let session = session::login(&desk.client, &desk.card, STATION).await.unwrap();
        assert_eq!(session.person(), HOLDER);
        assert!(!format!("{session:?}").contains("a-token"));
        let other = session::login(&desk.client, &desk.card, "desk-2").await.unwrap_err();
        assert!(matches!(other, Error::OtherStation { .. }), "{other}");
    });
}

#[test]
fn an_issuance_that_was_killed_after_any_step_is_taken_up() {
    isolated(async |home| {
        for (number, deadly) in step::ALL.into_iter().enumerate() {
            let mut desk = Desk::new(&home).await;
            std::fs::remove_file(home.file("service.sock")).unwrap();
            desk.card.close();
            desk.card = blank_card(&format!("card-{deadly}"));
            let desk = killed(desk, false, deadly).await;
            // The listener still has the socket that was unlinked; a connection is what is left of it.
            let report = desk.reconnected(&home, number).resume().await.unwrap();
            let expected = match deadly {
                step::KEYS_MADE => Outcome::Discarded,
                step::CONFIRMED => Outcome::Tidied,
                step::TIDIED => Outcome::Nothing,
                _ => Outcome::Confirmed,
            };
            assert_eq!(report.outcome, expected, "{deadly}");
            if deadly == step::KEYS_MADE {
                assert!(desk.card.describe().unwrap().keys.is_empty());
                desk.quietly().issue(HOLDER).await.unwrap();
            }
            desk.assert_tidy();
            desk.card.close();
        }
    });
}
