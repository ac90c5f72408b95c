//! The rotations of what the service holds for itself: OCSP signers, the key of the API door, the CA token's PIN, the data
//! key; each while the service runs, resumed after a kill at each of its steps, and backed out of before it is too late.

mod aftermath;

use std::fs;

use aftermath::{Desk, Doomed, started, stopped};
use api::rotation::{PeopleRequest, RotationPlan, RotationRequest, RotationView};
use ca::certificate::CertificateState;
use hsm::{PinFile, Pins};
use pki::CrlReason;
use pki::certificate::ParsedCertificate;
use pki::ocsp::CertStatus;
use ra::person::PEOPLE;
use server::data_keys::{self, DataKeyState};
use server::steps::{Point, Step};
use tests::deployment::Site;
use tests::{Ask, Deployment, Home, Options, Reply, World, isolated};

fn wanted(kind: &str, target: Option<&str>) -> RotationRequest {
    let people = vec!["Ada First".to_owned()];
    RotationRequest { kind: kind.to_owned(), target: target.map(str::to_owned), people, overlap: None }
}

async fn try_rotate(site: &Site, kind: &str, target: Option<&str>) -> Reply {
    site.admin().send(Ask::post("/rotations").json(&wanted(kind, target))).await
}

async fn rotate(deployment: &Deployment, kind: &str, target: Option<&str>) -> RotationView {
    let view: RotationView = try_rotate(deployment, kind, target).await.expect(201).read();
    assert_eq!(view.state, "done", "{view:?}");
    assert_eq!(view.people, ["Ada First"]);
    view
}

async fn newest(deployment: &Site) -> RotationView {
    let page: api::Page<RotationView> = deployment.admin().send(Ask::get("/rotations")).await.expect(200).read();
    page.items.into_iter().next().expect("a rotation")
}

async fn act(deployment: &Site, id: &str, what: &str) -> Reply {
    let people = PeopleRequest { people: vec!["Grace Second".to_owned()] };
    deployment.admin().send(Ask::post(format!("/rotations/{id}/{what}")).json(&people)).await
}

/// What the API door shows.
fn door_certificate(site: &Site) -> Vec<u8> {
    let text = fs::read(site.config.service.data_dir.join("tls/server.crt")).unwrap();
    pki::pem::decode_certificates(&text).unwrap().remove(0)
}

fn pins(site: &Site) -> Pins {
    PinFile::new(&site.config.hsm.ca.pin_file).read().unwrap()
}

/// The data keys' states, by number.
fn data_key_states(deployment: &Deployment) -> Vec<&'static str> {
    let records = data_keys::all(deployment.service.store.as_ref()).unwrap();
    records.iter().map(|found| found.record.state.name()).collect()
}

/// Everything that needs the token, the store and the doors.
async fn all_works(world: &World) {
    let card = world.card().await;
    assert_eq!(world.ocsp(&card.authentication_certificate).await, CertStatus::Good);
    world.station.login(&card).await;
}

#[test]
fn a_plan_says_what_changes_and_changes_nothing() {
    isolated(async |home| {
        let deployment = Deployment::start(&home).await;
        let (door, pin) = (door_certificate(&deployment), pins(&deployment));
        for kind in ["ocsp-signer", "tls", "token-pin", "data-key"] {
            let reply = deployment.admin().send(Ask::post("/rotations/plan").json(&wanted(kind, None))).await;
            let plan: RotationPlan = reply.expect(200).read();
            assert_eq!((plan.people_needed, plan.root_token_needed), (1, false), "{plan:?}");
            assert!(!plan.changes.is_empty() && !plan.steps.is_empty() && !plan.relying_systems.is_empty());
        }
        assert_eq!((door_certificate(&deployment), pins(&deployment)), (door, pin));
        assert_eq!(data_key_states(&deployment), ["active"]);
        let page: api::Page<RotationView> = deployment.admin().send(Ask::get("/rotations")).await.expect(200).read();
        assert!(page.items.is_empty());
        let nobody = RotationRequest { people: Vec::new(), ..wanted("tls", None) };
        deployment.admin().send(Ask::post("/rotations").json(&nobody)).await.refused(422, "invalid");
        for (kind, target) in [("ocsp-signer", "nobody"), ("tls", "other"), ("token-pin", "card"), ("data-key", "7")] {
            let problem = try_rotate(&deployment, kind, Some(target)).await.refused(422, "rotation-target");
            assert!(problem.detail.contains(target), "{problem:?}");
        }
    });
}

// conformance: K3
#[test]
fn ocsp_signers_are_replaced_at_once_all_or_those_of_one_ca() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let card = world.card().await;
        let one = rotate(&world, "ocsp-signer", Some("authentication")).await;
        let signers = |view: &RotationView| -> Vec<(String, String)> {
            view.facts
                .iter()
                .filter_map(|(name, serial)| Some((name.strip_prefix("signer.")?.into(), serial.clone())))
                .collect()
        };
        assert_eq!(signers(&one).iter().map(|(issuer, _)| issuer.as_str()).collect::<Vec<_>>(), ["authentication-1"]);
        let all = rotate(&world, "ocsp-signer", None).await;
        assert_eq!(signers(&all).len(), 3);
        assert!(!signers(&all).contains(&signers(&one)[0]));
        assert_eq!(world.ocsp(&card.authentication_certificate).await, CertStatus::Good);
        assert_eq!(world.ocsp(&card.signing_certificate).await, CertStatus::Good);
    });
}

#[test]
fn the_key_of_the_api_door_is_replaced_and_the_certificate_of_before_revoked() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let before = door_certificate(&world);
        rotate(&world, "tls", None).await;
        let now = door_certificate(&world);
        let key = |der: &[u8]| ParsedCertificate::from_der(der).unwrap().public_key().clone();
        assert_ne!(key(&before), key(&now));
        // A new connection is shown the new one, by the same trust.
        all_works(&world).await;
        let superseded =
            |status: &CertStatus| matches!(status, CertStatus::Revoked { reason: CrlReason::Superseded, .. });
        world.ocsp_until(&before, superseded).await;
        assert_eq!(world.ocsp(&now).await, CertStatus::Good);
        let world = world.restart().await;
        assert_eq!(door_certificate(&world), now);
        all_works(&world).await;
        // What is revoked, or what a restored store does not know, is not shown again.
        let tls = world.config.service.data_dir.join("tls");
        let kept = ["server.key", "server.crt"].map(|name| (tls.join(name), fs::read(tls.join(name)).unwrap()));
        rotate(&world, "tls", None).await;
        world.ocsp_until(&now, superseded).await;
        for (path, content) in kept {
            fs::write(path, content).unwrap();
        }
        let world = world.restart().await;
        assert_ne!(door_certificate(&world), now);
        assert_eq!(world.ocsp(&door_certificate(&world)).await, CertStatus::Good);
        all_works(&world).await;
    });
}

// conformance: K4
#[test]
fn the_pin_of_the_ca_token_is_changed_while_the_service_runs() {
    isolated(async |home| {
        let options = Options { module: faulty_pkcs11::module_path(), ..Options::default() };
        let world = World::with(&home, &options).await;
        let before = pins(&world);
        rotate(&world, "token-pin", None).await;
        let after = pins(&world);
        assert_ne!(after.current, before.current);
        assert_eq!(after.next, None);
        all_works(&world).await;
        // A login that is lost is renewed with the new PIN.
        let logins = home.calls("C_Login");
        home.plan("C_SignInit CKR_DEVICE_REMOVED 1 close-sessions");
        all_works(&world).await;
        assert_eq!(home.calls("C_Login"), logins + 1);
        let world = world.restart().await;
        all_works(&world).await;
    });
}

// conformance: K4
#[test]
fn a_pin_that_the_token_refuses_changes_nothing_and_one_in_doubt_is_settled_by_resuming() {
    isolated(async |home| {
        let options = Options { module: faulty_pkcs11::module_path(), ..Options::default() };
        let world = World::with(&home, &options).await;
        let before = pins(&world);
        home.plan("C_SetPIN CKR_PIN_LEN_RANGE 1");
        try_rotate(&world, "token-pin", None).await.refused(409, "pin-refused");
        assert_eq!(pins(&world), before);
        let id = newest(&world).await.id;
        act(&world, &id, "back-out").await.expect(200);

        // Done, but reported as failed.
        home.plan("C_SetPIN CKR_DEVICE_ERROR 1 after");
        try_rotate(&world, "token-pin", None).await.refused(409, "pin-change");
        let next = pins(&world).next.expect("both PINs are kept");
        let id = newest(&world).await.id;
        act(&world, &id, "back-out").await.refused(409, "rotation-too-late");
        let done: RotationView = act(&world, &id, "resume").await.expect(200).read();
        assert_eq!((done.state.as_str(), done.people.len()), ("done", 2));
        assert_eq!(pins(&world), Pins::from(next));
        let world = world.restart().await;
        all_works(&world).await;
    });
}

// conformance: K4
#[test]
fn the_pin_of_the_roots_token_is_changed_by_the_command_and_never_by_the_service() {
    isolated(async |home| {
        let deployment = Deployment::start(&home).await;
        let file = PinFile::new(&deployment.config.hsm.root.pin_file);
        let before = file.read().unwrap();
        let asked: RotationView = try_rotate(&deployment, "token-pin", Some("root")).await.expect(201).read();
        assert_eq!(asked.state, "running");
        assert_eq!(file.read().unwrap(), before, "the service has changed nothing");
        // With the PIN to come written, the token may have it: nothing is said to be undone.
        std::fs::write(file.next_path(), "12345678").unwrap();
        std::fs::set_permissions(file.next_path(), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        act(&deployment, &asked.id, "back-out").await.refused(409, "rotation-too-late");
        let done = deployment.with_root(asked).await;
        assert_eq!(done.state, "done");
        let after = file.read().unwrap();
        assert_ne!(after.current, before.current);
        assert_eq!(after.next, None);
        // A PIN to come that no rotation accounts for is told of.
        let named = async || {
            let warnings = deployment.status().await.warnings;
            warnings.iter().any(|line| line.contains(&file.next_path().display().to_string()))
        };
        assert!(!named().await);
        std::fs::write(file.next_path(), "12345678").unwrap();
        std::fs::set_permissions(file.next_path(), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        assert!(named().await);
        // The token opens by it, and the CA token has its own still.
        drop(deployment.present_root().await);
        assert_ne!(pins(&deployment).current, after.current);
    });
}

#[test]
fn the_data_key_is_replaced_every_row_sealed_anew_and_the_old_one_deleted() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let mut people = Vec::new();
        for _ in 0..5 {
            people.push(world.person().await);
        }
        rotate(&world, "data-key", None).await;
        assert_eq!(data_key_states(&world), ["destroyed", "active"]);
        let records = data_keys::all(world.service.store.as_ref()).unwrap();
        assert!(records[0].record.encrypted.is_empty());
        assert!(matches!(records[1].record.state, DataKeyState::Active { settled: Some(_), .. }));
        let sealed = world.service.data_keys.store();
        let census = sealed.census(PEOPLE).unwrap();
        assert_eq!(census.keys().collect::<Vec<_>>(), [&Some(2)]);
        all_works(&world).await;
        let world = world.restart().await;
        rotate(&world, "data-key", None).await;
        assert_eq!(data_key_states(&world), ["destroyed", "destroyed", "active"]);
        for person in people {
            let found = ra::person::load(world.service.store.as_ref(), &person.parse().unwrap()).unwrap();
            assert_eq!(found.record.user_id.as_str(), person);
        }
        all_works(&world).await;
    });
}

/// Kills the service at each point of a rotation's steps; each time it is resumed, and then people log in.
///
/// Every service here is a process of its own: SoftHSM reads a token's PIN once per process, and does not notice that
/// another process changed it.
async fn is_resumed_after_a_kill_anywhere(home: Home, kind: &str, points: &[(&'static str, Point)]) -> (Site, Desk) {
    let (site, desk) = stopped(World::new(&home).await).await;
    for (step, point) in points {
        let mut doomed = Doomed::serve(&site, Some(Step::Rotation { step, point: *point })).await;
        let answer = site.admin().try_send(Ask::post("/rotations").json(&wanted(kind, None))).await;
        assert!(answer.is_err(), "{step} {point:?}: {answer:?}");
        doomed.killed_itself().await;
        let _resuming = Doomed::serve(&site, None).await;
        let left = newest(&site).await;
        assert_eq!(left.state, "running", "{left:?}");
        let done: RotationView = act(&site, &left.id, "resume").await.expect(200).read();
        assert_eq!(done.state, "done", "{step} {point:?}: {done:?}");
        assert_eq!(pins(&site).next, None);
        desk.station.login(&desk.issuer.card).await;
    }
    let _after = Doomed::serve(&site, None).await;
    desk.station.login(&desk.issuer.card).await;
    (site, desk)
}

// conformance: K4
#[test]
fn a_change_of_the_pin_is_resumed_after_a_kill_at_each_step() {
    isolated(async |home| {
        let mut points = Vec::new();
        for step in ["write-pin", "change-pin", "keep-pin"] {
            points.extend([Point::Begun, Point::Worked].map(|point| (step, point)));
        }
        points.push(("change-pin", Point::Within("changed")));
        points.push(("change-pin", Point::Done));
        is_resumed_after_a_kill_anywhere(home, "token-pin", &points).await;
    });
}

#[test]
fn a_rotation_of_the_data_key_is_resumed_after_a_kill_at_each_step() {
    isolated(async |home| {
        let mut points = Vec::new();
        for step in ["make-data-key", "use-data-key", "seal-rows", "destroy-data-key"] {
            points.extend([Point::Begun, Point::Worked].map(|point| (step, point)));
        }
        let (site, desk) = is_resumed_after_a_kill_anywhere(home, "data-key", &points).await;
        let world = started(site, desk).await;
        all_works(&world).await;
        let states = data_key_states(&world);
        assert_eq!(states.last(), Some(&"active"));
        assert!(states[..states.len() - 1].iter().all(|state| *state == "destroyed"), "{states:?}");
        let census = world.service.data_keys.store().census(PEOPLE).unwrap();
        assert_eq!(census.len(), 1, "{census:?}");
    });
}

#[test]
fn the_services_own_keys_are_resumed_after_a_kill_at_each_step() {
    isolated(async |home| {
        let points = ["exchange-tls", "retire-tls"]
            .into_iter()
            .flat_map(|step| [Point::Begun, Point::Worked].map(|point| (step, point)))
            .collect::<Vec<_>>();
        let (site, desk) = is_resumed_after_a_kill_anywhere(home, "tls", &points).await;
        let world = started(site, desk).await;
        all_works(&world).await;
        // However often it was interrupted, one certificate of the door is good.
        let good: Vec<_> = world
            .certificates()
            .into_iter()
            .filter(|record| record.profile == "service-tls" && matches!(record.state, CertificateState::Good { .. }))
            .collect();
        assert_eq!(good.len(), 1, "{good:?}");
        assert_eq!(good[0].der.as_deref(), Some(door_certificate(&world).as_slice()));
    });
}

#[test]
fn what_has_not_begun_to_count_is_backed_out_of() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let pin = pins(&world);
        let (site, desk) = stopped(world).await;
        let mut doomed = Doomed::serve(&site, Some(Step::Rotation { step: "use-data-key", point: Point::Begun })).await;
        let lost = site.admin().try_send(Ask::post("/rotations").json(&wanted("data-key", None))).await;
        assert!(lost.is_err());
        doomed.killed_itself().await;
        let mut doomed = Doomed::serve(&site, Some(Step::Rotation { step: "change-pin", point: Point::Begun })).await;
        let lost = site.admin().try_send(Ask::post("/rotations").json(&wanted("token-pin", None))).await;
        assert!(lost.is_err());
        doomed.killed_itself().await;
        assert!(pins(&site).next.is_some());

        let world = started(site, desk).await;
        let page: api::Page<RotationView> = world.admin().send(Ask::get("/rotations")).await.expect(200).read();
        for rotation in page.items {
            try_rotate(&world, &rotation.kind, None).await.refused(409, "rotation-open");
            let given_up: RotationView = act(&world, &rotation.id, "back-out").await.expect(200).read();
            assert_eq!(given_up.state, "backed_out");
            act(&world, &rotation.id, "resume").await.refused(409, "rotation-ended");
        }
        assert_eq!(pins(&world), pin);
        assert_eq!(data_key_states(&world), ["active", "destroyed"]);
        rotate(&world, "data-key", None).await;
        assert_eq!(data_key_states(&world), ["destroyed", "destroyed", "active"]);
        all_works(&world).await;
    });
}
