//! Backups, where no service runs.

use std::path::Path;

use server::backup::{self, BackupReport};

use super::Context;
use crate::error::Error;
use crate::report;

fn fields(backup: &BackupReport) -> String {
    report::fields(&[
        ("bytes", backup.bytes.to_string()),
        ("status feed", format!("epoch {}, entry {}", backup.feed_epoch, backup.feed_sequence)),
        ("audit records", backup.audit_records.to_string()),
        ("SHA-256", backup.sha256.clone()),
    ])
}

pub(crate) fn verify(context: &Context, file: &Path) -> Result<(), Error> {
    let found = backup::verify(file)?;
    report::result(context.format, &found, |found| format!("the backup is whole\n\n{}", fields(found)));
    Ok(())
}

pub(crate) fn restore(context: &Context, file: &Path, replace: bool, yes: bool) -> Result<(), Error> {
    let config = context.config()?;
    if !yes {
        let found = backup::verify(file)?;
        report::result(context.format, &found, |found| {
            let store = config.store.path.display();
            let aside = if config.store.path.exists() { "; what is there is moved aside, with --replace" } else { "" };
            format!(
                "the backup is whole\n\n{}\nNothing was done. With --yes it is put at {store}{aside}. What was committed \
                 after the backup is lost: certificates issued since then are not known any more.\n",
                fields(found)
            )
        });
        return Ok(());
    }
    let done = backup::restore(&config, file, replace)?;
    report::result(context.format, &done, |done| {
        let mut text = format!("restored\n\n{}", fields(&done.backup));
        text += &format!("\nthe status feed goes on under epoch {}\n", done.feed_epoch);
        if let Some(path) = &done.moved_aside {
            text += &format!("the store that was there is now {path}\n");
        }
        text
    });
    Ok(())
}
