//! What the tour tells, and the report that it leaves for scripts.

use std::time::Instant;

use serde::Serialize;

use crate::report::{self, Format};

/// The report of a tour.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Tour {
    /// The demo's directory.
    pub(crate) dir: String,
    /// Addresses.
    pub(crate) urls: Urls,
    /// Files.
    pub(crate) files: Paths,
    /// Each card certificate, with what its status is to be at the end.
    pub(crate) certificates: Vec<TourCertificate>,
    /// How long each step took.
    pub(crate) steps: Vec<TourStep>,
    /// The checks by `openssl`, as they can be repeated.
    pub(crate) openssl: Vec<Check>,
    /// From the report of the loss to the first login that was refused, in milliseconds: two commands, each with a
    /// process, a login and a TLS connection of its own.
    pub(crate) lost_to_refused_milliseconds: f64,
    /// How long the service took over the report of the loss, from request to reply.
    pub(crate) report_lost_milliseconds: f64,
    /// All together, in milliseconds.
    pub(crate) milliseconds: f64,
}

#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Urls {
    pub(crate) api: String,
    pub(crate) openapi: String,
    pub(crate) ocsp: String,
    pub(crate) crl: String,
    pub(crate) ca: String,
    pub(crate) health: String,
    pub(crate) ready: String,
    pub(crate) metrics: String,
    pub(crate) relying: String,
    pub(crate) responder: String,
    pub(crate) responder_ready: String,
}

#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Paths {
    pub(crate) config: String,
    pub(crate) station: String,
    pub(crate) softhsm_conf: String,
    pub(crate) admin_socket: String,
    pub(crate) root_certificate: String,
    pub(crate) server_log: String,
    pub(crate) responder: String,
    pub(crate) responder_log: String,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct TourCertificate {
    pub(crate) path: String,
    pub(crate) card: String,
    pub(crate) profile: String,
    pub(crate) issuer: String,
    pub(crate) issuer_certificate: String,
    pub(crate) serial: String,
    /// `good`, `on_hold` or `revoked`.
    pub(crate) expected: String,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct TourStep {
    pub(crate) step: String,
    pub(crate) milliseconds: f64,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Check {
    pub(crate) what: String,
    pub(crate) command: String,
    pub(crate) expected: String,
}

/// Tells the steps with their times.
pub(crate) struct Story {
    format: Format,
    began: Instant,
    step: Instant,
    pub(crate) tour: Tour,
}

pub(crate) fn milliseconds(since: Instant) -> f64 {
    (since.elapsed().as_secs_f64() * 10_000.0).round() / 10.0
}

impl Story {
    pub(crate) fn begin(format: Format) -> Self {
        let now = Instant::now();
        Story { format, began: now, step: now, tour: Tour::default() }
    }

    /// A line without a time.
    pub(crate) fn say(&self, text: &str) {
        if self.format == Format::Text {
            report::tell(text);
        }
    }

    /// A step is done.
    pub(crate) fn done(&mut self, step: &str) {
        let took = milliseconds(self.step);
        self.step = Instant::now();
        self.say(&format!("{took:8.1} ms  {step}"));
        self.tour.steps.push(TourStep { step: step.to_owned(), milliseconds: took });
    }

    /// The tour is over; the report, for scripts.
    pub(crate) fn end(&mut self) {
        self.tour.milliseconds = milliseconds(self.began);
        self.say(&format!("\nThe tour took {:.2} s.", self.tour.milliseconds / 1000.0));
        if self.format == Format::Json {
            report::result(self.format, &self.tour, |_| String::new());
        }
    }
}
