//! What follows from the end of a job that said no last word. Pure.

use super::state::{End, Record, Stage};
use crate::trial::Outcome;
use crate::units::Bytes;

/// A run that none of its jobs brought forward is given up after so many: the third is no accident any more.
const MOST_IN_VAIN: u32 = 3;

/// What is known of a run besides its job.
#[derive(Clone, Debug, Default)]
pub(super) struct Past {
    /// Jobs of the run, one after the other, that ended before any of them had written a checkpoint.
    pub(super) in_vain: u32,
    /// Whether the last of them has written one.
    pub(super) has_progressed: bool,
    /// Most bytes it has told of.
    pub(super) peak: Bytes,
    /// The cap of the run.
    pub(super) cap: Option<Bytes>,
    /// The end of its standard error.
    pub(super) stderr_tail: String,
    /// Seconds since it was last heard or begun.
    pub(super) seconds: u64,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    /// The job is not over.
    Wait,
    /// Another job goes on from the checkpoint.
    Again,
    /// The run has ended.
    Ended(Outcome),
}

/// Judges a job that is over; `record` is what Slurm knows of it, none where it knows nothing any more.
pub(super) fn verdict(id: u64, record: Option<&Record>, past: &Past) -> Verdict {
    let is_last = past.in_vain + 1 >= MOST_IN_VAIN && !past.has_progressed;
    let words = record.map_or("not known any more", |record| &record.words);
    let note = format!("Slurm: job {id} is {words}");
    let stderr_tail =
        if past.stderr_tail.is_empty() { note } else { format!("{}\n{note}", past.stderr_tail) };
    let crashed = |signal: Option<i32>, exit_code: Option<i32>, stderr_tail: String| {
        Verdict::Ended(Outcome::Crashed { signal, exit_code, stderr_tail })
    };
    let Some(record) = record else {
        return if is_last { crashed(None, None, stderr_tail) } else { Verdict::Again };
    };
    let end = match record.stage {
        Stage::Waits | Stage::Runs => return Verdict::Wait,
        Stage::Over(end) => end,
    };
    match end {
        // None of its doing.
        End::Displaced if !is_last => Verdict::Again,
        // Its time was enough to get on, so another one gets it further.
        End::TimedOut if past.has_progressed => Verdict::Again,
        End::TimedOut => Verdict::Ended(Outcome::TimedOut { seconds: past.seconds, stderr_tail }),
        End::OutOfMemory => {
            Verdict::Ended(Outcome::OutOfMemory { requested: None, live: past.peak, cap: past.cap })
        }
        End::Failed if record.signal != 0 => crashed(Some(record.signal), None, stderr_tail),
        End::Failed | End::Completed => crashed(None, Some(record.exit_code), stderr_tail),
        End::Cancelled | End::Displaced | End::Hopeless => {
            let signal = Some(record.signal).filter(|signal| *signal != 0);
            crashed(signal, None, stderr_tail)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(stage: Stage, (exit_code, signal): (i32, i32), past: &Past) -> Verdict {
        let record = Record { stage, exit_code, signal, words: "SO".to_owned() };
        verdict(7, Some(&record), past)
    }

    fn over(end: End, codes: (i32, i32)) -> Verdict {
        let past = Past { stderr_tail: "oh no".to_owned(), seconds: 60, peak: Bytes(5), ..Past::default() };
        judged(Stage::Over(end), codes, &past)
    }

    fn crash(signal: Option<i32>, exit_code: Option<i32>) -> Verdict {
        let stderr_tail = "oh no\nSlurm: job 7 is SO".to_owned();
        Verdict::Ended(Outcome::Crashed { signal, exit_code, stderr_tail })
    }

    #[test]
    fn a_program_that_ended_by_itself_has_crashed_as_it_says() {
        assert_eq!(over(End::Failed, (0, 9)), crash(Some(9), None));
        assert_eq!(over(End::Failed, (3, 0)), crash(None, Some(3)));
        assert_eq!(over(End::Completed, (0, 0)), crash(None, Some(0)));
        assert_eq!(over(End::Cancelled, (0, 15)), crash(Some(15), None));
        assert_eq!(over(End::Hopeless, (0, 0)), crash(None, None));
    }

    #[test]
    fn memory_that_slurm_refused_is_an_observation() {
        let expected = Outcome::OutOfMemory { requested: None, live: Bytes(5), cap: None };
        assert_eq!(over(End::OutOfMemory, (0, 125)), Verdict::Ended(expected));
    }

    #[test]
    fn a_job_that_was_displaced_is_begun_again_until_that_is_in_vain() {
        let displaced = |in_vain, has_progressed| {
            let past = Past { in_vain, has_progressed, ..Past::default() };
            judged(Stage::Over(End::Displaced), (0, 0), &past) == Verdict::Again
        };
        assert_eq!([displaced(0, false), displaced(1, false), displaced(2, false)], [true, true, false]);
        assert!(displaced(99, true));
        let unknown = |in_vain| verdict(7, None, &Past { in_vain, ..Past::default() });
        assert_eq!(unknown(0), Verdict::Again);
        assert!(matches!(unknown(2), Verdict::Ended(Outcome::Crashed { .. })));
    }

    #[test]
    fn time_that_was_enough_for_a_checkpoint_is_given_again() {
        let timed_out = |has_progressed| {
            judged(Stage::Over(End::TimedOut), (0, 0), &Past { has_progressed, ..Past::default() })
        };
        assert_eq!(timed_out(true), Verdict::Again);
        assert!(matches!(timed_out(false), Verdict::Ended(Outcome::TimedOut { .. })));
    }

    #[test]
    fn a_job_that_was_put_back_into_the_queue_is_not_over() {
        assert_eq!(judged(Stage::Waits, (0, 0), &Past::default()), Verdict::Wait);
        assert_eq!(judged(Stage::Runs, (0, 0), &Past::default()), Verdict::Wait);
    }
}
