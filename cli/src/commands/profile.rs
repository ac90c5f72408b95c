//! Certificate profiles: for whoever writes them.

use std::collections::BTreeMap;
use std::path::Path;

use api::profiles::{PreviewReply, PreviewRequest, ProfileCheck, ProfileView, ProfilesReply};

use super::admin::Admin;
use super::{Context, wait};
use crate::args::{PreviewArgs, ProfileCommand};
use crate::error::Error;
use crate::report::{self, Format};

pub(crate) fn run(context: &Context, command: &ProfileCommand) -> Result<(), Error> {
    match command {
        ProfileCommand::Check { file } => check(context, file),
        ProfileCommand::Show { name, file } => show(context, name.as_deref(), file.as_deref()),
        ProfileCommand::Preview(args) => preview(context, args),
    }
}

fn check(context: &Context, file: &Path) -> Result<(), Error> {
    // Whoever writes profiles away from the service has no configuration beside them.
    let config = if context.config.exists() { Some(context.config()?) } else { None };
    let beside = config.as_ref().map(|config| (context.config.as_path(), config));
    let checked = server::profiles::check_file(file, beside)?;
    if let Some(set) = &checked.set {
        report::result(context.format, &checked, |checked| {
            let (profiles, version) = (set.profiles.len(), &set.version);
            let beside = match &checked.compared_with {
                Some(config) => format!("has all that {config} needs"),
                None => "was compared with no configuration".to_owned(),
            };
            format!("{} is in order, and {beside}: {profiles} profiles, version {version}", set.file)
        });
        return Ok(());
    }
    if context.format == Format::Json {
        report::result(context.format, &checked, |_| String::new());
    }
    Err(refused(checked))
}

fn refused(checked: ProfileCheck) -> Error {
    let lines: Vec<_> = checked.problems.iter().map(|problem| problem.text.clone()).collect();
    Error::Profiles { file: checked.file, problems: lines.len(), text: lines.join("\n") }
}

fn show(context: &Context, name: Option<&str>, file: Option<&Path>) -> Result<(), Error> {
    let set: ProfilesReply = match file {
        None => wait(Admin::of(context)?.get("/profiles"))?,
        Some(file) => {
            let mut checked = server::profiles::check_file(file, None)?;
            checked.set.take().ok_or_else(|| refused(checked))?
        }
    };
    let Some(name) = name else {
        report::result(context.format, &set, summary);
        return Ok(());
    };
    let Some(profile) = set.profiles.iter().find(|profile| profile.name == name) else {
        let names: Vec<_> = set.profiles.iter().map(|profile| profile.name.as_str()).collect();
        return Err(Error::Usage(format!("{} has no profile {name:?}; it has {}", set.file, names.join(", "))));
    };
    report::result(context.format, profile, one);
    Ok(())
}

fn summary(set: &ProfilesReply) -> String {
    let rows = set.profiles.iter().map(|one| {
        [
            one.name.clone(),
            one.purpose.clone(),
            one.issuer.clone().unwrap_or_else(|| "-".to_owned()),
            one.key_types.join(" "),
            one.life.clone(),
            or_none(&one.policies),
        ]
    });
    report::table(["profile", "purpose", "issued by", "keys", "life", "policies"], rows)
        + "\n"
        + &report::fields(&[("file", set.file.clone()), ("version", set.version.clone())])
}

fn or_none(list: &[String]) -> String {
    if list.is_empty() { "-".to_owned() } else { list.join(", ") }
}

fn one(profile: &ProfileView) -> String {
    let yes = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    report::fields(&[
        ("name", profile.name.clone()),
        ("purpose", profile.purpose.clone()),
        ("issued by", profile.issuer.clone().unwrap_or_else(|| "-".to_owned())),
        ("subject", profile.subject.join(", ")),
        ("alternative names", or_none(&profile.san)),
        ("of these required", profile.san_required.clone()),
        ("key types", profile.key_types.join(", ")),
        ("key usage", profile.key_usage.join(", ")),
        ("extended key usage", or_none(&profile.extended_key_usage)),
        ("policies", or_none(&profile.policies)),
        ("extensions", or_none(&profile.extensions)),
        ("life", profile.life.clone()),
        ("jitter", profile.jitter.clone()),
        ("path length", profile.path_length.map_or_else(|| "-".to_owned(), |length| length.to_string())),
        ("ocsp-nocheck", yes(profile.ocsp_no_check)),
        ("AIA", yes(profile.aia)),
        ("CRLDP", yes(profile.crldp)),
        ("CRL partitions", profile.crl_shards.to_string()),
    ])
}

fn preview(context: &Context, args: &PreviewArgs) -> Result<(), Error> {
    let read = |path: &std::path::PathBuf| {
        server::regular_file::read(path, server::preview::MAX_KEY).map_err(Error::file(path))
    };
    let text = |path: &std::path::PathBuf| server::profiles::read_text(path);
    let mut fields: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in &args.fields {
        fields.entry(name.clone()).or_default().push(value.clone());
    }
    let request = PreviewRequest {
        profile: args.name.clone(),
        key: read(&args.key)?.into(),
        text: args.file.as_ref().map(text).transpose()?,
        file: args.file.as_ref().map(|file| file.display().to_string()),
        person: args.person.clone(),
        fields,
        issuer: args.issuer.as_ref().map(read).transpose()?.map(Into::into),
        issuer_id: args.issuer.as_deref().and_then(issuer_id),
    };
    // What needs neither the service's profiles, nor its CAs, nor its registry, needs no service.
    let reply = if request.text.is_some() && request.issuer.is_some() && request.person.is_none() {
        let config = if context.config.exists() { Some(context.config()?) } else { None };
        server::preview::by_file(&request, config.as_ref())?
    } else {
        wait(Admin::of(context)?.post("/profiles/preview", &request))?
    };
    if let Some(out) = &args.out {
        std::fs::write(out, &reply.pem).map_err(Error::file(out))?;
    }
    report::result(context.format, &reply, shown);
    Ok(())
}

/// What the issuer is called in the addresses of a preview: the name of its file, as far as it can stand in an address.
fn issuer_id(path: &Path) -> Option<String> {
    let stem = path.file_stem()?.to_string_lossy().to_ascii_lowercase();
    let is_plain = |character: &char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.');
    let id: String =
        stem.chars().map(|character| if is_plain(&character) { character } else { '-' }).take(64).collect();
    let id = id.trim_matches(['-', '.']);
    Some(if id.is_empty() { "issuer" } else { id }.to_owned())
}

fn shown(reply: &PreviewReply) -> String {
    let rows: Vec<_> = reply.fields.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    let mut text = format!("A preview of {}: it is not signed, and no certificate.\n\n", reply.profile);
    text += &report::fields(&rows);
    text += "\n";
    text += &report::fields(&[
        ("profiles", reply.profiles_version.clone()),
        ("asked for and not given", or_none(&reply.ignored)),
    ]);
    for note in &reply.notes {
        text += &format!("note: {note}\n");
    }
    text + "\n" + &reply.pem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_an_issuers_file_goes_into_addresses() {
        for (path, id) in [
            ("ca/authentication-1.pem", "authentication-1"),
            ("My CA (new)?#.pem", "my-ca--new"),
            ("zo\u{eb}/a%20b\u{202e}.cer", "a-20b"),
            ("\u{fc}.pem", "issuer"),
            (".pem", "pem"),
        ] {
            assert_eq!(issuer_id(Path::new(path)).as_deref(), Some(id), "{path}");
        }
    }
}
