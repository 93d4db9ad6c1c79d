//! What children hold: a cap that is kept and survived, a prediction that holds, a pool that NVML confirms.

use serde_json::json;

use super::check::{Check, Subject};
use super::child::{Ran, ending};
use super::training::REPORT;
use crate::trial::Outcome;
use crate::units::Bytes;

/// The line about a run that must be refused memory under `cap`, and about the `next` one, which must not suffer.
pub(super) fn cap(subject: Subject, cap: Bytes, capped: &Ran, next: &Ran) -> Check {
    let Outcome::OutOfMemory { requested, live, .. } = &capped.outcome else {
        let what = if capped.has_finished() { "the run went past it" } else { "it was not told as memory" };
        let measured = format!("under a cap of {cap} it {}: {what}", ending(&capped.outcome));
        let fix = format!(
            "`fit` can't find what fits on this device. On a card pools of a size need a driver from 535 on. \
             {REPORT}"
        );
        return subject.problem(measured, fix);
    };
    let subject =
        subject.with_values(json!({ "cap_bytes": cap, "live_bytes": live, "requested_bytes": requested }));
    let more = requested.map(|bytes| format!(" and {bytes} more")).unwrap_or_default();
    let measured = format!("refused at {live}{more} under a cap of {cap}, told as out of memory");
    if next.has_finished() {
        return subject.ok(format!("{measured}; the next run finished"));
    }
    let measured = format!("{measured}; but the next run {}", ending(&next.outcome));
    subject.problem(measured, format!("memory does not come back on this device. {REPORT}"))
}

/// By how much a measured peak may differ from the predicted one: a share of it, and what a process holds besides
/// its tensors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tolerance {
    share: f64,
    beside: Bytes,
}

impl Tolerance {
    /// The replay is within 0.1 % of what the core holds on a processor; data and threads come on top.
    pub(super) const PROCESSOR: Self = Self { share: 0.02, beside: Bytes::mib(2) };
    /// The driver's pool counts whole blocks, and nobody has held the replay against a card yet.
    pub(super) const CARD: Self = Self { share: 0.10, beside: Bytes::mib(16) };

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "bytes far below 2^52"
    )]
    fn of(self, predicted: Bytes) -> Bytes {
        Bytes((self.share * predicted.0 as f64) as u64 + self.beside.0)
    }
}

/// So many times the tolerance is beyond what `fit` corrects by its probes.
const BEYOND: u64 = 5;

/// The line about a prediction and the run that it was of.
pub(super) fn peak(subject: Subject, predicted: Bytes, ran: &Ran, tolerance: Tolerance) -> Check {
    if !ran.has_finished() {
        return subject.problem(ending(&ran.outcome), REPORT);
    }
    let measured = ran.measurement.peak_bytes();
    let (off, most) = (measured.0.abs_diff(predicted.0), tolerance.of(predicted));
    let subject = subject.with_values(json!({ "predicted_bytes": predicted, "measured_bytes": measured }));
    let told = format!("{predicted} predicted, {measured} measured (up to {most} off is well)");
    if off <= most.0 {
        subject.ok(told)
    } else if off <= BEYOND * most.0 {
        let fix = "`fit` corrects predictions by what it runs; `estimate` is as far off on this device";
        subject.warning(told, fix)
    } else {
        subject.problem(told, format!("don't trust `estimate` on this device. {REPORT}"))
    }
}

/// What NVML said was free on a card before a run, at the least within it, and after it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Free {
    pub(super) before: Option<Bytes>,
    pub(super) least: Option<Bytes>,
    pub(super) after: Option<Bytes>,
}

/// What may differ because other programs use the card as well, or the driver has not yet cleaned up.
const NOISE: Bytes = Bytes::mib(64);
/// A context and what libraries load, at the most.
const MOST_BESIDE: Bytes = Bytes::gib(2);

/// The line about NVML's numbers and the pool's `peak`.
pub(super) fn pool(subject: Subject, free: Free, peak: Bytes) -> Check {
    let (Some(before), Some(least), Some(after)) = (free.before, free.least, free.after) else {
        return subject.not_checked("NVML does not tell what is free on this card");
    };
    let (used, lost) = (before.saturating_sub(least), before.saturating_sub(after));
    let beside = used.saturating_sub(peak);
    let subject = subject.with_values(json!({ "pool_bytes": peak, "nvml_bytes": used, "lost_bytes": lost }));
    let told =
        format!("NVML saw {used} go, {peak} of it in the pool, {beside} beside it; {lost} did not come back");
    if used.0 + NOISE.0 < peak.0 {
        let fix = "NVML tells less than the pool holds: other programs ended meanwhile, or NVML counts another \
                   card. Try again";
        return subject.warning(told, fix);
    }
    if lost > NOISE || beside > MOST_BESIDE {
        return subject.warning(told, "other programs use this card: give a study a card of its own");
    }
    subject.ok(told)
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;
    use crate::trial::{Measurement, Phase, PhasePeak};

    fn subject() -> Subject {
        Subject::new("id", "title")
    }

    fn ran(outcome: Outcome, peak: u64) -> Ran {
        let peaks = vec![PhasePeak { phase: Phase::Backward, peak_bytes: Bytes(peak) }];
        Ran { outcome, measurement: Measurement { peaks, ..Measurement::default() } }
    }

    fn refused() -> Ran {
        let requested = Some(Bytes::mib(2));
        ran(Outcome::OutOfMemory { requested, live: Bytes::mib(9), cap: Some(Bytes::mib(10)) }, 0)
    }

    fn crashed() -> Ran {
        ran(Outcome::Crashed { signal: Some(6), exit_code: None, stderr_tail: "alloc".to_owned() }, 0)
    }

    #[test]
    fn only_a_refusal_that_is_told_and_survived_is_well() {
        let of = |capped: &Ran, next: &Ran| cap(subject(), Bytes::mib(10), capped, next);
        let finished = ran(Outcome::Finished, 1);
        let well = of(&refused(), &finished);
        assert_eq!(well.verdict, Verdict::Ok);
        assert!(well.measured.starts_with("refused at 9.00 MiB and 2.00 MiB more"), "{}", well.measured);
        for (capped, next, words) in [
            (&finished, &finished, "went past it"),
            (&crashed(), &finished, "not told as memory"),
            (&refused(), &crashed(), "the next run crashed"),
        ] {
            let check = of(capped, next);
            assert_eq!(check.verdict, Verdict::Problem);
            assert!(check.measured.contains(words), "{}", check.measured);
        }
    }

    #[test]
    fn a_peak_is_held_against_its_prediction_with_a_tolerance() {
        let predicted = Bytes::mib(100);
        let most = Tolerance::PROCESSOR.of(predicted).0;
        assert_eq!(Bytes(most), Bytes::mib(4));
        let of = |measured: u64| {
            peak(subject(), predicted, &ran(Outcome::Finished, measured), Tolerance::PROCESSOR).verdict
        };
        for sign in [1, -1] {
            let at = |off: u64| of(predicted.0.saturating_add_signed(sign * i64::try_from(off).unwrap()));
            assert_eq!(at(most), Verdict::Ok);
            assert_eq!(at(most + 1), Verdict::Warning);
            assert_eq!(at(5 * most), Verdict::Warning);
            assert_eq!(at(5 * most + 1), Verdict::Problem);
        }
        assert_eq!(
            peak(subject(), predicted, &crashed(), Tolerance::CARD).verdict,
            Verdict::Problem,
            "what crashed was not measured"
        );
    }

    #[test]
    fn nvml_must_see_what_the_pool_holds_and_see_it_come_back() {
        let of = |least: u64, after: u64| {
            let mib = |n| Some(Bytes::mib(n));
            pool(subject(), Free { before: mib(8000), least: mib(least), after: mib(after) }, Bytes::mib(500))
        };
        assert_eq!(of(7000, 8000).verdict, Verdict::Ok);
        assert_eq!(of(7564, 8000).verdict, Verdict::Ok, "within the noise");
        assert_eq!(of(7565, 8000).verdict, Verdict::Warning, "NVML saw less than the pool held");
        assert_eq!(of(7000, 7936).verdict, Verdict::Ok);
        assert_eq!(of(7000, 7935).verdict, Verdict::Warning, "memory did not come back");
        assert_eq!(of(5452, 8000).verdict, Verdict::Ok);
        assert_eq!(of(5451, 8000).verdict, Verdict::Warning, "too much beside the pool");
        let unknown = pool(subject(), Free::default(), Bytes::mib(500));
        assert_eq!(unknown.verdict, Verdict::NotChecked);
    }
}
