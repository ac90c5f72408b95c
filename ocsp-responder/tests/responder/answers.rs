//! Rows O of conformance.md: what is answered.

use der::asn1::{Null, OctetString};
use der::{Decode, Encode};
use ocsp_responder::responder::Prepared;
use ocsp_responder::{
    Answer, AnswerKind, AnswerRules, Error, IssuerPolicy, IssuerSigner, ResponderIssuer, ResponderOptions,
};
use pki::feed::PublishedStatus;
use pki::ocsp::{
    CertIdHash, CertStatus, DelegateError, ErrorStatus, HashAlgorithm, OcspLimits, ResponderIdForm, UnknownAnswer,
    build_request,
};
use pki::{CrlReason, Timestamp};
use proptest::prelude::*;

use crate::support::{
    AUTHENTICATION, Behaviour, Ca, NOW, Scene, TestSigner, basic, error_of, publish, revoked, seconds, serial,
};

const BY_NAME: AnswerRules = AnswerRules { responder_id: ResponderIdForm::ByName, unknown: UnknownAnswer::Unknown };
const REVOKED: AnswerRules = AnswerRules { responder_id: ResponderIdForm::ByKey, unknown: UnknownAnswer::Revoked };

#[test]
fn a_valid_certificate_is_good_and_the_cert_id_comes_back_byte_for_byte() {
    // conformance: O1, O7, O8
    let scene = Scene::new();
    scene.good(1);
    for algorithm in HashAlgorithm::ALL {
        for null_parameters in [false, true] {
            let id = scene.ca.hashes.cert_id_spelled(CertIdHash { algorithm, null_parameters }, serial(1));
            // Twice: signed, and from the cache.
            for _ in 0..2 {
                let answer = scene.responder.answer(&build_request(&[&id], None).unwrap(), NOW);
                assert_eq!(answer.kind, AnswerKind::Good);
                assert_eq!(scene.verify(&answer.der, &id, NOW).unwrap().status, CertStatus::Good);
                let responses = basic(&answer).tbs_response_data.responses;
                assert_eq!(responses[0].cert_id.to_der().unwrap(), id);
            }
        }
    }
    assert_eq!(scene.signer.signatures(), 8);
}

#[test]
fn a_revoked_certificate_is_revoked_with_time_and_reason() {
    // conformance: O2
    let scene = Scene::new();
    let at = NOW.minus(seconds(90));
    for code in 0..=10 {
        let Some(reason) = CrlReason::from_code(code) else { continue };
        scene.publish(code, revoked(at, reason));
        let expected = CertStatus::Revoked { at: at.whole_seconds(), reason };
        assert_eq!(scene.said(code, NOW), expected);
        let responses = basic(&scene.ask(code, NOW)).tbs_response_data.responses;
        let x509_ocsp::CertStatus::Revoked(info) = &responses[0].cert_status else { panic!("{responses:?}") };
        assert_eq!(info.revocation_reason.is_none(), reason == CrlReason::Unspecified);
    }
}

#[test]
fn a_serial_number_that_was_never_issued_is_never_good() {
    // conformance: O4
    let scene = Scene::new();
    scene.good(1);
    assert_eq!(scene.said(2, NOW), CertStatus::Unknown);
    assert_eq!(scene.responder.cached_answers(), 0, "answers about unknown serial numbers are not kept");

    let options = ResponderOptions { rules: REVOKED, ..ResponderOptions::default() };
    let scene = Scene::with(options, IssuerPolicy::AUTHENTICATION, NOW);
    let epoch = CertStatus::Revoked { at: Timestamp::EPOCH, reason: CrlReason::CertificateHold };
    assert_eq!(scene.said(2, NOW), epoch);
    let extensions = basic(&scene.ask(2, NOW)).tbs_response_data.response_extensions.unwrap();
    assert_eq!(extensions[0].extn_id.to_string(), "1.3.6.1.5.5.7.48.1.9");
    assert_eq!(extensions[0].extn_value.as_bytes(), Null.to_der().unwrap());
    scene.good(2);
    assert_eq!(scene.said(2, NOW), CertStatus::Good);
    assert!(basic(&scene.ask(2, NOW)).tbs_response_data.response_extensions.is_none());
}

#[test]
fn serial_numbers_that_no_certificate_may_have_are_unknown() {
    // conformance: O4
    let scene = Scene::new();
    let id = scene.ca.cert_id(1);
    let head = &id[2..id.len() - 6];
    for content in [&[0][..], &[0x80], &[1; 21]] {
        let id = [head, &[2, content.len() as u8], content].concat();
        let id = [&[0x30, id.len() as u8], &id[..]].concat();
        let answer = scene.responder.answer(&build_request(&[&id], None).unwrap(), NOW);
        assert_eq!(answer.kind, AnswerKind::Unknown, "{content:?}");
    }
}

#[test]
fn pending_and_void_are_never_good() {
    // conformance: O5
    let scene = Scene::new();
    let at = NOW.minus(seconds(30));
    scene.publish(1, PublishedStatus::Pending { since: at });
    scene.publish(2, PublishedStatus::Void { at });
    let at = at.whole_seconds();
    assert_eq!(scene.said(1, NOW), CertStatus::Revoked { at, reason: CrlReason::CertificateHold });
    assert_eq!(scene.said(2, NOW), CertStatus::Revoked { at, reason: CrlReason::CessationOfOperation });
    assert_eq!(scene.said(3, NOW), CertStatus::Unknown, "reserved: not in the feed");
}

#[test]
fn other_issuers_and_other_keys_of_the_same_name_are_not_answered_for() {
    // conformance: O6, O9
    let scene = Scene::new();
    scene.good(1);
    for name in ["Signing", "Authentication"] {
        let other = Ca::new(name, "other-1", NOW);
        let answer = scene.responder.answer(&build_request(&[&other.cert_id(1)], None).unwrap(), NOW);
        assert_eq!(error_of(&answer), Some(ErrorStatus::Unauthorized), "{name}");
    }
    let mut id = scene.ca.cert_id(1);
    id[10] ^= 1; // SHA-1 becomes an algorithm that nobody knows.
    let answer = scene.responder.answer(&build_request(&[&id], None).unwrap(), NOW);
    assert_eq!(error_of(&answer), Some(ErrorStatus::Unauthorized));
}

#[test]
fn the_key_hash_picks_among_two_keys_of_one_name() {
    // conformance: O10
    let scene = Scene::new();
    let rolled = Ca::new("Authentication", "authentication-2", NOW);
    assert_eq!(rolled.description.subject_der, scene.ca.description.subject_der);
    let issuers = [&scene.ca, &rolled]
        .map(|ca| ResponderIssuer { description: ca.description.clone(), policy: IssuerPolicy::AUTHENTICATION });
    scene.responder.set_issuers(issuers.to_vec()).unwrap();
    let signer = TestSigner::new(&rcgen::PKCS_ECDSA_P256_SHA256);
    let delegate = rolled.delegate(&signer, NOW.plus(seconds(600)), false);
    scene.responder.set_signers("authentication-2", vec![delegate]).unwrap();
    scene.good(1);
    publish(&scene.responder, "authentication-2", 1, revoked(NOW, CrlReason::Superseded), NOW);

    assert_eq!(scene.said(1, NOW), CertStatus::Good);
    let scene = Scene { ca: rolled, ..scene };
    let answer = scene.status(1, NOW).unwrap();
    assert!(matches!(answer.status, CertStatus::Revoked { .. }));
    assert_eq!(answer.delegate.unwrap().public_key(), hsm::Signer::public_key(&*signer));
}

#[test]
fn the_signer_is_named_by_key_or_by_configuration_by_name() {
    // conformance: O11
    let scene = Scene::new();
    scene.good(1);
    let key_hash = hsm::Signer::public_key(&*scene.signer).key_identifier();
    let id = basic(&scene.ask(1, NOW)).tbs_response_data.responder_id;
    assert!(matches!(id, x509_ocsp::ResponderId::ByKey(hash) if hash.as_bytes() == key_hash));

    let options = ResponderOptions { rules: BY_NAME, ..ResponderOptions::default() };
    let scene = Scene::with(options, IssuerPolicy::AUTHENTICATION, NOW);
    scene.good(1);
    let id = basic(&scene.ask(1, NOW)).tbs_response_data.responder_id;
    assert!(matches!(id, x509_ocsp::ResponderId::ByName(name) if name.to_string().contains("OCSP signer")));
    assert_eq!(scene.said(1, NOW), CertStatus::Good);
}

#[test]
fn other_rules_hold_for_what_was_kept_and_what_is_being_signed() {
    // conformance: O4, O11
    let scene = Scene::new();
    scene.good(1);
    let by_name =
        |answer: &Answer| matches!(basic(answer).tbs_response_data.responder_id, x509_ocsp::ResponderId::ByName(_));
    assert!(!by_name(&scene.ask(1, NOW)));
    let begin = |serial| match scene.responder.prepare(&scene.request(serial).into(), NOW) {
        Prepared::Sign(signing) => signing,
        other => panic!("it is to be signed: {other:?}"),
    };
    scene.good(3);
    let (known, unknown) = (begin(3), begin(2));
    scene.responder.set_rules(AnswerRules { unknown: UnknownAnswer::Revoked, ..BY_NAME });
    for signing in [known, unknown] {
        assert!(by_name(&scene.responder.finish(*signing)));
    }
    assert!(by_name(&scene.ask(1, NOW)), "the one that was kept is gone");
    assert!(matches!(scene.said(2, NOW), CertStatus::Revoked { at: Timestamp::EPOCH, .. }));
    // The same rules again cost no answer that is kept.
    let kept = scene.responder.cached_answers();
    scene.responder.set_rules(AnswerRules { unknown: UnknownAnswer::Revoked, ..BY_NAME });
    assert_eq!((scene.responder.cached_answers(), kept), (2, 2));
}

#[test]
fn a_key_that_cannot_sign_is_told_and_no_request_is_needed_to_show_that_it_can_again() {
    let scene = Scene::new();
    scene.good(1);
    let fails = || scene.responder.state(NOW)[0].signer_fails;
    for (behaviour, expected) in [(Behaviour::Busy, false), (Behaviour::Gone, true)] {
        scene.signer.behave(behaviour);
        assert_eq!(error_of(&scene.ask(1, NOW)), Some(ErrorStatus::TryLater));
        assert_eq!(fails(), expected);
    }
    scene.responder.try_failing_signers();
    assert!(fails());
    scene.signer.behave(Behaviour::Sign);
    let signatures = scene.signer.signatures();
    scene.responder.try_failing_signers();
    assert!(!fails());
    assert_eq!(scene.signer.signatures(), signatures + 1);
    scene.responder.try_failing_signers();
    assert_eq!(scene.signer.signatures(), signatures + 1, "a key that signs is not tried");
}

#[test]
fn only_proper_delegates_are_taken_and_their_certificate_is_sent() {
    // conformance: O12
    let scene = Scene::new();
    scene.good(1);
    assert_eq!(basic(&scene.ask(1, NOW)).certs.unwrap().len(), 1);

    let until = NOW.plus(seconds(600));
    let refused = |change: &dyn Fn(&mut rcgen::CertificateParams)| {
        let certificate = scene.ca.delegate_with(&scene.signer, until, |params| change(params));
        match IssuerSigner::delegate(scene.signer.clone(), certificate, &scene.ca.description, false) {
            Err(Error::Delegate { cause, .. }) => cause,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refused(&|params| params.custom_extensions.clear()), DelegateError::NoCheckMissing);
    assert_eq!(refused(&|params| params.extended_key_usages.clear()), DelegateError::ExtendedKeyUsage);
    let key_agreement = rcgen::KeyUsagePurpose::KeyAgreement;
    assert_eq!(refused(&|params| params.key_usages = vec![key_agreement]), DelegateError::KeyUsage);
    let uris = vec!["http://ca.example.test/ca.crl".to_owned()];
    let point = rcgen::CrlDistributionPoint { uris };
    let cause = refused(&|params| params.crl_distribution_points.push(point.clone()));
    assert!(matches!(cause, DelegateError::Superfluous(oid) if oid.to_string() == "2.5.29.31"));

    let other = Ca::new("Authentication", AUTHENTICATION, NOW);
    let certificate = other.delegate_with(&scene.signer, until, |_| ());
    let refused = IssuerSigner::delegate(scene.signer.clone(), certificate, &scene.ca.description, false);
    assert!(matches!(refused, Err(Error::Delegate { cause: DelegateError::Issuer, .. })));
    let stranger = TestSigner::new(&rcgen::PKCS_ECDSA_P256_SHA256);
    let certificate = scene.ca.delegate_with(&stranger, until, |_| ());
    let refused = IssuerSigner::delegate(scene.signer.clone(), certificate, &scene.ca.description, false);
    assert!(matches!(refused, Err(Error::SignerKey { .. })));
}

#[test]
fn the_ca_key_itself_may_sign_and_then_no_certificate_is_sent() {
    // conformance: O12
    let scene = Scene::new();
    scene.good(1);
    let own = IssuerSigner::issuer(scene.ca.key.clone(), &scene.ca.description, false).unwrap();
    scene.responder.set_signers(AUTHENTICATION, vec![own]).unwrap();
    assert!(basic(&scene.ask(1, NOW)).certs.is_none());
    assert_eq!(scene.status(1, NOW).unwrap().delegate, None);
    let stranger = TestSigner::new(&rcgen::PKCS_ECDSA_P256_SHA256);
    assert!(matches!(IssuerSigner::issuer(stranger, &scene.ca.description, false), Err(Error::SignerKey { .. })));
    let unknown = scene.responder.set_signers("nobody-1", vec![]);
    assert_eq!(unknown, Err(Error::UnknownIssuer("nobody-1".into())));
}

#[test]
fn next_update_never_goes_beyond_the_delegates_certificate() {
    // conformance: O13
    let scene = Scene::new();
    scene.good(1);
    let until = NOW.plus(seconds(100)).whole_seconds();
    let delegate = scene.ca.delegate(&scene.signer, until, false);
    scene.responder.set_signers(AUTHENTICATION, vec![delegate]).unwrap();
    assert_eq!(scene.status(1, NOW).unwrap().next_update, until);
    assert_eq!(scene.responder.state(NOW)[0].signer_not_after, Some(until));

    // Past its end nobody signs, and what is kept is past its time.
    let late = until;
    scene.heartbeat(late);
    assert_eq!(error_of(&scene.ask(1, late)), Some(ErrorStatus::TryLater));
    assert_eq!(scene.responder.state(late)[0].signer_not_after, None);
}

#[test]
fn delegates_are_replaced_without_a_failed_request() {
    // conformance: O12, O13
    let scene = Scene::new();
    scene.good(1);
    let next = TestSigner::new(&rcgen::PKCS_ECDSA_P256_SHA256);
    let responder = scene.responder.clone();
    let delegate = scene.ca.delegate(&next, NOW.plus(seconds(1000)), false);
    // In the middle of an answer.
    scene.signer.behave(Behaviour::Meanwhile(Box::new(move || {
        responder.set_signers(AUTHENTICATION, vec![delegate]).unwrap();
    })));
    assert_eq!(scene.said(1, NOW), CertStatus::Good);
    scene.good(2);
    assert_eq!(scene.said(2, NOW), CertStatus::Good);
    assert_eq!((scene.signer.signatures(), next.signatures()), (1, 1));
}

#[test]
fn several_certificates_in_one_request_get_one_answer_each() {
    // conformance: O14
    let options =
        ResponderOptions { limits: OcspLimits { max_requests: 4, ..OcspLimits::default() }, ..Default::default() };
    let scene = Scene::with(options, IssuerPolicy::AUTHENTICATION, NOW);
    scene.good(1);
    scene.publish(2, revoked(NOW, CrlReason::Superseded));
    let ids = [1, 2, 3, 1].map(|number| scene.ca.cert_id(number));
    let ids: Vec<_> = ids.iter().map(Vec::as_slice).collect();
    let answer = scene.responder.answer(&build_request(&ids, None).unwrap(), NOW);
    assert_eq!((answer.kind, answer.cacheability.is_none()), (AnswerKind::Several, true));
    let responses = basic(&answer).tbs_response_data.responses;
    let answered: Vec<_> = responses.iter().map(|response| response.cert_id.to_der().unwrap()).collect();
    assert_eq!(answered, ids);
    let status = |number: usize| scene.verify(&answer.der, ids[number], NOW).unwrap().status;
    assert_eq!((status(0), status(2)), (CertStatus::Good, CertStatus::Unknown));
    assert!(matches!(status(1), CertStatus::Revoked { .. }));

    let too_many = [ids.as_slice(), &ids[..1]].concat();
    let answer = scene.responder.answer(&build_request(&too_many, None).unwrap(), NOW);
    assert_eq!(error_of(&answer), Some(ErrorStatus::MalformedRequest));
}

#[test]
fn a_request_across_two_issuers_is_unauthorized() {
    // conformance: O15
    let scene = Scene::new();
    scene.good(1);
    let signing = Ca::new("Signing", "signing-1", NOW);
    let issuers = [&scene.ca, &signing]
        .map(|ca| ResponderIssuer { description: ca.description.clone(), policy: IssuerPolicy::OTHERS });
    scene.responder.set_issuers(issuers.to_vec()).unwrap();
    let delegate = signing.delegate(&TestSigner::new(&rcgen::PKCS_ECDSA_P256_SHA256), NOW.plus(seconds(60)), false);
    scene.responder.set_signers("signing-1", vec![delegate]).unwrap();
    let request = build_request(&[&scene.ca.cert_id(1), &signing.cert_id(1)], None).unwrap();
    assert_eq!(error_of(&scene.responder.answer(&request, NOW)), Some(ErrorStatus::Unauthorized));
    assert_eq!(scene.said(1, NOW), CertStatus::Good);
}

#[test]
fn what_is_no_request_is_malformed() {
    // conformance: O16, O18, O20, O27
    let scene = Scene::new();
    let request = scene.request(1);
    for bad in [vec![], vec![0x30, 0], [&request[..], &[0]].concat(), vec![0x41; 100_000]] {
        let answer = scene.responder.answer(&bad, NOW);
        assert_eq!(error_of(&answer), Some(ErrorStatus::MalformedRequest));
    }
    assert_eq!(scene.responder.metrics().malformed_request.get(), 4);
}

#[test]
fn a_nonce_is_echoed_as_it_came_and_its_answer_is_not_kept() {
    // conformance: O17, O19
    let scene = Scene::new();
    scene.good(1);
    for length in [1, 32, 128] {
        let nonce = vec![0xa5; length];
        let answer = scene.responder.answer(&build_request(&[&scene.ca.cert_id(1)], Some(&nonce)).unwrap(), NOW);
        let basic = basic(&answer);
        assert_eq!(basic.nonce().unwrap().0.as_bytes(), nonce);
        let extensions = basic.tbs_response_data.response_extensions.unwrap();
        assert_eq!(
            extensions[0].extn_value,
            OctetString::new(OctetString::new(nonce).unwrap().to_der().unwrap()).unwrap()
        );
        assert!(answer.cacheability.is_none());
    }
    // A bare one: the inner OCTET STRING's header is cut out.
    let mut request = x509_ocsp::OcspRequest::from_der(&scene.request(1)).unwrap();
    request.tbs_request.request_extensions = Some(vec![x509_extension("1.3.6.1.5.5.7.48.1.2", &[9, 8, 7])]);
    let answer = scene.responder.answer(&request.to_der().unwrap(), NOW);
    let extensions = basic(&answer).tbs_response_data.response_extensions.unwrap();
    assert_eq!(extensions[0].extn_value.as_bytes(), [9, 8, 7]);
    assert_eq!(scene.responder.cached_answers(), 0);
}

fn x509_extension(oid: &str, value: &[u8]) -> x509_cert::ext::Extension {
    let extn_value = OctetString::new(value).unwrap();
    x509_cert::ext::Extension { extn_id: oid.parse().unwrap(), critical: false, extn_value }
}

#[test]
fn a_preferred_algorithm_is_honoured_where_a_key_fits() {
    // conformance: O22
    let scene = Scene::new();
    scene.good(1);
    let p384 = TestSigner::new(&rcgen::PKCS_ECDSA_P384_SHA384);
    let until = NOW.plus(seconds(1000));
    let delegates = vec![scene.ca.delegate(&scene.signer, until, false), scene.ca.delegate(&p384, until, false)];
    scene.responder.set_signers(AUTHENTICATION, delegates).unwrap();
    let algorithm_for = |preferred: &[&str]| {
        let preferred: Vec<_> = preferred
            .iter()
            .map(|oid| x509_ocsp::ext::PreferredSignatureAlgorithm {
                sig_identifier: spki::AlgorithmIdentifierOwned { oid: oid.parse().unwrap(), parameters: None },
                cert_identifier: None,
            })
            .collect();
        let mut request = x509_ocsp::OcspRequest::from_der(&scene.request(1)).unwrap();
        let extension = x509_extension("1.3.6.1.5.5.7.48.1.8", &preferred.to_der().unwrap());
        request.tbs_request.request_extensions = Some(vec![extension]);
        let answer = scene.responder.answer(&request.to_der().unwrap(), NOW);
        scene.verify(&answer.der, &scene.ca.cert_id(1), NOW).unwrap();
        basic(&answer).signature_algorithm.oid.to_string()
    };
    let (sha1, p256, p384) = ("1.2.840.10045.4.1", "1.2.840.10045.4.3.2", "1.2.840.10045.4.3.3");
    assert_eq!(algorithm_for(&[p384, p256]), p384);
    assert_eq!(algorithm_for(&[p256, p384]), p256);
    assert_eq!(algorithm_for(&[sha1]), p256);
    assert_eq!(algorithm_for(&["1.2.840.113549.1.1.11"]), p256, "there is no RSA key");
}

#[test]
fn a_busy_signer_is_try_later() {
    // conformance: O26
    let scene = Scene::new();
    scene.good(1);
    scene.signer.behave(Behaviour::Busy);
    assert_eq!(error_of(&scene.ask(1, NOW)), Some(ErrorStatus::TryLater));
    assert_eq!(scene.responder.metrics().signing_failures.get(), 1);
}

proptest! {
    #[test]
    fn mutated_requests_make_nothing_panic(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        // conformance: O16
        thread_local!(static SCENE: Scene = {
            let scene = Scene::new();
            scene.good(1);
            scene
        });
        SCENE.with(|scene| {
            let mut der = build_request(&[&scene.ca.cert_id(1), &scene.ca.cert_id(2)], Some(&[7; 8])).unwrap();
            for (index, value) in &changes {
                let place = index.index(der.len());
                der[place] = *value;
            }
            let answer = scene.responder.answer(&der, NOW);
            error_of(&answer);
        });
    }

    #[test]
    fn an_answer_is_never_good_unless_the_last_word_was_and_none_before_it_was_final(
        words in proptest::collection::vec((0_u8..4, 0_u8..6, 0_u64..3), 1..40),
    ) {
        // conformance: O3, O5, O6
        let scene = Scene::new();
        let mut now = NOW;
        let mut last = [None; 4];
        for (number, word, passed) in words {
            now = now.plus(seconds(passed));
            let status = match word {
                0 => PublishedStatus::Pending { since: now },
                1 => PublishedStatus::OnHold { since: now },
                2 => revoked(now, CrlReason::Superseded),
                3 => PublishedStatus::Void { at: now },
                _ => PublishedStatus::Good { since: now },
            };
            scene.publish(number, status);
            let last_of = &mut last[usize::from(number)];
            let is_final = |status| matches!(status, PublishedStatus::Revoked { .. } | PublishedStatus::Void { .. });
            if is_final(status) || !last_of.is_some_and(is_final) {
                *last_of = Some(status);
            }
            for (number, last) in (0..).zip(&last) {
                let read = scene.status(number, now).unwrap();
                let is_good = matches!(last, Some(PublishedStatus::Good { .. }));
                prop_assert_eq!(read.status == CertStatus::Good, is_good);
                prop_assert_eq!(read.status == CertStatus::Unknown, last.is_none());
                prop_assert!(read.this_update <= read.produced_at && now < read.next_update);
                if let Some(PublishedStatus::Good { since }) = last {
                    prop_assert!(read.this_update >= since.whole_seconds());
                }
            }
        }
    }
}
