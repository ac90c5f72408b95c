//! Repeatable calls (draft-ietf-httpapi-idempotency-key-header).
//!
//! A key belongs to station, operator, method and path, and is bound to the body's digest. It is kept for a day; while
//! its first use is under way the answer is 409, with another body 422, and after that the same answer as the first time.

use axum::response::{IntoResponse, Response};
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
}

impl Reply {
    /// A value as JSON.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn json(status: u16, value: &impl Serialize) -> Result<Self, Failure> {
        Ok(Reply { status, body: serde_json::to_vec(value).map_err(Failure::internal)? })
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
                    Remembrance::Answered { status, body } => Ok(Err(Reply { status, body })),
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
        Self::first_write(key, batch, Remembrance::Answered { status: reply.status, body: reply.body.clone() })
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
        let outcome = Remembrance::Answered { status: reply.status, body: reply.body.clone() };
        Ok(batch.put_record(&Self::remembered(key, outcome))?)
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
