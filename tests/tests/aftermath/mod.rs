//! A service in a process of its own that dies, and what must hold of its store after that.

#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use ca::certificate::{CertificateId, CertificateRecord, CertificateState};
use pki::CrlReason;
use pki::certificate::ParsedCertificate;
use pki::feed::StatusEntry;
use pki::ocsp::{CertStatus, Expected, HashAlgorithm, IssuerHashes, build_request, verify_response};
use server::clock::Clock;
use server::steps::Step;
use tests::deployment::Site;
use tests::{Ask, Deployment, Operator, PATIENCE, Station, World};

/// Who works with a deployment, while it is down.
pub(crate) struct Desk {
    pub(crate) station: Station,
    pub(crate) checker: Operator,
    pub(crate) issuer: Operator,
}

/// Stops the service; station and operators stay.
pub(crate) async fn stopped(world: World) -> (Site, Desk) {
    let World { deployment, station, checker, issuer } = world;
    (deployment.stop().await, Desk { station, checker, issuer })
}

/// Starts the service in this process again, for the same station and operators.
pub(crate) async fn started(site: Site, desk: Desk) -> World {
    let Desk { station, checker, issuer } = desk;
    World { deployment: site.start().await, station, checker, issuer }
}

/// A service in a process of its own. It does not outlive the test.
pub(crate) struct Doomed {
    child: Child,
    /// What it writes to standard error.
    log: PathBuf,
}

impl Drop for Doomed {
    fn drop(&mut self) {
        // It has ended already, in most cases.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The command for a process on this site's configuration.
pub(crate) fn command(what: &str, site: &Site) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_doomed-server"));
    command.arg(what).arg(site.config.file());
    command
}

/// The same in a shell that sets a limit before.
pub(crate) fn limited(limit: &str, what: &str, site: &Site) -> Command {
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("{limit}; exec \"$0\" \"$@\"")).arg(env!("CARGO_BIN_EXE_doomed-server"));
    command.arg(what).arg(site.config.file());
    command
}

impl Doomed {
    /// Starts a process.
    pub(crate) fn spawn(site: &Site, mut command: Command) -> Self {
        let log = site.home.file("doomed.log");
        let file = fs::File::create(&log).unwrap();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file).spawn().unwrap();
        Doomed { child, log }
    }

    /// Starts a service that kills itself at this step, if any, and waits until it is ready.
    pub(crate) async fn serve(site: &Site, at: Option<Step>) -> Self {
        let mut command = command("serve", site);
        if let Some(step) = at {
            command.env("DOOMED_AT", step.name());
        }
        let mut doomed = Doomed::spawn(site, command);
        doomed.ready(site).await;
        doomed
    }

    /// Waits until it is ready.
    pub(crate) async fn ready(&mut self, site: &Site) {
        let door = site.operations();
        loop {
            if let Ok(reply) = door.try_send(Ask::get("/readyz")).await
                && reply.status == 200
            {
                return;
            }
            assert!(self.child.try_wait().unwrap().is_none(), "the service ended: {}", self.words());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// What it said on standard error.
    pub(crate) fn words(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Kills it, as `kill -9` does it.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(began.elapsed() < PATIENCE, "the process does not end: {}", self.words());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits until it has killed itself.
    pub(crate) async fn killed_itself(&mut self) {
        let status = self.ended().await;
        assert_eq!(status.signal(), Some(9), "{status}: {}", self.words());
    }
}

/// What OCSP says of a certificate that may never have been seen.
pub(crate) async fn ocsp_of(deployment: &Deployment, id: &CertificateId) -> CertStatus {
    let issuer = ParsedCertificate::from_der(&deployment.issuer(&id.issuer)).unwrap();
    let hashes = IssuerHashes::new(issuer.subject_der(), issuer.public_key());
    let cert_id = hashes.cert_id(HashAlgorithm::Sha256, id.serial);
    let ask = Ask::post("/ocsp").header("content-type", "application/ocsp-request");
    let ask = ask.body(build_request(&[&cert_id], Some(&[9; 32])).unwrap());
    let reply = deployment.public().send(ask).await.expect(200);
    let expected = Expected {
        cert_id: &cert_id,
        issuer_subject_der: issuer.subject_der(),
        issuer_key: issuer.public_key(),
        nonce: Some(&[9; 32]),
        now: deployment.clock.now(),
        max_clock_skew: Duration::ZERO,
    };
    verify_response(&reply.body, &expected).unwrap().status
}

/// The status that follows from a certificate's record.
pub(crate) fn status_of(record: &CertificateRecord) -> CertStatus {
    match record.state {
        CertificateState::Reserved { .. } => CertStatus::Unknown,
        CertificateState::Good { .. } => CertStatus::Good,
        CertificateState::Pending { since, .. } | CertificateState::OnHold { since } => {
            CertStatus::Revoked { at: since, reason: CrlReason::CertificateHold }
        }
        CertificateState::Revoked { at, reason, .. } => CertStatus::Revoked { at, reason },
        CertificateState::Void { at } => {
            CertStatus::Revoked { at: at.whole_seconds(), reason: CrlReason::CessationOfOperation }
        }
    }
}

/// The certificates of people's cards, by their ids.
pub(crate) fn of_cards(deployment: &Deployment) -> BTreeMap<CertificateId, CertificateRecord> {
    let records = deployment.certificates().into_iter().filter(|record| record.holder.card().is_some());
    records.map(|record| (record.id.clone(), record)).collect()
}

/// What is so after each restart: no certificate is between two states, each has an intent and a result in the audit
/// records, and feed, CRLs and OCSP say what the records say.
// conformance: A5, O5
pub(crate) async fn all_agrees(deployment: &Deployment) {
    let audit = deployment.audit().await;
    for (index, record) in audit.iter().enumerate() {
        assert_eq!(record.index, index as u64, "the audit records have a gap");
    }
    let mut intents = BTreeMap::new();
    let mut results = BTreeMap::new();
    for record in audit.iter().filter(|record| record.operation == "certificate.issue") {
        let of_kind = if record.outcome == "intent" { &mut intents } else { &mut results };
        for target in record.targets.iter().filter(|target| target.starts_with("certificate ")) {
            let before = of_kind.insert(target.clone(), (record.index, record.outcome.clone()));
            assert!(before.is_none(), "{target} has two records: {before:?}, {record:?}");
        }
    }
    let store = deployment.service.store.as_ref();
    let position = store.feed_position().unwrap();
    let mut published = BTreeMap::new();
    let mut last = 0;
    for (sequence, bytes) in store.feed(0, usize::MAX).unwrap() {
        assert_eq!(sequence, last + 1, "the feed has a gap");
        last = sequence;
        let entry = StatusEntry::decode(&bytes).unwrap();
        published.insert((entry.issuer.clone(), entry.serial), entry);
    }
    assert_eq!(last, position.sequence);

    deployment.publish_crls().await;
    let mut crls = BTreeMap::new();
    for record in deployment.certificates() {
        let id = &record.id;
        let target = format!("certificate {id}");
        assert!(!matches!(record.state, CertificateState::Reserved { .. }), "{record:?}");
        let (intent, result) = (&intents[&target], &results[&target]);
        assert!(intent.0 < result.0, "{target}: {intent:?}, {result:?}");
        let is_void = matches!(record.state, CertificateState::Void { .. });
        assert_eq!(result.1, if is_void { "failed: void" } else { "done" }, "{target}");
        assert_eq!(published.get(&(id.issuer.clone(), id.serial)), record.status_entry().as_ref(), "{target}");
        // No OCSP address stands in a CA's certificate.
        if id.issuer.starts_with("root-") {
            continue;
        }
        let status = status_of(&record);
        assert_eq!(ocsp_of(deployment, id).await, status, "{target}");
        if !crls.contains_key(&id.issuer) {
            crls.insert(id.issuer.clone(), deployment.read_crl(&id.issuer).await);
        }
        let entry = crls[&id.issuer].entry(&id.serial);
        match status {
            CertStatus::Revoked { at, reason } => {
                let entry = entry.unwrap_or_else(|| panic!("{target} is not on the CRL"));
                assert_eq!((entry.at.whole_seconds(), entry.reason), (at, reason.into()), "{target}");
            }
            _ => assert!(entry.is_none(), "{target} is on the CRL"),
        }
    }
    // Nothing was signed that is not known.
    for target in results.keys() {
        assert!(intents.contains_key(target), "{target}");
    }
}
