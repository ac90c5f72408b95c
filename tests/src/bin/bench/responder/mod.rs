//! `bench responder`: what the OCSP responder does, beside what a bare HTTP server and the signature alone need.
//!
//! Measured is the program `ocsp-responder`, which follows a service of its own; with `embedded`, the responder inside the
//! service. One deployment, whose feed tells of 2,400,000 certificates (`BENCH_CERTIFICATES`), so that every figure is of a responder
//! of that size. The responder has the first processor for itself and this program the second; whatever else the machine
//! does is shown as `others`, and belongs beside every figure.

mod cached;
mod day;
mod enrolled;
mod feed;
mod hostile;
mod load;
mod mix;
mod openssl;
mod register;
mod size;
mod subject;
mod visibility;

use tests::Home;

use crate::pin;
use crate::report::Report;
use crate::tell;
use subject::Registered;

/// What can be measured alone, in the order of the whole run.
pub(crate) const PARTS: [&str; 7] = ["size", "cached", "nonce", "mix", "visibility", "hostile", "openssl"];

/// Measures the responder inside the service, not one of its own.
pub(crate) const EMBEDDED: &str = "embedded";

/// Measures these parts.
pub(crate) async fn run(home: &Home, embedded: bool, has: impl Fn(&str) -> bool) -> Report {
    let mut report = Report::begin();
    if !pin::is_pinned() {
        tell("this machine has one processor: the responder and this program share it");
    }
    tell("a deployment with a large register");
    let registered = Registered::make(home, embedded).await;
    let subject = registered.start().await;
    if has("size") {
        tell("memory and start");
        size::run(&registered, &subject, &mut report);
    }
    if has("cached") || has("nonce") {
        tell("answers beside bare hyper");
        cached::run(&registered, &subject, (has("cached"), has("nonce")), &mut report).await;
    }
    if has("mix") {
        tell("a day's logins");
        mix::run(&registered, &subject, &mut report).await;
    }
    if has("size") {
        tell("four fifths of what it can do");
        mix::under_load(&registered, &subject, &mut report).await;
    }
    if has("visibility") {
        tell("revocations, with five responders");
        visibility::run(&registered, &subject, &mut report).await;
    }
    if has("hostile") {
        hostile::run(&registered, &subject, &mut report).await;
    }
    if has("openssl") {
        tell("openssl ocsp");
        openssl::run(&registered, &subject, &mut report).await;
    }
    subject.stop().await;
    report.end()
}
