//! What a running service gives out, judged by pkilint.

use tests::openssl::openssl;
use tests::pkilint::{allowed, assert_clean, lint_certificate, lint_chain, lint_crl};
use tests::{Deployment, isolated};

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
