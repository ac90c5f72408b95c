//! A register of certificates that nobody issued: the statuses of 800,000 people's cards, as the feed tells them.
//!
//! A person has three certificates that are valid: a card's pair, and the login certificate of a second card. Their serial
//! numbers follow from their number, so that whoever asks needs no list.

use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

use ocsp_responder::snapshot::{Snapshot, SnapshotError, SnapshotWriter};
use pki::feed::{PublishedStatus, StatusEntry};
use pki::{SerialNumber, Timestamp};

use super::load::mixed;

/// The issuer of login certificates.
pub(crate) const LOGIN_ISSUER: &str = "authentication-1";
const SIGNING_ISSUER: &str = "signing-1";
/// Certificates of one person.
pub(crate) const EACH: u32 = 3;

/// How many people there are, unless `BENCH_CERTIFICATES` says otherwise.
const PEOPLE: u32 = 800_000;

/// How many people there are in this run.
pub(crate) fn people() -> u32 {
    let wanted = std::env::var("BENCH_CERTIFICATES").ok().map(|text| text.parse().expect("a number of certificates"));
    wanted.map_or(PEOPLE, |certificates: u32| certificates.div_ceil(EACH)).max(2000)
}

/// The serial number of a person's certificate; number 0 is the one for logins.
pub(crate) fn serial(person: u32, number: u32) -> SerialNumber {
    let number = u64::from(person * EACH + number);
    let (high, low) = (mixed(number), mixed(!number));
    let mut octets = [0; 16];
    octets[..8].copy_from_slice(&high.to_be_bytes());
    octets[8..].copy_from_slice(&low.to_be_bytes());
    SerialNumber::from_random(octets)
}

fn entry(person: u32, number: u32, now: Timestamp) -> StatusEntry {
    let age = Duration::from_secs(mixed(u64::from(person)) % (600 * 86_400));
    StatusEntry {
        issuer: if number == 1 { SIGNING_ISSUER } else { LOGIN_ISSUER }.to_owned(),
        serial: serial(person, number),
        status: PublishedStatus::Good { since: now.minus(age) },
        not_after: now.minus(age).plus(Duration::from_secs(730 * 86_400)),
        shard: None,
    }
}

/// Puts them into the file with the statuses of a service that is stopped: beside what it has, at the same place in the
/// feed.
pub(crate) fn fill(file: &Path, people: u32, now: Timestamp) {
    let before = fs::read(file).expect("the file with the statuses of a service that was stopped in order");
    let before = Snapshot::open(&before).expect("a file with statuses");
    let new = file.with_extension("filled");
    let out = File::create(&new).expect("a file");
    let mut writer = SnapshotWriter::new(out, before.place());
    let copied = before.for_each(|entry| writer.put(entry).map_err(|_| SnapshotError::Format));
    copied.expect("the statuses that are there");
    for person in 0..people {
        for number in 0..EACH {
            writer.put(&entry(person, number, now)).expect("an entry is written");
        }
    }
    writer.finish().expect("the file is written");
    fs::rename(new, file).expect("the file is put in its place");
}
