//! A TLS login with a card, as its holder does it at a relying service: the card's authentication key signs the
//! handshake.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::card::{Card, Purpose};
use crate::http::{Call, Client, Times};
use crate::{Error, tls};

/// What a service said to a card's holder.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LoginReport {
    /// The HTTP status: 200, or 403 when the service knows the holder and refuses.
    pub status: u16,
    /// The body.
    pub body: String,
    /// The version of TLS, such as `TLSv1_3`.
    pub tls_version: String,
    /// From before the connection to after the answer, in milliseconds.
    pub milliseconds: f64,
}

impl LoginReport {
    /// Whether the holder got in.
    pub fn is_welcome(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// From before the connection to after the answer.
    pub fn elapsed(&self) -> Duration {
        Duration::from_secs_f64(self.milliseconds / 1000.0)
    }
}

/// Logs in to an HTTPS URL with a card. The connection has a thread of its own, since the handshake waits for the card.
///
/// # Errors
/// [`Error::HandshakeRefused`] when the service refuses the certificate already in the TLS handshake; when it cannot be
/// reached, its own certificate does not lead to `roots` (DER), or the card does not sign.
pub async fn tls_login(card: &Card, url: &str, roots: &[Vec<u8>]) -> Result<LoginReport, Error> {
    let (url, roots) = (url.to_owned(), roots.to_vec());
    card.run(move |card| {
        let (key, certificate) = card.current(Purpose::Authentication)?;
        let config = tls::card_config(&roots, &certificate, Arc::new(key))?;
        let client = Client::https(&url, config, Times::default())?;
        let started = Instant::now();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Error::Thread(error.to_string()))?;
        // The URL's own path is the client's base.
        let path = if client.has_path() { "" } else { "/" };
        let answer = runtime.block_on(client.exchange(Call::get(path)))?;
        Ok(LoginReport {
            status: answer.status.as_u16(),
            body: String::from_utf8_lossy(&answer.body).into_owned(),
            tls_version: answer.tls_version.unwrap_or_default(),
            milliseconds: started.elapsed().as_secs_f64() * 1000.0,
        })
    })
    .await
}
