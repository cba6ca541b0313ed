//! When to try again and when to stop: a pure judgement of what one attempt brought.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::attempt::{Attempt, Failure};
use super::endpoint::ForbiddenAddress;

/// What an attempt means for its message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It has arrived.
    Delivered {
        /// The answer's status, of 2xx.
        status: u16,
    },
    /// It is sent again, with the same id.
    Retry {
        /// How long from now.
        after: Duration,
        /// What went wrong.
        reason: Failure,
    },
    /// It is not sent again. After [`Failure::Gone`] nothing at all is sent to this endpoint.
    GiveUp {
        /// What went wrong the last time.
        reason: Failure,
    },
}

/// How often a message is sent again, and after how long.
#[derive(Debug, Clone, PartialEq)]
pub struct RetrySchedule {
    /// The pause after each failed attempt; after as many retries it is given up.
    pub pauses: Vec<Duration>,
    /// How much of a pause may be added to it, so that messages that failed together do not come
    /// back together: 0.1 is a tenth. How much it is follows from the message's id.
    pub jitter: f64,
    /// The longest `Retry-After` that is heeded; a longer one is taken for this.
    pub longest_pause: Duration,
}

impl RetrySchedule {
    /// Standard Webhooks' recommendation: ten attempts within three days.
    pub fn standard() -> Self {
        const HOUR: u64 = 3600;
        let pauses = [5, 300, 1800, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR];
        Self {
            pauses: pauses.map(Duration::from_secs).to_vec(),
            jitter: 0.1,
            longest_pause: Duration::from_secs(24 * HOUR),
        }
    }

    /// What the attempt means; `number` is 1 for the first of this message.
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

/// Whether no later attempt could go otherwise. A name may lead to a public address again.
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

/// From 0 to 1, the same for the same message and attempt and unlike for others.
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

    /// Seconds until the next attempt; `None` if there is none.
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
