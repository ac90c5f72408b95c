//! An OCSP request, as anybody sends it.
#![no_main]

use pki::ocsp::{CertId, OcspLimits, OcspRequest, build_request};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let limits = OcspLimits::default();
    let Ok(request) = OcspRequest::from_der(bytes, &limits) else { return };
    assert!((1..=limits.max_requests).contains(&request.cert_ids().len()));
    let ids: Vec<&[u8]> = request.cert_ids().iter().map(CertId::der).collect();
    // What is echoed in an answer can be asked again.
    let again = build_request(&ids, None).expect("what was read can be written");
    let again = OcspRequest::from_der(&again, &OcspLimits { max_request_bytes: usize::MAX, ..limits });
    assert_eq!(again.expect("what was written can be read").cert_ids().len(), ids.len());
});
