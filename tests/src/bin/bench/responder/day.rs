//! A day of logins: who logs in when, by shifts.
//!
//! Each person works one of three shifts and logs in four times: once around its beginning, and three times while it
//! lasts. Within a shift each person is as likely as any other, so nobody is asked about more often than the rest.

use std::time::Duration;

use super::load::mixed;

const DAY: u32 = 86_400;
/// How long a shift lasts, in seconds.
const SHIFT: u32 = 8 * 3600;
/// The first login comes within so many seconds around the beginning.
const AROUND: u32 = 20 * 60;
/// Shifts: how many of twenty people work in it, and when it begins.
const SHIFTS: [(u64, u32); 3] = [(12, 7 * 3600), (5, 13 * 3600), (3, 21 * 3600)];
/// Logins of a person and day.
const LOGINS: u64 = 4;
/// One login in so many asks with a nonce.
const NONCE: u64 = 5;

/// One login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Login {
    /// The second of the day.
    pub(crate) at: u32,
    /// Who.
    pub(crate) person: u32,
    /// Whether the relying system asks with a nonce.
    pub(crate) with_nonce: bool,
}

/// All logins of a day, in their order.
pub(crate) fn logins(people: u32) -> Vec<Login> {
    let mut logins = Vec::with_capacity(people as usize * LOGINS as usize);
    for person in 0..people {
        let shift = mixed(u64::from(person) ^ 0x5eed) % 20;
        let mut below = 0;
        let begins = SHIFTS.into_iter().find(|(share, _)| {
            below += share;
            shift < below
        });
        let begins = begins.map_or(0, |(_, begins)| begins);
        for number in 0..LOGINS {
            let chance = mixed(u64::from(person) * LOGINS + number);
            let after = match number {
                // The sum of two evenly spread halves: most come at the beginning itself.
                0 => (chance as u32 % AROUND) + ((chance >> 32) as u32 % AROUND) + DAY - AROUND,
                _ => chance as u32 % SHIFT,
            };
            let with_nonce = mixed(chance).is_multiple_of(NONCE);
            logins.push(Login { at: (begins + after) % DAY, person, with_nonce });
        }
    }
    // Within a second in no order of theirs.
    logins.sort_unstable_by_key(|login| (login.at, mixed(u64::from(login.person))));
    logins
}

/// So many logins in a row, from the middle of the busiest quarter of an hour.
pub(crate) fn busiest(logins: &[Login], count: usize) -> &[Login] {
    const QUARTER: u32 = 900;
    let mut quarters = vec![0_usize; (DAY / QUARTER) as usize];
    for login in logins {
        quarters[(login.at / QUARTER) as usize] += 1;
    }
    let busiest = quarters.iter().enumerate().max_by_key(|(_, count)| **count).map_or(0, |(number, _)| number);
    let middle = busiest as u32 * QUARTER + QUARTER / 2;
    let from = logins.partition_point(|login| login.at < middle).min(logins.len().saturating_sub(count));
    &logins[from..logins.len().min(from + count)]
}

/// The most logins in a second, over a quarter of an hour.
pub(crate) fn most_per_second(logins: &[Login]) -> f64 {
    let most = logins.chunk_by(|a, b| a.at / 900 == b.at / 900).map(<[Login]>::len).max();
    most.unwrap_or_default() as f64 / 900.0
}

/// The part of a day's logins that finds an answer that was signed for an earlier login of the same person, if each is
/// kept for `kept` and the day before was the same.
pub(crate) fn hits(logins: &[Login], people: u32, kept: Duration) -> f64 {
    let kept = i64::try_from(kept.as_secs()).unwrap_or(i64::MAX);
    let mut signed = vec![i64::MIN / 2; people as usize];
    let mut hits = 0_usize;
    for day in 0..2 {
        hits = 0;
        for login in logins.iter().filter(|login| !login.with_nonce) {
            let at = day * i64::from(DAY) + i64::from(login.at);
            let last = &mut signed[login.person as usize];
            if at - *last < kept { hits += 1 } else { *last = at }
        }
    }
    hits as f64 / logins.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_logs_in_four_times_and_one_in_five_asks_with_a_nonce() {
        let logins = logins(10_000);
        assert_eq!(logins.len(), 40_000);
        assert!(logins.is_sorted_by_key(|login| login.at) && logins.iter().all(|login| login.at < DAY));
        let mut each = vec![0; 10_000];
        logins.iter().for_each(|login| each[login.person as usize] += 1);
        assert!(each.iter().all(|count| *count == 4));
        let with_nonce = logins.iter().filter(|login| login.with_nonce).count();
        assert!((7_500..8_500).contains(&with_nonce), "{with_nonce}");
    }

    #[test]
    fn the_busiest_time_is_the_beginning_of_the_first_shift() {
        let logins = logins(10_000);
        let busiest = busiest(&logins, 500);
        assert_eq!(busiest.len(), 500);
        assert!(busiest.iter().all(|login| (6 * 3600..8 * 3600).contains(&login.at)), "{:?}", busiest[0]);
        assert!(most_per_second(&logins) > 40_000.0 / f64::from(DAY));
    }

    #[test]
    fn an_answer_is_found_again_while_it_is_kept() {
        let login = |at, person| Login { at, person, with_nonce: false };
        let logins = [login(0, 0), login(5, 0), login(5, 1), login(20, 0)];
        assert_eq!(hits(&logins, 2, Duration::from_secs(10)), 0.25);
        // What was signed the day before is long gone.
        assert_eq!(hits(&logins, 2, Duration::from_secs(30)), 0.5);
        assert_eq!(hits(&logins, 2, Duration::from_secs(0)), 0.0);
        let nonce = [login(0, 0), Login { with_nonce: true, ..login(1, 0) }];
        assert_eq!(hits(&nonce, 2, Duration::from_secs(10)), 0.0);
    }
}
