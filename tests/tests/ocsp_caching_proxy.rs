//! nginx in front of the responder, as a cache that sites put there: it hands out what it may keep, asks again by the entity
//! tag, keeps nothing that is good for one question only, leaves the path as it is, and never serves what is over.

use std::net::SocketAddr;
use std::path::PathBuf;

use data_encoding::{BASE64, BASE64URL_NOPAD};
use pki::certificate::ParsedCertificate;
use pki::ocsp::{CertStatus, Expected, HashAlgorithm, IssuerHashes, build_request, verify_response};
use relying::probe::{OCSP_TIME, OcspProbe, Outcome, SIGNER_WARNING, Status, ocsp};
use server::clock::Clock;
use tests::openssl::write_certificate;
use tests::strangers::{Stranger, run};
use tests::{Ask, Door, Home, Options, PaperCard, Reply, World, eventually, isolated};

struct Scene {
    world: World,
    card: PaperCard,
    dir: PathBuf,
    proxy: SocketAddr,
    nginx: Stranger,
}

impl Scene {
    /// A service whose answers caches may keep for a second, and the proxy.
    async fn new(home: &Home) -> Self {
        let config = vec![("ocsp_max_age_authentication = \"5s\"", "ocsp_max_age_authentication = \"1s\"")];
        let world = World::with(home, &Options { config, ..Options::default() }).await;
        let (dir, proxy) = (home.file("proxy"), SocketAddr::new(home.address(), 8090));
        // As in docs/operators.md. `proxy_pass` without a path hands the path on as it came.
        let http = format!(
            "    proxy_cache_path {} levels=1 keys_zone=ocsp:1m;
                server {{
                listen {proxy};
                merge_slashes off;
                location /ocsp {{
                    proxy_pass http://{};
                    proxy_cache ocsp;
                    proxy_cache_key $request_method$request_uri;
                    proxy_cache_revalidate on;
                    add_header x-cache $upstream_cache_status always;
                }}
            }}",
            dir.join("cache").display(),
            world.config.listen.public,
        );
        let nginx = Stranger::nginx(&dir, &http, proxy).await;
        let card = world.card().await;
        write_certificate(&dir, "root.pem", &world.root());
        write_certificate(&dir, "issuer.pem", &world.issuer("authentication-1"));
        write_certificate(&dir, "card.pem", &card.authentication_certificate);
        Scene { world, card, dir, proxy, nginx }
    }

    fn cert_id(&self) -> Vec<u8> {
        let certificate = ParsedCertificate::from_der(&self.card.authentication_certificate).unwrap();
        let issuer = ParsedCertificate::from_der(&self.world.issuer("authentication-1")).unwrap();
        IssuerHashes::new(issuer.subject_der(), issuer.public_key())
            .cert_id(HashAlgorithm::Sha256, certificate.serial())
    }

    fn request(&self, nonce: Option<&[u8]>) -> Vec<u8> {
        build_request(&[&self.cert_id()], nonce).unwrap()
    }

    async fn send(&self, ask: Ask) -> Reply {
        Door::Plain(self.proxy).send(ask).await
    }

    /// Asks through the proxy.
    async fn get(&self, request: &[u8]) -> Reply {
        self.send(Ask::get(format!("/ocsp/{}", escaped(request)))).await
    }

    /// What an answer says; verified, with the nonce if there was one.
    fn read(&self, reply: &Reply, nonce: Option<&[u8]>) -> CertStatus {
        let issuer = ParsedCertificate::from_der(&self.world.issuer("authentication-1")).unwrap();
        let expected = Expected {
            cert_id: &self.cert_id(),
            issuer_subject_der: issuer.subject_der(),
            issuer_key: issuer.public_key(),
            nonce,
            now: self.world.clock.now(),
            max_clock_skew: std::time::Duration::ZERO,
        };
        assert_eq!(reply.status, 200, "{reply:?} {}", self.nginx.log());
        verify_response(&reply.body, &expected).unwrap().status
    }
}

fn escaped(request: &[u8]) -> String {
    BASE64.encode(request).replace('/', "%2F").replace('+', "%2B").replace('=', "%3D")
}

// conformance: O28, H9, H11
#[test]
fn an_answer_is_given_again_while_it_may_be_and_then_asked_for_by_its_tag() {
    isolated(async |home| {
        let scene = Scene::new(&home).await;
        let request = scene.request(None);
        let first = scene.get(&request).await;
        assert_eq!((first.header("x-cache"), scene.read(&first, None)), ("MISS", CertStatus::Good), "{first:?}");
        let hit = eventually("an answer from the cache", async || {
            let again = scene.get(&request).await;
            (again.header("x-cache") == "HIT").then_some(again)
        })
        .await;
        assert_eq!((&hit.body, hit.header("etag")), (&first.body, first.header("etag")));
        // A second later it may not be given without a question, which the responder answers by 304.
        let again = eventually("a question by the tag", async || {
            let again = scene.get(&request).await;
            (again.header("x-cache") == "REVALIDATED").then_some(again)
        })
        .await;
        assert_eq!((&again.body, scene.read(&again, None)), (&first.body, CertStatus::Good));

        scene.world.issuer.cancel(&scene.card, "lost").await;
        let revoked = eventually("the revocation", async || {
            let again = scene.get(&request).await;
            matches!(scene.read(&again, None), CertStatus::Revoked { .. }).then_some(again)
        })
        .await;
        assert_ne!(revoked.header("etag"), first.header("etag"));
        // Whoever asks past the cache knew it at once.
        let direct = scene.world.public().send(Ask::get(format!("/ocsp/{}", escaped(&request)))).await;
        assert_eq!(direct.body, revoked.body);

        let site = scene.world.deployment.stop().await;
        let gone = eventually("the end of what may be kept", async || {
            let again = Door::Plain(scene.proxy).send(Ask::get(format!("/ocsp/{}", escaped(&request)))).await;
            (again.status != 200).then_some(again.status)
        })
        .await;
        assert_eq!(gone, 502, "what may be kept no longer is not served instead of nothing");
        drop(site);
    });
}

// conformance: O17, H9
#[test]
fn what_is_good_for_one_question_is_not_kept() {
    isolated(async |home| {
        let scene = Scene::new(&home).await;
        let nonce = [7; 32];
        let request = scene.request(Some(&nonce));
        for _ in 0..2 {
            let reply = scene.get(&request).await;
            assert_eq!(reply.header("x-cache"), "MISS", "{reply:?}");
            assert_eq!(scene.read(&reply, Some(&nonce)), CertStatus::Good);
        }
        for request in [scene.request(None), request] {
            for _ in 0..2 {
                let posted =
                    Ask::post("/ocsp").header("content-type", "application/ocsp-request").body(request.clone());
                let reply = scene.send(posted).await;
                assert!(!["HIT", "REVALIDATED"].contains(&reply.header("x-cache")), "{reply:?}");
                assert_eq!(scene.read(&reply, None), CertStatus::Good);
            }
        }
        for rubbish in ["/ocsp/MA", "/ocsp/", "/ocsp"] {
            for _ in 0..2 {
                let reply = scene.send(Ask::get(rubbish)).await.expect(200);
                assert_eq!(
                    (reply.header("x-cache"), &reply.body[..]),
                    ("MISS", &[0x30, 3, 0x0a, 1, 1][..]),
                    "{rubbish}"
                );
            }
        }
    });
}

// conformance: H1, H2, H3, H7
#[test]
fn every_spelling_of_a_path_comes_through() {
    isolated(async |home| {
        let scene = Scene::new(&home).await;
        let request = scene.request(None);
        let text = BASE64.encode(&request);
        let direct = scene.world.public().send(Ask::get(format!("/ocsp/{}", escaped(&request)))).await.expect(200);
        for path in [
            text.clone(),
            format!("/{text}"),
            format!("//{text}"),
            text.replace('/', "%2f").replace('+', "%2b").replace('=', "%3d"),
            text.replace('+', "%20"),
            text.trim_end_matches('=').to_owned(),
            BASE64URL_NOPAD.encode(&request),
        ] {
            let reply = scene.send(Ask::get(format!("/ocsp/{path}"))).await;
            assert_eq!(scene.read(&reply, None), CertStatus::Good, "{path}");
            assert_eq!(reply.body, direct.body, "{path}");
        }
        // Base64 of this nonce is nothing but slashes.
        let nonce = [0xff; 32];
        let text = BASE64.encode(&scene.request(Some(&nonce)));
        assert!(text.contains("////"), "{text}");
        let reply = scene.send(Ask::get(format!("/ocsp/{text}"))).await;
        assert_eq!(scene.read(&reply, Some(&nonce)), CertStatus::Good);
        let head = scene.send(Ask::new(http::Method::HEAD, format!("/ocsp/{}", escaped(&request)))).await.expect(200);
        assert!(head.body.is_empty(), "{head:?}");
    });
}

// conformance: O1, O7, O17, H1, H9, H11
#[test]
fn clients_and_the_probe_find_nothing_wrong_behind_it() {
    isolated(async |home| {
        let scene = Scene::new(&home).await;
        let url = format!("http://{}/ocsp", scene.proxy);
        let files = ["ocsp", "-issuer", "issuer.pem", "-CAfile", "root.pem", "-cert", "card.pem", "-url", &url];
        for nonce in ["-nonce", "-no_nonce"] {
            let (succeeded, text) = run(&scene.dir, "openssl", &[&files[..], &[nonce]].concat());
            assert!(succeeded && text.contains("Response verify OK") && text.contains("card.pem: good"), "{text}");
        }
        let probe = OcspProbe {
            url,
            certificate: scene.card.authentication_certificate.clone(),
            issuers: vec![scene.world.issuer("authentication-1")],
            nonce: true,
            expected: Some(Status::Good),
            warn: SIGNER_WARNING,
            now: scene.world.clock.now(),
            time: OCSP_TIME,
        };
        let report = ocsp(&probe).await.unwrap();
        for check in &report.checks {
            // The certificate names the responder itself.
            let passed = check.outcome == Outcome::Passed || check.name == "address";
            assert!(passed, "{check:?} {}", scene.nginx.log());
        }
    });
}

// conformance: H1
#[test]
fn the_probe_finds_out_a_proxy_that_merges_slashes() {
    isolated(async |home| {
        let scene = Scene::new(&home).await;
        let (dir, address) = (home.file("merging"), SocketAddr::new(home.address(), 8091));
        // With a path after the host nginx hands on the path as it understood it: decoded, slashes merged.
        let http = format!(
            "    server {{ listen {address}; location /ocsp {{ proxy_pass http://{}/ocsp; }} }}",
            scene.world.config.listen.public
        );
        let _merging = Stranger::nginx(&dir, &http, address).await;
        let probe = OcspProbe {
            url: format!("http://{address}/ocsp"),
            certificate: scene.card.authentication_certificate.clone(),
            issuers: vec![scene.world.issuer("authentication-1")],
            nonce: false,
            expected: None,
            warn: SIGNER_WARNING,
            now: scene.world.clock.now(),
            time: OCSP_TIME,
        };
        let report = ocsp(&probe).await.unwrap();
        let slashes = report.checks.iter().find(|check| check.name == "slashes").unwrap();
        assert_eq!(slashes.outcome, Outcome::Warning, "{slashes:?}");
    });
}
