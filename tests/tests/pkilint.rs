//! What a running service gives out, judged by pkilint.

use pki::SerialNumber;
use tests::openssl::openssl;
use tests::pkilint::{allowed, assert_clean, lint_certificate, lint_chain, lint_crl, lint_ocsp};
use tests::{Deployment, World, isolated};

#[test]
fn pkilint_finds_what_is_wrong() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    // A CA whose certificate says so only by accident: no key usage, and no key identifier.
    let make = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -keyout key.pem -subj /CN=x -days 1 \
                -outform DER -out x.der -addext subjectKeyIdentifier=none -addext basicConstraints=CA:TRUE";
    openssl(dir.path(), &make.split_whitespace().collect::<Vec<_>>()).expect("a certificate");
    let certificate = std::fs::read(dir.path().join("x.der")).expect("a file");
    let codes: Vec<_> = lint_certificate(&certificate).into_iter().map(|finding| finding.code).collect();
    for code in
        ["certificate_skid_ca_missing", "basic_constraints_extension_not_critical", "ca_certificate_no_ku_extension"]
    {
        assert!(codes.contains(&format!("pkix.{code}")), "{code}: {codes:?}");
    }
}

#[test]
fn each_exception_has_a_reason() {
    for one in allowed() {
        assert!(["certificate", "chain", "crl", "ocsp"].contains(&one.linter.as_str()), "{one:?}");
        assert!(one.reason.len() > 20, "{one:?}");
    }
}

#[test]
fn what_a_new_service_publishes_is_clean() {
    isolated(async |home| {
        let deployment = Deployment::start(&home).await;
        let root = deployment.root();
        assert_clean("the root", &lint_certificate(&root));
        assert_clean("the root beside itself", &lint_chain(&root, &root));
        deployment.publish_crls().await;
        for id in ["authentication-1", "signing-1", "devices-1"] {
            let issuer = deployment.issuer(id);
            assert_clean(id, &lint_certificate(&issuer));
            assert_clean(id, &lint_chain(&root, &issuer));
            assert_clean(id, &lint_crl(&deployment.crl(id).await));
        }
    });
}

// conformance: E9
#[test]
fn what_is_issued_and_what_ocsp_says_of_it_is_clean() {
    isolated(async |home| {
        let world = World::new(&home).await;
        let card = world.card().await;
        for certificate in [&card.authentication_certificate, &card.signing_certificate] {
            let issuer = world.issuer(&world.record(certificate).id.issuer);
            assert_clean("a card's certificate", &lint_certificate(certificate));
            assert_clean("a card's certificate and its issuer", &lint_chain(&issuer, certificate));
        }
        let id = world.record(&card.authentication_certificate).id;
        let ask = async |what: &str, serial: SerialNumber| {
            for nonce in [None, Some(&[7; 32][..])] {
                assert_clean(what, &lint_ocsp(&world.ocsp_response(&id.issuer, serial, nonce).await));
            }
        };
        ask("good", id.serial).await;
        world.issuer.suspend(&card, "investigation").await;
        ask("on hold", id.serial).await;
        world.issuer.resume(&card, "investigation").await;
        ask("good again", id.serial).await;
        world.issuer.cancel(&card, "stolen").await;
        ask("revoked", id.serial).await;
        ask("never issued", SerialNumber::from_random([5; SerialNumber::RANDOM_OCTETS])).await;
    });
}
