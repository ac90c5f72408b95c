//! Keys that are certified for nobody: RSA keys that are weak by how they were made (rows R3, R4 and R5), and keys whose
//! private half is known to others (row R6, [`list`] and [`given`]).
//!
//! A public key that passes [`check`] has a modulus that is proved to be neither prime nor a power of a prime; what
//! cannot be proved is refused. Whether its factors are secret cannot be seen from outside.

use num_bigint::BigUint;

use crate::PublicKey;

pub mod given;
pub mod list;
mod modulus;
mod roca;

/// Why a key is weak.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WeakKey {
    /// The modulus is even (conformance: R3).
    #[error("rule R3: the RSA modulus is even")]
    Even,
    /// The modulus has a small factor (conformance: R3).
    #[error("rule R3: the RSA modulus is divisible by {0}")]
    SmallFactor(u32),
    /// The modulus is prime, as far as can be told (conformance: R3).
    #[error("rule R3: the RSA modulus is a prime, so everybody can compute the private key")]
    Prime,
    /// The modulus is a power of a prime, or cannot be proved to be none (conformance: R3).
    #[error(
        "rule R3: the RSA modulus is a power of a prime, or its factors are so alike that it cannot be told from one"
    )]
    PrimePower,
    /// The modulus is of the form that Infineon's library made: CVE-2017-15361 (conformance: R4).
    #[error(
        "rule R4: the RSA modulus bears the ROCA fingerprint (CVE-2017-15361): the token that made it is to be replaced or updated"
    )]
    Roca,
    /// The factors are close to each other (conformance: R5).
    #[error(
        "rule R5: the RSA modulus is factored by {0} of {rounds} Fermat rounds: its primes are too close to each other",
        rounds = FERMAT_ROUNDS
    )]
    CloseFactors(u32),
    /// The key stands on a list of keys that others know (conformance: R6).
    #[error("rule R6: the key is on the list {list}: others know its private key")]
    Listed {
        /// The list, by the name it was loaded under.
        list: String,
    },
    /// The key is in this CA's set of compromised keys (conformance: R6).
    #[error("rule R6: the key is known to be compromised")]
    Compromised,
}

impl WeakKey {
    /// The row that the key breaks: `R3`, `R4`, `R5` or `R6`.
    pub const fn rule(&self) -> &'static str {
        match self {
            Self::Even | Self::SmallFactor(_) | Self::Prime | Self::PrimePower => "R3",
            Self::Roca => "R4",
            Self::CloseFactors(_) => "R5",
            Self::Listed { .. } | Self::Compromised => "R6",
        }
    }
}

/// How many rounds of Fermat's factorisation a modulus has to withstand (CA/Browser Forum BR 6.1.1.3).
pub const FERMAT_ROUNDS: u32 = 100;

/// Checks how an RSA key was made; an elliptic-curve key has nothing that could be wrong beyond row R7.
///
/// # Errors
/// With the row that the key breaks.
// conformance: R3, R4, R5
pub fn check(key: &PublicKey) -> Result<(), WeakKey> {
    check_form(key)?;
    check_composite(key)
}

/// What is seen at once: small factors, the ROCA fingerprint, close factors.
pub(crate) fn check_form(key: &PublicKey) -> Result<(), WeakKey> {
    let Some(modulus) = modulus(key) else { return Ok(()) };
    modulus::check_small_factors(&modulus)?;
    roca::check(&modulus)?;
    modulus::check_close_factors(&modulus)
}

/// The proof that the modulus is neither prime nor a power of a prime, which takes an exponentiation modulo the key: a
/// hundred times as long as all else.
pub(crate) fn check_composite(key: &PublicKey) -> Result<(), WeakKey> {
    modulus(key).map_or(Ok(()), |modulus| modulus::check_composite(&modulus))
}

fn modulus(key: &PublicKey) -> Option<BigUint> {
    key.rsa_modulus().map(BigUint::from_bytes_be)
}
