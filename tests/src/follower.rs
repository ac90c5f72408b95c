//! A responder as the service sees it: enrolled, with its key in memory, and with nothing behind it. It asks what a test
//! wants to ask, and follows the feed frame by frame. The real one is the binary `ocsp-responder`.

use std::sync::Arc;

use api::feed::{Acknowledgement, IssuersDocument, SignerReply, SignerRequest, TailQuery};
use api::responders::{
    ResponderEnrolmentReply, ResponderEnrolmentRequest, ResponderExpulsionReply, ResponderExpulsionRequest,
    ResponderRenewalReply, ResponderRenewalRequest, ResponderView, SignerKeys,
};
use api::{EnrolmentCode, feed, responders};
use hsm::MemoryKey;
use ocsp_responder::snapshot::{Snapshot, SnapshotError};
use pki::feed::frame::{Frame, FrameDecoder};
use pki::feed::{FeedPosition, Mark, Origin, StatusEntry};

use crate::card::new_key;
use crate::desk::{path, post};
use crate::http::OpenReply;
use crate::{Ask, Deployment, Door, Reply, request};

/// An enrolled responder.
#[derive(Clone, Debug)]
pub struct Follower {
    /// Its name.
    pub name: String,
    /// Its key.
    pub key: Arc<MemoryKey>,
    /// Its certificate, DER.
    pub certificate: Vec<u8>,
    /// Whose feed it follows, as enrolment told it.
    pub origin: Origin,
    /// The API door, with that certificate.
    pub door: Door,
}

/// A place in the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The position.
    pub position: FeedPosition,
    /// The mark of its entry.
    pub mark: Mark,
}

/// A tail that is open.
#[derive(Debug)]
pub struct Tail {
    reply: OpenReply,
    decoder: FrameDecoder,
}

impl Deployment {
    /// A code for a responder, read.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn follower_code(&self, name: &str, signer_keys: SignerKeys) -> EnrolmentCode {
        self.responder_code(name, signer_keys).await.parse().expect("a code")
    }

    /// Tries to enrol a responder.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn try_enrol_follower(&self, code: &EnrolmentCode, name: &str) -> (Reply, Arc<MemoryKey>) {
        let key = new_key();
        let request = ResponderEnrolmentRequest {
            name: name.to_owned(),
            secret: code.secret.to_vec().into(),
            request: request::plain(&key).into(),
        };
        (self.anonymous().send(post(responders::ENROLMENTS, &request)).await, key)
    }

    /// Enrols a responder.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn enrol_follower(&self, name: &str) -> Follower {
        self.enrol_follower_with(name, SignerKeys::Memory).await
    }

    /// Enrols a responder that keeps its signer keys there.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn enrol_follower_with(&self, name: &str, signer_keys: SignerKeys) -> Follower {
        let code = self.follower_code(name, signer_keys).await;
        let (reply, key) = self.try_enrol_follower(&code, name).await;
        let reply: ResponderEnrolmentReply = reply.expect(201).read();
        assert_eq!(reply.signer_keys, signer_keys);
        let certificate = reply.certificate.0;
        let door = self.door_for(&certificate, Arc::clone(&key));
        Follower { name: name.to_owned(), key, certificate, origin: reply.origin.parse().expect("an origin"), door }
    }

    /// How one responder stands.
    ///
    /// # Panics
    /// When there is none of that name.
    pub async fn responder(&self, name: &str) -> ResponderView {
        let found = self.responders().await.into_iter().find(|one| one.name == name);
        found.unwrap_or_else(|| panic!("no responder {name}"))
    }

    /// Expels a responder, or says what that would do.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn expulsion(&self, name: &str, really: bool) -> ResponderExpulsionReply {
        let request = ResponderExpulsionRequest { name: name.to_owned(), compromised: false, really };
        self.admin().send(Ask::post("/responders/expulsions").json(&request)).await.expect(200).read()
    }

    /// Where the feed is.
    ///
    /// # Panics
    /// When the store fails.
    pub fn feed_place(&self) -> Place {
        let position = self.service.store.feed_position().expect("the store");
        let sequence = position.sequence;
        let mark = match sequence.checked_sub(1) {
            None => Mark::NONE,
            Some(before) => Mark::of(&self.service.store.feed(before, 1).expect("the store")[0].1),
        };
        Place { position: FeedPosition { epoch: position.epoch, sequence }, mark }
    }
}

impl Follower {
    /// Sends a request.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn send(&self, ask: Ask) -> Reply {
        self.door.send(ask).await
    }

    /// Whom it answers for.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn issuers(&self) -> IssuersDocument {
        self.send(Ask::get(path(feed::ISSUERS))).await.expect(200).read()
    }

    /// All statuses, and the place in the feed.
    ///
    /// # Panics
    /// When it is refused, or no snapshot.
    pub async fn snapshot(&self) -> (Place, Vec<StatusEntry>) {
        let reply = self.send(Ask::get(path(feed::SNAPSHOT))).await.expect(200);
        assert_eq!(reply.header("content-type"), feed::MEDIA_TYPE);
        assert_eq!(reply.header("content-length"), reply.body.len().to_string());
        let snapshot = Snapshot::open(&reply.body).expect("a snapshot");
        let mut entries = Vec::new();
        let take = |entry: &StatusEntry| {
            entries.push(entry.clone());
            Ok::<_, SnapshotError>(())
        };
        snapshot.for_each(take).expect("a whole snapshot");
        let place = snapshot.place();
        (Place { position: place.position, mark: Mark::from_bytes(place.mark) }, entries)
    }

    /// Asks for the snapshot; its content is still to be read.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn try_snapshot(&self) -> OpenReply {
        self.door.open(Ask::get(path(feed::SNAPSHOT))).await.expect("an answer")
    }

    /// Asks for the tail after a place.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn try_tail(&self, after: Place) -> OpenReply {
        let Place { position, mark } = after;
        let query = TailQuery { epoch: position.epoch, after: position.sequence, mark: mark.to_string() };
        self.door.open(Ask::get(path(&query.path()))).await.expect("an answer")
    }

    /// Opens the tail after a place, and looks at its first frame.
    ///
    /// # Panics
    /// When it is refused, or begins otherwise.
    pub async fn tail(&self, after: Place) -> Tail {
        let reply = self.try_tail(after).await;
        assert_eq!(reply.status, 200);
        let mut tail = Tail { reply, decoder: FrameDecoder::default() };
        match tail.next().await {
            Some(Frame::Hello { origin, position, .. }) => {
                assert_eq!((origin, position), (self.origin, after.position));
            }
            other => panic!("no greeting: {other:?}"),
        }
        tail
    }

    /// Says how far it has come.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn acknowledge(&self, position: FeedPosition) -> Reply {
        let FeedPosition { epoch, sequence } = position;
        self.send(post(feed::ACKNOWLEDGEMENTS, &Acknowledgement { epoch, sequence })).await
    }

    /// Asks for a certificate for a signer's key.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn try_signer(&self, issuer: &str, key: &MemoryKey) -> Reply {
        let request = SignerRequest { issuer: issuer.to_owned(), request: request::plain(key).into() };
        self.send(post(feed::SIGNERS, &request)).await
    }

    /// A certificate for a new signer's key.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn signer(&self, issuer: &str) -> (Arc<MemoryKey>, SignerReply) {
        let key = new_key();
        let reply = self.try_signer(issuer, &key).await;
        (key, reply.expect(201).read())
    }

    /// Asks for a new client certificate.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn try_renew(&self) -> (Reply, Arc<MemoryKey>) {
        let key = new_key();
        let request = ResponderRenewalRequest { request: request::plain(&key).into() };
        (self.send(post(responders::CERTIFICATE, &request)).await, key)
    }

    /// The same responder with a new client certificate, which it has not used yet.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn renewed(&self, deployment: &Deployment) -> Follower {
        let (reply, key) = self.try_renew().await;
        let reply: ResponderRenewalReply = reply.expect(201).read();
        let door = deployment.door_for(&reply.certificate.0, Arc::clone(&key));
        Follower { key, certificate: reply.certificate.0, door, ..self.clone() }
    }
}

impl Tail {
    /// The next frame; `None` at the end.
    ///
    /// # Panics
    /// When what comes is no frame.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.decoder.next().expect("a frame") {
                return Some(frame);
            }
            // A connection that is broken off is an end as well.
            match self.reply.next().await {
                Ok(Some(octets)) => self.decoder.push(&octets),
                Ok(None) | Err(_) => return None,
            }
        }
    }

    /// The next entry, whatever heartbeats come before it.
    ///
    /// # Panics
    /// When the tail ends, or what comes is no entry.
    pub async fn entry(&mut self) -> (u64, StatusEntry) {
        loop {
            match self.next().await {
                Some(Frame::Entry { sequence, entry }) => {
                    return (sequence, StatusEntry::decode(&entry).expect("an entry"));
                }
                Some(_) => {}
                None => panic!("the tail ended"),
            }
        }
    }

    /// Goes on until a heartbeat that speaks of this entry. Returns the entries before it, and the heartbeat.
    ///
    /// # Panics
    /// When the tail ends.
    pub async fn until(&mut self, sequence: u64) -> (Vec<(u64, StatusEntry)>, Frame) {
        let mut entries = Vec::new();
        loop {
            match self.next().await {
                Some(Frame::Entry { sequence, entry }) => {
                    entries.push((sequence, StatusEntry::decode(&entry).expect("an entry")));
                }
                Some(heartbeat @ Frame::Heartbeat { position, .. }) if position.sequence >= sequence => {
                    return (entries, heartbeat);
                }
                Some(_) => {}
                None => panic!("the tail ended"),
            }
        }
    }

    /// Goes on until the end.
    pub async fn end(mut self) {
        while self.next().await.is_some() {}
    }
}
