//! What a responder counts, in the form that Prometheus reads: the same names wherever it runs.

use std::sync::Arc;

use pki::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::door::DoorCounts;
use crate::{Freshness, Responder};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct IssuerLabel {
    issuer: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DoorLabel {
    door: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DoorEventLabel {
    door: &'static str,
    kind: &'static str,
}

/// A gauge with a value.
pub fn gauge(value: i64) -> Gauge {
    let gauge = Gauge::<i64>::default();
    gauge.set(value);
    gauge
}

/// A counter with a value.
pub fn counter(value: u64) -> Counter {
    let counter = Counter::<u64>::default();
    counter.inc_by(value);
    counter
}

/// Puts what a responder counts, and how it stands at `now`, into a registry that is read once.
pub fn register(registry: &mut Registry, responder: &Responder, now: Timestamp) {
    registry.register(
        "replica_certificates",
        "Certificates that the OCSP responder knows",
        gauge(i64::try_from(responder.replica().len()).unwrap_or(i64::MAX)),
    );
    registry.register(
        "ocsp_cached",
        "OCSP answers in the cache",
        gauge(i64::try_from(responder.cached_answers()).unwrap_or(i64::MAX)),
    );
    registry.register(
        "ocsp_cached_octets",
        "Memory that the answers in the cache take, with all that is needed to find them",
        gauge(i64::try_from(responder.cached_octets()).unwrap_or(i64::MAX)),
    );
    registry.register(
        "replica_octets",
        "Memory that the statuses of certificates take",
        gauge(i64::try_from(responder.replica().octets()).unwrap_or(i64::MAX)),
    );

    let signer_left: Family<IssuerLabel, Gauge> = Family::default();
    let fresh: Family<IssuerLabel, Gauge> = Family::default();
    let freshness: Family<IssuerLabel, Gauge> = Family::default();
    for state in responder.state(now) {
        let label = IssuerLabel { issuer: state.id };
        // Nobody to sign is as bad as a signer that ended.
        let left = state.signer_not_after.map_or(0, |end| end.unix_seconds() - now.unix_seconds());
        signer_left.get_or_create(&label).set(left);
        fresh.get_or_create(&label).set(i64::from(state.freshness == Freshness::Fresh));
        freshness.get_or_create(&label).set(match state.freshness {
            Freshness::Fresh => 0,
            Freshness::Stale => 1,
            Freshness::Withheld => 2,
        });
    }
    registry.register(
        "ocsp_signer_seconds_left",
        "Seconds until an OCSP signer's certificate ends; 0 where nobody can sign",
        signer_left,
    );
    registry.register("ocsp_fresh", "1 while an issuer's status data is fresh", fresh);
    registry.register("ocsp_freshness", "0 fresh, 1 stale, 2 withheld: an issuer's status data", freshness);
    let age =
        responder.replica().as_of().map_or(-1, |as_of| i64::try_from(now.since(as_of).as_secs()).unwrap_or(i64::MAX));
    registry.register(
        "feed_seconds_behind",
        "Seconds since the last heartbeat of the feed; -1 before the first",
        gauge(age),
    );

    let answers: Family<KindLabel, Counter> = Family::default();
    let counted = responder.metrics();
    for (kind, counter) in [
        ("good", &counted.good),
        ("revoked", &counted.revoked),
        ("unknown", &counted.unknown),
        ("several", &counted.several),
        ("malformed_request", &counted.malformed_request),
        ("internal_error", &counted.internal_error),
        ("try_later", &counted.try_later),
        ("unauthorized", &counted.unauthorized),
        ("cache_hit", &counted.cache_hits),
        ("signed", &counted.signed),
        ("overtaken", &counted.overtaken),
        ("withheld", &counted.withheld),
        ("signing_failure", &counted.signing_failures),
        ("verification_failure", &counted.verification_failures),
        ("http_refused", &counted.http_refused),
    ] {
        answers.get_or_create(&KindLabel { kind }).inc_by(counter.get());
    }
    registry.register(
        "ocsp_clock_behind",
        "1 while the clock is behind the last answer",
        gauge(i64::from(responder.is_clock_behind(now))),
    );
    registry.register("ocsp_answers", "OCSP answers and events, by kind", answers);
}

/// Puts what doors count, each under its name, into a registry that is read once.
pub fn register_doors<'a>(
    registry: &mut Registry,
    doors: impl IntoIterator<Item = (&'static str, &'a Arc<DoorCounts>)>,
) {
    let open: Family<DoorLabel, Gauge> = Family::default();
    let events: Family<DoorEventLabel, Counter> = Family::default();
    for (door, counts) in doors {
        open.get_or_create(&DoorLabel { door }).set(i64::try_from(counts.open.get()).unwrap_or(i64::MAX));
        for (kind, counter) in [
            ("accepted", &counts.accepted),
            ("made_room", &counts.made_room),
            ("turned_away", &counts.turned_away),
            ("too_slow", &counts.too_slow),
            ("unread", &counts.unread),
        ] {
            events.get_or_create(&DoorEventLabel { door, kind }).inc_by(counter.get());
        }
    }
    registry.register("connections_open", "Connections that are open", open);
    registry.register("connections", "Connections that came, and those that a limit ended or turned away", events);
}
