//! Whom responders answer for: the issuers and their times, as a document with a revision.

use api::Base64;
use api::feed::{FeedIssuer, FeedIssuerTimes, IssuersDocument, ResponderId, UnknownSerial};
use bytes::Bytes;
use ca::Authority;
use config::Config;
use data_encoding::HEXLOWER;
use pki::certificate::ParsedCertificate;
use pki::feed::Origin;
use pki::ocsp::{ResponderIdForm, UnknownAnswer};
use sha2::{Digest, Sha256};
use store::Store;

use crate::error::Error;
use crate::failure::Failure;
use crate::start;

/// The document as it is sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Document {
    /// JSON.
    pub(crate) json: Bytes,
    /// The SHA-256 of the JSON with an empty revision.
    pub(crate) revision: [u8; 32],
}

impl Document {
    /// The document of these issuers.
    pub(crate) fn new(
        config: &Config,
        authority: &Authority,
        above: &[Vec<u8>],
        origin: Origin,
    ) -> Result<Self, Failure> {
        let issuers = start::responder_issuers(config, authority).into_iter().map(|issuer| FeedIssuer {
            id: issuer.description.id,
            certificate: Base64(issuer.description.certificate_der),
            times: FeedIssuerTimes {
                next_update: issuer.policy.next_update,
                unsettled_next_update: issuer.policy.unsettled_next_update,
                max_age: issuer.policy.max_age,
                withhold_after: issuer.policy.withhold_after,
                retention: issuer.policy.retention,
            },
        });
        let mut document = IssuersDocument {
            origin: origin.to_string(),
            revision: String::new(),
            above: above.iter().cloned().map(Base64).collect(),
            issuers: issuers.collect(),
            heartbeat: config.times.feed_heartbeat,
            stale_after: config.times.feed_stale,
            responder_id: match config.ocsp.responder_id {
                ResponderIdForm::ByKey => ResponderId::Key,
                ResponderIdForm::ByName => ResponderId::Name,
            },
            unknown_serial: match config.ocsp.unknown_serial {
                UnknownAnswer::Unknown => UnknownSerial::Unknown,
                UnknownAnswer::Revoked => UnknownSerial::Revoked,
            },
        };
        let without = serde_json::to_vec(&document).map_err(Failure::internal)?;
        let revision: [u8; 32] = Sha256::digest(&without).into();
        document.revision = HEXLOWER.encode(&revision);
        Ok(Document { json: serde_json::to_vec(&document).map_err(Failure::internal)?.into(), revision })
    }
}

/// Whose feed this store's is: by the first key of the root, which every rotation leaves on record.
pub(crate) fn origin(config: &Config, store: &dyn Store) -> Result<Origin, Error> {
    let roots = ca::issuer::all(store)?.into_iter().filter(ca::IssuerRecord::is_root);
    let first = roots.min_by_key(|root| root.generation).ok_or_else(|| Error::Start("there is no root".to_owned()))?;
    let certificate = ParsedCertificate::from_der(&first.certificate_der).map_err(ca::Error::from)?;
    Ok(Origin::of(&config.service.name, certificate.public_key().spki_der()))
}
