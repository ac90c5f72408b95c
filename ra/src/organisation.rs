//! Organisations in their tree.

use audit::{Actor, AuditRecord, Outcome};
use pki::Timestamp;
use serde::{Deserialize, Serialize};
use store::{Batch, Record, Store, Table, Term};

use crate::{Error, OdsCode};

/// Organisations, by ODS code.
pub const ORGANISATIONS: Table = Table::new("organisation");

/// How deep the tree of organisations may be: the budget of every walk up it.
pub const MAX_DEPTH: usize = 16;

/// An organisation. Reach over it extends to all below it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Organisation {
    /// Its ODS code.
    pub code: OdsCode,
    /// Its name.
    pub name: String,
    /// The organisation above it; none for the top.
    pub parent: Option<OdsCode>,
}

impl Record for Organisation {
    const TABLE: Table = ORGANISATIONS;
    const SCHEMA: u8 = 1;

    fn key(&self) -> Vec<u8> {
        self.code.as_str().as_bytes().to_vec()
    }

    fn terms(&self) -> Vec<Term> {
        Vec::new()
    }
}

/// Adds an organisation, below one that exists or at the top. One that is there already in the same form stays so.
///
/// # Errors
/// When it exists in another form, the one above it does not, or a field breaks a rule.
pub fn add(store: &dyn Store, organisation: &Organisation, actor: &Actor, now: Timestamp) -> Result<Batch, Error> {
    let length = organisation.name.trim().chars().count();
    if !(1..=100).contains(&length) || organisation.name.chars().any(char::is_control) {
        return Err(Error::invalid(
            "name",
            "an organisation's name has 1 to 100 characters, and no control characters",
        ));
    }
    if let Some(parent) = &organisation.parent {
        load(store, parent)?;
    }
    let mut batch = ca::batch(now);
    match store::load::<Organisation>(store, organisation.code.as_str().as_bytes())? {
        Some(known) if &known.record == organisation => return Ok(batch),
        Some(_) => return Err(Error::Exists { kind: "organisation", id: organisation.code.to_string() }),
        None => batch.create(organisation)?,
    }
    let record =
        AuditRecord::new(now, actor.clone(), "organisation.add", Outcome::Done).on("organisation", &organisation.code);
    ca::record(&mut batch, &record)?;
    Ok(batch)
}

/// The organisation with this code.
///
/// # Errors
/// When there is none, or the store fails.
pub fn load(store: &dyn Store, code: &OdsCode) -> Result<Organisation, Error> {
    match store::load::<Organisation>(store, code.as_str().as_bytes())? {
        Some(found) => Ok(found.record),
        None => Err(Error::NotFound { kind: "organisation", id: code.to_string() }),
    }
}

/// Whether `code` is `top`, or lies below it.
///
/// # Errors
/// When the store fails.
pub fn is_within(store: &dyn Store, code: &OdsCode, top: &OdsCode) -> Result<bool, Error> {
    let mut current = Some(code.clone());
    for _ in 0..MAX_DEPTH {
        let Some(here) = current else { return Ok(false) };
        if &here == top {
            return Ok(true);
        }
        current = store::load::<Organisation>(store, here.as_str().as_bytes())?.and_then(|found| found.record.parent);
    }
    Ok(false)
}
