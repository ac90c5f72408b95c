//! A card's holder logs in by TLS; the key stays on the card. On SoftHSM.

mod common;

use common::service::{HOLDER, Service};
use common::tls::Pki;
use common::{blank_card, isolated};
use http::Response;
use http_body_util::Full;
use pki::KeyType;
use pki::certificate::ParsedCertificate;
use station::login::tls_login;
use station::personalise::{Personalisation, quietly};
use station::{Error, session};

const CODE: api::EnrolmentCode = api::EnrolmentCode { secret: [1; 16], ca_fingerprint: [2; 16] };

#[test]
fn a_card_logs_in_and_refusals_by_tls_and_by_http_are_told_apart() {
    isolated(async |home| {
        let service = Service::start(home.file("service.sock"));
        let client = service.client();
        let session = session::login_with_code(&client, &CODE).await.unwrap();
        let pki = Pki::new();
        let roots = [pki.root.der().to_vec()];
        for key_type in [KeyType::P256, KeyType::P384] {
            let card = blank_card(&key_type.to_string());
            let steps = &quietly;
            Personalisation { client: &client, session: Some(&session), card: &card, key_type, steps }
                .issue(HOLDER)
                .await
                .unwrap();

            let open = pki.serve(Some(&service.ca), |request, certificate| async move {
                assert_eq!(request.uri().path(), "/");
                let certificate = ParsedCertificate::from_der(&certificate.unwrap()).unwrap();
                Response::new(Full::from(certificate.user_id().unwrap().to_owned()))
            });
            let url = format!("https://localhost:{}", open.await.port());
            let report = tls_login(&card, &url, &roots).await.unwrap();
            assert!(report.is_welcome());
            assert_eq!((report.body.as_str(), report.tls_version.as_str()), (HOLDER, "TLSv1_3"));
            serde_json::to_string(&report).unwrap();

            // Another service of the same name, which the holder does not trust.
            let error = tls_login(&card, &url, &[Pki::new().root.der().to_vec()]).await.unwrap_err();
            assert!(matches!(error, Error::ServerNotTrusted { .. }), "{error}");

            let closed = pki.serve(Some(&service.ca), |request, _| async move {
                assert_eq!(request.uri().path(), "/door");
                Response::builder().status(403).body(Full::from("on hold")).unwrap()
            });
            let url = format!("https://localhost:{}/door", closed.await.port());
            assert_eq!(tls_login(&card, &url, &roots).await.unwrap().status, 403);

            let strange = pki.serve(Some(Pki::new().root.der()), |_, _| async { Response::default() }).await;
            let error = tls_login(&card, &format!("https://localhost:{}", strange.port()), &roots).await.unwrap_err();
            assert!(matches!(error, Error::HandshakeRefused { .. }), "{error}");
        }
    });
}
