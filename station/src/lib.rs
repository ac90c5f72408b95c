//! The card agent beside the reader: drives a card through PKCS#11, and speaks with the service.
//!
//! * [`enrol`]: a station gets its key and certificate by a single-use code;
//! * [`session`]: an operator logs in with a card;
//! * [`personalise`]: a card gets its keys and certificates, for the first time or anew; what was interrupted is taken up;
//! * [`operations`]: the other calls of the API, one function each;
//! * [`login`]: a TLS login with a card, as its holder does it;
//! * [`card`], [`http`], [`tls`]: what these are made of.
//!
//! Private keys of cards never leave them. Calls to a card block, so they are made on threads of their own, and never on
//! the async runtime's workers.

pub mod blank;
pub mod card;
pub mod enrol;
mod error;
pub mod http;
pub mod login;
pub mod operations;
pub mod personalise;
pub mod session;
pub mod tls;

pub use card::{Card, CardDescription, Purpose};
pub use error::Error;
pub use hsm::{Module, Pin, TokenSelector};
pub use http::{Call, Client, Times, path_segment};
pub use personalise::{Personalisation, Report};
pub use pki::KeyType;
pub use session::Session;
