//! What an answer says, and for how long.

use pki::ocsp::{
    CertStatus, ErrorStatus, OcspRequest, PreparedResponse, ResponderIdForm, SingleResponse, UnknownAnswer,
};
use pki::{CrlReason, SerialNumber, Timestamp};

use super::{AnswerKind, AnswerRules, Responder};
use crate::cache::changes::{Moment, State};
use crate::issuer::Issuer;
use crate::replica::{KnownState, KnownStatus};
use crate::signer::IssuerSigner;

/// An answer's content, fixed.
pub(super) struct Content {
    pub(super) response: PreparedResponse,
    pub(super) kind: AnswerKind,
    /// The template that it was made by.
    pub(super) responder_id: ResponderIdForm,
    pub(super) times: Option<(Timestamp, Timestamp)>,
    /// The statuses that it was made of.
    pub(super) seen: Vec<Seen>,
}

/// A status that an answer is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) serial: SerialNumber,
    pub(super) status: Option<KnownStatus>,
    /// The moment before it was read.
    pub(super) at: Moment,
}

impl Responder {
    /// Makes the content of an answer from the replica.
    pub(super) fn content(
        &self,
        issuer: &Issuer,
        signer: &IssuerSigner,
        request: &OcspRequest<'_>,
        state: State,
        now: Timestamp,
    ) -> Result<Content, ErrorStatus> {
        let as_of = self.replica.as_of().ok_or(ErrorStatus::TryLater)?;
        let AnswerRules { responder_id, unknown } = **self.rules.load();
        let clock = Clock { now, heard: as_of.min(now).whole_seconds() };
        let mut seen = Vec::with_capacity(request.cert_ids().len());
        let mut responses = Vec::with_capacity(request.cert_ids().len());
        let mut is_unknown = false;
        for cert_id in request.cert_ids() {
            // A serial number that no certificate may have was never issued.
            let known = cert_id.serial().and_then(|serial| {
                let at = self.changes.moment_of(state, &serial);
                let status = self.replica.status(issuer.index, &serial);
                seen.push(Seen { serial, status, at });
                status
            });
            is_unknown |= known.is_none();
            responses.push(self.single_response(issuer, signer, cert_id.der(), known.ok_or(unknown), &clock)?);
        }
        let extended_revoke = is_unknown && unknown == UnknownAnswer::Revoked;
        let template = signer.template(responder_id);
        let prepared = template.prepare(now.whole_seconds(), &responses, request.nonce(), extended_revoke);
        let response = prepared.map_err(|error| {
            tracing::error!(issuer = issuer.description.id, %error, "an OCSP answer could not be encoded");
            ErrorStatus::InternalError
        })?;
        let kind = match responses.as_slice() {
            [_] if is_unknown => AnswerKind::Unknown,
            [one] => one.status.into(),
            _ => AnswerKind::Several,
        };
        let times = match responses.as_slice() {
            [one] if request.nonce().is_none() => Some((one.this_update, one.next_update)),
            _ => None,
        };
        Ok(Content { response, kind, responder_id, times, seen })
    }

    fn single_response<'a>(
        &self,
        issuer: &Issuer,
        signer: &IssuerSigner,
        cert_id: &'a [u8],
        known: Result<KnownStatus, UnknownAnswer>,
        clock: &Clock,
    ) -> Result<SingleResponse<'a>, ErrorStatus> {
        let status = match known {
            // There are clients who take a revocation that is still to come for none.
            Ok(known) => match known.cert_status() {
                CertStatus::Revoked { at, reason } => CertStatus::Revoked { at: at.min(clock.now), reason },
                status => status,
            },
            Err(UnknownAnswer::Unknown) => CertStatus::Unknown,
            Err(UnknownAnswer::Revoked) => {
                CertStatus::Revoked { at: Timestamp::EPOCH, reason: CrlReason::CertificateHold }
            }
        };
        let known = known.ok();
        let this_update = clock.this_update(known)?;
        let policy = &issuer.policy;
        let settled = known.is_some_and(|known| known.state != KnownState::Pending);
        let mut next_update = this_update.plus(policy.next_update);
        if !settled {
            next_update = next_update.min(clock.now.plus(policy.unsettled_next_update));
        }
        // conformance: O13
        let next_update = next_update.min(signer.not_after()).whole_seconds();
        if next_update <= clock.now {
            return Err(ErrorStatus::TryLater);
        }
        // conformance: O25
        let archive_cutoff = known
            .filter(|known| known.not_after < clock.now)
            .map(|known| known.not_after.min(clock.now.minus(policy.retention)).max(Timestamp::EPOCH));
        Ok(SingleResponse { cert_id, status, this_update, next_update, archive_cutoff })
    }
}

/// The two times that an answer is made of.
struct Clock {
    now: Timestamp,
    /// The last heartbeat, at most now, in whole seconds.
    heard: Timestamp,
}

impl Clock {
    /// The last moment at which the status is known to have been right: that of the last heartbeat, or that of the
    /// status itself, which is younger word from the CA about this one certificate.
    // conformance: O3, O23
    fn this_update(&self, known: Option<KnownStatus>) -> Result<Timestamp, ErrorStatus> {
        let Some(known) = known else { return Ok(self.heard) };
        let (since, now) = (known.since.whole_seconds(), self.now.whole_seconds());
        if known.state == KnownState::Good && since > now {
            // Our clock is behind the CA's: a `good` from before it was so would be a lie.
            return Err(ErrorStatus::TryLater);
        }
        Ok(self.heard.max(since.min(now)))
    }
}
