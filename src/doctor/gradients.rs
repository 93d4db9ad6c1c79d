//! Are the gradients of one path those of another, and does every weight get one?

use std::collections::BTreeMap;

use serde_json::json;

use super::check::{Check, Subject};
use super::child::{Ran, ending};
use super::training::{REPORT, failed};
use crate::space::Precision;

/// The gradient of each weight by its name; none where it got none.
pub(super) type Gradients = BTreeMap<String, Option<Vec<f32>>>;

/// In f32 two orders of the same sums differ by less; products in TF32, with 10 bits, by more.
const WELL: f64 = 1e-3;
/// Products of 10 bits stay below it.
const ROUNDED: f64 = 2e-2;

/// In narrow formats gradients must point the same way: the cosine between them, over all weights together.
const ALIGNED: f64 = 0.99;
/// Below it training goes another way.
const ASKEW: f64 = 0.95;

/// The line about gradients in `precision` beside the `reference` in f32.
pub(super) fn agreement(
    subject: Subject,
    precision: Precision,
    gradients: Result<&Gradients, String>,
    reference: &Gradients,
) -> Check {
    match (gradients, precision) {
        (Err(why), _) => failed(subject, precision, why),
        (Ok(gradients), Precision::F32) => same(subject, gradients, reference),
        (Ok(gradients), _) => aligned(subject, precision, gradients, reference),
    }
}

fn same(subject: Subject, gradients: &Gradients, reference: &Gradients) -> Check {
    let each = reference.iter().map(|(name, right)| (off(gradients.get(name), right.as_deref()), name));
    let Some((off, name)) = each.max_by(|(a, _), (b, _)| a.total_cmp(b)) else {
        return subject.problem("there is nothing to compare", REPORT);
    };
    let subject = subject.with_values(json!({ "off": off, "weight": name }));
    let measured = format!(
        "{} weights, off by {off:.1e} at the most (up to {WELL:.0e} is well), in {name}",
        reference.len()
    );
    if off <= WELL {
        subject.ok(measured)
    } else if off <= ROUNDED {
        subject.warning(measured, format!("products are rounded, as by TF32: f32 is not f32 here. {REPORT}"))
    } else {
        subject.problem(measured, format!("don't train on this device. {REPORT}"))
    }
}

/// ‖a − b‖ / ‖b‖; infinite where one is missing or no number.
fn off(values: Option<&Option<Vec<f32>>>, right: Option<&[f32]>) -> f64 {
    let both = values.and_then(Option::as_ref).zip(right).filter(|(a, b)| a.len() == b.len());
    let Some((a, b)) = both else { return f64::INFINITY };
    let sum = |terms: &mut dyn Iterator<Item = f64>| terms.sum::<f64>();
    let difference = sum(&mut a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)));
    let size = sum(&mut b.iter().map(|b| f64::from(*b).powi(2)));
    let off = (difference / size).sqrt();
    if off.is_finite() { off } else { f64::INFINITY }
}

fn aligned(subject: Subject, precision: Precision, gradients: &Gradients, reference: &Gradients) -> Check {
    let cosine = cosine(gradients, reference);
    let subject = subject.with_values(json!({ "cosine": cosine }));
    let measured = format!("cosine with f32 {cosine:.5} (from {ALIGNED} on is well)");
    if cosine >= ALIGNED {
        subject.ok(measured)
    } else if cosine >= ASKEW {
        subject.warning(measured, format!("{precision} is coarser than it should be. {REPORT}"))
    } else {
        subject.problem(measured, format!("leave {precision} out of `space.precision`. {REPORT}"))
    }
}

/// 0 where one of them lacks a weight or has none of a number.
fn cosine(gradients: &Gradients, reference: &Gradients) -> f64 {
    let (mut dot, mut ours, mut theirs) = (0.0, 0.0, 0.0);
    for (name, right) in reference {
        let both = gradients.get(name).and_then(Option::as_ref).zip(right.as_ref());
        let Some((a, b)) = both.filter(|(a, b)| a.len() == b.len()) else { return 0.0 };
        for (a, b) in a.iter().zip(b) {
            let (a, b) = (f64::from(*a), f64::from(*b));
            dot += a * b;
            ours += a * a;
            theirs += b * b;
        }
    }
    let cosine = dot / (ours * theirs).sqrt();
    if cosine.is_finite() { cosine } else { 0.0 }
}

/// The line about coverage: by the gradients of all weights, and by a run of adapters, which checks its own.
pub(super) fn coverage(subject: Subject, gradients: Result<&Gradients, String>, adapters: &Ran) -> Check {
    let gradients = match gradients {
        Ok(gradients) => gradients,
        Err(why) => return subject.problem(why, REPORT),
    };
    let has_none = |(name, values): (&String, &Option<Vec<f32>>)| {
        let reached = values.as_ref().is_some_and(|values| is_reached(values));
        (!reached).then(|| name.clone())
    };
    let missing: Vec<String> = gradients.iter().filter_map(has_none).collect();
    let (all, reached) = (gradients.len(), gradients.len() - missing.len());
    let subject = subject.with_values(json!({ "weights": all, "reached": reached, "missing": missing }));
    if let Some(name) = missing.first() {
        let measured = format!("{reached} of {all} weights get a finite gradient; {name} does not");
        return subject.problem(measured, format!("don't train on this device. {REPORT}"));
    }
    if !adapters.has_finished() {
        let measured = format!("all {all} weights; a run with adapters {}", ending(&adapters.outcome));
        return subject.problem(measured, format!("leave out `[lora]` on this device. {REPORT}"));
    }
    subject.ok(format!("all {all} weights get a finite gradient, and those of every adapter"))
}

/// Whether values are numbers and not all zero.
fn is_reached(values: &[f32]) -> bool {
    values.iter().all(|value| value.is_finite()) && values.iter().any(|value| *value != 0.0)
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;
    use crate::trial::{Measurement, Outcome};

    fn of(values: &[(&str, Option<&[f32]>)]) -> Gradients {
        values.iter().map(|(name, values)| ((*name).to_owned(), values.map(<[f32]>::to_vec))).collect()
    }

    fn subject() -> Subject {
        Subject::new("id", "title")
    }

    fn verdict_of(precision: Precision, ours: &[f32]) -> Verdict {
        let reference = of(&[("a", Some(&[1.0, 0.0])), ("b", Some(&[0.0, 2.0]))]);
        let ours = of(&[("a", Some(ours)), ("b", Some(&[0.0, 2.0]))]);
        agreement(subject(), precision, Ok(&ours), &reference).verdict
    }

    #[test]
    fn gradients_in_f32_are_held_against_each_other_weight_by_weight() {
        for (off, verdict) in [
            (0.9e-3, Verdict::Ok),
            (1.1e-3, Verdict::Warning),
            (1.9e-2, Verdict::Warning),
            (2.1e-2, Verdict::Problem),
            (f32::NAN, Verdict::Problem),
        ] {
            assert_eq!(verdict_of(Precision::F32, &[1.0 + off, 0.0]), verdict, "{off}");
        }
        assert_eq!(verdict_of(Precision::F32, &[1.0]), Verdict::Problem, "another shape");
        let missing = of(&[("a", None)]);
        let reference = of(&[("a", Some(&[1.0]))]);
        let check = agreement(subject(), Precision::F32, Ok(&missing), &reference);
        assert_eq!(check.verdict, Verdict::Problem);
    }

    #[test]
    fn gradients_in_narrow_formats_must_point_the_same_way() {
        // The cosine of (1, y, 0, 2) with (1, 0, 0, 2).
        let turned = |cosine: f32| [1.0, (5.0 * (1.0 / (cosine * cosine) - 1.0)).sqrt()];
        for (cosine, verdict) in [
            (0.991, Verdict::Ok),
            (0.989, Verdict::Warning),
            (0.951, Verdict::Warning),
            (0.949, Verdict::Problem),
        ] {
            assert_eq!(verdict_of(Precision::Bf16, &turned(cosine)), verdict, "{cosine}");
        }
        assert_eq!(verdict_of(Precision::F16, &[f32::INFINITY, 0.0]), Verdict::Problem);
    }

    #[test]
    fn a_weight_without_a_finite_gradient_is_named() {
        let finished = |outcome| Ran { outcome, measurement: Measurement::default() };
        let whole = of(&[("a", Some(&[0.0, 1.0])), ("b", Some(&[2.0]))]);
        let check = coverage(subject(), Ok(&whole), &finished(Outcome::Finished));
        assert_eq!(check.verdict, Verdict::Ok);
        for none in [None, Some(&[0.0, 0.0][..]), Some(&[1.0, f32::NAN])] {
            let check = coverage(subject(), Ok(&of(&[("b", none)])), &finished(Outcome::Finished));
            assert_eq!(check.verdict, Verdict::Problem);
            assert_eq!(check.measured, "0 of 1 weights get a finite gradient; b does not");
        }
        let check = coverage(subject(), Ok(&whole), &finished(Outcome::Diverged { step: 2 }));
        assert!(check.verdict == Verdict::Problem && check.measured.contains("adapters diverged"));
        let check = coverage(subject(), Err("no file".to_owned()), &finished(Outcome::Finished));
        assert_eq!((check.verdict, check.measured.as_str()), (Verdict::Problem, "no file"));
    }
}
