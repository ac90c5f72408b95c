//! Why the service does not start, or a command on the server's machine fails.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::failure::Failure;

/// What went wrong, and what to do next.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// The policy file.
    #[error(transparent)]
    Policy(#[from] ra::policy::PolicyError),
    /// The profile file.
    #[error(transparent)]
    Profiles(#[from] pki::profile::ProfileError),
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The token.
    #[error(transparent)]
    Token(#[from] hsm::Error),
    /// The CA.
    #[error(transparent)]
    Ca(#[from] ca::Error),
    /// The registry.
    #[error(transparent)]
    Ra(#[from] ra::Error),
    /// A step that the API shares.
    #[error("{}", .0.problem().detail)]
    Step(Failure),
    /// A file or directory.
    #[error("{what} {}: {source}", path.display())]
    File {
        /// What was to be done.
        what: &'static str,
        /// With which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A port is taken.
    #[error(
        "{door} cannot listen on {address}: {source}; end what listens there, or set listen.{key} to another address"
    )]
    Listen {
        /// Which door.
        door: &'static str,
        /// The key in the configuration.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// There is no hierarchy yet.
    #[error("{} holds no CA yet: run `cardinal init` first", .0.display())]
    NotInitialised(PathBuf),
    /// A token whose keys are certified is not present.
    #[error(
        "the token {0:?} is not present, and its keys are in use: put it back (with its PIN file), or restore it from its \
         backup; a new token would not have the same keys"
    )]
    TokenAway(String),
    /// A file of profiles cannot be read as text.
    #[error("the profiles {}: {reason}", path.display())]
    ProfilesFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// A list of known keys cannot be used.
    #[error("the list of known keys {}: {reason}. It is named by `lists` under [known_keys]", path.display())]
    KnownKeys {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The store's data keys contradict themselves.
    #[error("the store's data keys cannot be used: {0}. Keep the data directory as it is, and restore the last backup")]
    DataKeys(String),
    /// The root's token, or its PIN, is not here.
    #[error(
        "the root's token {token:?} is not present, or its PIN file {} is not: bring both to this machine for as long \
         as the root signs, then `cardinal rotate list` shows what can be resumed",
        pin_file.display()
    )]
    RootAway {
        /// The token's label.
        token: String,
        /// Where its PIN is looked for.
        pin_file: PathBuf,
    },
    /// Work for the root's token that this configuration does not permit.
    #[error("nothing was signed by the root: {0}")]
    RootWork(String),
    /// A background part did not start.
    #[error("the service did not start: {0}")]
    Start(String),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Error::Step(failure)
    }
}

impl Error {
    /// Whether the configuration, or a file that it names, is wrong.
    pub fn is_configuration(&self) -> bool {
        matches!(
            self,
            Error::Config(_)
                | Error::Policy(_)
                | Error::Profiles(_)
                | Error::ProfilesFile { .. }
                | Error::KnownKeys { .. }
        )
    }

    /// Whether a token refused its PIN: trying again could lock it.
    pub fn is_refused_pin(&self) -> bool {
        use hsm::Error as Token;
        matches!(
            self,
            Error::Token(
                Token::PinIncorrect { .. }
                    | Token::PinRefusedBefore { .. }
                    | Token::PinLocked { .. }
                    | Token::PinFinalTry { .. }
                    | Token::PinCountLow { .. }
                    | Token::BothPinsIncorrect { .. }
            )
        )
    }

    /// Whether it was not done because of a rule, or of what is there already.
    pub fn is_refusal(&self) -> bool {
        match self {
            Error::Store(store::Error::TargetExists { .. })
            | Error::TokenAway(_)
            | Error::RootAway { .. }
            | Error::RootWork(_)
            | Error::Ca(ca::Error::KeyTaken { .. }) => true,
            Error::Step(failure) => (400..500).contains(&failure.problem().status),
            _ => false,
        }
    }

    /// For [`Result::map_err`].
    pub(crate) fn file(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Error::File { what, path, source }
    }
}
