//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

mod ca;
mod profile;
mod responder;

pub(crate) use ca::{CaCommand, CompromisedCommand, KeyCommand, ProbeCommand, RootCommand, RotateArgs, RotateCommand};
pub(crate) use profile::{PreviewArgs, ProfileCommand};
pub(crate) use responder::ResponderCommand;

/// A certificate authority and card-credential service.
///
/// Start with `cardinal demo`: it sets everything up in one directory and shows the way from nothing to a revoked card.
#[derive(Debug, Parser)]
#[command(
    name = "cardinal",
    version,
    propagate_version = true,
    after_help = "Exit codes: 0 done; 1 failed; 2 wrong arguments or configuration; 3 refused by a rule, or not possible \
                  in this state; 4 not reachable or busy: try again; 5 a token refused its PIN: do not try again, \
                  it may lock."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// Print one JSON value instead of text.
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// The service's configuration, for commands on its own machine.
    #[arg(long, global = true, env = "CARDINAL_CONFIG", default_value = "cardinal.toml", value_name = "FILE")]
    pub(crate) config: PathBuf,

    /// The station's configuration, for commands at a station.
    #[arg(long, global = true, env = "CARDINAL_STATION", default_value = "station.toml", value_name = "FILE")]
    pub(crate) station: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the whole way, from nothing to a revoked card, on real components.
    Demo(Box<DemoArgs>),
    /// Make a deployment: configuration, tokens, root, issuing CAs.
    Init(Box<InitArgs>),
    /// Run the service.
    Serve,
    /// Show how the service is: each key and certificate, and what keeps it from its work.
    Status,
    /// Organisations.
    #[command(subcommand)]
    Organisation(OrganisationCommand),
    /// The first operators, made on the service's own machine.
    #[command(subcommand)]
    Operator(OperatorCommand),
    /// Registration stations.
    #[command(subcommand)]
    Station(StationCommand),
    /// OCSP responders that follow the status feed from elsewhere.
    #[command(subcommand)]
    Responder(ResponderCommand),
    /// People, at a station.
    #[command(subcommand)]
    Person(PersonCommand),
    /// Cards, at a station.
    #[command(subcommand)]
    Card(CardCommand),
    /// Certificates, CRLs and issuers.
    #[command(subcommand)]
    Ca(CaCommand),
    /// Exchange keys while the service runs: the plan without --yes, the rotation with it.
    #[command(subcommand)]
    Rotate(RotateCommand),
    /// Certificate profiles: check a file of them, show them, see what would be issued.
    #[command(subcommand)]
    Profile(ProfileCommand),
    /// What only the root's token can do, in a process of its own.
    #[command(subcommand)]
    Root(RootCommand),
    /// Keys that others know: for these nobody gets a certificate.
    #[command(subcommand)]
    Key(KeyCommand),
    /// The audit records.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Look at what is published, as a relying system does that fetches it.
    #[command(subcommand)]
    Probe(ProbeCommand),
    /// Write a backup of the running service's store.
    Backup {
        /// The file to write; it must not exist.
        file: PathBuf,
    },
    /// Check a backup from end to end.
    VerifyBackup {
        /// The backup.
        file: PathBuf,
    },
    /// Put a backup in the place of the store. The service must not run.
    ///
    /// Without --yes it checks the backup and says what it would do.
    Restore {
        /// The backup.
        file: PathBuf,
        /// Move the store that is there aside.
        #[arg(long)]
        replace: bool,
        /// Do it.
        #[arg(long)]
        yes: bool,
    },
    /// Print the OpenAPI document of the HTTP interface.
    Openapi,
    /// Help for development: software tokens as cards.
    #[command(subcommand)]
    Dev(DevCommand),
}

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// The directory of the deployment: configuration, policy, profiles and data.
    #[arg(long, default_value = ".", value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// The organisation (O) in every certificate.
    #[arg(long, default_value = "Example Registration Authority")]
    pub(crate) organisation: String,
    /// The ODS code of the first organisation, at the top of the tree.
    #[arg(long, default_value = "RX1", value_name = "CODE")]
    pub(crate) ods: String,
    /// The deployment's name; it goes into what cards sign, and cannot change later.
    #[arg(long, default_value = "cardinal")]
    pub(crate) name: String,
    /// The PKCS#11 module of the CA keys.
    #[arg(long, value_name = "PATH")]
    pub(crate) module: Option<PathBuf>,
    /// Where the API listens.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) api: Option<SocketAddr>,
    /// Where OCSP, CRLs and CA certificates are served.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) public: Option<SocketAddr>,
    /// Where metrics and health are served.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) metrics: Option<SocketAddr>,
    /// The address of the public door as it stands in certificates.
    #[arg(long, value_name = "URL")]
    pub(crate) public_base_url: Option<String>,
    /// A host name of the API door; may be given several times.
    #[arg(long = "host-name", value_name = "NAME")]
    pub(crate) host_names: Vec<String>,
    /// An IP address of the API door; may be given several times.
    #[arg(long = "address", value_name = "IP")]
    pub(crate) addresses: Vec<std::net::IpAddr>,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Where everything goes. A second run starts from what is there.
    #[arg(long, default_value = "demo", value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// End after the tour, instead of staying up.
    #[arg(long)]
    pub(crate) once: bool,
    /// Where the API listens.
    #[arg(long, default_value = "127.0.0.1:8443", value_name = "ADDRESS")]
    pub(crate) api: SocketAddr,
    /// Where OCSP, CRLs and CA certificates are served.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    pub(crate) public: SocketAddr,
    /// Where metrics and health are served.
    #[arg(long, default_value = "127.0.0.1:9090", value_name = "ADDRESS")]
    pub(crate) metrics: SocketAddr,
    /// Where the small relying service listens.
    #[arg(long, default_value = "127.0.0.1:9443", value_name = "ADDRESS")]
    pub(crate) relying: SocketAddr,
    /// Where a second OCSP responder, a process of its own, answers.
    #[arg(long, default_value = "127.0.0.1:8081", value_name = "ADDRESS")]
    pub(crate) responder: SocketAddr,
    /// Where its metrics and health are served.
    #[arg(long, default_value = "127.0.0.1:9091", value_name = "ADDRESS")]
    pub(crate) responder_metrics: SocketAddr,
    /// The PKCS#11 module of CA keys and cards.
    #[arg(long, value_name = "PATH")]
    pub(crate) module: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum OrganisationCommand {
    /// Add an organisation below another one, or at the top.
    Add {
        /// Its ODS code.
        code: String,
        /// Its name.
        name: String,
        /// ODS code of the organisation above it.
        #[arg(long, value_name = "CODE")]
        parent: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum OperatorCommand {
    /// Register one of the first operators, and print the code by which a station issues the first card.
    Enrol {
        /// Given name.
        #[arg(long)]
        given: String,
        /// Family name.
        #[arg(long)]
        family: String,
        /// ODS code of the organisation.
        #[arg(long, value_name = "CODE")]
        ods: String,
        /// The role, such as ra_manager, ra_agent or id_checker.
        #[arg(long)]
        role: String,
        /// Who vouches for the identity: two people.
        #[arg(long = "witness", value_name = "NAME", required = true)]
        witnesses: Vec<String>,
        /// The version of the terms that the operator accepted.
        #[arg(long, value_name = "VERSION")]
        terms: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum StationCommand {
    /// On the service's machine: make a single-use code for a station.
    Enrol {
        /// The station's name: a DNS name.
        name: String,
        /// ODS code of its organisation.
        #[arg(long, value_name = "CODE")]
        ods: String,
    },
    /// At the station: enrol it by its code.
    Join {
        /// The service's API, such as https://ra.example.nhs.uk:8443.
        #[arg(long, value_name = "URL")]
        server: String,
        /// The name that the code was made for.
        #[arg(long)]
        name: String,
        /// A file with the code.
        #[arg(long, value_name = "FILE")]
        code_file: PathBuf,
        /// Where the station's files go.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// The PKCS#11 module of the cards.
        #[arg(long, value_name = "PATH")]
        module: Option<PathBuf>,
        /// Replace a station that is there already.
        #[arg(long)]
        replace: bool,
    },
    /// At the station: ask the service who it is and as whom it knows this station.
    Check,
}

/// The card of the operator who acts.
#[derive(Clone, Debug, Args)]
pub(crate) struct OperatorCard {
    /// The operator's card, by its token label.
    #[arg(long, value_name = "LABEL")]
    pub(crate) operator: Option<String>,
    /// A file with the operator's passcode.
    #[arg(long, value_name = "FILE")]
    pub(crate) operator_passcode_file: Option<PathBuf>,
}

/// The card that is worked on.
#[derive(Clone, Debug, Args)]
pub(crate) struct TargetCard {
    /// The card, by its token label; the one in the station's configuration when left out.
    #[arg(long, value_name = "LABEL")]
    pub(crate) card: Option<String>,
    /// A file with the card's passcode.
    #[arg(long, value_name = "FILE")]
    pub(crate) passcode_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PersonCommand {
    /// Register a person.
    Register {
        /// Given name, as on the document.
        #[arg(long)]
        given: String,
        /// Family name, as on the document.
        #[arg(long)]
        family: String,
        /// ODS code of the organisation.
        #[arg(long, value_name = "CODE")]
        ods: String,
        #[command(flatten)]
        operator: OperatorCard,
    },
    /// Record that the operator checked a person's identity, face to face.
    Verify {
        /// The user id.
        user_id: String,
        /// A kind of document that was seen, such as passport; may be given several times.
        #[arg(long = "document", value_name = "KIND", required = true)]
        documents: Vec<String>,
        #[command(flatten)]
        operator: OperatorCard,
    },
    /// Record that a person accepted the terms.
    AcceptTerms {
        /// The user id.
        user_id: String,
        /// The version of the terms.
        #[arg(long, value_name = "VERSION")]
        terms: String,
        #[command(flatten)]
        operator: OperatorCard,
    },
    /// Show a person.
    Show {
        /// The user id.
        user_id: String,
        #[command(flatten)]
        operator: OperatorCard,
    },
    /// List people by user id.
    List {
        /// The `next` of the page before.
        #[arg(long)]
        after: Option<String>,
        /// How many at most.
        #[arg(long, default_value_t = 50)]
        limit: usize,
        #[command(flatten)]
        operator: OperatorCard,
    },
}

/// The kinds of key that a card can make.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum CardKeyType {
    /// NIST P-256.
    #[value(name = "p256")]
    P256,
    /// NIST P-384.
    #[value(name = "p384")]
    P384,
    /// RSA, 2048 bits.
    #[value(name = "rsa2048")]
    Rsa2048,
    /// RSA, 3072 bits.
    #[value(name = "rsa3072")]
    Rsa3072,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CardCommand {
    /// Put a person's first certificates on a card. What was interrupted is taken up.
    Issue {
        /// The holder's user id; not needed with a code, which names the person.
        #[arg(long, value_name = "USER_ID", required_unless_present = "code_file")]
        person: Option<String>,
        /// A file with a first-card code, instead of an operator's card.
        #[arg(long, value_name = "FILE", conflicts_with = "operator")]
        code_file: Option<PathBuf>,
        /// The kind of the card's new keys.
        #[arg(long, value_enum, default_value = "p256")]
        key_type: CardKeyType,
        #[command(flatten)]
        card: TargetCard,
        #[command(flatten)]
        operator: OperatorCard,
    },
    /// Put new keys and certificates on a card before the old ones expire. What was interrupted is taken up.
    Renew {
        /// The kind of the card's new keys.
        #[arg(long, value_enum, default_value = "p256")]
        key_type: CardKeyType,
        #[command(flatten)]
        card: TargetCard,
        #[command(flatten)]
        operator: OperatorCard,
    },
    /// Take up an issuance that was interrupted. Needs no operator.
    Continue {
        #[command(flatten)]
        card: TargetCard,
    },
    /// Show what is on the card in the reader.
    Read {
        #[command(flatten)]
        card: TargetCard,
    },
    /// Show what the service knows of a card.
    Show {
        /// The card's serial number.
        serial: String,
        #[command(flatten)]
        operator: OperatorCard,
    },
    /// Put a card on hold.
    Suspend {
        /// The card's serial number.
        serial: String,
        /// investigation, holder_request, person_suspended or reported_lost.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        operator: OperatorCard,
    },
    /// Report a card lost: it goes on hold at once.
    ReportLost {
        /// The card's serial number.
        serial: String,
        #[command(flatten)]
        operator: OperatorCard,
    },
    /// Take a card off hold.
    Resume {
        /// The card's serial number.
        serial: String,
        /// The reason that is gone: reported_lost, person_suspended, investigation or holder_request.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        operator: OperatorCard,
    },
    /// End a card's life: its certificates are revoked for good.
    ///
    /// Without --yes it shows the card and says what it would do.
    Cancel {
        /// The card's serial number.
        serial: String,
        /// lost, stolen, damaged, superseded, left or misuse.
        #[arg(long)]
        cause: String,
        /// Since when the key is thought to have been in other hands, with --cause stolen: 2026-11-22T15:30:00Z.
        #[arg(long, value_name = "TIME")]
        compromised_since: Option<String>,
        /// Do it.
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        operator: OperatorCard,
    },
    /// Log in to a relying service with a card, by TLS.
    Login {
        /// The service, such as https://127.0.0.1:9443/.
        url: String,
        /// The root certificate of the service's own TLS, PEM; that of the cards when left out.
        #[arg(long, value_name = "FILE")]
        ca: Option<PathBuf>,
        #[command(flatten)]
        card: TargetCard,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// List audit records.
    List {
        /// The number of the first record.
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// How many at most.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum DevCommand {
    /// Initialise a software token as a blank card.
    BlankCard {
        /// The label of the token.
        label: String,
        /// A file with the security officer's PIN.
        #[arg(long, value_name = "FILE")]
        so_pin_file: PathBuf,
        /// A file with the passcode.
        #[arg(long, value_name = "FILE")]
        passcode_file: PathBuf,
        /// The PKCS#11 module; the station's when left out.
        #[arg(long, value_name = "PATH")]
        module: Option<PathBuf>,
    },
}
