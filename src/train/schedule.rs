//! The learning rate of each step.

use crate::space::Schedule;

/// Share of the peak at which a cosine schedule ends (Hoffmann et al. 2022 decay tenfold).
const COSINE_FLOOR: f64 = 0.1;
/// Share of the steps after warm-up in which a `wsd` schedule decays, by 1 − √ (Hägele et al. 2024).
const WSD_DECAY: f64 = 0.2;

/// Learning rate of optimizer step `step` (from 1) of `total` steps.
///
/// It rises linearly over the first `warmup_fraction` of all steps, then follows `schedule`. It
/// depends on the full horizon only, so a rung that stops early has trained as the full run does.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "step counts stay below 2^53")]
pub fn learning_rate(step: usize, total: usize, warmup_fraction: f64, schedule: Schedule, peak: f64) -> f64 {
    let (step, total) = (step as f64, total.max(1) as f64);
    let warmup = (warmup_fraction * total).round();
    if step < warmup {
        return peak * step / warmup;
    }
    let progress = ((step - warmup) / (total - warmup).max(1.0)).min(1.0);
    peak * match schedule {
        Schedule::Constant => 1.0,
        Schedule::Linear => 1.0 - progress,
        Schedule::Wsd => 1.0 - ((progress - (1.0 - WSD_DECAY)).max(0.0) / WSD_DECAY).sqrt(),
        Schedule::Cosine => {
            COSINE_FLOOR + (1.0 - COSINE_FLOOR) * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(step: usize, schedule: Schedule) -> f64 {
        learning_rate(step, 100, 0.1, schedule, 1.0)
    }

    #[test]
    fn the_rate_rises_to_its_peak_then_follows_the_schedule() {
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} is not {b}");
        close(at(1, Schedule::Cosine), 0.1);
        close(at(10, Schedule::Cosine), 1.0);
        close(at(55, Schedule::Cosine), 0.55);
        close(at(100, Schedule::Cosine), 0.1);
        close(at(55, Schedule::Linear), 0.5);
        close(at(100, Schedule::Linear), 0.0);
        close(at(100, Schedule::Constant), 1.0);
        close(at(81, Schedule::Wsd), 1.0);
        close(at(91, Schedule::Wsd), 1.0 - 0.5_f64.sqrt());
        close(at(100, Schedule::Wsd), 0.0);
    }

    #[test]
    fn without_warmup_the_first_step_is_at_the_peak() {
        assert!((learning_rate(1, 1000, 0.0, Schedule::Constant, 2e-5) - 2e-5).abs() < 1e-12);
    }
}
