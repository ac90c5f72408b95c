//! What each door says when nothing is wrong, and in which form it refuses.

use std::time::Duration;

use http::Method;
use serde_json::Value;
use server::clock::Clock;
use tests::clock::minutes;
use tests::desk::path;
use tests::{Ask, Deployment, Options, World, eventually, isolated};
use tokio::io::AsyncWriteExt;

/// RFC 9110 5.6.7: IMF-fixdate, such as `Sun, 22 Nov 2026 15:30:00 GMT`.
fn is_http_date(text: &str) -> bool {
    text.len() == 29 && text.ends_with(" GMT") && text.as_bytes()[3] == b','
}

// conformance: H9, H10, H11
#[test]
fn a_crl_is_served_with_what_a_cache_needs() {
    isolated(async |home| {
        let world = World::new(&home).await;
        world.publish_crls().await;
        let get = || Ask::get("/crl/authentication-1.crl");
        let first = world.public().send(get()).await.expect(200);
        assert_eq!(first.header("content-type"), "application/pkix-crl");
        assert_eq!(first.header("content-length"), first.body.len().to_string());
        assert!(is_http_date(first.header("last-modified")), "{first:?}");
        assert!(is_http_date(first.header("expires")), "{first:?}");
        assert!(is_http_date(first.header("date")), "{first:?}");
        let cache = first.header("cache-control");
        let max_age: i64 =
            cache.strip_prefix("max-age=").and_then(|rest| rest.split(',').next()?.parse().ok()).unwrap();
        assert!((3500..=3600).contains(&max_age), "a CRL is made each hour: {cache}");
        let etag = first.header("etag").to_owned();
        assert!(etag.starts_with('"') && etag.ends_with('"'), "{etag}");

        for tag in [etag.clone(), format!("W/{etag}"), format!("\"other\", {etag}")] {
            let unchanged = world.public().send(get().header("if-none-match", tag.as_str())).await;
            assert_eq!((unchanged.status, unchanged.body.len()), (304, 0), "{tag}");
            assert_eq!(unchanged.header("etag"), etag);
            assert!(unchanged.header("cache-control").starts_with("max-age="));
        }
        let head = world.public().send(Ask::new(Method::HEAD, "/crl/authentication-1.crl")).await.expect(200);
        assert!(head.body.is_empty() && head.header("etag") == etag);

        world.issuer.suspend(&world.card().await, "investigation").await;
        world.publish_crls().await;
        let changed = world.public().send(get().header("if-none-match", etag.as_str())).await.expect(200);
        assert_ne!(changed.header("etag"), etag);
        assert_ne!(changed.body, first.body);

        // Near its time the next is due, and nobody keeps it past that.
        world.clock.advance(minutes(59));
        let old = world.public().send(get()).await.expect(200);
        let age: i64 =
            old.header("cache-control").strip_prefix("max-age=").unwrap().split(',').next().unwrap().parse().unwrap();
        assert!(age <= 3600, "{old:?}");
    });
}

#[test]
fn ca_certificates_and_nothing_else_are_served_beside_them() {
    isolated(async |home| {
        let deployment = Deployment::start(&home).await;
        for issuer in ["root-1", "authentication-1", "signing-1", "devices-1"] {
            let reply = deployment.public().send(Ask::get(format!("/ca/{issuer}.cer"))).await.expect(200);
            assert_eq!(reply.header("content-type"), "application/pkix-cert");
            assert_eq!(reply.body, deployment.issuer(issuer));
            let tag = reply.header("etag").to_owned();
            let ask = Ask::get(format!("/ca/{issuer}.cer")).header("if-none-match", tag);
            deployment.public().send(ask).await.expect(304);
        }
        deployment.public().send(Ask::get("/crl/root-1.crl")).await.expect(200);
        for nothing in [
            "/",
            "/ca/",
            "/ca/root-1",
            "/ca/root-9.cer",
            "/ca/..%2F..%2Fsecrets%2Fca.pin",
            "/crl/nobody-1.crl",
            "/crl/..%2Froot-1.crl",
            "/api/v1/service",
            "/metrics",
            "/healthz",
        ] {
            let status = deployment.public().send(Ask::get(nothing)).await.status;
            assert_eq!(status, 404, "{nothing}");
        }
    });
}

#[test]
fn health_readiness_and_metrics_answer() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let door = world.operations();
        assert_eq!(door.send(Ask::get("/healthz")).await.expect(200).body, "alive\n");
        let ready: Value = door.send(Ask::get("/readyz")).await.expect(200).read();
        assert_eq!(ready, serde_json::json!({ "ready": true, "problems": [], "warnings": [] }));

        let metrics = async || {
            let reply = door.send(Ask::get("/metrics")).await.expect(200);
            assert!(reply.header("content-type").starts_with("application/openmetrics-text"));
            String::from_utf8(reply.body.to_vec()).unwrap()
        };
        let value = |text: &str, name: &str| -> f64 {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name} in\n{text}"));
            line.rsplit(' ').next().unwrap().parse().unwrap()
        };
        let before = metrics().await;
        assert!(before.ends_with("# EOF\n"), "{before}");
        let card = world.card().await;
        world.ocsp(&card.authentication_certificate).await;
        world.checker.try_allocate(&card, &world.checker.user_id).await.refused_by("own-record");
        let after = metrics().await;
        for (name, by) in [
            ("cardinal_certificates_issued_total", 2.0),
            ("cardinal_issuances_confirmed_total", 1.0),
            ("cardinal_refusals_total", 1.0),
            ("cardinal_ocsp_answers_total{kind=\"good\"}", 1.0),
        ] {
            assert_eq!(value(&after, name) - value(&before, name), by, "{name}");
        }
        assert!(value(&after, "cardinal_feed_sequence") > value(&before, "cardinal_feed_sequence"));
        assert!(value(&after, "cardinal_audit_records") > value(&before, "cardinal_audit_records"));
        assert!(value(&after, "cardinal_crl_seconds_left{issuer=\"signing-1\",kind=\"full\"}") > 0.0);
    });
}

#[test]
fn a_clock_that_is_behind_is_reported_and_nothing_is_signed_by_it() {
    isolated(async |home| {
        let world = World::new(&home).await;
        // The certificates are older than the last commit, so that they are good after the step back.
        world.advance(minutes(10)).await;
        let card = world.allocated(&world.person().await).await;
        let before = world.card_certificates();
        world.clock.set_back(minutes(5));
        let ready = world.operations().send(Ask::get("/readyz")).await.expect(503);
        let ready: Value = ready.read();
        assert_eq!(ready["ready"], false);
        assert!(ready["problems"][0].as_str().unwrap().contains("clock"), "{ready}");
        world.operations().send(Ask::get("/healthz")).await.expect(200);
        let request = card.request(api::cards::IssuanceKind::Issue);
        let refused = world.issuer.try_begin(&card, &request).await;
        refused.refused(503, "clock");
        assert_eq!(world.card_certificates(), before);

        world.clock.advance(minutes(5));
        eventually("readiness", async || {
            (world.operations().send(Ask::get("/readyz")).await.status == 200).then_some(())
        })
        .await;
        world.issuer.try_begin(&card, &request).await.expect(201);
    });
}

#[test]
fn whatever_is_refused_is_refused_with_problem_details() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let session = &world.issuer.session;
        let asks = [
            // No such path, or no such method.
            (404, Ask::get("/")),
            (404, Ask::get(path("/nothing"))),
            (404, Ask::get("/api/v2/service")),
            (405, Ask::new(Method::PUT, path("/people"))),
            (405, Ask::new(Method::DELETE, path("/service"))),
            (405, Ask::get(path("/enrolments"))),
            // No such thing.
            (404, Ask::get(path("/people/555000000018"))),
            (404, Ask::get(path("/cards/0a1b2c3d"))),
            (404, Ask::get(path("/issuances/00000000000000000000000000000000"))),
            (404, Ask::get(path("/certificates/authentication-1/0102030405"))),
            // Not a thing at all.
            (422, Ask::get(path("/people/me"))),
            (422, Ask::get(path("/cards/no%20card"))),
            (422, Ask::get(path("/issuances/1"))),
            (422, Ask::get(path("/certificates/authentication-1/xyz"))),
            (400, Ask::get(path("/people?limit=many"))),
            (400, Ask::get(path("/people?limits=5"))),
            (400, Ask::get(path("/people/%ff"))),
            // Bodies.
            (400, Ask::post(path("/people"))),
            (400, Ask::post(path("/people")).body("{")),
            (400, Ask::post(path("/people")).body("[]")),
            (400, Ask::post(path("/people")).json(&serde_json::json!({ "given_name": "Ada" }))),
            (
                400,
                Ask::post(path("/people")).json(&serde_json::json!({
                    "given_name": "Ada", "family_name": "Lovelace", "organisation": "RX1", "admin": true
                })),
            ),
            (400, Ask::post(path("/enrolments")).body(vec![0xff; 100])),
            (413, Ask::post(path("/people")).body(vec![b' '; 100_000])),
            (413, Ask::post(path("/enrolments")).body(vec![b' '; 100_000])),
            // A struct as an array: its fields by their order, which is no part of the interface.
            (400, Ask::post(path("/people")).json(&serde_json::json!(["Ada", "Lovelace", "RX1"]))),
            // Headers.
            (
                400,
                Ask::post(path("/people")).key("").json(&serde_json::json!({
                    "given_name": "Ada", "family_name": "Lovelace", "organisation": "RX1"
                })),
            ),
        ];
        let mut wrong = Vec::new();
        for (status, ask) in asks {
            let shown = format!("{ask:?}");
            let reply = session.send(ask).await;
            let is_problem = reply.header("content-type") == api::problem::MEDIA_TYPE;
            if reply.status != status || !is_problem {
                wrong.push(format!("{} {:?} for {:.150}", reply.status, reply.header("content-type"), shown));
            } else {
                reply.problem();
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    });
}

#[test]
fn a_field_that_breaks_a_rule_is_named_with_the_rule_and_all_of_them_at_once() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let problem = world.checker.try_register(" ", &"x".repeat(71), "RX1").await.refused(422, "invalid");
        let fields: Vec<&str> = problem.errors.iter().map(|error| error.field.as_str()).collect();
        assert_eq!(fields, ["given_name", "family_name"]);
        let problem = world.checker.try_register("Ada", "Lovelace", "no ods").await.refused(422, "invalid");
        assert_eq!(problem.errors[0].field, "organisation");
        world.checker.try_register("Ada", "Lovelace", "NOPE1").await.refused(404, "not-found");
    });
}

#[test]
fn the_openapi_document_is_served_and_every_call_in_it_is_there() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let served: Value = world.station.send(Ask::get(path("/openapi.json"))).await.expect(200).read();
        assert_eq!(served, serde_json::to_value(server::openapi()).unwrap());
        assert!(served["openapi"].as_str().unwrap().starts_with("3."));
        let responder = world.enrol_follower("ocsp-1.example").await;
        let mut calls = 0;
        for (template, item) in served["paths"].as_object().unwrap() {
            for method in ["get", "post", "put", "patch", "delete"] {
                let asked = template.replace("{serial}", "0a").replace("{id}", "0").replace("{user_id}", "5");
                let asked = asked.replace("{issuer}", "x-1");
                let for_responders = ["/api/v1/feed/", "/api/v1/responders/"].iter().any(|of| template.starts_with(of));
                let door = if for_responders { &responder.door } else { &world.station.door };
                let reply = door.send(Ask::new(method.to_uppercase().parse().unwrap(), asked)).await;
                if item[method].is_object() {
                    calls += 1;
                    let unknown = reply.status == 404 && reply.problem().detail.contains("no such call");
                    assert!(!unknown && reply.status != 405, "{method} {template}: {reply:?}");
                } else {
                    assert_eq!(reply.status, 405, "{method} {template} is served and not in the document");
                }
            }
        }
        assert!(calls > 15, "{calls}");
    });
}

#[test]
fn the_admin_socket_is_for_its_owner() {
    isolated(async |home| {
        use std::os::unix::fs::PermissionsExt;
        let deployment = Deployment::start(&home).await;
        let socket = deployment.config.listen.admin_socket.clone();
        let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        deployment.admin().send(Ask::get("/nothing")).await.refused(404, "not-found");
        let status = deployment.status().await;
        assert!(status.ready && status.problems.is_empty(), "{status:?}");
        assert_eq!(status.issuers.len(), 4);
        for issuer in status.issuers.iter().filter(|issuer| issuer.id != "root-1") {
            assert_eq!(issuer.state, "active");
            assert!(issuer.crl_number.is_some() && issuer.ocsp_signer_not_after.is_some(), "{issuer:?}");
        }
        let root = status.issuers.iter().find(|issuer| issuer.id == "root-1").unwrap();
        assert_eq!((root.state.as_str(), root.crl_number.is_some()), ("offline", true));
        let site = deployment.stop().await;
        assert!(!socket.exists(), "it goes with the service");
        assert!(site.clock.now() > pki::Timestamp::EPOCH);
    });
}

#[test]
fn a_connection_that_says_nothing_does_not_keep_its_place() {
    isolated(async |home| {
        let config = vec![("tls_handshake = \"10s\"", "tls_handshake = \"300ms\"")];
        let deployment = Deployment::start_with(&home, &Options { config, ..Options::default() }).await;
        let listen = &deployment.config.listen;
        for address in [listen.public, listen.metrics, listen.api] {
            // Nothing at all; and the beginning of HTTP/2, which is not spoken here.
            for words in ["", "PRI * HTTP/2.0\r\n", "GET / HTTP/1.1\r\nhost: x"] {
                let mut connection = tokio::net::TcpStream::connect(address).await.unwrap();
                connection.write_all(words.as_bytes()).await.unwrap();
                let ended = tokio::time::timeout(Duration::from_secs(60), async {
                    // An error is an end too.
                    let _ = tokio::io::copy(&mut connection, &mut tokio::io::sink()).await;
                });
                assert!(ended.await.is_ok(), "{address} {words:?}");
            }
        }
    });
}
