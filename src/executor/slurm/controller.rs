//! When the controller is asked, and how long it may be silent. Pure: the clock is told.

use std::time::{Duration, Instant};

use super::state::Row;

/// After errors, questions are asked less and less often, but no more seldom than this.
const LONGEST_PAUSE: Duration = Duration::from_mins(2);
/// A controller that has not answered since the driver began is given so long: more than a restart takes.
const FIRST_PATIENCE: Duration = Duration::from_mins(10);

/// What the controller has said, and when it is asked next.
pub(super) struct Controller {
    pace: Duration,
    began: Instant,
    /// Questions without an answer, one after the other.
    failures: u32,
    quiet_until: Instant,
    list_at: Instant,
    listed: Option<(Instant, Vec<Row>)>,
}

impl Controller {
    pub(super) fn new(pace: Duration, now: Instant) -> Self {
        Self { pace, began: now, failures: 0, quiet_until: now, list_at: now, listed: None }
    }

    /// Whether a question may be asked.
    pub(super) fn may_ask(&self, now: Instant) -> bool {
        now >= self.quiet_until
    }

    /// Whether it is time for another list of all jobs.
    pub(super) fn may_list(&self, now: Instant) -> bool {
        self.may_ask(now) && now >= self.list_at
    }

    /// Takes a list.
    pub(super) fn listed(&mut self, rows: Vec<Row>, now: Instant) {
        self.answered();
        self.list_at = now + self.pace;
        self.listed = Some((now, rows));
    }

    /// Whether it has never answered.
    pub(super) const fn is_new(&self) -> bool {
        self.listed.is_none()
    }

    /// Takes any other answer.
    pub(super) fn answered(&mut self) {
        self.failures = 0;
    }

    /// Takes a silence; whether it has lasted too long for a controller that has never answered.
    pub(super) fn failed(&mut self, now: Instant) -> bool {
        self.failures = self.failures.saturating_add(1);
        let pause = self.pace.saturating_mul(1 << self.failures.min(16)).min(LONGEST_PAUSE);
        self.quiet_until = now + pause;
        self.listed.is_none() && now.duration_since(self.began) > FIRST_PATIENCE
    }

    /// The jobs, if there is a list that came after `moment`.
    pub(super) fn jobs_since(&self, moment: Option<Instant>) -> Option<&[Row]> {
        let is_later = |listed: &Instant| moment.is_none_or(|moment| *listed >= moment);
        self.listed.as_ref().filter(|(listed, _)| is_later(listed)).map(|(_, rows)| rows.as_slice())
    }

    /// Whether what is known of running jobs is fresh enough to hold their silence against them.
    pub(super) fn is_heard(&self, now: Instant) -> bool {
        let fresh = self.pace * 2 + Duration::from_secs(30);
        self.failures == 0 && self.listed.as_ref().is_some_and(|(at, _)| now.duration_since(*at) < fresh)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Duration = Duration::from_secs(5);

    #[test]
    fn lists_are_asked_for_at_a_pace() {
        let now = Instant::now();
        let mut controller = Controller::new(PACE, now);
        assert!(controller.may_list(now) && controller.jobs_since(None).is_none());
        controller.listed(vec![], now);
        assert!(!controller.may_list(now + PACE / 2) && controller.may_list(now + PACE));
        assert!(controller.may_ask(now), "a submission does not wait for the next list");
        assert!(
            controller.jobs_since(Some(now)).is_some() && controller.jobs_since(Some(now + PACE)).is_none()
        );
    }

    #[test]
    fn a_silent_controller_is_asked_less_and_less_often_and_then_at_once_again() {
        let mut now = Instant::now();
        let mut controller = Controller::new(PACE, now);
        controller.listed(vec![], now);
        let mut pauses = Vec::new();
        for _ in 0..7 {
            assert!(!controller.failed(now), "it has answered before, so it is waited for");
            let asked = now;
            while !controller.may_ask(now) {
                now += Duration::from_secs(1);
            }
            pauses.push(now.duration_since(asked).as_secs());
            assert!(!controller.is_heard(now));
        }
        assert_eq!(pauses, [10, 20, 40, 80, 120, 120, 120]);
        controller.listed(vec![], now);
        assert!(controller.is_heard(now) && controller.may_list(now + PACE));
    }

    #[test]
    fn a_controller_that_never_answers_is_given_up() {
        let now = Instant::now();
        let mut controller = Controller::new(PACE, now);
        assert!(!controller.failed(now + FIRST_PATIENCE / 2));
        assert!(controller.failed(now + FIRST_PATIENCE * 2));
    }
}
