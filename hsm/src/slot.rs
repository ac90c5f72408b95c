//! What a module says about its tokens, and how one is chosen.

use std::fmt;

use cryptoki::context::Pkcs11;
use cryptoki::error::{Error as CryptokiError, RvError};
use cryptoki::slot::Slot;

use crate::Error;

/// A token in its slot (CK_TOKEN_INFO, PKCS#11 v3.0, 3.2). Slot numbers may move when a token is initialised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotDescription {
    /// The slot's number, good until the next look.
    pub slot_id: u64,
    /// The token's label.
    pub label: String,
    /// The token's serial number.
    pub serial: String,
    /// Who made it.
    pub manufacturer: String,
    /// Its model.
    pub model: String,
    /// Whether it was initialised.
    pub initialised: bool,
    /// Whether it has a user PIN. One that is initialised and has none was left half made.
    pub user_pin_initialised: bool,
    /// Whether a wrong PIN was given since the last login.
    pub user_pin_count_low: bool,
    /// Whether one more wrong PIN locks it.
    pub user_pin_final_try: bool,
    /// Whether its PIN is locked.
    pub user_pin_locked: bool,
}

impl SlotDescription {
    /// Whether `other` is the same token, perhaps in another slot.
    pub(crate) fn is_same_token(&self, other: &SlotDescription) -> bool {
        self.initialised && self.label == other.label && self.serial == other.serial
    }
}

/// How a token is chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSelector {
    /// By its label.
    Label(String),
    /// By its serial number.
    Serial(String),
}

impl TokenSelector {
    pub(crate) fn matches(&self, slot: &SlotDescription) -> bool {
        slot.initialised
            && match self {
                TokenSelector::Label(label) => *label == slot.label,
                TokenSelector::Serial(serial) => *serial == slot.serial,
            }
    }
}

impl fmt::Display for TokenSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TokenSelector::Label(label) => write!(f, "the label {label:?}"),
            TokenSelector::Serial(serial) => write!(f, "the serial number {serial:?}"),
        }
    }
}

/// The tokens that are there now. One that goes away while it is looked at is left out.
pub(crate) fn list(context: &Pkcs11) -> Result<Vec<(Slot, SlotDescription)>, CryptokiError> {
    let mut found = Vec::new();
    for slot in context.get_slots_with_token()? {
        match describe(context, slot) {
            Ok(description) => found.push((slot, description)),
            Err(CryptokiError::Pkcs11(
                RvError::TokenNotPresent
                | RvError::TokenNotRecognized
                | RvError::DeviceRemoved
                | RvError::SlotIdInvalid,
                _,
            )) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

pub(crate) fn describe(context: &Pkcs11, slot: Slot) -> Result<SlotDescription, CryptokiError> {
    let token = context.get_token_info(slot)?;
    Ok(SlotDescription {
        slot_id: slot.id(),
        label: token.label().to_owned(),
        serial: token.serial_number().to_owned(),
        manufacturer: token.manufacturer_id().to_owned(),
        model: token.model().to_owned(),
        initialised: token.token_initialized(),
        user_pin_initialised: token.user_pin_initialized(),
        user_pin_count_low: token.user_pin_count_low(),
        user_pin_final_try: token.user_pin_final_try(),
        user_pin_locked: token.user_pin_locked(),
    })
}

/// The one token that `selector` names.
pub(crate) fn choose(
    found: Vec<(Slot, SlotDescription)>,
    selector: &TokenSelector,
) -> Result<(Slot, SlotDescription), Error> {
    let (mut matching, others): (Vec<_>, Vec<_>) = found.into_iter().partition(|(_, slot)| selector.matches(slot));
    match (matching.pop(), matching.len()) {
        (Some(one), 0) => Ok(one),
        (Some(_), more) => Err(Error::TokenAmbiguous { selector: selector.clone(), count: more + 1 }),
        (None, _) => Err(Error::TokenMissing { selector: selector.clone(), labels: labels(&others) }),
    }
}

pub(crate) fn labels(found: &[(Slot, SlotDescription)]) -> Vec<String> {
    found.iter().filter(|(_, slot)| slot.initialised).map(|(_, slot)| slot.label.clone()).collect()
}
