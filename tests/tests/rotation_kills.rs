//! `kill -9` of the service at each point of a rotation of a CA's key: nothing is half rotated, what was interrupted is
//! taken up, and every certificate that can exist is known.

mod aftermath;

use aftermath::{Doomed, all_agrees};
use api::rotation::{RootWorkDone, RotationView};
use ca::certificate::{CertificateRecord, CertificateState};
use server::steps::{Point, Step};
use tests::deployment::Site;
use tests::rotations::request;
use tests::{Ask, Deployment, Options, isolated};

/// Begins a rotation of a service that dies of it, and does what the root's token is asked for, until there is no answer
/// any more.
async fn driven_until_it_dies(site: &Site, kind: &str, target: Option<&str>) {
    let admin = site.admin();
    let mut answer = admin.try_send(Ask::post("/rotations").json(&request(kind, target, Some("0s")))).await;
    while let Ok(reply) = answer {
        assert!(matches!(reply.status, 200 | 201), "{reply:?}");
        let mut view: RotationView = reply.read();
        let work = view.root_work.take().expect("the service dies before the rotation ends");
        let root = site.present_root().await;
        let ceremony = tokio::task::spawn_blocking(move || root.perform(&work)).await.unwrap();
        let done: RootWorkDone = ceremony.unwrap().done;
        answer = admin.try_send(Ask::post(format!("/rotations/{}/root-work", view.id)).json(&done)).await;
    }
}

/// Takes up what was interrupted, and looks at what came out.
async fn whole_after_all(deployment: &Deployment, name: &str, point: &str) {
    let reserved = |record: &CertificateRecord| matches!(record.state, CertificateState::Reserved { .. });
    assert!(!deployment.certificates().iter().any(reserved), "{point}: what was reserved is void after a start");
    let rotations = deployment.rotations().await;
    let open: Vec<_> = rotations.iter().filter(|one| one.state != "done").collect();
    let id = match open.as_slice() {
        [one] => {
            assert!(deployment.status().await.warnings.iter().any(|line| line.contains(&one.id)), "{point}");
            let resumed: RotationView = deployment.try_resume(&one.id).await.expect(200).read();
            let whole = deployment.with_root(resumed).await;
            assert_eq!(whole.state, "done", "{point}: {whole:?}");
            whole.id
        }
        [] => rotations[0].id.clone(),
        several => panic!("{point}: {several:?}"),
    };
    let status = deployment.status().await;
    assert!(status.ready, "{point}: {status:?}");
    // One key is in force, the one of the newest number, and all before it are for status only.
    let mut keys: Vec<_> =
        status.issuers.iter().filter(|one| one.id.rsplit_once('-').is_some_and(|(found, _)| found == name)).collect();
    keys.sort_by_key(|one| one.id.rsplit_once('-').and_then(|(_, number)| number.parse::<u32>().ok()));
    let newest = keys.pop().unwrap();
    assert_eq!(newest.state, if name == "root" { "offline" } else { "active" }, "{point}");
    assert!(keys.iter().all(|one| one.state == "status_only"), "{point}: {keys:?}");
    // Each certificate of this rotation is good, once: what was reserved before it was killed is void.
    let facts = deployment.rotations().await.into_iter().find(|one| one.id == id).unwrap().facts;
    let serials: Vec<String> = facts.into_values().collect();
    let holder = format!("ca:{}", newest.id);
    let of_ca =
        deployment.certificates().into_iter().filter(|record| record.holder.term() == format!("service:{holder}"));
    let mut good = 0;
    for record in of_ca {
        match record.state {
            CertificateState::Good { .. } => {
                assert!(serials.contains(&record.id.serial.to_string()), "{point}: {record:?}");
                good += 1;
            }
            CertificateState::Void { .. } => {}
            other => panic!("{point}: {other:?}"),
        }
    }
    assert_eq!(good, if name == "root" { 2 } else { 1 }, "{point}");
    all_agrees(deployment).await;
}

async fn survives(mut site: Site, kind: &str, name: &str, points: &[(&'static str, Point)]) -> Site {
    let target = (kind != "root").then_some(name);
    for (step, point) in points {
        let step = Step::Rotation { step, point: *point };
        let mut doomed = Doomed::serve(&site, Some(step)).await;
        driven_until_it_dies(&site, kind, target).await;
        doomed.killed_itself().await;
        let deployment = site.start().await;
        whole_after_all(&deployment, name, &step.name()).await;
        site = deployment.stop().await;
    }
    site
}

// conformance: C16, A5
#[test]
fn a_rotation_of_an_issuing_ca_survives_a_kill_while_its_key_is_made_and_certified() {
    isolated(async |home| {
        let site = Site::initialised(&home, &Options::default()).await;
        let points = [
            ("key", Point::Begun),
            ("key", Point::Worked),
            ("key", Point::Done),
            ("certify", Point::Begun),
            ("certify", Point::Within("reserved")),
            ("certify", Point::Within("supplied")),
            ("certify", Point::Worked),
            ("certify", Point::Done),
        ];
        survives(site, "issuing-ca", "devices", &points).await;
    });
}

// conformance: C16, A5
#[test]
fn a_rotation_of_an_issuing_ca_survives_a_kill_while_its_key_is_published_and_made_active() {
    isolated(async |home| {
        let site = Site::initialised(&home, &Options::default()).await;
        let points = [
            ("publish", Point::Begun),
            ("publish", Point::Within("reloaded")),
            ("publish", Point::Worked),
            ("activate", Point::Begun),
            ("activate", Point::Within("switched")),
            ("activate", Point::Worked),
            ("activate", Point::Done),
        ];
        survives(site, "issuing-ca", "devices", &points).await;
    });
}

// conformance: K2, A5
#[test]
fn a_rotation_of_the_root_survives_a_kill_while_its_key_is_made_and_certified() {
    isolated(async |home| {
        let site = Site::initialised(&home, &Options::default()).await;
        let points = [
            ("root-key", Point::Begun),
            ("root-key", Point::Within("supplied")),
            ("root-certificate", Point::Within("reserved")),
            ("root-certificate", Point::Within("supplied")),
        ];
        survives(site, "root", "root", &points).await;
    });
}

// conformance: K2, A5
#[test]
fn a_rotation_of_the_root_survives_a_kill_while_its_keys_are_linked() {
    isolated(async |home| {
        let site = Site::initialised(&home, &Options::default()).await;
        let points = [
            ("root-links", Point::Begun),
            ("root-links", Point::Within("reserved")),
            ("root-links", Point::Within("supplied")),
            ("root-links", Point::Done),
        ];
        survives(site, "root", "root", &points).await;
    });
}

// conformance: K2, A5
#[test]
fn a_rotation_of_the_root_survives_a_kill_while_its_key_is_published_and_made_active() {
    isolated(async |home| {
        let site = Site::initialised(&home, &Options::default()).await;
        let points = [
            ("root-publish", Point::Worked),
            ("root-crl", Point::Begun),
            ("root-crl", Point::Within("supplied")),
            ("root-activate", Point::Within("switched")),
        ];
        survives(site, "root", "root", &points).await;
    });
}
