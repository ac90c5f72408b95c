//! What cannot be left out of issuing a pair of certificates, each part measured alone in the same run: two signatures by
//! the token, two requests verified, both signatures checked, and the two durable commits that the pair shares.
//!
//! Commits are the cheaper the more of them share a flush. What counts is a crowd of as many writers as there are
//! stations, all of which are always waiting for the store: the service's stations also wait for the token, so that its
//! groups are smaller, and what a commit costs it more is the service's own and not the ceiling's.

use std::time::Duration;

use hsm::Signer;

use crate::cost::{Sample, Watch, processors, repeat};
use crate::issuance::Baseline;
use crate::report::Report;
use crate::token::MESSAGE;

const LENGTH: Duration = Duration::from_millis(300);

/// The parts, of all rounds.
#[derive(Default)]
pub(crate) struct Ceiling {
    sign: Sample,
    request: Sample,
    check: Sample,
    commits: Sample,
}

impl Ceiling {
    /// Measures every part once more. `request` is a PKCS#10 request as the cards send it.
    pub(crate) async fn measure(&mut self, beside: &Baseline<'_>, request: Vec<u8>) {
        let own = Watch::own();
        let sign = beside.token.now(beside.ca).await;
        let commits = beside.store.now().await;
        let verify =
            move || repeat(LENGTH, || drop(pki::request::check_request(&request).expect("a request that holds")));
        let request = own.threads([verify]).await;
        let (key, signature) = beside.token.signed(beside.ca);
        let check = move || {
            repeat(LENGTH, || {
                key.public_key().verify(key.algorithm(), &MESSAGE, &signature).expect("a good signature");
            })
        };
        let check = own.threads([check]).await;
        let add = |sum: &mut Sample, part| *sum = std::mem::take(sum).and(part);
        add(&mut self.sign, sign);
        add(&mut self.request, request);
        add(&mut self.check, check);
        add(&mut self.commits, commits);
    }

    /// The processor time that a pair needs at least.
    pub(crate) fn of_a_pair(&self) -> Duration {
        2 * (self.sign.bench() + self.request.bench() + self.check.bench()) + self.commits.bench()
    }

    /// Certificates per second when all processors do nothing else.
    pub(crate) fn certificates(&self) -> f64 {
        2.0 * processors() / self.of_a_pair().as_secs_f64()
    }

    /// The token's signatures per second.
    pub(crate) fn signatures(&self) -> f64 {
        self.sign.rate()
    }

    /// The store's pairs per second.
    pub(crate) fn commits(&self) -> f64 {
        self.commits.rate()
    }

    pub(crate) fn report(&self, id: &'static str, report: &mut Report) {
        let microseconds = |sample: &Sample| sample.bench().as_secs_f64() * 1e6;
        let what = format!(
            "what {} processors could issue if a pair took only 2 x (token signature {:.0} µs + request verification \
             {:.0} µs + signature check {:.0} µs) + its two durable commits {:.0} µs of processor time, as 16 writers make \
             them who share flushes and do nothing else",
            processors(),
            microseconds(&self.sign),
            microseconds(&self.request),
            microseconds(&self.check),
            microseconds(&self.commits),
        );
        report.value(id, self.certificates(), "certificates/s", what);
    }
}
