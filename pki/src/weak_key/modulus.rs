//! Rows R3 and R5: what an RSA modulus shows of its factors (NIST SP 800-89 5.3.3; SP 800-56B Rev. 2 6.4.2.2).

use std::sync::LazyLock;

use num_bigint::BigUint;
use num_integer::Integer;

use super::{FERMAT_ROUNDS, WeakKey};

/// The largest prime that is tried. NIST SP 800-89 5.3.3 and row R3 ask for no factor below 752; a product of all primes
/// up to here costs no more to try, and finds the broken keys that others look for too (badkeys).
const LIMIT: u32 = 65_537;

/// Primes from 2 to [`LIMIT`].
fn primes() -> impl Iterator<Item = u32> {
    let mut composite = vec![false; LIMIT as usize + 1];
    (2..=LIMIT).filter(move |&number| {
        let is_prime = !composite[number as usize];
        if is_prime {
            for multiple in (2 * number..=LIMIT).step_by(number as usize) {
                composite[multiple as usize] = true;
            }
        }
        is_prime
    })
}

/// Their product. Factors are multiplied pairwise, so that long numbers meet long ones.
static PRIMORIAL: LazyLock<BigUint> = LazyLock::new(|| {
    let mut factors: Vec<BigUint> = primes().map(BigUint::from).collect();
    while factors.len() > 1 {
        factors = factors.chunks(2).map(|pair| pair.iter().product()).collect();
    }
    factors.pop().unwrap_or_default()
});

/// The rest of a division by a small number.
pub(super) fn remainder(number: &BigUint, divisor: u16) -> u16 {
    let rest = number % u32::from(divisor);
    rest.iter_u32_digits().next().unwrap_or(0) as u16
}

/// No small prime divides the modulus.
// conformance: R3
pub(super) fn check_small_factors(modulus: &BigUint) -> Result<(), WeakKey> {
    if !modulus.bit(0) {
        return Err(WeakKey::Even);
    }
    let common = (&*PRIMORIAL % modulus).gcd(modulus);
    if common == BigUint::from(1u32) {
        return Ok(());
    }
    let smallest = primes().find(|prime| (&common % *prime) == BigUint::ZERO);
    Err(WeakKey::SmallFactor(smallest.unwrap_or(LIMIT)))
}

/// Fermat's factorisation finds nothing in its first rounds: n = a² - b² for no a just above the square root of n.
// conformance: R5
pub(super) fn check_close_factors(modulus: &BigUint) -> Result<(), WeakKey> {
    let root = modulus.sqrt();
    if &root * &root == *modulus {
        return Err(WeakKey::CloseFactors(0));
    }
    let mut above = root + 1u32;
    let mut rest = &above * &above - modulus;
    for round in 1..=FERMAT_ROUNDS {
        if is_square(&rest) {
            return Err(WeakKey::CloseFactors(round));
        }
        // (a + 1)² - n = (a² - n) + a + (a + 1)
        rest += &above;
        above += 1u32;
        rest += &above;
    }
    Ok(())
}

/// Squares leave few rests; a root is drawn only of what could be one.
fn is_square(number: &BigUint) -> bool {
    /// Bit `r` is set when a square may leave the rest `r` modulo 64.
    const MODULO_64: u64 = 0x0202_0212_0203_0213;
    let low = number.iter_u32_digits().next().unwrap_or(0) % 64;
    if MODULO_64 >> low & 1 == 0 {
        return false;
    }
    for modulus in [63u16, 65, 11, 17, 19, 23, 31] {
        let rest = u32::from(remainder(number, modulus));
        if !(0..u32::from(modulus)).any(|root| root * root % u32::from(modulus) == rest) {
            return false;
        }
    }
    let root = number.sqrt();
    &root * &root == *number
}

/// Proves that the modulus is neither prime nor a power of a prime.
///
/// With x = 2^(n-1) mod n: were n a prime p or a power of it, then p - 1 would divide n - 1, and so p would divide x - 1
/// (Fermat's little theorem). So where x - 1 and n have no common factor, n is no power of any prime. A sound modulus
/// fails to show it only when the order of 2 modulo one factor divides the other factor less one, which happens to nobody
/// by chance; such a modulus is refused, since x - 1 would then give its factors away.
// conformance: R3
pub(super) fn check_composite(modulus: &BigUint) -> Result<(), WeakKey> {
    let one = BigUint::from(1u32);
    let power = BigUint::from(2u32).modpow(&(modulus - 1u32), modulus);
    if power == one {
        return Err(WeakKey::Prime);
    }
    // 2 and an odd n have no common factor, so the power is not 0.
    if (power - 1u32).gcd(modulus) == one { Ok(()) } else { Err(WeakKey::PrimePower) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prime_up_to_the_limit_is_tried() {
        // conformance: R3
        let primes: Vec<u32> = primes().collect();
        assert_eq!((primes.len(), primes[0], primes.last()), (6543, 2, Some(&65_537)));
        assert_eq!(primes.iter().filter(|prime| **prime < 752).count(), 133);
        // 2^127 - 1 is a prime, and longer than all of them.
        let other = (BigUint::from(1u32) << 127u32) - 1u32;
        for prime in primes.iter().skip(1).step_by(97).chain(primes.last()) {
            assert_eq!(check_small_factors(&(&other * *prime)), Err(WeakKey::SmallFactor(*prime)));
        }
        assert_eq!(check_small_factors(&(&other * 2u32)), Err(WeakKey::Even));
        assert_eq!(check_small_factors(&(&other * 743u32 * 757u32)), Err(WeakKey::SmallFactor(743)));
        assert_eq!(check_small_factors(&(&other * 65_539u32)), Ok(()));
    }

    #[test]
    fn squares_are_known_from_all_others() {
        for number in 0u64..20_000 {
            let root = number.isqrt();
            assert_eq!(is_square(&BigUint::from(number)), root * root == number, "{number}");
        }
    }

    #[test]
    fn of_small_numbers_exactly_the_primes_and_their_powers_are_refused() {
        let is_prime =
            |number: u32| number > 1 && (2..number).take_while(|d| d * d <= number).all(|d| !number.is_multiple_of(d));
        for number in (3u32..6000).step_by(2) {
            let smallest = (2..=number).find(|divisor| number.is_multiple_of(*divisor)).unwrap();
            let mut rest = number;
            while rest.is_multiple_of(smallest) {
                rest /= smallest;
            }
            let checked = check_composite(&BigUint::from(number));
            if is_prime(number) {
                assert_eq!(checked, Err(WeakKey::Prime), "{number}");
            } else if rest == 1 {
                assert!(checked.is_err(), "{number} is a power of {smallest}");
            }
        }
        // What is refused without need is rare, even where the factors are as small as these.
        let refused = |number: &u32| check_composite(&BigUint::from(*number)).is_err();
        let products: Vec<u32> = (101..400)
            .filter(|p| is_prime(*p))
            .flat_map(|p| (p + 1..400).filter(|q| is_prime(*q)).map(move |q| p * q))
            .collect();
        let without_need = products.iter().filter(|number| refused(number)).count();
        assert!(without_need * 10 < products.len(), "{without_need} of {}", products.len());
    }

    #[test]
    fn fermat_finds_what_is_within_its_rounds_and_nothing_else() {
        // conformance: R5
        // n = (a - b)(a + b), with a = ceil(sqrt(n)) + rounds - 1; the factors need not be prime.
        let a = BigUint::from(3u32).pow(645);
        for (b_bits, weak) in [(10u32, true), (500, true), (514, true), (516, false), (700, false)] {
            let b = BigUint::from(3u32).pow(b_bits * 1000 / 1585);
            let modulus = (&a - &b) * (&a + &b);
            let rounds = (&a - modulus.sqrt()).iter_u64_digits().next().unwrap_or(0);
            assert_eq!(rounds <= 100, weak, "2^{b_bits} needs {rounds} rounds");
            let found = check_close_factors(&modulus);
            assert_eq!(found, if weak { Err(WeakKey::CloseFactors(rounds as u32)) } else { Ok(()) });
        }
        assert_eq!(check_close_factors(&(&a * &a)), Err(WeakKey::CloseFactors(0)));
    }
}
