//! The station's own program, a card in a token, and the whole service: also when the station dies between two steps.

use std::path::Path;
use std::sync::Arc;

use api::sessions::SessionReply;
use hsm::{Module, Pin, Signer, TokenSelector};
use pki::KeyType;
use pki::ocsp::CertStatus;
use station::personalise::{Outcome, Report, Steps, quietly, step};
use station::{Card, Client, Error, Personalisation, Purpose, Session, Times, session};
use tests::clock::{days, minutes};
use tests::home::SOFTHSM;
use tests::{Options, World, eventually, isolated};

const PASSCODE: &str = "482915";
const SO_PIN: &str = "73829104";

/// A blank card.
fn blank(label: &str) -> Card {
    let module = Module::load(Path::new(SOFTHSM)).unwrap();
    let serial = station::blank::initialise(&module, label, &Pin::new(SO_PIN), &Pin::new(PASSCODE)).unwrap();
    Card::open(&module, &TokenSelector::Serial(serial), Pin::new(PASSCODE)).unwrap()
}

/// A new connection of the world's station.
fn connect(world: &World) -> Client {
    let key: Arc<dyn Signer> = world.station.key.clone();
    let config = station::tls::card_config(&[world.root()], &world.station.certificate, key).unwrap();
    Client::https(&format!("https://{}", world.config.listen.api), config, Times::default()).unwrap()
}

/// The issuer's session, as the station's program has it.
fn session_of(world: &World) -> Session {
    let session = &world.issuer.session;
    let (token, person) = (session.token.clone(), session.person.clone());
    SessionReply { token, person, expires: String::new() }.into()
}

fn personalisation<'a>(
    client: &'a Client,
    session: Option<&'a Session>,
    card: &'a Card,
    steps: &'a dyn Steps,
) -> Personalisation<'a> {
    Personalisation { client, session, card, key_type: KeyType::P256, steps }
}

/// What the card does for its holder: both certificates on it are good, and each belongs to a key on it.
async fn assert_works(world: &World, card: &Card) {
    assert!(!card.is_unfinished().unwrap());
    let on_card = card.describe().unwrap();
    assert_eq!((on_card.keys.len(), on_card.certificates.len()), (2, 2), "{on_card:?}");
    for purpose in Purpose::ALL {
        let (key, certificate) = card.current(purpose).unwrap();
        let parsed = pki::certificate::ParsedCertificate::from_der(&certificate).unwrap();
        assert_eq!(parsed.public_key(), key.public_key());
        assert_eq!(world.ocsp(&certificate).await, CertStatus::Good);
    }
    let shown = station::operations::show_card(&connect(world), &session_of(world), card.serial()).await.unwrap();
    assert_eq!((shown.state.as_str(), shown.issuance), ("active", None));
    assert_eq!(shown.certificates.iter().filter(|certificate| certificate.state == "good").count(), 2);
}

/// Issues or renews a card by a station that dies after this step, as a process does that is killed.
async fn killed_after(world: &World, card: &Card, holder: Option<&str>, deadly: &'static str) {
    let (client, session, card) = (connect(world), session_of(world), card.clone());
    let holder = holder.map(str::to_owned);
    let dead = tokio::spawn(async move {
        let steps = move |step: &'static str| assert_ne!(step, deadly, "the station is killed here");
        let work = personalisation(&client, Some(&session), &card, &steps);
        match holder {
            Some(holder) => work.issue(&holder).await,
            None => work.renew().await,
        }
    });
    assert!(dead.await.unwrap_err().is_panic());
}

#[test]
fn a_blank_card_becomes_an_operators_and_its_holder_logs_in_with_it() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let card = blank("card");
        let person = world.person().await;
        let (client, session) = (connect(&world), session_of(&world));
        let report = personalisation(&client, Some(&session), &card, &quietly).issue(&person).await.unwrap();
        assert_eq!(report.outcome, Outcome::Confirmed);
        assert_works(&world, &card).await;

        let own = session::login(&client, &card, &world.station.name).await.unwrap();
        assert_eq!(own.person(), person);
        station::operations::report_card_lost(&client, &own, card.serial()).await.unwrap();
        let refused = session::login(&client, &card, &world.station.name).await.unwrap_err();
        assert!(matches!(&refused, Error::Problem(problem) if problem.name() == "login-refused"), "{refused}");
        station::operations::resume_card(&client, &session, card.serial(), "reported_lost").await.unwrap();
        session::login(&client, &card, &world.station.name).await.unwrap();
    });
}

#[test]
fn an_issuance_whose_station_died_after_any_step_is_taken_up_by_its_successor() {
    isolated(async |home| {
        let world = World::new(&home).await;
        for deadly in step::ALL {
            let (card, person) = (blank(deadly), world.person().await);
            killed_after(&world, &card, Some(&person), deadly).await;
            let (client, session) = (connect(&world), session_of(&world));
            let work = personalisation(&client, Some(&session), &card, &quietly);
            let report: Report = work.resume().await.unwrap();
            let expected = match deadly {
                step::KEYS_MADE => Outcome::Discarded,
                step::CONFIRMED => Outcome::Tidied,
                step::TIDIED => Outcome::Nothing,
                _ => Outcome::Confirmed,
            };
            assert_eq!(report.outcome, expected, "{deadly}");
            if deadly == step::KEYS_MADE {
                work.issue(&person).await.unwrap();
            }
            assert_works(&world, &card).await;
            session::login(&client, &card, &world.station.name).await.unwrap();
        }
    });
}

#[test]
fn a_renewal_whose_station_died_after_any_step_never_leaves_the_holder_without_a_card_that_works() {
    isolated(async |home| {
        let mut world = World::with(&home, &Options::short_lived_cards()).await;
        let mut cards = Vec::new();
        for label in step::ALL {
            let (card, person) = (blank(label), world.person().await);
            let (client, session) = (connect(&world), session_of(&world));
            personalisation(&client, Some(&session), &card, &quietly).issue(&person).await.unwrap();
            cards.push(card);
        }
        world.advance(days(35)).await;
        world.login_again().await;
        for (card, deadly) in cards.iter().zip(step::ALL) {
            killed_after(&world, card, None, deadly).await;
            let client = connect(&world);
            session::login(&client, card, &world.station.name)
                .await
                .unwrap_or_else(|error| panic!("{deadly}: {error}"));
            let session = session_of(&world);
            let work = personalisation(&client, Some(&session), card, &quietly);
            work.resume().await.unwrap();
            assert_works(&world, card).await;
            session::login(&client, card, &world.station.name).await.unwrap();
            let renewed = world.certificates();
            let renewed = renewed.iter().filter(|one| one.holder.card() == Some(card.serial())).count();
            assert_eq!(renewed, if deadly == step::KEYS_MADE { 2 } else { 4 }, "{deadly}: never a third pair");
        }
    });
}

#[test]
fn a_station_that_comes_back_too_late_begins_anew() {
    isolated(async |home| {
        let mut world = World::new(&home).await;
        let (card, person) = (blank("card"), world.person().await);
        killed_after(&world, &card, Some(&person), step::READ_BACK).await;
        world.advance(minutes(16)).await;
        world.login_again().await;
        let (client, session) = (connect(&world), session_of(&world));
        let work = personalisation(&client, Some(&session), &card, &quietly);
        eventually("the time-out", async || {
            let shown = station::operations::show_card(&client, &session, card.serial()).await.unwrap();
            shown.issuance.is_none().then_some(())
        })
        .await;
        assert_eq!(work.resume().await.unwrap().outcome, Outcome::Discarded);
        assert_eq!(work.issue(&person).await.unwrap().outcome, Outcome::Confirmed);
        assert_works(&world, &card).await;
    });
}
