//! The arguments of `cardinal profile`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum ProfileCommand {
    /// Check a file of profiles: each rule that is broken is named with its line and the remedy. Ends with 2 if there is one.
    Check {
        /// The file.
        file: PathBuf,
    },
    /// Show the profiles that the running service goes by, or those of a file.
    Show {
        /// The profile; all of them, in short, when left out.
        name: Option<String>,
        /// A file of profiles, instead of those of the running service.
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Show what would be issued for a key and a person: linted and not signed, as text and as PEM with an empty signature.
    ///
    /// By the running service, its CAs and its registry; or, with --file and --issuer, without a service.
    Preview(Box<PreviewArgs>),
}

#[derive(Debug, Args)]
pub(crate) struct PreviewArgs {
    /// The profile.
    pub(crate) name: String,
    /// A file with the key: a public key, a PKCS#10 request or a certificate, PEM or DER.
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
    /// A file of profiles, instead of those of the running service.
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// The user id of a person, whose fields are taken from the running service's registry.
    #[arg(long, value_name = "USER_ID")]
    pub(crate) person: Option<String>,
    /// A field, such as given=Ann, upn=ann@example.org or dns=desk-1.example.org; goes before the registry's.
    #[arg(long = "field", value_name = "NAME=VALUE", value_parser = name_and_value)]
    pub(crate) fields: Vec<(String, String)>,
    /// The issuer's certificate, instead of that of the CA that issues by the profile.
    #[arg(long, value_name = "CERT.pem")]
    pub(crate) issuer: Option<PathBuf>,
    /// Write the unsigned certificate to this file, too.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

fn name_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write it as NAME=VALUE, such as given=Ann".to_owned()),
    }
}
