//! The service: doors, identities, authorisation, wiring. It decides nothing about the domain itself: a call is read,
//! authorised, handed to `ra` or `ca`, committed and answered.

pub mod backup;
pub mod caller;
mod certify;
pub mod clock;
pub mod crls;
pub mod data_keys;
pub mod doors;
pub mod error;
pub mod failure;
pub mod feed;
pub mod followers;
pub mod idempotency;
pub mod init;
mod inventory;
pub mod known_keys;
pub mod metrics;
mod people;
pub mod preview;
pub mod profiles;
pub mod regular_file;
mod responders;
pub mod root_crls;
pub mod rotation;
pub mod routes;
pub mod service;
pub mod signers;
pub mod start;
pub mod status;
pub mod statuses;
pub mod steps;
mod store_check;
pub mod tasks;
pub mod tls;
pub mod views;

pub use error::Error;
pub use init::{FirstOrganisation, InitReport, InitialisedIssuer, initialise};
pub use routes::openapi;
pub use start::{Edge, Prepared, prepare, serve};
