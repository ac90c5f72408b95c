//! Certificate profiles as operations staff see them: a file that is checked, and the set that the service goes by.

use std::path::Path;
use std::time::Duration;

use api::profiles::{ProfileCheck, ProfileProblem, ProfileView, ProfilesReply};
use config::Config;
use data_encoding::HEXLOWER;
use pki::profile::{CertificateProfile, ProfileError, ProfileSet};
use pki::usage;

use crate::Error;
use crate::regular_file;
use crate::service::Service;

/// Checks a file of profiles, and lists what is wrong with it: one problem for each profile. Beside a configuration, also
/// that each profile is there by which one of its CAs issues.
///
/// # Errors
/// When the file cannot be read. What is wrong inside it is no error, but the result.
pub fn check_file(path: &Path, config: Option<(&Path, &Config)>) -> Result<ProfileCheck, Error> {
    let text = read_text(path)?;
    let file = path.display().to_string();
    let compared_with = config.map(|(origin, _)| origin.display().to_string());
    let set = match ProfileSet::load_or_list(&text, &file) {
        Ok(set) => set,
        Err(errors) => {
            let problems = errors.into_iter().map(problem).collect();
            return Ok(ProfileCheck { file, set: None, compared_with, problems });
        }
    };
    let problems: Vec<_> = config.into_iter().flat_map(|(origin, config)| missing(&set, origin, config)).collect();
    let reply = problems.is_empty().then(|| reply(&file, &set));
    Ok(ProfileCheck { file, set: reply, compared_with, problems })
}

/// No file of profiles is longer, in octets.
const MAX_TEXT: u64 = 1 << 20;

/// The text of a file of profiles.
///
/// # Errors
/// When it cannot be read, or is not UTF-8; with the line, and the remedy.
pub fn read_text(path: &Path) -> Result<String, Error> {
    let refuse = |reason: String| Error::ProfilesFile { path: path.to_owned(), reason };
    let bytes = regular_file::read(path, MAX_TEXT)
        .map_err(|error| refuse(format!("{error}. Remedy: name a file of profiles that can be read")))?;
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.iter().filter(|octet| **octet == b'\n').count() + 1;
        refuse(format!("line {line} is not UTF-8, as TOML is. Remedy: save the file as UTF-8"))
    })
}

/// The profiles that a CA of the configuration issues by, and that are not there.
fn missing(set: &ProfileSet, origin: &Path, config: &Config) -> Vec<ProfileProblem> {
    let routes = config.routes();
    let away = routes.iter().filter(|(profile, _)| set.get(profile).is_none());
    away.map(|(profile, ca)| {
        let rule =
            format!("issuing CA {ca:?} of {} issues by profile {profile:?}, which is not there", origin.display());
        let remedy = "keep the profile, or take its name out of the CA's `profiles`".to_owned();
        let text = format!("{rule}; {remedy}");
        ProfileProblem { line: None, profile: Some(profile.clone()), key: None, rule, remedy: Some(remedy), text }
    })
    .collect()
}

fn problem(error: ProfileError) -> ProfileProblem {
    let text = error.to_string();
    match error {
        ProfileError::Syntax { line, message, .. } => {
            ProfileProblem { line, profile: None, key: None, rule: message, remedy: None, text }
        }
        ProfileError::Rule { line, profile, key, rule, remedy, .. } => ProfileProblem {
            line: Some(line),
            profile: Some(profile),
            key: Some(key.to_owned()),
            rule: rule.into(),
            remedy: Some(remedy.into()),
            text,
        },
    }
}

/// The set that the service goes by, and which CA issues by which profile.
pub fn loaded(service: &Service) -> ProfilesReply {
    let authority = service.authority();
    let mut reply = reply(&service.config.profiles_file.display().to_string(), authority.profiles());
    for profile in &mut reply.profiles {
        profile.issuer = authority.issuer_for(&profile.name).ok().map(|issuer| issuer.record().id.clone());
    }
    reply
}

fn reply(file: &str, set: &ProfileSet) -> ProfilesReply {
    ProfilesReply { file: file.to_owned(), version: set.version().to_owned(), profiles: set.iter().map(view).collect() }
}

fn view(profile: &CertificateProfile) -> ProfileView {
    let words = |names: &mut dyn Iterator<Item = String>| names.collect::<Vec<_>>();
    let required = profile.required_san();
    ProfileView {
        name: profile.name().to_owned(),
        purpose: profile.purpose().to_string(),
        subject: words(&mut profile.subject().iter().map(|one| {
            let cut = if one.cut { " (cut to fit)" } else { "" };
            format!("{}={}{cut}", one.attribute, one.value)
        })),
        san: words(&mut profile.san().iter().map(ToString::to_string)),
        san_required: match (profile.san_required(), required) {
            (false, _) => "no".to_owned(),
            (true, []) => "at least one".to_owned(),
            (true, kinds) => kinds.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        },
        key_types: words(&mut profile.key_types().iter().map(ToString::to_string)),
        key_usage: words(&mut profile.key_usage().names().map(str::to_owned)),
        extended_key_usage: words(
            &mut profile.extended_key_usage().iter().map(|oid| usage::extended_key_usage_name(*oid)),
        ),
        policies: policies(profile),
        extensions: extensions(profile),
        life: length(profile.life()),
        jitter: length(profile.jitter()),
        path_length: profile.path_length(),
        ocsp_no_check: profile.ocsp_no_check(),
        aia: profile.aia(),
        crldp: profile.crldp(),
        crl_shards: profile.crl_shards(),
        issuer: None,
    }
}

/// The policies of a profile in words.
pub(crate) fn policies(profile: &CertificateProfile) -> Vec<String> {
    let word = |oid| match profile.practice_statement(oid) {
        Some(url) => format!("{oid} (practice statement {url})"),
        None => oid.to_string(),
    };
    profile.policies().iter().map(|oid| word(*oid)).collect()
}

/// What a site adds to a profile, in words.
pub(crate) fn extensions(profile: &CertificateProfile) -> Vec<String> {
    profile.extensions().iter().map(|one| format!("{}: {}", one.oid(), HEXLOWER.encode(one.der()))).collect()
}

/// As it is written in profiles: whole days or hours where it is that.
fn length(length: Duration) -> String {
    match length.as_secs() {
        0 => "none".to_owned(),
        seconds if seconds % 86_400 == 0 => format!("{}d", seconds / 86_400),
        seconds if seconds % 3_600 == 0 => format!("{}h", seconds / 3_600),
        seconds => format!("{seconds}s"),
    }
}
