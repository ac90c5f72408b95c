//! A card's record and its states: `allocated → personalised → active ⇄ suspended → cancelled`.
//!
//! A card may be held for several reasons at once, and comes off hold when the last one goes.

use std::collections::BTreeSet;
use std::fmt;

use ca::CertificateId;
use pki::{CrlReason, Timestamp};
use serde::{Deserialize, Serialize};
use store::{Index, Record, Store, Table, Term, Versioned};

use crate::{CardSerial, Error, IssuanceId, UserId};

/// Cards, by serial number.
pub const CARDS: Table = Table::new("card");
/// Cards by the person who holds them.
pub const BY_HOLDER: Index = Index::new("card.holder");

/// A card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// The chip's serial number.
    pub serial: CardSerial,
    /// The product series, as the chip reports it.
    pub series: String,
    /// Who holds it.
    pub holder: UserId,
    /// The issuance that is under way, if any. There is never more than one.
    pub issuance: Option<IssuanceId>,
    /// The state.
    pub state: CardState,
}

/// The certificates of a card: one pair is current.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificatePair {
    /// For logging in.
    pub authentication: CertificateId,
    /// For signing.
    pub signing: CertificateId,
}

impl CertificatePair {
    /// Both, with their purposes.
    pub fn each(&self) -> [(CertificatePurpose, &CertificateId); 2] {
        [(CertificatePurpose::Authentication, &self.authentication), (CertificatePurpose::Signing, &self.signing)]
    }
}

/// What a certificate of a card is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificatePurpose {
    /// Logging in.
    Authentication,
    /// Signing.
    Signing,
}

/// The states of a card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CardState {
    /// Set aside for its holder; nothing on it yet.
    Allocated,
    /// Its first certificates are issued and not yet confirmed.
    Personalised,
    /// In use.
    Active {
        /// The current certificates.
        pair: CertificatePair,
    },
    /// On hold.
    Suspended {
        /// The current certificates.
        pair: CertificatePair,
        /// Why: at least one reason.
        holds: BTreeSet<HoldReason>,
    },
    /// At the end of its life.
    Cancelled {
        /// Why.
        cause: CancelCause,
        /// When.
        at: Timestamp,
    },
}

impl CardState {
    /// The state's name.
    pub fn name(&self) -> &'static str {
        match self {
            CardState::Allocated => "allocated",
            CardState::Personalised => "personalised",
            CardState::Active { .. } => "active",
            CardState::Suspended { .. } => "suspended",
            CardState::Cancelled { .. } => "cancelled",
        }
    }
}

/// Why a card is on hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldReason {
    /// Reported lost, not yet confirmed.
    ReportedLost,
    /// Its holder is suspended.
    PersonSuspended,
    /// Misuse is looked into.
    Investigation,
    /// The holder asked for it.
    HolderRequest,
}

impl HoldReason {
    /// All of them.
    pub const ALL: [HoldReason; 4] =
        [HoldReason::ReportedLost, HoldReason::PersonSuspended, HoldReason::Investigation, HoldReason::HolderRequest];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            HoldReason::ReportedLost => "reported_lost",
            HoldReason::PersonSuspended => "person_suspended",
            HoldReason::Investigation => "investigation",
            HoldReason::HolderRequest => "holder_request",
        }
    }
}

impl fmt::Display for HoldReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a card's life ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelCause {
    /// Lost, and confirmed so.
    Lost,
    /// Stolen, or the passcode is known to another.
    Stolen,
    /// Broken.
    Damaged,
    /// Another card took its place.
    Superseded,
    /// The holder left the service.
    Left,
    /// Misused.
    Misuse,
}

impl CancelCause {
    /// All of them.
    pub const ALL: [CancelCause; 6] = [
        CancelCause::Lost,
        CancelCause::Stolen,
        CancelCause::Damaged,
        CancelCause::Superseded,
        CancelCause::Left,
        CancelCause::Misuse,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            CancelCause::Lost => "lost",
            CancelCause::Stolen => "stolen",
            CancelCause::Damaged => "damaged",
            CancelCause::Superseded => "superseded",
            CancelCause::Left => "left",
            CancelCause::Misuse => "misuse",
        }
    }
}

/// Which reason certificates are revoked with, by cause and purpose: a part of the policy file.
///
/// Relying systems that verify prescriptions take keyCompromise on a *signing* certificate to mean that every signature
/// ever made is void; so the reason is chosen for each purpose.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevocationReasons {
    lost: ReasonByPurpose,
    stolen: ReasonByPurpose,
    damaged: ReasonByPurpose,
    superseded: ReasonByPurpose,
    left: ReasonByPurpose,
    misuse: ReasonByPurpose,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReasonByPurpose {
    authentication: CrlReason,
    signing: CrlReason,
}

impl RevocationReasons {
    /// The reason for this cause and purpose.
    pub fn reason(&self, cause: CancelCause, purpose: CertificatePurpose) -> CrlReason {
        let by_purpose = match cause {
            CancelCause::Lost => self.lost,
            CancelCause::Stolen => self.stolen,
            CancelCause::Damaged => self.damaged,
            CancelCause::Superseded => self.superseded,
            CancelCause::Left => self.left,
            CancelCause::Misuse => self.misuse,
        };
        match purpose {
            CertificatePurpose::Authentication => by_purpose.authentication,
            CertificatePurpose::Signing => by_purpose.signing,
        }
    }
}

/// A change that the card's state does not permit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("card {card} is {state}: it cannot be {event}")]
pub struct InvalidCardTransition {
    /// The card.
    pub card: CardSerial,
    /// The state.
    pub state: &'static str,
    /// What was to be done.
    pub event: &'static str,
}

impl Record for Card {
    const TABLE: Table = CARDS;
    const SCHEMA: u8 = 1;

    fn key(&self) -> Vec<u8> {
        self.serial.as_str().as_bytes().to_vec()
    }

    fn terms(&self) -> Vec<Term> {
        vec![Term::new(BY_HOLDER, self.holder.as_str())]
    }
}

impl Card {
    /// The current certificates, if it has any.
    pub fn pair(&self) -> Option<&CertificatePair> {
        match &self.state {
            CardState::Active { pair } | CardState::Suspended { pair, .. } => Some(pair),
            CardState::Allocated | CardState::Personalised | CardState::Cancelled { .. } => None,
        }
    }

    fn refuse(&self, event: &'static str) -> InvalidCardTransition {
        InvalidCardTransition { card: self.serial.clone(), state: self.state.name(), event }
    }

    /// *Allocated*: the first issuance is under way.
    ///
    /// # Errors
    /// From any other state.
    pub fn begin_issue(mut self, issuance: IssuanceId) -> Result<Self, InvalidCardTransition> {
        match self.state {
            CardState::Allocated => {
                self.issuance = Some(issuance);
                Ok(self)
            }
            _ => Err(self.refuse("issued")),
        }
    }

    /// *Active*: a renewal is under way.
    ///
    /// # Errors
    /// From any other state.
    pub fn begin_renewal(mut self, issuance: IssuanceId) -> Result<Self, InvalidCardTransition> {
        match self.state {
            CardState::Active { .. } => {
                self.issuance = Some(issuance);
                Ok(self)
            }
            _ => Err(self.refuse("renewed")),
        }
    }

    /// The new certificates are issued, not yet confirmed: *allocated → personalised*; an active card stays active.
    ///
    /// # Errors
    /// From any other state.
    pub fn issued(mut self) -> Result<Self, InvalidCardTransition> {
        match self.state {
            CardState::Allocated => {
                self.state = CardState::Personalised;
                Ok(self)
            }
            CardState::Active { .. } => Ok(self),
            _ => Err(self.refuse("given its certificates")),
        }
    }

    /// The new certificates are on the card: *personalised → active*, or *active* with the new pair.
    ///
    /// # Errors
    /// From any other state: a card on hold is resumed first.
    pub fn confirm(mut self, pair: CertificatePair) -> Result<Self, InvalidCardTransition> {
        match self.state {
            CardState::Personalised | CardState::Active { .. } => {
                self.state = CardState::Active { pair };
                self.issuance = None;
                Ok(self)
            }
            _ => Err(self.refuse("confirmed")),
        }
    }

    /// The issuance came to nothing: *personalised → allocated*; a card in any other state keeps it.
    pub fn undo(mut self) -> Self {
        if self.state == CardState::Personalised {
            self.state = CardState::Allocated;
        }
        self.issuance = None;
        self
    }

    /// *Active → suspended*, or one more reason.
    ///
    /// # Errors
    /// From any other state, or when it is held for that reason already.
    pub fn hold(mut self, reason: HoldReason) -> Result<Self, InvalidCardTransition> {
        match &mut self.state {
            CardState::Active { pair } => {
                self.state = CardState::Suspended { pair: pair.clone(), holds: BTreeSet::from([reason]) };
                Ok(self)
            }
            CardState::Suspended { holds, .. } if !holds.contains(&reason) => {
                holds.insert(reason);
                Ok(self)
            }
            CardState::Suspended { .. } => Err(self.refuse("put on hold for a reason that it is held for already")),
            _ => Err(self.refuse("put on hold")),
        }
    }

    /// One reason less; *suspended → active* with the last one.
    ///
    /// # Errors
    /// From any other state, or when it is not held for that reason.
    pub fn release(mut self, reason: HoldReason) -> Result<Self, InvalidCardTransition> {
        match &mut self.state {
            CardState::Suspended { pair, holds } if holds.contains(&reason) => {
                holds.remove(&reason);
                if holds.is_empty() {
                    self.state = CardState::Active { pair: pair.clone() };
                }
                Ok(self)
            }
            CardState::Suspended { .. } => Err(self.refuse("taken off a hold that it does not have")),
            _ => Err(self.refuse("resumed")),
        }
    }

    /// To the end of its life, from any state but that.
    ///
    /// # Errors
    /// When it is cancelled already.
    pub fn cancel(mut self, cause: CancelCause, now: Timestamp) -> Result<Self, InvalidCardTransition> {
        if matches!(self.state, CardState::Cancelled { .. }) {
            return Err(self.refuse("cancelled again"));
        }
        self.state = CardState::Cancelled { cause, at: now };
        self.issuance = None;
        Ok(self)
    }
}

/// The card with this serial number.
///
/// # Errors
/// When there is none, or the store fails.
pub fn load(store: &dyn Store, serial: &CardSerial) -> Result<Versioned<Card>, Error> {
    store::load::<Card>(store, serial.as_str().as_bytes())?
        .ok_or_else(|| Error::NotFound { kind: "card", id: serial.to_string() })
}

/// The cards of a person, at most 100.
///
/// # Errors
/// When the store fails.
pub fn of_person(store: &dyn Store, holder: &UserId) -> Result<Vec<Card>, Error> {
    let page = store.by_index(BY_HOLDER, holder.as_str().as_bytes(), None, None, 100)?;
    let mut cards = Vec::new();
    for entry in page.entries {
        if let Some(found) = store::load::<Card>(store, &entry.key)? {
            cards.push(found.record);
        }
    }
    Ok(cards)
}

#[cfg(test)]
mod tests {
    use pki::SerialNumber;
    use proptest::prelude::*;

    use super::*;

    fn pair() -> CertificatePair {
        let id = |fill| CertificateId { issuer: "x-1".into(), serial: SerialNumber::from_random([fill; 16]) };
        CertificatePair { authentication: id(1), signing: id(2) }
    }

    fn active() -> Card {
        Card {
            serial: "C1".parse().unwrap(),
            series: "SoftHSM".into(),
            holder: "555000000018".parse().unwrap(),
            issuance: None,
            state: CardState::Active { pair: pair() },
        }
    }

    #[test]
    fn a_card_held_for_two_reasons_stays_on_hold_when_one_goes() {
        let held = active().hold(HoldReason::ReportedLost).unwrap().hold(HoldReason::Investigation).unwrap();
        let still = held.release(HoldReason::ReportedLost).unwrap();
        assert_eq!(still.state.name(), "suspended");
        assert_eq!(still.release(HoldReason::Investigation).unwrap().state.name(), "active");
    }

    #[test]
    fn resuming_one_reason_does_not_free_a_card_that_is_held_for_another() {
        let held = active().hold(HoldReason::PersonSuspended).unwrap();
        assert!(held.release(HoldReason::ReportedLost).is_err());
    }

    #[test]
    fn a_card_on_hold_is_not_confirmed() {
        let held = active().hold(HoldReason::ReportedLost).unwrap();
        assert!(held.confirm(pair()).is_err());
    }

    proptest! {
        /// Whatever happens, a cancelled card stays cancelled, and a suspended one has a reason.
        #[test]
        fn random_events_reach_no_state_that_the_table_does_not_have(
            events in proptest::collection::vec((0u8..7, 0usize..4), 1..40)
        ) {
            let mut card = Card { state: CardState::Allocated, ..active() };
            let mut holds = BTreeSet::new();
            for (event, which) in events {
                let before = card.clone();
                let reason = HoldReason::ALL[which];
                let after = match event {
                    0 => card.begin_issue(IssuanceId::try_from("0".repeat(32)).unwrap()),
                    1 => card.issued(),
                    2 => card.confirm(pair()),
                    3 => Ok(card.undo()),
                    4 => card.hold(reason).inspect(|_| { holds.insert(reason); }),
                    5 => card.release(reason).inspect(|_| { holds.remove(&reason); }),
                    _ if which == 0 => card.cancel(CancelCause::Lost, Timestamp::EPOCH),
                    _ => Ok(card),
                };
                card = after.unwrap_or_else(|_| before.clone());
                if matches!(before.state, CardState::Cancelled { .. }) {
                    let still_cancelled = matches!(card.state, CardState::Cancelled { .. });
                    prop_assert!(still_cancelled);
                }
                if let CardState::Suspended { holds: kept, .. } = &card.state {
                    prop_assert_eq!(kept, &holds);
                    prop_assert!(!kept.is_empty());
                } else if matches!(card.state, CardState::Active { .. }) {
                    prop_assert!(holds.is_empty());
                }
            }
        }
    }
}
