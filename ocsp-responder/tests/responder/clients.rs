//! Real clients against a door on a loopback port: OpenSSL, GnuTLS and curl.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use axum::Router;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ocsp_responder::door::{Door, DoorLimits};
use ocsp_responder::http::{HttpOptions, HttpState, OcspService};
use ocsp_responder::{IssuerPolicy, ResponderOptions};
use pki::feed::PublishedStatus;
use pki::{CrlReason, Timestamp};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::support::{AUTHENTICATION, Scene, TestSigner, seconds, serial};

/// Clients have clocks of their own, so these tests run in the present.
#[expect(clippy::disallowed_methods, reason = "a test at the edge, with clients that read the real clock")]
fn present() -> Timestamp {
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::EPOCH.plus(since_1970)
}

struct Loopback {
    scene: Scene,
    directory: TempDir,
    base: String,
    /// The door closes when it goes.
    _stop: watch::Sender<bool>,
}

async fn loopback() -> Loopback {
    let scene = Scene::with(ResponderOptions::default(), IssuerPolicy::AUTHENTICATION, present());
    let state = HttpState::new(scene.responder.clone(), Arc::new(present), HttpOptions::default());
    let service = OcspService::new(state, Router::new());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = watch::channel(false);
    let limits = DoorLimits {
        connections: 16,
        connections_per_address: 0,
        header_bytes: 16_384,
        request: seconds(60),
        unread: seconds(60),
        shutdown: seconds(1),
    };
    let listener = listener.into_std().unwrap();
    // The future of a door stays on its thread.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let accept = async || {
                let (stream, from) = listener.accept().await?;
                let service = service.clone();
                Ok((Some(from.ip()), async move { Some((stream, service)) }))
            };
            Door::new("test", limits).serve(accept, stopped).await;
        });
    });

    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(directory.path().join(name), bytes).unwrap();
    write("ca.der", &scene.ca.description.certificate_der);
    for (number, status) in [
        (1, Some(PublishedStatus::Good { since: scene.start })),
        (2, Some(revoked(&scene))),
        (3, Some(PublishedStatus::OnHold { since: scene.start })),
        (4, None),
    ] {
        write(&format!("{number}.pem"), scene.ca.leaf_pem(&serial(number)).as_bytes());
        if let Some(status) = status {
            scene.publish(number, status);
        }
    }
    run(directory.path(), "openssl", &["x509", "-inform", "DER", "-in", "ca.der", "-out", "ca.pem"]).await;
    Loopback { scene, directory, base, _stop: stop }
}

fn revoked(scene: &Scene) -> PublishedStatus {
    PublishedStatus::Revoked { at: scene.start, reason: CrlReason::KeyCompromise, invalidity_date: None }
}

/// What a program prints, and whether it says that all went well.
async fn run(directory: &Path, program: &str, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(directory);
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

impl Loopback {
    async fn openssl(&self, arguments: &[&str]) -> String {
        let url = format!("{}/ocsp", self.base);
        let all = [&["ocsp", "-issuer", "ca.pem", "-CAfile", "ca.pem", "-url", &url], arguments].concat();
        let (succeeded, text) = run(self.directory.path(), "openssl", &all).await;
        assert!(succeeded && text.contains("Response verify OK"), "{arguments:?}: {text}");
        text
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssl_understands_every_status() {
    // conformance: O1, O2, O3, O4, O7, O8, O12, O17
    let loopback = loopback().await;
    for hash in ["-sha1", "-sha256", "-sha384", "-sha512"] {
        for nonce in ["-nonce", "-no_nonce"] {
            let text = loopback.openssl(&[nonce, hash, "-cert", "1.pem"]).await;
            assert!(text.contains("1.pem: good") && !text.contains("WARNING"), "{hash} {nonce}: {text}");
        }
    }
    let text = loopback.openssl(&["-sha256", "-cert", "2.pem"]).await;
    assert!(text.contains("2.pem: revoked") && text.contains("Reason: keyCompromise"), "{text}");
    let text = loopback.openssl(&["-cert", "3.pem"]).await;
    assert!(text.contains("3.pem: revoked") && text.contains("Reason: certificateHold"), "{text}");
    let text = loopback.openssl(&["-cert", "4.pem"]).await;
    assert!(text.contains("4.pem: unknown"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssl_gets_one_answer_for_each_certificate_it_asks_about() {
    // conformance: O14
    let loopback = loopback().await;
    let text = loopback.openssl(&["-cert", "1.pem", "-cert", "2.pem", "-sha256", "-cert", "4.pem"]).await;
    for words in ["1.pem: good", "2.pem: revoked", "4.pem: unknown"] {
        assert!(text.contains(words), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssl_sees_a_revocation_and_a_new_signer_at_once() {
    // conformance: O3, O12
    let loopback = loopback().await;
    assert!(loopback.openssl(&["-no_nonce", "-cert", "1.pem"]).await.contains("1.pem: good"));
    loopback.scene.publish(1, revoked(&loopback.scene));
    assert!(loopback.openssl(&["-no_nonce", "-cert", "1.pem"]).await.contains("1.pem: revoked"));
    loopback.scene.publish(4, PublishedStatus::Good { since: loopback.scene.start });
    let next = TestSigner::new(&rcgen::PKCS_ECDSA_P384_SHA384);
    let delegate = loopback.scene.ca.delegate(&next, present().plus(seconds(3600)), true);
    loopback.scene.responder.set_signers(AUTHENTICATION, vec![delegate]).unwrap();
    let text = loopback.openssl(&["-no_nonce", "-cert", "4.pem", "-resp_text"]).await;
    assert!(text.contains("4.pem: good") && text.contains("ecdsa-with-SHA384"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssl_verifies_what_curl_fetches_by_get() {
    // conformance: H1, H2, H3, H9
    let loopback = loopback().await;
    let directory = loopback.directory.path();
    let arguments = ["ocsp", "-issuer", "ca.pem", "-sha256", "-cert", "1.pem", "-no_nonce", "-reqout", "request.der"];
    assert!(run(directory, "openssl", &arguments).await.0);
    let text = STANDARD.encode(std::fs::read(directory.join("request.der")).unwrap());
    let escaped = text.replace('/', "%2F").replace('+', "%2B").replace('=', "%3D");
    for path in [format!("/ocsp/{text}"), format!("/ocsp//{text}"), format!("//{text}"), format!("/ocsp/{escaped}")] {
        let url = format!("{}{path}", loopback.base);
        let arguments = ["-sS", "--fail", "--path-as-is", "-D", "headers", "-o", "answer.der", &url];
        let (succeeded, text) = run(directory, "curl", &arguments).await;
        assert!(succeeded, "{path}: {text}");
        let headers = std::fs::read_to_string(directory.join("headers")).unwrap();
        assert!(headers.contains("200 OK") && headers.contains("max-age=5, public"), "{headers}");
        assert_eq!(headers.to_lowercase().matches("\r\ndate:").count(), 1, "{headers}");
        let arguments =
            ["ocsp", "-issuer", "ca.pem", "-CAfile", "ca.pem", "-sha256", "-cert", "1.pem", "-respin", "answer.der"];
        let (succeeded, text) = run(directory, "openssl", &arguments).await;
        assert!(succeeded && text.contains("Response verify OK") && text.contains("1.pem: good"), "{text}");
    }
    let url = format!("{}/ocsp", loopback.base);
    let body = ["-sS", "--data-binary", "@request.der", "-H", "content-type: application/ocsp-request"];
    let (succeeded, _) = run(directory, "curl", &[&body[..], &["-o", "posted.der", &url]].concat()).await;
    assert!(succeeded);
    assert_eq!(
        std::fs::read(directory.join("posted.der")).unwrap(),
        std::fs::read(directory.join("answer.der")).unwrap()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gnutls_understands_the_answers() {
    // conformance: O1, O2, O17
    let loopback = loopback().await;
    let ask = format!("--ask={}/ocsp", loopback.base);
    for (number, words) in [(1, "Certificate Status: good"), (2, "Certificate Status: revoked")] {
        let certificate = format!("{number}.pem");
        let arguments =
            [&ask[..], "--nonce", "--load-cert", &certificate, "--load-issuer", "ca.pem", "--load-trust", "ca.pem"];
        let (_, text) = run(loopback.directory.path(), "ocsptool", &arguments).await;
        assert!(text.contains(words) && text.contains("Verifying OCSP Response: Success"), "{text}");
    }
}
