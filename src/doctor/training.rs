//! Does the tiny model learn on a device, and does it lose what it loses on the processor in f32?

use serde_json::json;

use super::check::{Check, Subject};
use super::child::{Ran, ending};
use crate::space::Precision;

/// Most that a loss may differ from that of the processor in f32, as a share of it. f32: rounding of sums in another
/// order, over a few steps. bf16 and f16: activations of 8 and 11 bits.
const fn tolerance(precision: Precision) -> f64 {
    match precision {
        Precision::F32 => 1e-3,
        Precision::Bf16 | Precision::F16 => 2e-2,
    }
}

/// Up to so many times the tolerance is strange, beyond it is wrong.
const STRANGE: f64 = 5.0;

/// The line about a run in `precision`, beside the `reference` losses of the processor in f32.
pub(super) fn verdict(subject: Subject, precision: Precision, ran: &Ran, reference: Option<&[f64]>) -> Check {
    let losses = ran.losses();
    let speed = ran.measurement.tokens_per_second();
    let subject = subject.with_values(json!({ "losses_nats": losses, "tokens_per_second": speed }));
    if !ran.has_finished() {
        return failed(subject, precision, ending(&ran.outcome));
    }
    let steps = &ran.measurement.steps;
    let (Some(first), Some(last)) = (steps.first(), steps.last()) else {
        return subject.problem("it said no step", REPORT);
    };
    let (first, last) = (first.loss_nats, last.loss_nats);
    let speed = speed.map(|speed| format!(", {speed:.0} tokens/s")).unwrap_or_default();
    let measured = format!("{} steps, loss {first:.4} → {last:.4}{speed}", steps.len());
    if last.is_nan() || last >= first {
        return subject.problem(format!("{measured}: it does not learn"), REPORT);
    }
    let Some(reference) = reference else { return subject.ok(measured) };
    let (off, most) = (off(&losses, reference), tolerance(precision));
    let measured = format!("{measured}; off the processor's f32 by {off:.1e} (up to {most:.0e} is well)");
    if off <= most {
        subject.ok(measured)
    } else if off <= STRANGE * most {
        subject.warning(measured, format!("losses in {precision} are coarser than they should be. {REPORT}"))
    } else {
        subject.problem(measured, format!("don't train in {precision} on this device. {REPORT}"))
    }
}

/// What to do about what should not be.
pub(super) const REPORT: &str = "Send the file of `diapason doctor --bundle FILE` with a bug report";

/// Without f32 nothing can be done on a device; without another precision most can.
pub(super) fn failed(subject: Subject, precision: Precision, how: String) -> Check {
    if precision == Precision::F32 {
        return subject.problem(how, format!("see the lines about memory and driver. {REPORT}"));
    }
    subject.warning(how, format!("leave {precision} out of `space.precision` on this device"))
}

/// The largest difference of two lists as a share of the second; infinite where they are not of one length.
fn off(losses: &[f64], reference: &[f64]) -> f64 {
    if losses.len() != reference.len() {
        return f64::INFINITY;
    }
    let each = losses.iter().zip(reference).map(|(loss, right)| (loss / right - 1.0).abs());
    // A loss that is no number is no small difference.
    each.map(|off| if off.is_nan() { f64::INFINITY } else { off }).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;
    use crate::trial::{Measurement, Outcome, StepEvent};

    fn ran(losses: &[f64]) -> Ran {
        let step = |(index, loss): (usize, &f64)| StepEvent {
            step: index + 1,
            loss_nats: *loss,
            learning_rate: 1e-3,
            grad_norm: None,
            update_ratio: None,
            noise: None,
            tokens: 100,
            seconds: 0.1,
        };
        let steps = losses.iter().enumerate().map(step).collect();
        Ran { outcome: Outcome::Finished, measurement: Measurement { steps, ..Measurement::default() } }
    }

    fn of(precision: Precision, losses: &[f64], reference: Option<&[f64]>) -> Verdict {
        verdict(Subject::new("id", "title"), precision, &ran(losses), reference).verdict
    }

    #[test]
    fn losses_are_held_against_the_processors_by_the_precision() {
        let right = [4.0, 2.0];
        let off_by = |share: f64| [4.0, 2.0 * (1.0 + share)];
        for (precision, well) in [(Precision::F32, 1e-3), (Precision::Bf16, 2e-2), (Precision::F16, 2e-2)] {
            let at = |share: f64| of(precision, &off_by(share), Some(&right));
            assert_eq!(at(0.99 * well), Verdict::Ok, "{precision}");
            assert_eq!(at(1.01 * well), Verdict::Warning, "{precision}");
            assert_eq!(at(-4.9 * well), Verdict::Warning, "{precision}");
            assert_eq!(at(5.1 * well), Verdict::Problem, "{precision}");
        }
        assert_eq!(of(Precision::F32, &[4.0, 3.0, 2.0], Some(&right)), Verdict::Problem, "another length");
    }

    #[test]
    fn a_loss_that_does_not_fall_or_is_no_number_is_a_problem() {
        assert_eq!(of(Precision::F32, &[4.0, 3.9], None), Verdict::Ok);
        for losses in [&[4.0, 4.0][..], &[4.0, f64::NAN], &[]] {
            assert_eq!(of(Precision::F32, losses, None), Verdict::Problem, "{losses:?}");
        }
        assert_eq!(of(Precision::F32, &[4.0, f64::NAN, 3.0], Some(&[4.0, 3.5, 3.0])), Verdict::Problem);
    }

    #[test]
    fn a_run_that_ended_otherwise_is_told_in_its_own_words() {
        let ran = Ran { outcome: Outcome::Diverged { step: 2 }, ..ran(&[4.0, 3.0]) };
        let of = |precision| verdict(Subject::new("id", "title"), precision, &ran, None);
        let check = of(Precision::F32);
        assert_eq!((check.verdict, check.measured.as_str()), (Verdict::Problem, "diverged at step 2"));
        let check = of(Precision::F16);
        assert_eq!(check.verdict, Verdict::Warning);
        assert!(check.fix.unwrap().starts_with("leave f16 out"));
    }
}
