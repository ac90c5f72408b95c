//! A snapshot of the statuses: a file, or what a responder gets from the service. Its digest is set right first, since
//! whoever can write it can do that too.
#![no_main]

use ocsp_responder::snapshot::{Snapshot, SnapshotError, SnapshotWriter};
use pki::feed::StatusEntry;
use sha2::{Digest, Sha256};

fn entries(snapshot: &Snapshot<'_>) -> Result<Vec<StatusEntry>, SnapshotError> {
    let mut entries = Vec::new();
    snapshot.for_each(|entry| {
        entries.push(entry.clone());
        Ok::<_, SnapshotError>(())
    })?;
    Ok(entries)
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let raw = Snapshot::open(bytes).is_ok();
    let Some((body, _)) = bytes.split_last_chunk::<32>() else { return };
    let mended = [body, &Sha256::digest(body)].concat();
    let opened = Snapshot::open(&mended);
    assert!(opened.is_ok() || !raw);
    let Ok(snapshot) = opened else { return };
    let Ok(read) = entries(&snapshot) else { return };
    assert_eq!(read.len() as u64, snapshot.len());
    let mut writer = SnapshotWriter::new(Vec::new(), snapshot.place());
    for entry in &read {
        writer.put(entry).expect("what was read can be written");
    }
    let (count, written) = writer.finish().expect("into memory");
    let again = Snapshot::open(&written).expect("what was written can be read");
    assert_eq!((again.place(), again.len(), count), (snapshot.place(), snapshot.len(), snapshot.len()));
    assert_eq!(entries(&again), Ok(read));
});
