//! The configuration of an OCSP responder of its own, `ocsp-responder.toml`. Relative paths are taken from the folder that
//! holds the file.
//!
//! How long an answer may be used, and when answers are withheld, is not here: the CA says it, issuer by issuer.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pki::KeyType;

use crate::document::Document;
use crate::error::Error;
use crate::log::{Log, RawLog};
use crate::schema::section;
use crate::service::{Token, same_door};
use crate::signer_keys::key_types;

section! {
    RawResponderConfig {
        responder: RawResponder = RawResponder::default(),
        listen: RawResponderListen = RawResponderListen::default(),
        signer: RawSigner = RawSigner::default(),
        times: RawResponderTimes = RawResponderTimes::default(),
        limits: RawResponderLimits = RawResponderLimits::default(),
        log: RawLog = RawLog::default(),
    }
}

section! {
    RawResponder {
        name: String = String::new(),
        server: String = "https://127.0.0.1:8443".to_owned(),
        data_dir: String = "data".to_owned(),
    }
}

section! {
    RawResponderListen {
        public: String = "127.0.0.1:8081".to_owned(),
        metrics: String = "127.0.0.1:9091".to_owned(),
    }
}

section! {
    RawSigner {
        keys: String = "memory".to_owned(),
        key_types: Vec<String> = vec!["P-256".to_owned()],
        module: String = "/usr/lib/softhsm/libsofthsm2.so".to_owned(),
        token: String = "cardinal-ocsp".to_owned(),
        pin_file: String = "secrets/ocsp.pin".to_owned(),
        sessions: i64 = 2,
        queue: i64 = 64,
    }
}

section! {
    RawResponderTimes {
        connect: String = "5s".to_owned(),
        answer: String = "30s".to_owned(),
        silence: String = "4s".to_owned(),
        reconnect: String = "200ms".to_owned(),
        reconnect_longest: String = "10s".to_owned(),
        request: String = "10s".to_owned(),
        answer_unread: String = "30s".to_owned(),
        shutdown: String = "10s".to_owned(),
    }
}

section! {
    RawResponderLimits {
        connections: i64 = 1_024,
        connections_per_address: i64 = 256,
        header_bytes: i64 = 16_384,
        ocsp_request_bytes: i64 = 4_096,
        ocsp_requests_per_message: i64 = 8,
        ocsp_cache_entries: i64 = 100_000,
        ocsp_cache_megabytes: i64 = 256,
        snapshot_megabytes: i64 = 1_024,
    }
}

/// A responder's checked configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResponderConfig {
    /// The responder's name, as it is enrolled: a DNS name.
    pub name: String,
    /// The CA's API: `https://…`, no slash at the end.
    pub server: String,
    /// Where its identity, its replica and its signers' certificates are.
    pub data_dir: PathBuf,
    /// The doors.
    pub listen: ResponderListen,
    /// The keys that sign answers.
    pub signer: SignerKeys,
    /// How long things may take.
    pub times: ResponderTimes,
    /// How much others can make it do.
    pub limits: ResponderLimits,
    /// What is logged, and how.
    pub log: Log,
}

/// A responder's doors.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResponderListen {
    /// OCSP over HTTP.
    pub public: SocketAddr,
    /// Metrics and health.
    pub metrics: SocketAddr,
}

/// The keys that sign answers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SignerKeys {
    /// Which kinds of key each issuer's signers have; the first is taken when a client prefers none.
    pub key_types: Vec<KeyType>,
    /// Where they are.
    pub place: SignerPlace,
}

/// Where the keys that sign answers are.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignerPlace {
    /// In memory: made at each start, certified for at most 24 hours, never written down.
    Memory,
    /// In a PKCS#11 token.
    Token {
        /// The module's shared library.
        module: PathBuf,
        /// The token, and where its PIN is.
        token: Token,
        /// Sessions, each with a worker thread.
        sessions: usize,
        /// Signatures that may wait for a session; one more is answered by tryLater.
        queue: usize,
    },
}

/// How long things may take.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResponderTimes {
    /// How long connecting to the CA may take.
    pub connect: Duration,
    /// How long an answer of the CA may take.
    pub answer: Duration,
    /// How long the feed may be silent before the connection counts as broken.
    pub silence: Duration,
    /// The first pause before connecting again; it doubles with each failure.
    pub reconnect: Duration,
    /// The longest pause before connecting again.
    pub reconnect_longest: Duration,
    /// How long a request may take to arrive, and how long a connection may be silent before it.
    pub request: Duration,
    /// How long a client may take nothing of its answer.
    pub answer_unread: Duration,
    /// How long requests in flight have to finish when the responder stops.
    pub shutdown: Duration,
}

/// How much others can make a responder do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResponderLimits {
    /// Connections open at one time, at each door.
    pub connections: usize,
    /// Connections open at one time from one address (for IPv6: one /64); 0 is no limit.
    pub connections_per_address: usize,
    /// Octets in the head of an HTTP request.
    pub header_bytes: usize,
    /// Octets in an OCSP request.
    pub ocsp_request_bytes: usize,
    /// Certificates asked about in one OCSP request.
    pub ocsp_requests_per_message: usize,
    /// Answers that are kept ready.
    pub ocsp_cache_entries: usize,
    /// Memory for those answers, in megabytes.
    pub ocsp_cache_megabytes: usize,
    /// The longest snapshot that is fetched from the CA, in megabytes.
    pub snapshot_megabytes: usize,
}

impl ResponderConfig {
    /// Reads a responder's configuration file; the folder that holds it is where relative paths start.
    ///
    /// # Errors
    /// [`Error`], with file, line, key and remedy.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let (path, text) = crate::read(
            path,
            "give the path of an existing file, or enrol the responder with `ocsp-responder enrol`, which writes one",
        )?;
        Self::parse(&text, &path)
    }

    /// Checks a responder's configuration text as if it had been read from `origin`.
    ///
    /// # Errors
    /// [`Error`], with file, line, key and remedy.
    pub fn parse(text: &str, origin: &Path) -> Result<Self, Error> {
        let document = Document::parse(text, origin)?;
        let raw: RawResponderConfig = document.read()?;
        let base = origin.parent().unwrap_or(Path::new(""));
        Ok(Self {
            name: document.host_name("responder.name", &raw.responder.name)?,
            server: document.url("responder.server", &raw.responder.server, "https")?,
            data_dir: document.path("responder.data_dir", &raw.responder.data_dir, base)?,
            listen: ResponderListen::check(&raw.listen, &document)?,
            signer: SignerKeys::check(&raw.signer, base, &document)?,
            times: ResponderTimes::check(&raw.times, &document)?,
            limits: ResponderLimits::check(&raw.limits, &document)?,
            log: Log::check(&raw.log, &document)?,
        })
    }
}

impl ResponderListen {
    fn check(raw: &RawResponderListen, document: &Document) -> Result<Self, Error> {
        let public = document.listener("listen.public", &raw.public)?;
        let metrics = document.listener("listen.metrics", &raw.metrics)?;
        if same_door(public, metrics) {
            return Err(document.rule_error(
                "listen.metrics",
                format!("every door has an address of its own, and `listen.public` listens at {public} already"),
                "give it another port",
            ));
        }
        Ok(Self { public, metrics })
    }
}

impl SignerKeys {
    fn check(raw: &RawSigner, base: &Path, document: &Document) -> Result<Self, Error> {
        let key_types = key_types("signer.key_types", &raw.key_types, document)?;
        let token = SignerPlace::Token {
            module: document.path("signer.module", &raw.module, base)?,
            token: Token {
                label: document.token_label("signer.token", &raw.token)?,
                pin_file: document.path("signer.pin_file", &raw.pin_file, base)?,
            },
            sessions: document.number("signer.sessions", raw.sessions, 1..=64)?,
            queue: document.number("signer.queue", raw.queue, 1..=100_000)?,
        };
        let memory = document.choice("signer.keys", &raw.keys, &[("memory", true), ("token", false)])?;
        Ok(Self { key_types, place: if memory { SignerPlace::Memory } else { token } })
    }
}

impl ResponderTimes {
    fn check(raw: &RawResponderTimes, document: &Document) -> Result<Self, Error> {
        let times = Self {
            connect: document.duration("times.connect", &raw.connect)?,
            answer: document.duration("times.answer", &raw.answer)?,
            silence: document.duration("times.silence", &raw.silence)?,
            reconnect: document.duration("times.reconnect", &raw.reconnect)?,
            reconnect_longest: document.duration("times.reconnect_longest", &raw.reconnect_longest)?,
            request: document.duration("times.request", &raw.request)?,
            answer_unread: document.duration("times.answer_unread", &raw.answer_unread)?,
            shutdown: document.duration("times.shutdown", &raw.shutdown)?,
        };
        if times.reconnect > times.reconnect_longest {
            return Err(document.rule_error(
                "times.reconnect",
                "the first pause before connecting again is at most the longest one, `reconnect_longest`",
                "lower `reconnect` or raise `reconnect_longest`",
            ));
        }
        Ok(times)
    }
}

impl ResponderLimits {
    fn check(raw: &RawResponderLimits, document: &Document) -> Result<Self, Error> {
        let number = |key: &str, number, bounds| document.number(&format!("limits.{key}"), number, bounds);
        Ok(Self {
            connections: number("connections", raw.connections, 1..=1_000_000)?,
            connections_per_address: number("connections_per_address", raw.connections_per_address, 0..=1_000_000)?,
            header_bytes: number("header_bytes", raw.header_bytes, 4_096..=1_048_576)?,
            ocsp_request_bytes: number("ocsp_request_bytes", raw.ocsp_request_bytes, 256..=65_536)?,
            ocsp_requests_per_message: number("ocsp_requests_per_message", raw.ocsp_requests_per_message, 1..=256)?,
            ocsp_cache_entries: number("ocsp_cache_entries", raw.ocsp_cache_entries, 0..=10_000_000)?,
            ocsp_cache_megabytes: number("ocsp_cache_megabytes", raw.ocsp_cache_megabytes, 1..=65_536)?,
            snapshot_megabytes: number("snapshot_megabytes", raw.snapshot_megabytes, 1..=1_048_576)?,
        })
    }
}
