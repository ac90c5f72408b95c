//! Entries of the feed that came after a snapshot: of each certificate the newest, to be put in the place of what the
//! snapshot says when the next one is made.

use std::collections::HashMap;
use std::io::{self, Write};

use pki::SerialNumber;
use pki::feed::StatusEntry;

use crate::snapshot::{Snapshot, SnapshotWriter};

/// The newest entry of each certificate that changed.
#[derive(Clone, Debug, Default)]
pub struct Newer {
    /// By issuer and serial number: looking one up needs no name of its own.
    entries: HashMap<String, HashMap<SerialNumber, StatusEntry>>,
}

impl Newer {
    /// Takes an entry, in the feed's order: it counts in the place of an earlier one of the same certificate.
    pub fn take(&mut self, entry: StatusEntry) {
        match self.entries.get_mut(&entry.issuer) {
            Some(known) => known.insert(entry.serial, entry),
            None => self.entries.entry(entry.issuer.clone()).or_default().insert(entry.serial, entry),
        };
    }

    /// Writes a snapshot's statuses with these in their places, leaving out those that `keep` does not want.
    ///
    /// # Errors
    /// The writer's, and [`io::ErrorKind::InvalidData`] when the snapshot's content makes no sense.
    pub fn merge<W: Write>(
        &self,
        last: &Snapshot<'_>,
        keep: impl Fn(&StatusEntry) -> bool,
        writer: &mut SnapshotWriter<W>,
    ) -> io::Result<()> {
        last.for_each(|entry| {
            let newer = self.entries.get(&entry.issuer).is_some_and(|known| known.contains_key(&entry.serial));
            // The newer one is written below, in the place of this one.
            if newer || !keep(entry) { Ok(()) } else { writer.put(entry) }
        })?;
        self.entries.values().flat_map(HashMap::values).filter(|entry| keep(entry)).try_for_each(|e| writer.put(e))
    }
}
