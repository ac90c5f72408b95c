//! The certificate of a machine, from its request to the reply: two commits and one signature between them. Whatever goes
//! wrong after the first commit leaves the certificate *void*.

use api::Base64;
use ca::certificate::CertificateRecord;
use pki::Timestamp;
use pki::request::CheckedRequest;
use ra::certification::{Certification, Certified};
use store::Batch;

use crate::failure::Failure;
use crate::service::Service;

/// Reads the certification request of a `purpose`, such as `station`.
pub(crate) fn checked(request: &Base64, purpose: &'static str) -> Result<CheckedRequest, Failure> {
    let checked = pki::request::check_request(&request.0);
    Ok(checked.map_err(|refusal| ra::Error::Request { purpose, refusal })?)
}

/// Certifies what `begin` reserves, and puts it to its use by `finish`.
pub(crate) fn certify<T>(
    service: &Service,
    mut begin: impl FnMut(Timestamp) -> Result<Certification<T>, ra::Error>,
    finish: impl Fn(&Certified<T>, Timestamp) -> Result<(Batch, CertificateRecord), ra::Error>,
) -> Result<CertificateRecord, Failure> {
    let store = service.store.as_ref();
    let (committed, begun) = service.commit(|now| {
        let mut begun = begin(now)?;
        Ok((std::mem::take(&mut begun.batch), begun))
    })?;
    let (id, name) = (begun.certificate().clone(), begun.name().to_owned());
    let committed = committed.ok_or_else(|| Failure::internal("a certification without a commit"))?;
    let finished = begun
        .sign(&service.authority(), &committed)
        .map_err(Failure::from)
        .and_then(|certified| service.commit(|now| Ok(finish(&certified, now)?)));
    match finished {
        Ok((_, record)) => {
            service.metrics.certificates.inc();
            Ok(record)
        }
        Err(failure) => {
            service.commit(|now| {
                let mut batch = ca::batch(now);
                ca::recovery::void(store, &mut batch, &id, &audit::Actor::service(), Some(&name))?;
                Ok((batch, ()))
            })?;
            Err(failure)
        }
    }
}

/// The certificate of its issuer, and what leads from there to the root's keys.
pub(crate) fn chain(service: &Service, record: &CertificateRecord) -> Result<Vec<Base64>, Failure> {
    let authority = service.authority();
    let issuer = authority.issuer(&record.id.issuer)?;
    let above = service.above_issuing_cas();
    let chain = std::iter::once(&issuer.description().certificate_der).chain(above.iter());
    Ok(chain.map(|der| Base64(der.clone())).collect())
}
