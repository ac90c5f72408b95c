//! When a certificate begins and ends (RFC 5280 4.1.2.5).

use std::time::Duration;

use super::PrepareError;
use crate::Timestamp;
use crate::profile::CertificateProfile;

/// No notBefore lies further back than this, whatever the configuration says: a certificate is never backdated.
pub const MAX_SKEW: Duration = Duration::from_secs(60 * 60);

/// A validity period. Both its ends are included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first second.
    pub not_before: Timestamp,
    /// The last second.
    pub not_after: Timestamp,
}

/// The validity of a certificate of this profile that is issued now: from `now` less `skew`, for the profile's life less
/// `jitter` (of which no more counts than the profile allows), and not beyond the issuer's end. Cut to whole seconds.
///
/// # Errors
/// When the skew is over [`MAX_SKEW`], or the issuer has ended.
// conformance: E2
pub fn validity(
    profile: &CertificateProfile,
    now: Timestamp,
    skew: Duration,
    jitter: Duration,
    issuer_not_after: Timestamp,
) -> Result<Validity, PrepareError> {
    if skew > MAX_SKEW {
        let rule = format!("a skew of {} s would backdate the certificate; 1 h is the most", skew.as_secs());
        return Err(PrepareError::Validity(rule));
    }
    let not_before = now.minus(skew).whole_seconds();
    let life = profile.life().saturating_sub(jitter.min(profile.jitter()));
    // The last second is part of the life.
    let end = not_before.plus(life.saturating_sub(Duration::from_secs(1))).whole_seconds();
    let not_after = end.min(issuer_not_after.whole_seconds());
    if not_after <= now.whole_seconds() {
        return Err(PrepareError::Validity(format!("the issuer ends at {issuer_not_after}, and it is {now}")));
    }
    Ok(Validity { not_before, not_after })
}
