//! Row R4: the fingerprint of RSA keys made by Infineon's library before 2017 (CVE-2017-15361; M. Nemec et al., "The
//! Return of Coppersmith's Attack", ACM CCS 2017).
//!
//! Its primes are k·M + (65537^a mod M), where M is the product of the first primes. So the modulus is a power of 65537
//! modulo M too, which no other modulus of this size is by chance. For keys of 512 bits M is the product of the first 39
//! primes, and it only grows with the key: these 39 tell all of them.

use num_bigint::BigUint;

use super::WeakKey;
use super::modulus::remainder;

/// The odd ones of the first 39 primes. Modulo 2 every odd number is a power of 65537.
const PRIMES: [u16; 38] = [
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109,
    113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
];

const GENERATOR: u32 = 65_537;

// conformance: R4
pub(super) fn check(modulus: &BigUint) -> Result<(), WeakKey> {
    // The exponents that fit all primes so far: those that leave `rest` modulo `period`.
    let (mut rest, mut period) = (0u128, 1u128);
    for prime in PRIMES {
        let Some((logarithm, order)) = logarithm(remainder(modulus, prime), prime) else { return Ok(()) };
        let Some(both) = meet((rest, period), (u128::from(logarithm), u128::from(order))) else { return Ok(()) };
        (rest, period) = both;
    }
    Err(WeakKey::Roca)
}

/// The least x with 65537^x = `value` modulo `prime`, if there is one, and the order of 65537.
fn logarithm(value: u16, prime: u16) -> Option<(u32, u32)> {
    let prime = u32::from(prime);
    let (mut power, mut exponent, mut found) = (1, 0, None);
    loop {
        if power == u32::from(value) && found.is_none() {
            found = Some(exponent);
        }
        power = power * (GENERATOR % prime) % prime;
        exponent += 1;
        if power == 1 {
            return found.map(|found| (found, exponent));
        }
    }
}

/// What leaves the first rest by the first period and the second by the second (Chinese remainder theorem). The common
/// period of all orders here has 62 bits.
fn meet((rest, period): (u128, u128), (other, order): (u128, u128)) -> Option<(u128, u128)> {
    let steps = (0..order).find(|step| (rest + step * period) % order == other)?;
    Some((rest + steps * period, num_integer::lcm(period, order)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn primorial() -> BigUint {
        PRIMES.into_iter().fold(BigUint::from(2u32), |product, prime| product * u32::from(prime))
    }

    #[test]
    fn what_is_a_power_of_65537_modulo_the_primorial_bears_the_fingerprint() {
        // conformance: R4
        let primorial = primorial();
        assert_eq!(primorial.to_str_radix(16), "924cba6ae99dfa084537facc54948df0c23da044d8cabe0edd75bc6");
        for exponent in [0u64, 1, 2, 65_536, 2_454_106_387_091_158_799, u64::MAX] {
            let power = BigUint::from(GENERATOR).modpow(&BigUint::from(exponent), &primorial);
            let modulus = power + (&primorial << 1800u32);
            assert_eq!(check(&modulus), Err(WeakKey::Roca), "65537^{exponent}");
            // Another rest modulo 11, where the powers are 1 and 10, and the same modulo all others.
            let beside = (1u32..).map(|times| &modulus + &primorial / 11u32 * times);
            let beside = beside.into_iter().find(|other| ![1, 10].contains(&remainder(other, 11))).unwrap();
            assert_eq!(check(&beside), Ok(()));
        }
    }

    #[test]
    fn fitting_each_prime_alone_is_not_enough() {
        // 65537 modulo 3 and modulo 7 alike has an even order: exponents of different parity fit each, and never both.
        let (three, seven) = (logarithm(2, 3).unwrap(), logarithm(1, 7).unwrap());
        assert_eq!((three, seven.0), ((1, 2), 0));
        assert_eq!(seven.1 % 2, 0);
        assert_eq!(meet((1, 2), (0, u128::from(seven.1))), None);
        assert_eq!(meet((1, 2), (1, 6)), Some((1, 6)));
    }
}
