//! Personalisation: a card gets its keys and certificates, for the first time or anew.
//!
//! keys on the card → two requests → two *pending* certificates → written → read back → confirmed by both new keys →
//! *good* → the card is tidied
//!
//! It may be interrupted between any two steps, and is taken up again by the same way ([`Personalisation::resume`]): the
//! service knows which issuance is open, the card knows which keys are new. [`Personalisation::issue`] and
//! [`Personalisation::renew`] do that by themselves when they find a card with unfinished keys.

use std::time::{Duration, Instant};

use api::cards::{
    AllocationRequest, CardView, CertificateView, ConfirmationRequest, IssuanceKind, IssuanceRequest, IssuanceView,
};
use hsm::{Key, Signer};
use pki::KeyType;
use pki::certificate::ParsedCertificate;
use ring::digest::{SHA256, digest};
use serde::Serialize;

use crate::card::{Card, Pair, Purpose};
use crate::http::{Call, Client, path};
use crate::{Error, Session, operations};

/// The profile of a card's authentication certificate.
const AUTHENTICATION_PROFILE: &str = "card-authentication";

/// How often, and at which distance, an issuance is looked at that the service is still signing.
const PATIENCE: (u32, Duration) = (15, Duration::from_millis(200));

/// The steps, in their order: what [`Steps::on_step`] is told after each.
pub mod step {
    /// Both new keys are on the card.
    pub const KEYS_MADE: &str = "keys-made";
    /// The service has signed both certificates, and they are here.
    pub const CERTIFICATES_RECEIVED: &str = "certificates-received";
    /// The authentication certificate is on the card.
    pub const AUTHENTICATION_WRITTEN: &str = "authentication-written";
    /// The signing certificate is on the card.
    pub const SIGNING_WRITTEN: &str = "signing-written";
    /// Both were read back, and are what was written.
    pub const READ_BACK: &str = "read-back";
    /// The service has both keys' signatures: card and certificates are good.
    pub const CONFIRMED: &str = "confirmed";
    /// Old keys and certificates are gone from the card.
    pub const TIDIED: &str = "tidied";

    /// All of them.
    pub const ALL: [&str; 7] =
        [KEYS_MADE, CERTIFICATES_RECEIVED, AUTHENTICATION_WRITTEN, SIGNING_WRITTEN, READ_BACK, CONFIRMED, TIDIED];
}

/// Is told of each step: to show progress, or to end the process there in a test.
pub trait Steps: Send + Sync {
    /// A step was done: one of [`step::ALL`].
    fn on_step(&self, step: &'static str);
}

impl<F: Fn(&'static str) + Send + Sync> Steps for F {
    fn on_step(&self, step: &'static str) {
        self(step);
    }
}

/// Tells nobody.
pub fn quietly(_: &'static str) {}

/// How an issuance came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// New certificates are on the card, and good.
    Confirmed,
    /// They were good already; what was left over on the card is gone.
    Tidied,
    /// The card did not have the keys any more, so the issuance was given up.
    Aborted,
    /// The service knows of no issuance; keys without certificates are gone from the card.
    Discarded,
    /// There was nothing to be taken up.
    Nothing,
}

/// How long a step took.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepTime {
    /// One of [`step::ALL`].
    pub step: &'static str,
    /// Since the step before it, in milliseconds.
    pub milliseconds: f64,
}

/// What was done to a card.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The card's serial number.
    pub card: String,
    /// How it came out.
    pub outcome: Outcome,
    /// Whether something was taken up that had been interrupted.
    pub resumed: bool,
    /// The issuance with its certificates, as the service last showed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuance: Option<IssuanceView>,
    /// What each step took.
    pub steps: Vec<StepTime>,
    /// All together, in milliseconds.
    pub milliseconds: f64,
    /// How many HTTP requests it took.
    pub http_requests: u64,
}

/// A card, and all that it takes to personalise it.
#[derive(Clone, Copy)]
pub struct Personalisation<'a> {
    /// The service.
    pub client: &'a Client,
    /// The operator's session. An issuance that is open can be taken up without one.
    pub session: Option<&'a Session>,
    /// The card.
    pub card: &'a Card,
    /// The kind of its new keys.
    pub key_type: KeyType,
    /// Who is told of the steps.
    pub steps: &'a dyn Steps,
}

impl Personalisation<'_> {
    /// Sets the card aside for a person and puts their first certificates on it. When an earlier attempt was interrupted
    /// after the service had signed, that one is finished instead.
    ///
    /// # Errors
    /// When the service refuses, or the card fails. Nothing is good then that was not before, and it can be tried again.
    pub async fn issue(&self, holder: &str) -> Result<Report, Error> {
        let mut run = Run::new(self);
        if let Some(done) = self.take_up_first(&mut run).await? {
            return Ok(done);
        }
        let allocation = AllocationRequest {
            serial: self.card.serial().to_owned(),
            series: self.card.series().to_owned(),
            holder: holder.to_owned(),
        };
        let call = Call::post(path("/cards", &[]), &allocation)?.session_if(self.session)?;
        let _: CardView = self.client.send(call).await?;
        self.personalise(run, IssuanceKind::Issue).await
    }

    /// Puts new keys and certificates on an active card; those in use stay so until the new ones are good. When an
    /// earlier attempt was interrupted after the service had signed, that one is finished instead.
    ///
    /// # Errors
    /// As [`Personalisation::issue`].
    pub async fn renew(&self) -> Result<Report, Error> {
        let mut run = Run::new(self);
        if let Some(done) = self.take_up_first(&mut run).await? {
            return Ok(done);
        }
        self.personalise(run, IssuanceKind::Renew).await
    }

    /// Takes up what was interrupted. The service says which issuance is open: if its keys are on the card, it is
    /// finished, otherwise given up. If none is open, the card is tidied by what the service holds good.
    ///
    /// # Errors
    /// [`Error::SessionNeeded`] when only an operator may ask which certificates are good; [`Error::UnderWay`] when the
    /// service is still signing; as [`Personalisation::issue`].
    pub async fn resume(&self) -> Result<Report, Error> {
        let mut run = Run::new(self);
        let (outcome, issuance) = self.take_up(&mut run).await?;
        Ok(run.report(outcome, outcome != Outcome::Nothing, issuance))
    }

    /// The report, if taking up what was interrupted is all that there was to do.
    async fn take_up_first(&self, run: &mut Run<'_>) -> Result<Option<Report>, Error> {
        if !self.card.run(Card::is_unfinished).await? {
            return Ok(None);
        }
        let (outcome, issuance) = self.take_up(run).await?;
        Ok(match outcome {
            Outcome::Confirmed | Outcome::Tidied => Some(run.report(outcome, true, issuance)),
            Outcome::Aborted | Outcome::Discarded | Outcome::Nothing => None,
        })
    }

    async fn personalise(&self, mut run: Run<'_>, kind: IssuanceKind) -> Result<Report, Error> {
        let key_type = self.key_type;
        let (keys, requests) = self
            .card
            .run(move |card| {
                let keys = card.generate_next(key_type)?;
                let requests = Pair::try_new(|purpose| card.request(keys.get(purpose)))?;
                Ok((keys, requests))
            })
            .await?;
        run.done(step::KEYS_MADE);
        let request = self.request(kind, requests).await?;
        let call = Call::post(path("/cards/{}/issuances", &[self.card.serial()]), &request)?;
        let issuance: IssuanceView = self.client.send(call.session_if(self.session)?).await?;
        let certificates = self.certificates(&issuance)?;
        run.done(step::CERTIFICATES_RECEIVED);
        let confirmed = self.install(&mut run, &issuance, keys, certificates).await?;
        Ok(run.report(Outcome::Confirmed, false, Some(confirmed)))
    }

    /// From the pending certificates to a tidy card. Gives the issuance as it is then.
    async fn install(
        &self,
        run: &mut Run<'_>,
        issuance: &IssuanceView,
        keys: Pair<Key>,
        certificates: Pair<Vec<u8>>,
    ) -> Result<IssuanceView, Error> {
        for (purpose, step) in
            [(Purpose::Authentication, step::AUTHENTICATION_WRITTEN), (Purpose::Signing, step::SIGNING_WRITTEN)]
        {
            let (key, certificate) = (keys.get(purpose).clone(), certificates.get(purpose).clone());
            self.card.run(move |card| card.write_certificate(purpose, &key, &certificate)).await?;
            run.done(step);
        }
        let written = certificates.clone();
        let (keys, read) = self
            .card
            .run(move |card| {
                let read = card.read_back(&keys, &written)?;
                Ok((keys, read))
            })
            .await?;
        run.done(step::READ_BACK);

        let [authentication, signing] = Purpose::ALL.map(|purpose| -> [u8; 32] { sha256(read.get(purpose)) });
        let statement = pki::statement::confirmation(&issuance.id, &issuance.nonce.0, &authentication, &signing);
        let signatures =
            self.card.run(move |_| Pair::try_new(|purpose| Ok(keys.get(purpose).sign(&statement)?))).await?;
        let confirmation = ConfirmationRequest {
            authentication: signatures.authentication.into(),
            signing: signatures.signing.into(),
        };
        let call = Call::post(path("/issuances/{}/confirmation", &[&issuance.id]), &confirmation)?;
        let confirmed: IssuanceView = self.client.send(call.session_if(self.session)?).await?;
        run.done(step::CONFIRMED);
        self.card.run(move |card| card.settle(&certificates)).await?;
        run.done(step::TIDIED);
        Ok(confirmed)
    }

    /// What goes to the service; at a renewal the key in use signs that the card is here.
    async fn request(&self, kind: IssuanceKind, requests: Pair<Vec<u8>>) -> Result<IssuanceRequest, Error> {
        let possession = match kind {
            IssuanceKind::Issue => None,
            IssuanceKind::Renew => {
                let digests = Purpose::ALL.map(|purpose| -> [u8; 32] { sha256(requests.get(purpose)) });
                let statement = pki::statement::renewal(self.card.serial(), &digests[0], &digests[1]);
                let sign = move |card: &Card| match card.current(Purpose::Authentication) {
                    Ok((key, _)) => Ok(Some(key.sign(&statement)?)),
                    // A card that has none in use is not renewed: the service says so, in its own words.
                    Err(Error::CardEmpty { .. }) => Ok(None),
                    Err(error) => Err(error),
                };
                self.card.run(sign).await?.map(Into::into)
            }
        };
        let Pair { authentication, signing } = requests;
        Ok(IssuanceRequest { kind, authentication: authentication.into(), signing: signing.into(), possession })
    }

    async fn take_up(&self, run: &mut Run<'_>) -> Result<(Outcome, Option<IssuanceView>), Error> {
        let Some(issuance) = self.open_issuance().await? else {
            return Ok((self.tidy(run).await?, None));
        };
        let certificates = self.certificates(&issuance)?;
        let wanted = certificates.clone();
        match self.card.run(move |card| card.keys_of(&wanted)).await? {
            Some(keys) => {
                run.done(step::CERTIFICATES_RECEIVED);
                let confirmed = self.install(run, &issuance, keys, certificates).await?;
                Ok((Outcome::Confirmed, Some(confirmed)))
            }
            None => {
                let call = Call::post_empty(path("/issuances/{}/abort", &[&issuance.id]))?;
                match self.client.send::<IssuanceView>(call.session_if(self.session)?).await {
                    Ok(_) => {}
                    // It ended at the same moment, perhaps by its time-out.
                    Err(error) if error.problem().is_some_and(|problem| problem.name() == "issuance-ended") => {}
                    Err(error) => return Err(error),
                }
                self.card.run(Card::discard_next).await?;
                Ok((Outcome::Aborted, Some(issuance)))
            }
        }
    }

    /// The issuance of this card that is open and signed. One that the service is just signing is waited for.
    async fn open_issuance(&self) -> Result<Option<IssuanceView>, Error> {
        let (tries, distance) = PATIENCE;
        let mut tried = 0;
        loop {
            let call = Call::get(path("/cards/{}/issuance", &[self.card.serial()])).session_if(self.session)?;
            let issuance: IssuanceView = match self.client.send(call).await {
                Ok(issuance) => issuance,
                Err(error) if error.is_not_found() => return Ok(None),
                Err(error) => return Err(error),
            };
            match issuance.state.as_str() {
                "reserved" if tried < tries => {
                    tried += 1;
                    tokio::time::sleep(distance).await;
                }
                "reserved" => {
                    return Err(Error::UnderWay { issuance: issuance.id, confirm_by: issuance.confirm_by });
                }
                _ => return Ok(Some(issuance)),
            }
        }
    }

    /// Without an open issuance: what the service holds good stays on the card, unfinished keys go.
    async fn tidy(&self, run: &mut Run<'_>) -> Result<Outcome, Error> {
        if !self.card.run(Card::is_unfinished).await? {
            return Ok(Outcome::Nothing);
        }
        if !self.card.run(Card::may_be_confirmed).await? {
            self.card.run(Card::discard_next).await?;
            return Ok(Outcome::Discarded);
        }
        let session = self.session.ok_or_else(|| Error::SessionNeeded { card: self.card.serial().to_owned() })?;
        let known = match operations::show_card(self.client, session, self.card.serial()).await {
            Ok(card) => Some(card),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error),
        };
        let good = known.map_or_else(Vec::new, |card| card.certificates);
        // One that is on hold is the current one as well: the card may have been suspended meanwhile.
        let good = good.into_iter().filter(|certificate| matches!(certificate.state.as_str(), "good" | "on_hold"));
        let (authentication, signing): (Vec<_>, Vec<_>) =
            good.partition(|certificate| certificate.profile == AUTHENTICATION_PROFILE);
        let outcome = match (authentication.first(), signing.first()) {
            (Some(authentication), Some(signing)) => self.settle_by(session, authentication, signing).await?,
            _ => {
                self.card.run(Card::discard_next).await?;
                Outcome::Discarded
            }
        };
        run.done(step::TIDIED);
        Ok(outcome)
    }

    /// Tidies the card by what is good. That may be the pair before the unfinished keys, if these came to nothing.
    async fn settle_by(
        &self,
        session: &Session,
        authentication: &CertificateView,
        signing: &CertificateView,
    ) -> Result<Outcome, Error> {
        let authentication = self.fetch(session, authentication).await?;
        let current = Pair { authentication, signing: self.fetch(session, signing).await? };
        self.card
            .run(move |card| {
                let confirmed = card.keys_of(&current)?.is_some_and(|keys| {
                    Purpose::ALL.iter().any(|purpose| keys.get(*purpose).label() == purpose.next_label())
                });
                card.settle(&current)?;
                Ok(if confirmed { Outcome::Tidied } else { Outcome::Discarded })
            })
            .await
    }

    /// A certificate's DER, asked for where a list leaves it out.
    async fn fetch(&self, session: &Session, view: &CertificateView) -> Result<Vec<u8>, Error> {
        if let Some(certificate) = &view.certificate {
            return Ok(certificate.0.clone());
        }
        let full = operations::show_certificate(self.client, session, &view.issuer, &view.serial).await?;
        full.certificate.map(|certificate| certificate.0).ok_or_else(|| Error::Answer {
            server: self.client.server().to_owned(),
            status: 200,
            reason: format!("certificate {} of {} is {} and not there", view.serial, view.issuer, view.state),
        })
    }

    /// The certificates of a pending issuance, which must be two readable ones.
    fn certificates(&self, issuance: &IssuanceView) -> Result<Pair<Vec<u8>>, Error> {
        Pair::try_new(|purpose| {
            let view = match purpose {
                Purpose::Authentication => &issuance.authentication,
                Purpose::Signing => &issuance.signing,
            };
            let refused = |reason: String| Error::Certificate {
                card: self.card.serial().to_owned(),
                purpose: purpose.label(),
                reason,
            };
            let der = view.certificate.as_ref().map(|certificate| certificate.0.clone());
            let der = der.ok_or_else(|| refused(format!("the service did not send it; it is {}", view.state)))?;
            ParsedCertificate::from_der(&der).map_err(|error| refused(error.to_string()))?;
            Ok(der)
        })
    }
}

fn sha256(octets: &[u8]) -> [u8; 32] {
    let mut sum = [0; 32];
    sum.copy_from_slice(digest(&SHA256, octets).as_ref());
    sum
}

/// Takes the time.
struct Run<'a> {
    around: Personalisation<'a>,
    started: Instant,
    last: Instant,
    requests_before: u64,
    steps: Vec<StepTime>,
}

impl<'a> Run<'a> {
    fn new(around: &Personalisation<'a>) -> Self {
        let now = Instant::now();
        let requests_before = around.client.requests();
        Run { around: *around, started: now, last: now, requests_before, steps: Vec::new() }
    }

    fn done(&mut self, step: &'static str) {
        let now = Instant::now();
        self.steps.push(StepTime { step, milliseconds: (now - self.last).as_secs_f64() * 1000.0 });
        tracing::debug!(card = self.around.card.serial(), step, "personalisation");
        self.around.steps.on_step(step);
        self.last = Instant::now();
    }

    fn report(&self, outcome: Outcome, resumed: bool, issuance: Option<IssuanceView>) -> Report {
        Report {
            card: self.around.card.serial().to_owned(),
            outcome,
            resumed,
            issuance,
            steps: self.steps.clone(),
            milliseconds: self.started.elapsed().as_secs_f64() * 1000.0,
            http_requests: self.around.client.requests() - self.requests_before,
        }
    }
}
