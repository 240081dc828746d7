//! When a webhook is tried again. Pure.

use std::time::Duration;

use chrono::TimeDelta;

/// The pauses after the first, the second … attempt, as Standard Webhooks proposes them: 75 hours in all.
const PAUSES_SECONDS: [u64; 9] =
    [5, 5 * 60, 30 * 60, 2 * 3_600, 5 * 3_600, 10 * 3_600, 14 * 3_600, 20 * 3_600, 24 * 3_600];

/// A receiver that says that it has too much to do gets at least this pause.
const BUSY: Duration = Duration::from_secs(60);
/// Nobody puts us off for longer.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3_600);
/// So much of a pause is chance, so that many deliveries do not come at once.
const JITTER: f64 = 0.1;

/// An endpoint without any success for so long is turned off.
pub(super) const FAILING_MAX: TimeDelta = TimeDelta::days(5);

/// What an attempt came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answered {
    /// None without an answer.
    pub(super) status: Option<u16>,
    /// What `Retry-After` said, in seconds.
    pub(super) retry_after: Option<u64>,
}

/// What follows from an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Arrived,
    /// The endpoint is gone: nothing is sent to it any more.
    Gone,
    Again(Duration),
    /// It was tried for too long.
    GivenUp,
}

/// The verdict on the attempt with this number, from 1. `chance` is from 0 to 1.
pub(super) fn verdict(attempt: u32, answered: Answered, chance: f64) -> Verdict {
    match answered.status {
        Some(200..=299) => return Verdict::Arrived,
        Some(410) => return Verdict::Gone,
        _ => {}
    }
    let index = usize::try_from(attempt).unwrap_or(usize::MAX).saturating_sub(1);
    let Some(seconds) = PAUSES_SECONDS.get(index) else { return Verdict::GivenUp };
    let usual = Duration::from_secs(*seconds).mul_f64(1.0 + JITTER * chance.clamp(0.0, 1.0));
    let is_busy = matches!(answered.status, Some(429 | 502 | 504));
    let asked = answered.retry_after.map(Duration::from_secs).unwrap_or_default();
    let least = if is_busy { BUSY.max(asked) } else { asked };
    Verdict::Again(usual.max(least.min(RETRY_AFTER_MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16) -> Answered {
        Answered { status: Some(status), retry_after: None }
    }

    #[test]
    fn attempts_end_after_three_days() {
        let pauses: Vec<_> = (1..)
            .map_while(|attempt| match verdict(attempt, answered(500), 0.0) {
                Verdict::Again(pause) => Some(pause.as_secs()),
                _ => None,
            })
            .collect();
        assert_eq!(pauses, PAUSES_SECONDS);
        assert_eq!(pauses.iter().sum::<u64>(), 75 * 3_600 + 35 * 60 + 5);
        assert_eq!(verdict(10, answered(500), 0.0), Verdict::GivenUp);
    }

    #[test]
    fn answers_decide() {
        let again = |seconds| Verdict::Again(Duration::from_secs(seconds));
        let later = |status, seconds| Answered { status: Some(status), retry_after: Some(seconds) };
        let none = Answered { status: None, retry_after: None };
        let cases = [
            (answered(200), Verdict::Arrived),
            (answered(204), Verdict::Arrived),
            (answered(299), Verdict::Arrived),
            (answered(302), again(5)),
            (answered(404), again(5)),
            (answered(410), Verdict::Gone),
            (answered(429), again(60)),
            (answered(502), again(60)),
            (answered(503), again(5)),
            (later(503, 120), again(120)),
            (later(429, 7), again(60)),
            (later(429, 90), again(90)),
            (later(429, u64::MAX), again(24 * 3_600)),
            (none, again(5)),
        ];
        for (answer, expected) in cases {
            assert_eq!(verdict(1, answer, 0.0), expected, "{answer:?}");
        }
        assert_eq!(verdict(2, answered(500), 1.0), again(330));
    }
}
