//! What the CRL itself says (RFC 5280 5 and 6.3.3).

use const_oid::db::rfc5280::{ID_CE_DELTA_CRL_INDICATOR, ID_CE_ISSUING_DISTRIBUTION_POINT};
use pki::certificate::ParsedCertificate;
use pki::crl::CrlDescription;
use pki::{KeyUsage, Timestamp};

use crate::probe::{Checks, MAX_CLOCK_SKEW, name_of, words};

/// Signature, and whether its maker may sign CRLs. Gives the issuer, if it is known and signed this.
pub(super) fn issuer<'a>(
    checks: &mut Checks,
    crl: &CrlDescription,
    candidates: &'a [ParsedCertificate],
    now: Timestamp,
) -> Option<&'a ParsedCertificate> {
    let identifier = crl.authority_key_identifier.as_deref();
    if identifier.is_none() {
        let text = "there is none (rule C5): an issuer with two keys is not told apart";
        checks.failed("authority_key_identifier", text);
    }
    checks.passed("number", format!("{} (rule C6: the next one must be higher)", crl.number));
    if candidates.is_empty() {
        checks.skipped("signature", "not verified: give the CA's certificate with --issuer");
        return None;
    }
    let named: Vec<_> = candidates.iter().filter(|one| one.subject_der() == crl.issuer_der).collect();
    let Some(first) = named.first() else {
        let text = format!("it is by {}, whose certificate is not among those given", name_of(&crl.issuer_der));
        checks.failed("signature", text);
        return None;
    };
    let by_identifier = named.iter().find(|one| identifier.is_some() && one.subject_key_identifier() == identifier);
    let issuer = *by_identifier.unwrap_or(first);
    if crl.verify_signed_by(issuer.public_key()).is_err() {
        let text = if by_identifier.is_some() {
            "it is not by the key of the given CA certificate: do not rely on this CRL"
        } else {
            "it is not by the key of the given CA certificate, nor does its key identifier name that one: give the \
             certificate of the CA's other key, or do not rely on this CRL"
        };
        checks.failed("signature", text);
        return None;
    }
    checks.passed("signature", format!("by {}, {}", name_of(&crl.issuer_der), crl.algorithm.oid()));
    if by_identifier.is_some() {
        checks.passed("authority_key_identifier", "that of the issuer's key");
    } else if identifier.is_some() {
        checks.failed("authority_key_identifier", "it is not the issuer's subject key identifier (rule C5)");
    }
    // RFC 5280 6.3.3 (f)
    match issuer.key_usage() {
        Some(usage) if !usage.contains(KeyUsage::CRL_SIGN) => {
            checks.failed("issuer", "its certificate's key usage has no cRLSign (RFC 5280 6.3.3 (f))");
        }
        _ if !issuer.is_valid_at(now) => {
            let text = format!("its certificate is valid from {} to {}", issuer.not_before(), issuer.not_after());
            checks.warning("issuer", text);
        }
        _ => checks.passed("issuer", format!("its certificate lets it sign CRLs, until {}", issuer.not_after())),
    }
    Some(issuer)
}

/// thisUpdate and nextUpdate.
pub(super) fn times(checks: &mut Checks, crl: &CrlDescription, now: Timestamp) {
    if crl.this_update > now.plus(MAX_CLOCK_SKEW) {
        let text = format!("thisUpdate {} is in the future: is a clock wrong, here ({now}) or there?", crl.this_update);
        checks.failed("times", text);
    } else if crl.next_update <= now {
        let ago = words(now.since(crl.next_update));
        checks.failed("times", format!("it ended {ago} ago, at {}: publish a new one", crl.next_update));
    } else {
        checks.passed("times", format!("from {} until {}", crl.this_update, crl.next_update));
        let (life, left) = (crl.next_update.since(crl.this_update), crl.next_update.since(now));
        let text = format!("{} left of {}", words(left), words(life));
        // A publisher makes the next one well before: whoever comes this late finds its schedule not kept, or too tight.
        if left < life / 10 {
            checks.warning("margin", format!("{text}: the next CRL is late, or its overlap is too small"));
        } else {
            checks.passed("margin", text);
        }
    }
}

/// Order of the entries.
pub(super) fn order(checks: &mut Checks, crl: &CrlDescription) {
    if crl.in_order {
        checks.passed("entries", format!("{}, in the order of their serial numbers", crl.entries));
    } else {
        checks
            .warning("entries", "they are not in the order of their serial numbers (rule C4); one may be there twice");
    }
}

/// What the list is about.
// conformance: C7, C11
pub(super) fn scope(checks: &mut Checks, crl: &CrlDescription, url: &str) {
    for (oid, what) in [
        (ID_CE_ISSUING_DISTRIBUTION_POINT, "issuing distribution point"),
        (ID_CE_DELTA_CRL_INDICATOR, "delta CRL indicator"),
    ] {
        if crl.extensions.iter().any(|(found, critical)| *found == oid && !critical) {
            let text = format!("the {what} is not critical: who does not know it takes the list for a full CRL");
            checks.failed("scope", text);
        }
    }
    let Some(point) = &crl.distribution_point else {
        checks.passed("scope", "all certificates of its issuer");
        return;
    };
    let about = match (point.only_user_certs, point.only_ca_certs) {
        (true, _) => "end entities' certificates",
        (_, true) => "CA certificates",
        _ => "certificates",
    };
    let places = point.uris.join(", ");
    if point.uris.is_empty() {
        checks.passed("scope", format!("{about} of its issuer"));
    } else if crl.base.is_some() {
        checks.passed("scope", format!("what is new about {about} that name {places} as their distribution point"));
    } else if point.uris.iter().any(|uri| uri == url) {
        checks.passed("scope", format!("{about} that name this very address as their distribution point"));
    } else {
        let text = format!(
            "it is about {about} that name {places}, and was fetched at {url}: these must be the same octet for octet \
             (rule C11), or a relying system passes it over"
        );
        checks.failed("scope", text);
    }
}

/// Without a base that could be compared.
pub(super) fn without_base(checks: &mut Checks, crl: &CrlDescription) {
    match crl.base {
        Some(base) => checks.skipped("base", format!("what changed since {base}; give the base's address with --base")),
        None if crl.freshest_crls.is_empty() => {}
        None => checks.passed("freshest_crl", format!("deltas are at {}", crl.freshest_crls.join(", "))),
    }
}

/// A delta and its base (RFC 5280 5.2.4).
// conformance: C7
pub(super) fn base(
    checks: &mut Checks,
    delta: &CrlDescription,
    base: Result<&CrlDescription, &String>,
    issuer: Option<&ParsedCertificate>,
) {
    let Some(base_number) = delta.base else {
        checks.failed("base", "this is no delta, so it has no base: leave --base out");
        return;
    };
    let base = match base {
        Ok(base) => base,
        Err(reason) => return checks.failed("base", format!("the base cannot be read: {reason}")),
    };
    let mut wrong = Vec::new();
    if base.base.is_some() {
        wrong.push("what is given as its base is itself a delta".to_owned());
    }
    if issuer.is_some_and(|issuer| base.verify_signed_by(issuer.public_key()).is_err()) {
        wrong.push("the base's signature is not by the same key".to_owned());
    }
    if base.issuer_der != delta.issuer_der || base.authority_key_identifier != delta.authority_key_identifier {
        wrong.push("the base is of another issuer, or another key of it".to_owned());
    }
    if base.distribution_point != delta.distribution_point {
        wrong.push("the base has another scope: the issuing distribution points differ".to_owned());
    }
    if base.number < base_number {
        wrong.push(format!("it needs a base of at least {base_number}, and that one has {}", base.number));
    }
    if !wrong.is_empty() {
        checks.failed("base", wrong.join("; "));
    } else if base.number >= delta.number {
        let text = format!("the base {} is as new as the delta {}: the delta adds nothing", base.number, delta.number);
        checks.warning("base", text);
    } else {
        checks.passed("base", format!("what changed since {base_number}, good for the base {} here", base.number));
    }
    if !base.freshest_crls.is_empty() {
        checks
            .passed("freshest_crl", format!("the base says that its deltas are at {}", base.freshest_crls.join(", ")));
    }
}
