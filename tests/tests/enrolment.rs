//! Stations are enrolled by single-use codes: bound to a name, to a time, and to the CA that made them.

use std::time::Duration;

use api::EnrolmentCode;
use api::admin::StationCodeRequest;
use api::stations::ServiceDescription;
use ca::certificate::{CertificateState, Holder};
use station::enrol::{Enrolment, join};
use tests::clock::minutes;
use tests::deployment::TOP;
use tests::desk::{path, post};
use tests::{Ask, Deployment, Options, Reply, eventually, isolated};

fn refused(reply: &Reply) {
    reply.refused(403, "code-refused");
}

/// How many certificates stations have, by the name of their state.
fn station_certificates(deployment: &Deployment, state: &str) -> usize {
    let records = deployment.certificates();
    let stations = records.iter().filter(|record| matches!(record.holder, Holder::Station { .. }));
    stations.filter(|record| record.state.name() == state).count()
}

#[test]
fn a_code_enrols_one_station_once() {
    isolated(async |home| {
        let deployment = Deployment::start(&home).await;
        let code = deployment.station_code("desk-1.example").await;
        let (reply, _) = deployment.try_enrol(&code, "desk-1.example").await;
        reply.expect(201);
        refused(&deployment.try_enrol(&code, "desk-1.example").await.0);
        assert_eq!(station_certificates(&deployment, "good"), 1);
        assert_eq!(deployment.last_audit("station.enrol").await.outcome, "done");
    });
}

#[test]
fn a_code_is_good_for_fifteen_minutes() {
    isolated(async |home| {
        let deployment = Deployment::start(&home).await;
        let early = deployment.station_code("desk-1.example").await;
        let late = deployment.station_code("desk-2.example").await;
        deployment.advance(minutes(14)).await;
        deployment.try_enrol(&early, "desk-1.example").await.0.expect(201);
        deployment.advance(minutes(1) + Duration::from_secs(1)).await;
        refused(&deployment.try_enrol(&late, "desk-2.example").await.0);
        assert_eq!(station_certificates(&deployment, "good"), 1);
    });
}

#[test]
fn a_code_is_bound_to_its_name_and_survives_a_wrong_one() {
    isolated(async |home| {
        let deployment = Deployment::start(&home).await;
        let code = deployment.station_code("desk-1.example").await;
        for name in ["desk-2.example", "desk-1.example.", "DESK-1.example", ""] {
            refused(&deployment.try_enrol(&code, name).await.0);
        }
        deployment.try_enrol(&code, "desk-1.example").await.0.expect(201);
    });
}

#[test]
fn a_wrong_code_is_refused_and_so_is_one_for_something_else() {
    isolated(async |home| {
        let deployment = Deployment::start(&home).await;
        let right = deployment.station_code("desk-1.example").await;
        let mut wrong = right.clone();
        wrong.secret[0] ^= 1;
        refused(&deployment.try_enrol(&wrong, "desk-1.example").await.0);

        // A first-card code enrols no station, and a station's code opens no session.
        let (_, first_card) = deployment.operator_code("ra_manager", TOP).await;
        refused(&deployment.try_enrol(&first_card, "desk-1.example").await.0);
        let station = deployment.enrol("desk-9.example").await;
        let session = api::sessions::SessionRequest::Code { secret: right.secret.to_vec().into() };
        station.send(post("/sessions", &session)).await.refused(403, "code-refused");
        deployment.try_enrol(&right, "desk-1.example").await.0.expect(201);
    });
}

#[test]
fn of_two_stations_that_use_one_code_at_the_same_time_one_is_enrolled_and_the_others_certificate_is_void() {
    isolated(async |home| {
        let options = Options { module: faulty_pkcs11::module_path(), ..Options::default() };
        let deployment = Deployment::start_with(&home, &options).await;
        let code = deployment.station_code("desk-1.example").await;
        let signed = home.calls("C_Sign");
        home.plan("C_Sign BLOCK");
        let go = async || {
            // Both have reserved a serial number, and wait for the token.
            eventually("both signatures to be asked for", async || (home.calls("C_Sign") >= signed + 2).then_some(()))
                .await;
            home.plan("");
        };
        let ((one, _), (other, _), ()) = tokio::join!(
            deployment.try_enrol(&code, "desk-1.example"),
            deployment.try_enrol(&code, "desk-1.example"),
            go()
        );
        let (won, lost) = if one.status == 201 { (one, other) } else { (other, one) };
        won.expect(201);
        refused(&lost);
        assert_eq!(station_certificates(&deployment, "good"), 1);
        assert_eq!(station_certificates(&deployment, "void"), 1);
        assert!(deployment.certificates().iter().all(|one| !matches!(one.state, CertificateState::Reserved { .. })));
    });
}

#[test]
fn a_code_is_made_only_for_a_name_that_can_be_one() {
    isolated(async |home| {
        let deployment = Deployment::start(&home).await;
        for name in ["", "Desk", "desk 1", "desk_1", "-desk", "desk..example", &"d".repeat(65)] {
            let request = StationCodeRequest { name: name.to_owned(), organisation: TOP.to_owned() };
            let reply = deployment.admin().send(Ask::post("/station-codes").json(&request)).await;
            assert_eq!(reply.refused(422, "invalid").errors[0].field, "name");
        }
        let request = StationCodeRequest { name: "desk-1.example".to_owned(), organisation: "NOPE1".to_owned() };
        deployment.admin().send(Ask::post("/station-codes").json(&request)).await.refused(404, "not-found");
    });
}

#[test]
fn a_stations_request_that_breaks_a_rule_leaves_the_code_as_it_is() {
    isolated(async |home| {
        let deployment = Deployment::start(&home).await;
        let code = deployment.station_code("desk-1.example").await;
        let key = tests::card::new_key();
        let mut request = tests::desk::enrolment(&code, "desk-1.example", &key);
        *request.request.0.last_mut().unwrap() ^= 1;
        let reply = deployment.anonymous().send(post("/enrolments", &request)).await;
        reply.refused(422, "request-refused");
        reply.refused_by("R1");
        deployment.try_enrol(&code, "desk-1.example").await.0.expect(201);
    });
}

#[test]
fn the_station_program_enrols_itself_and_knows_the_service_by_its_code() {
    isolated(async |home| {
        let ours = Deployment::start(&home).await;
        let elsewhere = Options { name: "elsewhere", ports: 100, ..Options::default() };
        let theirs = Deployment::start_with(&home, &elsewhere).await;
        let enrolment = |code: EnrolmentCode, deployment: &Deployment| Enrolment {
            server: format!("https://{}", deployment.config.listen.api),
            code,
            name: "desk-1".to_owned(),
            directory: home.file("station"),
            replace: false,
            module: None,
        };
        let code = ours.station_code("desk-1").await;
        let refused = join(&enrolment(code.clone(), &theirs)).await.unwrap_err();
        assert!(matches!(refused, station::Error::ServerNotTrusted { .. }), "{refused}");

        let enrolled = join(&enrolment(code.clone(), &ours)).await.unwrap();
        assert_eq!(enrolled.deployment, "test");
        let client = station::Client::for_station(&enrolled.config).unwrap();
        let described: ServiceDescription = client.send(station::Call::get(path("/service"))).await.unwrap();
        assert_eq!((described.station.as_str(), described.deployment.as_str()), ("desk-1", "test"));

        let again = join(&enrolment(code.clone(), &ours)).await.unwrap_err();
        assert!(matches!(again, station::Error::AlreadyEnrolled { .. }), "{again}");
        let used = join(&Enrolment { replace: true, ..enrolment(code, &ours) }).await.unwrap_err();
        assert!(matches!(&used, station::Error::Problem(problem) if problem.name() == "code-refused"), "{used}");
        let still: ServiceDescription = client.send(station::Call::get(path("/service"))).await.unwrap();
        assert_eq!(still.station, "desk-1");
    });
}
