//! Repeatable calls (draft-ietf-httpapi-idempotency-key-header).
//!
//! A key belongs to station, operator, method and path, and is bound to the body's digest. It is kept for a day; while
//! its first use is under way the answer is 409, with another body 422, and after that the same answer as the first time.
//!
//! Certificates that an answer shows are in the store already, and never change there: they are not kept a second time,
//! but put in from their records when the answer is given again.

use std::ops::Range;

use axum::response::{IntoResponse, Response};
use ca::certificate::{self, CertificateId, CertificateRecord};
use data_encoding::BASE64;
use http::{HeaderValue, StatusCode, header};
use pki::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use store::{Batch, Index, Put, Record, Store, Table, Term, Versioned};

use crate::failure::Failure;

pub(crate) const IDEMPOTENCY: Table = Table::new("idempotency");
const BY_EXPIRY: Index = Index::new("idempotency.expiry");
const IN_FLIGHT: Index = Index::new("idempotency.in_flight");

/// The longest key that is taken.
const MAX_KEY: usize = 255;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Remembered {
    #[serde(with = "serde_bytes")]
    digest: Vec<u8>,
    #[serde(with = "serde_bytes")]
    body_digest: Vec<u8>,
    owner: String,
    expires: Timestamp,
    outcome: Remembrance,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Remembrance {
    InFlight,
    Answered {
        status: u16,
        #[serde(with = "serde_bytes")]
        body: Vec<u8>,
    },
    /// Answered with a body that shows certificates.
    Showing {
        status: u16,
        body: Vec<Piece>,
    },
}

/// A piece of a body.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Piece {
    /// As it stands.
    Text(#[serde(with = "serde_bytes")] Vec<u8>),
    /// The DER of this certificate, in base64.
    Certificate(CertificateId),
}

impl Record for Remembered {
    const TABLE: Table = IDEMPOTENCY;
    const SCHEMA: u8 = 1;

    fn key(&self) -> Vec<u8> {
        self.digest.clone()
    }

    fn terms(&self) -> Vec<Term> {
        let mut terms = vec![Term::new(BY_EXPIRY, self.expires.unix_millis().to_be_bytes())];
        if matches!(self.outcome, Remembrance::InFlight) {
            terms.push(Term::new(IN_FLIGHT, self.owner.as_str()));
        }
        terms
    }
}

/// An answer: a status and JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
    /// Where the body shows certificates that are in the store, in order.
    shown: Vec<(Range<usize>, CertificateId)>,
}

impl Reply {
    /// A status without a body.
    pub fn empty(status: u16) -> Self {
        Reply { status, body: Vec::new(), shown: Vec::new() }
    }

    /// A value as JSON.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn json(status: u16, value: &impl Serialize) -> Result<Self, Failure> {
        Ok(Reply { status, body: serde_json::to_vec(value).map_err(Failure::internal)?, shown: Vec::new() })
    }

    /// Says that these certificates may be shown in the body: where they are, they need not be kept with the answer. They
    /// must be in the store as soon as the answer is.
    pub fn showing<'a>(mut self, records: impl IntoIterator<Item = &'a CertificateRecord>) -> Self {
        let text = std::str::from_utf8(&self.body).unwrap_or_default();
        for record in records {
            let Some(der) = record.der.as_deref().map(|der| BASE64.encode(der)) else { continue };
            if let Some(at) = text.find(&der) {
                self.shown.push((at..at + der.len(), record.id.clone()));
            }
        }
        self.shown.sort_by_key(|(place, _)| place.start);
        self
    }

    /// What is kept of it.
    fn remembrance(&self) -> Remembrance {
        if self.shown.is_empty() {
            return Remembrance::Answered { status: self.status, body: self.body.clone() };
        }
        let (mut body, mut from) = (Vec::new(), 0);
        for (place, id) in &self.shown {
            body.push(Piece::Text(self.body[from..place.start].to_vec()));
            body.push(Piece::Certificate(id.clone()));
            from = place.end;
        }
        body.push(Piece::Text(self.body[from..].to_vec()));
        Remembrance::Showing { status: self.status, body }
    }

    /// The answer, as it was given the first time.
    fn again(store: &dyn Store, status: u16, pieces: Vec<Piece>) -> Result<Self, Failure> {
        let mut body = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Text(text) => body.extend(text),
                Piece::Certificate(id) => {
                    let record = certificate::load(store, &id)?.record;
                    let der = record.der.ok_or_else(|| {
                        Failure::internal(format!("an answer shows the certificate {id}, which was never signed"))
                    })?;
                    body.extend(BASE64.encode(&der).into_bytes());
                }
            }
        }
        Ok(Reply { status, body, shown: Vec::new() })
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, self.body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

/// The idempotency key of one call, if it has one.
#[derive(Clone, Debug)]
pub struct Repeatable {
    key: Option<Key>,
}

#[derive(Clone, Debug)]
struct Key {
    digest: Vec<u8>,
    body_digest: Vec<u8>,
    owner: String,
    expires: Timestamp,
    replaces: Option<Versioned<Remembered>>,
}

/// Who calls what.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The station.
    pub station: &'a str,
    /// The operator's user id.
    pub operator: &'a str,
    /// Method and path.
    pub target: &'a str,
    /// The `Idempotency-Key` header.
    pub key: Option<&'a str>,
    /// The body.
    pub body: &'a [u8],
}

impl Repeatable {
    /// Looks the key up: an answer that was given already is given again.
    ///
    /// # Errors
    /// 400 for a key that is none, 409 while the first use is under way, 422 with another body; a replayed answer comes
    /// as `Ok(Err(reply))`.
    pub fn begin(
        store: &dyn Store,
        call: Call<'_>,
        owner: &str,
        expires: Timestamp,
        now: Timestamp,
    ) -> Result<Result<Self, Reply>, Failure> {
        let Some(key) = call.key else { return Ok(Ok(Repeatable { key: None })) };
        if key.is_empty() || key.len() > MAX_KEY {
            let detail = format!("an Idempotency-Key has 1 to {MAX_KEY} characters");
            return Err(Failure::new(400, "idempotency-key", "No idempotency key", detail));
        }
        let mut hash = Sha256::new();
        for part in [call.station, call.operator, call.target, key] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let digest = hash.finalize().to_vec();
        let body_digest = Sha256::digest(call.body).to_vec();
        let known = store::load::<Remembered>(store, &digest)?;
        let replaces = match known {
            Some(known) if known.record.expires >= now => {
                if known.record.body_digest != body_digest {
                    let detail = "this Idempotency-Key was used with another body; take a new key for a new request";
                    return Err(Failure::new(422, "idempotency-key-reused", "Key used with another body", detail));
                }
                return match known.record.outcome {
                    Remembrance::InFlight => {
                        let detail = "the first request with this Idempotency-Key is still under way; ask again";
                        Err(Failure::new(409, "in-flight", "Still under way", detail).with_retry_after(1))
                    }
                    Remembrance::Answered { status, body } => Ok(Err(Reply { status, body, shown: Vec::new() })),
                    Remembrance::Showing { status, body } => Reply::again(store, status, body).map(Err),
                };
            }
            expired => expired,
        };
        Ok(Ok(Repeatable { key: Some(Key { digest, body_digest, owner: owner.to_owned(), expires, replaces }) }))
    }

    fn remembered(key: &Key, outcome: Remembrance) -> Remembered {
        Remembered {
            digest: key.digest.clone(),
            body_digest: key.body_digest.clone(),
            owner: key.owner.clone(),
            expires: key.expires,
            outcome,
        }
    }

    fn first_write(key: &Key, batch: &mut Batch, outcome: Remembrance) -> Result<(), Failure> {
        let next = Self::remembered(key, outcome);
        match &key.replaces {
            Some(old) => batch.update(&old.with(next))?,
            None => batch.create(&next)?,
        }
        Ok(())
    }

    /// Into the only commit of a call: its answer.
    ///
    /// # Errors
    /// When the row cannot be written.
    pub fn answer(&self, batch: &mut Batch, reply: &Reply) -> Result<(), Failure> {
        let Some(key) = &self.key else { return Ok(()) };
        Self::first_write(key, batch, reply.remembrance())
    }

    /// Into the first of several commits: the call is under way.
    ///
    /// # Errors
    /// When the row cannot be written.
    pub fn in_flight(&self, batch: &mut Batch) -> Result<(), Failure> {
        let Some(key) = &self.key else { return Ok(()) };
        Self::first_write(key, batch, Remembrance::InFlight)
    }

    /// Into the last of several commits: the answer.
    ///
    /// # Errors
    /// When the row cannot be written.
    pub fn finish(&self, batch: &mut Batch, reply: &Reply) -> Result<(), Failure> {
        let Some(key) = &self.key else { return Ok(()) };
        Ok(batch.put_record(&Self::remembered(key, reply.remembrance()))?)
    }

    /// Into the commit that undoes a call: it may be tried again with the same key.
    pub fn forget(&self, batch: &mut Batch) {
        if let Some(key) = &self.key {
            batch.put.push(Put { table: IDEMPOTENCY, key: key.digest.clone(), value: None, terms: Vec::new() });
        }
    }
}

/// Forgets what has expired; a batch of at most `limit`, or none when there is nothing.
///
/// # Errors
/// When the store fails.
pub fn forget_expired(store: &dyn Store, now: Timestamp, limit: usize) -> Result<Option<Batch>, store::Error> {
    let to = now.unix_millis().to_be_bytes();
    let (expired, _) = store::load_by_index::<Remembered>(store, BY_EXPIRY, &[], Some(&to), None, limit)?;
    Ok(deletion(&expired, now))
}

/// Forgets the calls that an earlier process of this owner left under way.
///
/// # Errors
/// When the store fails.
pub fn forget_interrupted(
    store: &dyn Store,
    owner: &str,
    now: Timestamp,
    limit: usize,
) -> Result<Option<Batch>, store::Error> {
    let (left, _) = store::load_by_index::<Remembered>(store, IN_FLIGHT, owner.as_bytes(), None, None, limit)?;
    let left: Vec<_> = left.into_iter().filter(|one| one.record.owner == owner).collect();
    Ok(deletion(&left, now))
}

fn deletion(rows: &[Versioned<Remembered>], now: Timestamp) -> Option<Batch> {
    let mut batch = Batch::new(now.unix_millis());
    for row in rows {
        batch.delete(row);
    }
    (!rows.is_empty()).then_some(batch)
}
