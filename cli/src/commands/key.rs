//! Keys that others know, on the service's own machine.

use std::path::{Path, PathBuf};

use api::keys::{
    AffectedCertificate, CompromisedKeyView, CompromisedKeysReply, CompromisedKeysRequest, KnownKeyList, RemovalRequest,
};
use api::{Base64, Page};
use serde::de::DeserializeOwned;

use super::admin::Admin;
use super::{Context, wait};
use crate::args::{CompromisedCommand, KeyCommand};
use crate::error::Error;
use crate::report;

pub(crate) fn run(context: &Context, command: KeyCommand) -> Result<(), Error> {
    match command {
        KeyCommand::Compromised(CompromisedCommand::Add { files, reason, people }) => {
            add(context, &files, reason, people)
        }
        KeyCommand::Compromised(CompromisedCommand::List) => {
            let keys: Vec<CompromisedKeyView> = all(&Admin::of(context)?, "/compromised-keys")?;
            report::result(context.format, &keys, |keys| table_of_keys(keys));
            Ok(())
        }
        KeyCommand::Compromised(CompromisedCommand::Certificates) => {
            let certificates: Vec<AffectedCertificate> = all(&Admin::of(context)?, "/compromised-keys/certificates")?;
            report::result(context.format, &certificates, |certificates| table_of_certificates(certificates));
            Ok(())
        }
        KeyCommand::Compromised(CompromisedCommand::Remove { key, reason, people, yes }) => {
            remove(context, RemovalRequest { key, reason, people }, yes)
        }
        KeyCommand::Lists { reload } => lists(context, reload),
    }
}

fn add(context: &Context, files: &[PathBuf], reason: String, people: Vec<String>) -> Result<(), Error> {
    let admin = Admin::of(context)?;
    // All are read, and looked at, before any is added: what is wrong leaves nothing half done.
    let contents: Result<Vec<Vec<u8>>, Error> = files.iter().map(|file| read(file)).collect();
    let contents = contents?;
    let send = |file: &Path, content: &[u8], check_only: bool| -> Result<CompromisedKeysReply, Error> {
        let (reason, people) = (reason.clone(), people.clone());
        let request = CompromisedKeysRequest { content: Base64(content.to_vec()), reason, people, check_only };
        let sent = wait(admin.post("/compromised-keys", &request));
        sent.map_err(|error| Error::OfFile { path: file.to_owned(), source: Box::new(error) })
    };
    for (file, content) in files.iter().zip(&contents) {
        send(file, content, true)?;
    }
    let mut added = CompromisedKeysReply::default();
    let mut failed = None;
    for (file, content) in files.iter().zip(&contents) {
        let reply = match send(file, content, false) {
            Ok(reply) => reply,
            // Those before it are in the set: what came of them is told first.
            Err(error) => {
                failed = Some(error);
                break;
            }
        };
        added.added += reply.added;
        added.known += reply.known;
        added.keys.extend(reply.keys);
        added.certificates.extend(reply.certificates);
        added.warnings.extend(reply.warnings);
        let name = |why: String| format!("{}: {why}", file.display());
        added.not_certifiable.extend(reply.not_certifiable.into_iter().map(name));
    }
    report::result(context.format, &added, |reply| {
        let mut text = report::fields(&[
            ("added", reply.added.to_string()),
            ("in the set already", reply.known.to_string()),
            ("no certificate can hold", reply.not_certifiable.len().to_string()),
            ("certificates with such a key", reply.certificates.len().to_string()),
        ]);
        for why in &reply.not_certifiable {
            text += &format!("not added: {why}\n");
        }
        for warning in &reply.warnings {
            text += &format!("warning: {warning}\n");
        }
        if !reply.certificates.is_empty() {
            text += "\n";
            text += &table_of_certificates(&reply.certificates);
        }
        text + "\nRequests for these keys are refused from now on. Nothing was revoked.\n"
    });
    failed.map_or(Ok(()), Err)
}

fn read(file: &Path) -> Result<Vec<u8>, Error> {
    server::regular_file::read(file, server::known_keys::MAX_KEYS).map_err(Error::file(file))
}

fn remove(context: &Context, request: RemovalRequest, yes: bool) -> Result<(), Error> {
    let admin = Admin::of(context)?;
    if !yes {
        let keys: Vec<CompromisedKeyView> = all(&admin, "/compromised-keys")?;
        let wanted = request.key.replace(':', "").to_lowercase();
        let known = keys.into_iter().find(|key| key.key == wanted);
        let Some(known) = known else {
            return Err(Error::Usage(format!("the key {wanted} is not in the set of compromised keys")));
        };
        report::result(context.format, &known, |known| {
            table_of_keys(std::slice::from_ref(known))
                + "\nIt would be certified again. Say --yes to take it out of the set.\n"
        });
        return Ok(());
    }
    let removed: CompromisedKeyView = wait(admin.post("/compromised-keys/removal", &request))?;
    report::result(context.format, &removed, |removed| {
        table_of_keys(std::slice::from_ref(removed)) + "\nIt is not in the set any more.\n"
    });
    Ok(())
}

fn lists(context: &Context, reload: bool) -> Result<(), Error> {
    let admin = Admin::of(context)?;
    let page: Page<KnownKeyList> = if reload {
        wait(admin.post("/known-key-lists/reload", &serde_json::Value::Null))?
    } else {
        wait(admin.get("/known-key-lists"))?
    };
    report::result(context.format, &page.items, |lists| {
        if lists.is_empty() {
            return "There is no list: name some as `lists` under [known_keys] in the configuration.\n".to_owned();
        }
        let before = |list: &KnownKeyList| list.before.map_or_else(|| "-".to_owned(), |before| before.to_string());
        let rows =
            lists.iter().map(|list| [list.file.clone(), list.form.clone(), list.entries.to_string(), before(list)]);
        report::table(["list", "form", "keys", "before"], rows)
    });
    Ok(())
}

/// All pages of a list.
fn all<T: DeserializeOwned>(admin: &Admin, path: &str) -> Result<Vec<T>, Error> {
    let mut items = Vec::new();
    let mut next = String::new();
    loop {
        let page: Page<T> = wait(admin.get(&format!("{path}{next}")))?;
        items.extend(page.items);
        match page.next {
            Some(after) => next = format!("?after={after}"),
            None => return Ok(items),
        }
    }
}

fn table_of_keys(keys: &[CompromisedKeyView]) -> String {
    if keys.is_empty() {
        return "The set of compromised keys is empty.\n".to_owned();
    }
    let rows = keys.iter().map(|key| {
        [
            key.key.clone(),
            key.key_type.clone().unwrap_or_else(|| "-".to_owned()),
            key.added.clone(),
            key.people.join(", "),
            key.reason.clone(),
        ]
    });
    report::table(["key (SHA-256)", "kind", "since", "added by", "reason"], rows)
}

fn table_of_certificates(certificates: &[AffectedCertificate]) -> String {
    if certificates.is_empty() {
        return "No certificate holds a compromised key.\n".to_owned();
    }
    let rows = certificates.iter().map(|one| {
        [
            one.certificate.clone(),
            one.holder.clone(),
            one.card.clone().unwrap_or_else(|| "-".to_owned()),
            one.profile.clone(),
            one.state.clone(),
            one.not_after.clone(),
            if one.needs_revocation { "yes" } else { "no" }.to_owned(),
            one.key.clone(),
        ]
    });
    report::table(
        ["certificate", "holder", "card", "profile", "state", "until", "to be revoked", "key (SHA-256)"],
        rows,
    )
}
