//! People's names in the store: sealed with a data key that only the CA token can decrypt.

use std::fs;
use std::path::Path;

use ra::person::{PEOPLE, Person, PersonState};
use server::clock::Clock;
use server::data_keys::{self, DataKeyState};
use store::{Batch, SledStore, Store};
use tests::deployment::TOP;
use tests::desk::path;
use tests::{Ask, Deployment, Home, Options, World, eventually, isolated};

const GIVEN: &str = "Quillan";
const FAMILY: &str = "Featherstonehaugh";

/// Whether any file below the directory holds this text.
fn found_below(dir: &Path, text: &str) -> bool {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).any(|path| {
        if path.is_dir() {
            return found_below(&path, text);
        }
        let content = fs::read(&path).unwrap_or_default();
        content.windows(text.len()).any(|window| window == text.as_bytes())
    })
}

/// A site whose store holds a person as the version before data keys wrote one: in clear.
async fn with_a_person_in_clear(home: &Home) -> (tests::deployment::Site, Person) {
    let site = tests::deployment::Site::initialised(home, &Options::default()).await;
    let person = Person {
        user_id: "555012345678".parse().unwrap(),
        given_name: GIVEN.to_owned(),
        family_name: FAMILY.to_owned(),
        organisation: TOP.parse().unwrap(),
        registered_at: tests::clock::TestClock::default().now(),
        identity: None,
        terms: None,
        state: PersonState::Submitted,
    };
    let store = SledStore::open(&site.config.store.path).unwrap();
    let mut batch = Batch::new(1);
    batch.create(&person).unwrap();
    store.commit(batch).unwrap();
    (site, person)
}

#[test]
fn no_name_of_a_registered_person_is_in_the_data_directory_or_in_a_backup() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let registered = api::people::PersonRequest {
            given_name: GIVEN.to_owned(),
            family_name: FAMILY.to_owned(),
            organisation: TOP.to_owned(),
        };
        // With an idempotency key: its answer, which is kept, has the name too.
        let ask = Ask::post(path("/people")).json(&registered).key("a key of the test's");
        let person: api::people::PersonView = world.issuer.send(ask).await.expect(201).read();
        let backup = home.file("names.backup");
        let request = api::admin::BackupRequest { path: backup.display().to_string() };
        world.admin().send(Ask::post("/backup").json(&request)).await.expect(201);

        let world = world.restart().await;
        let ask = Ask::get(path(&format!("/people/{}", person.user_id)));
        let again: api::people::PersonView = world.issuer.send(ask).await.expect(200).read();
        assert_eq!((again.given_name.as_str(), again.family_name.as_str()), (GIVEN, FAMILY));

        let data = world.config.service.data_dir.clone();
        for name in [GIVEN, FAMILY, "First Witness"] {
            assert!(!found_below(&data, name), "{name} is in the data directory");
            let content = fs::read(&backup).unwrap();
            assert!(!content.windows(name.len()).any(|window| window == name.as_bytes()), "{name} is in the backup");
        }
        // That the search finds what is there: names in card certificates are not sealed.
        assert!(found_below(&data, "Operator ra manager"));
    });
}

#[test]
fn a_store_of_before_is_sealed_in_the_background_and_stays_readable() {
    isolated(async |home| {
        let (site, person) = with_a_person_in_clear(&home).await;
        let deployment = site.start().await;
        let sealed = deployment.service.data_keys.store().clone();
        eventually("a settled data key", async || {
            let records = data_keys::all(sealed.as_ref()).unwrap();
            matches!(records[0].record.state, DataKeyState::Active { settled: Some(_), .. }).then_some(())
        })
        .await;
        assert_eq!(sealed.census(PEOPLE).unwrap(), [(Some(1), 1)].into());
        let found = ra::person::load(sealed.as_ref(), &person.user_id).unwrap();
        assert_eq!(found.record, person);
    });
}

#[test]
fn a_store_whose_data_keys_another_token_encrypted_is_not_opened() {
    isolated(async |home| {
        let deployment = Deployment::start(&home).await;
        let site = deployment.stop().await;
        // As if the store were another deployment's: its data key is encrypted with a key that this token has not.
        let store = SledStore::open(&site.config.store.path).unwrap();
        let record = data_keys::all(&store).unwrap().remove(0);
        let mut foreign = record.record.clone();
        foreign.encrypted[20] ^= 1;
        let mut batch = Batch::new(1);
        batch.update(&record.with(foreign)).unwrap();
        store.commit(batch).unwrap();
        drop(store);
        let Err((_, error)) = site.try_start().await else { panic!("it started") };
        let text = error.to_string();
        assert!(text.contains("data-keys-1") && text.contains("another token"), "{text}");
    });
}
