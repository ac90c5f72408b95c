//! `cardinal probe` on a running service, as somebody who runs a relying system would call it.

mod cardinal;

use std::path::Path;

use tests::openssl::write_certificate;
use tests::{Deployment, World, isolated};

fn outcome(report: &serde_json::Value, name: &str) -> String {
    let checks = report["checks"].as_array().expect("a list of checks");
    let found = checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("{name} in {report}"));
    found["outcome"].as_str().expect("an outcome").to_owned()
}

// conformance: C1, C2, C4, C5
#[test]
fn the_services_crls_pass_and_what_is_wrong_shows_in_the_exit_code() {
    isolated(async |home| {
        let deployment = Deployment::start(&home).await;
        deployment.publish_crls().await;
        let (config, public) = (deployment.config.file().to_owned(), deployment.config.listen.public);
        let data = deployment.config.service.data_dir.clone();
        let certificate = move |id: &str| data.join("ca").join(format!("{id}.pem")).display().to_string();
        let url = move |id: &str| format!("http://{public}/crl/{id}.crl");
        let probe = move |arguments: &[&str]| {
            let all = [&["--json", "probe", "crl"], arguments].concat();
            let output = cardinal::run(Path::new(&config), &all);
            let report = serde_json::from_slice(&output.stdout).unwrap_or(serde_json::Value::Null);
            (output.status.code(), report, String::from_utf8_lossy(&output.stderr).into_owned())
        };
        // The program blocks, and the service runs on this thread.
        let probes = tokio::task::spawn_blocking(move || {
            for id in ["authentication-1", "signing-1", "devices-1", "root-1"] {
                let issuer = certificate(id);
                let (code, report, said) = probe(&[&url(id), "--issuer", &issuer]);
                assert_eq!(code, Some(0), "{id}: {report} {said}");
                for check in ["http", "form", "signature", "issuer", "times", "scope", "caching", "head"] {
                    assert_eq!(outcome(&report, check), "passed", "{id}: {check}: {report}");
                }
            }
            let (code, report, _) = probe(&[&url("signing-1"), "--issuer", &certificate("authentication-1")]);
            assert_eq!((code, outcome(&report, "signature")), (Some(1), "failed".to_owned()));
            let (code, report, _) = probe(&[&url("nobody-1")]);
            assert_eq!((code, outcome(&report, "http")), (Some(1), "failed".to_owned()));
            let (code, report, said) = probe(&["http://127.0.0.1:1/crl/signing-1.crl"]);
            assert_eq!((code, report), (Some(4), serde_json::Value::Null), "{said}");
            let (code, _, said) = probe(&["https://ca.example/crl/signing-1.crl"]);
            assert!(code == Some(2) && said.contains("http://"), "{code:?}: {said}");
            let (code, _, said) = probe(&["http://127.0.0.1:65536/crl/signing-1.crl"]);
            assert!(code == Some(2) && said.contains("65536"), "{code:?}: {said}");
            let (code, _, said) = probe(&[&url("signing-1"), "--issuer", "/nonexistent/ca.pem"]);
            assert!(code == Some(2) && said.contains("/nonexistent/ca.pem"), "{code:?}: {said}");
        });
        probes.await.expect("no panic");
    });
}

// conformance: O1, O2, O4, O12, O13, O17, O23, H1, H7, H9, H10, H11
#[test]
fn the_services_responder_passes_and_what_is_wrong_shows_in_the_exit_code() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let (good, cancelled) = (world.card().await, world.card().await);
        world.issuer.cancel(&cancelled, "lost").await;
        let dir = world.scratch();
        let file = |name: &str, der: &[u8]| write_certificate(&dir, name, der).display().to_string();
        let good = file("good.pem", &good.authentication_certificate);
        let cancelled = file("cancelled.pem", &cancelled.authentication_certificate);
        let (issuer, other) =
            (file("issuer.pem", &world.issuer("authentication-1")), file("other.pem", &world.issuer("signing-1")));
        let never = file("never.pem", &never_issued(&dir));
        let (config, public) = (world.config.file().to_owned(), world.config.listen.public);
        let url = format!("http://{public}/ocsp");
        let probe = move |arguments: &[&str]| {
            let output = cardinal::run(Path::new(&config), &[&["--json", "probe", "ocsp"], arguments].concat());
            let report = serde_json::from_slice(&output.stdout).unwrap_or(serde_json::Value::Null);
            (output.status.code(), report, String::from_utf8_lossy(&output.stderr).into_owned())
        };
        let probes = tokio::task::spawn_blocking(move || {
            let ask = |url: &str, certificate: &str, more: &[&str]| {
                probe(&[&[url, "--cert", certificate, "--issuer", &issuer], more].concat())
            };
            let (code, report, said) = ask(&url, &good, &["--nonce", "--expect", "good"]);
            assert_eq!((code, &report["status"]), (Some(0), &"good".into()), "{report} {said}");
            let checks = report["checks"].as_array().unwrap();
            let other_than_passed = checks.iter().filter(|check| check["outcome"] != "passed").collect::<Vec<_>>();
            // The certificate names the address that the site configured, which is not this test's.
            assert!(other_than_passed.iter().all(|check| check["name"] == "address"), "{other_than_passed:#?}");
            let seen = &report["revocation_seen_within_seconds"];
            assert_eq!((&seen["next_update"], &seen["max_age"]), (&600.into(), &5.into()), "{report}");

            let (code, report, said) = ask(&url, &cancelled, &[]);
            assert_eq!((code, &report["status"]), (Some(0), &"revoked".into()), "{report} {said}");
            let (code, report, _) = ask(&url, &cancelled, &["--expect", "good"]);
            assert_eq!((code, outcome(&report, "status")), (Some(1), "failed".to_owned()));
            let (code, report, _) = ask(&url, &good, &["--warn", "25h"]);
            assert_eq!((code, outcome(&report, "signer")), (Some(0), "warning".to_owned()));
            let (code, report, _) = ask(&format!("http://{public}/nothing"), &good, &[]);
            assert_eq!((code, outcome(&report, "get")), (Some(1), "failed".to_owned()));
            let (code, report, said) = ask("http://127.0.0.1:1/ocsp", &good, &[]);
            assert_eq!((code, report), (Some(4), serde_json::Value::Null), "{said}");
            for (url, certificate, more, words) in [
                ("https://ca.example/ocsp", &good, &[][..], "http://"),
                (&url, &never, &[], "issued it"),
                (&url, &other, &[], "issued it"),
                (&url, &"/nonexistent/card.pem".to_owned(), &[], "/nonexistent/card.pem"),
                (&url, &good, &["--expect", "fine"], "good, revoked or unknown"),
                (&url, &good, &["--warn", "soon"], "--warn"),
            ] {
                let (code, _, said) = ask(url, certificate, more);
                assert!(code == Some(2) && said.contains(words), "{url} {certificate}: {code:?}: {said}");
            }
        });
        probes.await.expect("no panic");
    });
}

/// A certificate that another CA made under no name that is known here.
fn never_issued(dir: &Path) -> Vec<u8> {
    let arguments =
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout stranger.key -subj /CN=Stranger";
    let pem = tests::openssl::openssl(dir, &arguments.split(' ').collect::<Vec<_>>()).expect("a certificate");
    pki::pem::decode_certificates(pem.as_bytes()).expect("PEM").remove(0)
}
