//! `cardinal init`.

use std::path::Path;

use config::{Deployment, SHIPPED_POLICY_TOML, SHIPPED_PROFILES_TOML};
use server::FirstOrganisation;

use super::Context;
use crate::args::InitArgs;
use crate::error::Error;
use crate::report;

/// The configuration file in a deployment's directory.
pub(crate) const CARDINAL_TOML: &str = "cardinal.toml";

/// Who sits at this machine, for the audit records.
fn local() -> String {
    format!("uid {}", rustix::process::getuid().as_raw())
}

fn write_new(path: &Path, text: &str) -> Result<(), Error> {
    match std::fs::OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(mut file) => std::io::Write::write_all(&mut file, text.as_bytes()).map_err(Error::file(path)),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(Error::file(path)(error)),
    }
}

/// Writes the configuration where there is none, then makes what is missing.
pub(crate) fn run(context: &Context, args: &InitArgs) -> Result<(), Error> {
    std::fs::create_dir_all(&args.dir).map_err(Error::file(&args.dir))?;
    let path = args.dir.join(CARDINAL_TOML);
    if !path.exists() {
        let some = |names: &[String]| (!names.is_empty()).then(|| names.to_vec());
        let deployment = Deployment {
            name: Some(args.name.clone()),
            organisation: Some(args.organisation.clone()),
            public_base_url: args.public_base_url.clone(),
            host_names: some(&args.host_names),
            addresses: (!args.addresses.is_empty()).then(|| args.addresses.clone()),
            api: args.api,
            public: args.public,
            metrics: args.metrics,
            module: args.module.clone(),
            ..Deployment::default()
        };
        let (text, _) = deployment.render(&path)?;
        write_new(&args.dir.join("policy.toml"), SHIPPED_POLICY_TOML)?;
        write_new(&args.dir.join("profiles.toml"), SHIPPED_PROFILES_TOML)?;
        write_new(&path, &text)?;
    }
    let config = config::Config::load(&path)?;
    if config.service.name != args.name && args.name != "cardinal" {
        return Err(Error::Usage(format!(
            "{} says that this deployment is {:?}, and not {:?}: the name of a deployment does not change; name another \
             --dir",
            path.display(),
            config.service.name,
            args.name
        )));
    }
    let first = FirstOrganisation { code: args.ods.clone(), name: args.organisation.clone() };
    let made = server::initialise(&config, &first, &local())?;
    report::result(context.format, &made, |made| {
        let rows = made.issuers.iter().map(|one| [one.id.clone(), one.token.clone(), one.certificate.clone()]);
        let mut text = report::table(["issuer", "key in token", "certificate"], rows);
        text += &format!("\nroot certificate, SHA-256  {}\n", made.root_sha256);
        for file in &made.pin_files {
            text += &format!("made {file}\n");
        }
        text += "\nTake the root's token and its PIN files off this machine, and keep a copy of each token.\n";
        text += &format!("Next: cardinal serve --config {}\n", path.display());
        text
    });
    Ok(())
}
