//! The arguments of what is done with the CA's keys and lists: `ca`, `root`, `rotate`, `probe`, `key`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum CaCommand {
    /// List the issuers with their keys, certificates and CRLs.
    List,
    /// Make and publish CRLs now: full ones, and the deltas that come with them.
    #[command(visible_alias = "crl")]
    PublishCrl {
        /// The CA's name, for all its keys, or the id of one of them, such as authentication-1. Without it: every issuing
        /// CA.
        name: Option<String>,
        /// Delta CRLs only, of a CA whose crl_delta_interval is set.
        #[arg(long)]
        delta: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum RootCommand {
    /// Make and publish the CRLs of the root's keys; the root's token and its PIN file have to be present.
    SignCrl,
}

/// How a rotation is done.
#[derive(Clone, Debug, Args)]
pub(crate) struct RotateArgs {
    /// A person who does it; a CA's key takes two, each with a --by of their own.
    #[arg(long = "by", value_name = "NAME")]
    pub(crate) by: Vec<String>,
    /// How long the new key is published before it is active, such as 24h; as configured when left out.
    #[arg(long, value_name = "TIME")]
    pub(crate) overlap: Option<String>,
    /// Do it.
    #[arg(long)]
    pub(crate) yes: bool,
}

/// How a rotation is done that takes effect at once.
#[derive(Clone, Debug, Args)]
pub(crate) struct RotateNowArgs {
    /// A person who does it.
    #[arg(long = "by", value_name = "NAME")]
    pub(crate) by: Vec<String>,
    /// Do it.
    #[arg(long)]
    pub(crate) yes: bool,
}

impl From<RotateNowArgs> for RotateArgs {
    fn from(now: RotateNowArgs) -> Self {
        RotateArgs { by: now.by, overlap: None, yes: now.yes }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum RotateCommand {
    /// A new key of an issuing CA, under the same name, certified by the root, whose token has to be present.
    ///
    /// The new key is published at once and issues after the overlap (`times.ca_overlap`); the old one signs CRLs and
    /// OCSP signers until its last certificate has expired. Without --yes it shows the plan.
    IssuingCa {
        /// The CA's name, such as authentication.
        name: String,
        #[command(flatten)]
        how: RotateArgs,
    },
    /// A new key for signing OCSP answers, certified by each issuing CA or by one.
    ///
    /// They are replaced by themselves before half their life. Without --yes it shows the plan.
    OcspSigner {
        /// The CA's name, such as authentication; without it all.
        name: Option<String>,
        #[command(flatten)]
        how: RotateNowArgs,
    },
    /// A new key and certificate of the API door; the certificate of before is revoked as superseded.
    ///
    /// Both are replaced by themselves before their end. Without --yes it shows the plan.
    Tls {
        #[command(flatten)]
        how: RotateNowArgs,
    },
    /// A new random PIN of a token, in its PIN file, without a restart.
    ///
    /// The root's token is opened by this command, never by the service. Without --yes it shows the plan.
    TokenPin {
        /// `ca` or `root`.
        #[arg(default_value = "ca")]
        token: String,
        #[command(flatten)]
        how: RotateNowArgs,
    },
    /// A new key that people's records in the store are encrypted with; every record is encrypted anew.
    ///
    /// Without --yes it shows the plan.
    DataKey {
        #[command(flatten)]
        how: RotateNowArgs,
    },
    /// A new key of the root, under the same name, with the certificates that link it to the one before it.
    ///
    /// The root's token has to be present. The new key is published at once and certifies CAs after the overlap
    /// (`times.root_overlap`); issuing CAs move to it when each is rotated. Without --yes it shows the plan.
    Root {
        #[command(flatten)]
        how: RotateArgs,
    },
    /// List the rotations, the open ones and the earlier ones.
    List,
    /// Take up a rotation that was interrupted, or failed.
    Resume {
        /// Its id.
        id: String,
        /// Who does it.
        #[arg(long = "by", value_name = "NAME", required = true)]
        by: Vec<String>,
    },
    /// Give up a rotation whose new key is not active yet: what was made for it is undone.
    BackOut {
        /// Its id.
        id: String,
        /// Who does it.
        #[arg(long = "by", value_name = "NAME", required = true)]
        by: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProbeCommand {
    /// Fetch a CRL over http and check it: signature, times, number, scope, the base of a delta, and what HTTP says.
    ///
    /// Exit code 0: nothing failed (there may be warnings); 1: something did; 4: nothing is answered.
    Crl {
        /// Where it is, as it stands in certificates: http://HOST/crl/NAME.crl.
        url: String,
        /// The CA's certificate, or several, PEM or DER; may be given several times. Without one the signature is not
        /// verified.
        #[arg(long = "issuer", visible_alias = "ca-bundle", value_name = "FILE")]
        issuers: Vec<PathBuf>,
        /// Where the base of a delta CRL is.
        #[arg(long, value_name = "URL")]
        base: Option<String>,
        /// The longest CRL that is read, in octets.
        #[arg(long, value_name = "OCTETS", default_value_t = relying::probe::MAX_OCTETS)]
        max_octets: u64,
        /// How long everything may take, in seconds.
        #[arg(long, value_name = "SECONDS", default_value_t = relying::probe::TIME.as_secs())]
        timeout: u64,
    },
    /// Ask an OCSP responder for a certificate's status, by GET and by POST as relying systems do, and check the answers:
    /// signature and signer, times, nonce, and what HTTP says for caches. Says how late a revocation can be seen.
    ///
    /// Exit code 0: nothing failed (there may be warnings); 1: something did; 4: nothing is answered.
    Ocsp {
        /// Where it is, as it stands in certificates: http://HOST/ocsp.
        url: String,
        /// The certificate to ask about, PEM or DER.
        #[arg(long = "cert", value_name = "FILE")]
        certificate: PathBuf,
        /// The certificate of the CA that issued it, or several to choose from, PEM or DER; may be given several times.
        #[arg(long = "issuer", visible_alias = "ca-bundle", value_name = "FILE", required = true)]
        issuers: Vec<PathBuf>,
        /// Ask with a nonce too: it must come back.
        #[arg(long)]
        nonce: bool,
        /// What the status must be: good, revoked or unknown. Without it, all but unknown will do.
        #[arg(long, value_name = "STATUS")]
        expect: Option<relying::probe::Status>,
        /// Warn when the certificate of who signs ends sooner than this, such as 10m or 2h.
        #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = humantime::parse_duration)]
        warn: std::time::Duration,
        /// How long everything may take, in seconds.
        #[arg(long, value_name = "SECONDS", default_value_t = relying::probe::OCSP_TIME.as_secs())]
        timeout: u64,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// The set of compromised keys.
    #[command(subcommand)]
    Compromised(CompromisedCommand),
    /// Show the lists of known keys that the configuration names.
    Lists {
        /// Read them again first.
        #[arg(long)]
        reload: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum CompromisedCommand {
    /// Add keys to the set, and list the certificates that hold one of them.
    ///
    /// Requests for these keys are refused at once. It revokes nothing: whoever must lose their certificate is in the
    /// list that it prints.
    Add {
        /// Files with public keys, certificates or requests (PEM or DER), or with SHA-256 digests of
        /// SubjectPublicKeyInfos in hexadecimal, one to a line. Never private keys.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Why they are compromised, such as "found in a public repository".
        #[arg(long)]
        reason: String,
        /// Who adds them; may be given several times.
        #[arg(long = "by", value_name = "NAME", required = true)]
        people: Vec<String>,
    },
    /// List the keys in the set.
    List,
    /// List all certificates that hold a key of the set.
    Certificates,
    /// Take a key out of the set that was put there by mistake.
    ///
    /// Without --yes it shows the key and says what it would do.
    Remove {
        /// The key: the SHA-256 of its SubjectPublicKeyInfo, as `list` shows it.
        key: String,
        /// Why.
        #[arg(long)]
        reason: String,
        /// Who does it: two people.
        #[arg(long = "by", value_name = "NAME", required = true)]
        people: Vec<String>,
        /// Do it.
        #[arg(long)]
        yes: bool,
    },
}
