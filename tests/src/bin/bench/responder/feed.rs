//! This program as one more follower of the status feed: when the feed told of each suspension.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use api::responders::{ENROLMENTS, ResponderEnrolmentReply, ResponderEnrolmentRequest};
use pki::feed::frame::Frame;
use pki::feed::{FeedPosition, Mark, PublishedStatus, StatusEntry};
use pki::{SerialNumber, Timestamp};
use server::clock::{Clock, SystemClock};
use tests::card::new_key;
use tests::deployment::Site;
use tests::desk::post;
use tests::follower::{Follower, Place};
use tests::request;

use super::enrolled::code;

const NAME: &str = "bench.example";

/// When the feed told of each suspension, by serial number.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard(Arc<Mutex<BTreeMap<SerialNumber, Timestamp>>>);

impl Heard {
    /// Enrols, and follows the feed from its first entry for as long as this program runs.
    pub(crate) async fn begin(site: &Site) -> Self {
        let code: api::EnrolmentCode = code(site, NAME).await.parse().expect("a code");
        let key = new_key();
        let asked = ResponderEnrolmentRequest {
            name: NAME.to_owned(),
            secret: code.secret.to_vec().into(),
            request: request::plain(&key).into(),
        };
        let reply = site.anonymous().send(post(ENROLMENTS, &asked)).await.expect(201);
        let reply: ResponderEnrolmentReply = reply.read();
        let certificate = reply.certificate.0;
        let door = site.door_for(&certificate, Arc::clone(&key));
        let origin = reply.origin.parse().expect("an origin");
        let follower = Follower { name: NAME.to_owned(), key, certificate, origin, door };
        let position = FeedPosition { epoch: 1, sequence: 0 };
        let mut tail = follower.tail(Place { position, mark: Mark::NONE }).await;
        let heard = Heard::default();
        let told = heard.clone();
        tokio::spawn(async move {
            while let Some(frame) = tail.next().await {
                let now = SystemClock.now();
                match frame {
                    Frame::Entry { entry, .. } => told.take(&entry, now),
                    // It counts as a responder: who waits for all must not wait for this one.
                    Frame::Heartbeat { position, .. } => drop(follower.acknowledge(position).await.expect(204)),
                    Frame::Hello { .. } => {}
                }
            }
        });
        heard
    }

    fn take(&self, entry: &[u8], came: Timestamp) {
        let entry = StatusEntry::decode(entry).expect("an entry of the feed");
        if matches!(entry.status, PublishedStatus::OnHold { .. }) {
            let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            heard.insert(entry.serial, came);
        }
    }

    /// When it told of this certificate.
    pub(crate) fn of(&self, serial: &SerialNumber) -> Option<Timestamp> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(serial).copied()
    }
}
