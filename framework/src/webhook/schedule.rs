//! Retry schedule: decides, as a pure function, if and when a message is sent again.
//!
//! See `docs/decisions.md`, "Why is the jitter of a retry no random number?"

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::attempt::{Attempt, Failure};
use super::endpoint::ForbiddenAddress;

/// Meaning of an attempt for its message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The message was delivered.
    Delivered {
        /// The 2xx status of the response.
        status: u16,
    },
    /// The message must be sent again, with the same id.
    Retry {
        /// Delay from now.
        after: Duration,
        /// Reason of the failure.
        reason: Failure,
    },
    /// The message must not be sent again. After [`Failure::Gone`], send nothing more to this
    /// endpoint.
    GiveUp {
        /// Reason of the last failure.
        reason: Failure,
    },
}

/// Number of retries of a message, and the delay before each.
#[derive(Debug, Clone, PartialEq)]
pub struct RetrySchedule {
    /// Delay after each failed attempt. A message is abandoned when all of them are used.
    pub pauses: Vec<Duration>,
    /// Maximum share of a delay that is added to it, so that messages that failed together are not
    /// all retried together: 0.1 is a tenth. The exact share is derived from the message's id, so
    /// that the result is reproducible.
    pub jitter: f64,
    /// Maximum of `Retry-After`; a longer value is reduced to it.
    pub longest_pause: Duration,
}

impl RetrySchedule {
    /// Recommendation of Standard Webhooks: ten attempts within about three days.
    pub fn standard() -> Self {
        const HOUR: u64 = 3600;
        let pauses = [5, 300, 1800, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR];
        Self {
            pauses: pauses.map(Duration::from_secs).to_vec(),
            jitter: 0.1,
            longest_pause: Duration::from_secs(24 * HOUR),
        }
    }

    /// Decides what the attempt means. `number` is 1 for the first attempt of the message.
    pub fn judge(&self, message_id: &str, number: u32, attempt: &Attempt) -> Outcome {
        let reason = match &attempt.result {
            Ok(status) => return Outcome::Delivered { status: *status },
            Err(failure) => failure.clone(),
        };
        let before = usize::try_from(number.saturating_sub(1)).unwrap_or(usize::MAX);
        match self.pauses.get(before) {
            Some(pause) if !is_final(&reason) => {
                let more = pause.as_secs_f64() * self.jitter * fraction(message_id, number);
                let more = Duration::try_from_secs_f64(more).unwrap_or_default();
                let pause = pause.saturating_add(more);
                let asked = attempt.retry_after.unwrap_or_default().min(self.longest_pause);
                Outcome::Retry { after: pause.max(asked), reason }
            }
            _ => Outcome::GiveUp { reason },
        }
    }
}

/// Returns true if no later attempt can succeed. A name may resolve to a public address later, so
/// `NotPublic` is not final.
fn is_final(failure: &Failure) -> bool {
    match failure {
        Failure::Gone => true,
        Failure::Forbidden(forbidden) => !matches!(
            forbidden,
            ForbiddenAddress::NotPublic(_) | ForbiddenAddress::Unresolved | ForbiddenAddress::Busy
        ),
        _ => false,
    }
}

/// Returns a number from 0 to 1, the same for the same message and attempt.
fn fraction(message_id: &str, number: u32) -> f64 {
    let hash = Sha256::new().chain_update(number.to_be_bytes()).chain_update(message_id).finalize();
    f64::from(u16::from_be_bytes([hash[0], hash[1]])) / f64::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(failure: Failure, retry_after: Option<u64>) -> Attempt {
        let retry_after = retry_after.map(Duration::from_secs);
        Attempt { result: Err(failure), retry_after, took: Duration::ZERO }
    }

    /// Returns the seconds until the next attempt, or `None` if there is none.
    fn pause(schedule: &RetrySchedule, number: u32, attempt: &Attempt) -> Option<u64> {
        match schedule.judge("msg_1", number, attempt) {
            Outcome::Retry { after, .. } => Some(after.as_secs()),
            _ => None,
        }
    }

    fn without_jitter() -> RetrySchedule {
        RetrySchedule { jitter: 0.0, ..RetrySchedule::standard() }
    }

    #[test]
    fn only_2xx_is_delivered_and_whatever_may_pass_is_tried_again() {
        let schedule = without_jitter();
        let delivered = Attempt { result: Ok(204), retry_after: None, took: Duration::ZERO };
        let outcome = schedule.judge("msg_1", 10, &delivered);
        assert_eq!(outcome, Outcome::Delivered { status: 204 });
        let may_pass = [
            Failure::Status(302),
            Failure::Status(400),
            Failure::Status(404),
            Failure::Status(500),
            Failure::TimedOut,
            Failure::Unreachable("refused".to_owned()),
            Failure::Broken("reset".to_owned()),
            Failure::Forbidden(ForbiddenAddress::Unresolved),
            Failure::Forbidden(ForbiddenAddress::Busy),
            Failure::Forbidden(ForbiddenAddress::NotPublic("loopback")),
        ];
        for failure in may_pass {
            let after = Duration::from_secs(5);
            let outcome = schedule.judge("msg_1", 1, &failed(failure.clone(), None));
            assert_eq!(outcome, Outcome::Retry { after, reason: failure });
        }
        for failure in [
            Failure::Gone,
            Failure::Forbidden(ForbiddenAddress::Scheme),
            Failure::Forbidden(ForbiddenAddress::Port(22)),
        ] {
            let outcome = schedule.judge("msg_1", 1, &failed(failure.clone(), Some(1)));
            assert_eq!(outcome, Outcome::GiveUp { reason: failure });
        }
    }

    #[test]
    fn ten_attempts_are_made_and_then_it_is_given_up() {
        let attempt = failed(Failure::TimedOut, None);
        let pauses: Vec<_> = (1..=11).map(|n| pause(&without_jitter(), n, &attempt)).collect();
        let seconds = [5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400];
        let expected = seconds.map(Some).into_iter().chain([None, None]);
        assert_eq!(pauses, expected.collect::<Vec<_>>());
        let last = without_jitter().judge("msg_1", 10, &attempt);
        assert_eq!(last, Outcome::GiveUp { reason: Failure::TimedOut });
    }

    #[test]
    fn retry_after_makes_a_pause_longer_but_not_for_ever() {
        let asked = |seconds| failed(Failure::Status(429), Some(seconds));
        assert_eq!(pause(&without_jitter(), 1, &asked(90)), Some(90));
        assert_eq!(pause(&without_jitter(), 2, &asked(90)), Some(300));
        assert_eq!(pause(&without_jitter(), 1, &asked(u64::MAX)), Some(86_400));
    }

    #[test]
    fn jitter_is_the_same_for_the_same_attempt_and_apart_for_others() {
        let schedule = RetrySchedule { jitter: 0.5, ..RetrySchedule::standard() };
        let attempt = failed(Failure::TimedOut, None);
        let ids: Vec<_> = (0..50).map(|n| format!("msg_{n}")).collect();
        let after: Vec<_> = ids.iter().map(|id| schedule.judge(id, 2, &attempt)).collect();
        assert_eq!(after, ids.iter().map(|id| schedule.judge(id, 2, &attempt)).collect::<Vec<_>>());
        let mut pauses: Vec<_> = after
            .into_iter()
            .map(|outcome| match outcome {
                Outcome::Retry { after, .. } => after,
                other => panic!("{other:?}"),
            })
            .collect();
        pauses.sort();
        pauses.dedup();
        assert!(pauses.len() > 40, "{pauses:?}");
        assert!(pauses[0] >= Duration::from_secs(300) && pauses[0] < Duration::from_secs(330));
        let longest = pauses[pauses.len() - 1];
        assert!(longest > Duration::from_secs(420) && longest <= Duration::from_secs(450));
        for jitter in [f64::NAN, f64::INFINITY, -1.0] {
            let schedule = RetrySchedule { jitter, ..RetrySchedule::standard() };
            assert_eq!(pause(&schedule, 1, &attempt), Some(5));
        }
    }
}
