//! The clients that people use, against the whole service: OpenSSL, curl and GnuTLS, whatever the keys of its OCSP signers
//! are; and what HTTP must do for them.

use std::path::PathBuf;

use api::responders::SignerKeys;
use api::rotation::{RotationRequest, RotationView};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use der::{Decode, Encode};
use pki::SerialNumber;
use pki::ocsp::{HashAlgorithm, IssuerHashes, build_request};
use tests::openssl::write_certificate;
use tests::pkilint::{assert_clean, lint_ocsp};
use tests::responder::RemoteResponder;
use tests::strangers::run;
use tests::{Ask, Door, Home, Options, PaperCard, World, isolated};

/// A service with cards in different states, and their certificates as files.
struct Scene {
    world: World,
    good: PaperCard,
    dir: PathBuf,
    url: String,
    /// The responder, where it is a process of its own.
    remote: Option<RemoteResponder>,
}

impl Scene {
    /// Signers have keys of this kind, as `cardinal.toml` lists them.
    async fn with_keys(home: &Home, key_types: &'static str) -> Self {
        let config = vec![("signer_key_types = [\"P-256\"]", key_types)];
        Scene::with(home, Options { config, ..Options::default() }).await
    }

    async fn with(home: &Home, options: Options) -> Self {
        let world = World::with(home, &options).await;
        let (good, held, cancelled) = (world.card().await, world.card().await, world.card().await);
        world.issuer.suspend(&held, "investigation").await;
        world.issuer.cancel(&cancelled, "stolen").await;
        let dir = world.scratch();
        write_certificate(&dir, "root.pem", &world.root());
        write_certificate(&dir, "issuer.pem", &world.issuer("authentication-1"));
        for (name, card) in [("good.pem", &good), ("held.pem", &held), ("cancelled.pem", &cancelled)] {
            write_certificate(&dir, name, &card.authentication_certificate);
        }
        let url = format!("http://{}/ocsp", world.config.listen.public);
        Scene { world, good, dir, url, remote: None }
    }

    /// The same, with a responder that is a process of its own.
    async fn remote(home: &Home, key_types: &'static str) -> Self {
        let scene = Scene::with(home, Options::default()).await;
        let changes = [("key_types = [\"P-256\"]", key_types)];
        let mut remote = scene.world.enrol_responder_with(1, SignerKeys::Memory, &changes).await;
        remote.start().await;
        scene.world.followed_by(2).await;
        let Door::Plain(address) = remote.public() else { panic!("OCSP is plain HTTP") };
        Scene { url: format!("http://{address}/ocsp"), remote: Some(remote), ..scene }
    }

    /// Asks by OpenSSL, which trusts the root alone; what it prints.
    fn openssl(&self, arguments: &[&str]) -> String {
        let all = [&["ocsp", "-issuer", "issuer.pem", "-CAfile", "root.pem", "-url", &self.url], arguments].concat();
        let (succeeded, text) = run(&self.dir, "openssl", &all);
        assert!(succeeded && text.contains("Response verify OK"), "{arguments:?}: {text}");
        text
    }

    /// A request by OpenSSL, as a file and as octets.
    fn request(&self, name: &str, arguments: &[&str]) -> Vec<u8> {
        let all = [&["ocsp", "-issuer", "issuer.pem", "-reqout", name], arguments].concat();
        let (succeeded, text) = run(&self.dir, "openssl", &all);
        assert!(succeeded, "{text}");
        std::fs::read(self.dir.join(name)).unwrap()
    }

    /// What OpenSSL says of an answer in a file, and of one certificate in it.
    fn read_by_openssl(&self, answer: &str, arguments: &[&str]) -> String {
        // It would look for a nonce of its own making.
        let common = ["ocsp", "-issuer", "issuer.pem", "-CAfile", "root.pem", "-no_nonce", "-respin", answer];
        let (succeeded, text) = run(&self.dir, "openssl", &[&common[..], arguments].concat());
        assert!(succeeded && text.contains("Response verify OK"), "{arguments:?}: {text}");
        text
    }

    /// curl; gives the status and the headers. The body is in the file `answer.der`.
    fn curl(&self, arguments: &[&str]) -> (u16, String) {
        let common = ["-sS", "--path-as-is", "-D", "headers", "-o", "answer.der", "-w", "%{http_code}"];
        let (succeeded, text) = run(&self.dir, "curl", &[&common[..], arguments].concat());
        assert!(succeeded, "{arguments:?}: {text}");
        let headers = std::fs::read_to_string(self.dir.join("headers")).unwrap();
        (text.trim().parse().unwrap_or_else(|_| panic!("{text}")), headers)
    }

    /// A POST of a file by curl.
    fn post(&self, file: &str, content_type: &str) -> (u16, String) {
        let content_type = format!("content-type: {content_type}");
        self.curl(&["--data-binary", &format!("@{file}"), "-H", &content_type, &self.url])
    }

    fn answer(&self) -> Vec<u8> {
        std::fs::read(self.dir.join("answer.der")).unwrap()
    }
}

/// All that OpenSSL is asked for, with signers of one kind.
fn every_status_by_openssl(scene: &Scene) {
    for hash in ["-sha1", "-sha256", "-sha384", "-sha512"] {
        for nonce in ["-nonce", "-no_nonce"] {
            let text = scene.openssl(&[nonce, hash, "-cert", "good.pem"]);
            assert!(text.contains("good.pem: good") && !text.contains("WARNING"), "{hash} {nonce}: {text}");
        }
    }
    let text = scene.openssl(&["-cert", "held.pem"]);
    assert!(text.contains("held.pem: revoked") && text.contains("Reason: certificateHold"), "{text}");
    let text = scene.openssl(&["-cert", "cancelled.pem"]);
    assert!(text.contains("cancelled.pem: revoked") && text.contains("Reason: keyCompromise"), "{text}");
    let text = scene.openssl(&["-serial", "0x4242424242424242"]);
    assert!(text.contains("0x4242424242424242: unknown"), "{text}");
    let text = scene.openssl(&["-cert", "good.pem", "-sha256", "-cert", "held.pem", "-serial", "77"]);
    for words in ["good.pem: good", "held.pem: revoked", "77: unknown"] {
        assert!(text.contains(words), "{text}");
    }
}

/// A GET by curl, verified by OpenSSL; and a POST, which gives the same octets.
fn get_and_post_by_curl(scene: &Scene) {
    for hash in ["-sha1", "-sha256"] {
        let request = scene.request("request.der", &[hash, "-cert", "good.pem", "-no_nonce"]);
        let text = BASE64.encode(&request);
        let mut answers = Vec::new();
        for path in [
            format!("/{text}"),
            format!("/{}", text.replace('/', "%2F").replace('+', "%2B").replace('=', "%3D")),
            format!("/{}", text.replace('/', "%2f").replace('+', "%2b").replace('=', "%3d")),
            format!("/{}", text.replace('+', "%20")),
            format!("/{}", text.trim_end_matches('=')),
            format!("/{}", BASE64URL_NOPAD.encode(&request)),
            format!("//{text}"),
            format!("///{text}"),
        ] {
            let (status, headers) = scene.curl(&[&format!("{}{path}", scene.url)]);
            assert_eq!(status, 200, "{path}: {headers}");
            assert!(headers.contains("content-type: application/ocsp-response"), "{headers}");
            assert!(headers.contains("cache-control: max-age=5, public"), "{headers}");
            answers.push(scene.answer());
        }
        let root = scene.url.trim_end_matches("/ocsp");
        for path in [format!("{root}/{text}"), format!("{root}//{text}")] {
            assert_eq!(scene.curl(&[&path]).0, 200, "{path}");
            answers.push(scene.answer());
        }
        assert_eq!(scene.post("request.der", "application/ocsp-request").0, 200);
        answers.push(scene.answer());
        assert!(answers.iter().all(|answer| *answer == answers[0]), "one answer, however it is asked for");
        let text = scene.read_by_openssl("answer.der", &[hash, "-cert", "good.pem"]);
        assert!(text.contains("good.pem: good"), "{text}");
    }
    // Base64 of this nonce is nothing but slashes; what comes back is for this request alone.
    let request = request_with_slashes(scene);
    let text = BASE64.encode(&request);
    assert!(text.contains("////"), "{text}");
    let (status, headers) = scene.curl(&[&format!("{}/{text}", scene.url)]);
    assert!(status == 200 && headers.contains("cache-control: no-store"), "{headers}");
    assert!(scene.answer().windows(32).any(|octets| octets == [0xff; 32]), "the nonce comes back");
    assert!(scene.read_by_openssl("answer.der", &["-sha256", "-cert", "good.pem"]).contains("good.pem: good"));
}

fn request_with_slashes(scene: &Scene) -> Vec<u8> {
    let record = scene.world.record(&scene.good.authentication_certificate);
    let issuer = pki::certificate::ParsedCertificate::from_der(&scene.world.issuer(&record.id.issuer)).unwrap();
    let hashes = IssuerHashes::new(issuer.subject_der(), issuer.public_key());
    build_request(&[&hashes.cert_id(HashAlgorithm::Sha256, record.id.serial)], Some(&[0xff; 32])).unwrap()
}

fn every_status_by_gnutls(scene: &Scene) {
    let ask = format!("--ask={}", scene.url);
    for (name, words) in [("good.pem", "Certificate Status: good"), ("cancelled.pem", "Certificate Status: revoked")] {
        for nonce in ["--nonce", "--no-nonce"] {
            let files = ["--load-cert", name, "--load-issuer", "issuer.pem", "--load-trust", "issuer.pem"];
            let (_, text) = run(&scene.dir, "ocsptool", &[&[&ask, nonce], &files[..]].concat());
            assert!(
                text.contains(words) && text.contains("Verifying OCSP Response: Success"),
                "{name} {nonce}: {text}"
            );
        }
    }
}

// conformance: O1, O2, O3, O4, O7, O8, O12, O14, O17, H1, H2, H3, H9
#[test]
fn every_client_understands_answers_that_are_signed_with_p256() {
    isolated(async |home| {
        let scene = Scene::with_keys(&home, "signer_key_types = [\"P-256\"]").await;
        every_status_by_openssl(&scene);
        get_and_post_by_curl(&scene);
        every_status_by_gnutls(&scene);
    });
}

// conformance: O1, O2, O3, O4, O7, O8, O12, O14, O17, H1, H2, H3, H9
#[test]
fn every_client_understands_answers_that_are_signed_with_rsa() {
    isolated(async |home| {
        let scene = Scene::with_keys(&home, "signer_key_types = [\"RSA-2048\"]").await;
        assert!(scene.openssl(&["-cert", "good.pem", "-resp_text"]).contains("sha256WithRSAEncryption"));
        every_status_by_openssl(&scene);
        get_and_post_by_curl(&scene);
        every_status_by_gnutls(&scene);
        let id = scene.world.record(&scene.good.authentication_certificate).id;
        for serial in [id.serial, SerialNumber::from_random([5; SerialNumber::RANDOM_OCTETS])] {
            for nonce in [None, Some(&[7; 32][..])] {
                let answer = scene.world.ocsp_response(&id.issuer, serial, nonce).await;
                assert_clean("an answer that is signed with RSA", &lint_ocsp(&answer));
            }
        }
    });
}

// conformance: O22
#[test]
fn a_client_gets_the_algorithm_that_it_prefers_and_who_prefers_none_the_first() {
    isolated(async |home| {
        let scene = Scene::with_keys(&home, "signer_key_types = [\"P-256\", \"RSA-3072\"]").await;
        let (p256, rsa, p384) = ("1.2.840.10045.4.3.2", "1.2.840.113549.1.1.11", "1.2.840.10045.4.3.3");
        let (p256_says, rsa_says) = ("ecdsa-with-SHA256", "sha256WithRSAEncryption");
        let plain = scene.request("request.der", &["-sha256", "-cert", "good.pem", "-no_nonce"]);
        for (preferred, expected) in [
            (&[][..], p256_says),
            (&[rsa], rsa_says),
            (&[rsa, p256], rsa_says),
            (&[p256, rsa], p256_says),
            (&[p384, rsa], rsa_says),
            (&[p384], p256_says),
        ] {
            std::fs::write(scene.dir.join("preferring.der"), preferring(&plain, preferred)).unwrap();
            // Twice: what is kept for repetition must not be given to who prefers another.
            for _ in 0..2 {
                assert_eq!(scene.post("preferring.der", "application/ocsp-request").0, 200);
                let text = scene.read_by_openssl("answer.der", &["-sha256", "-cert", "good.pem", "-resp_text"]);
                assert_eq!(signature_algorithm(&text), expected, "{preferred:?}: {text}");
                assert!(text.contains("good.pem: good"), "{text}");
            }
        }
    });
}

fn extension_of(oid: &str, critical: bool, value: &[u8]) -> x509_cert::ext::Extension {
    let extn_value = der::asn1::OctetString::new(value).unwrap();
    x509_cert::ext::Extension { extn_id: oid.parse().unwrap(), critical, extn_value }
}

/// What signed an answer, out of what OpenSSL prints of it.
fn signature_algorithm(text: &str) -> &str {
    let after = text.split("Signature Algorithm:").nth(1).unwrap_or_default();
    after.split_whitespace().next().unwrap_or_default()
}

/// The request with preferred signature algorithms (RFC 6960 4.4.7.1).
fn preferring(request: &[u8], algorithms: &[&str]) -> Vec<u8> {
    let mut request = x509_ocsp::OcspRequest::from_der(request).unwrap();
    let preferred: Vec<_> = algorithms
        .iter()
        .map(|oid| x509_ocsp::ext::PreferredSignatureAlgorithm {
            sig_identifier: spki::AlgorithmIdentifierOwned { oid: oid.parse().unwrap(), parameters: None },
            cert_identifier: None,
        })
        .collect();
    request.tbs_request.request_extensions = (!algorithms.is_empty())
        .then(|| vec![extension_of("1.3.6.1.5.5.7.48.1.8", false, &preferred.to_der().unwrap())]);
    request.to_der().unwrap()
}

// conformance: O12, K3
#[test]
fn signers_are_replaced_under_the_eyes_of_openssl() {
    isolated(async |home| {
        let scene = Scene::with_keys(&home, "signer_key_types = [\"P-256\", \"RSA-2048\"]").await;
        let signer = || {
            let text = scene.openssl(&["-nonce", "-cert", "good.pem", "-resp_text"]);
            assert!(text.contains("good.pem: good"), "{text}");
            let certificate = text.rsplit("Serial Number:").next().expect("the delegate's certificate").to_owned();
            certificate.split_whitespace().next().expect("a serial number").to_owned()
        };
        let before = signer();
        let kept = scene.openssl(&["-no_nonce", "-cert", "good.pem"]);
        assert!(kept.contains("good.pem: good"), "{kept}");
        let people = vec!["Ada First".to_owned()];
        let wanted = RotationRequest { kind: "ocsp-signer".to_owned(), target: None, people, overlap: None };
        let reply = scene.world.admin().send(Ask::post("/rotations").json(&wanted)).await.expect(201);
        let view: RotationView = reply.read();
        let serials =
            view.facts.iter().find(|(name, _)| name.as_str() == "signer.authentication-1").expect("its signers").1;
        assert_eq!(serials.split(", ").count(), 2, "one of each kind: {serials}");
        let after = signer();
        assert_ne!(before, after);
        // The answer that was kept is good for as long as it says, by whomever it was signed.
        assert!(scene.openssl(&["-no_nonce", "-cert", "good.pem"]).contains("good.pem: good"));
        assert!(scene.openssl(&["-no_nonce", "-cert", "cancelled.pem"]).contains("cancelled.pem: revoked"));
    });
}

// conformance: O1, O2, O3, O4, O7, O8, O12, O14, O17, O22, H1, H2, H3, H9
#[test]
fn every_client_understands_a_responder_that_is_a_process_of_its_own() {
    isolated(async |home| {
        let scene = Scene::remote(&home, "key_types = [\"RSA-2048\", \"P-256\"]").await;
        let text = scene.openssl(&["-cert", "good.pem", "-resp_text"]);
        assert!(text.contains("sha256WithRSAEncryption"), "{text}");
        let name = &scene.remote.as_ref().expect("a process").name;
        assert!(text.contains(&format!("OCSP signer of authentication-1 at {name}")), "{text}");
        every_status_by_openssl(&scene);
        get_and_post_by_curl(&scene);
        every_status_by_gnutls(&scene);

        let plain = scene.request("request.der", &["-sha256", "-cert", "good.pem", "-no_nonce"]);
        for (preferred, expected) in
            [(&[][..], "sha256WithRSAEncryption"), (&["1.2.840.10045.4.3.2"], "ecdsa-with-SHA256")]
        {
            std::fs::write(scene.dir.join("preferring.der"), preferring(&plain, preferred)).unwrap();
            assert_eq!(scene.post("preferring.der", "application/ocsp-request").0, 200);
            let text = scene.read_by_openssl("answer.der", &["-sha256", "-cert", "good.pem", "-resp_text"]);
            assert_eq!(signature_algorithm(&text), expected, "{text}");
            assert_clean(expected, &lint_ocsp(&scene.answer()));
        }
        scene.world.issuer.cancel(&scene.good, "lost").await;
        assert!(scene.openssl(&["-no_nonce", "-cert", "good.pem"]).contains("good.pem: revoked"));
    });
}

// conformance: O6, O9, O15, O16, O18, O20, O21, O27
#[test]
fn what_is_asked_wrongly_is_refused_by_name_and_what_is_signed_is_answered() {
    isolated(async |home| {
        let scene = Scene::with(&home, Options::default()).await;
        write_certificate(&scene.dir, "signing.pem", &scene.world.issuer("signing-1"));
        write_certificate(&scene.dir, "sign.pem", &scene.good.signing_certificate);
        let key = pki::pem::encode("PRIVATE KEY", &scene.good.authentication.to_pkcs8());
        std::fs::write(scene.dir.join("good.key"), key).unwrap();

        let signed = scene.request("signed.der", &["-cert", "good.pem", "-signer", "good.pem", "-signkey", "good.key"]);
        let request = x509_ocsp::OcspRequest::from_der(&signed).unwrap();
        assert!(request.optional_signature.is_some() && request.tbs_request.requestor_name.is_some());
        // A signed request has its chain in it; the shipped limit has room for it.
        assert_eq!(scene.post("signed.der", "application/ocsp-request").0, 200);
        assert!(scene.read_by_openssl("answer.der", &["-cert", "good.pem"]).contains("good.pem: good"));

        let refused = |arguments: &[&str], expected: &str| {
            let (_, text) = run(&scene.dir, "openssl", &[&["ocsp", "-url", &scene.url], arguments].concat());
            assert!(text.contains(&format!("Responder Error: {expected}")), "{arguments:?}: {text}");
        };
        refused(&["-issuer", "root.pem", "-cert", "issuer.pem"], "unauthorized");
        refused(
            &["-issuer", "issuer.pem", "-cert", "good.pem", "-issuer", "signing.pem", "-cert", "sign.pem"],
            "unauthorized",
        );
        let plain = scene.request("request.der", &["-sha256", "-cert", "good.pem", "-no_nonce"]);
        let mut other_key = plain.clone();
        let record = scene.world.record(&scene.good.authentication_certificate);
        let issuer = pki::certificate::ParsedCertificate::from_der(&scene.world.issuer(&record.id.issuer)).unwrap();
        let hash = HashAlgorithm::Sha256.digest(issuer.public_key().key_bits());
        let at = plain.windows(hash.len()).position(|octets| octets == hash).expect("the issuer's key hash");
        other_key[at] ^= 1;
        let with = |extension: &str, critical: bool, value: &[u8]| {
            let mut request = x509_ocsp::OcspRequest::from_der(&plain).unwrap();
            request.tbs_request.request_extensions = Some(vec![extension_of(extension, critical, value)]);
            request.to_der().unwrap()
        };
        let nonce = "1.3.6.1.5.5.7.48.1.2";
        for (what, request, status) in [
            ("another key of the issuer's name", other_key, 6),
            ("an empty nonce", with(nonce, false, &[4, 0]), 1),
            ("a nonce of 129 octets", with(nonce, false, &[&[4, 0x81, 129][..], &[7; 129]].concat()), 1),
            ("an unknown critical extension", with("1.2.3.4", true, &[5, 0]), 1),
        ] {
            std::fs::write(scene.dir.join("wrong.der"), request).unwrap();
            assert_eq!(scene.post("wrong.der", "application/ocsp-request").0, 200, "{what}");
            assert_eq!(scene.answer(), [0x30, 3, 0x0a, 1, status], "{what}");
        }
        std::fs::write(scene.dir.join("other.der"), with("1.2.3.4", false, &[5, 0])).unwrap();
        assert_eq!(scene.post("other.der", "application/ocsp-request").0, 200);
        assert!(scene.read_by_openssl("answer.der", &["-sha256", "-cert", "good.pem"]).contains("good.pem: good"));
    });
}

/// An IMF-fixdate (RFC 9110 5.6.7): `Sun, 22 Nov 2026 15:30:00 GMT`.
fn is_http_date(text: &str) -> bool {
    text.len() == 29 && text.ends_with(" GMT") && text.as_bytes()[3] == b','
}

// conformance: O16, O27, H4, H5, H6, H7, H8, H9, H10, H11
#[test]
fn http_is_as_clients_and_caches_need_it() {
    isolated(async |home| {
        let scene = Scene::with(&home, Options::default()).await;
        let request = scene.request("request.der", &["-sha256", "-cert", "good.pem", "-no_nonce"]);
        let get = format!("{}/{}", scene.url, BASE64URL_NOPAD.encode(&request));
        let header = |headers: &str, name: &str| {
            let found = headers.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
            found.unwrap_or_default().trim().to_owned()
        };
        let (status, headers) = scene.curl(&[&get]);
        assert_eq!(status, 200);
        for name in ["date", "last-modified", "expires"] {
            assert!(is_http_date(&header(&headers, name)), "{name}: {headers}");
            assert_eq!(headers.matches(&format!("\n{name}:")).count(), 1, "{headers}");
        }
        assert_eq!(header(&headers, "content-length"), scene.answer().len().to_string());
        for directive in ["public", "no-transform", "must-revalidate"] {
            assert!(header(&headers, "cache-control").contains(directive), "{headers}");
        }
        let tag = header(&headers, "etag");
        let (status, headers) = scene.curl(&["-H", &format!("If-None-Match: {tag}"), &get]);
        assert_eq!((status, header(&headers, "etag")), (304, tag), "{headers}");
        let (status, headers) = scene.curl(&["--head", &get]);
        assert_eq!(
            (status, header(&headers, "content-type").as_str()),
            (200, "application/ocsp-response"),
            "{headers}"
        );
        for method in ["PUT", "DELETE", "PATCH"] {
            let (status, headers) = scene.curl(&["-X", method, &scene.url]);
            assert_eq!((status, header(&headers, "allow").as_str()), (405, "GET, HEAD, POST"), "{headers}");
        }

        let (status, headers) = scene.post("request.der", "text/plain");
        assert_eq!((status, header(&headers, "cache-control").as_str()), (200, "no-store"), "{headers}");
        assert!(scene.read_by_openssl("answer.der", &["-sha256", "-cert", "good.pem"]).contains("good.pem: good"));
        for (name, octets) in [("empty", &[][..]), ("rubbish", b"rubbish"), ("more", &[&request[..], &[0]].concat())] {
            std::fs::write(scene.dir.join(name), octets).unwrap();
            let (status, headers) = scene.post(name, "application/ocsp-request");
            assert_eq!((status, header(&headers, "cache-control").as_str()), (200, "no-store"), "{name}: {headers}");
            assert_eq!(scene.answer(), [0x30, 3, 0x0a, 1, 1], "{name}: malformedRequest and nothing else");
        }
        std::fs::write(scene.dir.join("long"), vec![b'M'; 4097]).unwrap();
        assert_eq!(scene.post("long", "application/ocsp-request").0, 413);
        // Longer than 255 octets, as RFC 9919 5 would not have it, and answered all the same.
        let several = scene.request("several.der", &["-sha256", "-cert", "good.pem", "-cert", "held.pem", "-nonce"]);
        let long = format!("{}/{}", scene.url, BASE64URL_NOPAD.encode(&several));
        assert!(long.len() > 255);
        assert_eq!(scene.curl(&[&long]).0, 200);
        let text = scene.read_by_openssl("answer.der", &["-sha256", "-cert", "good.pem", "-cert", "held.pem"]);
        assert!(text.contains("good.pem: good") && text.contains("held.pem: revoked"), "{text}");
        assert_eq!(scene.curl(&[&format!("{}/{}", scene.url, "M".repeat(9 * 1024))]).0, 414);
    });
}
