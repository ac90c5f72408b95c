//! Every time of the domain, with its default: how long things live, how soon they are renewed, how fresh an answer is.
//! The life of a certificate is not here; it belongs to its profile.

use std::time::Duration;

use crate::document::Document;
use crate::error::Error;

/// One list gives the keys, their meaning, their defaults and the checked type.
macro_rules! times {
    ($($(#[doc = $doc:literal])* $field:ident = $default:literal,)*) => {
        crate::schema::section! {
            RawTimes { $($field: String = $default.to_owned(),)* }
        }

        /// The times, each longer than nothing and in whole milliseconds.
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Times {
            $($(#[doc = $doc])* pub $field: Duration,)*
        }

        impl Times {
            pub(crate) fn check(raw: &RawTimes, document: &Document) -> Result<Self, Error> {
                let times = Self {
                    $($field: document.duration(concat!("times.", stringify!($field)), &raw.$field)?,)*
                };
                times.check_rules(document)?;
                Ok(times)
            }
        }
    };
}

times! {
    /// The last part of a card certificate's life, in which it may be renewed.
    renewal_window = "90d",
    /// The last part of a station certificate's life, in which the station renews it.
    station_renewal_window = "30d",
    /// The last part of a responder's client certificate's life, in which the responder renews it.
    responder_renewal_window = "30d",
    /// The last part of the service certificate's life, in which the service renews it.
    service_renewal_window = "30d",
    /// The last part of an OCSP signer's life, in which its successor takes over.
    ocsp_signer_renewal_window = "6h",
    /// How long before its end a CA certificate is reported as due for replacement.
    ca_renewal_window = "730d",
    /// How long a new key of an issuing CA is published before it takes the place of the old one.
    ca_overlap = "24h",
    /// How long a new key of the root is published before it certifies CAs.
    root_overlap = "30d",
    /// From expiry on, how long a card can be repaired before it lapses.
    lapse_after_expiry = "365d",
    /// How long pending certificates wait for the station's confirmation before they are revoked.
    issuance_confirmation = "15m",
    /// How long a reservation belongs to the process that made it, before another may declare it void.
    reservation_lease = "1m",
    /// How long an enrolment code is good.
    enrolment_code = "15m",
    /// How long a server nonce (a challenge to a key) is good.
    challenge = "2m",
    /// An operator's session without any request ends after this.
    session_idle = "15m",
    /// An operator's session ends after this, used or not.
    session_max = "8h",
    /// How long the answer to an idempotent request is kept for replay.
    idempotency = "24h",
    /// How long an open request stays locked to the person who works on it.
    request_lock = "15m",
    /// OCSP nextUpdate less thisUpdate: authentication and temporary cards.
    ocsp_next_update_authentication = "10m",
    /// OCSP nextUpdate less thisUpdate: all others.
    ocsp_next_update_other = "4h",
    /// HTTP max-age of an OCSP answer: authentication and temporary cards.
    ocsp_max_age_authentication = "5s",
    /// HTTP max-age of an OCSP answer: all others.
    ocsp_max_age_other = "5m",
    /// Life of an OCSP signer whose key is in memory.
    ocsp_signer_life = "24h",
    /// Life of an OCSP signer whose key is in a token.
    ocsp_signer_life_in_token = "7d",
    /// How often the status feed says that nothing is newer.
    feed_heartbeat = "1s",
    /// The status feed is reported as stale this long after the last heartbeat.
    feed_stale = "5s",
    /// Answers are withheld this long after the last heartbeat: authentication and temporary cards.
    feed_withhold_authentication = "5m",
    /// Answers are withheld this long after the last heartbeat: all others.
    feed_withhold_other = "1h",
    /// How often an issuing CA publishes a CRL.
    crl_interval = "1h",
    /// How long a CRL stays good beyond the publication of the next.
    crl_overlap = "24h",
    /// How long a delta CRL stays good beyond the publication of the next.
    crl_delta_overlap = "1h",
    /// CRLs that are published at once after a revocation are at least this far apart: what is revoked in between is
    /// gathered for the next.
    crl_gather = "5s",
    /// nextUpdate less thisUpdate of the root's CRL.
    root_crl_next_update = "395d",
    /// How long before its end the root's CRL is reported as due, since its token has to be fetched for the next.
    root_crl_warning = "60d",
    /// How far the clock may fall behind the greatest time committed before nothing is signed.
    clock_tolerance = "5s",
    /// How far ahead of the last commit the clock may be before the tracker pauses.
    clock_jump = "1h",
    /// How long a TLS handshake may take, and the arrival of a request, and silence before one.
    tls_handshake = "10s",
    /// How long a client may take nothing of its answer.
    answer_unread = "30s",
    /// How long one HTTP request may take, from its first octet to its answer.
    request = "30s",
    /// How long requests in flight have to finish when the service stops.
    shutdown = "10s",
}

impl Times {
    fn check_rules(&self, document: &Document) -> Result<(), Error> {
        let shorter = |less: (&str, Duration), more: (&str, Duration), why: &str| {
            if less.1 < more.1 { Ok(()) } else { Err(order_error(document, less, more, "shorter", why)) }
        };
        let at_most = |less: (&str, Duration), more: (&str, Duration), why: &str| {
            if less.1 <= more.1 { Ok(()) } else { Err(order_error(document, less, more, "at most", why)) }
        };
        let stale = ("feed_stale", self.feed_stale);
        let signer_window = ("ocsp_signer_renewal_window", self.ocsp_signer_renewal_window);
        for (next_update, max_age, withhold) in [
            (
                ("ocsp_next_update_authentication", self.ocsp_next_update_authentication),
                ("ocsp_max_age_authentication", self.ocsp_max_age_authentication),
                ("feed_withhold_authentication", self.feed_withhold_authentication),
            ),
            (
                ("ocsp_next_update_other", self.ocsp_next_update_other),
                ("ocsp_max_age_other", self.ocsp_max_age_other),
                ("feed_withhold_other", self.feed_withhold_other),
            ),
        ] {
            shorter(max_age, next_update, "a cache must not keep an OCSP answer beyond its nextUpdate")?;
            shorter(stale, withhold, "a feed is stale before answers are withheld")?;
            shorter(withhold, next_update, "an answer that is given at all must not be past its nextUpdate")?;
            at_most(next_update, signer_window, "no OCSP answer may outlive the certificate that signed it")?;
        }
        let heartbeat = ("feed_heartbeat", self.feed_heartbeat);
        shorter(heartbeat, stale, "otherwise the feed is stale between two heartbeats")?;
        let signer_life = ("ocsp_signer_life", self.ocsp_signer_life);
        shorter(signer_window, signer_life, "a signer that is renewed from its first moment never rests")?;
        at_most(
            signer_life,
            ("ocsp_signer_life_in_token", self.ocsp_signer_life_in_token),
            "a key in memory is trusted no longer than one in a token",
        )?;
        at_most(
            ("session_idle", self.session_idle),
            ("session_max", self.session_max),
            "an idle session cannot outlast every session",
        )?;
        let confirmation = ("issuance_confirmation", self.issuance_confirmation);
        shorter(
            ("reservation_lease", self.reservation_lease),
            confirmation,
            "a reservation is settled before its confirmation is overdue",
        )?;
        at_most(
            confirmation,
            ("idempotency", self.idempotency),
            "an interrupted issuance is taken up again by replaying its answer",
        )?;
        shorter(
            ("root_crl_warning", self.root_crl_warning),
            ("root_crl_next_update", self.root_crl_next_update),
            "a CRL that is due from its first moment is never not due",
        )?;
        shorter(
            ("clock_tolerance", self.clock_tolerance),
            ("clock_jump", self.clock_jump),
            "a tolerated difference is no jump",
        )
    }
}

fn order_error(
    document: &Document,
    less: (&str, Duration),
    more: (&str, Duration),
    relation: &str,
    why: &str,
) -> Error {
    let (less_text, more_text) = (humantime::format_duration(less.1), humantime::format_duration(more.1));
    let relation = if relation == "shorter" { "shorter than" } else { relation };
    document.rule_error(
        &format!("times.{}", less.0),
        format!("`{}` ({less_text}) is {relation} `{}` ({more_text}): {why}", less.0, more.0),
        format!("lower `{}` or raise `{}`", less.0, more.0),
    )
}

crate::schema::section! {
    RawReminders {
        holder: Vec<String> = ["90d", "60d", "30d", "14d", "7d", "1d"].map(str::to_owned).to_vec(),
        list: String = "30d".to_owned(),
    }
}

/// When expiry is announced.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reminders {
    /// How long before expiry the holder is reminded; longest first.
    pub holder: Vec<Duration>,
    /// How long before expiry a card stands on the RA's list.
    pub list: Duration,
}

impl Reminders {
    pub(crate) fn check(raw: &RawReminders, times: &Times, document: &Document) -> Result<Self, Error> {
        let mut holder: Vec<Duration> = Vec::with_capacity(raw.holder.len());
        for (number, text) in raw.holder.iter().enumerate() {
            let key = format!("reminders.holder[{number}]");
            let before = document.duration(&key, text)?;
            if holder.last().is_some_and(|last| *last <= before) {
                return Err(document.rule_error(
                    &key,
                    "reminders come closer to expiry one by one",
                    "sort them, longest first",
                ));
            }
            if before > times.renewal_window {
                return Err(document.rule_error(
                    &key,
                    "a holder is reminded when renewal is possible, within `times.renewal_window`",
                    format!("write at most \"{}\"", humantime::format_duration(times.renewal_window)),
                ));
            }
            holder.push(before);
        }
        Ok(Self { holder, list: document.duration("reminders.list", &raw.list)? })
    }
}
