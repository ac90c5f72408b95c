//! The plan: which calls are spoiled, and how.
//!
//! One line per fault, `FUNCTION FAULT [COUNT] [MANNER]`; the first line for a function that is not used up applies to
//! its next call. `#` begins a comment.
//!
//! - FAULT: a return code by name (`CKR_PIN_LOCKED`) or number (`0x80000001`); `PASS` (to spoil a later call only);
//!   `BLOCK` (the call waits until the plan changes, and is then passed on); `DELAY=20` (it is passed on after so many
//!   milliseconds); for C_GetSlotList `EMPTY` (no token is there); for C_GetTokenInfo a flag that is added
//!   (`USER_PIN_FINAL_TRY`); for C_GenerateKeyPair `EXTRACTABLE` (what the template says of CKA_EXTRACTABLE is turned
//!   round).
//! - COUNT: for so many calls; without it, for all. Counting begins anew whenever the file's content changes.
//! - MANNER, for a return code: `after` (the call is carried out, and reported as failed all the same), `logout` (the
//!   user is logged out first), `close-sessions` (all sessions of the token are closed first, as when it is pulled out).
//!
//! A line that is not understood fails every call with CKR_GENERAL_ERROR, and is named in the log: a test must not pass
//! because of a misspelt fault.

use std::collections::HashMap;

use cryptoki_sys::{CK_FLAGS, CK_RV, CKR_GENERAL_ERROR};

use crate::names;

/// What is done besides returning a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// The real call is not made.
    Instead,
    /// The real call is made first.
    After,
    /// The user is logged out.
    Logout,
    /// All sessions of the token are closed.
    CloseSessions,
}

/// What becomes of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is passed on.
    Pass,
    /// It fails.
    Fail(CK_RV, Manner),
    /// It waits until the plan changes.
    Block,
    /// It is passed on after so many milliseconds.
    Delay(u64),
    /// C_GetSlotList: there is no token.
    Empty,
    /// C_GetTokenInfo: these flags are added.
    Flags(CK_FLAGS),
    /// C_GenerateKeyPair: CKA_EXTRACTABLE is turned round.
    Extractable,
}

#[derive(Debug)]
struct Line {
    function: String,
    word: String,
    decision: Decision,
    count: Option<usize>,
}

/// A plan, and how much of it was used.
#[derive(Debug, Default)]
pub struct Plan {
    text: String,
    lines: Vec<Line>,
    used: HashMap<usize, usize>,
    mistake: Option<String>,
}

impl Plan {
    /// Takes the file's present content; counts begin anew if it is another.
    pub fn update(&mut self, text: &str) {
        if text == self.text {
            return;
        }
        *self = Plan { text: text.to_owned(), ..Plan::default() };
        for (number, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            match parse(line) {
                Some(line) => self.lines.push(line),
                None => self.mistake = Some(format!("plan line {}: {line:?} is not understood", number + 1)),
            }
        }
    }

    /// What becomes of the next call of `function`, with the words for the log.
    pub fn decide(&mut self, function: &str) -> (Decision, String) {
        if let Some(mistake) = &self.mistake {
            return (Decision::Fail(CKR_GENERAL_ERROR, Manner::Instead), mistake.clone());
        }
        for (index, line) in self.lines.iter().enumerate().filter(|(_, line)| line.function == function) {
            let used = self.used.entry(index).or_default();
            if line.count.is_none_or(|count| *used < count) {
                *used += 1;
                return (line.decision, line.word.clone());
            }
        }
        (Decision::Pass, "pass".into())
    }
}

fn parse(line: &str) -> Option<Line> {
    let mut words = line.split_whitespace().peekable();
    let function = words.next()?.strip_prefix("C_").map(|name| format!("C_{name}"))?;
    let word = words.next()?.to_owned();
    let count = words.peek().and_then(|word| word.parse().ok());
    if count.is_some() {
        words.next();
    }
    let manner = match words.next() {
        None => Manner::Instead,
        Some("after") => Manner::After,
        Some("logout") => Manner::Logout,
        Some("close-sessions") => Manner::CloseSessions,
        Some(_) => return None,
    };
    let decision = match (word.as_str(), function.as_str()) {
        ("PASS", _) => Decision::Pass,
        ("BLOCK", _) => Decision::Block,
        ("EMPTY", "C_GetSlotList") => Decision::Empty,
        ("EXTRACTABLE", "C_GenerateKeyPair") => Decision::Extractable,
        (flag, "C_GetTokenInfo") if names::token_flag(flag).is_some() => Decision::Flags(names::token_flag(flag)?),
        (delay, _) if delay.starts_with("DELAY=") => Decision::Delay(delay.strip_prefix("DELAY=")?.parse().ok()?),
        (code, _) => Decision::Fail(names::return_code(code)?, manner),
    };
    let fits = matches!(decision, Decision::Fail(..)) || manner == Manner::Instead;
    (fits && words.next().is_none()).then_some(Line { function, word, decision, count })
}

#[cfg(test)]
mod tests {
    use cryptoki_sys::{CKF_USER_PIN_LOCKED, CKR_DEVICE_REMOVED, CKR_PIN_LOCKED};

    use super::*;

    fn plan(text: &str) -> Plan {
        let mut plan = Plan::default();
        plan.update(text);
        plan
    }

    #[test]
    fn a_line_without_count_applies_for_ever() {
        let mut plan = plan("C_Login CKR_PIN_LOCKED # for good\n");
        for _ in 0..3 {
            assert_eq!(plan.decide("C_Login").0, Decision::Fail(CKR_PIN_LOCKED, Manner::Instead));
        }
        assert_eq!(plan.decide("C_Sign").0, Decision::Pass);
    }

    #[test]
    fn counts_are_used_up_line_by_line_and_begin_anew_with_another_plan() {
        let text = "C_Sign PASS 1\nC_Sign CKR_DEVICE_REMOVED 1 close-sessions\n";
        let mut plan = plan(text);
        let removed = Decision::Fail(CKR_DEVICE_REMOVED, Manner::CloseSessions);
        assert_eq!(plan.decide("C_Sign").0, Decision::Pass);
        assert_eq!(plan.decide("C_Sign").0, removed);
        plan.update(text);
        assert_eq!(plan.decide("C_Sign").0, Decision::Pass);
        plan.update("C_Sign CKR_DEVICE_REMOVED 1 close-sessions");
        assert_eq!(plan.decide("C_Sign").0, removed);
    }

    #[test]
    fn faults_of_single_functions_are_known() {
        let mut plan = plan("C_GetTokenInfo USER_PIN_LOCKED\nC_GetSlotList EMPTY\nC_Sign DELAY=20\nC_Login 0x80000001");
        assert_eq!(plan.decide("C_GetTokenInfo").0, Decision::Flags(CKF_USER_PIN_LOCKED));
        assert_eq!(plan.decide("C_GetSlotList").0, Decision::Empty);
        assert_eq!(plan.decide("C_Sign").0, Decision::Delay(20));
        assert_eq!(plan.decide("C_Login").0, Decision::Fail(0x8000_0001, Manner::Instead));
    }

    #[test]
    fn a_misspelt_line_fails_every_call_and_is_named() {
        for text in
            ["C_Sign CKR_NO_SUCH_CODE", "Sign CKR_DEVICE_ERROR", "C_Sign EMPTY", "C_Sign PASS 1 after", "C_Sign"]
        {
            let (decision, words) = plan(text).decide("C_Login");
            assert_eq!(decision, Decision::Fail(CKR_GENERAL_ERROR, Manner::Instead), "{text}");
            assert!(words.contains("plan line 1"), "{words}");
        }
    }
}
