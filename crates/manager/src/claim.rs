//! The rules of the protocol: what a manager does about one address, as pure functions over small values.
//!
//! An original manager asks once, waits a second, and answers for the addresses of its devices (reference: "Duplicate MAC
//! Address Detection" of Logical Domains). Ours asks six times, and defends an address from its first question on.

use std::net::Ipv4Addr;
use std::time::Duration;

/// Questions of one claim. The last one is sent more than a second after the first: by then an original manager that asked
/// before us, and whom we did not hear, has the address and answers.
pub const QUESTIONS: u8 = 6;
/// Time between two questions. A message should take no longer.
pub const BETWEEN: Duration = Duration::from_millis(250);
/// What is waited for answers to the last question, in [`BETWEEN`]: one for the way there and one for the way back.
const PATIENCE: u8 = 2;
/// How long a claim takes when nobody objects.
pub const TIME: Duration = Duration::from_millis(250 * (QUESTIONS - 1 + PATIENCE) as u64);

/// How often somebody is asked again, and told, who says that an address of ours is taken, until that is confirmed or taken
/// back: so often that one who does not use it hears of it three times before.
pub const AGAIN: Duration = Duration::from_millis(500);
/// How long a suspicion lasts that nobody confirms.
pub const SUSPICION: Duration = Duration::from_secs(5);

/// What an address is to this manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// Nothing.
    Foreign,
    /// It asks whether somebody has it.
    Claimed,
    /// It has it.
    Held,
}

/// A claim that goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Claim {
    steps: u8,
}

/// What is due in a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// Ask, and wait for [`BETWEEN`].
    Ask(Claim),
    /// Wait for [`BETWEEN`] once more.
    Wait(Claim),
    /// Nobody objected: the address is held.
    Hold,
}

impl Claim {
    /// What is due at the start, and each time that [`BETWEEN`] has passed without an objection.
    pub const fn step(self) -> Step {
        let next = Self { steps: self.steps + 1 };
        if self.steps < QUESTIONS {
            Step::Ask(next)
        } else if next.steps < QUESTIONS + PATIENCE {
            Step::Wait(next)
        } else {
            Step::Hold
        }
    }
}

/// What was heard of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Heard {
    /// Somebody asks whether it is taken.
    Question,
    /// Somebody has it.
    Taken,
}

/// What to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Nothing.
    Ignore,
    /// Say that it is taken.
    SayTaken,
    /// Give the claim up.
    GiveUp,
    /// Somebody else has what we have.
    Contested,
}

/// What a manager does that hears of an address. `own` and `other` are the addresses that both write into their messages.
///
/// Of two that claim the same address the lower one keeps it: it answers, and the higher one gives up as soon as it hears the lower
/// one ask. An original manager gives up at the answer, and is given way to where it is the lower one; so one of the two gets the
/// address in each case. With the same address on both sides, which is a fault of the network's, nobody keeps it.
pub fn judge(standing: Standing, heard: Heard, own: Ipv4Addr, other: Ipv4Addr) -> Verdict {
    match (standing, heard) {
        (Standing::Foreign, _) => Verdict::Ignore,
        (Standing::Claimed, Heard::Question) if own < other => Verdict::SayTaken,
        (Standing::Claimed, _) => Verdict::GiveUp,
        (Standing::Held, Heard::Question) => Verdict::SayTaken,
        (Standing::Held, Heard::Taken) => Verdict::Contested,
    }
}

/// Whether "taken", heard again for an address that a device of ours has, shows a collision: when it comes so long after the
/// first one that no claim lasts from there to here.
pub fn confirms(since_the_first: Duration) -> bool {
    since_the_first >= TIME
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOW: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 9);
    const HIGH: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);

    #[test]
    fn each_standing_has_a_verdict_on_all_that_can_be_heard() {
        use Heard::{Question, Taken};
        use Standing::{Claimed, Foreign, Held};
        use Verdict::{Contested, GiveUp, Ignore, SayTaken};
        for (standing, heard, low_hears_high, high_hears_low, same) in [
            (Foreign, Question, Ignore, Ignore, Ignore),
            (Foreign, Taken, Ignore, Ignore, Ignore),
            (Claimed, Question, SayTaken, GiveUp, GiveUp),
            (Claimed, Taken, GiveUp, GiveUp, GiveUp),
            (Held, Question, SayTaken, SayTaken, SayTaken),
            (Held, Taken, Contested, Contested, Contested),
        ] {
            let verdicts =
                [(LOW, HIGH), (HIGH, LOW), (LOW, LOW)].map(|(own, other)| judge(standing, heard, own, other));
            assert_eq!(verdicts, [low_hears_high, high_hears_low, same], "{standing:?} {heard:?}");
        }
    }

    #[test]
    fn a_claim_asks_for_longer_than_a_second_and_waits_for_the_last_answer() {
        let mut claim = Claim::default();
        let (mut passed, mut asked) = (Duration::ZERO, Vec::new());
        loop {
            claim = match claim.step() {
                Step::Ask(next) => {
                    asked.push(passed.as_millis());
                    next
                }
                Step::Wait(next) => next,
                Step::Hold => break,
            };
            passed += BETWEEN;
        }
        assert_eq!(asked, [0, 250, 500, 750, 1000, 1250]);
        assert_eq!(passed, TIME);
        assert!(confirms(passed) && !confirms(passed - BETWEEN));
    }
}
