//! A start with a million certificates, and the memory that they take.

use std::time::{Duration, Instant};

use audit::{Actor, Outcome};
use ca::certificate::{CertificateId, CertificateRecord, CertificateState, Holder};
use pki::{CrlReason, SerialNumber, Timestamp};
use ring::rand::{SecureRandom, SystemRandom};
use server::clock::{Clock, SystemClock};
use store::{SledStore, Store};
use tests::deployment::Site;
use tests::{Home, Options};

use crate::cost::{memory, since_its_start};
use crate::process::Helper;
use crate::report::Report;
use crate::tell;

/// How many certificates, unless `BENCH_CERTIFICATES` says otherwise.
const CERTIFICATES: u32 = 1_000_000;
/// How many are written in one commit.
const PORTION: u32 = 500;
/// One in so many is revoked.
const REVOKED: u32 = 20;
const NAME: &str = "million";

fn certificates() -> u32 {
    let wanted = std::env::var("BENCH_CERTIFICATES").ok().map(|text| text.parse().expect("a number of certificates"));
    wanted.unwrap_or(CERTIFICATES).next_multiple_of(PORTION)
}

/// Writes the records, index terms, feed entries and audit records that so many certificates leave behind.
fn fill(site: &Site, certificates: u32) {
    let store = SledStore::open(&site.config.store.path).expect("the store");
    let random = SystemRandom::new();
    let now: Timestamp = SystemClock.now();
    let actor = Actor::service();
    for portion in 0..certificates / PORTION {
        let mut batch = ca::batch(now);
        for number in portion * PORTION..(portion + 1) * PORTION {
            let mut octets = [0; 80];
            random.fill(&mut octets).expect("random octets");
            let (serial, rest) = octets.split_first_chunk::<16>().expect("80 octets");
            let at = now.whole_seconds();
            let state = match number % REVOKED {
                0 => CertificateState::Revoked { at, reason: CrlReason::Superseded, invalidity_date: None },
                _ => CertificateState::Good { since: at },
            };
            let record = CertificateRecord {
                id: CertificateId {
                    issuer: ["authentication-1", "signing-1"][number as usize % 2].to_owned(),
                    serial: SerialNumber::from_random(*serial),
                },
                profile: "card-authentication".to_owned(),
                profile_version: "0".repeat(64),
                holder: Holder::Person {
                    user_id: format!("RX1{:07}", number / 2),
                    card: format!("C{:09}", number / 2),
                },
                not_before: at,
                not_after: at.plus(Duration::from_secs(86_400 * (700 + u64::from(number % 30)))),
                reserved_at: now,
                tbs_digest: rest[..32].to_vec(),
                key_digest: rest[32..].to_vec(),
                ignored: Default::default(),
                crl_shard: None,
                der: Some([rest, &[0x30; 636]].concat()),
                state,
            };
            batch.create(&record).expect("a record");
            batch.feed.extend(record.status_entry().map(|entry| entry.encode()));
            ca::record(&mut batch, &record.audit(now, &actor, Outcome::Done, None)).expect("an audit record");
        }
        store.commit(batch).expect("a commit");
    }
}

/// Starts the service; gives the time until its doors are open, the processor time by then and the memory.
async fn start(site: &Site) -> (Helper, Duration, Duration, u64) {
    let config = site.home.file(NAME).join("cardinal.toml");
    let began = Instant::now();
    let service = Helper::serving(&config).await;
    let took = began.elapsed();
    let (processor, memory) = (since_its_start(&service), memory(&service));
    (service, took, processor, memory)
}

/// Measures.
pub(crate) async fn run(home: &Home, report: &mut Report) {
    let site = Site::initialised(home, &Options { name: NAME, ports: 300, ..Options::default() }).await;
    let (service, _, _, empty) = start(&site).await;
    service.stop().await;
    let certificates = certificates();
    tell(&format!("{certificates} certificates are written; a million take minutes"));
    let site = tokio::task::spawn_blocking(move || {
        fill(&site, certificates);
        site
    });
    let site = site.await.expect("a thread");
    // The certificates came into the store behind the back of the file with the statuses: as after a restore.
    std::fs::remove_file(site.config.service.data_dir.join("status.snapshot")).expect("the file");
    let shown = |took: Duration, processor: Duration| {
        format!("{:.2} s of processor time, {:.2} s by the clock", processor.as_secs_f64(), took.as_secs_f64())
    };
    tell("it starts without the file with the statuses, and then with it");
    let (service, took, processor, _) = start(&site).await;
    let what = format!("the same without the file with the statuses: {}", shown(took, processor));
    service.stop().await;
    let (service, quick, its_processor, full) = start(&site).await;
    service.stop().await;
    let text = format!(
        "from nothing to open doors with {certificates} certificates, after a stop in order: {}",
        shown(quick, its_processor)
    );
    report.value("start.million", quick.as_secs_f64(), "s", text);
    report.value("start.million.records", took.as_secs_f64(), "s", what);
    let more = full.saturating_sub(empty) as f64 / f64::from(1 << 20) * 1e6 / f64::from(certificates);
    let what = format!(
        "memory per million of them once it is started (VmRSS {:.0} MiB, {:.0} MiB without certificates), before the store's \
         cache fills",
        full as f64 / f64::from(1 << 20),
        empty as f64 / f64::from(1 << 20)
    );
    report.value("memory.million", more, "MiB", what);
}
