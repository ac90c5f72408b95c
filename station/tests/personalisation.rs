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
    async fn new(home: &Home, name: &str) -> Self {
        let service = Service::start(home.file(&format!("{name}.sock")));
        let client = service.client();
        let session = session::login_with_code(&client, &CODE).await.unwrap();
        Desk { service, client, session, card: blank_card(name) }
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
        let desk = Desk::new(&home, "card").await;
        let report = desk.quietly().issue(HOLDER).await.unwrap();
        assert_eq!(report.outcome, Outcome::Confirmed);
        assert_eq!(names(&report), step::ALL);
        assert!(!report.resumed);
        assert_eq!(report.http_requests, 3);
        assert_eq!(report.issuance.as_ref().unwrap().state, "confirmed");
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
        let desk = Desk::new(&home, "card").await;
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
        let desk = Desk::new(&home, "card").await;
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
        let desk = Desk::new(&home, "card").await;
        let empty = session::login(&desk.client, &desk.card, STATION).await.unwrap_err();
        assert!(matches!(empty, Error::CardEmpty { .. }), "{empty}");
        desk.quietly().issue(HOLDER).await.unwrap();
        let session = session::login(&desk.client, &desk.card, STATION).await.unwrap();
        assert_eq!(session.person(), HOLDER);
        assert!(!format!("{session:?}").contains("a-token"));
        let other = session::login(&desk.client, &desk.card, "desk-2").await.unwrap_err();
        assert!(matches!(other, Error::OtherStation { .. }), "{other}");
        session::close(&desk.client, session).await.unwrap();
    });
}

#[test]
fn an_issuance_that_was_killed_after_any_step_is_taken_up() {
    isolated(async |home| {
        for deadly in step::ALL {
            let desk = killed(Desk::new(&home, deadly).await, false, deadly).await;
            let mut report = desk.afterwards().resume().await;
            if deadly == step::CONFIRMED {
                assert!(matches!(report, Err(Error::SessionNeeded { .. })), "{report:?}");
                // The card does for a login already.
                let session = Some(&session::login(&desk.client, &desk.card, STATION).await.unwrap());
                report = Personalisation { session, ..desk.quietly() }.resume().await;
            }
            let report = report.unwrap();
            let expected = match deadly {
                step::KEYS_MADE => Outcome::Discarded,
                step::CONFIRMED => Outcome::Tidied,
                step::TIDIED => Outcome::Nothing,
                _ => Outcome::Confirmed,
            };
            assert_eq!(report.outcome, expected, "{deadly}");
            assert_eq!(report.resumed, deadly != step::TIDIED, "{deadly}");
            if deadly == step::KEYS_MADE {
                assert!(desk.card.describe().unwrap().keys.is_empty());
                desk.quietly().issue(HOLDER).await.unwrap();
            }
            desk.assert_tidy();
            assert_eq!(desk.service.state.lock().unwrap().issuances.len(), 1, "{deadly}");
        }
    });
}

#[test]
fn a_renewal_that_was_killed_after_any_step_leaves_keys_that_work_and_is_taken_up_by_the_next_renewal() {
    isolated(async |home| {
        for deadly in step::ALL {
            let desk = Desk::new(&home, deadly).await;
            desk.quietly().issue(HOLDER).await.unwrap();
            let desk = killed(desk, true, deadly).await;
            desk.card.current(Purpose::Authentication).unwrap();
            session::login(&desk.client, &desk.card, STATION).await.unwrap();

            let report = desk.quietly().renew().await.unwrap();
            let resumed = !matches!(deadly, step::KEYS_MADE | step::TIDIED);
            assert_eq!(report.resumed, resumed, "{deadly}");
            desk.assert_tidy();
            let issuances = desk.service.state.lock().unwrap().issuances.len();
            assert_eq!(issuances, if deadly == step::TIDIED { 3 } else { 2 }, "{deadly}");
        }
    });
}

#[test]
fn a_renewal_that_timed_out_while_the_station_was_down_leaves_the_old_certificates() {
    isolated(async |home| {
        let desk = Desk::new(&home, "card").await;
        desk.quietly().issue(HOLDER).await.unwrap();
        let before = desk.card.describe().unwrap();
        let desk = killed(desk, true, step::SIGNING_WRITTEN).await;
        desk.service.change(|state| {
            let id = state.issuances[1].id.clone();
            state.undo(&id).unwrap();
        });
        let error = desk.afterwards().resume().await.unwrap_err();
        assert!(matches!(error, Error::SessionNeeded { .. }), "{error}");
        let report = desk.quietly().resume().await.unwrap();
        assert_eq!(report.outcome, Outcome::Discarded);
        desk.assert_tidy();
        assert_eq!(desk.card.describe().unwrap(), before);
    });
}

#[test]
fn an_issuance_whose_keys_are_gone_is_given_up() {
    isolated(async |home| {
        let desk = killed(Desk::new(&home, "card").await, false, step::CERTIFICATES_RECEIVED).await;
        desk.card.discard_next().unwrap();
        let report = desk.afterwards().resume().await.unwrap();
        assert_eq!(report.outcome, Outcome::Aborted);
        assert_eq!(desk.service.calls("/abort"), 1);
        assert!(desk.card.describe().unwrap().keys.is_empty());
        desk.quietly().issue(HOLDER).await.unwrap();
        desk.assert_tidy();
    });
}

#[test]
fn an_issuance_that_the_service_is_still_signing_is_waited_for() {
    isolated(async |home| {
        let desk = killed(Desk::new(&home, "card").await, false, step::CERTIFICATES_RECEIVED).await;
        desk.service.change(|state| state.still_reserved = 2);
        assert_eq!(desk.afterwards().resume().await.unwrap().outcome, Outcome::Confirmed);
        desk.assert_tidy();
    });
}

#[test]
fn a_confirmed_card_that_was_suspended_before_it_was_tidied_keeps_its_new_certificates() {
    isolated(async |home| {
        let desk = killed(Desk::new(&home, "card").await, false, step::CONFIRMED).await;
        desk.service.change(|state| {
            let card = state.cards.get_mut(desk.card.serial()).unwrap();
            card.certificates.iter_mut().for_each(|certificate| certificate.state = "on_hold".into());
        });
        assert_eq!(desk.quietly().resume().await.unwrap().outcome, Outcome::Tidied);
        let on_card = desk.card.describe().unwrap();
        assert_eq!((on_card.keys.len(), on_card.certificates.len(), on_card.unfinished), (2, 2, false));
    });
}

#[test]
fn a_refusal_leaves_the_card_to_be_tried_again() {
    isolated(async |home| {
        let desk = Desk::new(&home, "card").await;
        let refused = desk.quietly().renew().await.unwrap_err();
        assert_eq!(refused.problem().unwrap().name(), "wrong-state", "{refused}");
        assert!(refused.to_string().contains("by the test"), "{refused}");
        assert!(desk.card.describe().unwrap().unfinished);
        desk.quietly().issue(HOLDER).await.unwrap();
        desk.assert_tidy();

        let without = Personalisation { session: None, ..desk.quietly() };
        assert_eq!(without.renew().await.unwrap_err().problem().unwrap().status, 401);
        assert!(matches!(desk.quietly().resume().await.unwrap().outcome, Outcome::Discarded));
        desk.assert_tidy();
    });
}

#[test]
fn a_certificate_for_another_key_is_not_written() {
    isolated(async |home| {
        let desk = Desk::new(&home, "card").await;
        desk.quietly().issue(HOLDER).await.unwrap();
        let (key, _) = desk.card.current(Purpose::Authentication).unwrap();
        let (_, other) = desk.card.current(Purpose::Signing).unwrap();
        let error = desk.card.write_certificate(Purpose::Authentication, &key, &other).unwrap_err();
        assert!(matches!(error, Error::Certificate { .. }), "{error}");
        desk.assert_tidy();
    });
}

#[test]
fn keys_that_are_not_the_stations_business_stay_on_the_card() {
    isolated(async |home| {
        let desk = Desk::new(&home, "card").await;
        desk.card.close();
        let module = common::module();
        let passcode = || hsm::Pin::new(common::PASSCODE);
        let selector = hsm::TokenSelector::Label("card".into());
        let options = hsm::TokenOptions { sessions: 1, queue: 1 };
        let token = hsm::Token::open(&module, &selector, passcode(), options).unwrap();
        token.generate_key_pair("somebody else's", &[1], KeyType::P256).unwrap();
        token.close();
        let desk = Desk { card: Card::open(&module, &selector, passcode()).unwrap(), ..desk };
        desk.quietly().issue(HOLDER).await.unwrap();
        desk.quietly().renew().await.unwrap();
        let labels: Vec<_> = desk.card.describe().unwrap().keys.into_iter().map(|key| key.label).collect();
        assert!(labels.contains(&"somebody else's".to_owned()) && labels.len() == 3, "{labels:?}");
    });
}
