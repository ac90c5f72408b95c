//! Blank cards for development: a software token is initialised as a card factory would do it.

use std::sync::Arc;

use hsm::{Module, Pin, TokenSelector};

use crate::Error;

/// Initialises the module's next free token as a blank card, and gives its serial number.
///
/// # Errors
/// When the label is taken, no token is free, or the token refuses a PIN.
pub fn initialise(module: &Arc<Module>, label: &str, so_pin: &Pin, passcode: &Pin) -> Result<String, Error> {
    let selector = module.init_token(label, so_pin, passcode)?;
    let found = module.slots()?.into_iter().find(|slot| {
        slot.initialised
            && match &selector {
                TokenSelector::Label(label) => slot.label == *label,
                TokenSelector::Serial(serial) => slot.serial == *serial,
            }
    });
    Ok(found.ok_or(hsm::Error::TokenMissing { selector, labels: Vec::new() })?.serial)
}
