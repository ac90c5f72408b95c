//! `cardinal probe crl` on a running service, as somebody who runs a relying system would call it.

mod cardinal;

use std::path::Path;

use tests::{Deployment, isolated};

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
