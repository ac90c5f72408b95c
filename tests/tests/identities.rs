//! Who gets in: TLS client certificates in every condition, and every route without the right.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::cards::{CancelRequest, CardView, HoldRequest, IssuanceKind};
use api::people::{IdentityCheckRequest, PersonRequest, TermsRequest};
use hsm::Signer;
use http::Method;
use pki::CrlReason;
use pki::ocsp::CertStatus;
use serde_json::Value;
use station::{Call, Client, Times};
use tests::clock::days;
use tests::deployment::TOP;
use tests::desk::path;
use tests::{Ask, Deployment, Options, PaperCard, Reply, Station, World, isolated};

/// The calls that need no client certificate.
const WITHOUT_CERTIFICATE: [&str; 2] = ["POST /api/v1/enrolments", "POST /api/v1/responder-enrolments"];

/// The calls of responders, which no station may make.
const FOR_RESPONDERS: [&str; 6] = [
    "POST /api/v1/responders/certificate",
    "GET /api/v1/feed/issuers",
    "GET /api/v1/feed/snapshot",
    "GET /api/v1/feed/tail",
    "POST /api/v1/feed/acknowledgements",
    "POST /api/v1/feed/signers",
];

/// What a station does without an operator.
const WITHOUT_SESSION: [&str; 7] = [
    "GET /api/v1/service",
    "POST /api/v1/challenges",
    "POST /api/v1/sessions",
    "GET /api/v1/cards/{serial}/issuance",
    "GET /api/v1/issuances/{id}",
    "POST /api/v1/issuances/{id}/confirmation",
    "POST /api/v1/issuances/{id}/abort",
];

/// What every operator may do, whatever the roles: end the own session, and list what may be found.
const WITHOUT_ROLE: [&str; 2] = ["DELETE /api/v1/sessions/current", "GET /api/v1/people"];

/// Every operation of the OpenAPI document, as `METHOD /path`, and whether it says that it needs a session.
fn operations() -> BTreeMap<String, bool> {
    let document = serde_json::to_value(server::openapi()).unwrap();
    let mut operations = BTreeMap::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if let Ok(method) = method.to_uppercase().parse::<Method>()
                && operation.is_object()
            {
                let session = operation["security"].as_array().is_some_and(|needs| !needs.is_empty());
                operations.insert(format!("{method} {path}"), session);
            }
        }
    }
    assert!(operations.len() > 15, "{operations:?}");
    operations
}

/// A request for an operation, with these values for what stands in braces.
fn ask(operation: &str, values: &BTreeMap<&str, &str>) -> Ask {
    let (method, pattern) = operation.split_once(' ').unwrap();
    let mut path = pattern.to_owned();
    for (name, value) in values {
        path = path.replace(&format!("{{{name}}}"), value);
    }
    assert!(!path.contains('{'), "{path}");
    Ask::new(method.parse().unwrap(), path)
}

fn somebody() -> BTreeMap<&'static str, &'static str> {
    BTreeMap::from([
        ("serial", "0a1b2c3d"),
        ("user_id", "555000000018"),
        ("id", "00000000000000000000000000000000"),
        ("issuer", "authentication-1"),
    ])
}

#[test]
fn every_route_but_enrolment_is_closed_to_a_client_without_a_certificate() {
    isolated(async |home| {
        let deployment = Deployment::start(&home).await;
        let door = deployment.anonymous();
        for operation in operations().keys() {
            let reply = door.send(ask(operation, &somebody())).await;
            if WITHOUT_CERTIFICATE.contains(&operation.as_str()) {
                reply.refused(400, "body");
            } else {
                reply.refused(401, "client-certificate");
            }
        }
        for hidden in
            ["/api/v1/openapi.json", "/", "/api/v1/nothing", "/metrics", "/status", "/api/v1/sessions/current"]
        {
            door.send(Ask::get(hidden)).await.refused(401, "client-certificate");
        }
    });
}

#[test]
fn a_station_without_an_operator_reaches_what_needs_none_and_nothing_else() {
    isolated(async |home| {
        let deployment = Deployment::start(&home).await;
        let station = deployment.enrol("desk-1.example").await;
        let operations = operations();
        let sessionless: Vec<&str> =
            operations.iter().filter(|(_, session)| !**session).map(|(name, _)| name.as_str()).collect();
        let mut expected = [&WITHOUT_CERTIFICATE[..], &WITHOUT_SESSION, &FOR_RESPONDERS].concat();
        expected.sort_unstable();
        assert_eq!(sessionless, expected, "the document says who needs a session");

        for (operation, needs_session) in &operations {
            let without = station.send(ask(operation, &somebody())).await;
            let forged = station.send(ask(operation, &somebody()).session("AAAAAAAAAAAAAAAAAAAAAAAA")).await;
            let rubbish = station.send(ask(operation, &somebody()).session("no token at all")).await;
            for reply in [without, forged, rubbish] {
                if *needs_session {
                    reply.refused(401, "no-session");
                } else if FOR_RESPONDERS.contains(&operation.as_str()) {
                    reply.refused(403, "client-certificate");
                } else {
                    assert_ne!(reply.status, 401, "{operation}");
                }
            }
        }
    });
}

#[test]
fn a_responder_follows_the_feed_and_makes_none_of_the_stations_calls() {
    isolated(async |home| {
        let deployment = Deployment::start(&home).await;
        let responder = deployment.enrol_follower("ocsp-1.example").await;
        for operation in operations().keys() {
            let reply = responder.send(ask(operation, &somebody())).await;
            if WITHOUT_CERTIFICATE.contains(&operation.as_str()) {
                reply.refused(400, "body");
            } else if FOR_RESPONDERS.contains(&operation.as_str()) {
                assert!(![401, 403, 404, 405, 500].contains(&reply.status), "{operation}: {reply:?}");
            } else {
                reply.refused(403, "client-certificate");
            }
        }
        for hidden in ["/api/v1/openapi.json", "/", "/api/v1/feed", "/api/v1/nothing", "/status"] {
            responder.send(Ask::get(hidden)).await.refused(403, "client-certificate");
        }
    });
}

#[test]
fn every_route_is_refused_to_an_operator_without_the_right() {
    isolated(async |home| {
        let world = World::new(&home).await;
        // A holder of a card, and of no role, at somebody else's record.
        let holder = world.card().await;
        let session = world.station.login(&holder).await;
        let other = world.card().await;
        let shown: CardView = world.issuer.card(&other).await;
        let serial = shown.certificates[0].serial.as_str();
        let issuer = shown.certificates[0].issuer.as_str();
        let values = BTreeMap::from([("serial", other.serial.as_str()), ("user_id", shown.holder.as_str())]);
        let hold = HoldRequest { reason: "investigation".to_owned() };
        let json = |value: Result<Value, serde_json::Error>| Some(value.unwrap());
        let before = world.audit().await.len();
        let mut refused = 0;
        for (operation, needs_session) in operations() {
            if !needs_session || WITHOUT_ROLE.contains(&operation.as_str()) {
                continue;
            }
            let body = match operation.strip_prefix("POST /api/v1").unwrap_or_default() {
                "" | "/cards/{serial}/report-lost" => None,
                "/people" => json(serde_json::to_value(PersonRequest {
                    given_name: "A".to_owned(),
                    family_name: "B".to_owned(),
                    organisation: TOP.to_owned(),
                })),
                "/people/{user_id}/identity-check" => {
                    json(serde_json::to_value(IdentityCheckRequest { documents: vec!["passport".to_owned()] }))
                }
                "/people/{user_id}/terms" => json(serde_json::to_value(TermsRequest { version: "1".to_owned() })),
                "/cards" => json(serde_json::to_value(PaperCard::new().allocation(&shown.holder))),
                "/cards/{serial}/issuances" => json(serde_json::to_value(other.request(IssuanceKind::Renew))),
                "/cards/{serial}/suspend" | "/cards/{serial}/resume" => json(serde_json::to_value(&hold)),
                "/cards/{serial}/cancel" => {
                    json(serde_json::to_value(CancelRequest { cause: "lost".to_owned(), compromised_since: None }))
                }
                new => panic!("{new} is a new route: say here what its body is"),
            };
            let mut asked = if operation.contains("/certificates/") {
                ask(&operation, &BTreeMap::from([("serial", serial), ("issuer", issuer)]))
            } else {
                ask(&operation, &values)
            };
            if let Some(body) = &body {
                asked = asked.json(body);
            }
            let reply = session.send(asked).await;
            assert_eq!(reply.status, 403, "{operation}: {reply:?}");
            reply.refused_by("role");
            refused += 1;
        }
        let audit = world.audit().await;
        let recorded = audit[before..].iter().filter(|record| record.outcome == "refused: role").count();
        assert_eq!(recorded, refused, "each refusal is recorded");
        assert_eq!(world.issuer.card(&other).await, shown, "nothing has changed");
    });
}

async fn knock(station: &Station) -> Reply {
    station.send(Ask::get(path("/service"))).await
}

#[test]
fn a_station_gets_in_only_while_its_certificate_is_good() {
    isolated(async |home| {
        let deployment = Deployment::start(&home).await;
        let station = deployment.enrol("desk-1.example").await;
        knock(&station).await.expect(200);

        deployment.change_certificate(&station.certificate, |record, now| record.hold(now));
        let problem = knock(&station).await.refused(401, "client-certificate");
        assert!(problem.detail.contains("on hold"), "{problem:?}");

        deployment.change_certificate(&station.certificate, |record, now| record.release(now));
        knock(&station).await.expect(200);

        let revoke = CrlReason::CessationOfOperation;
        deployment.change_certificate(&station.certificate, |record, now| record.revoke(now, revoke, None));
        let problem = knock(&station).await.refused(401, "client-certificate");
        assert!(problem.detail.contains("revoked"), "{problem:?}");
    });
}

#[test]
fn the_status_of_a_client_certificate_is_looked_at_for_each_request_of_one_connection() {
    isolated(async |home| {
        let deployment = Deployment::start(&home).await;
        let station = deployment.enrol("desk-1.example").await;
        let key: Arc<dyn Signer> = station.key.clone();
        let config = station::tls::card_config(&[deployment.root()], &station.certificate, key).unwrap();
        let url = format!("https://{}", deployment.config.listen.api);
        let client = Client::https(&url, config, Times::default()).unwrap();
        let status = async || client.exchange(Call::get(path("/service"))).await.unwrap().status.as_u16();
        assert_eq!(status().await, 200);
        deployment.change_certificate(&station.certificate, |record, now| record.hold(now));
        assert_eq!(status().await, 401);
        deployment.change_certificate(&station.certificate, |record, now| record.release(now));
        assert_eq!(status().await, 200);
    });
}

#[test]
fn a_station_whose_certificate_has_expired_is_turned_away() {
    isolated(async |home| {
        // Shorter than the service's own certificate: by the clock of TLS, which is the real one, both are good.
        let station_life = (
            "policies = [\"1.3.6.1.4.1.99999.1.4\"]\nlife = \"90d\"",
            "policies = [\"1.3.6.1.4.1.99999.1.4\"]\nlife = \"2d\"",
        );
        let options = Options { profiles: vec![station_life], ..Options::default() };
        let deployment = Deployment::start_with(&home, &options).await;
        let station = deployment.enrol("desk-1.example").await;
        deployment.advance(days(1)).await;
        knock(&station).await.expect(200);
        deployment.advance(days(1)).await;
        let problem = knock(&station).await.refused(401, "client-certificate");
        assert!(problem.detail.contains("expired"), "{problem:?}");
    });
}

#[test]
fn enrolling_a_station_again_ends_its_earlier_certificate() {
    isolated(async |home| {
        let deployment = Deployment::start(&home).await;
        let before = deployment.enrol("desk-1.example").await;
        let other = deployment.enrol("desk-2.example").await;
        let after = deployment.enrol("desk-1.example").await;
        knock(&before).await.refused(401, "client-certificate");
        knock(&after).await.expect(200);
        knock(&other).await.expect(200);
        let status = deployment.ocsp_until(&before.certificate, |status| *status != CertStatus::Good).await;
        assert!(matches!(status, CertStatus::Revoked { reason: CrlReason::Superseded, .. }), "{status:?}");
    });
}

#[test]
fn a_holders_card_is_no_station() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let card = world.card().await;
        let door = world.door_for(&card.authentication_certificate, card.authentication.clone());
        let problem = door.send(Ask::get(path("/service"))).await.refused(403, "client-certificate");
        assert!(problem.detail.contains("station"), "{problem:?}");
        // Not even with an operator's session.
        let ask = Ask::get(path("/people")).session(&world.issuer.session.token);
        door.send(ask).await.refused(403, "client-certificate");
        // An operator's card neither.
        let operator = &world.issuer.card;
        let door = world.door_for(&operator.authentication_certificate, operator.authentication.clone());
        door.send(Ask::get(path("/service"))).await.refused(403, "client-certificate");
    });
}

#[test]
fn a_certificate_of_another_ca_ends_the_handshake() {
    isolated(async |home| {
        let ours = Deployment::start(&home).await;
        ours.enrol("desk-1.example").await;
        let elsewhere = Options { name: "elsewhere", ports: 100, ..Options::default() };
        let theirs = Deployment::start_with(&home, &elsewhere).await;
        let stranger = theirs.enrol("desk-1.example").await;
        let key: Arc<dyn Signer> = stranger.key.clone();
        let config = station::tls::card_config(&[ours.root()], &stranger.certificate, key).unwrap();
        let url = format!("https://{}", ours.config.listen.api);
        let client = Client::https(&url, config, Times::default()).unwrap();
        let refused = client.exchange(Call::get(path("/service"))).await.unwrap_err();
        assert!(matches!(refused, station::Error::HandshakeRefused { .. }), "{refused}");

        // And a station of ours does not take their service for ours.
        let config = station::tls::plain_config(&[ours.root()]).unwrap();
        let url = format!("https://{}", theirs.config.listen.api);
        let client = Client::https(&url, config, Times::default()).unwrap();
        let refused = client.exchange(Call::get(path("/service"))).await.unwrap_err();
        assert!(matches!(refused, station::Error::ServerNotTrusted { .. }), "{refused}");
    });
}
