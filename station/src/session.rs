//! Sessions of operators at this station: by card, or by the code of a first card.

use std::fmt;

use api::EnrolmentCode;
use api::sessions::{ChallengeReply, SessionReply, SessionRequest};
use hsm::{Key, Signer};
use zeroize::Zeroizing;

use crate::Error;
use crate::card::{Card, Purpose};
use crate::http::{Call, Client, path};

/// An operator's session. Whoever has its token, and this station's key, acts as the operator.
pub struct Session {
    token: Zeroizing<String>,
    person: String,
    expires: String,
}

impl Session {
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// The operator's user id.
    pub fn person(&self) -> &str {
        &self.person
    }

    /// When it ends at the latest (RFC 3339).
    pub fn expires(&self) -> &str {
        &self.expires
    }
}

impl From<SessionReply> for Session {
    fn from(reply: SessionReply) -> Self {
        Session { token: Zeroizing::new(reply.token), person: reply.person, expires: reply.expires }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("person", &self.person).field("expires", &self.expires).finish_non_exhaustive()
    }
}

/// Logs an operator in: the card's authentication key signs the service's nonce, together with the names of deployment and
/// station.
///
/// # Errors
/// A renewal that was interrupted right after its confirmation leaves the good certificate beside the superseded one: so
/// where the one in use is refused, the one that waits is tried.
///
/// # Errors
/// [`Error::OtherStation`] when the nonce is for another station, before anything is signed; when the card has no
/// authentication certificate, or the service refuses it.
pub async fn login(client: &Client, card: &Card, station: &str) -> Result<Session, Error> {
    let refused = match login_with(client, card, station, |card| card.current(Purpose::Authentication)).await {
        Err(Error::Problem(problem)) if problem.name() == "login-refused" => Error::Problem(problem),
        done => return done,
    };
    match card.run(|card| card.waiting(Purpose::Authentication)).await? {
        Some(waiting) => login_with(client, card, station, |_| Ok(waiting)).await.map_err(|_| refused),
        None => Err(refused),
    }
}

async fn login_with(
    client: &Client,
    card: &Card,
    station: &str,
    credentials: impl FnOnce(&Card) -> Result<(Key, Vec<u8>), Error> + Send + 'static,
) -> Result<Session, Error> {
    let challenge: ChallengeReply = client.send(Call::post_empty(path("/challenges", &[]))?).await?;
    if challenge.station != station {
        return Err(Error::OtherStation { theirs: challenge.station, ours: station.to_owned() });
    }
    let statement = pki::statement::login(&challenge.deployment, &challenge.station, &challenge.nonce.0);
    let (certificate, signature) = card
        .run(move |card| {
            let (key, certificate) = credentials(card)?;
            Ok((certificate, key.sign(&statement)?))
        })
        .await?;
    let request =
        SessionRequest::Card { nonce: challenge.nonce, certificate: certificate.into(), signature: signature.into() };
    open(client, &request).await
}

/// Opens a session by the code of a first card: it can issue that card, and nothing else.
///
/// # Errors
/// When the service refuses the code.
pub async fn login_with_code(client: &Client, code: &EnrolmentCode) -> Result<Session, Error> {
    open(client, &SessionRequest::Code { secret: code.secret.to_vec().into() }).await
}

/// Ends a session.
///
/// # Errors
/// When the service refuses, or cannot be reached: the session ends by itself then.
pub async fn close(client: &Client, session: Session) -> Result<(), Error> {
    client.send(Call::delete(path("/sessions/current", &[])).session(&session)?).await
}

async fn open(client: &Client, request: &SessionRequest) -> Result<Session, Error> {
    let reply: SessionReply = client.send(Call::post(path("/sessions", &[]), request)?).await?;
    Ok(reply.into())
}
